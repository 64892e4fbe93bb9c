package cache

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"studyfs/backends"
)

// A file of a broken zip is not kept, and what came before it is.
func TestBrokenBodyKeepsNothingOfIt(t *testing.T) {
	for _, broken := range []error{io.ErrUnexpectedEOF, backends.ErrBadAnswer} {
		src := newBundles(t)
		a, b := src.add("1/a", 1, 1000), src.add("1/b", 2, 300_000)
		src.onBody = func(r io.Reader) io.Reader {
			if r.(*contentReader).version == 1 {
				return r
			}
			return io.MultiReader(io.LimitReader(r, 200_000), failing{broken})
		}
		s := openBundles(t, src, Options{})
		if _, err := s.List(t.Context(), "1"); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		if s.State(a) != Cached || s.State(b) != Remote {
			t.Errorf("states %v, %v", s.State(a), s.State(b))
		}
		if in, _ := s.cache.Memory(); in != 0 {
			t.Errorf("%d bytes of buffers in use when idle", in)
		}
	}
}

// The disk fills up while a large recording comes, or takes nothing from the beginning: the recording is listed, what cannot be kept is not,
// and the body is read to its end all the same.
func TestFullDiskLosesOnlyTheCopy(t *testing.T) {
	src := newBundles(t)
	s := openBundles(t, src, Options{})
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	check(t, err)
	p := &pending{s: s}
	defer p.free()
	p.toSpill()
	check(t, p.spill.file.Close())
	p.spill.file = full
	if err := p.take(t.Context(), backends.SizeUnknown, &contentReader{version: 1, size: 3 << 20}); err != nil {
		t.Error(err)
	}
	if !p.lost || p.size != 3<<20 {
		t.Errorf("lost: %v, %d bytes read", p.lost, p.size)
	}
	dir := s.home.dir
	s.home.dir = filepath.Join(dir, "none")
	defer func() { s.home.dir = dir }()
	for _, size := range []int64{backends.SizeUnknown, 9 << 20} {
		sealed := false
		err = s.adopt(t.Context(), size, &contentReader{version: 1, size: 9 << 20}, func() (backends.Entry, error) {
			sealed = true
			return backends.Entry{Name: "a", Size: 9 << 20, Version: "1"}, nil
		})
		if err != nil || !sealed {
			t.Errorf("got %v, sealed: %v", err, sealed)
		}
	}
	if in, _ := s.cache.Memory(); in != BlockSize { // p's
		t.Errorf("%d bytes of buffers in use", in)
	}
}

// An entry that does not fit its bytes must not become cache.
func TestEntryOfAnotherLengthIsRefused(t *testing.T) {
	s := openBundles(t, newBundles(t), Options{})
	e := backends.Entry{Name: "a", Size: 999, Version: "1"}
	err := s.adopt(t.Context(), 1000, &contentReader{version: 1, size: 1000}, func() (backends.Entry, error) { return e, nil })
	if !errors.Is(err, backends.ErrBadAnswer) || s.State(e) != Remote {
		t.Errorf("got %v, state %v", err, s.State(e))
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Objects of all sizes around the limits come out as they went in, whether their length is told before or not.
func TestObjectsOfAllSizesAreAdopted(t *testing.T) {
	const small = 2 * BlockSize
	for _, sizeless := range []bool{false, true} {
		src, dir := newBundles(t), t.TempDir()
		src.sizeless = sizeless
		sizes := []int64{0, 1, BlockSize - 1, BlockSize, small - 1, small, small + 1, small + BlockSize, small + BlockSize + 1, 5<<20 + 77}
		for i, n := range sizes {
			src.add("1/"+string(rune('a'+i)), i, n)
		}
		s, _ := openStore(t, src, dir, Options{}, SourceOptions{SmallFile: small})
		all, err := s.List(t.Context(), "1")
		check(t, err)
		for i, e := range all {
			if e.Size > 0 && s.State(e) != Cached {
				t.Errorf("%d bytes are %v", e.Size, s.State(e))
			}
			mustRead(t, s, e, i, 0, e.Size)
		}
		if n := len(src.asked()); n != 1 || src.past() != 0 {
			t.Errorf("%d fetches, %d reads past the cache", n, src.past())
		}
		noSpill(t, dir)
	}
}

func noSpill(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, spillPrefix+"*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A large recording goes through a process that may hold a megabyte; so do several at once, which wait for each other's
// buffers at no time.
func TestLargeObjectsThroughLittleMemory(t *testing.T) {
	size, days := int64(200<<20), []string{"1"}
	for _, row := range []struct {
		size int64
		days []string
	}{{size, days}, {3 << 20, []string{"1", "2", "3", "4", "5", "6", "7", "8"}}} {
		src, dir := newBundles(t), t.TempDir()
		for i, day := range row.days {
			src.add(day+"/a", i, row.size)
		}
		s, stop := openStore(t, src, dir, Options{Memory: 1 << 20}, SourceOptions{})
		var wg sync.WaitGroup
		for i, day := range row.days {
			wg.Go(func() {
				e, err := s.Lookup(t.Context(), day+"/a")
				if err != nil {
					t.Error(err)
					return
				}
				mustRead(t, s, e, i, row.size-1<<20, 1<<20)
			})
		}
		wg.Wait()
		if in, _ := s.cache.Memory(); in != 0 || src.past() != 0 || len(src.asked()) != len(row.days) {
			t.Errorf("%d bytes in use, %d reads past the cache, %v", in, src.past(), src.asked())
		}
		noSpill(t, dir)
		stop()
	}
}

// A bundle that is larger than the cache keeps what is being opened.
func TestBundleLargerThanTheCache(t *testing.T) {
	src := newBundles(t)
	for i := range 20 {
		src.add("1/"+string(rune('a'+i)), i, 1<<20)
	}
	s := openBundles(t, src, Options{MaxBytes: 8 << 20})
	all, err := s.List(t.Context(), "1")
	check(t, err)
	for i, e := range all {
		mustRead(t, s, e, i, 0, e.Size)
	}
	if src.past() != 0 {
		t.Errorf("%d reads past the cache", src.past())
	}
	if b := s.Stats().Bytes; b > 8<<20 {
		t.Errorf("%d bytes kept, limit 8 MiB", b)
	}
}
