package mem

import (
	"context"
	"io"
	"iter"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
)

func harness(s *Source, src backends.Source) backendtest.Harness {
	return backendtest.Harness{Source: src, Put: s.PutBytes, Remove: s.Remove, Odd: true}
}

func TestConformance(t *testing.T) {
	for _, size := range []int{1, 2, 3, 1000} {
		backendtest.Run(t, func(*testing.T) backendtest.Harness {
			s := New(size)
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
	for name, b := range map[string]broken{
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
	} {
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
