package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// flight is one request to the source on its way: a run of blocks of one object. It runs on the store's context, not
// on that of whoever began it: a reader that is killed, or interrupted by any signal, must not fail the others that wait for the
// same block. It is cancelled when the last who holds it lets go. Its fields are guarded by the object's mu.
type flight struct {
	object *object
	blocks span
	cancel context.CancelFunc
	wanted chan struct{} // closed once somebody waits for it

	here    int64 // blocks before this one have landed
	holders int
	sent    bool // the source has been asked
	left    bool // cancelled since nobody wants it; not to be joined any more
	err     error
	step    chan struct{} // closed and made anew whenever here moves; closed for good at the end
	ended   bool
}

// landed notes that a block is on disk and wakes who waits.
func (f *flight) landed(block int64) {
	if block < f.here {
		return
	}
	f.here = block + 1
	close(f.step)
	f.step = make(chan struct{})
}

// start begins flights for the blocks of s that are neither here nor on their way, and returns all flights that
// cover blocks of s, each held once for the caller. ahead tells that nobody waits for them yet.
func (o *object) start(s span, ahead bool) []*flight {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, run := range missingRuns(s, func(b int64) bool { return o.blocks.valid.has(b) || o.flightOf(b) != nil }) {
		o.launch(run, ahead || i > 0)
	}
	var held []*flight
	for _, f := range o.flights {
		if !f.left && f.blocks.from < s.to && s.from < f.blocks.to {
			f.holders++
			held = append(held, f)
		}
	}
	return held
}

// launch begins one flight. The caller holds mu.
func (o *object) launch(run span, ahead bool) {
	ctx, cancel := context.WithCancel(o.store.ctx)
	f := &flight{object: o, blocks: run, here: run.from, wanted: make(chan struct{}), cancel: cancel, step: make(chan struct{})}
	if !ahead {
		close(f.wanted)
	}
	o.flights = append(o.flights, f)
	o.store.retain(o)
	o.store.flying.Go(func() {
		defer cancel()
		err := o.fly(ctx, f)
		o.mu.Lock()
		f.err, f.ended = err, true
		o.flights = slices.DeleteFunc(o.flights, func(g *flight) bool { return g == f })
		close(f.step)
		o.mu.Unlock()
		o.store.release(o)
	})
}

// flightOf returns the flight that will bring block, or nil. The caller holds mu.
func (o *object) flightOf(block int64) *flight {
	for _, f := range o.flights {
		if !f.left && f.here <= block && block < f.blocks.to {
			return f
		}
	}
	return nil
}

// underWay reports whether f has not ended.
func (o *object) underWay(f *flight) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !f.ended
}

// letGo gives back what start handed out.
func (o *object) letGo(held []*flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range held {
		f.holders--
		if f.holders == 0 && !f.ended {
			f.left = true
			f.cancel()
		}
	}
}

// want says that somebody waits for a flight now: it has its turn with those.
func (o *object) want(f *flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !closed(f.wanted) {
		close(f.wanted)
	}
}

// await waits until block is here or the flight that was to bring it has ended.
func (o *object) await(ctx context.Context, f *flight, block int64) error {
	for {
		o.mu.Lock()
		here, ended, err, step := f.here > block, f.ended, f.err, f.step
		o.mu.Unlock()
		if here {
			return nil
		}
		if ended {
			return err
		}
		select {
		case <-step:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fly fetches the flight's blocks, each written and announced as it comes.
func (o *object) fly(ctx context.Context, f *flight) error {
	s := o.store
	ahead, err := s.slots.acquire(ctx, f.wanted)
	if err != nil {
		return err
	}
	defer s.slots.release(ahead)
	buf, err := s.cache.memory.get(ctx)
	if err != nil {
		return err
	}
	defer s.cache.memory.put(buf)
	off, n := bytesOf(f.blocks, o.size)
	o.mu.Lock()
	f.sent = true
	o.mu.Unlock()
	asked := s.now()
	body, err := s.src.ReadRange(ctx, o.wanted(), off, n)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // all that was wanted has been read, or an error says otherwise
	s.link.answered(s.now().Sub(asked))
	var came int64
	var took time.Duration
	defer func() { s.link.came(came, took) }()
	for b := f.blocks.from; b < f.blocks.to; b++ {
		_, n := bytesOf(span{b, b + 1}, o.size)
		if err := s.faucet.pass(ctx, int(n), f.wanted); err != nil {
			return err
		}
		began := s.now()
		if _, err := io.ReadFull(body, (*buf)[:n]); err != nil {
			return fmt.Errorf("fetch block %d: %w", b, noEOF(err))
		}
		came, took = came+n, took+s.now().Sub(began)
		if err := o.store.keep(o, b, (*buf)[:n]); err != nil {
			return err
		}
	}
	o.saveNowAndThen()
	return nil
}

// noEOF keeps an early end of a stream from being taken for the end of the object.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// saveNowAndThen keeps what a long read fetched from being lost with the process, at little cost: a map of a 10 GiB object
// is 320 KiB.
func (o *object) saveNowAndThen() {
	o.mu.Lock()
	due := o.store.now().Sub(o.saved) > 5*time.Second
	o.mu.Unlock()
	if due {
		o.save()
	}
}
