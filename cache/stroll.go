package cache

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// strolls lists directories before they are opened: who goes through a tree, directory after directory, waits for a few answers in a row instead
// of one for each page. They follow only where a directory had to be asked for. It is safe for concurrent use.
type strolls struct {
	l *lister

	mu       sync.Mutex // guards all below, strolls and legs; taken before the lister's
	off      bool
	byParent *simplelru.LRU[string, *stroll]
	newest   *stroll // that has begun
}

// stroll is somebody's way through the directories of one parent, in the order of their keys.
type stroll struct {
	flow
	parent string
	last   string // child key of the one opened last
	ahead  string // up to this one all are listed, or in a leg
	run    int    // opened in order
	met    int    // opened, or listed ahead
	pages  int    // that those took
	early  int    // times that what was listed ahead was no longer believed when somebody came
	legs   []*leg // under way
}

// leg is neighbouring directories that are listed ahead, one after the other: each page of one brings some of the next.
type leg struct {
	keys []string      // child keys
	at   int           // so many of them are done with
	step chan struct{} // closed when at has moved
	err  error         // what ended it before its last directory, or with that
}

const (
	strollOrder = 3 // directories in order, before any is listed ahead
	legPages    = 4 // a leg is as long as so many pages, most likely: where it meets the next one, half a page comes twice
	longestLeg  = 256
	tooLarge    = 16   // pages of a directory that is not listed ahead, or no further: those behind it wait
	mostLegs    = 4    // at once
	lookedAt    = 4096 // children of which most can be files
)

func newStrolls(l *lister, off bool) *strolls {
	// The only error there is concerns a size below 1.
	byParent, _ := simplelru.NewLRU(maxFollowed, func(_ string, t *stroll) { t.end() })
	return &strolls{l: l, off: off, byParent: byParent}
}

// turn turns it on or off.
func (x *strolls) turn(off bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.off = off
	if off {
		x.byParent.Purge()
	}
}

// opened notes that somebody reads a directory, and how many pages it took so far, and begins what should follow.
func (x *strolls) opened(dir string, pages int) {
	src, ok := x.l.src.(backends.Seeker)
	if dir == "" || !ok || !src.Seeks(true) {
		return
	}
	parent, base := backends.Split(dir)
	x.mu.Lock()
	defer x.mu.Unlock()
	t, known := x.byParent.Get(parent)
	if x.off || !known && pages == 0 {
		return
	}
	if !known {
		t = x.follow(parent)
	}
	kids, n, all := x.l.beginning(parent)
	if !all {
		return
	}
	t.note(kids, base+"/", pages)
	if t.run < strollOrder<<t.early {
		return
	}
	x.newest = t
	for _, keys := range t.plan(kids, n) {
		t.send(x, keys)
	}
}

// follow goes with whoever reads the directories of one more parent. Whoever comes there from its neighbour goes on as he did there. The caller holds mu.
func (x *strolls) follow(parent string) *stroll {
	t := &stroll{parent: parent}
	x.byParent.Add(parent, t)
	if parent == "" || x.newest == nil || x.newest.parent == "" {
		return t
	}
	was := x.newest
	above, from := backends.Split(was.parent)
	here, to := backends.Split(parent)
	if here != above {
		return t
	}
	if kids, _, _ := x.l.beginning(here); from < to && stepsTo(kids, from+"/", to+"/", farOff) <= farOff {
		t.run, t.met, t.pages = was.run, was.met, was.pages
	}
	return t
}

// note takes in that a directory was opened, and ends what is on its way if an order was left.
func (t *stroll) note(kids kidList, key string, pages int) {
	t.met, t.pages = t.met+1, t.pages+pages
	was := t.last
	t.last = key
	switch steps := stepsTo(kids, was, key, farOff); {
	case was == "":
		t.run++
	case key <= was && stepsTo(kids, key, was, farOff) <= farOff: // several share the work
		t.last = was
	case steps > farOff, key <= was:
		t.end()
		t.anew(key)
	case pages > 0 && key <= t.ahead: // listed ahead, and no longer believed
		t.early = min(t.early+1, 16)
		t.end()
		t.anew(key)
	default:
		t.run++
	}
	t.ahead = max(t.ahead, t.last)
}

// anew forgets the way so far.
func (t *stroll) anew(key string) {
	t.last, t.ahead, t.run, t.met, t.pages = key, key, 1, 1, 1
}

// stepsTo is how many directories lie in (from, to], where that is no more than most, else more; 0 where to is not behind from.
func stepsTo(kids kidList, from, to string, most int) (n int) {
	first, _ := kids.search(next(from))
	for i := first; i < kids.len() && n <= most; i++ {
		key, dir := kids.keyAt(i)
		if key > to {
			return n
		}
		if dir {
			n++
		}
		if i-first > lookedAt {
			return most + 1
		}
	}
	return n
}

// plan returns the legs to send now, so that as many directories are ahead as were opened in order, twice. It notes that they are.
func (t *stroll) plan(kids kidList, n int) (legs [][]string) {
	if t.pages > tooLarge*t.met {
		return nil
	}
	each := t.each()
	far := min(2*t.run, each*mostLegs)
	ahead := stepsTo(kids, t.last, t.ahead, far)
	at, _ := kids.search(next(t.ahead))
	for len(t.legs)+len(legs) < mostLegs && ahead < far {
		keys, end := dirsFrom(kids, at, n, min(each, far-ahead))
		if at = end; len(keys) == 0 || len(keys) < each && end < n {
			break // not worth it yet
		}
		legs, ahead = append(legs, keys), ahead+len(keys)
		t.ahead = keys[len(keys)-1]
	}
	return legs
}

// each is how many directories a leg has.
func (t *stroll) each() int { return max(1, min(legPages*t.met/max(1, t.pages), longestLeg)) }

// dirsFrom returns the keys of up to most directories from the kid at on, and where they end.
func dirsFrom(kids kidList, at, n, most int) (keys []string, end int) {
	for last := min(n, at+lookedAt); at < last && len(keys) < most; at++ {
		if key, dir := kids.keyAt(at); dir {
			keys = append(keys, key)
		}
	}
	return keys, at
}

// send begins a leg. The caller holds mu.
func (t *stroll) send(x *strolls, keys []string) {
	g := &leg{keys: keys, step: make(chan struct{})}
	t.legs = append(t.legs, g)
	ctx := t.begin(x.l.ctx)
	x.l.work.Go(func() { x.walk(ctx, t, g) })
}

// walk lists the directories of a leg. What keeps one from being listed is met by who opens it, too.
func (x *strolls) walk(ctx context.Context, t *stroll, g *leg) {
	for _, key := range g.keys {
		pages, err := x.l.ensure(ctx, backends.Join(t.parent, strings.TrimSuffix(key, "/")), tooLarge)
		x.moved(t, g, pages, err)
		if err != nil {
			break
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	t.legs = slices.DeleteFunc(t.legs, func(have *leg) bool { return have == g })
}

// moved notes that a leg is done with one more directory, and what that took.
func (x *strolls) moved(t *stroll, g *leg, pages int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t.met, t.pages = t.met+1, t.pages+pages
	if err != nil && outage(err) {
		t.anew(t.last) // the other legs end as this one did
	}
	g.at, g.err = g.at+1, err
	close(g.step)
	g.step = make(chan struct{})
}

// wait waits while a directory is about to be listed ahead and nothing is known of it. An outage that its leg ran into is what it would run into,
// as long again.
func (x *strolls) wait(ctx context.Context, dir string) error {
	for {
		g, step := x.legOf(dir)
		if g == nil || x.l.knows(dir) {
			return nil
		}
		select {
		case <-step:
		case <-ctx.Done():
			return ctx.Err()
		}
		x.mu.Lock()
		err := g.err
		x.mu.Unlock()
		if err != nil && outage(err) {
			return err
		}
	}
}

// legOf returns the leg that has a directory before it, and what is closed when it has moved; nil: there is none.
func (x *strolls) legOf(dir string) (g *leg, step <-chan struct{}) {
	if dir == "" {
		return nil, nil
	}
	parent, base := backends.Split(dir)
	x.mu.Lock()
	defer x.mu.Unlock()
	t, known := x.byParent.Peek(parent)
	if !known {
		return nil, nil
	}
	for _, g := range t.legs {
		if i, ok := slices.BinarySearch(g.keys, base+"/"); ok && i >= g.at && g.err == nil {
			return g, g.step
		}
	}
	return nil, nil
}
