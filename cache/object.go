package cache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"studyfs/backends"
)

// object is one version of one object of the source: a sparse data file, the map of its valid blocks, and the
// fetches under way. There is one per version while anybody has it open. Its locks, in the order in which they are taken:
//
//	disk  held for reading around "is this block valid, then read or write it", for writing by eviction only,
//	      so that no hole is punched under a reader. Only local I/O happens under it.
//	mu    guards the fields below it; under it only the books' lock is taken, and local I/O done by load alone.
type object struct {
	store *Store
	id    objectID
	size  int64

	refs    int           // guarded by the store's mu: readers, flights, the evictor
	closing chan struct{} // guarded by the store's mu: set once refs is 0, closed when the files are
	loaded  sync.Once
	sealer  *sealer // nil for an object in clear; set by load

	disk sync.RWMutex

	mu       sync.Mutex
	entry    backends.Entry // what to ask the source for; Name "" while only eviction knows the object
	file     *os.File       // nil when the local disk refused: then every read goes to the source
	blocks   *blockMap
	checked  bitmap // blocks whose checksum was compared since the object was opened, or that were written since
	trusted  bool   // the data file is as it was when the map was written
	dirty    bool   // the map on disk is older than blocks
	saved    time.Time
	pins     int
	unlinked bool // the files are gone; nothing is to be written back
	flights  []*flight
}

// errDisk says that the local disk, not the source, failed. The read is then answered from the source directly.
var errDisk = errors.New("cache disk failed")

// maxCached bounds what the size that a server names can cost: the map of 256 GiB takes 33 MiB of memory. Larger objects are read past
// the cache.
const maxCached = 256 << 30

// load opens or makes the data file and reads the map. It never fails: without a file the object is read uncached.
func (o *object) load() {
	o.mu.Lock() // those who only ask how much is here do not wait for loaded
	defer o.mu.Unlock()
	if o.size > maxCached {
		o.blocks, o.checked = newBlockMap(o.id, 0), nil
		return
	}
	o.blocks = newBlockMap(o.id, o.size)
	o.checked = newBitmap(blockCount(o.size))
	var err error
	if o.sealer, err = o.store.sealer(o.id); err != nil || o.size == 0 || !o.store.disk.usable(o.store.now()) {
		return
	}
	path := o.store.dataPath(o.id)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		o.store.dropTwin(o.id, o.size)
		o.create(path)
		return
	}
	if err != nil {
		o.store.disk.failed(o.store.now())
		return
	}
	o.file = f
	raw, err := os.ReadFile(o.store.mapPath(o.id))
	m, ok := decodeBlockMap(raw, o.id)
	if err != nil || !ok || m.size != o.size {
		o.reset()
		return
	}
	mark, err := markOf(f, o.store.boot)
	if err != nil || mark.size != o.id.fileSize(o.size) {
		o.reset()
		return
	}
	o.blocks = m
	o.trusted = mark == m.mark
}

// create makes an empty data file of the full size.
func (o *object) create(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(parent(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		}
	}
	if err == nil {
		err = f.Truncate(o.id.fileSize(o.size))
	}
	if err != nil {
		if f != nil {
			f.Close() //nolint:errcheck // nothing was written
		}
		o.store.disk.failed(o.store.now())
		return
	}
	o.file = f
}

// reset throws away what a data file without a believable map holds.
func (o *object) reset() {
	o.store.cache.usage.forget(o.store, o.id, extentCount(o.size))
	if err := errors.Join(o.file.Truncate(0), o.file.Truncate(o.id.fileSize(o.size))); err != nil {
		o.store.disk.failed(o.store.now())
		o.file.Close() //nolint:errcheck // given up
		o.file = nil
	}
}

// readValid copies the leading bytes of p that lie in valid blocks, from off on. If that is not all of p, missing is
// the block that stopped it.
func (o *object) readValid(p []byte, off int64) (n int, missing int64, err error) {
	o.disk.RLock()
	defer o.disk.RUnlock()
	for n < len(p) {
		block := (off + int64(n)) / BlockSize
		if !o.verify(block) {
			return n, block, nil
		}
		end := min(int64(len(p)), (block+1)*BlockSize-off)
		for next := block + 1; o.sealer == nil && end < int64(len(p)) && o.verify(next); next++ { // one read of the disk for all of them
			end = min(int64(len(p)), (next+1)*BlockSize-off)
		}
		if o.sealer != nil {
			if !o.unseal(p[n:end], off+int64(n)) {
				return n, block, nil
			}
			n = int(end)
			continue
		}
		k, err := o.file.ReadAt(p[n:end], off+int64(n))
		n += k
		if err != nil && (!errors.Is(err, io.EOF) || int64(n) < end) {
			o.store.disk.failed(o.store.now())
			return n, block, fmt.Errorf("%w: %w", errDisk, err)
		}
	}
	return n, -1, nil
}

// verify reports whether block is here and right, comparing its checksum when it is first used since the object was
// opened. The caller holds disk for reading.
func (o *object) verify(block int64) bool {
	o.mu.Lock()
	valid, checked, want := o.blocks.valid.has(block), o.checked.has(block), o.blocks.sums[block]
	o.mu.Unlock()
	if !valid || checked {
		return valid
	}
	ok := o.matches(block, want)
	o.mu.Lock()
	defer o.mu.Unlock()
	if ok {
		o.checked.set(block)
		return true
	}
	if !o.checked.has(block) {
		o.spoil(block)
	}
	return false
}

// spoil takes back that a block is right. The caller holds mu.
func (o *object) spoil(block int64) {
	if !o.blocks.valid.has(block) {
		return
	}
	o.blocks.valid.clear(block)
	o.dirty = true
	o.store.corrupt.Add(1)
	k := extentKey{o.store, o.id, block / extentBlocks}
	o.store.cache.usage.note(k, o.blocks.bytesIn(k.blocks(o.size)))
}

// unseal copies plain bytes of one valid block, from the offset off of the object on. False: it does not open, and counts as missing from
// now on. The caller holds disk for reading.
func (o *object) unseal(p []byte, off int64) bool {
	block := off / BlockSize
	at, n := o.id.stored(span{block, block + 1}, o.size)
	buf := o.store.cache.memory.scratch()
	defer o.store.cache.memory.pool.Put(buf)
	sealed := (*buf)[:n]
	if _, err := io.ReadFull(io.NewSectionReader(o.file, at, n), sealed); err == nil {
		if plain, ok := o.sealer.open(block, sealed); ok {
			copy(p, plain[off-block*BlockSize:])
			return true
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spoil(block)
	return false
}

func (o *object) matches(block int64, want uint32) bool {
	buf := o.store.cache.memory.scratch()
	defer o.store.cache.memory.pool.Put(buf)
	off, n := o.id.stored(span{block, block + 1}, o.size)
	data := (*buf)[:n]
	_, err := io.ReadFull(io.NewSectionReader(o.file, off, n), data)
	return err == nil && blockSum(o.id, block, data) == want
}

// land writes one fetched block and marks it valid.
func (o *object) land(block int64, data []byte) error {
	o.disk.RLock()
	defer o.disk.RUnlock()
	if o.file == nil {
		return errDisk
	}
	if o.sealer != nil {
		buf := o.store.cache.memory.scratch()
		defer o.store.cache.memory.pool.Put(buf)
		data = o.sealer.seal((*buf)[:0], block, data)
	}
	if _, err := o.file.WriteAt(data, block*o.id.stride()); err != nil {
		return fmt.Errorf("%w: %w", errDisk, err)
	}
	sum := blockSum(o.id, block, data)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.blocks.sums[block] = sum
	o.blocks.valid.set(block)
	o.checked.set(block)
	o.dirty = true
	for _, f := range o.flights {
		if f.blocks.from <= block && block < f.blocks.to {
			f.landed(block)
		}
	}
	return nil
}

// complete reports whether every block is valid and, so that the bytes may be used unseen, either checked or in a file that
// nobody touched since they were. It compares the rest if need be.
func (o *object) complete() bool {
	o.disk.RLock()
	defer o.disk.RUnlock()
	o.mu.Lock()
	file, trusted, valid := o.file, o.trusted, o.blocks.count()
	o.mu.Unlock()
	if file == nil || valid != blockCount(o.size) {
		return false
	}
	if trusted {
		return true
	}
	for b := range valid {
		o.mu.Lock()
		known := o.checked.has(b)
		o.mu.Unlock()
		if !known && !o.verify(b) {
			return false
		}
	}
	return true
}

// evict punches blocks out of the data file. It does nothing, and says so, while the object is pinned.
func (o *object) evict(s span) bool {
	o.disk.Lock()
	defer o.disk.Unlock()
	o.mu.Lock()
	if o.pins > 0 || o.file == nil {
		o.mu.Unlock()
		return false
	}
	for b := s.from; b < s.to; b++ {
		if o.blocks.valid.has(b) {
			o.blocks.valid.clear(b)
			o.dirty = true
			o.store.evicted.Add(1)
		}
	}
	o.mu.Unlock()
	off, n := o.id.stored(s, o.size)
	if err := punch(o.file, off, n); err != nil {
		o.store.log.Warn("cannot free cache space", "err", err)
	}
	return true
}

// pin keeps eviction from the object until unpin.
func (o *object) pin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pins++
}

func (o *object) unpin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pins--
}

// present counts the blocks of s that are here and those that are not.
func (o *object) present(s span) (here, missing int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for b := s.from; b < s.to; b++ {
		if o.file != nil && o.blocks.valid.has(b) {
			here++
		} else {
			missing++
		}
	}
	return here, missing
}

// wanted is what to ask the source for.
func (o *object) wanted() backends.Entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.entry
}

// bytesIn returns how many bytes of s are valid, counted in whole blocks but for the last.
func (o *object) bytesIn(s span) (n int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.blocks.bytesIn(s)
}

// save writes the map beside the data file. Failing is no harm: the blocks are a miss next time.
func (o *object) save() {
	o.mu.Lock()
	if o.file == nil || o.unlinked || !o.dirty {
		o.mu.Unlock()
		return
	}
	mark, err := markOf(o.file, o.store.boot)
	o.blocks.mark = mark
	raw := o.blocks.encode()
	o.dirty = false
	o.saved = o.store.now()
	o.mu.Unlock()
	if err == nil {
		err = os.WriteFile(o.store.mapPath(o.id), raw, 0o600)
	}
	if err != nil {
		o.store.disk.failed(o.store.now())
	}
}

// close ends the use of the files; the last reader has gone and no flight is under way.
func (o *object) close() {
	if o.file == nil {
		return
	}
	o.mu.Lock()
	empty, unlinked := o.blocks.count() == 0, o.unlinked
	o.mu.Unlock()
	switch {
	case unlinked:
		o.store.cache.usage.forget(o.store, o.id, extentCount(o.size))
	case empty:
		o.store.unlink(o.id)
	default:
		o.save()
		o.store.markUsed(o.id)
	}
	o.file.Close() //nolint:errcheck // read-only from here on; nothing depends on it
}
