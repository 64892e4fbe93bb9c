package stage

import (
	"fmt"
	"syscall"
	"time"

	"studyfs/backends"
	"studyfs/cache/desktop"
)

// junkAge is how long junk is kept after it was changed last: programs ask for it again, and some names are those of other programs'
// temporary files, from which they go on after a crash.
const junkAge = 24 * time.Hour

// ErrTrash says that a folder for what people delete is not made: it would take their files off the source, or keep them there for good.
// File managers then offer to delete at once.
var ErrTrash = fmt.Errorf("no trash in a mount: %w", syscall.EPERM)

// isJunk reports whether an item is what desktops leave in folders, by its name: it stays on this machine for as long as it has that, and
// is never uploaded. What the source has, or had, or may have, is no junk: its only copy may be here. This is the one place where it is
// decided.
func (n names) isJunk(it *item) bool {
	switch {
	case !n.junk || it.real || it.touch || it.undo:
		return false
	case it.kind == Regular:
		return desktop.JunkFile(it.name)
	}
	return desktop.JunkFolder(it.name)
}

// stays reports whether an item is junk under the name that it has. The caller holds mu.
func (it *item) stays() bool { return it.junk && it.named() }

// known reports whether the source has something of an item, or may have. The caller holds mu.
func (it *item) known() bool { return it.isStored() || it.kept || it.maybe || len(it.tried) > 0 }

// settled reports whether an item is to be stored whatever name it gets next: it is known at the source, or had a name under which that
// would have happened. A temporary name is none: programs write what they call .DS_Store in the end under one. The caller holds mu.
func (n names) settled(it *item) bool {
	_, base := backends.Split(it.name)
	return it.real || it.known() || !n.isJunk(it) && !isTemporaryPart(base)
}

// carry gives an item the name that follows from a rename of something else: nothing becomes junk by that. The caller holds mu, and
// has taken it out of the tree.
func (n names) carry(it *item, to string) {
	was := n.isJunk(it)
	it.name = to
	it.real = it.real || !was && n.isJunk(it)
}

// wouldStay reports whether an item is junk once it is called to.
func (s *Stage) wouldStay(it *item, to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names.isJunk(&item{kind: it.kind, name: to, real: s.names.settled(it)})
}

// shed gives up junk for good. The caller holds mu, and calls drop without it. Nobody waits for the journal: what a crash leaves of junk is
// junk.
func (s *Stage) shed(all ...*item) (drop func()) {
	for _, it := range all {
		s.discard(it)
		s.journal.add(record{Kind: kindDrop, ID: it.id})
	}
	return func() {
		for _, it := range all {
			s.erase(it)
			s.changed(it.name)
		}
	}
}

// junkBelow is what is staged below a directory that has nothing else. The caller holds mu.
func (s *Stage) junkBelow(dir string) []*item {
	if !s.names.empty(dir) {
		return nil
	}
	return s.names.all(dir)
}

// Holds reports whether anything is staged below a directory, but for junk.
func (s *Stage) Holds(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.names.empty(dir)
}

// DropJunk gives up the junk below a directory that holds nothing else; otherwise it does nothing.
func (s *Stage) DropJunk(dir string) error {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("drop junk: %w", err)
	}
	drop := s.shed(s.junkBelow(dir)...)
	s.mu.Unlock()
	drop()
	return nil
}

// readTo notes that a reader has closed an item. The caller holds mu.
func (s *Stage) readTo(it *item) {
	if it.readers--; it.stays() {
		s.enqueue(it)
	}
}

// junkDue is when junk goes; false: not while somebody has it open, or something in it. The caller holds mu.
func (s *Stage) junkDue(it *item) (time.Time, bool) {
	if it.writers > 0 || it.readers > 0 || it.kind == Dir && !s.names.bare(it.name) {
		return time.Time{}, false
	}
	last := it.changed
	if it.touched.Before(last) { // the clock was set back
		last = it.touched
	}
	return last.Add(junkAge), true
}
