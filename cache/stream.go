package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"studyfs/backends"
)

// Stream is a directory that is being read: its listing grows while it is. It is safe for concurrent use, but for Close, which is called
// once and last. A directory that is listed already has all of it at once.
type Stream struct {
	*Listing

	l    *lister
	dir  string
	call *call // what brings the rest; nil: nothing is missing
}

// More waits until there is an entry i, and returns how many there are: no more than i says that the listing ends before. Whatever keeps it
// from coming to its end is an error, and stays one: the same for all who read the directory. Errors are as those of Store.List.
func (s *Stream) More(ctx context.Context, i int) (int, error) {
	for {
		n, all, step := s.state()
		switch {
		case i < n, all, s.call == nil:
			return n, nil
		}
		select {
		case <-step:
		case <-s.call.done:
			if n, all, _ := s.state(); i < n || all {
				continue
			}
			return 0, s.call.failure()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// pages is how many were asked for in order to list the directory, so far, with one that is under way if it is the first.
func (s *Stream) pages() int {
	if s.call == nil {
		return 0
	}
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return max(1, s.call.pages)
}

// whole waits until all entries are there.
func (s *Stream) whole(ctx context.Context) error { return s.within(ctx, math.MaxInt) }

// within is whole of a directory that takes no more than most pages; errLarge: it has more.
func (s *Stream) within(ctx context.Context, most int) error {
	for {
		n := s.Len()
		if have, err := s.More(ctx, n); err != nil || have <= n {
			return err
		}
		if s.pages() > most {
			return errLarge
		}
	}
}

// errLarge says that a directory is too large to be listed ahead.
var errLarge = errors.New("a large directory")

// Close says that nobody reads on. What nobody waits for any more is asked for no longer.
func (s *Stream) Close() {
	if s.call != nil {
		s.l.leave(s.dir, s.call)
	}
}

// Stream returns the children of dir, when the first have come or when there are none. It is List for directories that may be large, and asks
// for the rest while the caller reads; that may take as long as pages come. The caller closes it.
func (s *Store) Stream(ctx context.Context, dir string) (*Stream, error) {
	if s.lister == nil {
		all, err := s.List(ctx, dir)
		if all == nil {
			all = []backends.Entry{}
		}
		return &Stream{Listing: &Listing{given: all}}, err
	}
	if err := s.guard.check(ctx, s); err != nil {
		return nil, err
	}
	return s.lister.open(ctx, dir)
}

// call is one request, or those for a directory, on behalf of all who wait. It runs on the lister's own context: a caller who leaves takes
// nothing from the others. It is cancelled when the last has left, or when nothing has come for as long as a request may take.
type call struct {
	listing  *Listing // of a directory; nil: it is one request, for one page
	pages    int      // of the directory, so far
	waiters  int
	cancel   context.CancelCauseFunc
	patience *time.Timer
	done     chan struct{}
	err      error // set before done is closed
}

// failure is why a directory that has been asked for is not known as a whole.
func (c *call) failure() error {
	if c.err == nil {
		return fmt.Errorf("list: %w: listing is not complete", backends.ErrBadAnswer)
	}
	return c.err
}

// begin starts a call for dir. The caller holds mu.
func (l *lister) begin(dir string, listing *Listing, fetch func(context.Context) error) *call {
	ctx, cancel := context.WithCancelCause(l.ctx)
	c := &call{listing: listing, cancel: cancel, done: make(chan struct{})}
	c.patience = time.AfterFunc(l.o.timeout, func() { cancel(context.DeadlineExceeded) })
	l.calls[dir] = c
	l.work.Go(func() {
		defer cancel(nil)
		err := fetch(ctx)
		c.patience.Stop()
		if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = fmt.Errorf("list: nothing came: %w", context.DeadlineExceeded)
		}
		l.mu.Lock()
		c.err = err
		if l.calls[dir] == c {
			l.grow(dir, c) // by what others asked for
			l.end(dir)
		}
		if err == nil {
			delete(l.failed, dir)
		}
		l.mu.Unlock()
		close(c.done)
	})
	return c
}

// came notes that a page for dir has come. The caller holds mu.
func (l *lister) came(dir string, now time.Time) {
	c, d := l.calls[dir], l.index.dirs[dir]
	if c == nil {
		return
	}
	c.pages++
	c.patience.Reset(l.o.timeout)
	if c.listing != nil && d != nil {
		d.busy = d.busy || d.at.Equal(now) || !l.expired(dir, d)
		l.grow(dir, c)
	}
}

// grow shows those who read a directory what is known of it by now. The caller holds mu.
func (l *lister) grow(dir string, c *call) {
	d := l.index.dirs[dir]
	if c.listing == nil || d == nil || !d.busy {
		return
	}
	if c.listing.reach() == "" {
		d.view = c.listing // it is of these kids from the first on
	}
	c.listing.grow(d.kids, d.reach())
}

// end takes a call away: whoever comes now begins anew. A directory whose listing took most of the time that it is believed for counts
// from its end, or one that takes longer would be of no use to anybody. The caller holds mu.
func (l *lister) end(dir string) {
	c, d := l.calls[dir], l.index.dirs[dir]
	delete(l.calls, dir)
	if c.listing == nil || d == nil || !d.busy {
		return
	}
	d.busy = false
	now := l.o.now()
	if d.reach() == top && d.at.Add(l.o.ttl(dir, now)/2).Before(now) {
		d.at = now
	}
}

// lists reports whether dir is being listed. The caller holds mu.
func (l *lister) lists(dir string) bool {
	c := l.calls[dir]
	return c != nil && c.listing != nil
}

// leave is for who no longer waits for a call.
func (l *lister) leave(dir string, c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	c.cancel(nil)
	if l.calls[dir] == c {
		l.end(dir)
	}
}

// await waits for the end of a call, or for something of it.
func (l *lister) await(ctx context.Context, c *call, step <-chan struct{}) error {
	select {
	case <-step:
		return nil
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// share runs fetch for dir, once however many callers want it at the same time. mine tells that it was this one's.
func (l *lister) share(ctx context.Context, dir string, fetch func(context.Context) error) (mine bool, err error) {
	l.mu.Lock()
	key := dir
	if l.lists(dir) {
		key += "/\x00" // beside a long listing; no directory is called so
	}
	c := l.calls[key]
	if mine = c == nil; mine {
		c = l.begin(key, nil, fetch) //nolint:contextcheck // lives as long as its last waiter, on the lister's context
	}
	c.waiters++
	l.mu.Unlock()
	defer l.leave(key, c)
	return mine, l.await(ctx, c, nil)
}

// open returns what is known of the children of dir; where that is not all, the rest is asked for, once for all who want it.
func (l *lister) open(ctx context.Context, dir string) (*Stream, error) {
	err := l.strolls.wait(ctx, dir)
	var s *Stream
	if err == nil {
		s, err = l.openNow(ctx, dir)
	}
	if err != nil {
		return l.outdated(dir, err)
	}
	l.strolls.opened(dir, s.pages()) //nolint:contextcheck // legs go on, on the lister's
	return s, nil
}

// knows reports whether all children of dir are known, and believed.
func (l *lister) knows(dir string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known(dir) != nil
}

// known returns the children of dir, where all are known and believed, else nil. The caller holds mu.
func (l *lister) known(dir string) *Listing {
	if !l.believed(dir) {
		return nil
	}
	all, _, _ := l.index.children(dir)
	return all
}

// ensure lists dir, if it is not known and has no more than most pages, and returns how many it took.
func (l *lister) ensure(ctx context.Context, dir string, most int) (pages int, err error) {
	s, err := l.openNow(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	err = s.within(ctx, most)
	return s.pages(), err
}

// openNow is open of a directory that is not about to be listed ahead. What was known before is no answer.
func (l *lister) openNow(ctx context.Context, dir string) (*Stream, error) {
	for {
		l.mu.Lock()
		if all := l.known(dir); all != nil {
			l.mu.Unlock()
			return &Stream{Listing: all}, nil
		}
		s := l.join(dir) //nolint:contextcheck // as in share
		l.mu.Unlock()
		var err error
		if s.Listing == nil { // somebody asks for one page: it may have all
			err = l.await(ctx, s.call, nil)
		} else if _, err = s.More(ctx, 0); err == nil {
			return s, nil
		}
		s.Close()
		if err != nil {
			return nil, err
		}
	}
}

// join begins to list dir, or joins who does. The caller holds mu.
func (l *lister) join(dir string) *Stream {
	c := l.calls[dir]
	if c == nil {
		part := newListing(dir)
		if d := l.index.dirs[dir]; d != nil && !l.expired(dir, d) && d.reach() != "" {
			if d.view == nil {
				d.view = part
			}
			d.view.grow(d.kids, d.reach())
			part = d.view
		}
		c = l.begin(dir, part, func(ctx context.Context) error { return l.fetchDir(ctx, dir) })
	}
	c.waiters++
	return &Stream{Listing: c.listing, l: l, dir: dir, call: c}
}

// outdated is what was known of a directory that could not be listed, if the failure is one of the network.
func (l *lister) outdated(dir string, err error) (*Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, whole, _ := l.index.children(dir)
	if !whole || !outage(err) || l.o.now().Sub(l.index.dirs[dir].at) >= staleLimit {
		return nil, err
	}
	l.failed[dir] = l.o.now()
	return &Stream{Listing: all}, nil
}

// followed is how many pages somebody waits for who wants one name in a directory that is being listed. One more request costs less time
// than a million names.
const followed = 4

// follow waits for the next page of a directory that is being listed. alone: it is not, or has many pages.
func (l *lister) follow(ctx context.Context, dir string) (alone bool, err error) {
	l.mu.Lock()
	c := l.calls[dir]
	if !l.lists(dir) || c.pages >= followed {
		l.mu.Unlock()
		return true, nil
	}
	c.waiters++
	_, _, step := c.listing.state()
	l.mu.Unlock()
	defer l.leave(dir, c)
	return false, l.await(ctx, c, step)
}
