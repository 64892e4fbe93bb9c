package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cache/stage"
	"studyfs/cache/stage/gate"
	"studyfs/cmd/studyfs/audit"
)

const (
	// lockPatience is how long somebody else may hold a stage that is wanted: "uploads ls" holds it for a moment.
	lockPatience = 3 * time.Second
	lockPause    = 50 * time.Millisecond
	// stopPatience bounds how long uploads may take to stop, within the 10 s that an unmount may take.
	stopPatience = 5 * time.Second
)

// writing is the side of a source that takes files: the stage that keeps them safe, and the uploads.
type writing struct {
	spec   sourceSpec
	judged bool // the stage has rules
	stage  *stage.Stage
	places places
	log    *slog.Logger

	ctx      context.Context // of the uploads and of whoever waits for them
	cancel   context.CancelFunc
	running  sync.WaitGroup
	uploader *stage.Uploader // nil until begin
	audit    *auditor        // set before begin; nil notes nothing

	mu    sync.Mutex         // guards what follows, and the file that known is kept in
	known backends.Abilities // what this run has learnt
	left  *heldByStage       // what is not stored; nil until end
}

func (p places) stageOf(sourceID string) string { return filepath.Join(p.stateOf(sourceID), "stage") }

// heldByStage is what is not stored.
type heldByStage struct {
	stage.Totals

	moving int64 // bytes of what goes on by itself
}

// openWriting opens the stage of a source. changed and makeRoom are of the mount that it belongs to; both may be nil.
func openWriting(ctx context.Context, p places, spec sourceSpec, log *slog.Logger, o stage.Options) (*writing, error) {
	w := spec.Write
	o.Dir, o.Target, o.Log, o.Now = p.stageOf(spec.id()), spec.target(), log, time.Now
	o.Key = spec.StageKey
	o.Quota, o.Quiet, o.Durability, o.Gate = w.Quota, w.Quiet, w.Durability.level(), w.BIDS.profile()
	o.UploadJunk = w.Junk == "upload"
	if spec.Gate.on() && w.BIDS == "" { // it has rules for names of its own
		o.Gate = gate.Off
	}
	st, err := openStage(ctx, o)
	switch {
	case errors.Is(err, stage.ErrLocked):
		return nil, stageLocked(spec, o.Dir)
	case wrongStageKey(o.Dir, err) != nil:
		return nil, wrongStageKey(o.Dir, err)
	case err != nil:
		return nil, &failure{
			What: "cannot open the files that wait for upload in " + o.Dir, Why: lastCause(err),
			Do: "nothing was removed; free or repair the disk, or choose another place with --state-dir", Code: exitIO,
		}
	}
	one := &writing{spec: spec, stage: st, places: p, log: log, judged: o.Rules != nil}
	one.ctx, one.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return one, nil
}

// openStage is patient with whoever only looks at a stage.
func openStage(ctx context.Context, o stage.Options) (*stage.Stage, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		st, err := stage.Open(o) //nolint:contextcheck // half encrypted it would have to be begun again
		if !errors.Is(err, stage.ErrLocked) {
			return st, err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// stageLocked says who has the stage.
func stageLocked(spec sourceSpec, dir string) *failure {
	who := "another process"
	if pid, name := lockHolder(dir); pid != 0 {
		who = fmt.Sprintf("process %d (%s)", pid, name)
	}
	return &failure{
		What: spec.describe(), Why: who + " is writing to it from this machine already",
		Do:   "studyfs status lists the mounts: use that one, or unmount it first;\nor mount this one with --read-only",
		Code: exitTryAgain,
	}
}

// begin starts the uploads. What they store becomes part of cached, which may be nil.
func (w *writing) begin(dst remote, cached *cache.Store) error {
	to, ok := dst.(backends.Writer)
	if !ok {
		return usagef("%s: nothing can be written to it", w.spec.describe())
	}
	if w.spec.Gate.on() && !w.judged {
		return fmt.Errorf("%s: files are to be judged, and there are no rules to do it by", w.spec.describe()) // a mistake of ours
	}
	known := w.places.recall(w.spec.id()).abilities()
	if known.Conditions == backends.Unable && !w.spec.Write.Unsafe {
		return unsafeService(w.spec)
	}
	o := stage.UploaderOptions{
		Stage: w.stage, Dst: to, Class: w.spec.Write.Class, Parallel: w.spec.Write.Parallel, Bandwidth: w.spec.Write.Bandwidth, Unsafe: w.spec.Write.Unsafe,
		Listed: func(e backends.Entry) { w.stored(to, e, cached) }, Gone: func(name string) { w.removed(name, cached) },
		Now: time.Now, Log: w.log,
	}
	if cached != nil {
		o.Stored, o.StoredBytes = cached.Adopt, cached.AdoptBytes
	}
	if f, ok := dst.(flusher); ok {
		w.running.Go(func() { f.Run(w.ctx) })
	}
	w.uploader = stage.NewUploader(o)
	w.running.Go(func() {
		if err := w.uploader.Run(w.ctx); err != nil && w.ctx.Err() == nil {
			w.log.Error("uploads have ended", "source", w.spec.id(), "err", err)
		}
		w.learn(to)
	})
	return nil
}

// stored is told of every object that was uploaded.
func (w *writing) stored(to backends.Writer, e backends.Entry, cached *cache.Store) {
	w.learn(to)
	w.audit.did(w.spec, audit.Event{Op: audit.OpUpload, Name: e.Name, Bytes: max(e.Size, 0)})
	if cached != nil {
		cached.Put(e)
	}
}

// removed is told of every object that the uploads removed, since nobody wants it under that name any more.
func (w *writing) removed(name string, cached *cache.Store) {
	w.audit.did(w.spec, audit.Event{Op: audit.OpDelete, Name: name})
	if cached != nil {
		cached.Gone(name)
	}
}

// unsafeService refuses a service that is known to lose files of others.
func unsafeService(spec sourceSpec) *failure {
	return &failure{
		What: spec.describe(), Why: "this service ignores the conditions of writes: two people who write the same file would overwrite each other unseen",
		Do: "mount it with --read-only, or agree to the risk with --unsafe-overwrite", Code: exitError,
	}
}

// learn remembers what the service has shown of its abilities.
func (w *writing) learn(dst backends.Writer) {
	p, ok := dst.(backends.Prober)
	if !ok {
		return
	}
	now := p.Abilities()
	w.mu.Lock()
	defer w.mu.Unlock()
	if now == w.known {
		return
	}
	w.known = now
	if err := w.places.remember(w.spec, func(k *known) { k.learn(now) }); err != nil {
		w.log.Warn("cannot remember what a service can do", "err", err)
	}
}

// end stops the uploads and closes the stage. Further calls do nothing.
func (w *writing) end() error {
	w.mu.Lock()
	first := w.left == nil
	if first {
		left := w.now() // for whoever asks until we know better
		w.left = &left
	}
	w.mu.Unlock()
	if !first {
		return nil
	}
	w.cancel()
	stopped := make(chan struct{})
	go func() { // ends with the uploads: at the latest with this process
		w.running.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopPatience):
		return errors.New("uploads do not stop: they end with this process")
	}
	left := w.now()
	w.mu.Lock()
	w.left = &left
	w.mu.Unlock()
	return w.stage.Close()
}

// now is what the stage holds.
func (w *writing) now() heldByStage {
	h := heldByStage{Totals: w.stage.Totals()}
	for _, i := range w.stage.Items() {
		if i.State == stage.Staged || i.State == stage.Uploading {
			h.moving += max(i.Size-i.Sent, 0)
		}
	}
	return h
}

// held is what the stage holds now, or held at the end.
func (w *writing) held() heldByStage {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left != nil {
		return *w.left
	}
	return w.now()
}

// trouble is what keeps uploads from going on, nil if nothing does.
func (w *writing) trouble() error {
	if w.uploader == nil {
		return nil
	}
	return w.uploader.Stats().Trouble
}

// ended tells that nobody may use the stage any more.
func (w *writing) ended() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left != nil
}
