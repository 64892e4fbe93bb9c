package cache

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func stagedFile(t *testing.T, version int, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staged")
	if err := os.WriteFile(path, content(version, 0, size), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func waitScanned(s *Store) {
	for !s.scanned.Load() {
		runtime.Gosched()
	}
}

// Somebody uploads a file and works on with it: it is not fetched back, not after a restart either.
func TestAdoptedFileCostsNoGet(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sealed bool
		size   int64
	}{
		{"small", false, 1000},
		{"large", false, 3<<20 + 17},
		{"sealed", true, 1<<20 + 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, dir := newFake(), t.TempDir()
			var so SourceOptions
			if tt.sealed {
				so.Seal = &Seal{Key: []byte("secret"), Covers: func(string) bool { return true }}
			}
			s, stop := openStore(t, src, dir, Options{}, so)
			e := src.put("d/f.nii", 1, tt.size)
			path := stagedFile(t, 1, tt.size)
			s.Put(e)
			if !s.Adopt(e, path) {
				t.Fatal("refused")
			}
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("still there: %v", err)
			}
			for range 2 {
				mustRead(t, s, e, 1, 0, tt.size)
				if got := s.Stats().Bytes; got != tt.size || s.State(e) != Cached {
					t.Errorf("%d bytes in the books, %v", got, s.State(e))
				}
				r, err := s.Open(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				if f, ok := r.Pin(); ok == tt.sealed {
					t.Errorf("pinned: %v", ok)
				} else if ok {
					if got, err := io.ReadAll(io.NewSectionReader(f, 0, tt.size)); err != nil || !bytes.Equal(got, content(1, 0, tt.size)) {
						t.Errorf("other bytes, %v", err)
					}
				}
				r.Close()
				stop()
				s, stop = openStore(t, src, dir, Options{}, so)
				waitScanned(s)
			}
			if n := src.count(); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A program reads the uploaded version already, half of which came from the source.
func TestAdoptWhileOpen(t *testing.T) {
	src := newFake()
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	e := src.put("f", 1, 8<<20)
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAndCompare(t, r, 1, 5<<20, 1000)
	before := src.count()
	if !s.Adopt(e, stagedFile(t, 1, e.Size)) {
		t.Fatal("refused")
	}
	readAndCompare(t, r, 1, 0, e.Size)
	if n := src.count() - before; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// What does not fit, or is not what it should be, stays where it is, and costs no other file its place.
func TestAdoptRefuses(t *testing.T) {
	src := newFake()
	s, _ := openStore(t, src, t.TempDir(), Options{MaxBytes: 2 << 20}, SourceOptions{})
	kept := src.put("kept", 1, 1<<20)
	mustRead(t, s, kept, 1, 0, kept.Size)
	for _, tt := range []struct{ is, says int64 }{{3 << 20, 3 << 20}, {1000, 1001}, {0, 0}} {
		path := stagedFile(t, 2, tt.is)
		if s.Adopt(src.put("new", 2, tt.says), path) {
			t.Errorf("%d for %d: taken", tt.is, tt.says)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if s.State(kept) != Cached {
		t.Error("another file was evicted for nothing")
	}
	if s.Adopt(kept, filepath.Join(t.TempDir(), "missing")) {
		t.Error("took a missing file")
	}
}

func TestAdoptEvictsAndMakeRoom(t *testing.T) {
	src := newFake()
	s, _ := openStore(t, src, t.TempDir(), Options{MaxBytes: 4 << 20}, SourceOptions{})
	for i := range 8 {
		e := src.put(fmt.Sprint("f", i), i, 1<<20)
		if !s.Adopt(e, stagedFile(t, i, e.Size)) {
			t.Fatal("refused")
		}
	}
	if n := s.Stats().Bytes; n != 4<<20 {
		t.Errorf("%d bytes kept", n)
	}
	s.MakeRoom(1500 << 10)
	if n := s.Stats().Bytes; n != 2<<20 {
		t.Errorf("%d bytes kept after making room for 1.5 MiB", n)
	}
	s.MakeRoom(1 << 40)
	if n := s.Stats().Bytes; n != 0 {
		t.Errorf("%d bytes kept after making all the room there is", n)
	}
}

// A file is deleted on request: its bytes leave the disk at once.
func TestGoneDropsTheBytes(t *testing.T) {
	src := newFake()
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	e := src.put("f", 1, 1000)
	if _, err := s.Lookup(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	mustRead(t, s, e, 1, 0, e.Size)
	s.Gone("f")
	if _, err := os.Stat(s.dataPath(s.idOf(e))); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if n := s.Stats().Bytes; n != 0 {
		t.Errorf("%d bytes in the books", n)
	}
}
