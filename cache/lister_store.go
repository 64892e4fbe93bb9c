package cache

import (
	"encoding/binary"
	"math"
	"os"
	"time"

	"studyfs/backends"
)

// The stored listing, inside what the codec seals. Numbers are varints, strings a length and bytes, times Unix nanoseconds.
//
//	magic "sfslist2"
//	directories, each:
//	  name  time  number of intervals (lo hi)*  number of children (key size time version class tier)*,
//	  tier with 0x80 where the time is that of an upload
//
// It is a cache: whatever is wrong with it makes it empty.
const listMagic = "sfslist2"

// putBit marks a child that was put from here.
const putBit = 0x80

// save writes the listing if it changed since it was last written.
func (l *lister) save() error {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.mu.Lock()
	dirty := l.dirty
	l.dirty, l.onDisk = false, l.onDisk || l.dirty
	var plain []byte
	if dirty {
		plain = l.index.encode()
	}
	l.mu.Unlock()
	if !dirty || l.o.file == "" {
		return nil
	}
	return writeSealed(l.o.file, l.o.codec, plain)
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
	plain, err := readSealed(file, c)
	if err != nil || plain == nil {
		return newIndex()
	}
	x, ok := decodeIndex(plain)
	if !ok {
		return newIndex()
	}
	return x
}

func (x *index) encode() []byte {
	b := []byte(listMagic)
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for dir, d := range x.dirs {
		str(dir)
		b = binary.AppendVarint(b, toUnix(d.at))
		b = binary.AppendUvarint(b, uint64(len(d.known)))
		for _, iv := range d.known {
			str(iv.lo)
			str(iv.hi)
		}
		b = binary.AppendUvarint(b, uint64(len(d.kids)))
		for _, k := range d.kids {
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
	}
	return b
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

func decodeIndex(b []byte) (*index, bool) {
	r := &decoder{b: b}
	if string(r.take(len(listMagic))) != listMagic {
		return nil, false
	}
	x := newIndex()
	for len(r.b) > 0 && !r.bad {
		dir := r.str()
		d := &dirInfo{at: fromUnix(r.varint()), disk: true}
		for range r.count() {
			d.known = append(d.known, interval{r.str(), r.str()})
		}
		for range r.count() {
			k := kid{key: r.str(), size: r.varint(), mod: fromUnix(r.varint()), version: r.str(), class: r.str()}
			if tier := r.take(1); len(tier) == 1 {
				k.tier, k.put = backends.Tier(tier[0]&^putBit), tier[0]&putBit != 0
			}
			if n := len(d.kids); !backends.ValidName(k.base()) || k.base() == "" || n > 0 && d.kids[n-1].key >= k.key {
				return nil, false
			}
			d.kids = append(d.kids, k)
		}
		x.dirs[dir] = d
		x.kids += len(d.kids)
	}
	return x, !r.bad
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

// count reads a number of things to follow, each of which takes a byte at least.
func (r *decoder) count() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *decoder) str() string { return string(r.take(r.count())) }
