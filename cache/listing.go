package cache

import (
	"context"
	"slices"
	"strings"

	"studyfs/backends"
)

// Listing is the children of a directory, by name, as they were at one moment. It never changes, may be used by many goroutines at once, and takes
// little more memory than the listing cache does anyway. As long as nothing has changed it is the same one.
type Listing struct {
	dir   string
	kids  []kid
	whole []backends.Entry // instead of kids, of sources that keep their listings themselves
}

// Len is how many there are.
func (l *Listing) Len() int { return max(len(l.kids), len(l.whole)) }

// At returns one of them.
func (l *Listing) At(i int) backends.Entry {
	if l.whole != nil {
		return l.whole[i]
	}
	return l.kids[i].entry(l.dir)
}

// Same reports whether two listings are of the same moment.
func (l *Listing) Same(o *Listing) bool {
	if l == nil || o == nil || len(l.whole) == 0 {
		return l == o
	}
	return len(l.whole) == len(o.whole) && &l.whole[0] == &o.whole[0]
}

// Owned reports whether the store has the listing in memory anyway for as long as it is the newest: then nobody should hold it for longer.
func (l *Listing) Owned() bool { return l.whole == nil }

// entries returns them all.
func (l *Listing) entries() []backends.Entry {
	if l == nil || l.whole != nil {
		return nil
	}
	all := make([]backends.Entry, len(l.kids))
	for i, k := range l.kids {
		all[i] = k.entry(l.dir)
	}
	return all
}

// Listing returns the children of dir. It is List for directories that may be large.
func (s *Store) Listing(ctx context.Context, dir string) (*Listing, error) {
	if s.lister == nil {
		all, err := s.List(ctx, dir)
		return &Listing{dir: dir, whole: all}, err
	}
	if err := s.guard.check(ctx, s); err != nil {
		return nil, err
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return s.lister.view(ctx, dir)
}

// listing returns what is known of a directory. Where there are only files, key order is name order, and nothing is copied.
func (d *dirInfo) listing(dir string) *Listing {
	if d.view != nil {
		return d.view
	}
	kids := d.kids
	if slices.ContainsFunc(kids, kid.dir) {
		kids = slices.Clone(kids)
		slices.SortStableFunc(kids, func(a, b kid) int {
			if c := strings.Compare(a.base(), b.base()); c != 0 || a.dir() == b.dir() {
				return c
			}
			if a.dir() {
				return -1
			}
			return 1
		})
		kids = slices.CompactFunc(kids, func(a, b kid) bool { return a.base() == b.base() })
	}
	d.view = &Listing{dir: dir, kids: kids}
	return d.view
}

// own makes sure that kids can be changed in place.
func (d *dirInfo) own() {
	if v := d.view; v != nil {
		d.view = nil
		if len(v.kids) > 0 && len(d.kids) > 0 && &v.kids[0] == &d.kids[0] {
			d.kids = slices.Clone(d.kids)
		}
	}
}

// pack puts the strings of a page into one piece of memory: of a million keys each would be two pieces, the one of its name with the names of
// all directories above it.
func pack(kids []kid) {
	n := 0
	for _, k := range kids {
		n += len(k.key) + len(k.version)
	}
	var all strings.Builder
	all.Grow(n)
	for _, k := range kids {
		all.WriteString(k.key)
		all.WriteString(k.version)
	}
	rest, class := all.String(), ""
	for i := range kids {
		k := &kids[i]
		key, version := len(k.key), len(k.version)
		k.key, k.version, rest = rest[:key], rest[key:key+version], rest[key+version:]
		if k.class != class {
			class = k.class
		}
		k.class = class
	}
}
