package cache

import (
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// index is what is known of a source's key space: per directory its children in key order and the intervals of child
// keys within which all children are known. It has no lock, clock or I/O: the lister guards it.
//
// A child key is the name of a file, or the name of a directory and "/": the order in which object stores list. A directory's
// child keys between two names lie together with all that lies below them, so one page of a flat listing covers an interval in every
// directory that it passes:
//
//	page (after … last]        a/x  a/y  b/p/1  b/p/2  c
//	root     ···········[ a/ ················ b/ ········ c ]···
//	a/                  [ x  y ] = all
//	b/                            [ p/ ] = all
type index struct {
	dirs  map[string]*dirInfo
	kids  int // of all directories
	clock int64
}

// dirInfo is what is known of one directory.
type dirInfo struct {
	kids  kidList // one that lies in no known interval is left from an older listing and not believed
	known []interval
	told  []interval // was known before what is known now: of names in it somebody may believe that there are none
	at    time.Time  // of the oldest interval, or of the end of a listing that outlived it
	disk  bool       // read from disk, not seen in this run
	busy  bool       // being listed: what has come of it is believed until all has
	used  int64      // index.clock at the last use
	view  *Listing   // that was handed out: of these very kids, as far as it goes
}

// kid is one child. key ends in "/" if it is a directory.
type kid struct {
	key     string
	size    int64
	mod     time.Time
	version string
	class   string
	tier    backends.Tier
	put     bool // by this machine: known to be there before a listing says so, with the time that the upload had
}

func (k kid) dir() bool    { return strings.HasSuffix(k.key, "/") }
func (k kid) base() string { return strings.TrimSuffix(k.key, "/") }

func (k kid) entry(dir string) backends.Entry {
	e := backends.Entry{Name: backends.Join(dir, k.base()), Dir: k.dir(), ModTime: k.mod}
	if !e.Dir {
		e.Size, e.Version, e.Class, e.Tier = k.size, k.version, k.class, k.tier
	}
	return e
}

func (k kid) same(o kid) bool {
	return k.version == o.version && k.size == o.size && k.tier == o.tier && k.class == o.class && k.mod.Equal(o.mod)
}

// interval is the half-open range of child keys [lo, hi).
type interval struct{ lo, hi string }

// top lies above every child key: 0xff is no part of UTF-8.
const top = "\xff"

// next returns the smallest child key above key: past all that lies below it if it is a directory.
func next(key string) string {
	if key == "" {
		return ""
	}
	if dir, ok := strings.CutSuffix(key, "/"); ok {
		return dir + "0" // the byte after '/'
	}
	return key + "\x00"
}

// before returns a key below key with few keys between: what to list after in order to begin with key.
func before(key string) string {
	r := []rune(key)
	if len(r) == 0 {
		return ""
	}
	last := r[len(r)-1] - 1
	if last < ' ' || (last >= 0xd800 && last < 0xe000) {
		return string(r[:len(r)-1])
	}
	return string(append(r[:len(r)-1], last, 0x10ffff))
}

func newIndex() *index { return &index{dirs: map[string]*dirInfo{}} }

func prefixOf(dir string) string {
	if dir == "" {
		return ""
	}
	return dir + "/"
}

// verdict is the answer to "is there a child of this name".
type verdict uint8

const (
	unknown verdict = iota
	present
	absent
)

// find looks base up in dir. Where it is unknown, from is the child key to ask for.
func (x *index) find(dir, base string) (k kid, v verdict, from string) {
	d := x.dirs[dir]
	if d == nil {
		return kid{}, unknown, base
	}
	x.clock++
	d.used = x.clock
	keys := [...]string{base, base + "/"}
	if k, ok := d.search(keys[1]); ok && d.covers(keys[1]) {
		return k, present, "" // also where there is a file of that name
	}
	file, ok := d.search(keys[0])
	if ok && file.put && d.covers(keys[0]) {
		return file, present, ""
	}
	for _, key := range keys {
		if !d.covers(key) {
			return kid{}, unknown, key
		}
	}
	if ok {
		return file, present, ""
	}
	return kid{}, absent, ""
}

// children returns the children of dir in name order if all are known; otherwise the child key after which the
// unknown begins.
func (x *index) children(dir string) (all *Listing, complete bool, after string) {
	d := x.dirs[dir]
	if d == nil || d.reach() == "" {
		return nil, false, ""
	}
	x.clock++
	d.used = x.clock
	if hi := d.reach(); hi != top {
		return nil, false, lastBelow(hi)
	}
	return d.listing(dir), true, ""
}

// lastBelow undoes next.
func lastBelow(hi string) string {
	if key, ok := strings.CutSuffix(hi, "\x00"); ok {
		return key
	}
	if dir, ok := strings.CutSuffix(hi, "0"); ok {
		return dir + "/"
	}
	return before(hi)
}

func (d *dirInfo) search(key string) (kid, bool) {
	i, ok := d.kids.search(key)
	if !ok {
		return kid{}, false
	}
	return d.kids.at(i), true
}

// reach is the child key below which all children are known, from the first on; "" if none are.
func (d *dirInfo) reach() string {
	if len(d.known) == 0 || d.known[0].lo != "" {
		return ""
	}
	return d.known[0].hi
}

// unsee forgets the listing that was handed out: kids from lo on are about to change.
func (d *dirInfo) unsee(lo string) {
	if d.view != nil && lo < d.view.reach() {
		d.view = nil
	}
}

func (d *dirInfo) covers(key string) bool { return covers(d.known, key) }

func covers(known []interval, key string) bool {
	return slices.ContainsFunc(known, func(iv interval) bool { return iv.lo <= key && key < iv.hi })
}

// diff is what a page changed of what was known before.
type diff struct {
	changes []backends.Change
	removed []backends.Entry // files that are gone, or have another version, with the one they had
}

// applyWalk takes in one page of a flat listing of the whole source, as asked for after the key after. expired says
// which directories' older knowledge the page is to replace rather than to complete.
func (x *index) applyWalk(after string, p backends.Page, now time.Time, expired func(dir string, d *dirInfo) bool) diff {
	pages := map[string][]kid{"": nil}
	order := []string{""}
	meet := func(dir string) (first bool) {
		if _, met := pages[dir]; met {
			return false
		}
		pages[dir], order = nil, append(order, dir)
		return true
	}
	for _, e := range p.Entries {
		if e.Dir {
			meet(e.Name)
		}
		for name, k := e.Name, kidOf(e); ; {
			dir, _ := backends.Split(name)
			first := meet(dir)
			pages[dir] = appendKid(pages[dir], k)
			if !first {
				break // it stands among its own parent's children already
			}
			_, base := backends.Split(dir)
			name, k = dir, kid{key: base + "/"}
		}
	}
	for dir, _ := backends.Split(after); dir != ""; dir, _ = backends.Split(dir) {
		if x.dirs[dir] != nil {
			meet(dir) // the page may tell that nothing follows in it
		}
	}
	var out diff
	for _, dir := range order {
		iv, ok := overlap(prefixOf(dir), after, p)
		if ok {
			x.replace(dir, iv, pages[dir], now, expired, &out)
		}
	}
	return out
}

// appendKid adds k behind kids, once; a page is in key order, so equal ones are neighbours. A marker's own time is kept.
func appendKid(kids []kid, k kid) []kid {
	if n := len(kids); n > 0 && kids[n-1].key == k.key {
		return kids
	}
	return append(kids, k)
}

func kidOf(e backends.Entry) kid {
	_, base := backends.Split(e.Name)
	if e.Dir {
		return kid{key: base + "/", mod: e.ModTime}
	}
	return kid{key: base, size: e.Size, mod: e.ModTime, version: e.Version, class: e.Class, tier: e.Tier}
}

// overlap returns the interval of child keys of the directory with prefix that a flat page covers.
func overlap(prefix, after string, p backends.Page) (iv interval, ok bool) {
	iv = interval{"", top}
	switch rel, inside := strings.CutPrefix(after, prefix); {
	case inside:
		if before, _, ok := strings.Cut(rel, "/"); ok {
			iv.lo = before + "0" // begins within that child: whether it exists is not proven
		} else if rel != "" {
			iv.lo = rel + "\x00"
		}
	case after > prefix:
		return iv, false // begins behind the directory
	}
	if !p.More {
		return iv, true
	}
	switch rel, inside := strings.CutPrefix(p.Last, prefix); {
	case inside && rel == "":
		return iv, false // ended at the directory's own marker
	case inside:
		if before, _, ok := strings.Cut(rel, "/"); ok {
			iv.hi = before + "/"
		} else {
			iv.hi = rel + "\x00"
		}
	case p.Last < prefix:
		return iv, false
	}
	return iv, iv.lo <= iv.hi
}

// applyList takes in one page of a delimited listing of dir, as asked for after the child key after.
func (x *index) applyList(dir, after string, p backends.Page, now time.Time, expired func(string, *dirInfo) bool) diff {
	var kids []kid
	for _, e := range p.Entries {
		kids = append(kids, kidOf(e))
	}
	iv := interval{next(after), top}
	if p.More {
		iv.hi = next(strings.TrimPrefix(p.Last, prefixOf(dir)))
	}
	var out diff
	x.replace(dir, iv, kids, now, expired, &out)
	return out
}

// replace sets what is known of dir's children within iv. A kid just outside of it (the directory in which a page
// begins or ends) is proven to exist and widens it.
func (x *index) replace(dir string, iv interval, kids []kid, now time.Time, expired func(string, *dirInfo) bool, out *diff) {
	d := x.dirs[dir]
	if d == nil {
		d = &dirInfo{at: now}
		x.dirs[dir] = d
	}
	was := slices.Concat(d.told, d.known)
	if expired(dir, d) {
		for _, iv := range d.known {
			d.told = addInterval(d.told, iv)
		}
		d.known, d.at, d.disk = nil, now, false
	}
	if len(d.known) == 0 {
		d.at = now
	}
	x.clock++
	d.used = x.clock
	if n := len(kids); n > 0 {
		iv.lo = min(iv.lo, kids[0].key)
		iv.hi = max(iv.hi, next(kids[n-1].key))
	}
	if iv.lo >= iv.hi {
		return
	}
	d.unsee(iv.lo)
	from, _ := d.kids.search(iv.lo)
	to, _ := d.kids.search(iv.hi)
	old := d.kids.slice(from, to)
	for i, k := range kids {
		if j, ok := slices.BinarySearchFunc(old, k.key, func(k kid, key string) int { return strings.Compare(k.key, key) }); ok {
			kids[i] = k.settle(old[j])
		}
	}
	x.kids += len(kids) - len(old)
	d.kids = d.kids.replace(from, to, kids)
	d.known = addInterval(d.known, iv)
	x.compare(dir, old, kids, was, out)
}

// compare reports the differences between two lists of kids in key order. What is met for the first time is no change: in a folder of 100,000 files that
// was listed page by page, the kernel was told to forget each of them, and with them its copy of the listing, which it did not
// take again.
func (x *index) compare(dir string, old, kids []kid, was []interval, out *diff) {
	var names []string
	for len(old) > 0 || len(kids) > 0 {
		switch {
		case len(old) == 0 || len(kids) > 0 && kids[0].key < old[0].key:
			if covers(was, kids[0].key) {
				names = append(names, backends.Join(dir, kids[0].base()))
			}
			kids = kids[1:]
		case len(kids) == 0 || old[0].key < kids[0].key:
			names = append(names, backends.Join(dir, old[0].base()))
			x.gone(dir, old[0], out)
			old = old[1:]
		default:
			if replaced(dir, old[0], kids[0], out) {
				names = append(names, backends.Join(dir, kids[0].base()))
			}
			old, kids = old[1:], kids[1:]
		}
	}
	if len(names) > 0 {
		out.changes = append(out.changes, backends.Change{Dir: dir, Names: names})
	}
}

// replaced reports whether a file changed, and notes its old version as removed if it has a new one.
func replaced(dir string, old, now kid, out *diff) bool {
	if old.put && old.class == "" {
		old.class = now.class // not all services name it in the answer to an upload
	}
	if old.dir() || old.same(now) {
		return false
	}
	if old.version != now.version {
		out.removed = append(out.removed, old.entry(dir))
	}
	return true
}

// gone notes that a child is no more, with all that was known below it.
func (x *index) gone(dir string, k kid, out *diff) {
	if !k.dir() {
		out.removed = append(out.removed, k.entry(dir))
		return
	}
	name := backends.Join(dir, k.base())
	if d := x.dirs[name]; d != nil {
		delete(x.dirs, name)
		x.kids -= d.kids.len()
		for below := range d.kids.all() {
			x.gone(name, below, out)
		}
	}
}

// addInterval returns the union of disjoint sorted intervals and one more.
func addInterval(known []interval, iv interval) []interval {
	out := make([]interval, 0, len(known)+1)
	for _, k := range known {
		if k.hi < iv.lo || iv.hi < k.lo {
			out = append(out, k)
			continue
		}
		iv.lo, iv.hi = min(iv.lo, k.lo), max(iv.hi, k.hi)
	}
	out = append(out, iv)
	slices.SortFunc(out, func(a, b interval) int { return strings.Compare(a.lo, b.lo) })
	return out
}

// trim forgets the directories used longest ago until no more than limit children are kept; those used after since stay.
func (x *index) trim(limit int, since int64) {
	if x.kids <= limit {
		return
	}
	type use struct {
		dir  string
		used int64
	}
	uses := make([]use, 0, len(x.dirs))
	for dir, d := range x.dirs {
		uses = append(uses, use{dir, d.used})
	}
	slices.SortFunc(uses, func(a, b use) int { return int(a.used - b.used) })
	for _, u := range uses {
		if x.kids <= limit*9/10 || u.used > since {
			return
		}
		if d := x.dirs[u.dir]; !d.busy {
			x.kids -= d.kids.len()
			delete(x.dirs, u.dir)
		}
	}
}

// sortByKey puts entries into key order.
func sortByKey(entries []backends.Entry) {
	slices.SortFunc(entries, func(a, b backends.Entry) int { return strings.Compare(kidOf(a).key, kidOf(b).key) })
}
