package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"studyfs/backends"
)

// List yields the children of dir at all primaries. It is answered when all of them have: an answer with some missing would say that
// their files are gone.
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

// child is an entry of a target. What comes first of one name is shown: a directory, then the file where it belongs.
type child struct {
	e      backends.Entry
	target int
	rank   int
}

func (s *Source) children(ctx context.Context, dir string) ([]backends.Entry, error) {
	from := s.primaries("")
	lists := make([][]child, len(from))
	err := s.each(from, func(k, i int) error {
		for e, err := range s.o.Targets[i].Source.List(ctx, dir) {
			if err != nil {
				return err
			}
			c := child{e: e, target: i, rank: 2}
			if e.Dir {
				c.rank = 0
			} else if s.plan(e.Name).primary == i {
				c.rank = 1
			}
			lists[k] = append(lists[k], c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, func(a, b child) int { return cmp.Or(strings.Compare(a.e.Name, b.e.Name), a.rank-b.rank) })
	var out []backends.Entry
	for _, c := range all {
		if n := len(out); n == 0 || out[n-1].Name != c.e.Name {
			out = append(out, s.outer(c.target, c.e))
		} else if !c.e.Dir {
			s.hide(c.e.Name)
		}
	}
	return out, nil
}

func (s *Source) hide(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hidden) < maxHidden {
		s.hidden[name] = true
	}
}

// Stat returns one entry. A primary that does not answer matters only where the others cannot tell.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	from := s.primaries(name)
	found, errs := make([]backends.Entry, len(from)), make([]error, len(from))
	s.each(from, func(k, i int) error { //nolint:errcheck // they are in errs
		found[k], errs[k] = s.o.Targets[i].Source.Stat(ctx, name)
		return nil
	})
	var best *backends.Entry
	var failed error
	for k, i := range from {
		switch e := s.outer(i, found[k]); {
		case errs[k] == nil && (best == nil || e.Dir && !best.Dir):
			best = &e
		case errs[k] != nil && !errors.Is(errs[k], backends.ErrNotExist):
			failed = cmp.Or(failed, s.at(i, errs[k]))
		}
	}
	switch {
	case best != nil:
		return *best, nil
	case failed != nil:
		return backends.Entry{}, failed
	}
	return backends.Entry{}, fmt.Errorf("stat %s: %w", name, backends.ErrNotExist)
}

// ReadRange reads from the primary that the version names.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	i, in := s.inner(e)
	r, err := s.o.Targets[i].Source.ReadRange(ctx, in, off, n)
	if err != nil {
		return nil, s.at(i, err)
	}
	return r, nil
}

// stored is the object of a name at a target, what is ours of its metadata apart.
type stored struct {
	backends.Stored

	by, sha string
	there   bool
}

// What an object carries beside the metadata of the caller.
const (
	metaBy  = "studyfs-by"
	metaSHA = "studyfs-sha256"
)

// look looks at a target. That nothing is there is no error.
func (s *Source) look(ctx context.Context, i int, name string) (stored, error) {
	x, ok := s.o.Targets[i].Source.(backends.Examiner)
	if !ok {
		return stored{}, fmt.Errorf("examine %s: %w", name, backends.ErrPermission)
	}
	now, err := x.Examine(ctx, name)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return stored{}, nil
	case err != nil:
		return stored{}, err
	}
	out := stored{Stored: now, there: true, by: now.Meta[metaBy], sha: now.Meta[metaSHA]}
	out.Meta = map[string]string{}
	for k, v := range now.Meta {
		if k != metaBy && k != metaSHA {
			out.Meta[k] = v
		}
	}
	return out, nil
}

// sum tells contents apart.
type sum struct {
	Size int64  `json:"size"`
	CRC  uint64 `json:"crc"`
}

func (o stored) holds(want sum) bool {
	return o.there && o.HasCRC && o.Entry.Size == want.Size && o.CRC64NVME == want.CRC
}

// Examine looks at the primary, and at the copies for whether they are the same. What only copies hold counts where this writer made it:
// the beginning of an upload whose primary has not answered yet.
func (s *Source) Examine(ctx context.Context, name string) (backends.Stored, error) {
	var now stored
	at := -1
	for _, i := range s.primaries(name) {
		one, err := s.look(ctx, i, name)
		if err != nil {
			return backends.Stored{}, s.at(i, err)
		}
		if one.there {
			now, at = one, i
			break
		}
	}
	copies := s.copies()
	found := make([]stored, len(copies))
	err := s.each(copies, func(k, i int) (err error) {
		found[k], err = s.look(ctx, i, name)
		return err
	})
	if err != nil {
		return backends.Stored{}, err
	}
	want := sum{now.Entry.Size, now.CRC64NVME}
	for k, i := range copies {
		switch {
		case at < 0 && found[k].there && found[k].by == s.by:
			now, at, want = found[k], i, sum{found[k].Entry.Size, found[k].CRC64NVME}
			now.Partial = true
		case at >= 0 && !found[k].holds(want):
			now.Partial = true
		}
	}
	if at < 0 {
		return backends.Stored{}, fmt.Errorf("examine %s: %w", name, backends.ErrNotExist)
	}
	now.Entry = s.outer(at, now.Entry)
	return now.Stored, nil
}

// Restore asks the primary.
func (s *Source) Restore(ctx context.Context, e backends.Entry, days int, tier string) (backends.Tier, error) {
	i, in := s.inner(e)
	r, ok := s.o.Targets[i].Source.(backends.Restorer)
	if !ok {
		return e.Tier, fmt.Errorf("restore %s: %w: the target restores nothing", e.Name, backends.ErrPermission)
	}
	now, err := r.Restore(ctx, in, days, tier)
	return now, s.at(i, err)
}
