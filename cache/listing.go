package cache

import (
	"cmp"
	"slices"
	"sort"
	"strings"
	"sync"

	"studyfs/backends"
)

// Listing is the children of a directory as they were listed. It grows while pages come, and is then the same for good: what it has once
// does not change, nor its place. It may be used by many goroutines at once, and takes little more memory than the listing cache does
// anyway. As long as nothing has changed it is the same one.
//
// Their order is that of their names with "/" behind: nearly that of their names, and known for good of all before the key that a listing has
// come to. Whether "a" is a file or a directory is not, before "a.txt" and all else before "a/" have come.
type Listing struct {
	prefix string           // of names
	given  []backends.Entry // instead of what follows, of sources that keep their listings themselves

	mu      sync.Mutex // guards what follows
	runs    []run      // what has come
	hi      string     // all child keys below it were looked at
	pending []run      // files that have come, but a directory of the same name could; each name begins with that of the one before
	step    chan struct{}
}

// run is kids of one page, in a row: [from, to). start is how many entries of the listing lie before them.
type run struct {
	page            *kidPage
	from, to, start int
}

// last is the key of the last one.
func (r run) last() string { return r.page.key(r.to - 1) }

// behind is the byte that a key has behind that of a file which it begins with; 0 where it does not.
func (r run) behind(page *kidPage, i int) byte {
	if r.page != page {
		return after(page.key(i), r.last())
	}
	return after(page.rest(i), page.rest(r.from))
}

func after(key, file string) byte {
	if rest, ok := strings.CutPrefix(key, file); ok && rest != "" {
		return rest[0]
	}
	return 0
}

func newListing(dir string) *Listing { return &Listing{prefix: prefixOf(dir)} }

// Len is how many there are, so far.
func (l *Listing) Len() int {
	if l.given != nil {
		return len(l.given)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count()
}

func (l *Listing) count() int {
	if len(l.runs) == 0 {
		return 0
	}
	last := l.runs[len(l.runs)-1]
	return last.start + last.to - last.from
}

// At returns one of them.
func (l *Listing) At(i int) backends.Entry {
	if l.given != nil {
		return l.given[i]
	}
	page, at := l.place(i)
	return page.entry(at, l.prefix)
}

func (l *Listing) place(i int) (*kidPage, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.runs[sort.Search(len(l.runs), func(r int) bool { return l.runs[r].start > i })-1]
	return r.page, r.from + i - r.start
}

// Find returns the place of a name among those that have come.
func (l *Listing) Find(base string) (int, bool) {
	if l.given != nil {
		return sort.Find(len(l.given), func(i int) int {
			_, have := backends.Split(l.given[i].Name)
			return cmp.Compare(base, have)
		})
	}
	return sort.Find(l.Len(), func(i int) int {
		page, at := l.place(i)
		return cmp.Compare(base+"/", strings.TrimSuffix(page.key(at), "/")+"/")
	})
}

// Same reports whether two listings are of the same moment.
func (l *Listing) Same(o *Listing) bool {
	if l == nil || o == nil || len(l.given) == 0 {
		return l == o
	}
	return len(l.given) == len(o.given) && &l.given[0] == &o.given[0]
}

// Owned reports whether the store has the listing in memory anyway for as long as it is the newest: then nobody should hold it for longer.
func (l *Listing) Owned() bool { return l.given == nil }

// entries returns them all, by name.
func (l *Listing) entries() []backends.Entry {
	if l == nil || l.given != nil {
		return nil
	}
	l.mu.Lock()
	runs, n := slices.Clone(l.runs), l.count()
	l.mu.Unlock()
	all := make([]backends.Entry, 0, n)
	for _, r := range runs {
		for i := r.from; i < r.to; i++ {
			all = append(all, r.page.entry(i, l.prefix))
		}
	}
	byName := func(a, b backends.Entry) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(all, byName) {
		slices.SortFunc(all, byName)
	}
	return all
}

// reach is the child key up to which all that is known has come; top where that is all.
func (l *Listing) reach() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hi
}

// state tells how many have come, whether those are all, and what is closed when it is time to look again: nothing, where they are all.
func (l *Listing) state() (n int, all bool, step <-chan struct{}) {
	if l.given != nil {
		return len(l.given), true, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all = l.hi == top
	if l.step == nil && !all { // a channel for each of 100,000 folders would be 11 MiB
		l.step = make(chan struct{})
	}
	return l.count(), all, l.step
}

// grow takes in those of kids that lie behind all that has come, up to the child key hi: below that, kids are complete.
func (l *Listing) grow(kids kidList, hi string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.stir()
	if hi <= l.hi {
		return
	}
	from, _ := kids.search(l.hi)
	to, _ := kids.search(hi)
	for p, at := kids.find(from); p < len(kids.pages) && kids.pages[p].start < to; p, at = p+1, 0 {
		page := kids.pages[p]
		for i := at; i < min(len(page.kids), to-page.start); i++ {
			l.push(page.kidPage, i)
		}
	}
	l.hi = hi
	for len(l.pending) > 0 && (hi == top || l.pending[len(l.pending)-1].last()+"/" < hi) {
		l.settle()
	}
	if hi == top {
		l.pending = nil
	}
}

// stir has all look again who wait. The caller holds mu.
func (l *Listing) stir() {
	if l.step != nil {
		close(l.step)
		l.step = nil
	}
}

// push takes in the next kid in key order.
func (l *Listing) push(page *kidPage, i int) {
	for len(l.pending) > 0 {
		n := len(l.pending) - 1
		behind := l.pending[n].behind(page, i)
		if behind == '/' {
			l.pending = l.pending[:n] // the directory is what is shown
		}
		if behind != 0 && behind <= '/' {
			break
		}
		l.settle()
	}
	l.pending = append(l.pending, run{page: page, from: i, to: i + 1})
	if page.dir(i) {
		l.settle()
	}
}

// settle moves the last of those pending to where they stay.
func (l *Listing) settle() {
	n := len(l.pending) - 1
	r := l.pending[n]
	l.pending = l.pending[:n]
	if last := len(l.runs) - 1; last >= 0 && l.runs[last].page == r.page && l.runs[last].to == r.from {
		l.runs[last].to++
		return
	}
	r.start = l.count()
	l.runs = append(l.runs, r)
}

// listing returns what is known of a directory of which all is.
func (d *dirInfo) listing(dir string) *Listing {
	if d.view == nil {
		d.view = newListing(dir)
	}
	d.view.grow(d.kids, d.reach())
	return d.view
}
