// Package audit keeps the record of who did what to which file: lines of JSON that are only ever added to, in a directory that all
// processes of one install share.
//
// Each line has a number and the SHA-256 of the line before it, so that nobody can alter, remove or add a line in the middle without
// [Verify] telling where. Whoever can write to the directory can rewrite all from some line on: keep the newest hash elsewhere
// now and then, and give it to Verify.
//
// A file's name stands in a line twice: as a pseudonym, an HMAC that is the same for the same file in every line, and encrypted
// (AES-256-GCM). The key of both lies beside the log, 0600: the log alone, given to somebody, tells no names, and removing the key removes
// every name for good. [Reader] shows names to whoever has both.
//
// Lines go to audit.jsonl. When that is large, or a day has begun, it is renamed to audit-DAY-FIRST.jsonl, where FIRST is the number
// of its first line, and the chain goes on in a new one. Files beyond the time of keeping are removed, which the log says itself.
package audit

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The operations that studyfs notes. The log's own are "torn" (a line that a crash cut off is left as it is before this one), "lost" (Bytes
// events could not be noted) and "retired" (lines up to UpTo were removed, their time is over).
const (
	OpRead    = "open-read"
	OpUpload  = "upload"
	OpDelete  = "delete"
	OpRefuse  = "refuse"
	OpRestore = "restore"
	OpKeys    = "key-change"
	OpExport  = "export"
	OpWipe    = "cache-wipe"
	OpMount   = "mount"
	OpUmount  = "umount"

	opTorn    = "torn"
	opLost    = "lost"
	opRetired = "retired"
)

// ErrUnwritten says that an event is not in the log.
var ErrUnwritten = errors.New("the audit log cannot be written")

// Event is something to be noted. Fields that do not apply are left empty.
type Event struct {
	Op     string
	Source string // its name, not that of a file
	Mount  string // the directory
	Name   string // the file's, relative to the source; it is never written in clear
	UID    uint32
	PID    int
	Exe    string
	Bytes  int64
	Detail string // in words; no names
}

// Record is a line.
type Record struct {
	Seq    uint64    `json:"seq"`
	Time   time.Time `json:"time"`
	Prev   string    `json:"prev"` // SHA-256 of the line before, in hex; of the first, zeros
	Op     string    `json:"op"`
	UID    uint32    `json:"uid"`
	PID    int       `json:"pid"`
	Exe    string    `json:"exe,omitempty"`
	Source string    `json:"source,omitempty"`
	Mount  string    `json:"mount,omitempty"`
	Object string    `json:"object,omitempty"` // pseudonym of the name
	Sealed []byte    `json:"sealed,omitempty"` // the name, encrypted
	Bytes  int64     `json:"bytes,omitempty"`
	UpTo   uint64    `json:"upto,omitempty"`
	Detail string    `json:"detail,omitempty"`
}

// Options say where the log is and how long it is kept.
type Options struct {
	Dir      string        // made if it is missing, 0700
	MaxBytes int64         // of one file; 0 means 64 MiB
	Keep     time.Duration // how long lines are kept; 0 means 400 days
	Queue    int           // events that wait to be written at most; 0 means 4,096
	Now      func() time.Time
}

// Defaults.
const (
	defaultMaxBytes = 64 << 20
	defaultKeep     = 400 * 24 * time.Hour
	defaultQueue    = 4096
	batchMost       = 256
	syncEvery       = time.Second
)

// Log takes events from one process; others may have the same directory open. It is safe for concurrent use.
type Log struct {
	o     Options
	keys  keys
	queue chan pending
	done  chan struct{} // closed when the writer has ended
	file  appender

	lost    atomic.Int64 // since the last line that said so
	gone    atomic.Int64 // all
	written atomic.Int64

	mu     sync.RWMutex // guards closed, and the queue's closing
	closed bool
	errMu  sync.Mutex // guards err
	err    error
}

// pending is an event on its way, and who waits for it: nil for nobody.
type pending struct {
	at   time.Time
	e    Event
	tell chan<- error
}

// Open makes ready to write. It fails where nothing could be written.
func Open(o Options) (*Log, error) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Keep <= 0 {
		o.Keep = defaultKeep
	}
	if o.Queue <= 0 {
		o.Queue = defaultQueue
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{o: o, queue: make(chan pending, o.Queue), done: make(chan struct{})}
	l.file = appender{o: o}
	err := l.file.locked(func() (err error) {
		if l.keys, err = loadKeys(o.Dir, true); err != nil {
			return err
		}
		_, err = l.file.ready()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	go l.run()
	return l, nil
}

// Note has an event written soon. It never waits: where too many wait already, the event is lost, and a later line counts it.
func (l *Log) Note(e Event) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.closed {
		select {
		case l.queue <- pending{at: l.o.Now(), e: e}:
			return
		default:
		}
	}
	l.lose(1)
}

// Write returns when an event is in the log (in the kernel's hands: a loss of power may take the last second), or ErrUnwritten.
func (l *Log) Write(e Event) error {
	told := make(chan error, 1)
	l.mu.RLock()
	if l.closed {
		l.mu.RUnlock()
		return ErrUnwritten
	}
	l.queue <- pending{at: l.o.Now(), e: e, tell: told}
	l.mu.RUnlock()
	if err := <-told; err != nil {
		return fmt.Errorf("%w: %w", ErrUnwritten, err)
	}
	return nil
}

// Stats are what became of events.
type Stats struct {
	Written int64
	Lost    int64 // of Note
	Err     error // why the last ones could not be written; nil if they were
}

// Stats returns counters, which only grow.
func (l *Log) Stats() Stats {
	l.errMu.Lock()
	defer l.errMu.Unlock()
	return Stats{Written: l.written.Load(), Lost: l.gone.Load(), Err: l.err}
}

// Close writes what waits and returns when it is on the disk. Further events are lost.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	if first {
		close(l.queue)
	}
	l.mu.Unlock()
	<-l.done
	return l.Stats().Err
}

func (l *Log) lose(n int64) {
	l.lost.Add(n)
	l.gone.Add(n)
}

// run is the writer. It ends with Close.
func (l *Log) run() {
	defer close(l.done)
	var synced time.Time
	for first := range l.queue {
		batch := l.gather(first)
		err := l.append(batch)
		if now := l.o.Now(); err == nil && (now.Sub(synced) >= syncEvery || now.Before(synced)) {
			err, synced = l.file.sync(), now
		}
		l.errMu.Lock()
		l.err = err
		l.errMu.Unlock()
	}
	if err := l.file.close(); err != nil {
		l.errMu.Lock()
		l.err = errors.Join(l.err, err)
		l.errMu.Unlock()
	}
}

// gather takes what else waits.
func (l *Log) gather(first pending) []pending {
	batch := []pending{first}
	for len(batch) < batchMost {
		select {
		case p, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

// append writes a batch, and tells those who wait what became of theirs.
func (l *Log) append(batch []pending) error {
	var whole int
	lost := l.lost.Swap(0)
	said := lost == 0
	err := l.file.locked(func() error {
		t, err := l.file.ready()
		if err != nil {
			return err
		}
		records := t.notes // what became of the log itself
		if !said {
			records = append(records, Record{Op: opLost, Bytes: lost, Time: l.o.Now()})
		}
		before := len(records)
		for _, p := range batch {
			records = append(records, l.keys.record(p))
		}
		n, err := l.file.add(t, records)
		whole, said = max(0, n-before), said || n >= before
		return err
	})
	l.written.Add(int64(whole))
	if !said {
		l.lost.Add(lost)
	}
	for i, p := range batch {
		var why error
		if i >= whole {
			why = err
		}
		switch {
		case p.tell != nil:
			p.tell <- why
		case why != nil:
			l.lose(1)
		}
	}
	return err
}
