package cache

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"studyfs/backends"
)

// What "warm --dry-run" says is what "warm" then costs, and what is here is not fetched again, after a restart either.
func TestFetchCostsWhatMissingSays(t *testing.T) {
	dir, src := t.TempDir(), newFake()
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{SmallFile: 1 << 20})
	var all []backends.Entry
	for i, size := range []int64{1, 100, BlockSize, 3 << 20, 4<<20 + 1, 21 << 20, 40<<20 + 7} {
		all = append(all, src.put(fmt.Sprint("d/", i), 1, size))
	}
	mustRead(t, s, all[5], 1, 6<<20, leastFetch) // in the middle of a file
	all = append(all, src.put("d/empty", 1, 0))
	bytes, gets := src.bytes(), int64(src.count())
	var wantBytes, wantGets int64
	for _, e := range all {
		n, requests := s.Missing(e)
		wantBytes, wantGets = wantBytes+n, wantGets+requests
	}
	for i, e := range all {
		if i == 4 { // ended in the middle, and taken up again
			stop()
			s, stop = openStore(t, src, dir, Options{}, SourceOptions{})
		}
		if err := s.Fetch(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if n, g := src.bytes()-bytes, int64(src.count())-gets; n != wantBytes || g != wantGets {
		t.Errorf("%d bytes in %d requests, it said %d in %d", n, g, wantBytes, wantGets)
	}
	stop()
	s, _ = openStore(t, src, dir, Options{}, SourceOptions{})
	for _, e := range all {
		if n, requests := s.Missing(e); n != 0 || requests != 0 {
			t.Errorf("%s: %d bytes in %d requests are missing", e.Name, n, requests)
		}
	}
}

func TestFetchEndsWithItsContextAndWithErrors(t *testing.T) {
	src := newFake()
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	e := src.put("d/a", 1, 40<<20)
	ctx, cancel := context.WithCancel(t.Context())
	src.onGet = func(string, int64) error { cancel(); return backends.ErrBusy }
	if err := s.Fetch(ctx, e); !errors.Is(err, context.Canceled) && !errors.Is(err, backends.ErrBusy) {
		t.Errorf("got %v", err)
	}
	src.mu.Lock() // requests of the fetch that was cancelled may still begin
	src.onGet = nil
	src.mu.Unlock()
	src.put("d/a", 2, 40<<20)
	if err := s.Fetch(t.Context(), e); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("replaced: %v", err)
	}
	if err := s.Fetch(t.Context(), backends.Entry{Name: "d/archived", Size: 1, Version: "1", Tier: backends.Archived}); !errors.Is(err, backends.ErrArchived) {
		t.Errorf("archived: %v", err)
	}
}

// What is pinned is still there when a cache that is too small has seen much else, in the next run as well; what is no longer pinned goes.
func TestPinnedFilesStay(t *testing.T) {
	dir, src, o := t.TempDir(), newFake(), Options{MaxBytes: 8 << 20}
	s, stop := openStore(t, src, dir, o, SourceOptions{})
	fetch := func(name string) backends.Entry {
		t.Helper()
		e := src.put(name, 1, 1<<20)
		if err := s.Fetch(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	flood := func() {
		for i := range 20 {
			fetch(fmt.Sprint("other/", i))
		}
	}
	kept := []backends.Entry{fetch("p/before")}
	if err := s.Pin("p", kept); err != nil {
		t.Fatal(err)
	}
	kept = append(kept, fetch("p/q/after"))
	neighbour := fetch("pq")
	for run := range 2 {
		flood()
		for _, e := range kept {
			if n, _ := s.Missing(e); n != 0 {
				t.Errorf("run %d: %s: %d bytes are gone", run, e.Name, n)
			}
		}
		if n, _ := s.Missing(neighbour); n == 0 {
			t.Errorf("run %d: what is not pinned stays", run)
		}
		if pins := s.Pins(); len(pins) != 1 || pins[0] != (Pinned{"p", 2 << 20}) {
			t.Errorf("run %d: %v", run, pins)
		}
		stop()
		s, stop = openStore(t, src, dir, o, SourceOptions{})
	}
	if err := errors.Join(s.Unpin("p"), s.Unpin("p")); !errors.Is(err, ErrNotPinned) {
		t.Errorf("unpinned twice: %v", err)
	}
	flood()
	if n, _ := s.Missing(kept[0]); n == 0 {
		t.Error("what is no longer pinned stays for ever")
	}
}
