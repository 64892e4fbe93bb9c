package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
)

// fakeSource holds objects and does to its reads what a test asks for. Its versions are the object's content number, and
// every byte tells its version and offset, so a mix of two versions cannot go unseen.
type fakeSource struct {
	mu      sync.Mutex
	objects map[string]fakeObject
	gets    []span // in bytes
	onGet   func(name string, off int64) error
	onBody  func(io.Reader) io.Reader
	trouble error
}

type fakeObject struct {
	version int
	size    int64
}

func newFake() *fakeSource { return &fakeSource{objects: map[string]fakeObject{}} }

func (s *fakeSource) put(name string, version int, size int64) backends.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = fakeObject{version, size}
	return s.objects[name].entry(name)
}

func (s *fakeSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.gets)
}

func (s *fakeSource) bytes() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gets {
		n += g.to - g.from
	}
	return n
}

func (o fakeObject) entry(name string) backends.Entry {
	return backends.Entry{Name: name, Size: o.size, Version: fmt.Sprint(o.version), ModTime: time.Unix(1e9, 0)}
}

// content returns the bytes that an object of this version has at off. No byte is NUL. Words, not bytes: tests compare gigabytes.
func content(version int, off, n int64) []byte {
	p := make([]byte, n+16)
	from := off &^ 7
	for i := int64(0); i < n+8; i += 8 {
		word := (uint64(from+i) + uint64(version)<<40) * 0x9e3779b97f4a7c15
		binary.LittleEndian.PutUint64(p[i:], word|0x0101010101010101)
	}
	return p[off-from:][:n]
}

func (s *fakeSource) List(_ context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		s.mu.Lock()
		var all []backends.Entry
		for name, o := range s.objects {
			if d, _ := backends.Split(name); d == dir {
				all = append(all, o.entry(name))
			}
		}
		s.mu.Unlock()
		for _, e := range all {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *fakeSource) Stat(_ context.Context, name string) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return backends.Entry{}, backends.ErrNotExist
	}
	return o.entry(name), nil
}

func (s *fakeSource) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.gets = append(s.gets, span{off, off + n})
	onGet, onBody := s.onGet, s.onBody
	s.mu.Unlock()
	if onGet != nil {
		if err := onGet(e.Name, off); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	o, ok := s.objects[e.Name]
	s.mu.Unlock()
	if !ok {
		return nil, backends.ErrNotExist
	}
	if fmt.Sprint(o.version) != e.Version {
		return nil, backends.ErrChanged
	}
	var body io.Reader = bytes.NewReader(content(o.version, off, n))
	if onBody != nil {
		body = onBody(body)
	}
	return io.NopCloser(ctxReader{ctx, body}), nil
}

func (s *fakeSource) Counts() backends.Counts { return backends.Counts{} }

func (s *fakeSource) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// openStore opens a store over src in dir, closed at the end of the test unless the test did.
func openStore(t testing.TB, src backends.Source, dir string, o Options, so SourceOptions) (*Store, func()) {
	t.Helper()
	so.Dir = dir
	s, err := New(o).Open(t.Context(), src, so)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

// mustRead reads n bytes at off of e and compares them.
func mustRead(t testing.TB, s *Store, e backends.Entry, version int, off, n int64) {
	t.Helper()
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAndCompare(t, r, version, off, n)
}

func readAndCompare(t testing.TB, r *Reader, version int, off, n int64) {
	t.Helper()
	p := make([]byte, n)
	got, err := r.ReadAt(t.Context(), p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("read %d at %d: %v", n, off, err)
	}
	if int64(got) != n || !bytes.Equal(p, content(version, off, n)) {
		t.Fatalf("read %d at %d: %d bytes, wrong", n, off, got)
	}
}
