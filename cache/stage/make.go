package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/cache/desktop"
)

// Lookup returns what is staged under a name: a file, a directory or a link, or a directory that exists because of what is staged below it
// (its ID is 0).
func (s *Stage) Lookup(name string) (Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, implied := s.names.find(name)
	switch {
	case it != nil:
		return s.seen(it), true
	case implied:
		return s.implied(name), true
	}
	return Info{}, false
}

// GivenUp reports whether what lies at the target may be what an upload of ours has left under a name that was renamed or removed here before
// the answer came. It will be removed there as soon as that can be told for certain; until then nobody should be shown it.
func (s *Stage) GivenUp(e backends.Entry) bool {
	if e.Dir {
		return false
	}
	kind := Regular
	name, link := strings.CutSuffix(e.Name, LinkSuffix)
	if link {
		kind = Link
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.undos[name]
	if u == nil || u.kind != kind || u.base != (backends.Entry{}) {
		return false
	}
	return link || slices.ContainsFunc(u.tried, func(t sent) bool { return t.Size == e.Size })
}

// implied is a directory that exists because of what lies below it. The caller holds mu.
func (s *Stage) implied(name string) Info {
	n := Info{Name: name, Kind: Dir, State: Staged}
	if k, ok := s.memory.of(backends.Entry{Name: name, Dir: true}); ok {
		n.Attr, n.Changed = k.Attr, k.Changed
	}
	return n
}

// Children returns what is staged in a directory, by name, with the directories that something is staged below.
func (s *Stage) Children(dir string) []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	items, implied := s.names.children(dir)
	out := make([]Info, 0, len(items)+len(implied))
	for len(items) > 0 || len(implied) > 0 {
		if len(implied) == 0 || len(items) > 0 && items[0].name < implied[0] {
			out, items = append(out, s.seen(items[0])), items[1:]
			continue
		}
		out, implied = append(out, s.implied(implied[0])), implied[1:]
	}
	return out
}

// seen is a snapshot that shows what is being written just now. The caller holds mu.
func (s *Stage) seen(it *item) Info {
	if it.writers > 0 && it.hasFile() {
		if l, err := s.lookItem(it); err == nil {
			s.saw(it, l)
		}
	}
	return it.info()
}

// newFile makes an empty staged file that no name leads to yet.
func (s *Stage) newFile() (ID, *blob, error) {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return 0, nil, err
	}
	s.mu.Unlock()
	one, err := s.spareFile()
	if isNoSpace(err) {
		err = ErrNoRoom
	}
	if err != nil {
		return 0, nil, fmt.Errorf("staged file: %w", err)
	}
	return one.id, one.f, nil
}

// undoFile removes a file that got no name.
func (s *Stage) undoFile(id ID, f *blob) {
	if err := errors.Join(f.Close(), s.disk.remove(fileName(id))); err != nil {
		s.log.Warn("a staged file that is not needed cannot be removed", "err", cause(err))
	}
}

// Create makes a file and opens it for reading and writing. base is what lies at the target under that name. ErrExist: something is staged
// there. ErrNoRoom: the disk or the quota is full.
func (s *Stage) Create(name string, a Attr, base backends.Entry) (*File, error) {
	if err := s.room.admit(0); err != nil {
		return nil, err
	}
	id, f, err := s.newFile()
	if err != nil {
		return nil, err
	}
	it := &item{id: id, kind: Regular, locked: f.v != nil, name: name, attr: a, base: base, state: Writing, writers: 1, opened: true}
	if err := s.publish(it); err != nil {
		s.undoFile(id, f)
		return nil, fmt.Errorf("create: %w", err)
	}
	return &File{s: s, it: it, f: f, write: true}, nil
}

// publish gives an item its name. ErrExist where that is taken.
func (s *Stage) publish(it *item) error {
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	if other, implied := s.names.find(it.name); other != nil || implied {
		s.mu.Unlock()
		return backends.ErrExist
	}
	now := s.o.Now()
	it.gated, it.real = s.o.Rules != nil, it.known()
	if it.touched = now; it.changed.IsZero() {
		it.changed = now
	}
	if it.attr.ModTime.IsZero() {
		it.attr.ModTime = now
	}
	s.items[it.id] = it
	s.count(it)
	s.names.add(it)
	if it.base == (backends.Entry{}) && !it.kept { // otherwise the name was there before
		s.dirChanged(it.name, now)
	}
	if it.kind != Regular {
		s.enqueue(it)
	} else if !it.opened {
		s.copies[it.id] = it
	}
	seq := s.put(it)
	s.signal()
	s.mu.Unlock()
	return s.journal.wait(seq, false)
}

// Mkdir makes a directory. It stays, even if nothing is ever put into it. ErrTrash: it would be a trash.
func (s *Stage) Mkdir(name string, a Attr) (Info, error) {
	if s.names.junk && desktop.Trash(name) {
		return Info{}, fmt.Errorf("make: %w", ErrTrash)
	}
	return s.make(&item{kind: Dir, name: name, attr: a, state: Staged})
}

// Keep makes a directory of one that has been there all along, and would vanish from the target with what was in it. It moves no times.
func (s *Stage) Keep(name string, a Attr) (Info, error) {
	return s.make(&item{kind: Dir, name: name, attr: a, state: Staged, kept: true, changed: s.changedAt(backends.Entry{Name: name, Dir: true}, a)})
}

// Symlink makes a link to target.
func (s *Stage) Symlink(name, target string, a Attr, base backends.Entry) (Info, error) {
	return s.make(&item{kind: Link, name: name, target: target, attr: a, base: base, state: Staged})
}

func (s *Stage) make(it *item) (Info, error) {
	if err := s.admitNew(it); err != nil {
		return Info{}, fmt.Errorf("make: %w", err)
	}
	s.mu.Lock()
	it.id = s.newID()
	s.mu.Unlock()
	if err := s.publish(it); err != nil {
		return Info{}, fmt.Errorf("make: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return it.info(), nil
}

// Replace stages a copy of what lies at the target, to be changed: fill writes all e.Size bytes; without fill the copy is empty. If the
// name is staged by then, that is returned. named is told the ID before anybody can find the copy. A copy that nobody opens within 10 s, or that is closed unchanged, goes away again and is never
// stored.
func (s *Stage) Replace(ctx context.Context, e backends.Entry, a Attr, fill func(context.Context, io.WriterAt) error, named func(ID)) (Info, error) {
	need := e.Size
	if fill == nil {
		need = 0
	}
	if err := s.room.admit(need); err != nil {
		return Info{}, err
	}
	id, f, err := s.newFile()
	if err != nil {
		return Info{}, err
	}
	it := &item{id: id, kind: Regular, locked: f.v != nil, name: e.Name, attr: a, base: e, state: Writing}
	if fill != nil {
		l, m, err := s.fill(ctx, f, e.Size, fill)
		if err != nil {
			s.undoFile(id, f)
			return Info{}, err
		}
		it.copied, it.size, it.blocks, it.wrote = &m, l.Size, l.blocks, l.MTime
		it.changed = s.changedAt(e, a)
	}
	named(id)
	if err := s.publish(it); err != nil {
		s.undoFile(id, f)
		if now, ok := s.Lookup(e.Name); ok && errors.Is(err, backends.ErrExist) {
			return now, nil
		}
		return Info{}, fmt.Errorf("copy to change: %w", err)
	}
	if err := f.Close(); err != nil {
		return Info{}, fmt.Errorf("copy to change: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return it.info(), nil
}

// changedAt is when a stored version was last changed, as it is shown.
func (s *Stage) changedAt(e backends.Entry, a Attr) time.Time {
	if m, ok := s.Remember(e); ok && !m.Changed.IsZero() {
		return m.Changed
	}
	return a.ModTime
}

// fill makes a copy of size bytes, and returns the mark by which a change of it will show.
func (s *Stage) fill(ctx context.Context, to *blob, size int64, fill func(context.Context, io.WriterAt) error) (looked, mark, error) {
	if err := fill(ctx, to); err != nil {
		return looked{}, mark{}, err
	}
	l, err := to.look()
	if err != nil || l.Size != size {
		return l, mark{}, fmt.Errorf("copy to change: %w: %d bytes of %d", backends.ErrBadAnswer, l.Size, size)
	}
	m, err := to.notch(l, 0)
	return l, m, err
}

// SetAttr changes the attributes of something staged.
func (s *Stage) SetAttr(id ID, change func(*Attr)) (Info, error) {
	s.mu.Lock()
	it := s.items[id]
	if it == nil || it.gone {
		s.mu.Unlock()
		return Info{}, fmt.Errorf("set attributes: %w", backends.ErrNotExist)
	}
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return Info{}, err
	}
	if it.hasFile() { // so that a time which is set now is newer than what was written
		if l, err := s.lookItem(it); err == nil {
			s.saw(it, l)
		}
	}
	change(&it.attr)
	now := s.o.Now()
	it.changed, it.touched = now, now
	it.copied = nil // kept, though its bytes may be the target's
	if it.state == Failed {
		it.state, it.why = Staged, ""
	}
	if it.writers == 0 {
		s.enqueue(it)
	}
	seq := s.put(it)
	n := it.info()
	s.mu.Unlock()
	return n, s.journal.wait(seq, false)
}

// dirChanged moves the time of the directory that a name lies in. The caller holds mu.
func (s *Stage) dirChanged(name string, now time.Time) {
	dir, _ := backends.Split(name)
	if it, _ := s.names.find(dir); it != nil && it.kind == Dir {
		it.attr.ModTime, it.changed = now, now
		return
	}
	if k, ok := s.memory.byName[dir]; ok && k.version == "" {
		k.Attr.ModTime, k.Changed = now, now
		s.memory.byName[dir] = k
	}
}

// Leaving notes that the caller is about to remove what lies at the target under the item's name, which Rebase tells the end of. If the
// process ends in between and nothing lies there any more, that was no change by somebody else. It survives any crash when it returns.
func (s *Stage) Leaving(id ID) error {
	s.mu.Lock()
	it := s.items[id]
	if it == nil || it.gone {
		s.mu.Unlock()
		return fmt.Errorf("leaving: %w", backends.ErrNotExist)
	}
	it.leaving = true
	seq := s.put(it)
	s.mu.Unlock()
	return s.journal.wait(seq, true)
}

// Rebase notes that the target has another thing under the name now than what was to be replaced; if that is anything, no earlier try can land any
// more.
func (s *Stage) Rebase(id ID, base backends.Entry) error {
	s.mu.Lock()
	it := s.items[id]
	if it == nil || it.gone {
		s.mu.Unlock()
		return fmt.Errorf("rebase: %w", backends.ErrNotExist)
	}
	it.base, it.copied, it.resume, it.leaving, it.real = base, nil, nil, false, true
	if base != (backends.Entry{}) {
		it.answered()
	}
	seq := s.put(it)
	s.mu.Unlock()
	return s.journal.wait(seq, true)
}

// dropUnwanted gives up copies that nobody has opened.
func (s *Stage) dropUnwanted() {
	var names []string
	var gone []*item
	s.mu.Lock()
	for _, it := range s.copies {
		if it.opened || it.gone || it.state != Writing {
			delete(s.copies, it.id)
			continue
		}
		if it.base == (backends.Entry{}) || s.since(it.touched) < linger {
			continue
		}
		s.discard(it)
		s.journal.add(record{Kind: kindDrop, ID: it.id})
		gone, names = append(gone, it), append(names, it.name)
	}
	s.mu.Unlock()
	for _, it := range gone {
		s.erase(it)
	}
	s.changed(names...)
}
