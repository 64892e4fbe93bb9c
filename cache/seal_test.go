package cache

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
)

// sealGPS seals what lies in folders that are named gps.
func sealGPS(key string) *Seal {
	return &Seal{Key: []byte(key), Covers: func(name string) bool { return strings.Contains(name, "gps") }, Label: "gps"}
}

// mustLackContent looks for pieces of content(version) in every file below dir.
func mustLackContent(t *testing.T, dir string, version int, size int64) {
	t.Helper()
	if where := findContent(t, dir, version, size); where != "" {
		t.Errorf("plain bytes of version %d in %s", version, where)
	}
}

func findContent(t *testing.T, dir string, version int, size int64) (where string) {
	t.Helper()
	var pieces [][]byte
	for off := int64(0); off+32 <= size; off += 100_000 {
		pieces = append(pieces, content(version, off, 32))
	}
	check(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, piece := range pieces {
			if bytes.Contains(raw, piece) {
				where = path
			}
		}
		return err
	}))
	return where
}

// Locations must not lie in clear on a laptop's disk: not in a block, not in what holds a large file until its name is
// known, not after a restart.
func TestSealedContentIsInNoFile(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	small, large := src.add("1/gps-a", 1, 300_000), src.add("1/gps-b", 2, 9<<20+5)
	steps := src.add("1/steps", 3, 300_000)
	so := SourceOptions{Seal: sealGPS("key"), SmallFile: 1 << 20}
	looks := 0
	src.onBody = func(r io.Reader) io.Reader {
		if r.(*contentReader).version != 2 {
			return r
		}
		return io.MultiReader(io.LimitReader(r, 8<<20), action(func() {
			looks++
			if open := openSpills(t, dir); len(open) == 0 {
				t.Error("no spill: this test looks in the wrong place")
			} else if bytes.Contains(open, content(2, 1<<20, 32)) {
				t.Error("plain bytes in a spill")
			}
		}), r)
	}
	s, stop := openStore(t, src, dir, Options{}, so)
	_, err := s.List(t.Context(), "1")
	check(t, err)
	r, err := s.Open(t.Context(), small)
	check(t, err)
	if _, ok := r.Pin(); ok || !r.pinned {
		t.Error("a sealed file is handed to the kernel, or not kept from eviction")
	}
	for _, at := range [][2]int64{{0, 300_000}, {1, 1}, {131_071, 2}, {131_072, 131_072}, {299_999, 1}} {
		readAndCompare(t, r, 1, at[0], at[1])
	}
	r.Close()
	mustRead(t, s, large, 2, 1<<20-3, 8<<20)
	stop()
	mustLackContent(t, dir, 1, small.Size)
	mustLackContent(t, dir, 2, large.Size)
	if findContent(t, dir, 3, steps.Size) == "" {
		t.Error("what need not be sealed is not found in clear: this test looks in the wrong place")
	}
	if looks == 0 || src.past() != 0 {
		t.Errorf("looked %d times while a spill was there; %d reads past the cache", looks, src.past())
	}
}

// action is a reader of nothing that does something.
type action func()

func (a action) Read([]byte) (int, error) {
	a()
	return 0, io.EOF
}

// openSpills returns what this process's files without a name below dir hold.
func openSpills(t *testing.T, dir string) (all []byte) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	check(t, err)
	for _, fd := range fds {
		if path, err := os.Readlink(fd); err == nil && strings.HasPrefix(path, filepath.Join(dir, spillPrefix)) {
			raw, err := os.ReadFile(fd)
			check(t, err)
			all = append(all, raw...)
		}
	}
	return all
}

// The same key opens what an earlier run kept, without a request.
func TestSealedBytesOutliveTheProcess(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	e := src.add("1/gps", 1, 300_000)
	steps := src.add("1/steps", 2, 300_000)
	_, stop := openList(t, src, dir, SourceOptions{Seal: sealGPS("key")})
	stop()
	for _, row := range []struct {
		name       string
		seal       *Seal
		gps, steps State
		rest       int
	}{
		{name: "same key", seal: sealGPS("key"), gps: Cached, steps: Cached},
		{name: "another key", seal: sealGPS("other"), gps: Remote, steps: Cached, rest: 1},
		{name: "another choice", seal: &Seal{Key: []byte("other"), Covers: func(string) bool { return true }, Label: "all"}, rest: 1},
		{name: "no seal", seal: nil, rest: 1},
		{name: "sealed from now on", seal: sealGPS("key"), rest: 1},
	} {
		src = src.again()
		s, stop := openStore(t, src, dir, Options{}, SourceOptions{Seal: row.seal})
		if gps, other := s.State(e), s.State(steps); gps != row.gps || other != row.steps {
			t.Errorf("%s: %v, %v", row.name, gps, other)
		}
		if row.seal != nil {
			mustLackContent(t, dir, 1, e.Size)
		}
		mustRead(t, s, e, 1, 0, e.Size)
		mustRead(t, s, steps, 2, 0, steps.Size)
		if n := len(src.asked()); n != row.rest || src.past() != 0 || s.Stats().Corrupt != 0 {
			t.Errorf("%s: %d fetches, %d reads past the cache, %d corrupt", row.name, n, src.past(), s.Stats().Corrupt)
		}
		stop()
	}
}

func openList(t *testing.T, src *fakeBundler, dir string, so SourceOptions) (*Store, func()) {
	t.Helper()
	s, stop := openStore(t, src, dir, Options{}, so)
	_, err := s.List(t.Context(), "1")
	check(t, err)
	return s, stop
}

// Somebody changes a sealed block, and its checksum so that it fits: it is noticed all the same, counted, and fetched again.
func TestTamperingWithSealedBlocksIsFound(t *testing.T) {
	damage := map[string]func(t *testing.T, s *Store, a, b objectID){
		"flip": func(t *testing.T, s *Store, a, _ objectID) {
			flip(t, s.dataPath(a), rand.New(rand.NewPCG(1, 2)))
		},
		"flip, checksum mended": func(t *testing.T, s *Store, a, _ objectID) {
			flipAt(t, s.dataPath(a), BlockSize+sealOverhead+7)
			mend(t, s, a)
		},
		"blocks swapped, checksums mended": func(t *testing.T, s *Store, a, _ objectID) {
			raw, err := os.ReadFile(s.dataPath(a))
			check(t, err)
			const n = BlockSize + sealOverhead
			check(t, os.WriteFile(s.dataPath(a), append(append(append([]byte{}, raw[n:2*n]...), raw[:n]...), raw[2*n:]...), 0o600))
			mend(t, s, a)
		},
		"another object's bytes, checksums mended": func(t *testing.T, s *Store, a, b objectID) {
			raw, err := os.ReadFile(s.dataPath(b))
			check(t, err)
			check(t, os.WriteFile(s.dataPath(a), raw, 0o600))
			mend(t, s, a)
		},
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			src, dir := newBundles(t), t.TempDir()
			a, b := src.add("1/gps-a", 1, 1<<20), src.add("1/gps-b", 2, 1<<20)
			s, _ := openList(t, src, dir, SourceOptions{Seal: sealGPS("key")})
			do(t, s, s.idOf(a), s.idOf(b))
			mustRead(t, s, a, 1, 0, a.Size)
			if s.Stats().Corrupt == 0 {
				t.Error("not counted")
			}
			mustRead(t, s, a, 1, 0, a.Size)
			mustRead(t, s, b, 2, 0, b.Size)
			mustLackContent(t, dir, 1, a.Size)
		})
	}
}

// mend makes the block map fit to the data file, as somebody could who knows the format but not the key.
func mend(t *testing.T, s *Store, id objectID) {
	t.Helper()
	raw, err := os.ReadFile(s.mapPath(id))
	check(t, err)
	m, ok := decodeBlockMap(raw, id)
	if !ok {
		t.Fatal("no map")
	}
	data, err := os.ReadFile(s.dataPath(id))
	check(t, err)
	for i := range m.sums {
		off, n := id.stored(span{int64(i), int64(i) + 1}, m.size)
		m.sums[i] = blockSum(id, int64(i), data[off:off+n])
	}
	f, err := os.Open(s.dataPath(id))
	check(t, err)
	defer f.Close()
	m.mark, err = markOf(f, s.boot)
	check(t, err)
	check(t, os.WriteFile(s.mapPath(id), m.encode(), 0o600))
}

// What an earlier run left in clear, by a choice that went by the same label, goes as soon as the object is met.
func TestClearBytesOfASealedObjectAreRemoved(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	e := src.add("1/gps", 1, 300_000)
	none := &Seal{Key: []byte("key"), Covers: func(string) bool { return false }, Label: "gps"}
	_, stop := openList(t, src, dir, SourceOptions{Seal: none})
	stop()
	if findContent(t, dir, 1, e.Size) == "" {
		t.Fatal("not in clear")
	}
	src = src.again()
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{Seal: sealGPS("key")})
	if s.State(e) != Remote {
		t.Error("taken for sealed")
	}
	mustRead(t, s, e, 1, 0, e.Size)
	stop()
	mustLackContent(t, dir, 1, e.Size)
	if used := diskUse(t, dir); used > 400_000 {
		t.Errorf("%d bytes on disk", used)
	}
}

// Eviction knows no names; it must free sealed blocks by their own measure.
func TestEvictionOfSealedBlocks(t *testing.T) {
	src, dir := newBundles(t), t.TempDir()
	var all []backends.Entry
	for i := range 8 {
		all = append(all, src.add("1/gps-"+string(rune('a'+i)), i, 2<<20+10))
	}
	s, stop := openStore(t, src, dir, Options{MaxBytes: 6 << 20}, SourceOptions{Seal: sealGPS("key")})
	_, err := s.List(t.Context(), "1")
	check(t, err)
	for i, e := range all {
		mustRead(t, s, e, i, 0, e.Size)
	}
	if used := diskUse(t, dir); used > 7<<20 || s.Stats().Evicted == 0 || src.past() != 0 {
		t.Errorf("%d bytes on disk, %d evicted, %d reads past the cache", used, s.Stats().Evicted, src.past())
	}
	stop()
	s, _ = openStore(t, src.again(), dir, Options{MaxBytes: 3 << 20}, SourceOptions{Seal: sealGPS("key")})
	waitFor(t, "the smaller limit is kept", func() bool { return diskUse(t, dir) <= 4<<20 })
	for i, e := range all {
		mustRead(t, s, e, i, 0, e.Size)
	}
}

// Sealing without a key would be none.
func TestSealNeedsAKey(t *testing.T) {
	_, err := New(Options{}).Open(t.Context(), newBundles(t), SourceOptions{Dir: t.TempDir(), Seal: sealGPS("")})
	if err == nil {
		t.Error("opened")
	}
}

// A spill that was changed on disk before it got its name is not kept.
func TestChangedSpillIsNotKept(t *testing.T) {
	p, err := newSpill(&home{dir: t.TempDir()})
	check(t, err)
	defer p.close()
	buf := make([]byte, BlockSize+sealOverhead)
	check(t, p.write(0, content(1, 0, 1000), buf))
	if plain, err := p.read(0, buf[:1000+sealOverhead]); err != nil || !bytes.Equal(plain, content(1, 0, 1000)) {
		t.Errorf("read back: %v", err)
	}
	_, err = p.file.WriteAt([]byte{0}, 500)
	check(t, err)
	if _, err := p.read(0, buf[:1000+sealOverhead]); !errors.Is(err, errDisk) {
		t.Errorf("changed: %v", err)
	}
}
