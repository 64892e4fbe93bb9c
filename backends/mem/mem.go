// Package mem is a source in memory: the reference for what the contract of package backends means, and the store that tests of
// other packages fill, change and break.
package mem

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// Object is what lies under a key. Body may make its bytes up as they are read.
type Object struct {
	Body    io.ReaderAt
	Size    int64
	ModTime time.Time
	Tier    backends.Tier
	Class   string
	Meta    map[string]string // not changed afterwards
}

// Op is one call, as hooks and the log see it.
type Op struct {
	Name   string // "walk", "list", "stat", "read", "put", "part", "finish", "copy", "remove", "examine" or "restore"
	Object string // the directory or the entry
	After  string
	Off, N int64
}

// Source holds objects. The zero value is not ready: use New. It is safe for concurrent use.
type Source struct {
	pageSize int

	mu        sync.Mutex // guards the fields below; hooks run without it
	objects   map[string]stored
	version   int
	before    func(Op) error
	after     func(Op) error
	log       []Op
	bytesIn   int64
	bytesOut  int64
	hidden    map[string]bool
	partSize  int64
	uploads   map[string]*upload
	abilities backends.Abilities
	now       func() time.Time
}

type stored struct {
	Object
	version string
}

var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Seeker   = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
)

// New returns an empty source that lists pageSize keys at a time; 0 means 1,000.
func New(pageSize int) *Source {
	if pageSize <= 0 {
		pageSize = 1000
	}
	return &Source{
		pageSize: pageSize, objects: map[string]stored{}, hidden: map[string]bool{}, uploads: map[string]*upload{}, partSize: 8 << 20,
		abilities: backends.Abilities{Conditions: backends.Able, Checksums: backends.Able},
		now:       func() time.Time { return time.Unix(1_700_000_000, 0) },
	}
}

// Set stores an object, with a version that no object had before. A key that ends in "/" marks a directory.
func (s *Source) Set(key string, o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[key] = stored{o, s.newVersion()}
}

// newVersion returns one that no object had before. The caller holds mu.
func (s *Source) newVersion() string {
	s.version++
	return strconv.Itoa(s.version)
}

// PutBytes stores an object with the given bytes, which it keeps.
func (s *Source) PutBytes(key string, b []byte) {
	s.Set(key, Object{Body: bytes.NewReader(b), Size: int64(len(b)), ModTime: time.Unix(1e9, 0).UTC()})
}

// Delete removes a key if it is there.
func (s *Source) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
}

// Before has f called ahead of every request. An error of f is the request's answer; f may wait, and change the source.
func (s *Source) Before(f func(Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Log returns the requests so far.
func (s *Source) Log() []Op {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Counts tells what was asked for so far.
func (s *Source) Counts() backends.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := backends.Counts{BytesIn: s.bytesIn, BytesOut: s.bytesOut, HiddenKeys: int64(len(s.hidden))}
	for _, op := range s.log {
		switch op.Name {
		case "read":
			c.Get++
		case "examine":
			c.Head++
		case "put", "part", "finish", "copy":
			c.Put++
		case "remove":
			c.Delete++
		default:
			c.List++
		}
	}
	return c
}

// Trouble is always nil.
func (*Source) Trouble() error { return nil }

// request logs a call and runs the hook.
func (s *Source) request(ctx context.Context, op Op) error {
	s.mu.Lock()
	s.log = append(s.log, op)
	before := s.before
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if before == nil {
		return nil
	}
	return before(op)
}

// List yields the children of dir in name order.
func (s *Source) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		if err := s.request(ctx, Op{Name: "list", Object: dir}); err != nil {
			yield(backends.Entry{}, fmt.Errorf("list %s: %w", dir, err))
			return
		}
		page := s.page(dir, "", false, 1<<40)
		slices.SortStableFunc(page.Entries, func(a, b backends.Entry) int {
			if c := cmp.Compare(a.Name, b.Name); c != 0 || a.Dir == b.Dir {
				return c
			}
			if a.Dir {
				return -1
			}
			return 1
		})
		last := ""
		for _, e := range page.Entries {
			if e.Name == last {
				s.hide(e.Name)
				continue
			}
			last = e.Name
			if !yield(e, nil) {
				return
			}
		}
	}
}

// WalkPage is one flat page.
func (s *Source) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if err := s.request(ctx, Op{Name: "walk", Object: dir, After: after}); err != nil {
		return backends.Page{}, fmt.Errorf("walk %s: %w", dir, err)
	}
	return s.page(dir, after, true, s.pageSize), nil
}

// ListPage is one page of children.
func (s *Source) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if err := s.request(ctx, Op{Name: "list", Object: dir, After: after}); err != nil {
		return backends.Page{}, fmt.Errorf("list %s: %w", dir, err)
	}
	return s.page(dir, after, false, s.pageSize), nil
}

// Seeks is true.
func (s *Source) Seeks(bool) bool { return true }

// page collects up to limit keys below dir that come after a key.
func (s *Source) page(dir, after string, flat bool, limit int) (p backends.Page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	shown := map[string]bool{}
	for key := range s.objects {
		rel, below := strings.CutPrefix(key, prefix)
		if !below || rel == "" {
			continue
		}
		if i := strings.IndexByte(rel, '/'); i >= 0 && !flat {
			key = prefix + rel[:i+1]
		}
		if key > after {
			shown[key] = true
		}
	}
	keys := slices.Sorted(maps.Keys(shown))
	if len(keys) > limit {
		keys, p.More = keys[:limit], true
		p.Last = keys[limit-1]
	}
	for _, key := range keys {
		if e, ok := s.entry(key); ok {
			p.Entries = append(p.Entries, e)
		}
	}
	return p
}

// entry is what is shown of a key. The caller holds mu.
func (s *Source) entry(key string) (backends.Entry, bool) {
	name, isDir := strings.CutSuffix(key, "/")
	if name == "" || !backends.ValidName(name) {
		s.hidden[key] = true
		return backends.Entry{}, false
	}
	o := s.objects[key]
	e := backends.Entry{Name: name, Dir: isDir, ModTime: o.ModTime}
	if !isDir {
		e.Size, e.Version, e.Tier, e.Class = o.Size, o.version, o.Tier, o.Class
	}
	return e, true
}

func (s *Source) hide(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden[key] = true
}

// Stat returns one entry. A directory wins over a file of its name.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	if err := s.request(ctx, Op{Name: "stat", Object: name}); err != nil {
		return backends.Entry{}, fmt.Errorf("stat %s: %w", name, err)
	}
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.objects {
		if strings.HasPrefix(key, name+"/") {
			return backends.Entry{Name: name, Dir: true}, nil
		}
	}
	if _, ok := s.objects[name]; ok && backends.ValidName(name) {
		e, _ := s.entry(name)
		return e, nil
	}
	return backends.Entry{}, fmt.Errorf("stat %s: %w", name, backends.ErrNotExist)
}

// ReadRange streams a range of exactly the version of e.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off+n > e.Size {
		return nil, fmt.Errorf("read %s: range %d+%d of %d bytes", e.Name, off, n, e.Size)
	}
	if err := s.request(ctx, Op{Name: "read", Object: e.Name, Off: off, N: n}); err != nil {
		return nil, fmt.Errorf("read %s: %w", e.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[e.Name]
	switch {
	case !ok:
		return nil, fmt.Errorf("read %s: %w", e.Name, backends.ErrNotExist)
	case o.version != e.Version:
		return nil, fmt.Errorf("read %s: %w", e.Name, backends.ErrChanged)
	case o.Tier != backends.Online:
		return nil, fmt.Errorf("read %s: %w", e.Name, backends.ErrArchived)
	}
	s.bytesIn += n
	return &body{ctx: ctx, r: io.NewSectionReader(o.Body, off, n)}, nil
}

// body ends with its context, as a connection does.
type body struct {
	ctx context.Context //nolint:containedctx // of this read
	r   io.Reader
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

func (*body) Close() error { return nil }
