package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"studyfs/backends"
)

// SourceOptions say how one source is to be cached.
type SourceOptions struct {
	Dir       string                                        // cache/<source id>; made with 0700, locked while open
	TTL       func(dir string, now time.Time) time.Duration // how long a listing of dir is believed; nil means 60 s
	SmallFile int64                                         // objects up to this size are fetched whole at open; 0 means 4 MiB
	Window    int64                                         // the largest read-ahead of one reader; 0 means 32 MiB
	Files     int                                           // small files fetched ahead of somebody who reads a directory in order; 0 means 32, less means none
	Parallel  int                                           // fetches in flight at once; 0 means 32
	Requests  int                                           // requests in flight at once, listings too; 0 means no bound but Parallel
	Bandwidth int64                                         // bytes a second that may come, listings apart; 0 means no limit
	Timeout   time.Duration                                 // after which a call on the store gives up; 0 means 60 s
	Seal      *Seal                                         // what must not lie in clear on the local disk; nil: everything may
	Changed   func(backends.Change)                         // told of every difference between two listings; must not block
}

func (o *SourceOptions) setDefaults() {
	if o.TTL == nil {
		o.TTL = func(string, time.Time) time.Duration { return defaultTTL }
	}
	if o.SmallFile == 0 {
		o.SmallFile = defaultSmallFile
	}
	if o.Window == 0 {
		o.Window = defaultWindow
	}
	if o.Files == 0 {
		o.Files = defaultFiles
	}
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.Requests > 0 {
		o.Parallel = o.Requests
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Changed == nil {
		o.Changed = func(backends.Change) {}
	}
}

// Store is the cache of one source. It is safe for concurrent use; Close may not run beside other calls.
type Store struct {
	cache   *Cache
	src     backends.Source
	o       SourceOptions
	home    *home // where things lie
	codec   codec // of what was listed
	boot    [16]byte
	log     *slog.Logger
	lists   listings
	lister  *lister  // lists, where the listing is ours
	bundles *bundled // lists, where the source keeps an index
	across  *across
	pins    *pins
	scanned atomic.Bool // what earlier runs left is in the books
	slots   *slots
	faucet  faucet
	link    link
	disk    *diskHealth
	guard   guard

	ctx    context.Context // of all fetches; ends with Close
	cancel context.CancelFunc
	flying sync.WaitGroup // flights and the scan

	bytes, hits, misses, evicted, corrupt atomic.Int64

	mu      sync.Mutex // guards objects and the refs and closing of each; may be taken under an object's mu, never the other way round
	objects map[objectID]*object
}

// Open makes ready what earlier runs left in o.Dir and returns without asking src for anything. If another process
// holds o.Dir, a private directory beside it is used, removed again at Close. The end of ctx ends only Open itself;
// the Store lives until Close.
func (c *Cache) Open(ctx context.Context, src backends.Source, o SourceOptions) (*Store, error) {
	o.setDefaults()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := openHome(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	s := &Store{
		cache: c, src: src, o: o, home: h, log: c.log, boot: bootID(),
		slots: newSlots(o.Parallel), disk: &diskHealth{log: c.log}, objects: map[objectID]*object{},
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.across = newAcross(s, o.Files)
	s.faucet.now = c.now
	s.SetBandwidth(o.Bandwidth)
	if err := s.atRest(); err != nil {
		s.cancel()
		return nil, errors.Join(fmt.Errorf("cache directory: %w", err), h.close())
	}
	s.pins = s.loadPins()
	if err := s.openListings(src); err != nil {
		s.cancel()
		return nil, errors.Join(fmt.Errorf("listing cache: %w", err), h.close())
	}
	s.flying.Go(s.scan)
	return s, nil
}

// openListings begins with what an earlier run knew of names.
func (s *Store) openListings(src backends.Source) (err error) {
	if b, ok := src.(bundler); ok {
		s.bundles = newBundled(s, b)
		s.bundles.restore()
		s.lists = s.bundles
		s.flying.Go(s.bundles.keepSaved)
		return nil
	}
	if s.o.Requests > 0 {
		src = inTurn(src, s.slots)
	}
	s.lister, err = newLister(src, listerOptions{
		ttl: s.o.TTL, now: s.cache.now, log: s.log, file: s.home.path("listing"), codec: s.codec,
		changed: s.o.Changed, removed: s.dropAll, timeout: s.o.Timeout, noAhead: s.o.Files < 0,
	})
	s.lists = s.lister
	return err
}

// limit bounds a call. Bundles take as long as they take, a month of accelerometer data minutes: they have limits of
// their own, on silence.
func (s *Store) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.bundles != nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, s.o.Timeout)
}

// Lookup returns the entry of name as the newest believed listing has it, or ErrNotExist. The root's is a directory.
func (s *Store) Lookup(ctx context.Context, name string) (backends.Entry, error) {
	if err := s.guard.check(ctx, s); err != nil {
		return backends.Entry{}, err
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	return s.lists.lookup(ctx, name)
}

// List returns the children of dir, by name. The slice is shared: callers must not change it.
func (s *Store) List(ctx context.Context, dir string) ([]backends.Entry, error) {
	if err := s.guard.check(ctx, s); err != nil {
		return nil, err
	}
	return s.lists.list(ctx, dir) // which has a limit of its own, on silence
}

// Noted takes in what somebody else has just learnt of entries by asking the source: those that the listing has in the same version, but with
// another tier, have the new one from now on. It returns how many had. It never asks the source.
func (s *Store) Noted(entries []backends.Entry) (changed int) {
	if s.lister == nil {
		return 0
	}
	for _, e := range entries {
		if s.lister.retier(e) {
			changed++
		}
	}
	return changed
}

// Known returns the last parts of the names in dir if all are known, believed or not, else nil. It never asks the source: it is for guesses.
func (s *Store) Known(dir string) []string {
	if s.lister == nil {
		return nil
	}
	var names []string
	for _, e := range s.lister.peek(dir) {
		_, base := backends.Split(e.Name)
		names = append(names, base)
	}
	return names
}

// Fresh tells how long the listing of dir will still be believed; 0 or less: not any more.
func (s *Store) Fresh(dir string) time.Duration { return s.lists.fresh(dir) }

// Open returns a Reader of exactly the version that e names. Small objects are complete when Open returns. It fails
// with ErrChanged when the source has another version by now, ErrArchived, ErrNotExist, ErrAuth and so on.
func (s *Store) Open(ctx context.Context, e backends.Entry) (*Reader, error) {
	if err := s.guard.check(ctx, s); err != nil {
		return nil, err
	}
	if e.Tier != backends.Online && s.State(e) != Cached { // what lies here as a whole needs no copy there
		return nil, fmt.Errorf("open: %w", backends.ErrArchived)
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	if e.Size < 0 {
		exact, err := s.stat(ctx, e.Name)
		if err != nil {
			return nil, err
		}
		e = exact
	}
	o, err := s.acquireNoted(ctx, s.idOf(e), e.Size)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.entry = e
	o.mu.Unlock()
	s.pins.cover(e.Name, o.id)
	o.pin() // what comes for it, and what comes with that, must not push it out before it can be pinned as a whole
	defer o.unpin()
	r := &Reader{o: o, ahead: readahead{max: s.o.Window, eager: s.across.readsOn(e)}}
	hits, misses := o.present(span{0, blockCount(e.Size)})
	if err := s.prepare(ctx, e, r); err != nil {
		r.Close() //nolint:errcheck // nothing was handed out
		return nil, err
	}
	if r.pinIfComplete(); r.pinned { // its reads will not be seen
		r.touch(span{0, blockCount(e.Size)})
		s.hits.Add(hits)
		s.misses.Add(misses)
	}
	return r, nil
}

// stat asks the source for the exact size of what a listing does not tell.
func (s *Store) stat(ctx context.Context, name string) (backends.Entry, error) {
	if _, err := s.slots.acquire(ctx, hurried()); err != nil {
		return backends.Entry{}, err
	}
	defer s.slots.release(false)
	return s.src.Stat(ctx, name)
}

// prepare fetches what a fresh reader should not wait for later: small objects whole, and bundles, which bring more than
// the object.
func (s *Store) prepare(ctx context.Context, e backends.Entry, r *Reader) error {
	if s.bundles != nil && e.Size > 0 {
		if err := s.bundles.bring(ctx, e, r.o); err != nil {
			return err
		}
	}
	if e.Size > 0 && e.Size <= s.o.SmallFile {
		s.across.opened(e) //nolint:contextcheck // nobody waits for it
		if err := s.explain(ctx, e, r.fetchAll(ctx)); err != nil {
			return err
		}
	}
	if s.bundles != nil {
		s.bundles.readAhead(e.Name) //nolint:contextcheck // nobody waits for it
	}
	return nil
}

// explain turns what a source said of a listed object into what became of it. Keys limited to a prefix may get "forbidden" for
// what is merely gone, so both lead to a fresh listing.
func (s *Store) explain(ctx context.Context, e backends.Entry, err error) error {
	gone := errors.Is(err, backends.ErrNotExist) || errors.Is(err, backends.ErrPermission)
	archived := errors.Is(err, backends.ErrArchived) // its copy has expired since it was listed
	if !gone && !archived && !errors.Is(err, backends.ErrChanged) {
		return err
	}
	dir, _ := backends.Split(e.Name)
	s.lists.expire(dir)
	if !gone {
		return err
	}
	now, lookupErr := s.lists.lookup(ctx, e.Name)
	switch {
	case errors.Is(lookupErr, backends.ErrNotExist):
		return lookupErr
	case lookupErr == nil && now.Version != e.Version:
		return fmt.Errorf("open: %w", backends.ErrChanged)
	}
	return err
}

// whileOpen is explain for a handle that is open: its version is gone, whatever took its place.
func (s *Store) whileOpen(e backends.Entry, err error) error {
	if errors.Is(err, backends.ErrArchived) {
		dir, _ := backends.Split(e.Name)
		s.lists.expire(dir)
	}
	if !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrChanged) {
		return err
	}
	dir, _ := backends.Split(e.Name)
	s.lists.expire(dir)
	return fmt.Errorf("read: %w", backends.ErrChanged)
}

// SetFiles changes SourceOptions.Files, for readers that are at it, too. It is safe for concurrent use.
func (s *Store) SetFiles(n int) {
	if n == 0 {
		n = defaultFiles
	}
	s.across.limit(n)
	if s.lister != nil {
		s.lister.strolls.turn(n < 0)
	}
}

// SetBandwidth changes SourceOptions.Bandwidth. It holds from the next 32 KiB on, and is safe for concurrent use.
func (s *Store) SetBandwidth(bytes int64) { s.faucet.rate.Store(max(bytes, 0)) }

// Close cancels the fetches under way and waits for them, writes the listing and the block maps, and unlocks. Readers
// must be closed before.
func (s *Store) Close() error {
	s.cancel()
	s.flying.Wait()
	var err error
	if s.lister != nil {
		err = s.lister.close(context.WithoutCancel(s.ctx))
	} else {
		err = s.bundles.save()
	}
	err = errors.Join(err, s.savePins())
	s.cache.usage.forgetStore(s)
	return errors.Join(err, s.home.close())
}

// acquire returns the object of id, opened, held once for the caller, who gives it back with release.
func (s *Store) acquire(ctx context.Context, id objectID, size int64) (*object, error) {
	for ctx.Err() == nil {
		s.mu.Lock()
		o := s.objects[id]
		if o == nil {
			o = &object{store: s, id: id, size: size, saved: s.now()}
			s.objects[id] = o
		}
		closing := o.closing
		if closing == nil {
			o.refs++
		}
		s.mu.Unlock()
		if closing == nil {
			o.loaded.Do(o.load)
			return o, nil
		}
		select { // its files are being closed: that is quick
		case <-closing:
		case <-ctx.Done():
		}
	}
	return nil, ctx.Err()
}

func (s *Store) retain(o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.refs++
}

func (s *Store) release(o *object) {
	s.mu.Lock()
	o.refs--
	if o.refs > 0 {
		s.mu.Unlock()
		return
	}
	o.closing = make(chan struct{})
	s.mu.Unlock()
	o.close()
	s.mu.Lock()
	delete(s.objects, o.id)
	close(o.closing)
	s.mu.Unlock()
}

// keep writes a fetched block, makes room for it and notes its use.
func (s *Store) keep(o *object, block int64, data []byte) error {
	u := s.cache.usage
	if !u.makeRoom(int64(len(data))) && !u.fits(-roomOver) {
		return fmt.Errorf("%w: everything in it is in use", errDisk)
	}
	err := o.land(block, data)
	if err != nil && u.makeRoom(u.limit/10) { // a full disk: the read cache gives way first
		err = o.land(block, data)
	}
	if err != nil {
		s.disk.failed(s.now())
		return err
	}
	k := extentKey{s, o.id, block / extentBlocks}
	u.note(k, o.bytesIn(k.blocks(o.size)))
	s.pins.cover(o.wanted().Name, o.id)
	return nil
}

// roomOver is how far pinned files may push the cache over its limit before new blocks are no longer kept.
const roomOver = 64 << 20

// evict frees one extent; false: it is pinned.
func (s *Store) evict(k extentKey) bool {
	if s.pins.has(k.id) {
		return false
	}
	s.mu.Lock()
	o := s.objects[k.id]
	s.mu.Unlock()
	size := int64(-1)
	if o != nil {
		size = o.size
	} else if raw, err := os.ReadFile(s.mapPath(k.id)); err == nil {
		if m, ok := decodeBlockMap(raw, k.id); ok {
			size = m.size
		}
	}
	if size < 0 {
		s.unlink(k.id)
		return true
	}
	o, err := s.acquire(s.ctx, k.id, size) // an ended ctx: closing down
	if err != nil {
		return true
	}
	defer s.release(o)
	return o.evict(k.blocks(size))
}

// dropAll forgets the bytes of entries that a fresh listing no longer shows: a participant whose data was deleted on request
// must not live on in a cache. Handles that are open keep their unlinked file.
func (s *Store) dropAll(entries []backends.Entry) {
	for _, e := range entries {
		if e.Dir || e.Size <= 0 {
			continue
		}
		id := s.idOf(e)
		s.mu.Lock()
		o := s.objects[id]
		s.mu.Unlock()
		if o != nil {
			o.mu.Lock()
			o.unlinked = true
			o.mu.Unlock()
		}
		s.unlink(id)
		s.cache.usage.forget(s, id, extentCount(e.Size))
	}
}

func (s *Store) now() time.Time { return s.cache.now() }

func (s *Store) idOf(e backends.Entry) objectID {
	return s.home.id(e.Name, e.Version, s.o.covers(e.Name))
}

func (s *Store) dataPath(id objectID) string { return s.home.block(id) + ".data" }
func (s *Store) mapPath(id objectID) string  { return s.home.block(id) + ".map" }

func (s *Store) unlink(id objectID) {
	if err := errors.Join(removeIfThere(s.dataPath(id)), removeIfThere(s.mapPath(id))); err != nil {
		s.log.Warn("cannot remove a cache file", "err", err)
	}
}

// markUsed makes the order of use survive a restart, to within an hour and without a write per open.
func (s *Store) markUsed(id objectID) {
	path, now := s.mapPath(id), s.now()
	if info, err := os.Stat(path); err == nil && now.Sub(info.ModTime()) > time.Hour {
		if err := os.Chtimes(path, now, now); err != nil {
			s.disk.failed(now)
		}
	}
}

func parent(path string) string { return filepath.Dir(path) }
