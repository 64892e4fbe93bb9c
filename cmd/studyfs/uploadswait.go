package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	waitPatience = time.Second            // for one answer of somebody who waits
	redrawEvery  = 200 * time.Millisecond // of what is shown meanwhile
)

// waiting is one stage that somebody waits for.
type waiting struct {
	what string
	ask  func(context.Context, uploadsRequest) (stageReport, error)

	mu     sync.Mutex // guards what follows
	report stageReport
	err    error
	done   bool
}

// run returns when all at or below name is stored or cannot go on by itself, when the uploads are paused, or with ctx.
func (w *waiting) run(ctx context.Context, name string) {
	for ctx.Err() == nil {
		r, err := w.ask(ctx, uploadsRequest{Do: doWait, Name: name, Patience: waitPatience, Limit: -1})
		if err != nil && ctx.Err() != nil { // nobody waits any more: what was known before holds
			return
		}
		w.mu.Lock()
		if w.err = err; err == nil {
			w.report, w.done = r, r.Done
		}
		stop := err != nil || r.Done || r.Uploads.Paused != ""
		w.mu.Unlock()
		if stop {
			return
		}
	}
}

func (w *waiting) state() (report stageReport, done bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.report, w.done, w.err
}

// waitAll waits for several stages at once and shows on a terminal how far they are. The end of ctx ends the waiting,
// which is no error.
func (a *app) waitAll(ctx context.Context, all []*waiting, name string) {
	var running sync.WaitGroup
	for _, w := range all {
		running.Go(func() { w.run(ctx, name) })
	}
	ended := make(chan struct{})
	go func() { // ends with those above
		running.Wait()
		close(ended)
	}()
	p := newProgressLine(a.err)
	defer p.clear()
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case now := <-tick.C:
			files, left := 0, int64(0)
			for _, w := range all {
				r, _, _ := w.state()
				files, left = files+r.Uploads.moving(), left+r.Uploads.BytesLeft
			}
			p.show(now, files, left)
		}
	}
}

// within bounds ctx if there is a bound; 0 is none.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// waitUploads is "uploads wait".
func (a *app) waitUploads(args []string, timeout time.Duration) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	var refs []stageRef
	name := ""
	if len(args) == 1 {
		var one stageRef
		if one, name, err = servedPath(ctx, p, args[0]); err != nil {
			return err
		}
		refs = append(refs, one)
	} else if refs, err = a.findStages(ctx, l, uploadsRequest{Limit: -1}); err != nil {
		return err
	}
	var all []*waiting
	unserved := 0
	for _, r := range refs {
		if r.socket == "" {
			unserved += r.report.Uploads.moving()
			continue
		}
		all = append(all, r.waiting(a, l))
	}
	limited, cancel := within(ctx, timeout)
	defer cancel()
	a.waitAll(limited, all, name)
	if ctx.Err() != nil {
		return statusError(exitInterrupted)
	}
	return waitVerdict(ctx, all, name, unserved)
}

func (r stageRef) waiting(a *app, l *loaded) *waiting {
	return &waiting{what: r.where(), report: r.report, ask: func(ctx context.Context, q uploadsRequest) (stageReport, error) { return r.ask(ctx, a, l, q) }}
}

// servedPath finds the stage that a path in a mount belongs to, and its name there.
func servedPath(ctx context.Context, p places, path string) (stageRef, string, error) {
	dir, err := absolute(path)
	if err != nil {
		return stageRef{}, "", err
	}
	for _, r := range servedStages(ctx, p, uploadsRequest{Limit: -1}) {
		if dir == r.dir {
			return r, "", nil
		}
		if name := r.nameOf(dir); name != dir {
			return r, name, nil
		}
	}
	return stageRef{}, "", &failure{
		What: path, Why: "not in a mount that anything can be written to", Do: "studyfs uploads ls shows what waits; studyfs status lists the mounts", Code: exitError,
	}
}

// waitVerdict tells whether all is stored that was waited for.
func waitVerdict(ctx context.Context, all []*waiting, name string, unserved int) error {
	for _, w := range all {
		r, done, err := w.state()
		f := &failure{What: w.what, Code: exitTryAgain}
		switch {
		case err != nil:
			return err
		case r.Uploads.Paused != "":
			f.Why = "uploads are paused: " + r.Uploads.Paused
		case !done:
			f.Why, f.Do = "not all is stored yet: "+r.Uploads.summary(), "it goes on in the mount: studyfs uploads watch"
			if r.Error != "" {
				f.Do = r.Error + "; " + f.Do
			}
		default:
			n, err := w.stalledBelow(ctx, name)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			f.Why, f.Do = fmt.Sprintf("%s %s for a decision of yours", countFiles(n), pick(n, "waits", "wait")), "studyfs uploads ls"
		}
		return f
	}
	if unserved > 0 {
		return &failure{
			What: countFiles(unserved), Why: "left by earlier mounts, and nobody uploads " + pick(unserved, "it", "them") + " now",
			Do: "studyfs uploads run", Code: exitTryAgain,
		}
	}
	return nil
}

// stalledBelow counts what waits for somebody at or below a name.
func (w *waiting) stalledBelow(ctx context.Context, name string) (int, error) {
	r, _, _ := w.state()
	if name == "" || r.Uploads.stalled() == 0 {
		return r.Uploads.stalled(), nil
	}
	r, err := w.ask(ctx, uploadsRequest{})
	n := 0
	for _, i := range r.Items {
		if i.stalled() && isBelow(i.Name, name) {
			n++
		}
	}
	return n, err
}

func isBelow(name, dir string) bool {
	return name == dir || len(name) > len(dir) && name[len(dir)] == '/' && name[:len(dir)] == dir
}
