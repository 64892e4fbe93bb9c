package cache

import "studyfs/backends"

// Ready reports whether e can be read at once and whole without asking the source: the believed listing has this very version of it, it is a
// small object, and all of it is on the local disk, by the books alone. It counts as a use, and as an opening for what is fetched ahead, so that
// whoever gets true may open it when its bytes are asked for, if ever. It never waits for the network or the disk. False may mean that
// only [Store.Open] can tell.
func (s *Store) Ready(e backends.Entry) bool {
	small := 0 < e.Size && e.Size <= s.o.SmallFile
	if s.lister == nil || !s.scanned.Load() || !small || refusal(s.src) != nil || !s.lister.shows(e) {
		return false
	}
	id := s.idOf(e)
	if !s.haveAs(id, e) {
		return false
	}
	for n := range extentCount(e.Size) {
		s.cache.usage.touch(extentKey{s, id, n})
	}
	s.across.opened(e)
	return true
}

// shows reports whether the believed listing has a file in this very version. It asks nobody.
func (l *lister) shows(e backends.Entry) bool {
	dir, base := backends.Split(e.Name)
	k, v, _ := l.ask(dir, base)
	return v == present && !k.dir() && k.version == e.Version && k.size == e.Size && k.mod.Equal(e.ModTime)
}

// Whole reports whether all of the object is on the local disk and stays there, checked, until Close: reading it then asks the source for nothing.
func (r *Reader) Whole() bool { return r.pinned }
