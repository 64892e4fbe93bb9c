package cache

import (
	"context"
	"slices"
	"strings"

	"studyfs/backends"
)

// nearby are files, or directories, that follow each other in one directory as far as that is known, by name. It does not change.
type nearby struct {
	dir        string
	kids       []kid
	start, end bool // there are none before, behind
	less, more bool // some that are known before, behind, are left out
}

// place returns where a name stands.
func (w nearby) place(base string) (int, bool) {
	return slices.BinarySearchFunc(w.kids, base, func(k kid, base string) int { return strings.Compare(k.base(), base) })
}

func (w nearby) entry(i int) backends.Entry { return w.kids[i].entry(w.dir) }

// nearby returns the files known around base in dir, or the directories, among the back children before it and the forth children from it on, believed or
// not: it is for guesses. It asks nobody.
func (l *lister) nearby(dir, base string, dirs bool, back, forth int) nearby {
	key := base
	if dirs {
		key += "/"
	}
	w := nearby{dir: dir}
	kids, iv, ok := l.knownAround(dir, key)
	if !ok {
		return w
	}
	lo, _ := kids.search(iv.lo)
	hi, _ := kids.search(iv.hi)
	at, _ := kids.search(key)
	from, to := max(lo, at-back), min(hi, at+forth)
	w.less, w.more = from > lo, to < hi
	w.start, w.end = iv.lo == "" && !w.less, iv.hi == top && !w.more
	for _, k := range kids.slice(from, to) {
		if k.dir() == dirs {
			w.kids = append(w.kids, k)
		}
	}
	if dirs { // in key order "a-b/" comes before "a/"
		slices.SortFunc(w.kids, func(a, b kid) int { return strings.Compare(a.base(), b.base()) })
	}
	return w
}

// knownAround returns the children of dir and the interval with key in which all are known.
func (l *lister) knownAround(dir, key string) (kids kidList, iv interval, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.index.dirs[dir]
	if d == nil {
		return kids, iv, false
	}
	i := slices.IndexFunc(d.known, func(iv interval) bool { return iv.lo <= key && key < iv.hi })
	if i < 0 {
		return kids, iv, false
	}
	return d.kids, d.known[i], true
}

// beginning returns the children of dir, of which the first n are known without a gap, and whether those are all.
func (l *lister) beginning(dir string) (kids kidList, n int, all bool) {
	kids, iv, ok := l.knownAround(dir, "")
	if !ok {
		return kids, 0, false
	}
	n, _ = kids.search(iv.hi)
	return kids, n, iv.hi == top
}

// more asks for one page of what follows the child key after in dir, "" for its beginning, and of all that lies below.
func (l *lister) more(ctx context.Context, dir, after string) error {
	key := prefixOf(dir) + after
	if after == "" {
		key = before(prefixOf(dir))
	}
	// Not as a call for dir: who lists it waits for all of it.
	_, err := l.share(ctx, dir+"\x00", func(ctx context.Context) error { return l.walkPage(ctx, dir, key) })
	return err
}
