// Package warm fetches folders of a mount ahead into its cache: it lists what lies there, reckons what is missing, and gets it. It keeps nothing
// that a later run would need: what is cached is not fetched again.
package warm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"studyfs/backends"
)

// Store is where files are kept.
type Store interface {
	Lookup(ctx context.Context, name string) (backends.Entry, error)
	List(ctx context.Context, dir string) ([]backends.Entry, error)
	Missing(e backends.Entry) (bytes, requests int64)
	Fetch(ctx context.Context, e backends.Entry) error
}

// Place is a file or a folder in a store.
type Place struct {
	Store Store
	Name  string // in the store
	Shown string // what goes before names of the store in messages
}

// Tally counts files and their bytes.
type Tally struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

func (t *Tally) add(n int64) {
	t.Files++
	t.Bytes += n
}

// Report is what is known so far.
type Report struct {
	Found    Tally    `json:"found"`    // all files that are meant, as large as they are
	Missing  Tally    `json:"missing"`  // of them, those not all here when it began, with the bytes that were missing
	Requests int64    `json:"requests"` // that those take: an estimate, without the listing
	Fetched  Tally    `json:"fetched"`
	Left     Tally    `json:"left_out"` // archived, or of a size that nobody knows before
	Failed   Tally    `json:"failed"`
	Problems []string `json:"problems"` // why, for the first of them
	Listed   bool     `json:"listed"`   // the figures above are of all files
}

// Add counts another report in.
func (r *Report) Add(o Report) {
	for _, t := range []struct{ to, more *Tally }{{&r.Found, &o.Found}, {&r.Missing, &o.Missing}, {&r.Fetched, &o.Fetched}, {&r.Left, &o.Left}, {&r.Failed, &o.Failed}} {
		t.to.Files += t.more.Files
		t.to.Bytes += t.more.Bytes
	}
	r.Requests += o.Requests
	r.Problems = append(r.Problems, o.Problems...)
	r.Listed = r.Listed && o.Listed
}

const (
	atOnce      = 12
	maxProblems = 20
)

// Job is one run. Its methods are safe for concurrent use; Scan and Fetch are called once, in this order.
type Job struct {
	places []Place
	since  time.Time // files that were changed before are not meant; zero: all are

	mu     sync.Mutex // guards what follows
	report Report
	todo   []task
}

type task struct {
	place *Place
	entry backends.Entry
	bytes int64
}

// New prepares a job for all files at and below places.
func New(places []Place, since time.Time) *Job {
	return &Job{places: places, since: since, report: Report{Problems: []string{}}}
}

// Report returns what is known so far.
func (j *Job) Report() Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.report
	r.Problems = append([]string{}, r.Problems...)
	return r
}

// Scan finds out what is meant, and what of it is missing. each is told of every file; nil tells nobody.
func (j *Job) Scan(ctx context.Context, each func(Place, backends.Entry)) error {
	for i := range j.places {
		p := &j.places[i]
		e, err := p.Store.Lookup(ctx, p.Name)
		if err != nil {
			return err
		}
		if !e.Dir {
			j.meet(p, e, each)
			continue
		}
		for dirs := []string{p.Name}; len(dirs) > 0; {
			dir := dirs[0]
			dirs = dirs[1:]
			all, err := p.Store.List(ctx, dir)
			if err != nil {
				return err
			}
			var below []string
			for _, e := range all {
				if e.Dir {
					below = append(below, e.Name)
				} else {
					j.meet(p, e, each)
				}
			}
			dirs = append(below, dirs...) // in key order: one page of a flat listing serves many folders
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.report.Listed = true
	return nil
}

// meet counts a file.
func (j *Job) meet(p *Place, e backends.Entry, each func(Place, backends.Entry)) {
	if e.Link != "" || e.ModTime.Before(j.since) {
		return
	}
	if each != nil {
		each(*p, e)
	}
	bytes, requests := p.Store.Missing(e)
	j.mu.Lock()
	defer j.mu.Unlock()
	r := &j.report
	r.Found.add(max(e.Size, 0))
	switch {
	case e.Size < 0 || bytes > 0 && e.Tier != backends.Online:
		r.Left.add(max(e.Size, 0))
	case bytes > 0:
		r.Missing.add(bytes)
		r.Requests += requests
		j.todo = append(j.todo, task{p, e, bytes})
	}
}

// Fetch gets what Scan found missing, several files at once. A file that cannot be had is counted and left; an error ends it that the next
// file would meet too.
func (j *Job) Fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks := make(chan task)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for t := range tasks {
				if err := j.settle(t, t.place.Store.Fetch(ctx, t.entry)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, t := range j.todo {
		if ctx.Err() != nil { // asked on its own: of two ready cases select takes either
			break
		}
		select {
		case tasks <- t:
		case <-ctx.Done():
		}
	}
	close(tasks)
	workers.Wait()
	return context.Cause(ctx)
}

// settle counts what became of a file, and returns what ends the job.
func (j *Job) settle(t task, err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err == nil:
		j.report.Fetched.add(t.bytes)
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, backends.ErrAuth), errors.Is(err, backends.ErrUnreachable), errors.Is(err, backends.ErrBusy):
		return err
	}
	j.report.Failed.add(t.bytes)
	if len(j.report.Problems) < maxProblems {
		j.report.Problems = append(j.report.Problems, fmt.Sprintf("%s: %s", t.place.Shown+t.entry.Name, why(err)))
	}
	return nil
}

func why(err error) string {
	for said, known := range map[string]error{
		"it is gone": backends.ErrNotExist, "it was replaced meanwhile; run the same again": backends.ErrChanged,
		"the keys may not read it": backends.ErrPermission, "it is archived": backends.ErrArchived,
	} {
		if errors.Is(err, known) {
			return said
		}
	}
	return err.Error()
}
