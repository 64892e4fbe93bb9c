package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"studyfs/backends"
)

// listings answers names and directories of one source: from listings of our own (lister), or from the index that
// the source keeps (bundled).
type listings interface {
	lookup(ctx context.Context, name string) (backends.Entry, error)
	list(ctx context.Context, dir string) ([]backends.Entry, error)
	fresh(dir string) time.Duration
	expire(dir string)
}

// bundler is a source whose objects arrive only together.
type bundler interface {
	backends.Source
	backends.Bundler
	backends.Indexed
}

// maxRounds bounds how many bundles one call may need: a stream of years comes in hundreds of windows.
const maxRounds = 10_000

// maxSame bounds the directories whose last listing is kept to be handed out again.
const maxSame = 10_000

// bundled asks a bundler for what names need, one fetch for all who wait for the same. It is safe for concurrent use.
type bundled struct {
	s   *Store
	src bundler

	mu         sync.Mutex // guards all below; no I/O under it
	flights    map[string]*bundleFlight
	ahead      bool // a flight that nobody waited for at first is under way
	same       map[string][]backends.Entry
	generation uint64 // of the index that was stored last
}

// bundleFlight is one fetch of a bundle on its way. It runs on the store's context: a caller who leaves takes nothing
// from the others. It is cancelled when the last has left, unless it was begun ahead of need.
type bundleFlight struct {
	cancel  context.CancelFunc
	waiters int
	kept    bool          // it goes on whoever leaves
	err     error         // set before done is closed
	done    chan struct{} // closed at the end
	step    chan struct{} // closed and made anew whenever an object has arrived; guarded by the bundled's mu
}

func newBundled(s *Store, src bundler) *bundled {
	b := &bundled{s: s, src: src, flights: map[string]*bundleFlight{}, same: map[string][]backends.Entry{}}
	src.Watch(func(c backends.Change) {
		s.dropAll(c.Gone)
		s.o.Changed(c)
	})
	return b
}

// lookup returns the entry of name after whatever had to be fetched for it.
func (b *bundled) lookup(ctx context.Context, name string) (backends.Entry, error) {
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	if _, base := backends.Split(name); !backends.ValidName(name) || isProbe(base) {
		return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
	}
	failed := b.satisfy(ctx, name, backends.ToStat)
	e, err := b.src.Stat(ctx, name)
	if failed != nil && (err != nil || !outage(failed)) {
		return backends.Entry{}, failed
	}
	return e, err
}

// list returns the children of dir after whatever had to be fetched for them; the same slice as long as nothing
// differs.
func (b *bundled) list(ctx context.Context, dir string) ([]backends.Entry, error) {
	failed := b.satisfy(ctx, dir, backends.ToList)
	if failed != nil && !outage(failed) {
		return nil, failed
	}
	var all []backends.Entry
	for e, err := range b.src.List(ctx, dir) {
		if err != nil {
			return nil, errors.Join(failed, err)
		}
		all = append(all, e)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if last, ok := b.same[dir]; ok && slices.Equal(last, all) {
		return last, nil
	}
	if len(b.same) >= maxSame {
		clear(b.same)
	}
	b.same[dir] = all
	return all, nil
}

func (b *bundled) fresh(dir string) time.Duration { return b.src.Fresh(dir) }

// expire has nothing to do: the source knows best what it does not know.
func (b *bundled) expire(string) {}

// satisfy fetches until name needs nothing more.
func (b *bundled) satisfy(ctx context.Context, name string, need backends.Need) error {
	last := ""
	for range maxRounds {
		bundle := b.src.Bundle(name, need, b.have)
		if bundle == "" {
			return nil
		}
		if bundle == last {
			return fmt.Errorf("fetch: %w: what was fetched is wanted again", backends.ErrBadAnswer)
		}
		enough := func() bool { // an answer may be there long before the bundle's end
			return need == backends.ToStat && b.src.Bundle(name, need, b.have) != bundle
		}
		if err := b.wait(ctx, bundle, enough); err != nil {
			return err
		}
		last = bundle
	}
	return fmt.Errorf("fetch: %w: no end of it", backends.ErrBadAnswer)
}

// wait fetches a bundle, or waits for it if it is on its way, until its end or until ready.
func (b *bundled) wait(ctx context.Context, bundle string, ready func() bool) error {
	b.mu.Lock()
	f := b.flights[bundle]
	if f == nil {
		f = b.launch(bundle, false) //nolint:contextcheck // a flight is shared: it lives on the store's context
	}
	f.waiters++
	b.mu.Unlock()
	defer func() { b.leave(bundle, f, ctx.Err() != nil) }()
	for {
		b.mu.Lock()
		step := f.step
		b.mu.Unlock()
		if ready() {
			return nil
		}
		select {
		case <-f.done:
			return f.err
		case <-step:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave takes one from those who wait. A flight whose last one gave up is cancelled; one that somebody has got what he wanted of goes on: what
// it still brings is what he will want next.
func (b *bundled) leave(bundle string, f *bundleFlight, gaveUp bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.waiters--
	if !gaveUp {
		f.kept = true
	}
	if f.waiters == 0 && !f.kept {
		f.cancel()
		if b.flights[bundle] == f {
			delete(b.flights, bundle) // whoever comes now begins anew
		}
	}
}

// launch begins a flight. The caller holds mu.
func (b *bundled) launch(bundle string, ahead bool) *bundleFlight {
	ctx, cancel := context.WithCancel(b.s.ctx)
	f := &bundleFlight{cancel: cancel, kept: ahead, done: make(chan struct{}), step: make(chan struct{})}
	b.flights[bundle] = f
	b.s.flying.Go(func() {
		defer cancel()
		f.err = b.src.Fetch(ctx, bundle, func(ctx context.Context, size int64, body bodyReader, seal sealFunc) error {
			err := b.s.adopt(ctx, size, body, seal)
			b.stepped(f)
			return err
		})
		b.mu.Lock()
		if b.flights[bundle] == f {
			delete(b.flights, bundle)
		}
		if ahead {
			b.ahead = false
		}
		b.mu.Unlock()
		close(f.done)
	})
	return f
}

// stepped wakes who waits for one object of a flight.
func (b *bundled) stepped(f *bundleFlight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(f.step)
	f.step = make(chan struct{})
}

// bring fetches the bytes of e into o, which is the object of that version. It returns without them where the local disk keeps none: then they
// are read past it.
func (b *bundled) bring(ctx context.Context, e backends.Entry, o *object) error {
	for last := ""; !o.whole(); {
		bundle := b.src.Bundle(e.Name, backends.ToRead, b.have)
		if bundle == "" || bundle == last {
			break
		}
		if err := b.wait(ctx, bundle, o.whole); err != nil {
			return err
		}
		last = bundle
	}
	now, err := b.src.Stat(ctx, e.Name)
	switch {
	case err != nil:
		return err
	case now.Version != e.Version && !o.whole():
		return fmt.Errorf("open: %w", backends.ErrChanged)
	}
	return nil
}

// readAhead begins what a reader of name will likely want next. One such flight at a time: the server has others to
// serve.
func (b *bundled) readAhead(name string) {
	bundle := b.src.Bundle(name, backends.Ahead, b.have)
	if bundle == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ahead && b.flights[bundle] == nil && b.s.ctx.Err() == nil {
		b.ahead = true
		b.launch(bundle, true)
	}
}

// have reports whether all bytes of an entry are kept; by the books alone, once they are complete.
func (b *bundled) have(e backends.Entry) bool {
	if e.Size == 0 {
		return true
	}
	id := b.s.idOf(e)
	b.s.mu.Lock()
	o := b.s.objects[id]
	b.s.mu.Unlock()
	switch {
	case o != nil:
		return o.whole()
	case !b.s.scanned.Load(): // the books are not complete yet
		return b.s.State(e) == Cached
	}
	return b.s.cache.usage.whole(b.s, id, e.Size)
}

// restore gives the source the index of an earlier run.
func (b *bundled) restore() {
	raw, err := readSealed(b.file(), clearCodec{})
	if raw == nil {
		return
	}
	if err == nil {
		err = b.src.Restore(raw)
	}
	if err != nil {
		b.s.log.Warn("the stored index is of no use; beginning anew", "err", err)
		return
	}
	_, b.generation = b.src.Snapshot(0)
}

// save stores the source's index if it has moved.
func (b *bundled) save() error {
	b.mu.Lock()
	since := b.generation
	b.mu.Unlock()
	raw, generation := b.src.Snapshot(since)
	if raw == nil || generation == since {
		return nil
	}
	if err := writeSealed(b.file(), clearCodec{}, raw); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.generation = generation
	return nil
}

func (b *bundled) file() string { return b.s.home.path("listing") }

// keepSaved stores the index every now and then, until the store closes.
func (b *bundled) keepSaved() {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.s.ctx.Done():
			return
		case <-ticker.C:
		}
		if err := b.save(); err != nil {
			b.s.disk.failed(b.s.now())
		}
	}
}
