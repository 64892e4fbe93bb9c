package stage

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"studyfs/backends"
)

const (
	defaultParallel = 8
	firstBackoff    = 500 * time.Millisecond
	lastBackoff     = 5 * time.Minute
	longestHold     = 30 * time.Second // how long a place stays empty after an upload that the target did not take
	probeEvery      = 5 * time.Minute  // how often a target that refuses the keys is tried
	alarmAfter      = time.Hour        // without anything stored, while there is something to store
	lookEvery       = time.Minute      // for the alarm
)

// UploaderOptions say where the things of a stage go, and how fast. All but Stage and Dst may be left out.
type UploaderOptions struct {
	Stage     *Stage
	Dst       backends.Writer
	Class     string // storage class of new objects; "" is the target's default
	Parallel  int    // the most uploads at once; 0 means 8
	Bandwidth int64  // bytes a second, all uploads together; 0 means no cap
	// Unsafe allows a target that ignores the conditions of writes. What lies there is then looked at just before each.
	Unsafe bool
	// Listed is told of every object that was stored, before the stage forgets that it was not: then whoever is asked after a crash
	// knows it from here or from there.
	Listed func(e backends.Entry)
	// Stored is offered the local file with the bytes of e, which nobody writes to any more, and reports whether it took it.
	Stored func(e backends.Entry, local string) bool
	// StoredBytes is Stored of an encrypted stage: it is offered the bytes, for as long as it runs, and reports whether it has copied them.
	StoredBytes func(e backends.Entry, r io.ReaderAt) bool
	// Gone is told of an object that was removed because nobody wants it any more.
	Gone func(name string)
	Now  func() time.Time // nil means the system's clock
	Log  *slog.Logger     // nil discards
	Rand func() float64   // in [0,1), safe for concurrent use; nil means math/rand/v2
}

func (o *UploaderOptions) setDefaults() {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Listed == nil {
		o.Listed = func(backends.Entry) {}
	}
	if o.Stored == nil {
		o.Stored = func(backends.Entry, string) bool { return false }
	}
	if o.StoredBytes == nil {
		o.StoredBytes = func(backends.Entry, io.ReaderAt) bool { return false }
	}
	if o.Gone == nil {
		o.Gone = func(string) {}
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
}

// UploaderStats are counters, which only grow, and gauges.
type UploaderStats struct {
	Parallel  int   // how many uploads may run at once now
	Running   int   // how many do
	Bytes     int64 // of bodies that have gone out
	Stored    int64 // things that the target has now, skipped ones included
	Retries   int64 // tries that did not end well and will be repeated
	Throttled int64 // of these, those after which the target said that it is too much
	Trouble   error // what the last try said; nil if it ended well. It holds names
}

// Uploader brings what a stage holds to its target, for as long as Run runs. Nothing is ever given up: what the target does not take
// now is tried again. Its methods are safe for concurrent use.
type Uploader struct {
	o    UploaderOptions
	pace *pace
	tap  *tap

	mu       sync.Mutex // guards what follows; a leaf
	stats    UploaderStats
	tries    map[ID]int // that failed in a row, in this process
	unsince  time.Time  // since when something has been tried and nothing was stored
	noticed  bool       // people were told why nothing goes on
	alarmed  bool       // people were told that nothing was stored for long
	probing  bool       // somebody will resume after probeEvery
	progress bool       // a part has been stored since the last look
}

// NewUploader returns an Uploader that does nothing before Run.
func NewUploader(o UploaderOptions) *Uploader {
	o.setDefaults()
	u := &Uploader{o: o, pace: newPace(o.Parallel), tap: &tap{now: o.Now}, tries: map[ID]int{}}
	u.SetBandwidth(o.Bandwidth)
	return u
}

// SetBandwidth changes how many bytes a second go out, all uploads together; 0 means no cap. It holds from the next few KiB on.
func (u *Uploader) SetBandwidth(bytes int64) { u.tap.rate.Store(max(bytes, 0)) }

// KeysChanged goes on with uploads that pause because the target refused the keys. A pause of any other reason stays.
func (u *Uploader) KeysChanged() {
	if u.o.Stage.Totals().Paused == authText {
		u.o.Stage.Resume()
	}
}

// Run uploads until ctx ends or the stage is closed, and returns why when nothing is under way any more. It is called once.
func (u *Uploader) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() { u.look(ctx) })
	for {
		cuts, err := u.pace.enter(ctx)
		if err != nil {
			return err
		}
		j, err := u.o.Stage.Next(ctx)
		if err != nil {
			return err
		}
		work.Go(func() { u.run(ctx, j, cuts, &work) })
	}
}

// run does one job and gives its place back.
func (u *Uploader) run(ctx context.Context, j *Job, cuts uint64, work *sync.WaitGroup) {
	u.begun()
	defer u.ended()
	own, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(j.Context(), cancel)() //nolint:contextcheck // ends when somebody here wants the file back
	e, local, err := u.do(own, j)
	v := u.conclude(own, j, err, local)
	if v.how == endPaused { // before the job is back in the queue
		u.halt(ctx, v, work)
	}
	hold := u.end(ctx, j, e, v)
	if v.busy || v.down {
		wait(ctx, min(hold, longestHold)) //nolint:errcheck // its end is seen next
	}
	u.pace.leave(cuts, v)
}

// conclude says what becomes of a job.
func (u *Uploader) conclude(ctx context.Context, j *Job, err, local error) verdict {
	if err != nil && ctx.Err() != nil {
		return verdict{how: endReleased, err: err}
	}
	u.mu.Lock()
	tries := u.tries[j.ID]
	u.mu.Unlock()
	v := verdictOf(j, err, local, tries)
	if v.how != endConflict {
		return v
	}
	ours, asked := u.isOurs(ctx, j)
	switch {
	case asked != nil && ctx.Err() != nil:
		return verdict{how: endReleased, err: asked}
	case asked != nil:
		return verdictOf(j, asked, nil, tries)
	case ours:
		return verdict{how: endAgain, soon: true, err: err}
	}
	return v
}

// end ends a job, and returns when it is tried again if it is.
func (u *Uploader) end(ctx context.Context, j *Job, e backends.Entry, v verdict) (after time.Duration) {
	n := u.count(j, v)
	if v.how == endAgain && !v.soon {
		after = u.backoff(n)
	}
	if err := u.tell(j, e, v, after); err != nil {
		u.o.Log.WarnContext(ctx, "the journal does not take how an upload ended", "id", j.ID, "err", class(err))
	}
	if v.how != endStored && v.how != endReleased && !v.soon {
		u.o.Log.InfoContext(ctx, "an upload has not ended well", "id", j.ID, "try", n, "err", class(v.err))
	}
	return after
}

// tell tells the stage how a job ended.
func (u *Uploader) tell(j *Job, e backends.Entry, v verdict, after time.Duration) error {
	switch v.how {
	case endStored:
		if !j.Undo && e != j.Base {
			u.o.Listed(e)
		}
		return j.Stored(e, func(local string, e backends.Entry) bool {
			if local == "" {
				return u.o.StoredBytes(e, j.Body())
			}
			return u.o.Stored(e, local)
		})
	case endAgain, endPaused:
		return j.Again(after, errors.New(v.why))
	case endConflict:
		return j.Conflict(v.why)
	case endFailed:
		return j.Fail(v.why)
	case endMoot:
		return errors.Join(j.Again(lastBackoff, nil), u.o.Stage.Drop(j.ID))
	case endReleased:
	}
	return j.Release()
}

// count notes how a job ended, and returns how often it has failed in a row.
func (u *Uploader) count(j *Job, v verdict) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case v.how == endReleased:
		return u.tries[j.ID]
	case v.how == endStored:
		delete(u.tries, j.ID)
		u.stats.Stored++
		u.stats.Trouble, u.noticed, u.alarmed, u.unsince = nil, false, false, time.Time{}
		return 0
	case v.how == endConflict, v.how == endMoot:
		delete(u.tries, j.ID)
		return 1
	case v.soon:
		return 0
	}
	u.stats.Trouble = v.err
	u.stats.Retries++
	if v.busy {
		u.stats.Throttled++
	}
	if v.how == endPaused {
		return 0
	}
	u.tries[j.ID]++
	return u.tries[j.ID]
}

// backoff is how long to wait after so many failures in a row: any time up to a bound that doubles.
func (u *Uploader) backoff(failures int) time.Duration {
	bound := lastBackoff
	if doublings := failures - 1; doublings < 10 {
		bound = min(bound, firstBackoff<<doublings)
	}
	return time.Duration(u.o.Rand() * float64(bound))
}

// halt stops all uploads, since no other would end otherwise. Where the keys are refused, one is tried now and then: new keys may have been
// given meanwhile.
func (u *Uploader) halt(ctx context.Context, v verdict, work *sync.WaitGroup) {
	u.o.Stage.Pause(v.why)
	u.mu.Lock()
	told := u.noticed
	u.noticed = true
	probe := v.why == authText && !u.probing
	u.probing = u.probing || probe
	u.mu.Unlock()
	if !told {
		u.o.Log.ErrorContext(ctx, "uploads pause", "why", v.why)
	}
	if !probe {
		return
	}
	work.Go(func() {
		err := wait(ctx, probeEvery)
		u.mu.Lock()
		u.probing = false
		u.mu.Unlock()
		if err == nil && u.o.Stage.Totals().Paused == authText { // people may have paused for their own reasons
			u.o.Stage.Resume()
		}
	})
}

// begun notes that something is tried.
func (u *Uploader) begun() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stats.Running++
	if u.unsince.IsZero() {
		u.unsince = u.o.Now()
	}
}

func (u *Uploader) ended() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stats.Running--
}

// look tells people when nothing was stored for long, until ctx ends.
func (u *Uploader) look(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if u.overdue() {
			n := u.o.Stage.Totals()
			if n.Staged+n.Uploading+n.Failed > 0 {
				u.o.Log.WarnContext(ctx, "nothing has been stored for an hour", "waiting", n.Staged+n.Uploading+n.Failed, "bytes", n.BytesLeft)
			}
		}
	}
}

// overdue reports, once, that nothing has been stored for long.
func (u *Uploader) overdue() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.progress && !u.unsince.IsZero() {
		u.progress, u.unsince = false, u.o.Now()
	}
	if u.alarmed || u.unsince.IsZero() || u.o.Now().Sub(u.unsince) < alarmAfter {
		return false
	}
	u.alarmed = true
	return true
}

// Stats tells how it goes.
func (u *Uploader) Stats() UploaderStats {
	limit := u.pace.parallel()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stats
	s.Parallel = limit
	return s
}
