package stage

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

const (
	preallocate  = 256 << 10 // how much room the journal is given ahead
	compactAbove = 8 << 20   // bytes after which it is looked at whether most of them are outdated
	ballastSize  = 4 << 20   // given back to the disk when it is full, for sidecars and the journal
)

// journal appends records. Whoever waits for the kernel to have one writes all that has been added until then; one goroutine syncs for
// those who wait for the disk: many closers share one sync, and nobody else waits for it. The directory of the staged files is synced
// with it, so that a record is never durable without the names that it rests on.
type journal struct {
	disk     *disk
	log      *slog.Logger
	snapshot func() ([]byte, uint64) // all that is worth keeping, as records, and the newest sequence in it

	wake chan struct{}
	quit chan struct{}

	mu      sync.Mutex // guards what follows; a leaf
	done    *sync.Cond // something was written or synced
	seq     uint64     // of the newest record
	queue   []byte     // what is not written yet
	written uint64     // up to here the kernel has it
	synced  uint64     // up to here the disk has it
	want    uint64     // up to here somebody waits for the disk
	torn    error      // the last write failed: only the goroutine writes now, a new file
	broken  error      // nothing is written any more
	ended   bool

	writing   sync.Mutex // guards what follows; taken before the Stage's mu and before mu
	file      *os.File   // replaced by the goroutine alone
	size      int64
	allocated int64
	live      int64 // bytes after the last compaction
}

func newJournal(d *disk, log *slog.Logger) *journal {
	j := &journal{disk: d, log: log, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	j.done = sync.NewCond(&j.mu)
	return j
}

// add queues a record and returns its sequence. The caller holds the Stage's mu, so that the order of records is that of what happened.
func (j *journal) add(r record) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, err := j.disk.keys.encode(r, j.queue, j.seq+1, j.synced)
	if err != nil {
		j.spoil(err)
		return j.seq
	}
	j.seq++
	j.queue = b
	j.kick()
	return j.seq
}

func (j *journal) kick() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// wait returns when the record of that sequence has reached the kernel, or with durable, the disk. The caller does not hold the Stage's mu.
func (j *journal) wait(seq uint64, durable bool) error {
	if !durable {
		j.write() //nolint:errcheck // the goroutine sees to it, and tells below
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if durable && seq > j.want {
		j.want = seq
		j.kick()
	}
	for {
		switch {
		case durable && j.synced >= seq, !durable && j.written >= seq:
			return nil
		case j.broken != nil:
			return j.broken
		case j.ended:
			return errClosed
		}
		j.done.Wait()
	}
}

// run writes until stop.
func (j *journal) run() {
	for {
		select {
		case <-j.wake:
			j.turn()
		case <-j.quit:
			j.turn()
			return
		}
	}
}

// write hands to the kernel what is queued, and returns up to which record it has all.
func (j *journal) write() (upTo uint64, err error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	if err := errors.Join(j.broken, j.torn); err != nil {
		j.mu.Unlock()
		return 0, err
	}
	batch, upTo := j.queue, j.seq
	j.queue = nil
	j.mu.Unlock()
	if err := j.append(batch); err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.torn = err
		j.kick()
		return 0, err
	}
	j.reached(upTo, 0)
	return upTo, nil
}

// turn writes what is queued and syncs what is waited for.
func (j *journal) turn() {
	j.mu.Lock()
	durable := j.want > j.synced
	broken := j.broken
	j.mu.Unlock()
	if broken != nil {
		return
	}
	upTo, err := j.write()
	if err == nil && !durable {
		return
	}
	if err == nil {
		err = errors.Join(j.disk.syncMade(), j.disk.sync(journalName, j.file))
	}
	if err != nil { // what the old file holds is in doubt: all of it is written anew
		j.log.Warn("the journal of the stage cannot be written; beginning a new one", "err", cause(err))
		upTo, err = j.rotate()
	}
	if err != nil {
		j.fail(fmt.Errorf("%w: journal: %w", ErrDamaged, err))
		return
	}
	j.reached(upTo, upTo)
	if j.outdated() {
		if _, err := j.rotate(); err != nil {
			j.log.Warn("the journal of the stage cannot be made smaller", "err", cause(err))
		}
	}
}

// outdated reports whether most of the journal tells of what is over.
func (j *journal) outdated() bool {
	j.writing.Lock()
	defer j.writing.Unlock()
	return j.size > compactAbove && j.size > 4*j.live
}

// append writes at the end. The caller holds writing.
func (j *journal) append(batch []byte) error {
	if len(batch) == 0 {
		return nil
	}
	short := j.size+int64(len(batch)) > j.allocated
	_, err := j.disk.writeAt(journalName, j.file, batch, j.size)
	if errors.Is(err, ErrNoRoom) || err != nil && j.disk.remove(ballastName) == nil {
		_, err = j.disk.writeAt(journalName, j.file, batch, j.size)
	}
	if err != nil {
		return err
	}
	j.size += int64(len(batch))
	if short {
		j.fillAhead()
	}
	return nil
}

// fillAhead gives the journal room behind its end: zeros. What is written over them then is durable as soon as the disk has it, without
// another commit of the local file system; and a full disk does not keep states from changing. The caller holds writing.
func (j *journal) fillAhead() {
	if _, err := j.disk.writeAt(journalName, j.file, make([]byte, preallocate), j.size); err == nil { // only ahead of need: else the next write tells
		j.allocated = j.size + preallocate
	}
}

// rotate writes all that is worth keeping into a new file and puts it in the place of the old one.
func (j *journal) rotate() (upTo uint64, err error) {
	j.writing.Lock()
	defer j.writing.Unlock()
	if err := j.disk.remove(ballastName); err != nil {
		return 0, err
	}
	b, upTo := j.snapshot()
	if err := j.disk.syncDir(filesDir); err != nil { // before it has its name: what was removed is not in it, and must not come back
		return 0, err
	}
	if err := j.disk.replace(journalName, b); err != nil {
		return 0, err
	}
	if err := j.disk.syncDir(""); err != nil {
		return 0, err
	}
	f, err := j.disk.open(journalName, false)
	if err != nil {
		return 0, err
	}
	if j.file != nil {
		j.file.Close() //nolint:errcheck // replaced
	}
	j.file, j.size, j.allocated, j.live = f, int64(len(b)), int64(len(b)), int64(len(b))
	j.layBallast()
	j.mu.Lock()
	j.torn = nil
	j.mu.Unlock()
	j.reached(upTo, upTo)
	return upTo, nil
}

// layBallast takes some room of the disk, to give back when it is full.
func (j *journal) layBallast() {
	f, err := j.disk.open(ballastName, true)
	if err != nil {
		return
	}
	if err := errors.Join(j.disk.allocate(ballastName, f, 0, 0, ballastSize), f.Close()); err != nil {
		j.disk.remove(ballastName) //nolint:errcheck // it is only ahead of need
	}
}

// take empties the queue: what is in it is part of a snapshot. The caller holds the Stage's mu.
func (j *journal) take() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.queue = nil
	return j.seq
}

func (j *journal) reached(written, synced uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.written, j.synced = max(j.written, written), max(j.synced, synced)
	j.done.Broadcast()
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spoil(err)
}

// spoil ends all writing. The caller holds mu.
func (j *journal) spoil(err error) {
	if j.broken == nil {
		j.broken = err
		j.log.Error("the journal of the stage is broken; nothing more is taken in", "err", cause(err))
	}
	j.done.Broadcast()
}

// failure is why nothing is written any more, nil as long as all is well.
func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken
}

// stop ends run after it has written what is queued.
func (j *journal) stop() {
	j.mu.Lock()
	j.want = j.seq
	j.mu.Unlock()
	close(j.quit)
}

// close is called after run has ended.
func (j *journal) close() error {
	j.mu.Lock()
	j.ended = true
	j.done.Broadcast()
	j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	if err := j.file.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// cause is what may be logged of an error of the disk: paths in it are our own, but long.
func cause(err error) string {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Op + ": " + pathErr.Err.Error()
	}
	return err.Error()
}

// advance notes that records up to seq were written by a snapshot. The caller holds the Stage's mu.
func (j *journal) advance(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq = seq
}

// newest is the sequence of the newest record.
func (j *journal) newest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}
