package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
)

// fakeBundler is a server of days full of files, which come only a day at a time; and the index of what has come. Bundles have the
// names of days: "1", "2" and so on; "root" is the list of days.
type fakeBundler struct {
	t testing.TB

	mu      sync.Mutex
	server  map[string]fakeObject // what the server holds, by "day/file"
	index   map[string]backends.Entry
	whole   map[string]bool // days that were listed completely
	moved   uint64
	tell    func(backends.Change)
	flying  map[string]bool
	fetches []string
	ranges  int // reads past the cache
	trouble error

	onFetch   func(ctx context.Context, bundle string) error // before anything comes
	onObject  func(ctx context.Context, name string) error   // before each object
	onBody    func(io.Reader) io.Reader
	sizeless  bool // sizes are not told before the end
	readAhead bool
	stubborn  bool // days are never complete
}

func newBundles(t testing.TB) *fakeBundler {
	t.Helper()
	return &fakeBundler{
		t: t, server: map[string]fakeObject{}, index: map[string]backends.Entry{}, whole: map[string]bool{},
		moved: 1, flying: map[string]bool{}, tell: func(backends.Change) {},
	}
}

// add puts a file on the server.
func (s *fakeBundler) add(name string, version int, size int64) backends.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server[name] = fakeObject{version, size}
	return s.server[name].entry(name)
}

// stale makes the index forget that a day is complete.
func (s *fakeBundler) stale(day string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.whole, day)
}

func (s *fakeBundler) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fetches)
}

func (s *fakeBundler) Bundle(name string, need backends.Need, have func(backends.Entry) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	day, file, _ := strings.Cut(name, "/")
	e, known := s.index[name]
	switch {
	case name == "" && !s.whole["root"]:
		return "root"
	case name == "" || need == backends.Ahead && !s.readAhead:
		return ""
	case need == backends.Ahead:
		next := "1" + day
		for name, e := range s.index {
			if strings.HasPrefix(name, next+"/") && !have(e) {
				return next
			}
		}
		if s.whole[next] {
			return ""
		}
		return next
	case need == backends.ToRead && known && (s.flying[day] || !have(e)),
		need == backends.ToList && (!s.whole[day] || s.stubborn),
		need == backends.ToStat && file != "" && !known && !s.whole[day]:
		return day
	}
	return ""
}

func (s *fakeBundler) Fetch(ctx context.Context, bundle string, put backends.Put) error {
	s.mu.Lock()
	if s.flying[bundle] {
		s.t.Errorf("bundle %s is fetched twice at once", bundle)
	}
	s.flying[bundle] = true
	s.fetches = append(s.fetches, bundle)
	onFetch := s.onFetch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.flying, bundle)
		s.moved++
	}()
	if onFetch != nil {
		if err := onFetch(ctx, bundle); err != nil {
			return err
		}
	}
	for _, name := range s.names(bundle) {
		if err := s.bring(ctx, name, put); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole[bundle] = true
	return ctx.Err()
}

func (s *fakeBundler) names(day string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.server {
		if strings.HasPrefix(name, day+"/") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func (s *fakeBundler) bring(ctx context.Context, name string, put backends.Put) error {
	s.mu.Lock()
	onObject, onBody := s.onObject, s.onBody
	s.mu.Unlock()
	if onObject != nil {
		if err := onObject(ctx, name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	o := s.server[name]
	s.mu.Unlock()
	var body io.Reader = &contentReader{version: o.version, size: o.size}
	if onBody != nil {
		body = onBody(body)
	}
	size := o.size
	if s.sizeless {
		size = backends.SizeUnknown
	}
	return put(ctx, size, body, func() (backends.Entry, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.index[name] = o.entry(name)
		return s.index[name], nil
	})
}

// contentReader yields all of content(version), bit by bit.
type contentReader struct {
	version   int
	off, size int64
	rest      []byte
}

func (r *contentReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		n := min(1<<20, r.size-r.off)
		if n == 0 {
			return 0, io.EOF
		}
		r.rest = content(r.version, r.off, n)
		r.off += n
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (s *fakeBundler) List(_ context.Context, dir string) iter.Seq2[backends.Entry, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]backends.Entry{}
	if dir == "" {
		for name := range s.server {
			day, _, _ := strings.Cut(name, "/")
			all[day] = backends.Entry{Name: day, Dir: true}
		}
	}
	for name, e := range s.index {
		if d, _ := backends.Split(name); d == dir {
			all[name] = e
		}
	}
	ok := s.whole[dir] || dir == "" && s.whole["root"]
	return func(yield func(backends.Entry, error) bool) {
		if !ok {
			yield(backends.Entry{}, errors.New("never complete"))
			return
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !yield(all[name], nil) {
				return
			}
		}
	}
}

func (s *fakeBundler) Stat(_ context.Context, name string) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.index[name]; ok {
		return e, nil
	}
	if name != "" && !strings.Contains(name, "/") {
		return backends.Entry{Name: name, Dir: true}, nil
	}
	return backends.Entry{}, backends.ErrNotExist
}

func (s *fakeBundler) ReadRange(_ context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ranges++
	o := s.server[e.Name]
	if fmt.Sprint(o.version) != e.Version {
		return nil, backends.ErrChanged
	}
	return io.NopCloser(strings.NewReader(string(content(o.version, off, n)))), nil
}

func (s *fakeBundler) past() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ranges
}

func (s *fakeBundler) Fresh(string) time.Duration { return time.Minute }

func (s *fakeBundler) Watch(tell func(backends.Change)) { s.tell = tell }

type fakeIndex struct {
	Index map[string]backends.Entry
	Whole map[string]bool
}

func (s *fakeBundler) Snapshot(since uint64) ([]byte, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved == since {
		return nil, since
	}
	raw, err := json.Marshal(fakeIndex{s.index, s.whole})
	if err != nil {
		s.t.Error(err)
	}
	return raw, s.moved
}

func (s *fakeBundler) Restore(raw []byte) error {
	var in fakeIndex
	if err := json.Unmarshal(raw, &in); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.whole = in.Index, in.Whole
	return nil
}

func (s *fakeBundler) Counts() backends.Counts { return backends.Counts{} }

func (s *fakeBundler) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// again is the same server as seen by a process that knows nothing yet.
func (s *fakeBundler) again() *fakeBundler {
	fresh := newBundles(s.t)
	fresh.server = s.server
	return fresh
}
