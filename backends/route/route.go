// Package route is one tree over several targets: each file has one primary target, chosen by the ending of its name, and a copy at
// every target for copies (an archive, a NAS).
//
// The primaries are the tree: listings merge them, reads come from them, and they decide who may replace what. What only a copy holds
// is not shown: a file that was deleted at its primary must not come back. A version is that of the primary with the target's name and
// ":" before it.
//
// Put is done when every target has the bytes, and not before. A try that some targets did not take goes on with those only: what each
// of them wants to know is part of the state of the upload, and what a target has already is never sent again. An error is a
// backends.TargetError. A new file goes to all targets at once; a replacement goes to the primary first, whose condition tells whether
// it may be.
//
// Objects carry who made them and the SHA-256 of their bytes as metadata. A copy that differs is replaced only where it holds what the
// primary held before, or was made by a route; something else in its place is backends.ErrOccupied.
package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// Target is one of the places.
type Target struct {
	Name   string          // in versions, messages and the manifest; no ":"
	Source backends.Source // to be written to, also a Writer and an Examiner
	Copy   bool            // gets a copy of every file, and is not part of the tree
	// Endings are those of the names that a primary is for, such as ".avi", in small letters. One primary has none: it is for all others.
	Endings []string
	Class   string // storage class of what is stored there, "" for its default
}

// Options say what belongs together. Slices are not changed afterwards.
type Options struct {
	Targets []Target
	// State is a directory that keeps, over restarts, who this writer is and what the manifests lack. "": nothing is kept, for a
	// source that is only read.
	State string
	// Key is what the names in State are encrypted with, 16 bytes or more, the same after every restart; nil: they are in clear.
	Key []byte
	// Every is how often manifests are brought up to date while files go up; 0 means 30 s.
	Every time.Duration
	Now   func() time.Time // nil means the system's clock
	Log   *slog.Logger     // nil discards
}

// Source is the tree. It is safe for concurrent use.
type Source struct {
	o     Options
	by    string // marks what this writer made
	notes *notes

	mu     sync.Mutex // guards what follows; a leaf
	busy   map[string]chan struct{}
	hidden map[string]bool
}

var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
	_ backends.Writer   = (*Source)(nil)
	_ backends.Examiner = (*Source)(nil)
	_ backends.Prober   = (*Source)(nil)
	_ backends.Restorer = (*Source)(nil)
)

const (
	defaultEvery = 30 * time.Second
	maxHidden    = 1 << 16
)

// New puts targets together. It sends nothing.
func New(o Options) (*Source, error) {
	if err := checkTargets(o.Targets); err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	o.Every = cmp.Or(o.Every, defaultEvery)
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{o: o, busy: map[string]chan struct{}{}, hidden: map[string]bool{}}
	var err error
	if s.notes, err = openNotes(o.State, o.Key, s.copies()); err != nil {
		return nil, fmt.Errorf("route: %w", err)
	}
	s.by = s.notes.by
	return s, nil
}

func checkTargets(all []Target) error {
	names, others := map[string]bool{}, 0
	for _, t := range all {
		if t.Name == "" || strings.Contains(t.Name, ":") || names[t.Name] {
			return fmt.Errorf("target %q: not a name of its own", t.Name)
		}
		names[t.Name] = true
		if !t.Copy && len(t.Endings) == 0 {
			others++
		}
	}
	if others != 1 {
		return fmt.Errorf("%d targets are for all that no other is for, not 1", others)
	}
	return nil
}

// Close lets go of what Options.State keeps. Nothing is called afterwards, and Run has returned.
func (s *Source) Close() error { return s.notes.close() }

// plan says where a file belongs: indexes into the targets.
type plan struct {
	primary int
	copies  []int
}

// planFor is a pure function of the targets and the name. An ending counts below ".enc", too: an encrypted video is a video.
func planFor(targets []Target, name string) plan {
	p := plan{primary: -1}
	low := strings.TrimSuffix(strings.ToLower(name), ".enc")
	others := 0
	for i, t := range targets {
		switch {
		case t.Copy:
			p.copies = append(p.copies, i)
		case len(t.Endings) == 0:
			others = i
		case p.primary < 0 && slices.ContainsFunc(t.Endings, func(e string) bool { return strings.HasSuffix(low, e) }):
			p.primary = i
		}
	}
	if p.primary < 0 {
		p.primary = others
	}
	return p
}

func (s *Source) plan(name string) plan { return planFor(s.o.Targets, name) }

// primaries are the targets that the tree is made of, that of a name first.
func (s *Source) primaries(name string) []int {
	all := []int{s.plan(name).primary}
	for i, t := range s.o.Targets {
		if !t.Copy && i != all[0] {
			all = append(all, i)
		}
	}
	return all
}

func (s *Source) copies() []int { return s.plan("").copies }

// outer is an entry of a target as the tree shows it.
func (s *Source) outer(i int, e backends.Entry) backends.Entry {
	if !e.Dir {
		e.Version = s.o.Targets[i].Name + ":" + e.Version
	}
	return e
}

// inner is the opposite. A version that is none of ours is one that no target has.
func (s *Source) inner(e backends.Entry) (int, backends.Entry) {
	name, version, _ := strings.Cut(e.Version, ":")
	for i, t := range s.o.Targets {
		if t.Name == name && !e.Dir {
			e.Version = version
			return i, e
		}
	}
	return s.plan(e.Name).primary, e
}

// at says where an error comes from.
func (s *Source) at(i int, err error) error {
	if err == nil {
		return nil
	}
	return &backends.TargetError{Target: s.o.Targets[i].Name, Err: err}
}

// each does something at several targets at once.
func (s *Source) each(targets []int, do func(k, target int) error) error {
	errs := make([]error, len(targets))
	var work sync.WaitGroup
	for k, i := range targets {
		work.Go(func() { errs[k] = s.at(i, do(k, i)) })
	}
	work.Wait()
	return errors.Join(errs...)
}

// own waits until nobody else changes these names, and keeps others from it until free is called: a put that loses must not take its
// copies away from the one that wins.
func (s *Source) own(ctx context.Context, names ...string) (free func(), err error) {
	slices.Sort(names) // two renames across do not wait for each other
	names = slices.Compact(names)
	done := make(chan struct{})
	var have []string
	free = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range have {
			delete(s.busy, n)
		}
		close(done)
	}
	for _, n := range names {
		for {
			s.mu.Lock()
			other, taken := s.busy[n]
			if !taken {
				s.busy[n] = done
				have = append(have, n)
			}
			s.mu.Unlock()
			if !taken {
				break
			}
			select {
			case <-other:
			case <-ctx.Done():
				free()
				return nil, ctx.Err()
			}
		}
	}
	return free, nil
}

// Counts are those of all targets together.
func (s *Source) Counts() backends.Counts {
	var all backends.Counts
	for _, t := range s.o.Targets {
		r, ok := t.Source.(backends.Reporter)
		if !ok {
			continue
		}
		c := r.Counts()
		all.List += c.List
		all.Get += c.Get
		all.Head += c.Head
		all.Put += c.Put
		all.Delete += c.Delete
		all.Other += c.Other
		all.BytesIn += c.BytesIn
		all.BytesOut += c.BytesOut
		all.Retries += c.Retries
		if !t.Copy {
			all.HiddenKeys += c.HiddenKeys
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all.HiddenKeys += int64(len(s.hidden))
	return all
}

// Trouble is that of a primary. A copy that is away keeps nobody from reading; uploads tell of it.
func (s *Source) Trouble() error {
	for _, i := range s.primaries("") {
		if r, ok := s.o.Targets[i].Source.(backends.Reporter); ok && r.Trouble() != nil {
			return s.at(i, r.Trouble())
		}
	}
	return nil
}

// Abilities are what all targets can.
func (s *Source) Abilities() backends.Abilities {
	all := backends.Abilities{Conditions: backends.Able, Checksums: backends.Able}
	for _, t := range s.o.Targets {
		var one backends.Abilities
		if p, ok := t.Source.(backends.Prober); ok {
			one = p.Abilities()
		}
		all.Conditions, all.Checksums = weaker(all.Conditions, one.Conditions), weaker(all.Checksums, one.Checksums)
	}
	return all
}

func weaker(a, b backends.Ability) backends.Ability {
	switch {
	case a == backends.Unable || b == backends.Unable:
		return backends.Unable
	case a == backends.Untried || b == backends.Untried:
		return backends.Untried
	}
	return backends.Able
}
