package fs

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// fakeSource is a source in memory whose every byte tells its name, version and offset, so that a mix is seen.
type fakeSource struct {
	mu      sync.Mutex
	objects map[string]backends.Entry
	stalled chan struct{} // reads wait until it is closed; nil: they don't
	left    int           // reads that ended because their context did
	tell    func(backends.Change)
	unsized map[string]bool // names whose size listings do not tell
}

func newFakeSource() *fakeSource {
	return &fakeSource{objects: map[string]backends.Entry{}, unsized: map[string]bool{}}
}

func (s *fakeSource) put(name, version string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = backends.Entry{Name: name, Size: size, Version: version, ModTime: time.Unix(1_700_000_000, 0), Class: "STANDARD"}
}

func (s *fakeSource) link(name, target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = backends.Entry{Name: name, Size: int64(len(target)), Link: target}
}

func (s *fakeSource) archive(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.objects[name]
	e.Tier = backends.Archived
	s.objects[name] = e
}

func (s *fakeSource) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
}

func (s *fakeSource) stall(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.stalled = make(chan struct{})
	} else if s.stalled != nil {
		close(s.stalled)
		s.stalled = nil
	}
}

func (s *fakeSource) List(_ context.Context, dir string) iter.Seq2[backends.Entry, error] {
	s.mu.Lock()
	found := map[string]backends.Entry{}
	for name, e := range s.objects {
		rest, ok := strings.CutPrefix(name, dir+"/")
		if dir == "" {
			rest, ok = name, true
		}
		if !ok {
			continue
		}
		first, _, deeper := strings.Cut(rest, "/")
		full := backends.Join(dir, first)
		if deeper {
			e = backends.Entry{Name: full, Dir: true}
		} else if s.unsized[full] {
			e.Size = backends.SizeUnknown
		}
		found[full] = e
	}
	s.mu.Unlock()
	list := make([]backends.Entry, 0, len(found))
	for _, e := range found {
		list = append(list, e)
	}
	sortByName(list)
	return func(yield func(backends.Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *fakeSource) Stat(_ context.Context, name string) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.objects[name]
	if !ok {
		return e, backends.ErrNotExist
	}
	return e, nil
}

func (s *fakeSource) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	now, ok := s.objects[e.Name]
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
			s.mu.Lock()
			s.left++
			s.mu.Unlock()
			return nil, ctx.Err()
		}
	}
	switch {
	case !ok:
		return nil, fmt.Errorf("read %s: %w", e.Name, backends.ErrNotExist)
	case now.Version != e.Version:
		return nil, fmt.Errorf("read %s: %w", e.Name, backends.ErrChanged)
	}
	return io.NopCloser(bytes.NewReader(content(e.Name, e.Version, off, n))), nil
}

// hidden is the name at the root of an indexedSource that lookups find and listings do not show.
const hidden = ".hidden"

// indexedSource is a fakeSource that answers from an index of its own, as a source does whose objects arrive in bundles:
// they have all arrived.
type indexedSource struct{ *fakeSource }

func (s indexedSource) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		for e, err := range s.fakeSource.List(ctx, dir) {
			if e.Name != hidden && !yield(e, err) {
				return
			}
		}
	}
}

// Stat knows directories, too.
func (s indexedSource) Stat(ctx context.Context, name string) (backends.Entry, error) {
	if e, err := s.fakeSource.Stat(ctx, name); err == nil {
		return e, nil
	}
	parent, _ := backends.Split(name)
	for e, err := range s.fakeSource.List(ctx, parent) {
		if e.Name == name {
			return e, err
		}
	}
	return backends.Entry{}, fmt.Errorf("stat %s: %w", name, backends.ErrNotExist)
}

func (indexedSource) Bundle(string, backends.Need, func(backends.Entry) bool) string { return "" }

func (indexedSource) Fetch(context.Context, string, backends.Put) error { return backends.ErrNotExist }

func (indexedSource) Fresh(string) time.Duration { return time.Hour }

func (s indexedSource) Watch(tell func(backends.Change)) { s.tell = tell }

func (indexedSource) Snapshot(uint64) (index []byte, generation uint64) { return nil, 0 }

func (indexedSource) Restore([]byte) error { return nil }

// content is what name has at off in a version.
func content(name, version string, off, n int64) []byte {
	h := fnv.New64a()
	io.WriteString(h, name+"\x00"+version)
	seed := h.Sum64()
	b := make([]byte, n)
	for i := range b {
		at := uint64(off) + uint64(i)
		b[i] = byte((at>>9+1)*(seed|1)>>16) ^ byte(at)
	}
	return b
}

func same(name, version string, got []byte) bool {
	return slices.Equal(got, content(name, version, 0, int64(len(got))))
}
