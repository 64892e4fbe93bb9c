package cache

import (
	"context"
	"iter"

	"studyfs/backends"
)

// inTurn returns src with its listings waiting for a slot each; it can be asked in pages, and after any key, where src can.
func inTurn(src backends.Source, s *slots) backends.Source {
	g := gated{src, s}
	pager, ok := src.(backends.Pager)
	if !ok {
		return g
	}
	p := gatedPager{g, pager}
	if seeker, ok := src.(backends.Seeker); ok {
		return gatedSeeker{p, seeker}
	}
	return p
}

type gated struct {
	backends.Source
	slots *slots
}

// List holds a slot until the end of the listing, which may be several requests one after the other.
func (g gated) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		if _, err := g.slots.acquire(ctx, hurried()); err != nil {
			yield(backends.Entry{}, err)
			return
		}
		defer g.slots.release(false)
		g.Source.List(ctx, dir)(yield)
	}
}

type gatedPager struct {
	gated
	pager backends.Pager
}

func (g gatedPager) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if _, err := g.slots.acquire(ctx, hurried()); err != nil {
		return backends.Page{}, err
	}
	defer g.slots.release(false)
	return g.pager.WalkPage(ctx, dir, after)
}

func (g gatedPager) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if _, err := g.slots.acquire(ctx, hurried()); err != nil {
		return backends.Page{}, err
	}
	defer g.slots.release(false)
	return g.pager.ListPage(ctx, dir, after)
}

type gatedSeeker struct {
	gatedPager
	seeker backends.Seeker
}

func (g gatedSeeker) Seeks(flat bool) bool { return g.seeker.Seeks(flat) }
