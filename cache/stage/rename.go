package stage

import (
	"context"
	"fmt"
	"strings"
	"time"

	"studyfs/backends"
)

// Rename gives what is staged at old, a directory with all below it, the name new. over is what lies at the target at new. A file that is
// staged at new is replaced, and so is an empty directory by a directory. When it returns, the new name survives any crash; before, it is the
// old or the new one.
//
// ErrStored: the target has something under old (or below it), which only the caller can move. ErrExist: with noReplace, something is at new;
// or a directory would be replaced by a file, or the other way round. ErrNotEmpty: a directory at new has something staged below it.
func (s *Stage) Rename(ctx context.Context, old, new string, over backends.Entry, noReplace bool) error {
	s.mu.Lock()
	gone, seq, err := s.rename(ctx, old, new, over, noReplace)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if err := s.journal.wait(seq, true); err != nil {
		return err
	}
	if gone != nil {
		s.erase(gone)
	}
	return nil
}

// rename does it in memory and journals it. The caller holds mu, which may be let go of while uploads end.
func (s *Stage) rename(ctx context.Context, old, new string, over backends.Entry, noReplace bool) (gone *item, seq uint64, err error) {
	moved, target, err := s.stillBoth(ctx, old, new)
	if err != nil {
		return nil, 0, err
	}
	it, implied := s.names.find(old)
	_, filled := s.names.find(new)
	switch {
	case s.usable() != nil:
		return nil, 0, s.usable()
	case it == nil && !implied:
		return nil, 0, backends.ErrNotExist
	case it != nil && it == target:
		return nil, s.journal.newest(), nil
	case filled, target != nil && target.kind == Dir && !s.names.empty(new):
		return nil, 0, ErrNotEmpty
	case target != nil && noReplace, over != backends.Entry{} && noReplace:
		return nil, 0, backends.ErrExist
	}
	dir := it == nil || it.kind == Dir
	if target != nil && (target.kind == Dir) != dir {
		return nil, 0, backends.ErrExist
	}
	for _, m := range moved {
		if m.base != (backends.Entry{}) || m.populated {
			return nil, 0, ErrStored
		}
	}
	if dir {
		return target, s.moveDir(moved, old, new, target), nil
	}
	return target, s.moveFile(it, new, over, target), nil
}

// stillBoth returns what lies at and below old, and what is staged at new, when no job has any of it. The caller holds mu.
func (s *Stage) stillBoth(ctx context.Context, old, new string) (moved []*item, target *item, err error) {
	for {
		if moved, err = s.still(ctx, old); err != nil {
			return nil, nil, err
		}
		if target, _ = s.names.find(new); target == nil || target.job == nil {
			return moved, target, nil
		}
		if _, err := s.idle(ctx, func() *item { return target }, true); err != nil {
			return nil, nil, err
		}
	}
}

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
func (s *Stage) moveFile(it *item, new string, over backends.Entry, target *item) uint64 {
	s.leaveUndo(it)
	s.names.remove(it)
	var other ID
	it.base = over
	if target != nil {
		it.base, other = target.base, target.id
		s.leaveUndo(target)
		s.discard(target)
	}
	for _, up := range s.names.ancestors(it.name) {
		s.enqueue(up)
	}
	s.dirChanged(it.name, s.o.Now())
	it.name, it.changed, it.touched = new, s.o.Now(), s.o.Now()
	it.maybe, it.resume, it.notBefore = false, nil, time.Time{}
	if it.state == Conflict || it.state == Parked || it.state == Failed {
		it.state, it.why, it.warnings = Staged, "", nil
	}
	s.memory.forget(new)
	s.names.add(it)
	s.dirChanged(new, it.changed)
	if it.writers == 0 {
		s.enqueue(it)
	}
	s.signal()
	return s.putOver(it, other)
}

// moveDir gives a directory and all below it another name. The caller holds mu.
func (s *Stage) moveDir(moved []*item, old, new string, target *item) uint64 {
	if target != nil {
		s.discard(target)
		s.journal.add(record{Kind: kindDrop, ID: target.id})
	}
	now := s.o.Now()
	s.dirChanged(old, now)
	s.dirChanged(new, now)
	for _, m := range moved {
		s.leaveUndo(m)
		s.names.remove(m)
	}
	for _, m := range moved {
		m.name = new + strings.TrimPrefix(m.name, old)
		m.touched, m.stale, m.maybe, m.resume = now, true, false, nil
		s.names.add(m)
		if m.writers == 0 {
			s.enqueue(m)
		}
	}
	s.signal()
	return s.journal.add(record{Kind: kindRename, Name: old, To: new})
}

// leaveUndo sees to it that an upload which may have landed under a name that is given up does not stay there. The caller holds mu.
func (s *Stage) leaveUndo(it *item) {
	if !it.maybe || it.sum == nil {
		return
	}
	u := &item{id: s.newID(), kind: it.kind, undo: true, name: it.name, target: it.target, base: it.base, state: Staged, size: it.size, sum: it.sum, touched: s.o.Now()}
	u.sealed = &mark{Size: it.size}
	s.items[u.id], s.undos[u.name] = u, u
	s.put(u)
	s.enqueue(u)
}

// Exchange swaps the names of two staged things. ErrStored if the target has anything under one of them.
func (s *Stage) Exchange(ctx context.Context, a, b string) error {
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
		for _, m := range all {
			if m.base != (backends.Entry{}) || m.populated || m.maybe || len(all) > 1 {
				return 0, ErrStored
			}
		}
	}
	x, _ := s.names.find(a)
	y, _ := s.names.find(b)
	if err := s.usable(); err != nil || x == nil || y == nil {
		return 0, ErrStored
	}
	s.names.remove(x)
	s.names.remove(y)
	x.name, y.name = b, a
	for _, it := range []*item{x, y} {
		it.touched, it.changed, it.stale = s.o.Now(), s.o.Now(), true
		s.names.add(it)
		if it.writers == 0 {
			s.enqueue(it)
		}
	}
	return s.journal.add(record{Kind: kindExchange, ID: x.id, Other: y.id}), nil
}

// Remove takes away the staged file or link, or the empty staged directory. What lies at the target under the name stays there: a caller
// who may, deletes that first. Handles that are open go on working.
func (s *Stage) Remove(ctx context.Context, name string) error {
	s.mu.Lock()
	it, err := s.idle(ctx, func() *item { it, _ := s.names.find(name); return it }, true)
	switch {
	case err != nil:
	case it == nil:
		err = backends.ErrNotExist
		if !s.names.empty(name) {
			err = ErrNotEmpty
		}
	case it.kind == Dir && !s.names.empty(name):
		err = ErrNotEmpty
	default:
		err = s.usable()
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("remove: %w", err)
	}
	s.leaveUndo(it)
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
