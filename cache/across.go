package cache

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// order follows in which order the files of one directory are opened, and says which of those behind to fetch ahead. Files are meant by their
// place in the listing. It is pure: no lock, no clock, no I/O.
type order struct {
	most  int // how many files may be fetched ahead at once
	last  int // the file opened last
	run   int // files opened in order since the last jump
	ahead int // up to this file all have been asked for
}

const (
	inOrder   = 2 // opens in a row that start it: with shuffled files of a hundred, one pair in fifty is in order by chance
	nextFiles = 3 // a program that leaves out a file or two still reads in order
)

// open notes that the file at place at was opened, and returns the files [from, to) to fetch ahead; n is how many there are. jumped tells that the order
// was left: what was fetched ahead in it is no longer wanted.
func (r *order) open(at, n int) (from, to int, jumped bool) {
	switch {
	case at == r.last && r.run > 0:
		return 0, 0, false
	case r.run > 0 && r.last < at && at <= r.last+nextFiles:
		r.run++
	default:
		jumped = r.ahead > r.last+1
		*r = order{most: r.most, run: 1, ahead: at + 1}
	}
	r.last = at
	r.ahead = max(r.ahead, at+1)
	if r.run < inOrder {
		return 0, 0, jumped
	}
	depth := min(2*r.run, r.most) // whoever stops has had at most twice as much fetched for nothing as he read
	if r.ahead-at-1 > depth/2 {
		return 0, 0, false
	}
	from, to = r.ahead, min(at+1+depth, n)
	r.ahead = max(from, to)
	return from, r.ahead, false
}

// across fetches whole small files before they are opened: where somebody reads 300 files of 64 KiB in order, 300 round trips become a few. It
// is safe for concurrent use.
type across struct {
	s *Store

	mu   sync.Mutex // guards all below; only what is in memory is looked at under it
	most int
	dirs *simplelru.LRU[string, *follower]
}

// follower is what is known of the readers of one directory.
type follower struct {
	order   order
	before  string           // the file opened first: only a second one is worth a look at the listing
	entries []backends.Entry // the listing, by name
	cancel  context.CancelFunc
	ctx     context.Context //nolint:containedctx // of what is fetched ahead, until the order is left
}

// maxFollowed bounds the directories that are followed at a time.
const maxFollowed = 64

func newAcross(s *Store, most int) *across {
	// The only error there is concerns a size below 1.
	dirs, _ := simplelru.NewLRU(maxFollowed, func(_ string, f *follower) {
		if f.cancel != nil {
			f.cancel()
		}
	})
	return &across{s: s, most: most, dirs: dirs}
}

// limit changes how many files are fetched ahead, for readers that are known, too.
func (a *across) limit(most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most = most
	for _, f := range a.dirs.Values() {
		f.order.most = most
	}
}

// opened notes that a file was opened and begins what should follow.
func (a *across) opened(e backends.Entry) {
	if a.s.lister == nil {
		return
	}
	dir, _ := backends.Split(e.Name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.most <= 0 {
		return
	}
	f, known := a.dirs.Get(dir)
	if !known {
		a.dirs.Add(dir, &follower{before: e.Name, order: order{most: a.most}})
		return
	}
	at, ok := f.find(e, func() []backends.Entry { return a.s.lister.peek(dir) })
	if !ok {
		return
	}
	if first, ok := f.place(f.before); f.before != "" && ok {
		f.order.open(first, len(f.entries))
	}
	f.before = ""
	from, to, jumped := f.order.open(at, len(f.entries))
	if jumped && f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
	a.begin(f, from, to)
}

// find returns the place of an entry in the listing, which it loads (again) where the entry is not in it.
func (f *follower) find(e backends.Entry, load func() []backends.Entry) (int, bool) {
	if at, ok := f.place(e.Name); ok {
		return at, true
	}
	f.entries = load()
	return f.place(e.Name)
}

func (f *follower) place(name string) (int, bool) {
	return slices.BinarySearchFunc(f.entries, name, func(e backends.Entry, name string) int { return strings.Compare(e.Name, name) })
}

// begin fetches the files [from, to) that are not here. The caller holds mu.
func (a *across) begin(f *follower, from, to int) {
	if f.cancel == nil && from < to {
		f.ctx, f.cancel = context.WithCancel(a.s.ctx)
	}
	ctx, bytes := f.ctx, int64(0)
	for _, e := range f.entries[from:max(from, to)] {
		small := !e.Dir && e.Link == "" && e.Tier == backends.Online && 0 < e.Size && e.Size <= a.s.o.SmallFile
		if bytes += e.Size; !small || bytes > a.s.o.Window || a.s.have(e) {
			continue
		}
		a.s.flying.Go(func() { a.s.fetchWhole(ctx, e) })
	}
}

// fetchWhole fetches what is missing of an object that nobody waits for yet. An error is not told: whoever opens the object meets it himself.
func (s *Store) fetchWhole(ctx context.Context, e backends.Entry) {
	o, err := s.acquireNoted(ctx, s.idOf(e), e.Size)
	if err != nil {
		return
	}
	defer s.release(o)
	o.mu.Lock()
	if o.entry.Name == "" {
		o.entry = e
	}
	usable := o.file != nil
	o.mu.Unlock()
	if !usable {
		return
	}
	held := o.start(span{0, blockCount(e.Size)}, true) //nolint:contextcheck // a flight is shared: it lives on the store's context
	defer o.letGo(held)
	for _, f := range held {
		if o.await(ctx, f, f.blocks.to-1) != nil {
			return
		}
	}
}

// have reports whether all bytes of an entry are kept; by the books alone, once they are complete. Sources call it with their own locks held: it
// calls none of theirs.
func (s *Store) have(e backends.Entry) bool {
	if e.Size == 0 {
		return true
	}
	id := s.idOf(e)
	s.mu.Lock()
	o := s.objects[id]
	s.mu.Unlock()
	switch {
	case o != nil:
		return o.whole()
	case !s.scanned.Load():
		return s.State(e) == Cached
	}
	return s.cache.usage.whole(s, id, e.Size)
}
