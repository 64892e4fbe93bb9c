package cache

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// across fetches whole small files before they are opened: where somebody reads 300 files of 64 KiB in order, 300 round trips become a few. It
// is safe for concurrent use.
type across struct {
	s *Store

	mu    sync.Mutex // guards all below, followers and tours; only what is in memory is looked at under it
	most  int
	dirs  *simplelru.LRU[string, *follower]
	tours *simplelru.LRU[string, *tour]
	large *simplelru.LRU[string, struct{}] // directories of which the large file closed last was read to its end
	books *ledger
}

// follower is what is known of the readers of one directory.
type follower struct {
	flow
	track
	asked  string // the listing was asked to go on behind this one
	paging bool   // it is on its way
}

// flow is what is fetched ahead until an order is left.
type flow struct {
	ctx    context.Context //nolint:containedctx // of what is on its way
	cancel context.CancelFunc
}

func (f *flow) begin(ctx context.Context) context.Context {
	if f.cancel == nil {
		f.ctx, f.cancel = context.WithCancel(ctx)
	}
	return f.ctx
}

func (f *flow) end() {
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
}

// maxFollowed bounds the directories that are followed at a time.
const maxFollowed = 64

func newAcross(s *Store, most int) *across {
	// The only error there is concerns a size below 1.
	dirs, _ := simplelru.NewLRU(maxFollowed, func(_ string, f *follower) { f.end() })
	tours, _ := simplelru.NewLRU(maxFollowed, func(_ string, t *tour) { t.end() })
	large, _ := simplelru.NewLRU[string, struct{}](maxFollowed, nil)
	return &across{s: s, most: most, dirs: dirs, tours: tours, large: large, books: newLedger()}
}

// limit changes how many files are fetched ahead.
func (a *across) limit(most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.most = most
}

// opened notes that a file was opened and begins what should follow.
func (a *across) opened(e backends.Entry) {
	if a.s.lister == nil {
		return
	}
	dir, base := backends.Split(e.Name)
	target := a.s.link.target()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.most <= 0 {
		return
	}
	a.books.opened(e)
	p := pace{depth: min(max(2, int(target/e.Size)), a.most), target: target}
	p.doubt = a.books.room(target) < 0
	a.follow(dir, base, p)
	if dir != "" {
		a.walk(dir, base, p)
	}
}

// closed notes that a file was closed of which something was read: all of it, in order, or not.
func (a *across) closed(e backends.Entry, through bool) {
	if e.Size <= a.s.o.SmallFile {
		return
	}
	dir, _ := backends.Split(e.Name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if through {
		a.large.Add(dir, struct{}{})
	} else {
		a.large.Remove(dir)
	}
}

// readsOn reports whether who opens a large file will read all of it, as far as can be told.
func (a *across) readsOn(e backends.Entry) bool {
	if e.Size <= a.s.o.SmallFile {
		return false
	}
	dir, _ := backends.Split(e.Name)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most > 0 && a.large.Contains(dir)
}

// pace is how far ahead to fetch.
type pace struct {
	depth  int   // files
	target int64 // bytes on their way
	doubt  bool  // too much was fetched for nothing
}

// follow fetches ahead within the directory of a file. The caller holds mu.
func (a *across) follow(dir, base string, p pace) {
	f, known := a.dirs.Get(dir)
	if !known {
		f = &follower{}
		a.dirs.Add(dir, f)
	}
	if f.note(a.s.lister, dir, base, false, p.depth) {
		f.end()
	}
	places, short := f.order.next(len(f.list.kids), f.order.depth(p.depth, p.doubt))
	files := make([]backends.Entry, len(places))
	for i, at := range places {
		files[i] = f.list.entry(at)
	}
	a.begin(&f.flow, files, p)
	if short > 0 {
		a.goOn(f)
	}
}

// goOn asks for more of a listing that ends before what is to be fetched ahead: one page, once for each end. The caller holds mu.
func (a *across) goOn(f *follower) {
	w, known, after := f.list, f.list.start || f.list.less, ""
	if f.order.step > 0 {
		known, after = w.end || w.more, w.kids[len(w.kids)-1].key
	} else { // nobody lists backwards: page after page from the beginning, while each file costs one
		after, _ = a.s.lister.resume(w.dir)
	}
	if known || f.paging || f.asked == "/"+after {
		return
	}
	f.asked, f.paging = "/"+after, true
	ctx := f.flow.begin(a.s.ctx)
	a.s.flying.Go(func() {
		_ = a.s.lister.more(ctx, w.dir, after) // whoever opens the file meets the error himself
		a.mu.Lock()
		defer a.mu.Unlock()
		f.paging = false
	})
}

// begin fetches those of files that are small and not here. The caller holds mu.
func (a *across) begin(f *flow, files []backends.Entry, p pace) {
	bytes := int64(0)
	for _, e := range files {
		if bytes += e.Size; !a.small(e) || bytes > a.s.o.Window || a.s.have(e) || !p.doubt && e.Size > a.books.room(p.target) {
			continue
		}
		a.books.ahead(e)
		ctx := f.begin(a.s.ctx)
		a.s.flying.Go(func() {
			came, spent := a.s.fetchWhole(ctx, e)
			a.mu.Lock()
			defer a.mu.Unlock()
			switch {
			case came:
			case spent:
				a.books.lose(e)
			default:
				a.books.forget(e)
			}
		})
	}
}

// small reports whether a file can be fetched whole ahead.
func (a *across) small(e backends.Entry) bool {
	return fetchable(e) && e.Tier == backends.Online && e.Size <= a.s.o.SmallFile
}

// fetchWhole fetches what is missing of an object that nobody waits for yet, and reports whether it came, or else whether the source was asked for any
// of it. An error is not told: whoever opens the object meets it himself.
func (s *Store) fetchWhole(ctx context.Context, e backends.Entry) (came, spent bool) {
	o, err := s.acquireNoted(ctx, s.idOf(e), e.Size)
	if err != nil {
		return false, false
	}
	defer s.release(o)
	o.mu.Lock()
	if o.entry.Name == "" {
		o.entry = e
	}
	usable := o.file != nil
	o.mu.Unlock()
	if !usable {
		return false, false
	}
	held := o.start(span{0, blockCount(e.Size)}, true) //nolint:contextcheck // a flight is shared: it lives on the store's context
	defer o.letGo(held)
	for _, f := range held {
		if err = o.await(ctx, f, f.blocks.to-1); err != nil {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return err == nil, slices.ContainsFunc(held, func(f *flight) bool { return f.sent })
}

// have reports whether all bytes of an entry are kept; by the books alone, once they are complete. Sources call it with their own locks held: it
// calls none of theirs.
func (s *Store) have(e backends.Entry) bool {
	return e.Size == 0 || s.haveAs(s.idOf(e), e)
}

// haveAs is have of an entry that is not empty, whose id is known: an id takes a keyed hash.
func (s *Store) haveAs(id objectID, e backends.Entry) bool {
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
