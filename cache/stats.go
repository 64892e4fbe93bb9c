package cache

import (
	"os"
	"time"

	"studyfs/backends"
)

// State says where an object's bytes are.
type State uint8

// The states of an object on a read-only source.
const (
	Remote  State = iota // nothing here
	Partial              // some blocks
	Cached               // all of it
)

// String returns the name that users see.
func (s State) String() string { return [...]string{"remote", "partial", "cached"}[s] }

// State tells how much of e is on the local disk. It never asks the source.
func (s *Store) State(e backends.Entry) State {
	id := s.idOf(e)
	s.mu.Lock()
	o := s.objects[id]
	s.mu.Unlock()
	var n int64
	if o != nil {
		o.mu.Lock()
		if o.blocks != nil {
			n = o.blocks.count()
		}
		o.mu.Unlock()
	} else if raw, err := os.ReadFile(s.mapPath(id)); err == nil {
		if m, ok := decodeBlockMap(raw, id); ok {
			n = m.count()
		}
	}
	switch {
	case e.Size >= 0 && n == blockCount(e.Size):
		return Cached
	case n > 0:
		return Partial
	}
	return Remote
}

// Stats are the figures of one store. Counters only grow while it is open.
type Stats struct {
	Bytes, Limit     int64         // on disk now, of this store; the limit of all stores together
	Hits, Misses     int64         // blocks asked for that were here, that were not
	Evicted, Corrupt int64         // blocks dropped for room; blocks that failed their checksum and were fetched again
	ListingAge       time.Duration // of the oldest listing that was served last; 0 if none was
	ListedEntries    int64
}

// Stats returns counters and gauges; cheap, never blocks on I/O.
func (s *Store) Stats() Stats {
	n := Stats{
		Bytes: s.bytes.Load(), Limit: s.cache.usage.limit,
		Hits: s.hits.Load(), Misses: s.misses.Load(), Evicted: s.evicted.Load(), Corrupt: s.corrupt.Load(),
	}
	if s.lister != nil {
		n.ListingAge, n.ListedEntries = s.lister.age(), s.lister.entries()
	}
	return n
}
