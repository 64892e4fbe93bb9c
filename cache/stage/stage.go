// Package stage keeps written files safe on local disk until their source has them.
//
// A [Stage] is one directory for one source. What a program writes goes into a staged file, whose descriptor the kernel
// may use directly. Closing (FLUSH) seals it: the bytes are synced, a label with name, attributes and size is attached to
// the file and synced, and a record is appended to the journal; when that is synced, too, close returns. From then on the
// file survives any crash. It is handed to the [Uploader] only when it is quiet: nobody has it open for writing, and nothing
// was closed or renamed for a while, since programs go on writing after a FLUSH.
//
// The journal is the order of what happened; the labels alone are enough to find every sealed file again. Where the local
// file system has none, a file has a sidecar instead: another file beside it. Nothing that cannot be understood is ever
// deleted.
//
// Names are kept in the journal, labels and sidecars (0600 in 0700), never in the names of local files.
package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage/gate"
)

// The errors of this package that callers may test for, beside those of package backends.
var (
	// ErrStored says that something lies at the target under this name, so that the stage alone cannot move or remove it.
	ErrStored = errors.New("it is stored at the source already")
	// ErrNoRoom says that the local disk or the quota leaves no room.
	ErrNoRoom = fmt.Errorf("no room for files that wait for upload: %w", syscall.ENOSPC)
	// ErrNotEmpty says that a directory has something staged below it.
	ErrNotEmpty = fmt.Errorf("staged directory: %w", syscall.ENOTEMPTY)
	// ErrLocked says that another process uses the stage.
	ErrLocked = errors.New("another process uses this stage")
	// ErrDamaged says that the local disk failed an item or the journal: what was promised before still holds.
	ErrDamaged = fmt.Errorf("staging disk failed: %w", syscall.EIO)
	errClosed  = fmt.Errorf("stage is closed: %w", syscall.EIO)
)

// Durability says when close and fsync return.
type Durability uint8

// The durabilities: safe on the local disk after close and fsync; stored at the source after both; safe after fsync only.
const (
	Local Durability = iota
	Remote
	Relaxed
)

const (
	defaultQuiet = 5 * time.Second
	linger       = 10 * time.Second // how long a copy that nobody has opened yet is kept
	tick         = time.Second      // how often sizes and free space are looked at while files are being written
)

// Options say where a stage lies and how it behaves.
type Options struct {
	Dir        string                    // made with 0700; used by one process at a time
	Target     string                    // what it is a stage of, for people and programs that find it later; kept in the header
	Quota      int64                     // the most bytes staged at once; 0 means as many as the disk holds
	Key        []byte                    // 32 bytes that all which lies in Dir is encrypted with, for good; nil: nothing is
	Reserve    int64                     // bytes of the disk to leave free; 0 means 5 %, at most 5 GiB; less than 0 means none
	Quiet      time.Duration             // 0 means 5 s
	Durability Durability                // the zero value is Local
	Gate       gate.Profile              // the zero value lets everything pass
	Rules      *gate.Rules               // what may leave this machine; nil: anything, but for what was written under rules before
	MakeRoom   func(n int64)             // asks whoever else uses the disk to give way; may be nil
	UploadJunk bool                      // store what desktops leave under names of theirs like any other file, rather than keep it here
	Listed     func(dir string) []string // the names in a directory of the target as far as they are known without asking; for Gate; may be nil
	Refused    func(name, why string)    // told of files that Rules hold back; called under locks, so it must not block or call back; may be nil
	Changed    func(backends.Change)     // told of names whose entry became another one; must not block; may be nil
	Now        func() time.Time          // nil means the system's clock
	Log        *slog.Logger              // nil discards

	hook   func(op) error // sees every call on the disk first; tests only
	spares int            // how many empty files are made at once; 0 means sparesMade
}

func (o *Options) setDefaults() {
	if o.Quiet == 0 {
		o.Quiet = defaultQuiet
	}
	if o.spares == 0 {
		o.spares = sparesMade
	}
	if o.MakeRoom == nil {
		o.MakeRoom = func(int64) {}
	}
	if o.Listed == nil {
		o.Listed = func(string) []string { return nil }
	}
	if o.Refused == nil {
		o.Refused = func(string, string) {}
	}
	if o.Changed == nil {
		o.Changed = func(backends.Change) {}
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Stage is open until Close. It is safe for concurrent use.
//
// Its locks, in the order in which they are taken: an item's sealing, then mu. Under mu there is no I/O but that of
// looking at an open file.
type Stage struct {
	o    Options
	disk *disk
	lock *lockFile
	log  *slog.Logger

	journal *journal
	room    *room
	spares  spares

	ctx    context.Context // of all that goes on by itself; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex // guards what follows, and the fields of items that say so
	closed   bool
	nextID   ID
	items    map[ID]*item
	names    names
	touches  map[string]*item // changes of metadata alone, by name
	undos    map[string]*item // uploads that may have landed under a name that was given up
	memory   memory
	queue    queue
	copies   map[ID]*item // made by Replace; who has been opened since is taken out by dropUnwanted
	used     int64        // bytes that all items take on the disk, as last seen
	stored   int          // since Open
	paused   string
	wake     chan struct{} // closed and replaced when something may be due
	watchers map[chan struct{}]bool
}

// Open makes a stage ready: it locks the directory, replays the journal, and finds what was never closed. Whatever it finds, it
// opens, unless the disk itself refuses, another process holds the stage (ErrLocked), or it is encrypted and Key is not its key (ErrNoKey, ErrKey). A
// stage that lies there in clear is encrypted whole if there is a Key.
func Open(o Options) (*Stage, error) {
	o.setDefaults()
	d := &disk{dir: o.Dir, hook: o.hook}
	if err := d.unlock(o.Key); err != nil { // before anything is touched
		return nil, fmt.Errorf("stage: %w", err)
	}
	if err := d.makeAll(); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	lock, err := takeLock(d.path(lockName))
	if err != nil {
		return nil, err
	}
	s := &Stage{
		o: o, disk: d, lock: lock, log: o.Log, items: map[ID]*item{}, names: newNames(!o.UploadJunk), touches: map[string]*item{}, undos: map[string]*item{},
		memory: newMemory(), wake: make(chan struct{}), copies: map[ID]*item{}, watchers: map[chan struct{}]bool{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // ends with Close; no caller's context lives as long
	s.room = newRoom(s)
	if err := s.load(); err != nil {
		s.cancel()
		return nil, errors.Join(fmt.Errorf("stage: %w", err), lock.release())
	}
	s.work.Go(s.journal.run)
	s.work.Go(s.watch)
	return s, nil
}

// Encrypted reports whether what lies there is encrypted, so that the kernel cannot use it by itself.
func (s *Stage) Encrypted() bool { return s.disk.keys != nil }

// Dir is where the stage lies on the local disk.
func (s *Stage) Dir() string { return s.o.Dir }

// Close ends the stage. What is sealed waits for the next Open; files that are open and were never sealed are listed as
// orphans then. Jobs must have ended.
func (s *Stage) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	s.sealClosed()
	s.mu.Lock()
	s.closed = true
	s.journal.add(record{Kind: kindClosed})
	s.signal()
	s.mu.Unlock()
	s.dropSpares()
	s.cancel()
	s.journal.stop()
	s.work.Wait()
	return errors.Join(s.journal.close(), s.lock.release())
}

// sealClosed seals what was closed without being sealed, as Relaxed allows.
func (s *Stage) sealClosed() {
	s.mu.Lock()
	var open []*item
	for _, it := range s.items {
		if it.state == Writing && it.writers == 0 && it.opened && it.hasFile() && !it.gone {
			open = append(open, it)
		}
	}
	s.mu.Unlock()
	for _, it := range open {
		f, err := s.openItem(it)
		if err == nil {
			err = errors.Join(s.seal(it, f), f.Close())
		}
		if err != nil {
			s.log.Warn("a file cannot be made safe at the end", "id", it.id, "err", cause(err))
		}
	}
}

// watch looks after sizes, free space and copies that nobody opened, once a second.
func (s *Stage) watch() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
		}
		s.room.look()
		s.dropUnwanted()
	}
}

// signal wakes whoever waits for work or for news. The caller holds mu.
func (s *Stage) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
	for w := range s.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// Subscribe returns a channel that gets a token after something has changed, and what ends that.
func (s *Stage) Subscribe() (changes <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[c] = true
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, c)
	}
}

// changed tells of names. The caller does not hold mu.
func (s *Stage) changed(names ...string) {
	for _, n := range names {
		dir, _ := backends.Split(n)
		s.o.Changed(backends.Change{Dir: dir, Names: []string{n}})
	}
}
