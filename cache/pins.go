package cache

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"studyfs/backends"
)

// pins is what eviction must leave alone: paths, and the objects that were seen below them. Objects are known by their ids alone, so those
// seen in one run are noted down for the next.
type pins struct {
	mu    sync.Mutex // guards what follows; a leaf
	paths map[string]map[objectID]bool
	all   map[objectID]int // by how many paths
	dirty bool
}

// loadPins returns what an earlier run left. Objects that are no longer on the disk are left out.
func (s *Store) loadPins() *pins {
	p := &pins{paths: map[string]map[objectID]bool{}, all: map[objectID]int{}}
	raw, err := readSealed(s.home.path("pins"), s.codec)
	var kept map[string][]string
	if err != nil || raw == nil || json.Unmarshal(raw, &kept) != nil {
		return p
	}
	for path, ids := range kept {
		p.paths[path] = map[objectID]bool{}
		for _, text := range ids {
			id, err := hex.DecodeString(text)
			if err != nil || len(id) != len(objectID{}) {
				continue
			}
			if _, err := os.Stat(s.mapPath(objectID(id))); err == nil {
				p.paths[path][objectID(id)] = true
				p.all[objectID(id)]++
			}
		}
	}
	return p
}

// savePins notes the pins down if they changed.
func (s *Store) savePins() error {
	p := s.pins
	p.mu.Lock()
	dirty := p.dirty
	p.dirty = false
	kept := map[string][]string{}
	for path, ids := range p.paths {
		kept[path] = []string{}
		for id := range ids {
			kept[path] = append(kept[path], hex.EncodeToString(id[:]))
		}
	}
	p.mu.Unlock()
	if !dirty {
		return nil
	}
	raw, err := json.Marshal(kept)
	if err == nil {
		err = writeSealed(s.home.path("pins"), s.codec, raw)
	}
	return err
}

// cover notes that an object lies below the paths that its name does.
func (p *pins) cover(name string, id objectID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path, ids := range p.paths {
		if !ids[id] && name != "" && (path == "" || name == path || strings.HasPrefix(name, path+"/")) {
			ids[id], p.dirty = true, true
			p.all[id]++
		}
	}
}

func (p *pins) has(id objectID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[id] > 0
}

// Pinned is a path that eviction leaves alone.
type Pinned struct {
	Path  string
	Bytes int64 // on the local disk now
}

// Pin keeps what is on the local disk of the file or folder called name, and what will be, from being evicted, in later runs too. known are the
// files there that may be on the disk already. It fetches nothing.
func (s *Store) Pin(name string, known []backends.Entry) error {
	s.pins.mu.Lock()
	if s.pins.paths[name] == nil {
		s.pins.paths[name] = map[objectID]bool{}
	}
	s.pins.dirty = true
	s.pins.mu.Unlock()
	for _, e := range known {
		if id := s.idOf(e); fetchable(e) {
			s.pins.cover(e.Name, id)
		}
	}
	return s.savePins()
}

// ErrNotPinned says that a path was never pinned by that name.
var ErrNotPinned = errors.New("is not pinned")

// Unpin takes back Pin of exactly this name.
func (s *Store) Unpin(name string) error {
	s.pins.mu.Lock()
	ids, ok := s.pins.paths[name]
	for id := range ids {
		if s.pins.all[id]--; s.pins.all[id] == 0 {
			delete(s.pins.all, id)
		}
	}
	delete(s.pins.paths, name)
	s.pins.dirty = s.pins.dirty || ok
	s.pins.mu.Unlock()
	if !ok {
		return ErrNotPinned
	}
	return s.savePins()
}

// Pins lists what is pinned, by path.
func (s *Store) Pins() []Pinned {
	s.pins.mu.Lock()
	byID := map[objectID]int64{}
	for id := range s.pins.all {
		byID[id] = 0
	}
	s.pins.mu.Unlock()
	if len(byID) > 0 {
		s.cache.usage.sum(s, byID)
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	out := []Pinned{}
	for _, path := range slices.Sorted(maps.Keys(s.pins.paths)) {
		one := Pinned{Path: path}
		for id := range s.pins.paths[path] {
			one.Bytes += byID[id]
		}
		out = append(out, one)
	}
	return out
}

// sum adds to each of the objects what it takes on the disk.
func (u *usage) sum(s *Store, byID map[objectID]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, k := range u.order.Keys() {
		if _, wanted := byID[k.id]; wanted && k.store == s {
			n, _ := u.order.Peek(k)
			byID[k.id] += n
		}
	}
}
