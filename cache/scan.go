package cache

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"
)

// scan takes what earlier runs left into the books of eviction, oldest first, and removes data without a map, which a
// killed process left. It runs beside the first calls: objects are found by their path, not through the scan.
func (s *Store) scan() {
	type found struct {
		id   objectID
		used time.Time
		m    *blockMap
	}
	var all []found
	used := s.cache.usage.keys() // what was used since the start is younger than anything found
	s.home.maps(func(id objectID, path string) {
		if s.ctx.Err() != nil || s.isOpen(id) {
			return
		}
		if strings.HasSuffix(path, ".data") {
			s.removeOrphan(id)
			return
		}
		raw, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		m, ok := decodeBlockMap(raw, id)
		if err != nil || statErr != nil || !ok {
			return // removed meanwhile, or damaged: a miss when it is opened
		}
		all = append(all, found{id, info.ModTime(), m})
	})
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.used.UnixNano(), b.used.UnixNano()) })
	for _, f := range all {
		if s.ctx.Err() != nil {
			return
		}
		if !s.isOpen(f.id) {
			s.noteUse(f.id, f.m)
		}
	}
	for _, k := range used {
		s.cache.usage.touch(k)
	}
	s.scanned.Store(true)
	s.cache.usage.makeRoom(0)
}

// noteUse takes what an object holds on disk into the books.
func (s *Store) noteUse(id objectID, m *blockMap) {
	for n := range extentCount(m.size) {
		k := extentKey{s, id, n}
		if bytes := m.bytesIn(k.blocks(m.size)); bytes > 0 {
			s.cache.usage.note(k, bytes)
		}
	}
}

// acquireNoted is acquire for whoever will use the object. One that is opened before the scan has ended is taken into the books here, since
// the scan passes over open ones; it has ended only if it had before the object could be seen as open.
func (s *Store) acquireNoted(ctx context.Context, id objectID, size int64) (*object, error) {
	early := !s.scanned.Load()
	o, err := s.acquire(ctx, id, size)
	if err == nil && early {
		o.mu.Lock()
		s.noteUse(o.id, o.blocks)
		o.mu.Unlock()
	}
	return o, err
}

func (s *Store) isOpen(id objectID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[id] != nil
}

// removeOrphan removes the files of an object whose map is missing. It holds the object while it does, so that
// nobody opens it in between.
func (s *Store) removeOrphan(id objectID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[id] != nil {
		return
	}
	if _, err := os.Stat(s.mapPath(id)); err != nil {
		s.unlink(id)
	}
}
