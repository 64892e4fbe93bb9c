package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Reader reads one version of one object. ReadAt is safe for concurrent use; Close may not run beside it.
type Reader struct {
	o      *object
	pinned bool

	mu    sync.Mutex // guards ahead and held; a leaf but for the object's mu
	ahead readahead
	held  []*flight // fetched ahead for this reader; cancelled when it goes elsewhere or closes
}

// attempts is how often a read begins a fetch anew that ended without its block: cancelled by others who left, or
// evicted before it was read.
const attempts = 4

// ReadAt fills p from off like [io.ReaderAt]: short only at the end of the object, then with io.EOF. Bytes are of the
// Reader's version and checked, or the error says why not: ErrChanged when the source holds another version now and
// the bytes are not here, ctx's error when the caller left (the fetch goes on for others).
func (r *Reader) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	o := r.o
	if off < 0 || off >= o.size || len(p) == 0 {
		return 0, eofIf(off >= o.size)
	}
	atEnd := int64(len(p)) >= o.size-off
	p = p[:min(int64(len(p)), o.size-off)]
	if err := o.store.guard.check(ctx, o.store); err != nil {
		return 0, err
	}
	ctx, cancel := o.store.limit(ctx)
	defer cancel()
	want := covering(off, int64(len(p)))
	if !r.pinned {
		r.account(want)
	}
	window := r.plan(off, int64(len(p)))
	n, err := r.read(ctx, p, off, window)
	if err != nil {
		return n, o.store.whileOpen(r.o.wanted(), err)
	}
	return n, eofIf(atEnd)
}

func eofIf(end bool) error {
	if end {
		return io.EOF
	}
	return nil
}

// read copies what is here and waits for what is not. window is what to fetch with the first miss.
func (r *Reader) read(ctx context.Context, p []byte, off int64, window span) (n int, err error) {
	o := r.o
	for try := 0; o.file != nil && try < attempts; try++ {
		k, missing, err := o.readValid(p[n:], off+int64(n))
		n += k
		if missing < 0 {
			r.fetchAhead(window) //nolint:contextcheck // a flight is shared: it lives on the store's context
			return n, nil
		}
		if k > 0 {
			try = 0
		}
		if err == nil {
			err = r.fetch(ctx, span{min(window.from, missing), max(window.to, missing+1)}, missing)
		}
		if errors.Is(err, errDisk) {
			break
		}
		if err != nil && !r.abandoned(ctx, err) {
			return n, err
		}
	}
	return r.direct(ctx, p, off, n)
}

// abandoned reports whether a fetch was cancelled by others: its last holder left just before we came.
func (r *Reader) abandoned(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && ctx.Err() == nil && r.o.store.ctx.Err() == nil
}

// fetch waits for block, fetching s where nobody does yet.
func (r *Reader) fetch(ctx context.Context, s span, block int64) error {
	held := r.o.start(s, false) //nolint:contextcheck // a flight is shared: it lives on the store's context
	r.hold(held)
	for _, f := range held {
		if f.blocks.from <= block && block < f.blocks.to {
			r.o.want(f)
			return r.o.await(ctx, f, block)
		}
	}
	return nil // it came in the meantime
}

// fetchAll waits until the whole object is here.
func (r *Reader) fetchAll(ctx context.Context) error {
	all := span{0, blockCount(r.o.size)}
	for try := 0; r.o.file != nil && try < attempts; try++ {
		held := r.o.start(all, false) //nolint:contextcheck // a flight is shared: it lives on the store's context
		r.hold(held)
		var err error
		for _, f := range held {
			r.o.want(f)
		}
		for _, f := range held {
			if err == nil {
				err = r.o.await(ctx, f, f.blocks.to-1)
			}
		}
		switch {
		case len(held) == 0 || err == nil || errors.Is(err, errDisk):
			return nil // what the disk did not take is read directly
		case !r.abandoned(ctx, err):
			return err
		}
	}
	return nil
}

// direct reads what is missing of p from the source, past the disk that failed.
func (r *Reader) direct(ctx context.Context, p []byte, off int64, n int) (int, error) {
	s := r.o.store
	if _, err := s.slots.acquire(ctx, hurried()); err != nil {
		return n, err
	}
	defer s.slots.release(false)
	body, err := s.src.ReadRange(ctx, r.o.wanted(), off+int64(n), int64(len(p)-n))
	if err != nil {
		return n, err
	}
	defer body.Close() //nolint:errcheck // all that was wanted has been read, or an error says otherwise
	k, err := io.ReadFull(through{ctx, &s.faucet, body}, p[n:])
	if err != nil {
		return n + k, fmt.Errorf("read past the cache: %w", noEOF(err))
	}
	return n + k, nil
}

// plan notes the read and returns the blocks to fetch if its own are missing, those ahead included.
func (r *Reader) plan(off, n int64) span {
	r.mu.Lock()
	defer r.mu.Unlock()
	end, jumped := r.ahead.read(off, n)
	if jumped {
		r.o.letGo(r.held)
		r.held = nil
	}
	s := covering(off, min(max(end, off+n), r.o.size)-off)
	if end <= off+n {
		s = around(s, n, r.o.size)
	}
	return s
}

// fetchAhead begins what is missing of window and does not wait.
func (r *Reader) fetchAhead(window span) {
	if r.pinned {
		return
	}
	r.hold(r.o.start(window, true))
}

// hold keeps flights alive until the reader jumps or closes.
func (r *Reader) hold(flights []*flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.held[:0]
	for _, f := range r.held {
		if r.o.underWay(f) {
			kept = append(kept, f)
		}
	}
	r.held = kept
	for _, f := range flights {
		if slices.Contains(r.held, f) {
			r.o.letGo([]*flight{f}) // held already: once is enough
			continue
		}
		r.held = append(r.held, f)
	}
}

// account counts hits and misses, and notes the use.
func (r *Reader) account(want span) {
	o := r.o
	hits, misses := o.present(want)
	o.store.hits.Add(hits)
	o.store.misses.Add(misses)
	r.touch(want)
}

// touch notes the use of what lies on disk.
func (r *Reader) touch(s span) {
	for n := s.from / extentBlocks; n <= (s.to-1)/extentBlocks; n++ {
		r.o.store.cache.usage.touch(extentKey{r.o.store, r.o.id, n})
	}
}

// pinIfComplete holds the data file still for as long as the reader lives, if it has everything.
func (r *Reader) pinIfComplete() {
	o := r.o
	if o.size == 0 {
		return
	}
	o.pin() // first, so that nothing is evicted while it is being looked at
	if r.pinned = o.complete(); !r.pinned {
		o.unpin()
	}
}

// Pin returns the local file that holds the whole object, checked, open for reading and safe from eviction and
// change until the Reader's Close, or false; always false for sealed objects. The file stays the Reader's: do not close it.
func (r *Reader) Pin() (*os.File, bool) { return r.o.file, r.pinned && r.o.sealer == nil }

// Close lets go of the object.
func (r *Reader) Close() error {
	r.mu.Lock()
	held, ahead := r.held, r.ahead
	r.held = nil
	r.mu.Unlock()
	if ahead.next > 0 {
		r.o.store.across.closed(r.o.wanted(), ahead.through(r.o.size))
	}
	r.o.letGo(held)
	if r.pinned {
		r.o.unpin()
	}
	r.o.store.release(r.o)
	return nil
}
