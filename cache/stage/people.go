package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// Totals count what is in a stage.
type Totals struct {
	Writing, Staged, Uploading, Stored, Conflict, Parked, Failed, Orphan, Quarantined int // Stored: since Open

	BytesLeft int64  // of all that is still to be stored, conflicts and what is parked included
	Paused    string // why nothing is sent now, "" if it is
}

// Items returns all that is staged, oldest first; directories only if they wait by themselves.
func (s *Stage) Items() []Info {
	s.mu.Lock()
	ids := slices.Collect(maps.Keys(s.items))
	s.mu.Unlock()
	slices.Sort(ids)
	out := make([]Info, 0, len(ids))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if it := s.items[id]; it != nil && s.listed(it) {
			out = append(out, it.info())
		}
	}
	return out
}

// listed reports whether people are told of an item. The caller holds mu.
func (s *Stage) listed(it *item) bool {
	return !it.gone && !it.undo && !it.stays() && (it.kind != Dir || s.names.empty(it.name))
}

// Totals counts.
func (s *Stage) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Totals{}
	for _, it := range s.items {
		if !s.listed(it) {
			continue
		}
		state := it.shown()
		*t.of(state)++
		if state != Orphan && state != Quarantined {
			t.BytesLeft += max(it.length()-it.sent, 0)
		}
	}
	t.Stored, t.Paused = s.stored, s.paused
	return t
}

func (t *Totals) of(state State) *int {
	return [...]*int{&t.Writing, &t.Staged, &t.Uploading, &t.Stored, &t.Conflict, &t.Parked, &t.Failed, &t.Orphan, &t.Quarantined}[state]
}

// Left is how many things are still to be stored, orphans and what was quarantined not counted.
func (t Totals) Left() int {
	return t.Writing + t.Staged + t.Uploading + t.Conflict + t.Parked + t.Failed
}

// Hasten ends the waiting for quiet: all that nobody has open for writing is due now.
func (s *Stage) Hasten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hasten("")
}

// hasten is for what lies at and below a name. The caller holds mu.
func (s *Stage) hasten(below string) {
	early := s.o.Now().Add(-s.o.Quiet)
	for _, it := range s.items {
		if it.touched.After(early) && it.writers == 0 && within(it.name, below) {
			it.touched = early
			s.enqueue(it)
		}
	}
	s.signal()
}

func within(name, below string) bool {
	return below == "" || name == below || strings.HasPrefix(name, below+"/")
}

// ErrUnfinished says that something cannot be stored without people: a conflict, or what is parked or refused.
var ErrUnfinished = errors.New("not everything can be stored by itself")

// Wait hastens what lies at and below a name ("" is all) and returns when all of it is stored. What is open for writing is waited for, too.
// ErrUnfinished: nothing is left but what waits for people.
func (s *Stage) Wait(ctx context.Context, below string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		s.hasten(below)
		wake := s.wake
		going, stuck := s.left(below)
		switch {
		case going == 0 && stuck == 0:
			return nil
		case going == 0:
			return fmt.Errorf("%w: %d left", ErrUnfinished, stuck)
		case s.closed:
			return errClosed
		}
		rest := time.Duration(len(s.items)) * restPerItem
		s.mu.Unlock()
		select {
		case <-wake:
			wait(ctx, rest) //nolint:errcheck // its end is seen next
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// restPerItem keeps those who wait from looking at everything after each change: a look at 100,000 things takes 0.1 s, in which nobody
// else gets in.
const restPerItem = 10 * time.Microsecond

// left counts what goes on by itself and what waits for people. The caller holds mu.
func (s *Stage) left(below string) (going, stuck int) {
	for _, it := range s.items {
		if it.gone && it.job == nil || !within(it.name, below) || s.shadowed(it) {
			continue // one that is gone but has a job is just becoming cache: who waits may want to read it
		}
		switch {
		case it.job != nil:
			going++
		case it.state == Conflict, it.state == Parked, it.state == Failed:
			stuck++
		case it.state == Orphan, it.state == Quarantined:
		case it.state == Writing && !it.opened:
		default:
			going++
		}
	}
	return going, stuck
}

// shadowed reports whether an item is never stored, or waits for others, which are counted themselves: a directory for what is below it, and a
// change of metadata for what is staged under the same name. The caller holds mu.
func (s *Stage) shadowed(it *item) bool {
	staged, _ := s.names.find(it.name)
	return it.stays() || it.kind == Dir && !s.names.empty(it.name) || it.touch && staged != nil
}

// Pause stops handing out jobs; why is shown to people. What is under way goes on.
func (s *Stage) Pause(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = why
	s.signal()
}

// Resume goes on.
func (s *Stage) Resume() { s.Pause("") }

// free returns an item that nobody works on. The caller holds mu.
func (s *Stage) free(id ID) (*item, error) {
	it := s.items[id]
	switch {
	case it == nil || it.gone:
		return nil, backends.ErrNotExist
	case it.job != nil, it.writers > 0:
		return nil, fmt.Errorf("it is open, or being uploaded just now: %w", backends.ErrExist)
	}
	return it, s.usable()
}

// Retry tries again what is parked, refused or in conflict, as it is. Where there are Rules it is judged anew.
func (s *Stage) Retry(id ID) error {
	return s.alter(id, func(it *item) error {
		if it.state == Orphan || it.state == Quarantined {
			return fmt.Errorf("it is %s: %w", it.state, backends.ErrExist)
		}
		if it.state != Writing {
			it.state, it.why = Staged, ""
		}
		it.ruled, it.rulings = "", nil
		it.notBefore, it.touched = time.Time{}, s.o.Now().Add(-s.o.Quiet)
		return nil
	})
}

// alter changes an item durably.
func (s *Stage) alter(id ID, change func(*item) error) error {
	s.mu.Lock()
	it, err := s.free(id)
	if err == nil {
		err = change(it)
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("staged item %d: %w", id, err)
	}
	seq, name := s.put(it), it.name
	s.enqueue(it)
	s.signal()
	s.mu.Unlock()
	if err := s.journal.wait(seq, true); err != nil {
		return err
	}
	s.changed(name)
	return nil
}

// Drop gives up an item and its bytes for good.
func (s *Stage) Drop(id ID) error {
	s.mu.Lock()
	it, err := s.free(id)
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("staged item %d: %w", id, err)
	}
	s.leaveUndo(it)
	s.discard(it)
	seq, name := s.journal.add(record{Kind: kindDrop, ID: it.id}), it.name
	s.mu.Unlock()
	if err := s.journal.wait(seq, true); err != nil {
		return err
	}
	s.erase(it)
	s.changed(name)
	return nil
}

// Adopt makes a staged file of an orphan, under a name that must be free.
func (s *Stage) Adopt(id ID, as string) error {
	err := s.alter(id, func(it *item) error {
		other, implied := s.names.find(as)
		if it.state != Orphan || other != nil || implied || !backends.ValidName(as) || as == "" {
			return fmt.Errorf("it is no orphan, or the name is taken: %w", backends.ErrExist)
		}
		if as != it.name {
			it.base = backends.Entry{}
		}
		it.name, it.state, it.why, it.opened, it.real = as, Writing, "", true, true
		it.touched = s.o.Now().Add(-s.o.Quiet)
		s.names.add(it)
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	it := s.items[id]
	s.mu.Unlock()
	if it == nil {
		return nil
	}
	f, err := s.openItem(it)
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	return errors.Join(s.seal(it, f), f.Close())
}

// Resolution says what becomes of a conflict.
type Resolution uint8

// The resolutions: ours replaces what the target has now; ours is given up; ours is stored beside it under another name.
const (
	Mine Resolution = iota
	Theirs
	Both
)

// Resolve ends a conflict. now is what the target has under the name.
func (s *Stage) Resolve(id ID, how Resolution, now backends.Entry) error {
	if how == Theirs {
		return s.Drop(id)
	}
	return s.alter(id, func(it *item) error {
		if it.state != Conflict {
			return fmt.Errorf("it is in no conflict: %w", backends.ErrExist)
		}
		as := conflictName(it.name, s.o.Now())
		if other, implied := s.names.find(as); how == Both && (other != nil || implied) {
			return fmt.Errorf("the name is taken: %w", backends.ErrExist)
		}
		it.state, it.why, it.resume, it.base = Staged, "", nil, now
		it.touched = s.o.Now().Add(-s.o.Quiet)
		if how == Both {
			s.names.remove(it)
			it.name, it.base = as, backends.Entry{}
			s.names.add(it)
		}
		return nil
	})
}

// conflictName is where the local version of a conflict goes: beside the other, with the same extension.
func conflictName(name string, now time.Time) string {
	dir, base := backends.Split(name)
	stem, ext := base, ""
	if i := strings.IndexByte(base, '.'); i > 0 {
		stem, ext = base[:i], base[i:]
	}
	return path.Join(dir, stem+".conflict-"+now.UTC().Format("20060102T150405")+ext)
}
