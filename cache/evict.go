package cache

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// extentKey names an extent of an object version on disk.
type extentKey struct {
	store *Store
	id    objectID
	n     int64
}

func (k extentKey) blocks(size int64) span {
	from := k.n * extentBlocks
	return span{from, min(from+extentBlocks, blockCount(size))}
}

// usage keeps the extents of all stores in order of use and the bytes that they take. golang-lru's own locking cache
// would call back after unlocking, where a block dropped can race with the same block added again; so its
// core under our lock. mu is a leaf.
type usage struct {
	limit int64

	mu    sync.Mutex
	order *simplelru.LRU[extentKey, int64]
	bytes int64

	evicting sync.Mutex // one at a time makes room; held over local I/O only
}

func newUsage(limit int64) *usage {
	// Bounded by bytes, not by count. The only error there is concerns a count below 1.
	order, _ := simplelru.NewLRU[extentKey, int64](1<<40, nil)
	return &usage{limit: limit, order: order}
}

// note says that an extent now takes n bytes and was used last.
func (u *usage) note(k extentKey, n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop(k)
	u.order.Add(k, n)
	u.bytes += n
	k.store.bytes.Add(n)
}

// drop takes an extent out of the books. The caller holds mu.
func (u *usage) drop(k extentKey) (n int64, known bool) {
	if n, known = u.order.Peek(k); known {
		u.order.Remove(k)
		u.bytes -= n
		k.store.bytes.Add(-n)
	}
	return n, known
}

// touch says that an extent was used last, if it is known.
func (u *usage) touch(k extentKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.order.Get(k)
}

// forget drops the extents of one object.
func (u *usage) forget(s *Store, id objectID, extents int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for n := range extents {
		u.drop(extentKey{s, id, n})
	}
}

// forgetStore drops all extents of a store that closes. It waits for an eviction under way: after it nobody touches the
// store's files, which may be another process's by then.
func (u *usage) forgetStore(s *Store) {
	u.evicting.Lock()
	defer u.evicting.Unlock()
	for _, k := range u.keys() {
		if k.store == s {
			u.mu.Lock()
			u.drop(k)
			u.mu.Unlock()
		}
	}
}

// whole reports whether every byte of an object is in the books.
func (u *usage) whole(s *Store, id objectID, size int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all int64
	for n := range extentCount(size) {
		bytes, _ := u.order.Peek(extentKey{s, id, n})
		all += bytes
	}
	return all == size
}

// keys returns the extents known now, oldest first.
func (u *usage) keys() []extentKey {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.order.Keys()
}

func (u *usage) fits(spare int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bytes <= max(0, u.limit-spare)
}

func (u *usage) oldest() (extentKey, int64, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	k, _, ok := u.order.GetOldest()
	if !ok {
		return k, 0, false
	}
	n, _ := u.drop(k)
	return k, n, true
}

// makeRoom evicts the extents used longest ago until all fit below the limit less spare, and reports whether they do.
// Extents of pinned objects stay: a program is reading their file without us.
func (u *usage) makeRoom(spare int64) bool {
	if u.fits(spare) {
		return true
	}
	u.evicting.Lock()
	defer u.evicting.Unlock()
	kept := map[extentKey]bool{}
	for !u.fits(spare) {
		k, n, ok := u.oldest()
		if !ok {
			return false
		}
		seen := kept[k]
		if !k.store.evict(k) {
			kept[k] = true
			u.note(k, n)
			if seen {
				return false // once around: all that is left is pinned
			}
		}
	}
	return true
}
