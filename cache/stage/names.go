package stage

import (
	"cmp"
	"slices"

	"studyfs/backends"
)

// names is the tree of what is staged: per directory the items in it, and the directories that exist because of what is staged below
// them. Junk brings no directory about, and keeps none from being empty. It has no lock and no I/O: the Stage guards it.
type names struct {
	folders map[string]*folder
	junk    bool // there is junk; else every name is as good as another
}

type folder struct {
	items map[string]*item // by the last part of the name
	below map[string]int   // how many items lie below each child, at any depth
	real  int              // how many items lie here and below that are no junk
}

func newNames(junk bool) names { return names{folders: map[string]*folder{}, junk: junk} }

func (n names) folder(dir string) *folder {
	f := n.folders[dir]
	if f == nil {
		f = &folder{items: map[string]*item{}, below: map[string]int{}}
		n.folders[dir] = f
	}
	return f
}

// find returns the item of a name; implied: there is none, but a directory of that name, since something lies below it.
func (n names) find(name string) (it *item, implied bool) {
	dir, base := backends.Split(name)
	if f := n.folders[dir]; f != nil {
		it = f.items[base]
	}
	return it, it == nil && !n.empty(name)
}

// add puts an item under its name, which must be free.
func (n names) add(it *item) {
	it.junk = n.isJunk(it)
	n.count(it, 1)
}

// remove takes an item out that stands under its name.
func (n names) remove(it *item) { n.count(it, -1) }

func (n names) count(it *item, by int) {
	dir, base := backends.Split(it.name)
	f, counts := n.folder(dir), by
	if it.junk {
		counts = 0
	}
	if by > 0 {
		f.items[base] = it
	} else if f.items[base] == it {
		delete(f.items, base)
	}
	f.real += counts
	n.tidy(dir, f)
	for dir != "" {
		var up string
		up, base = backends.Split(dir)
		f := n.folder(up)
		if f.below[base] += by; f.below[base] == 0 {
			delete(f.below, base)
		}
		f.real += counts
		n.tidy(up, f)
		dir = up
	}
}

func (n names) tidy(dir string, f *folder) {
	if len(f.items) == 0 && len(f.below) == 0 {
		delete(n.folders, dir)
	}
}

// empty reports whether nothing is staged below a directory but junk.
func (n names) empty(dir string) bool {
	f := n.folders[dir]
	return f == nil || f.real == 0
}

// bare reports whether nothing is staged below a directory, not even junk.
func (n names) bare(dir string) bool { return n.folders[dir] == nil }

// all returns every item below a directory, parents before what lies in them.
func (n names) all(dir string) (out []*item) {
	f := n.folders[dir]
	if f == nil {
		return nil
	}
	for _, it := range f.items {
		out = append(out, it)
	}
	for base := range f.below {
		out = append(out, n.all(backends.Join(dir, base))...)
	}
	return out
}

// children returns the items and the implied directories in dir, by name.
func (n names) children(dir string) (items []*item, implied []string) {
	f := n.folders[dir]
	if f == nil {
		return nil, nil
	}
	for _, it := range f.items {
		items = append(items, it)
	}
	for base := range f.below {
		if name := backends.Join(dir, base); f.items[base] == nil && !n.empty(name) {
			implied = append(implied, name)
		}
	}
	slices.SortFunc(items, func(a, b *item) int { return cmp.Compare(a.name, b.name) })
	slices.Sort(implied)
	return items, implied
}

// ancestors returns the directory items above a name.
func (n names) ancestors(name string) (out []*item) {
	for dir, _ := backends.Split(name); dir != ""; dir, _ = backends.Split(dir) {
		if it, _ := n.find(dir); it != nil && it.kind == Dir {
			out = append(out, it)
		}
	}
	return out
}
