package crypt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"studyfs/backends"
)

const (
	lookAtOnce = 16
	maxLooks   = 1000 // objects per listing whose size is looked up
)

// List yields the children of dir in clear. It is answered when the listing below is complete, since a suffix changes the order.
func (s *Source) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		found, err := s.children(ctx, dir)
		if err != nil {
			yield(backends.Entry{}, err)
			return
		}
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// child is an object and how it is read.
type child struct {
	kind  kind
	in    backends.Entry
	shown backends.Entry
}

func (s *Source) children(ctx context.Context, dir string) ([]backends.Entry, error) {
	var all []child
	for in, err := range s.src.List(ctx, dir) {
		if err != nil {
			return nil, err
		}
		all = append(all, s.child(in))
	}
	slices.SortStableFunc(all, func(a, b child) int {
		return cmp.Or(cmp.Compare(a.shown.Name, b.shown.Name), b.precedence()-a.precedence())
	})
	kept := all[:0]
	for _, c := range all {
		if len(kept) > 0 && kept[len(kept)-1].shown.Name == c.shown.Name {
			s.note(s.hidden, c.in.Name)
			continue
		}
		kept = append(kept, c)
	}
	if err := s.look(ctx, kept); err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	out := make([]backends.Entry, len(kept))
	for i, c := range kept {
		out[i] = c.kind.shown(c.in, s.sizeOf(c.kind, c.in))
	}
	return out, nil
}

// precedence is which of two children of one name is shown: the one with more.
func (c child) precedence() int {
	if c.in.Dir {
		return len("a directory wins")
	}
	return c.kind.rank()
}

func (s *Source) child(in backends.Entry) child {
	k := plain
	if !in.Dir && in.Link == "" {
		k = kindOf(in.Name, in.Size, !s.keys.password.Empty())
	}
	if k == des && in.Size == desHeader {
		s.note(s.lost, in.Name)
	}
	return child{kind: k, in: in, shown: k.shown(in, 0)}
}

// sizeOf is what is known of the size of an object's plaintext, or guessed from its own.
func (s *Source) sizeOf(k kind, in backends.Entry) int64 {
	if k == plain {
		return in.Size
	}
	s.mu.Lock()
	size, known := s.sizes.Get(keyOf(in))
	guess := s.ageGuess(in.Size)
	s.mu.Unlock()
	switch {
	case known:
		return size
	case k == aged:
		return guess
	}
	return backends.SizeUnknown
}

// look finds out the sizes that the listing does not tell: of .enc and .lock objects by their own beginning and end, of .age objects by
// the header of one of them, if it is not our own recipients who tell how long it is, and by that of each once two were seen to differ.
// What cannot be opened stays unknown; only the end of ctx is an error.
func (s *Source) look(ctx context.Context, all []child) error {
	var wanted []child
	if !s.o.NoLook {
		wanted = s.unknown(all)
	}
	var work sync.WaitGroup
	places := make(chan struct{}, lookAtOnce)
	for _, c := range wanted[:min(len(wanted), maxLooks)] {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			s.load(ctx, c.kind, c.in) //nolint:errcheck // opening it will tell
		})
	}
	work.Wait()
	return ctx.Err()
}

func (s *Source) unknown(all []child) (out []child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sampled := s.own > 0 || s.usual > 0
	for _, c := range all {
		_, known := s.sizes.Peek(keyOf(c.in))
		switch {
		case c.kind == plain, known, c.in.Tier != backends.Online:
		case c.kind == aged:
			if !sampled || s.mixed || s.ageGuess(c.in.Size) < 0 {
				out, sampled = append(out, c), true
			}
		case c.kind != des || c.in.Size > desHeader:
			out = append(out, c)
		}
	}
	return out
}

// Stat returns one entry. For an object that was not opened, listed with a certain size or written before, that takes a look into it.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	e, err := s.stat(ctx, name)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return e, nil
}

func (s *Source) stat(ctx context.Context, name string) (backends.Entry, error) {
	if name == "" {
		return s.src.Stat(ctx, "")
	}
	var best child
	found := false
	for _, k := range s.kinds() {
		if found && k.legacy() {
			break
		}
		in, err := s.src.Stat(ctx, name+k.suffix())
		switch {
		case errors.Is(err, backends.ErrNotExist):
			continue
		case err != nil:
			return backends.Entry{}, err
		case in.Dir && k == plain:
			return in, nil
		}
		if c := s.child(in); c.kind == k && !in.Dir {
			best, found = c, true // the order is that of precedence, but for the first two
		}
	}
	if !found {
		return backends.Entry{}, backends.ErrNotExist
	}
	return s.exact(ctx, best)
}

// kinds are those that can be opened.
func (s *Source) kinds() []kind {
	if s.keys.password.Empty() {
		return []kind{plain, aged}
	}
	return []kind{plain, aged, des, locked}
}

func (k kind) legacy() bool { return k == des || k == locked }

// exact is the entry of an object with its true size.
func (s *Source) exact(ctx context.Context, c child) (backends.Entry, error) {
	s.mu.Lock()
	size, known := s.sizes.Get(keyOf(c.in))
	s.mu.Unlock()
	switch {
	case c.kind == plain:
		return c.in, nil
	case known:
		return c.kind.shown(c.in, size), nil
	case c.in.Tier != backends.Online:
		return c.kind.shown(c.in, s.sizeOf(c.kind, c.in)), nil
	}
	h, err := s.load(ctx, c.kind, c.in)
	if err == nil {
		return c.kind.shown(c.in, h.plainSize()), nil
	}
	s.mu.Lock()
	size, known = s.sizes.Get(keyOf(c.in)) // the header tells it, even to those who cannot open it
	s.mu.Unlock()
	if known {
		return c.kind.shown(c.in, size), nil
	}
	return backends.Entry{}, err
}
