package cache

import (
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// order follows in which order the files of one directory are opened, or the directories of one parent, and says which to fetch ahead. They are
// meant by their place in the listing. It is pure: no lock, no clock, no I/O.
type order struct {
	last  int // opened last
	step  int // from each to the next: 1 in order, -1 backwards, 3 every third
	run   int // opens in a row with that step
	odd   int // the step that was another, if that was the last one
	ahead int // up to this one all have been asked for
}

const (
	inOrder  = 2  // opens that begin it, one after the other: with shuffled files of a hundred, one pair in a hundred is in order by chance
	byStride = 3  // the same with any other step, as any two files are some step apart
	farOff   = 3  // so many steps off is still in order: a program leaves out a file or two, or several share the work
	widest   = 16 // steps beyond are jumps
	fewAhead = 20 // in doubt, one file ahead for so many that were read
)

// note takes in that the one at place at was opened. left tells that an order was left: what was fetched ahead in it is no longer wanted.
func (r *order) note(at int) (left bool) {
	d := at - r.last
	switch k := r.steps(d); {
	case r.run == 0:
		*r = order{last: at, run: 1, ahead: at}
		return false
	case d == 0, r.late(k):
		return false
	case k == 1:
		r.run, r.odd = r.run+1, 0
	case r.begun() && 1 < k && k <= farOff && d != r.odd:
		r.run, r.odd = max(r.run/2, r.need()), d
	default:
		left = r.begun()
		r.other(at, d)
		return left
	}
	r.last = at
	if (r.ahead-at)*r.step < 0 {
		r.ahead = at
	}
	return false
}

// late reports whether one k steps off was passed over a moment ago.
func (r *order) late(k int) bool { return r.begun() && -farOff <= k && k < 0 }

// other begins anew at the place at, which lies d off the last one.
func (r *order) other(at, d int) {
	fresh := order{last: at, run: 1, ahead: at}
	if -widest <= d && d <= widest {
		fresh.step, fresh.run = d, 2
		if d == r.odd {
			fresh.run = byStride
		}
	}
	*r = fresh
}

// steps is how many steps d is, 0 for no whole number of them.
func (r *order) steps(d int) int {
	if r.step == 0 || d%r.step != 0 {
		return 0
	}
	return d / r.step
}

func (r *order) need() int {
	if r.step == 1 {
		return inOrder
	}
	return byStride
}

func (r *order) begun() bool { return r.step != 0 && r.run >= r.need() }

// shift moves all places: the listing has others before them now.
func (r *order) shift(by int) { r.last, r.ahead = r.last+by, r.ahead+by }

// depth is how many to have ahead, most at the most. Whoever stops has had at most twice as much fetched for nothing as he read; in doubt, a twentieth.
func (r *order) depth(most int, doubt bool) int {
	if doubt {
		return min(r.run/fewAhead, most)
	}
	return min(2*r.run, most)
}

// next returns the places to fetch now, each once, so that depth are ahead; n is how many there are. short is how many more there would be if
// the listing did not end.
func (r *order) next(n, depth int) (places []int, short int) {
	if !r.begun() {
		return nil, 0
	}
	have := (r.ahead - r.last) / r.step
	full := have > depth/2
	for k := 1; k <= depth; k++ {
		at := r.last + k*r.step
		if at < 0 || at >= n {
			return places, depth - k + 1
		}
		if k > have && !full {
			places = append(places, at)
			r.ahead = at
		}
	}
	return places, 0
}

// habit is which files of a directory somebody reads who goes from directory to directory.
type habit struct {
	whole  bool  // all small ones
	places []int // which, in order, among all children
	of     int   // how many children there are
}

// same reports whether two directories were read alike.
func (h habit) same(o habit) bool {
	return h.of > 0 && h.whole == o.whole && (h.whole || h.of == o.of && slices.Equal(h.places, o.places))
}

// wants returns the places of the files that will be read in a directory of n children, most of them at the most. Where not all are read, that
// is known only of directories with as many children.
func (h habit) wants(n, most int) []int {
	var places []int
	for i := range min(n, most) {
		switch {
		case h.whole:
			places = append(places, i)
		case h.of == n && i < len(h.places):
			places = append(places, h.places[i])
		}
	}
	return places
}

// ledger counts what was fetched ahead and not read, so that it stays a twentieth of what was read, but for spare; with what is fetched in doubt, a
// tenth. It is pure.
type ledger struct {
	read   int64                         // bytes of small files that were opened
	unread *simplelru.LRU[string, int64] // fetched ahead and not opened since, by name; those that fall out count on
	risk   int64                         // their bytes
}

const (
	maxUnread  = 4096
	spare      = 4 << 20
	wasteShare = 20
)

func newLedger() *ledger {
	unread, _ := simplelru.NewLRU[string, int64](maxUnread, nil) // the only error there is concerns a size below 1
	return &ledger{unread: unread}
}

// opened notes that somebody reads e.
func (l *ledger) opened(e backends.Entry) {
	l.read += e.Size
	l.forget(e)
}

// forget takes e out, which nothing was fetched of, or not for nothing.
func (l *ledger) forget(e backends.Entry) {
	if n, ok := l.unread.Peek(e.Name); ok {
		l.unread.Remove(e.Name)
		l.risk -= n
	}
}

// lose notes that what was fetched of e will be fetched again.
func (l *ledger) lose(e backends.Entry) { l.unread.Remove(e.Name) }

// ahead notes that e is fetched before anybody asked.
func (l *ledger) ahead(e backends.Entry) {
	l.forget(e)
	l.unread.Add(e.Name, e.Size)
	l.risk += e.Size
}

// room is how many bytes more may be fetched ahead, if as many as target may be on their way; below 0 there is doubt.
func (l *ledger) room(target int64) int64 { return l.read/wasteShare + spare + target - l.risk }
