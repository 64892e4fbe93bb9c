package backendtest

import (
	"bytes"
	"context"
	"errors"
	"hash/crc64"
	"io"
	"maps"
	"strings"
	"time"

	"studyfs/backends"
)

// slack is by how much the ModTime that a write returns may miss that of the listing: it is the time of the answer.
const slack = 5 * time.Second

// racers is how many create the same name at once.
const racers = 8

func writeChecks() []Check {
	checks := []Check{
		{"what was put is listed and read back", putAndRead},
		{"a put without an old version only creates", putCreates},
		{"a put replaces only the version that it names", putReplaces},
		{"a put in the place of what is gone fails", putGone},
		{"of many who create the same name one wins", putRace},
		{"the same bytes again are no conflict", putAgain},
		{"objects of every size arrive whole", putSizes},
		{"a body that ends early is no object", putShort},
		{"a wrong checksum is no object", putWrongSum},
		{"a cancelled upload leaves nothing visible, and can be resumed", putCancelled},
		{"bytes sent are counted", putCounts},
		{"a marker is put, listed and removed", putMarker},
		{"metadata come back", metadata},
		{"names of every kind can be written", writeNames},
		{"a copy has the bytes and its own metadata", copies},
		{"a copy onto itself changes only metadata", copyOnto},
		{"a copy is of the version that it names, and hits nothing else", copyConditions},
		{"remove takes only the version that it names", removes},
		{"what is gone already can be removed", removeAgain},
	}
	for i, c := range checks {
		checks[i].Run = func(t T, h Harness) {
			if h.Writes {
				c.Run(t, h)
			}
		}
	}
	return checks
}

// writer returns the source's writing side.
func writer(t T, h Harness) backends.Writer {
	t.Helper()
	w, ok := h.Source.(backends.Writer)
	if !ok {
		t.Errorf("it is no Writer")
		return refusing{}
	}
	return w
}

// refusing stands in for a Writer that is missing.
type refusing struct{}

var errNoWriter = errors.New("no writer")

func (refusing) Put(context.Context, backends.Upload, io.ReaderAt) (backends.Entry, error) {
	return backends.Entry{}, errNoWriter
}

func (refusing) Copy(context.Context, backends.Entry, backends.Upload) (backends.Entry, error) {
	return backends.Entry{}, errNoWriter
}

func (refusing) Remove(context.Context, backends.Entry) error { return errNoWriter }

// Upload describes the upload of a body, checksum included.
func Upload(name string, body []byte) backends.Upload {
	sum := crc64.Checksum(body, crc64.MakeTable(0x9a6c9329ac4bc9b5))
	return backends.Upload{Name: name, Size: int64(len(body)), CRC64NVME: sum}
}

// Noise makes up n bytes that depend on seed.
func Noise(n int64, seed uint64) []byte {
	b := make([]byte, n)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

// put stores a body that must arrive.
func put(t T, h Harness, u backends.Upload, body []byte) backends.Entry {
	t.Helper()
	e, err := writer(t, h).Put(t.Context(), u, bytes.NewReader(body))
	if err != nil {
		t.Errorf("put %q of %d bytes: %v", u.Name, u.Size, err)
	}
	return e
}

// holds checks that a listing shows e as it was returned, and that its bytes are body.
func holds(t T, h Harness, e backends.Entry, body []byte) {
	t.Helper()
	listed, ok := find(t, h, e.Name)
	if !ok {
		t.Errorf("%q is not listed", e.Name)
		return
	}
	if late := listed.ModTime.Sub(e.ModTime).Abs(); late > slack {
		t.Errorf("%q: returned with time %v, listed with %v", e.Name, e.ModTime, listed.ModTime)
	}
	if same := listed; !same.ModTime.IsZero() {
		same.ModTime = e.ModTime
		if same != e {
			t.Errorf("returned %+v, listed %+v", e, same)
		}
	}
	if listed.Size != int64(len(body)) {
		t.Errorf("%q is listed with %d bytes, want %d", e.Name, listed.Size, len(body))
		return
	}
	if len(body) == 0 {
		return
	}
	if got, err := read(t.Context(), h, listed, 0, listed.Size); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%q: %d bytes read back, %v; want %d others", e.Name, len(got), err, len(body))
	}
}

// find looks a name up in the listing of its directory.
func find(t T, h Harness, name string) (backends.Entry, bool) {
	t.Helper()
	dir, _ := backends.Split(name)
	for e, err := range h.Source.List(t.Context(), dir) {
		if err != nil {
			t.Errorf("list %q: %v", dir, err)
			break
		}
		if e.Name == name {
			return e, true
		}
	}
	return backends.Entry{}, false
}

// changed checks that a write was refused since something else lies there.
func changed(t T, what string, err error) {
	t.Helper()
	if !errors.Is(err, backends.ErrChanged) {
		t.Errorf("%s: %v, want ErrChanged", what, err)
	}
}

// examine looks at an object, if the source can.
func examine(t T, h Harness, name string) (backends.Stored, bool) {
	t.Helper()
	x, ok := h.Source.(backends.Examiner)
	if !ok {
		return backends.Stored{}, false
	}
	got, err := x.Examine(t.Context(), name)
	if err != nil {
		t.Errorf("examine %q: %v", name, err)
	}
	return got, err == nil
}

func sampleMeta() map[string]string {
	return map[string]string{"mtime": "1700000000.123456789", "mode": "644", "uid": "1000", "note": "a b=c"}
}

func metadata(t T, h Harness) {
	for _, size := range append([]int64{0, 10}, h.Sizes...) {
		body := Noise(size, 3)
		u := Upload("f", body)
		u.Meta = sampleMeta()
		u.Old, _ = find(t, h, "f")
		e := put(t, h, u, body)
		got, ok := examine(t, h, "f")
		if !ok {
			return
		}
		if !maps.Equal(got.Meta, u.Meta) {
			t.Errorf("%d bytes: metadata %q", size, got.Meta)
		}
		if got.Entry.Version != e.Version || got.Entry.Size != size || got.Entry.Name != "f" || got.HasCRC && got.CRC64NVME != u.CRC64NVME {
			t.Errorf("examined %+v, put %+v", got, e)
		}
	}
	if x, ok := h.Source.(backends.Examiner); ok {
		if got, err := x.Examine(t.Context(), "none"); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("examine of nothing: %+v, %v", got, err)
		}
	}
}

func writeNames(t T, h Harness) {
	w := writer(t, h)
	for _, name := range []string{"#hash", "50%", "a b", "a+b", "e\u0301/\u00e9", "q?mark&x=y", "日本"} {
		body := []byte("body of " + name)
		e := put(t, h, Upload(name, body), body)
		holds(t, h, e, body)
		u := backends.Upload{Name: name + " copy"}
		copied, err := w.Copy(t.Context(), e, u)
		if err != nil {
			t.Errorf("copy %q: %v", name, err)
			continue
		}
		holds(t, h, copied, body)
		if err := w.Remove(t.Context(), e); err != nil {
			t.Errorf("remove %q: %v", name, err)
		}
		if _, ok := find(t, h, name); ok {
			t.Errorf("%q is still there", name)
		}
	}
	for _, name := range []string{"", "a//b", "../up", "a/"} {
		if e, err := w.Put(t.Context(), Upload(name, nil), bytes.NewReader(nil)); err == nil {
			t.Errorf("%q became %+v", name, e)
		}
	}
}

func copies(t T, h Harness) {
	w := writer(t, h)
	for i, size := range append([]int64{0, 10}, h.Sizes...) {
		body := Noise(size, 4)
		name := "f" + strings.Repeat("x", i)
		from := put(t, h, Upload(name, body), body)
		e, err := w.Copy(t.Context(), from, backends.Upload{Name: "d/" + name, Meta: sampleMeta()})
		if err != nil {
			t.Errorf("copy of %d bytes: %v", size, err)
			continue
		}
		holds(t, h, e, body)
		holds(t, h, from, body)
		if got, ok := examine(t, h, "d/"+name); ok && !maps.Equal(got.Meta, sampleMeta()) {
			t.Errorf("metadata %q", got.Meta)
		}
	}
}

func copyOnto(t T, h Harness) {
	body := []byte("body")
	e := put(t, h, Upload("f", body), body)
	again, err := writer(t, h).Copy(t.Context(), e, backends.Upload{Name: "f", Old: e, Meta: sampleMeta()})
	if err != nil {
		t.Errorf("copy: %v", err)
		return
	}
	holds(t, h, again, body)
	if got, ok := examine(t, h, "f"); ok && !maps.Equal(got.Meta, sampleMeta()) {
		t.Errorf("metadata %q", got.Meta)
	}
}

func copyConditions(t T, h Harness) {
	w := writer(t, h)
	one, two := []byte("one"), []byte("two, longer")
	stale := put(t, h, Upload("f", one), one)
	u := Upload("f", two)
	u.Old = stale
	now := put(t, h, u, two)
	_, err := w.Copy(t.Context(), stale, backends.Upload{Name: "g"})
	changed(t, "copy of a version that is there no more", err)
	if e, ok := find(t, h, "g"); ok {
		t.Errorf("%+v came to be", e)
	}
	there := put(t, h, Upload("h", one), one)
	_, err = w.Copy(t.Context(), now, backends.Upload{Name: "h"})
	changed(t, "copy over what is there", err)
	_, err = w.Copy(t.Context(), now, backends.Upload{Name: "h", Old: another(there)})
	changed(t, "copy over another version than named", err)
	holds(t, h, there, one)
	h.Remove("f")
	if e, err := w.Copy(t.Context(), now, backends.Upload{Name: "k"}); !errors.Is(err, backends.ErrChanged) && !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("copy of what was removed: %+v, %v", e, err)
	}
}

// another is e as it never was.
func another(e backends.Entry) backends.Entry {
	e.Version = `"00000000000000000000000000000000"`
	return e
}

func removes(t T, h Harness) {
	w := writer(t, h)
	one, two := []byte("one"), []byte("two")
	stale := put(t, h, Upload("f", one), one)
	u := Upload("f", two)
	u.Old = stale
	now := put(t, h, u, two)
	changed(t, "remove of a version that is there no more", w.Remove(t.Context(), stale))
	holds(t, h, now, two)
	if err := w.Remove(t.Context(), now); err != nil {
		t.Errorf("remove: %v", err)
	}
	if _, ok := find(t, h, "f"); ok {
		t.Errorf("it is still there")
	}
}

func removeAgain(t T, h Harness) {
	w := writer(t, h)
	body := []byte("body")
	e := put(t, h, Upload("d/f", body), body)
	for range 2 {
		if err := w.Remove(t.Context(), e); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	equal(t, "root", list(t, h, ""), nil)
	next := put(t, h, Upload("d/f", body), body)
	holds(t, h, next, body)
}
