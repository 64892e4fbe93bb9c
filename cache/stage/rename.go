package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// Rename gives what is staged at from, a directory with all below it, the name to. over is what lies at the target at to. A file that is
// staged at to is replaced, and so is an empty directory by a directory. When it returns, the new name survives any crash; before, it is the
// old or the new one.
//
// ErrStored: the target has something under from (or below it), which only the caller can move. ErrExist: with noReplace, something is at to;
// or a directory would be replaced by a file, or the other way round. ErrNotEmpty: a directory at to has something staged below it.
// ErrRefused: the rules do not take it under the new name, so that it keeps the old one; what lies in a directory is judged later.
func (s *Stage) Rename(ctx context.Context, from, to string, over backends.Entry, noReplace bool) error {
	return s.rename(ctx, &move{from: from, to: to, over: over, noReplace: noReplace})
}

// RenameOver is Rename of a file or link to the name of a staged one, which is replaced. ErrNotExist if that is not staged any more: it may
// have been stored a moment ago, so that a caller who saw it staged does not know what the target has now.
func (s *Stage) RenameOver(ctx context.Context, from, to string, over ID) error {
	return s.rename(ctx, &move{from: from, to: to, overID: over})
}

func (s *Stage) rename(ctx context.Context, m *move) error {
	foreseen, err := s.foreseeMove(m.from, m.to)
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	s.mu.Lock()
	if err = s.collect(ctx, m); err == nil {
		err = s.mayMove(m)
	}
	if err != nil || m.it != nil && m.it == m.target {
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		return nil
	}
	var seq uint64
	if m.dir() {
		seq = s.moveDir(m)
	} else {
		seq = s.moveFile(m)
	}
	seq = max(seq, s.follow(m, foreseen))
	s.mu.Unlock()
	if err := s.journal.wait(seq, true); err != nil {
		return err
	}
	if m.target != nil {
		s.erase(m.target)
	}
	if m.drop != nil {
		m.drop()
	}
	return nil
}

// move is one rename.
type move struct {
	from, to  string
	over      backends.Entry
	overID    ID // what must be staged at to; 0: whatever is
	noReplace bool

	it      *item // at from; nil for a directory that exists only because of what is below it
	implied bool
	all     []*item // it, and all below
	target  *item   // at to
	filled  bool    // something lies below to
	drop    func()  // what is to be done without mu, when it is durable
}

func (m *move) dir() bool { return m.it == nil || m.it.kind == Dir }

// collect finds what is concerned, when no job has any of it. The caller holds mu, which may be let go of meanwhile.
func (s *Stage) collect(ctx context.Context, m *move) (err error) {
	for {
		if m.all, err = s.still(ctx, m.from); err != nil {
			return err
		}
		if m.target, m.filled = s.names.find(m.to); m.target == nil || m.target.job == nil {
			break
		}
		if _, err := s.idle(ctx, func() *item { return m.target }, true); err != nil {
			return err
		}
	}
	m.it, m.implied = s.names.find(m.from)
	if m.target != nil && m.target.kind == Dir {
		m.filled = !s.names.empty(m.to)
	}
	return s.usable()
}

// mayMove checks a rename. The caller holds mu.
func (s *Stage) mayMove(m *move) error {
	switch {
	case m.it == nil && !m.implied, m.overGone():
		return backends.ErrNotExist
	case m.it != nil && m.it == m.target:
		return nil
	case m.filled:
		return ErrNotEmpty
	case m.noReplace && (m.target != nil || m.over != backends.Entry{}):
		return backends.ErrExist
	case m.target != nil && (m.target.kind == Dir) != m.dir():
		return backends.ErrExist
	case slices.ContainsFunc(m.all, (*item).isStored):
		return ErrStored
	}
	return nil
}

// overGone reports whether what is to be replaced is not staged any more.
func (m *move) overGone() bool { return m.overID != 0 && (m.target == nil || m.target.id != m.overID) }

// isStored reports whether the target has something under the item's name.
func (it *item) isStored() bool { return it.base != backends.Entry{} || it.populated }

// still returns what lies at and below a name when no job has any of it. The caller holds mu.
func (s *Stage) still(ctx context.Context, name string) ([]*item, error) {
	for {
		it, _ := s.names.find(name)
		all := s.names.all(name)
		if it != nil {
			all = append(all, it)
		}
		var busy *item
		for _, m := range all {
			if m.job != nil {
				busy = m
			}
		}
		if busy == nil {
			return all, nil
		}
		if _, err := s.idle(ctx, func() *item { return busy }, true); err != nil {
			return nil, err
		}
	}
}

// moveFile gives a file or link another name, and what was known of that name. The caller holds mu.
func (s *Stage) moveFile(m *move) uint64 {
	it, target := m.it, m.target
	it.real = s.names.settled(it)
	s.leaveUndo(it)
	it.answered()
	s.names.remove(it)
	var other ID
	it.base, it.leaving = m.over, false
	if target != nil { // what may lie at the target of it is what is to be replaced
		it.base, it.maybe, it.tried, other = target.base, target.maybe, target.tried, target.id
		it.real = it.real || target.real
		s.discard(target)
	}
	it.real = it.real || it.known()
	for _, up := range s.names.ancestors(it.name) {
		s.enqueue(up)
	}
	s.dirChanged(it.name, s.o.Now())
	it.name, it.changed, it.touched = m.to, s.o.Now(), s.o.Now()
	it.resume, it.notBefore = nil, time.Time{}
	if it.state == Conflict || it.state == Parked || it.state == Failed {
		it.state, it.why, it.warnings = Staged, "", nil
	}
	it.ruled = ""
	s.memory.forget(m.to)
	s.names.add(it)
	s.dirChanged(m.to, it.changed)
	if it.writers == 0 {
		s.enqueue(it)
	}
	s.signal()
	return s.putOver(it, other)
}

// moveDir gives a directory and all below it another name. The caller holds mu.
func (s *Stage) moveDir(m *move) uint64 {
	if m.target != nil {
		s.discard(m.target)
		s.journal.add(record{Kind: kindDrop, ID: m.target.id})
	}
	now := s.o.Now()
	s.dirChanged(m.from, now)
	s.dirChanged(m.to, now)
	for _, it := range m.all {
		s.leaveUndo(it)
		s.names.remove(it)
	}
	m.drop = s.shed(s.junkBelow(m.to)...) // of an empty directory that is replaced, or of one that has vanished at the target
	for _, it := range m.all {
		s.names.carry(it, m.to+strings.TrimPrefix(it.name, m.from))
		it.touched, it.stale, it.resume = now, true, nil
		it.answered()
		s.names.add(it)
		if it.writers == 0 {
			s.enqueue(it)
		}
	}
	s.signal()
	return s.journal.add(record{Kind: kindRename, Name: m.from, To: m.to})
}

// leaveUndo sees to it that an upload which may have landed under a name that is given up does not stay there. The caller holds mu.
func (s *Stage) leaveUndo(it *item) {
	if !it.maybe || len(it.tried) == 0 {
		return
	}
	last := it.tried[len(it.tried)-1]
	u := &item{
		id: s.newID(), kind: it.kind, undo: true, name: it.name, target: it.target, base: it.base, state: Staged,
		size: last.Size, sum: &last.Sum, tried: it.tried, sealed: &mark{Size: last.Size}, touched: s.o.Now(),
	}
	s.items[u.id], s.undos[u.name] = u, u
	s.put(u)
	s.enqueue(u)
}

// Exchange swaps the names of two staged things. ErrStored if the target has anything under one of them.
func (s *Stage) Exchange(ctx context.Context, a, b string) error {
	_, errA := s.foreseeMove(a, b)
	_, errB := s.foreseeMove(b, a)
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	s.mu.Lock()
	seq, err := s.exchange(ctx, a, b)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return s.journal.wait(seq, true)
}

func (s *Stage) exchange(ctx context.Context, a, b string) (uint64, error) {
	for _, name := range []string{a, b} {
		all, err := s.still(ctx, name)
		if err != nil {
			return 0, err
		}
		if len(all) == 0 {
			return 0, backends.ErrNotExist
		}
	}
	x, y := s.lone(a), s.lone(b)
	if x == nil || y == nil {
		return 0, ErrStored
	}
	if err := s.usable(); err != nil {
		return 0, err
	}
	s.names.remove(x)
	s.names.remove(y)
	s.names.carry(x, b)
	s.names.carry(y, a)
	for _, it := range []*item{x, y} {
		it.touched, it.changed, it.stale = s.o.Now(), s.o.Now(), true
		s.names.add(it)
		if it.writers == 0 {
			s.enqueue(it)
		}
	}
	seq := s.journal.add(record{Kind: kindExchange, ID: x.id, Other: y.id})
	for _, it := range []*item{x, y} {
		if it.ruled != "" {
			it.forgive()
			s.enqueue(it)
			seq = s.put(it)
		}
	}
	return seq, nil
}

// lone returns what is staged at a name if the target has nothing of it and nothing lies below it. The caller holds mu.
func (s *Stage) lone(name string) *item {
	it, _ := s.names.find(name)
	if it == nil || it.isStored() || it.maybe || it.job != nil || it.kind == Dir && !s.names.bare(name) {
		return nil
	}
	return it
}

// Remove takes away the staged file or link, or the empty staged directory. What lies at the target under the name stays there: a caller
// who may, deletes that first. Handles that are open go on working.
func (s *Stage) Remove(ctx context.Context, name string) error { return s.remove(ctx, name, "") }

// Taken says that the caller, who keeps the object Still, has stored something under a name as a thing of that kind, in the place of what was known to
// lie there. What is staged under the name goes away as with Remove, but no upload from before can land any more, so that none is taken back: of the
// same bytes, what has just been stored was deleted, and until then not shown.
func (s *Stage) Taken(ctx context.Context, name string, kind Kind) error {
	object := Object(name, kind)
	if err := s.journal.wait(s.dropUndo(object), true); err != nil { // or it would be done after a crash of the machine
		return err
	}
	if err := s.remove(ctx, name, object); !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	return nil
}

// dropUndo gives up what would take back an upload that may have landed as object. It returns the number of the record, 0 if there is nothing.
func (s *Stage) dropUndo(object string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.undoOf(object)
	if u == nil || u.job != nil {
		return 0
	}
	s.discard(u)
	delete(s.items, u.id)
	return s.journal.add(record{Kind: kindDrop, ID: u.id})
}

// remove is Remove; taken is the object that somebody else has taken the place of.
func (s *Stage) remove(ctx context.Context, name, taken string) error {
	s.mu.Lock()
	it, err := s.idle(ctx, func() *item { it, _ := s.names.find(name); return it }, true)
	switch {
	case err != nil:
	case it == nil:
		err = backends.ErrNotExist
		if !s.names.empty(name) {
			err = ErrNotEmpty
		}
	case it.kind == Dir && !s.names.bare(name):
		err = ErrNotEmpty
	default:
		err = s.usable()
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("remove: %w", err)
	}
	if Object(it.name, it.kind) != taken {
		s.leaveUndo(it)
	}
	s.discard(it)
	s.dirChanged(name, s.o.Now())
	seq, durable := s.journal.add(record{Kind: kindDrop, ID: it.id}), it.sealed != nil
	s.mu.Unlock()
	if err := s.journal.wait(seq, durable); err != nil {
		return err
	}
	s.erase(it)
	return nil
}
