package mem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
)

func harness(s *Source, src backends.Source) backendtest.Harness {
	return backendtest.Harness{Source: src, Put: s.PutBytes, Remove: s.Delete, Odd: true, Writes: true, Sizes: []int64{7, 8, 9, 23, 24, 25}}
}

func TestConformance(t *testing.T) {
	for _, size := range []int{1, 2, 3, 1000} {
		backendtest.Run(t, func(*testing.T) backendtest.Harness {
			s := New(size)
			s.SetPartSize(8)
			return harness(s, s)
		})
	}
}

// broken is a source with one thing wrong.
type broken struct {
	*Source
	list func(iter.Seq2[backends.Entry, error]) iter.Seq2[backends.Entry, error]
	read func(*Source, context.Context, backends.Entry, int64, int64) (io.ReadCloser, error)
	page func(backends.Page) backends.Page
	deaf bool // to where a listing is to begin
	put  func(*Source, context.Context, backends.Upload, io.ReaderAt) (backends.Entry, error)
	copy func(*Source, context.Context, backends.Entry, backends.Upload) (backends.Entry, error)
	rm   func(*Source, context.Context, backends.Entry) error
}

func (b broken) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	if b.put == nil {
		return b.Source.Put(ctx, u, r)
	}
	return b.put(b.Source, ctx, u, r)
}

func (b broken) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	if b.copy == nil {
		return b.Source.Copy(ctx, from, u)
	}
	return b.copy(b.Source, ctx, from, u)
}

func (b broken) Remove(ctx context.Context, e backends.Entry) error {
	if b.rm == nil {
		return b.Source.Remove(ctx, e)
	}
	return b.rm(b.Source, ctx, e)
}

// careless has a source ignore conditions during one call.
func careless[R any](s *Source, call func() (R, error)) (R, error) {
	s.SetAbilities(backends.Abilities{Conditions: backends.Unable, Checksums: backends.Able})
	defer s.SetAbilities(backends.Abilities{Conditions: backends.Able, Checksums: backends.Able})
	return call()
}

// brokenWriters each break one promise.
func brokenWriters() map[string]broken {
	type put = func(*Source, context.Context, backends.Upload, io.ReaderAt) (backends.Entry, error)
	of := func(f put) broken { return broken{put: f} }
	return map[string]broken{
		"overwrites": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			return careless(s, func() (backends.Entry, error) { return s.Put(ctx, u, r) })
		}),
		"only creates": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			u.Old = backends.Entry{}
			return s.Put(ctx, u, r)
		}),
		"loses metadata": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			u.Meta = nil
			return s.Put(ctx, u, r)
		}),
		"loses the last byte": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			b := make([]byte, max(0, u.Size-1))
			r.ReadAt(b, 0)
			cut := backendtest.Upload(u.Name, b)
			cut.Old, cut.Meta, cut.Dir = u.Old, u.Meta, u.Dir
			return s.Put(ctx, cut, bytes.NewReader(b))
		}),
		"believes any checksum": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			b := make([]byte, u.Size)
			if _, err := io.ReadFull(io.NewSectionReader(r, 0, u.Size), b); err == nil {
				u.CRC64NVME = backendtest.Upload("", b).CRC64NVME
			}
			return s.Put(ctx, u, r)
		}),
		"finishes what was cancelled": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			e, err := s.Put(context.WithoutCancel(ctx), u, r)
			if ctx.Err() != nil {
				return backends.Entry{}, ctx.Err()
			}
			return e, err
		}),
		"returns another version": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			e, err := s.Put(ctx, u, r)
			e.Version += "x"
			return e, err
		}),
		"keeps its counts": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			u.Sent = nil
			return s.Put(ctx, u, r)
		}),
		"calls its own bytes a conflict": of(func(s *Source, ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
			if e, err := s.Stat(ctx, u.Name); err == nil && e.Version != u.Old.Version {
				return backends.Entry{}, backends.ErrChanged
			}
			return s.Put(ctx, u, r)
		}),
		"copies metadata": {copy: func(s *Source, ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
			x, err := s.Examine(ctx, from.Name)
			u.Meta = x.Meta
			e, err2 := s.Copy(ctx, from, u)
			return e, errors.Join(err, err2)
		}},
		"copies whatever is there": {copy: func(s *Source, ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
			if e, err := s.Stat(ctx, from.Name); err == nil {
				from = e
			}
			return s.Copy(ctx, from, u)
		}},
		"copies over everything": {copy: func(s *Source, ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
			if e, err := s.Stat(ctx, u.Name); err == nil {
				u.Old = e
			}
			return s.Copy(ctx, from, u)
		}},
		"removes any version": {rm: func(s *Source, _ context.Context, e backends.Entry) error {
			s.Delete(keyOf(e.Name, e.Dir))
			return nil
		}},
		"misses what is gone": {rm: func(s *Source, ctx context.Context, e backends.Entry) error {
			if _, err := s.Stat(ctx, e.Name); err != nil {
				return err
			}
			return s.Remove(ctx, e)
		}},
		"leaves what it should remove": {rm: func(*Source, context.Context, backends.Entry) error { return nil }},
	}
}

func (b broken) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	if b.list == nil {
		return b.Source.List(ctx, dir)
	}
	return b.list(b.Source.List(ctx, dir))
}

func (b broken) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	if b.read == nil {
		return b.Source.ReadRange(ctx, e, off, n)
	}
	return b.read(b.Source, ctx, e, off, n)
}

func (b broken) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if b.deaf {
		after = ""
	}
	p, err := b.Source.WalkPage(ctx, dir, after)
	if b.page != nil {
		p = b.page(p)
	}
	return p, err
}

// watcher counts failures instead of failing.
type watcher struct {
	ctx    context.Context
	failed bool
}

func (*watcher) Helper()                    {}
func (w *watcher) Errorf(string, ...any)    { w.failed = true }
func (w *watcher) Context() context.Context { return w.ctx }

// A suite that nothing fails proves nothing: each of these must fail some check.
func TestTheSuiteBites(t *testing.T) {
	all := brokenWriters()
	maps.Copy(all, map[string]broken{
		"shows names twice": {list: func(in iter.Seq2[backends.Entry, error]) iter.Seq2[backends.Entry, error] {
			return func(yield func(backends.Entry, error) bool) {
				for e, err := range in {
					for range 2 {
						if !yield(e, err) {
							return
						}
					}
				}
			}
		}},
		"forgets the last": {list: func(in iter.Seq2[backends.Entry, error]) iter.Seq2[backends.Entry, error] {
			return func(yield func(backends.Entry, error) bool) {
				var held *backends.Entry
				for e, err := range in {
					if err != nil {
						yield(e, err)
						return
					}
					if held != nil && !yield(*held, nil) {
						return
					}
					held = &e
				}
			}
		}},
		"reads short": {read: func(s *Source, ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
			return s.ReadRange(ctx, e, off, max(1, n-1))
		}},
		"reads one off": {read: func(s *Source, ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
			if off > 0 && off+n <= e.Size {
				off--
			}
			return s.ReadRange(ctx, e, off, n)
		}},
		"does not pin": {read: func(s *Source, ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
			if now, err := s.Stat(ctx, e.Name); err == nil {
				e.Version = now.Version
			}
			return s.ReadRange(ctx, e, off, n)
		}},
		"loses the end of pages": {page: func(p backends.Page) backends.Page {
			if len(p.Entries) > 1 {
				p.Entries = p.Entries[:len(p.Entries)-1]
			}
			return p
		}},
		"begins where it likes": {deaf: true, page: func(p backends.Page) backends.Page { p.More = false; return p }},
		"ends too early":        {page: func(p backends.Page) backends.Page { p.More = false; return p }},
	})
	for name, b := range all {
		failed := 0
		for _, c := range backendtest.Checks() {
			b.Source = New(2)
			w := &watcher{ctx: t.Context()}
			c.Run(w, harness(b.Source, b))
			if w.failed {
				failed++
			}
		}
		if failed == 0 {
			t.Errorf("a source that %s passes", name)
		}
	}
}
