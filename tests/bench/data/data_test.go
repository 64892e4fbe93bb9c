package data

import (
	"io"
	"testing"
)

// The store and the reader make the same bytes, from any place on, and no two files are alike.
func TestBytesAreTheSameEverywhere(t *testing.T) {
	files := Spec{Kind: Many, Count: 3, Size: 3<<20 + 5}.Files()
	seen := map[uint32]bool{}
	for _, f := range files {
		all, err := io.ReadAll(io.NewSectionReader(f.Body(), 0, f.Size))
		if err != nil || int64(len(all)) != f.Size {
			t.Fatal(len(all), err)
		}
		for _, off := range []int64{0, 1, 1 << 20, 1<<20 + 7, f.Size - 3} {
			n := min(100_000, f.Size-off)
			sum := NewSum()
			sum.Write(all[off : off+n])
			if f.Sum(off, n) != sum.Sum32() {
				t.Errorf("other bytes from %d on", off)
			}
		}
		if sum := f.Sum(0, f.Size); seen[sum] {
			t.Error("two files are the same")
		} else {
			seen[sum] = true
		}
		if string(all[:4096]) == string(all[1<<20:1<<20+4096]) {
			t.Error("two blocks of a file are the same")
		}
	}
}

func TestSetsAreAsTheyAreNamed(t *testing.T) {
	for _, s := range []Spec{
		{Kind: Many, Count: 20, Size: 10},
		{Kind: Large, Count: 2, Size: 10},
		{Kind: Flat, Count: 2000, Size: 10},
		{Kind: Deep, Count: 60_000, Size: 10},
		{Kind: CSV, Count: 30, Size: 10},
		{Kind: Image, Count: 2},
		{Kind: Avro, Count: 1},
	} {
		files, seen := s.Files(), map[string]bool{}
		for _, f := range files {
			seen[f.Name] = true
			if s.Size > 0 && f.Size < s.Size {
				t.Errorf("%s: %s has %d bytes", s.Kind, f.Name, f.Size)
			}
		}
		if len(files) != s.Count || len(seen) != s.Count {
			t.Errorf("%s: %d files of %d names, want %d", s.Kind, len(files), len(seen), s.Count)
		}
	}
}
