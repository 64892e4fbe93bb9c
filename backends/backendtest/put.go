package backendtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"studyfs/backends"
)

func putAndRead(t T, h Harness) {
	body := Noise(1000, 1)
	e := put(t, h, Upload("d/f", body), body)
	if e.Name != "d/f" || e.Dir || e.Size != 1000 || e.Version == "" || e.ModTime.IsZero() {
		t.Errorf("returned %+v", e)
	}
	holds(t, h, e, body)
	none := put(t, h, Upload("empty", nil), nil)
	holds(t, h, none, nil)
	if s, err := h.Source.Stat(t.Context(), "d/f"); err != nil || s.Version != e.Version {
		t.Errorf("stat: %+v, %v", s, err)
	}
}

func putCreates(t T, h Harness) {
	body := []byte("mine")
	h.Put("f", []byte("somebody else's"))
	old, _ := find(t, h, "f")
	_, err := writer(t, h).Put(t.Context(), Upload("f", body), bytes.NewReader(body))
	changed(t, "put over what is there", err)
	holds(t, h, old, []byte("somebody else's"))
}

func putReplaces(t T, h Harness) {
	one, two, three := []byte("one"), []byte("two!"), []byte("three")
	first := put(t, h, Upload("f", one), one)
	u := Upload("f", two)
	u.Old = first
	second := put(t, h, u, two)
	if first.Version == second.Version {
		t.Errorf("two contents share the version %q", first.Version)
	}
	u = Upload("f", three)
	u.Old = first
	_, err := writer(t, h).Put(t.Context(), u, bytes.NewReader(three))
	changed(t, "put over a version that is there no more", err)
	holds(t, h, second, two)
}

func putGone(t T, h Harness) {
	one, two := []byte("one"), []byte("two")
	u := Upload("f", two)
	u.Old = put(t, h, Upload("f", one), one)
	h.Remove("f")
	_, err := writer(t, h).Put(t.Context(), u, bytes.NewReader(two))
	changed(t, "put over what was removed", err)
	if e, ok := find(t, h, "f"); ok {
		t.Errorf("%+v came to be", e)
	}
}

func putRace(t T, h Harness) {
	w := writer(t, h)
	var wg sync.WaitGroup
	entries, errs := make([]backends.Entry, racers), make([]error, racers)
	for i := range racers {
		wg.Go(func() {
			body := Noise(100, uint64(i)) //nolint:gosec // a small number
			entries[i], errs[i] = w.Put(t.Context(), Upload("f", body), bytes.NewReader(body))
		})
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		if err == nil {
			winners++
			holds(t, h, entries[i], Noise(100, uint64(i))) //nolint:gosec // a small number
			continue
		}
		changed(t, "a loser", err)
	}
	if winners != 1 {
		t.Errorf("%d of %d won: %v", winners, racers, errs)
	}
}

func putAgain(t T, h Harness) {
	body := []byte("the answer to this was lost")
	first := put(t, h, Upload("f", body), body)
	second := put(t, h, Upload("f", body), body)
	if first.Version != second.Version {
		t.Errorf("versions %q and %q", first.Version, second.Version)
	}
	u := Upload("f", body)
	u.Old = backends.Entry{Name: "f", Size: 3, Version: `"00000000000000000000000000000000"`}
	put(t, h, u, body)
	holds(t, h, first, body)
}

func putSizes(t T, h Harness) {
	versions := map[string]bool{}
	sizes := append([]int64{0, 1, 4095, 4096, 65537}, h.Sizes...)
	for i, size := range sizes {
		body := Noise(size, uint64(i)) //nolint:gosec // a small number
		u := Upload("f", body)
		if i > 0 {
			u.Old, _ = find(t, h, "f")
		}
		e := put(t, h, u, body)
		holds(t, h, e, body)
		if versions[e.Version] {
			t.Errorf("version %q again", e.Version)
		}
		versions[e.Version] = true
		if size == 0 {
			continue
		}
		body[size/2] ^= 1
		u = Upload("f", body)
		u.Old = e
		if next := put(t, h, u, body); next.Version == e.Version {
			t.Errorf("one bit differs in %d bytes, the version does not", size)
		}
	}
}

func putShort(t T, h Harness) {
	for _, size := range append([]int64{100}, h.Sizes...) {
		body := Noise(size, 1)
		u := Upload("f", body)
		if e, err := writer(t, h).Put(t.Context(), u, bytes.NewReader(body[:size-1])); err == nil {
			t.Errorf("%d bytes of %d became %+v", size-1, size, e)
		}
	}
	if e, ok := find(t, h, "f"); ok {
		t.Errorf("%+v came to be", e)
	}
}

func putWrongSum(t T, h Harness) {
	for _, size := range append([]int64{100}, h.Sizes...) {
		body := Noise(size, 1)
		u := Upload("f", body)
		u.CRC64NVME++
		if e, err := writer(t, h).Put(t.Context(), u, bytes.NewReader(body)); err == nil {
			t.Errorf("%d bytes with another checksum became %+v", size, e)
		}
	}
	if e, ok := find(t, h, "f"); ok {
		t.Errorf("%+v came to be", e)
	}
}

// Breaking is a body whose reader is cancelled when it reaches an offset.
type Breaking struct {
	io.ReaderAt

	At     int64
	Cancel func()
}

// ReadAt reads on, cancelled or not.
func (b Breaking) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.At {
		b.Cancel()
	}
	return b.ReaderAt.ReadAt(p, off)
}

func putCancelled(t T, h Harness) {
	w := writer(t, h)
	for i, size := range append([]int64{5000}, h.Sizes...) {
		body := Noise(size, uint64(i)) //nolint:gosec // a small number
		name := "f" + strings.Repeat("x", i)
		u := Upload(name, body)
		u.Checkpoint = func(state []byte) error { u.Resume = slices.Clone(state); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		_, err := w.Put(ctx, u, Breaking{bytes.NewReader(body), size * 2 / 3, cancel})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes: %v, want what cancelled it", size, err)
		}
		if e, ok := find(t, h, name); ok {
			t.Errorf("%d bytes: %+v came to be", size, e)
		}
		holds(t, h, put(t, h, u, body), body)
		holds(t, h, put(t, h, u, body), body) // as when the machine stopped before it had noted that it was done
	}
}

func putCounts(t T, h Harness) {
	r, counts := h.Source.(backends.Reporter)
	for _, size := range append([]int64{5000}, h.Sizes...) {
		body := Noise(size, 1)
		var mu sync.Mutex // guards sent
		var sent int64
		u := Upload("f", body)
		u.Sent = func(n int64) {
			mu.Lock()
			defer mu.Unlock()
			sent += n
		}
		u.Old, _ = find(t, h, "f")
		var before backends.Counts
		if counts {
			before = r.Counts()
		}
		put(t, h, u, body)
		if sent != size {
			t.Errorf("%d bytes sent of %d", sent, size)
		}
		if !counts {
			continue
		}
		if after := r.Counts(); after.Put <= before.Put || after.BytesOut < before.BytesOut+size {
			t.Errorf("before %+v, after %+v", before, after)
		}
	}
}

func putMarker(t T, h Harness) {
	w := writer(t, h)
	for _, name := range []string{"d", "e/g"} {
		u := Upload(name, nil)
		u.Dir = true
		for range 2 { // an empty directory twice is one
			if e := put(t, h, u, nil); e.Name != name || !e.Dir || e.Version != "" || e.Size != 0 {
				t.Errorf("returned %+v", e)
			}
		}
	}
	equal(t, "root", list(t, h, ""), []string{"d/", "e/"})
	equal(t, "empty directory", list(t, h, "d"), nil)
	equal(t, "directory", list(t, h, "e"), []string{"e/g/"})
	for range 2 {
		if err := w.Remove(t.Context(), backends.Entry{Name: "d", Dir: true}); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	equal(t, "root", list(t, h, ""), []string{"e/"})
}
