package cache

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
	"studyfs/cache/desktop"
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

const (
	maxRounds = 10_000 // bundles that one call may need: a stream of years comes in hundreds of windows
	maxAgain  = 3      // times that one call fetches the same: what moved on the server meanwhile is asked for again
)

// bundled asks a bundler for what names need, one fetch for all who wait for the same. It is safe for concurrent use.
type bundled struct {
	s   *Store
	src bundler

	mu      sync.Mutex // guards all below; no I/O under it
	flights map[string]*bundleFlight
	last    *lastLists
	stored  uint64 // generation of the index that was stored last
}

// bundleFlight is one fetch of a bundle on its way. It runs on the store's context: a caller who leaves takes nothing
// from the others. It is cancelled when the last one gives up. Its fields are guarded by the bundled's mu.
type bundleFlight struct {
	cancel context.CancelFunc
	ahead  bool // begun before anybody waited

	waiters int
	kept    bool          // it goes on whoever leaves
	left    bool          // cancelled since nobody wants it; not to be joined any more
	err     error         // set before done is closed
	done    chan struct{} // closed at the end
	step    chan struct{} // closed and made anew whenever an object has come
}

// newBundled returns what drives src. Of a [backends.Change], src tells with no lock held: versions that are gone are removed from the
// local disk on the spot, so that nothing which came afterwards can be taken for them.
func newBundled(s *Store, src bundler) *bundled {
	b := &bundled{s: s, src: src, flights: map[string]*bundleFlight{}, last: newLastLists(maxLast)}
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
	if !backends.ValidName(name) {
		return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
	}
	var failed error
	if _, base := backends.Split(name); !desktop.Asked(base) {
		failed = b.satisfy(ctx, name, backends.ToStat)
	}
	e, err := b.src.Stat(ctx, name)
	if failed != nil && (err != nil || !outage(failed)) {
		return backends.Entry{}, failed
	}
	return e, err
}

// list returns the children of dir after whatever had to be fetched for them; the same slice as long as nothing
// differs, since by that the kernel's copy of a directory is known to be good.
func (b *bundled) list(ctx context.Context, dir string) ([]backends.Entry, error) {
	failed := b.satisfy(ctx, dir, backends.ToList)
	if failed != nil && !outage(failed) {
		return nil, failed
	}
	var all []backends.Entry
	for e, err := range b.src.List(ctx, dir) {
		if err != nil && failed != nil {
			return nil, failed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	byName := func(x, y backends.Entry) int { return strings.Compare(x.Name, y.Name) }
	if !slices.IsSortedFunc(all, byName) {
		slices.SortFunc(all, byName)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last.keep(dir, all), nil
}

func (b *bundled) fresh(dir string) time.Duration { return b.src.Fresh(dir) }

// expire has nothing to do: the source knows best what it does not know.
func (b *bundled) expire(string) {}

// satisfy fetches until name needs nothing more.
func (b *bundled) satisfy(ctx context.Context, name string, need backends.Need) error {
	fetched := map[string]int{}
	for range maxRounds {
		bundle := b.src.Bundle(name, need, b.s.have)
		if bundle == "" {
			return nil
		}
		if fetched[bundle] >= maxAgain {
			return fmt.Errorf("fetch: %w: what was fetched is wanted again and again", backends.ErrBadAnswer)
		}
		enough := func() bool { // an answer may be there long before the bundle's end
			return need == backends.ToStat && b.src.Bundle(name, need, b.s.have) != bundle
		}
		seen, err := b.wait(ctx, bundle, enough)
		if err != nil {
			return err
		}
		if seen != someOfIt {
			fetched[bundle]++
		}
	}
	return fmt.Errorf("fetch: %w: no end of it", backends.ErrBadAnswer)
}

// sight is what a caller has seen of a flight.
type sight uint8

const (
	someOfIt sight = iota // it goes on
	itsEnd                // what came before the caller did may be evicted again
	allOfIt
)

// wait fetches a bundle, or waits for it if it is on its way, until its end or until ready.
func (b *bundled) wait(ctx context.Context, bundle string, ready func() bool) (sight, error) {
	f, seen, err := b.join(ctx, bundle)
	if err != nil {
		return someOfIt, err
	}
	defer func() { b.leave(f, ctx.Err() != nil) }()
	for {
		b.mu.Lock()
		step := f.step
		b.mu.Unlock()
		if ready() {
			return someOfIt, nil
		}
		select {
		case <-f.done:
			if f.err != nil && ready() { // it broke off behind what was wanted
				return someOfIt, nil
			}
			return seen, f.err
		case <-step:
		case <-ctx.Done():
			return someOfIt, ctx.Err()
		}
	}
}

// join returns the flight of a bundle, begun if there is none, held once for the caller, and what he will have seen of it at its
// end. One that was cancelled is waited for first: a source brings no bundle twice at once.
func (b *bundled) join(ctx context.Context, bundle string) (*bundleFlight, sight, error) {
	for {
		seen := itsEnd
		b.mu.Lock()
		f := b.flights[bundle]
		if f == nil {
			f = b.launch(bundle, false) //nolint:contextcheck // a flight is shared: it lives on the store's context
			seen = allOfIt
		}
		if !f.left {
			f.waiters++
			b.mu.Unlock()
			return f, seen, nil
		}
		b.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, seen, ctx.Err()
		}
	}
}

// leave takes one from those who wait. A flight whose last one gave up is cancelled; one of which somebody has got what he
// wanted goes on: what it still brings is what he will want next.
func (b *bundled) leave(f *bundleFlight, gaveUp bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.waiters--
	if !gaveUp {
		f.kept = true
	}
	if f.waiters == 0 && !f.kept {
		f.left = true
		f.cancel()
	}
}

// launch begins a flight. The caller holds mu.
func (b *bundled) launch(bundle string, ahead bool) *bundleFlight {
	ctx, cancel := context.WithCancel(b.s.ctx)
	f := &bundleFlight{
		cancel: cancel, ahead: ahead, kept: ahead, done: make(chan struct{}), step: make(chan struct{}),
	}
	b.flights[bundle] = f
	b.s.flying.Go(func() {
		defer cancel()
		err := b.src.Fetch(ctx, bundle, func(ctx context.Context, size int64, body io.Reader, seal func() (backends.Entry, error)) error {
			defer b.stepped(f)
			return b.s.adopt(ctx, size, through{ctx, &b.s.faucet, body}, seal)
		})
		b.mu.Lock()
		f.err = err
		delete(b.flights, bundle)
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

// bring fetches the bytes of e into o, the object of that version. It returns without them, and without an error, where
// the local disk keeps none: then they are read past it.
func (b *bundled) bring(ctx context.Context, e backends.Entry, o *object) error {
	if o.file == nil || o.complete() {
		return nil
	}
	fetched := map[string]sight{}
	for range maxRounds {
		bundle := b.src.Bundle(e.Name, backends.ToRead, b.s.have)
		if bundle == "" || fetched[bundle] >= allOfIt || o.whole() {
			break
		}
		seen, err := b.wait(ctx, bundle, o.whole)
		if err != nil {
			return err
		}
		fetched[bundle] += seen // twice its end is enough, too
	}
	now, err := b.src.Stat(ctx, e.Name)
	if err == nil && now.Version != e.Version {
		err = fmt.Errorf("open: %w", backends.ErrChanged)
	}
	return err
}

// readAhead begins what a reader of name will likely want next. One such flight at a time: the server has others to
// serve.
func (b *bundled) readAhead(name string) {
	bundle := b.src.Bundle(name, backends.Ahead, b.s.have)
	if bundle == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.fetchingAhead() && b.flights[bundle] == nil && b.s.ctx.Err() == nil {
		b.launch(bundle, true)
	}
}

// fetchingAhead reports whether a flight is under way that nobody waited for at first. The caller holds mu.
func (b *bundled) fetchingAhead() bool {
	for _, f := range b.flights {
		if f.ahead {
			return true
		}
	}
	return false
}
