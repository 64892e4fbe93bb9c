package cache

import (
	"encoding/hex"
	"iter"
	"slices"
	"sort"
	"strings"

	"studyfs/backends"
)

// kidList is the children of a directory, in key order. It is a value: what makes another list of it leaves it as it was. So it may be kept,
// and read without a lock, while the index goes on. Lists share what they have in common.
type kidList struct{ pages []pageAt }

// pageAt is a page and how many kids lie before it.
type pageAt struct {
	*kidPage
	start int
}

// pageKids is how many kids a page has at most: one changed kid costs a page.
const pageKids = 128

// kidPage is neighbours among the children, at least one, packed: a million strings and times would be twice the memory, and as many
// pieces for the garbage collector to look at. It never changes.
type kidPage struct {
	prefix  string // that all keys have
	text    string // of each kid the rest of its key, and its version
	kids    []packed
	classes []string
}

// packed is a kid without its strings.
type packed struct {
	size, mod    int64
	key, version uint32 // where they end in text
	class        uint8
	tier         backends.Tier
	put          bool
	etag         bool // the version is 16 bytes that stand for a quoted MD5 sum
}

func (l kidList) len() int {
	if len(l.pages) == 0 {
		return 0
	}
	last := l.pages[len(l.pages)-1]
	return last.start + len(last.kids)
}

// find returns the page that kid i lies in, and its place there; behind the last page for what lies behind the last kid.
func (l kidList) find(i int) (page, at int) {
	page = sort.Search(len(l.pages), func(p int) bool { return l.pages[p].start > i }) - 1
	if page < 0 || i >= l.pages[page].start+len(l.pages[page].kids) {
		return len(l.pages), 0
	}
	return page, i - l.pages[page].start
}

// keyAt returns the key of kid i, and whether it is a directory.
func (l kidList) keyAt(i int) (key string, dir bool) {
	p, at := l.find(i)
	return l.pages[p].key(at), l.pages[p].dir(at)
}

func (l kidList) at(i int) kid {
	p, at := l.find(i)
	return l.pages[p].kid(at)
}

// search returns the place of key, or the one that it would have.
func (l kidList) search(key string) (int, bool) {
	p := sort.Search(len(l.pages), func(p int) bool { return l.pages[p].compare(0, key) > 0 }) - 1
	if p < 0 {
		return 0, false
	}
	page := l.pages[p]
	at, found := sort.Find(len(page.kids), func(i int) int { return -page.compare(i, key) })
	return page.start + at, found
}

// all yields the kids in order.
func (l kidList) all() iter.Seq[kid] {
	return func(yield func(kid) bool) {
		var kids []kid
		for _, p := range l.pages {
			kids = p.unpack(kids[:0], 0, len(p.kids))
			for _, k := range kids {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// countSmall counts the files of up to most bytes that can be read at once, without unpacking them, and stops behind enough.
func (l kidList) countSmall(most int64, enough int) (n int) {
	for _, p := range l.pages {
		for i := range p.kids {
			if k := &p.kids[i]; 0 < k.size && k.size <= most && k.tier == backends.Online && !p.dir(i) {
				n++
			}
			if n > enough {
				return n
			}
		}
	}
	return n
}

// slice returns the kids [from, to).
func (l kidList) slice(from, to int) []kid {
	if from >= to {
		return nil
	}
	out := make([]kid, 0, to-from)
	for p, at := l.find(from); len(out) < to-from; p, at = p+1, 0 {
		page := l.pages[p]
		out = page.unpack(out, at, min(len(page.kids), to-page.start))
	}
	return out
}

// replace returns a list with kids in the place of [from, to).
func (l kidList) replace(from, to int, kids []kid) kidList {
	first, at := l.find(from)
	last, end := l.find(to)
	run := slices.Concat(l.slice(from-at, from), kids)
	if end > 0 {
		page := l.pages[last]
		run = append(run, l.slice(to, page.start+len(page.kids))...)
		last++
	}
	if first > 0 && len(run) > 0 && len(l.pages[first-1].kids)+len(run) <= pageKids { // not a page for each kid that comes
		first--
		run = slices.Concat(l.pages[first].unpack(nil, 0, len(l.pages[first].kids)), run)
	}
	pages := make([]pageAt, 0, len(l.pages)-(last-first)+1+len(run)/pageKids)
	pages = append(pages, l.pages[:first]...)
	for parts := (len(run) + pageKids - 1) / pageKids; parts > 0; parts-- {
		n := len(run) / parts
		pages = append(pages, pageAt{kidPage: pack(run[:n])})
		run = run[n:]
	}
	pages = append(pages, l.pages[last:]...)
	for i := first; i < len(pages); i++ {
		pages[i].start = 0
		if i > 0 {
			pages[i].start = pages[i-1].start + len(pages[i-1].kids)
		}
	}
	return kidList{pages}
}

// pack makes a page of at most pageKids kids, at least one.
func pack(kids []kid) *kidPage {
	p := &kidPage{kids: make([]packed, len(kids))}
	p.prefix = strings.Clone(kids[0].key[:min(common(kids[0].key, kids[len(kids)-1].key), len(kids[0].key)-1)]) // no rest is empty
	n := 0
	for i := range kids {
		n += len(kids[i].key) - len(p.prefix) + len(kids[i].version)
	}
	text := make([]byte, 0, n)
	for i := range kids {
		k := &kids[i]
		to := &p.kids[i]
		text = append(text, k.key[len(p.prefix):]...)
		to.key = uint32(len(text)) //nolint:gosec // some hundred KiB at most
		text, to.etag = appendVersion(text, k.version)
		to.version = uint32(len(text)) //nolint:gosec // as above
		to.size, to.mod, to.tier, to.put = k.size, toUnix(k.mod), k.tier, k.put
		class := slices.Index(p.classes, k.class)
		if class < 0 {
			class = len(p.classes)
			p.classes = append(p.classes, k.class)
		}
		to.class = uint8(class) //nolint:gosec // a page has no more kids than that
	}
	p.text = string(text)
	return p
}

// appendVersion appends a version, in half its length where it is the quoted MD5 sum that most objects have.
func appendVersion(text []byte, version string) (_ []byte, etag bool) {
	if len(version) == 34 && version[0] == '"' && version[33] == '"' && version == strings.ToLower(version) {
		if sum, err := hex.DecodeString(version[1:33]); err == nil {
			return append(text, sum...), true
		}
	}
	return append(text, version...), false
}

// quoted is the version of which appendVersion kept sum.
func quoted(sum string) (version [34]byte) {
	version[0], version[33] = '"', '"'
	hex.Encode(version[1:33], []byte(sum))
	return version
}

// rest is the part of a key that not all keys of the page have.
func (p *kidPage) rest(i int) string {
	from := uint32(0)
	if i > 0 {
		from = p.kids[i-1].version
	}
	return p.text[from:p.kids[i].key]
}

func (p *kidPage) key(i int) string { return p.prefix + p.rest(i) }

func (p *kidPage) dir(i int) bool { return p.text[p.kids[i].key-1] == '/' }

// compare compares the key of a kid with another one.
func (p *kidPage) compare(i int, key string) int {
	if rest, ok := strings.CutPrefix(key, p.prefix); ok {
		return strings.Compare(p.rest(i), rest)
	}
	return strings.Compare(p.prefix, key)
}

func (p *kidPage) kid(i int) kid {
	var one [1]kid
	return p.unpack(one[:0], i, i+1)[0]
}

// unpack appends the kids [from, to).
func (p *kidPage) unpack(out []kid, from, to int) []kid {
	n := 0
	for i := from; i < to; i++ {
		n += len(p.prefix) + len(p.rest(i)) + 34
	}
	var text strings.Builder // for all of them, and never moved
	text.Grow(n + 34)
	cut := func(write func()) string {
		was := text.Len()
		write()
		return text.String()[was:]
	}
	for i := from; i < to; i++ {
		k := &p.kids[i]
		version := p.text[k.key:k.version]
		if k.etag {
			full := quoted(version)
			version = cut(func() { text.Write(full[:]) })
		}
		out = append(out, kid{
			key: cut(func() { text.WriteString(p.prefix); text.WriteString(p.rest(i)) }), version: version,
			size: k.size, mod: fromUnix(k.mod), class: p.classes[k.class], tier: k.tier, put: k.put,
		})
	}
	return out
}

// entry is what a kid shows of itself, in the directory with prefix.
func (p *kidPage) entry(i int, prefix string) backends.Entry {
	k := &p.kids[i]
	if p.dir(i) {
		return backends.Entry{Name: prefix + p.prefix + strings.TrimSuffix(p.rest(i), "/"), Dir: true, ModTime: fromUnix(k.mod)}
	}
	version := p.text[k.key:k.version]
	if k.etag {
		full := quoted(version)
		version = string(full[:])
	}
	return backends.Entry{
		Name: prefix + p.prefix + p.rest(i), Size: k.size, ModTime: fromUnix(k.mod), Version: version, Class: p.classes[k.class], Tier: k.tier,
	}
}
