package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cmd/studyfs/audit"
)

// restoreWalk is one way through a folder of one source.
type restoreWalk struct {
	j   *restoreJob
	s   *liveSource
	r   backends.Restorer
	now *found

	places  chan struct{} // one for each request about a single object
	working sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // what ends the walk, the first
}

// errHopeless ends a walk on which everything is refused.
var errHopeless = errors.New("everything is refused")

// run goes through all at and below name.
func (w *restoreWalk) run(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.places = make(chan struct{}, restoresAtOnce)
	err := w.start(ctx, name)
	w.working.Wait()
	if ended := w.ended(); ended != nil && !errors.Is(ended, errHopeless) {
		return ended
	}
	if errors.Is(err, errHopeless) {
		return nil // the report says why
	}
	return err
}

func (w *restoreWalk) start(ctx context.Context, name string) error {
	if name != "" {
		e, err := w.s.remote.Stat(ctx, name)
		if err != nil || !e.Dir {
			return errors.Join(err, w.take(ctx, e, err == nil))
		}
	}
	if pager, ok := w.s.remote.(backends.Pager); ok {
		return w.pages(ctx, pager, name)
	}
	return w.folders(ctx, name)
}

// pages walks a source that lists a whole subtree in pages: a request for a thousand files.
func (w *restoreWalk) pages(ctx context.Context, pager backends.Pager, name string) error {
	return cache.Walk(ctx, pager, name, func(entries []backends.Entry) error {
		w.noted(entries...)
		for _, e := range entries {
			if err := w.take(ctx, e, true); err != nil {
				return err
			}
		}
		return nil
	})
}

// folders walks a source that lists one folder at a time.
func (w *restoreWalk) folders(ctx context.Context, dir string) error {
	for todo := []string{dir}; len(todo) > 0; {
		dir, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for e, err := range w.s.remote.List(ctx, dir) {
			if err != nil {
				return err
			}
			if e.Dir {
				todo = append(todo, e.Name)
				continue
			}
			w.noted(e)
			if err := w.take(ctx, e, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// noted has the mount show at once what has just been seen.
func (w *restoreWalk) noted(entries ...backends.Entry) {
	if w.s.store != nil {
		w.s.store.Noted(entries)
	}
}

func (w *restoreWalk) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *restoreWalk) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// take counts a file, and asks for it where that is the job. What takes a request of its own is done beside the walk, within bounds.
func (w *restoreWalk) take(ctx context.Context, e backends.Entry, known bool) error {
	if err := errors.Join(w.ended(), ctx.Err()); err != nil || !known || e.Dir {
		return err
	}
	look := w.hides(e)
	if !look && (w.j.q.Do != restoreAsk || e.Tier != backends.Archived) {
		w.j.count(w.now, e, 1)
		return nil
	}
	select {
	case w.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.working.Go(func() {
		defer func() { <-w.places }()
		if look {
			e = w.look(ctx, e)
		}
		if w.j.q.Do == restoreAsk && e.Tier == backends.Archived {
			e = w.ask(ctx, e)
		}
		w.j.count(w.now, e, 1)
	})
	return nil
}

// hides reports whether no listing tells that an object is archived.
func (w *restoreWalk) hides(e backends.Entry) bool {
	return e.Class == "INTELLIGENT_TIERING" && e.Tier == backends.Online && !w.j.settledGuess(w.keyOf(e))
}

func (w *restoreWalk) keyOf(e backends.Entry) string { return w.s.spec.id() + "/" + e.Name }

// look asks for one object. What cannot be asked for counts as the listing has it.
func (w *restoreWalk) look(ctx context.Context, e backends.Entry) backends.Entry {
	examiner, ok := w.s.remote.(backends.Examiner)
	if !ok {
		return e
	}
	st, err := examiner.Examine(ctx, e.Name)
	if err != nil {
		w.consider(err)
		return e
	}
	e.Tier = st.Entry.Tier
	w.j.guess(w.keyOf(e), e.Tier != backends.Online)
	w.noted(e)
	return e
}

// ask asks for one object and returns it as it is then.
func (w *restoreWalk) ask(ctx context.Context, e backends.Entry) backends.Entry {
	now, err := w.r.Restore(ctx, e, w.j.q.Days, w.j.q.Tier)
	if err != nil && ctx.Err() != nil {
		return e
	}
	w.consider(err)
	if w.j.settled(e, err) {
		w.end(errHopeless)
	}
	if err == nil {
		w.j.m.audit.did(w.s.spec, audit.Event{Op: audit.OpRestore, Name: e.Name, Bytes: max(e.Size, 0), Detail: fmt.Sprintf("%s, %d days", w.j.q.Tier, w.j.q.Days)})
		e.Tier = now
		w.noted(e)
	}
	return e
}

// consider ends the walk with an error that the next object would meet, too.
func (w *restoreWalk) consider(err error) {
	if errors.Is(err, backends.ErrAuth) || errors.Is(err, backends.ErrBusy) || isUnreachable(err) {
		w.end(err)
	}
}
