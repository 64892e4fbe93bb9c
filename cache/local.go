package cache

import (
	"errors"
	"io"
	"os"

	"studyfs/backends"
)

// Put says that this process has just stored e at the source: the listing has it from now on, in the place of any older version,
// with all directories above it; a directory is an empty one. It costs no request and is not told to SourceOptions.Changed. A
// listing that was asked for before and arrives later does not take it back. When the source lists the same version with
// a time up to 15 minutes later than e's, e's stays. For sources whose listing the cache keeps itself.
func (s *Store) Put(e backends.Entry) {
	if s.lister != nil && e.Name != "" && backends.ValidName(e.Name) {
		s.lister.put(e)
	}
}

// Gone says that this process has just deleted the object, or what stood for the empty directory, called name: the listing has it
// no more, and its bytes leave the local disk. Handles that are open keep theirs. A directory that is empty now stays
// until it is listed again, or is itself Gone. Otherwise like Put.
func (s *Store) Gone(name string) {
	if s.lister != nil && name != "" && backends.ValidName(name) {
		s.lister.gone(name)
	}
}

// MakeRoom frees up to n bytes of the local disk, what was used longest ago first; of any store of the Cache. What programs have
// open whole stays.
func (s *Store) MakeRoom(n int64) {
	if n <= 0 {
		return
	}
	u := s.cache.usage
	u.mu.Lock()
	spare := u.limit - max(0, u.bytes-n)
	u.mu.Unlock()
	u.makeRoom(spare)
}

// Adopt makes the local file at path, which holds exactly e's bytes, the complete cache of e: reading e then asks the source for
// nothing. Nobody may write to the file any more; it may still be open for reading. True: the path is gone. False: it is
// as it was, since there is no room for it or the local disk refuses; the caller may remove it. It reads the file
// once, for its checksums.
func (s *Store) Adopt(e backends.Entry, path string) bool {
	if !s.adoptable(e) {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // it was only read
	if info, err := file.Stat(); err != nil || info.Size() != e.Size {
		return false
	}
	id := s.idOf(e)
	s.pins.cover(e.Name, id)
	if done, ok := s.adoptWhole(id, e.Size, file); done {
		return ok
	}
	return s.adoptCopy(id, e.Size, file) && os.Remove(path) == nil
}

// AdoptBytes is Adopt of bytes that do not lie there as a file. It copies e.Size of them, and reads nothing after it has returned.
func (s *Store) AdoptBytes(e backends.Entry, r io.ReaderAt) bool {
	return s.adoptable(e) && s.adoptCopy(s.idOf(e), e.Size, r)
}

func (s *Store) adoptable(e backends.Entry) bool {
	return !e.Dir && e.Link == "" && e.Size > 0 && e.Size <= min(s.cache.usage.limit, maxCached) && s.disk.usable(s.now())
}

// adoptWhole renames a file into place. Not done: it has to be copied, because it must be sealed, is in use, or lies on another file system.
func (s *Store) adoptWhole(id objectID, size int64, file *os.File) (done, ok bool) {
	if id.sealed() || s.isOpen(id) {
		return false, false
	}
	m, err := s.sumUp(id, size, file)
	if err != nil {
		return true, false
	}
	if !s.cache.usage.makeRoom(size) {
		return true, false
	}
	o := &object{store: s, id: id, size: size, saved: s.now(), refs: 1}
	s.mu.Lock()
	inUse := s.objects[id] != nil
	if !inUse {
		s.objects[id] = o
	}
	s.mu.Unlock()
	if inUse {
		return false, false
	}
	defer s.release(o)
	moved := false
	o.loaded.Do(func() {
		if moved = o.take(file.Name(), m); !moved {
			o.load() // for those who came meanwhile
		}
	})
	if !moved {
		return false, false
	}
	o.mu.Lock()
	s.noteUse(id, o.blocks)
	o.mu.Unlock()
	o.save()
	return true, true
}

// sumUp reads a file whole, and returns the map of an object that has it as its data file.
func (s *Store) sumUp(id objectID, size int64, file io.ReaderAt) (*blockMap, error) {
	m := newBlockMap(id, size)
	buf := s.cache.memory.scratch()
	defer s.cache.memory.pool.Put(buf)
	for block := range blockCount(size) {
		off, n := bytesOf(span{block, block + 1}, size)
		if _, err := io.ReadFull(io.NewSectionReader(file, off, n), (*buf)[:n]); err != nil {
			return nil, err
		}
		m.sums[block] = blockSum(id, block, (*buf)[:n])
		m.valid.set(block)
	}
	return m, nil
}

// take makes the file at path the data file. It is called in the place of load.
func (o *object) take(path string, m *blockMap) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.store.dropTwin(o.id, o.size)
	to := o.store.dataPath(o.id)
	err := os.Rename(path, to)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(parent(to), 0o700); err == nil {
			err = os.Rename(path, to)
		}
	}
	if err != nil {
		return false
	}
	o.checked = newBitmap(blockCount(o.size))
	o.blocks = newBlockMap(o.id, o.size)
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil || f.Chmod(0o600) != nil {
		return true // gone from where it was, and a miss
	}
	o.file, o.blocks, o.trusted, o.dirty = f, m, true, true
	for b := range blockCount(o.size) {
		o.checked.set(b)
	}
	return true
}

// adoptCopy writes the bytes of a file into an object, sealing them where they must be.
func (s *Store) adoptCopy(id objectID, size int64, file io.ReaderAt) bool {
	o, err := s.acquireNoted(s.ctx, id, size)
	if err != nil {
		return false
	}
	defer s.release(o)
	o.pin() // what comes later must not push out what came first
	defer o.unpin()
	o.mu.Lock()
	usable := o.file != nil && !o.unlinked
	o.mu.Unlock()
	if !usable {
		return false
	}
	buf := s.cache.memory.scratch()
	defer s.cache.memory.pool.Put(buf)
	for block := range blockCount(size) {
		if o.known(block) {
			continue
		}
		off, n := bytesOf(span{block, block + 1}, size)
		if _, err := io.ReadFull(io.NewSectionReader(file, off, n), (*buf)[:n]); err != nil {
			return false
		}
		if s.keep(o, block, (*buf)[:n]) != nil {
			return false
		}
	}
	o.save()
	return true
}
