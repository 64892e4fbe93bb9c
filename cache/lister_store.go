package cache

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"time"

	"studyfs/backends"
)

// The stored listing is in parts, each of which is four bytes of length and what the codec makes of the following: a million names in one piece
// would take more memory to write than to have. Numbers are varints, strings a length and bytes, times Unix nanoseconds.
//
//	magic "sfslist3"  time of saving  number of the part  1 in the last one, else 0
//	directories, each:
//	  name  time  number of intervals (lo hi)*  number of children (key size time version class tier)*,
//	  tier with 0x80 where the time is that of an upload
//
// A directory with many children is there several times, in a row, each time with the next ones, and with its intervals the first time only.
// It is a cache: whatever is wrong with it makes it empty.
const listMagic = "sfslist3"

const (
	partBytes = 1 << 20 // a part is a little longer than that
	partPages = 16      // of a directory at a time
)

// putBit marks a child that was put from here.
const putBit = 0x80

// save writes the listing if it changed since it was last written.
func (l *lister) save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	dirty := l.dirty
	l.dirty, l.onDisk = false, l.onDisk || l.dirty
	var dirs []savedDir
	if dirty {
		dirs = l.index.snapshot()
	}
	l.mu.Unlock()
	if !dirty || l.o.file == "" {
		return nil
	}
	return writeParts(l.o.file, l.o.codec, encodeParts(dirs, l.o.now().UnixNano()))
}

// writeParts replaces a file by parts, each of which may be changed after it was taken.
func writeParts(file string, c codec, parts iter.Seq[[]byte]) (err error) {
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var sealed []byte
	for plain := range parts {
		sealed = c.seal(append(sealed[:0], 0, 0, 0, 0), plain)
		binary.LittleEndian.PutUint32(sealed, uint32(len(sealed)-4)) //nolint:gosec // about a MiB
		if _, err = f.Write(sealed); err != nil {
			break
		}
	}
	if err = cmp.Or(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// writeSealed replaces a file by what the codec makes of plain.
func writeSealed(file string, c codec, plain []byte) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, c.seal(nil, plain), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// readSealed returns what writeSealed was given, nil where there is no file.
func readSealed(file string, c codec) ([]byte, error) {
	sealed, err := os.ReadFile(file)
	if err != nil {
		return nil, nil //nolint:nilerr // a cache that cannot be read is an empty one
	}
	return c.open([]byte{}, sealed)
}

// loadIndex returns what an earlier run left, or an empty index.
func loadIndex(file string, c codec) *index {
	f, err := os.Open(file)
	if err != nil {
		return newIndex()
	}
	defer f.Close() //nolint:errcheck // only read
	r := &indexReader{x: newIndex()}
	var sealed, plain []byte
	for in := bufio.NewReader(f); !r.last; {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return newIndex()
		}
		n := binary.LittleEndian.Uint32(length[:])
		if n > 64*partBytes {
			return newIndex()
		}
		sealed = slices.Grow(sealed[:0], int(n))[:n]
		if _, err := io.ReadFull(in, sealed); err != nil {
			return newIndex()
		}
		if plain, err = c.open(plain[:0], sealed); err != nil || !r.take(plain) {
			return newIndex()
		}
	}
	return r.x
}

// savedDir is what is saved of a directory. None of it changes any more.
type savedDir struct {
	name  string
	at    time.Time
	known []interval
	kids  []pageAt
}

func (x *index) snapshot() []savedDir {
	dirs := make([]savedDir, 0, len(x.dirs))
	for name, d := range x.dirs {
		dirs = append(dirs, savedDir{name, d.at, d.known, d.kids.pages})
	}
	return dirs
}

// encodeParts yields the parts of a stored listing, all of them in the same memory.
func encodeParts(dirs []savedDir, at int64) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		var b []byte
		part := uint64(0)
		begin := func() {
			b = binary.AppendVarint(append(b[:0], listMagic...), at)
			b = append(binary.AppendUvarint(b, part), 0)
			part++
		}
		for begin(); len(dirs) > 0; {
			b = dirs[0].encode(b)
			dirs[0].known = nil
			if n := min(len(dirs[0].kids), partPages); n < len(dirs[0].kids) {
				dirs[0].kids = dirs[0].kids[n:]
			} else {
				dirs = dirs[1:]
			}
			if len(b) >= partBytes && len(dirs) > 0 {
				if !yield(b) {
					return
				}
				begin()
			}
		}
		b[len(binary.AppendUvarint(binary.AppendVarint([]byte(listMagic), at), part-1))] = 1
		yield(b)
	}
}

// encode appends a directory with the first of its children.
func (d *savedDir) encode(b []byte) []byte {
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	str(d.name)
	b = binary.AppendVarint(b, toUnix(d.at))
	b = binary.AppendUvarint(b, uint64(len(d.known)))
	for _, iv := range d.known {
		str(iv.lo)
		str(iv.hi)
	}
	some := kidList{d.kids[:min(len(d.kids), partPages)]}
	n := 0
	for _, p := range some.pages {
		n += len(p.kids)
	}
	b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // not negative
	for k := range some.all() {
		str(k.key)
		b = binary.AppendVarint(b, k.size)
		b = binary.AppendVarint(b, toUnix(k.mod))
		str(k.version)
		str(k.class)
		tier := byte(k.tier)
		if k.put {
			tier |= putBit
		}
		b = append(b, tier)
	}
	return b
}

func (r *decoder) kid() kid {
	k := kid{key: r.str(), size: r.varint(), mod: fromUnix(r.varint()), version: r.str(), class: r.str()}
	if tier := r.take(1); len(tier) == 1 {
		k.tier, k.put = backends.Tier(tier[0]&^putBit), tier[0]&putBit != 0
	}
	return k
}

// toUnix keeps the zero time apart from 1970: a directory has none.
func toUnix(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixNano()
}

func fromUnix(s int64) time.Time {
	if s == math.MinInt64 {
		return time.Time{}
	}
	return time.Unix(0, s).UTC()
}

// indexReader puts an index together from its stored parts.
type indexReader struct {
	x     *index
	at    int64 // when all parts were saved
	parts uint64
	last  bool // nothing follows
}

// take takes in the next part. False: it is none.
func (i *indexReader) take(part []byte) bool {
	r := &decoder{b: part}
	if string(r.take(len(listMagic))) != listMagic {
		return false
	}
	at, number, last := r.varint(), r.uvarint(), r.take(1)
	if r.bad || number != i.parts || number > 0 && at != i.at || i.last {
		return false
	}
	i.at, i.last = at, last[0] == 1
	i.parts++
	for len(r.b) > 0 && !r.bad {
		if !i.x.load(r) {
			return false
		}
	}
	return !r.bad
}

// load reads a directory, or more of its children.
func (x *index) load(r *decoder) bool {
	name, at := r.str(), fromUnix(r.varint())
	d := x.dirs[name]
	if d == nil {
		d = &dirInfo{at: at, disk: true}
		x.dirs[name] = d
	}
	for range r.count() {
		d.known = append(d.known, interval{r.str(), r.str()})
	}
	var kids []kid
	for range r.count() {
		k := r.kid()
		if n := len(kids); !backends.ValidName(k.base()) || k.base() == "" || n > 0 && kids[n-1].key >= k.key {
			return false
		}
		kids = append(kids, k)
	}
	n := d.kids.len()
	if n > 0 && len(kids) > 0 && d.kids.at(n-1).key >= kids[0].key {
		return false
	}
	if len(kids) > 0 {
		d.kids = d.kids.replace(n, n, kids)
		x.kids += len(kids)
	}
	return true
}

// decoder reads fields until one does not fit; from then on it is bad and yields zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (r *decoder) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *decoder) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things to follow, each of which takes a byte at least.
func (r *decoder) count() int {
	v := r.uvarint()
	if v > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(v)
}

func (r *decoder) str() string { return string(r.take(r.count())) }
