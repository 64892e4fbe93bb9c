package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/mounts"
	"studyfs/tests/bench/report"
	"studyfs/tests/bench/store"
	"studyfs/tests/bench/work"
	"studyfs/tests/harness"
)

// measure runs all workloads once, then all once more, and so on: a machine that gets slower on the way does so for all. Those with everything
// in place are done in the first round, all their runs.
func (l *lab) measure(ctx context.Context, all []work.Workload) {
	for round := range l.o.runs {
		for _, w := range all {
			if !l.time(ctx) {
				l.result.Notes = append(l.result.Notes, fmt.Sprintf("The time ran out in round %d of %d: not every cell has all its runs, and some have none.", round+1, l.o.runs))
				return
			}
			if round == 0 && !l.ready(ctx, w) {
				continue
			}
			switch hot := slices.Contains(w.Steps, work.Hot); {
			case hot && round == 0:
				l.hot(ctx, w)
			case !hot && (w.Rounds == 0 || round < w.Rounds):
				l.fresh(ctx, w, round)
			}
		}
	}
}

// slow is how long others than studyfs may take for a workload, and how many times as long as studyfs, to do it more than once: an hour of the full
// sizes was theirs, for five figures of what was clear from one.
const (
	slow  = 15 * time.Second
	times = 3
)

// behind tells that a subject was so slow at a workload that once is enough.
func (l *lab) behind(w work.Workload, name string) bool {
	took := l.took[key(w, name)]
	return name != mounts.Studyfs && took > slow && took > times*l.took[key(w, mounts.Studyfs)]
}

// What a subject did not do.
var (
	errNotTried = errors.New("not tried") // larger work than what it has failed in
	errNoEnd    = errors.New("no end")    // in time
)

// time tells whether there is any left.
func (l *lab) time(ctx context.Context) bool {
	return ctx.Err() == nil && time.Now().Before(l.deadline)
}

// ready fills the store and does what must be done before a clock runs; false: the workload cannot be run, and the report says why.
func (l *lab) ready(ctx context.Context, w work.Workload) bool {
	err := l.store.Add(w.Store, w.Set)
	t := work.Target{Store: l.store}
	if err == nil && w.Native {
		t.Native, err = l.copyOf(w.Set)
	}
	if err == nil && w.Prepare != nil {
		err = w.Prepare(ctx, t)
	}
	if err == nil {
		return true
	}
	fmt.Fprintf(l.progress, "%s: %v\n", w.Name, err)
	for _, name := range l.columns(w) {
		l.failed[key(w, name)] = err.Error()
		cell := l.cell(w, w.Steps[0], "", name)
		if cell.Failure = l.clean(err); errors.Is(err, work.ErrSkipped) {
			cell.Failure, cell.Skipped = "", strings.TrimPrefix(err.Error(), work.ErrSkipped.Error()+": ")
		}
	}
	return false
}

func key(w work.Workload, subject string) string {
	return fmt.Sprintf("%s %s %s %s", w.Group, w.Name, network(w.Shape), subject)
}

// columns are the subjects and references that a workload is run with.
func (l *lab) columns(w work.Workload) (names []string) {
	for _, name := range l.names {
		switch {
		case name == bareGET && !w.Bare, name == native && !w.Native:
		case w.Beside != nil && !slices.Contains(w.Beside, name):
		default:
			names = append(names, name)
		}
	}
	return names
}

// fresh runs a workload once with each subject. Who began last time comes last this time.
func (l *lab) fresh(ctx context.Context, w work.Workload, round int) {
	names := l.columns(w)
	for i := range names {
		name := names[(i+round)%len(names)]
		if l.failed[key(w, name)] != "" || l.behind(w, name) || !l.time(ctx) {
			continue
		}
		if before := w; w.After != "" {
			if before.Name = w.After; l.failed[key(before, name)] != "" {
				l.fail(w, w.Steps[0], name, fmt.Errorf("%w: see %s", errNotTried, w.After))
				continue
			}
		}
		began := time.Now()
		if err := l.session(ctx, w, name); err != nil {
			l.failed[key(w, name)] = err.Error()
		}
		l.took[key(w, name)] = time.Since(began)
	}
}

// place is where a subject works: a mount of it, or what stands for one.
type place struct {
	name    string
	subject mounts.Subject // nil for a reference
	at      mounts.Place
	mount   *mounts.Mount
	target  work.Target
}

// place prepares what a subject needs for a workload.
func (l *lab) place(w work.Workload, name string) (*place, error) {
	p := &place{name: name}
	dir, err := l.folder("home")
	if err != nil {
		return nil, err
	}
	p.at = mounts.Place{Home: dir, Dir: filepath.Join(dir, "mnt"), Store: w.Store, URL: l.store.URLs[w.Store], Bucket: w.Set.Bucket, Write: w.Write}
	if w.Write {
		p.at.Bucket = fmt.Sprintf("into-%d", l.dirs)
		if err := l.store.Add(w.Store, data.Spec{Bucket: p.at.Bucket, Kind: data.Empty}); err != nil {
			return nil, err
		}
	}
	p.target = work.Target{Native: l.copies[w.Set.Bucket], URL: p.at.URL + "/" + p.at.Bucket, Soft: w.Soft, Store: l.store, Bucket: p.at.Bucket}
	switch i := slices.IndexFunc(l.subjects, func(s mounts.Subject) bool { return s.Name() == name }); {
	case i >= 0:
		p.subject, p.target.Dir = l.subjects[i], p.at.Dir
	case name == native && w.Write:
		p.target.URL, p.target.Dir = "", filepath.Join(dir, "copied")
		err = os.Mkdir(p.target.Dir, 0o700)
	case name == native:
		p.target.URL, p.target.Dir = "", p.target.Native
	}
	return p, err
}

// enter mounts.
func (p *place) enter(ctx context.Context) (err error) {
	if p.subject == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if err := os.MkdirAll(p.at.Dir, 0o700); err != nil {
		return err
	}
	if p.mount, err = p.subject.Mount(ctx, p.at); err == nil {
		p.mount.Load()
	}
	return err
}

// leave unmounts.
func (p *place) leave() {
	if p.mount != nil {
		p.mount.Unmount() // it is ended by force otherwise
		p.mount = nil
	}
}

// end leaves a place and, unless it is to be looked at, what was kept there.
func (l *lab) end(p *place) {
	p.leave()
	if !l.o.keep && !harness.Mounted(p.at.Dir) { // else its files would be removed
		os.RemoveAll(p.at.Home)
	}
}

// session runs the steps of a workload with one subject, on one mount.
func (l *lab) session(ctx context.Context, w work.Workload, name string) error {
	p, err := l.place(w, name)
	if err != nil {
		return err
	}
	defer l.end(p)
	l.drop()
	err = l.store.Shape(w.Shape)
	if err == nil {
		err = p.enter(ctx)
	}
	for i, step := range w.Steps {
		if name == bareGET && step != work.Cold {
			return nil
		}
		if i > 0 && l.cell(w, work.Cold, "", name).Cut {
			l.cell(w, step, "", name).Skipped = "the first pass did not end in time"
			continue
		}
		if err == nil && i > 0 {
			err = l.store.Shape(w.Shape) // which forgets the counts
		}
		if err == nil && step == work.Restart {
			p.leave()
			l.drop()
			err = p.enter(ctx)
		}
		if err == nil {
			err = l.once(ctx, w, step, p)
		}
		if ctx.Err() != nil { // the laboratory is being ended
			return nil
		}
		if err != nil {
			l.fail(w, step, name, err)
			return err
		}
	}
	return nil
}

// hot mounts all subjects, brings everything into place, then runs in turn.
func (l *lab) hot(ctx context.Context, w work.Workload) {
	var places []*place
	defer func() {
		for _, p := range places {
			l.end(p)
		}
	}()
	if err := l.store.Shape(w.Shape); err != nil {
		return // the store has ended; the next that asks it says so
	}
	for _, name := range l.columns(w) {
		p, err := l.place(w, name)
		if err == nil {
			places = append(places, p)
			err = p.enter(ctx)
		}
		if err == nil {
			err = l.heat(ctx, w, p)
		}
		if err != nil {
			l.fail(w, work.Hot, name, err)
		}
	}
	for round := range l.o.runs {
		for i := range places {
			p := places[(i+round)%len(places)]
			if l.failed[key(w, p.name)] != "" || !l.time(ctx) {
				continue
			}
			err := l.store.Shape(w.Shape)
			if err == nil {
				err = l.once(ctx, w, work.Hot, p)
			}
			if err != nil && ctx.Err() == nil {
				l.fail(w, work.Hot, p.name, err)
			}
		}
	}
}

// heat does the work before, for as long as a run may take at all, and once as it will be measured.
func (l *lab) heat(ctx context.Context, w work.Workload, p *place) error {
	t := p.target
	t.Soft = w.Limit
	var err error
	if w.Warm != nil {
		_, _, err = bounded(ctx, 2*w.Limit, w.Warm, t, p.mount)
	}
	if err == nil {
		_, _, err = bounded(ctx, w.Limit, w.Op, p.target, p.mount)
	}
	if err != nil {
		return fmt.Errorf("before: %w", err)
	}
	return nil
}

// bounded runs op and measures it. One that hangs in a mount is freed by the mount's end.
func bounded(ctx context.Context, limit time.Duration, op work.Op, t work.Target, m *mounts.Mount) (done work.Done, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if m != nil {
		hang := time.AfterFunc(limit+5*time.Second, func() { harness.Abort(m.Dir) })
		defer hang.Stop()
	}
	start := time.Now()
	done, err = op(ctx, t)
	took = time.Since(start)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("%w after %v", errNoEnd, limit)
	}
	return done, took, err
}

// once measures one step.
func (l *lab) once(ctx context.Context, w work.Workload, step work.Step, p *place) error {
	var before mounts.Usage
	if p.mount != nil {
		before = p.mount.Usage()
	}
	done, took, err := bounded(ctx, w.Limit, w.Op, p.target, p.mount)
	if err == nil && w.Write && p.subject != nil {
		err = l.judge(p, w)
	}
	if err != nil {
		return err
	}
	counts, err := l.store.Counts()
	if err != nil {
		return err
	}
	cell := l.cell(w, step, "", p.name)
	if why := unproven(w, step, p, counts, done); why != "" {
		cell.Refused = why
		fmt.Fprintf(l.progress, "%s; %s; %s: refused: %s\n", w.Name, step, p.name, why)
		return nil
	}
	seconds := took.Seconds()
	if done.Bytes < done.All {
		if done.Bytes == 0 {
			return fmt.Errorf("nothing was read in %v", took.Round(time.Millisecond))
		}
		cell.Cut = true
		seconds *= float64(done.All) / float64(done.Bytes)
	}
	cell.Seconds = append(cell.Seconds, seconds)
	if p.subject != nil {
		after := p.mount.Usage()
		cell.Requests = append(cell.Requests, float64(counts.Requests()))
		cell.Sent, cell.Received = append(cell.Sent, float64(counts.Out)), append(cell.Received, float64(counts.In))
		cell.Peak, cell.CPU = append(cell.Peak, float64(after.Peak)), append(cell.CPU, (after.CPU-before.CPU).Seconds())
	}
	for _, also := range done.Also {
		other := l.cell(w, step, also.Name, p.name)
		other.Seconds = append(other.Seconds, also.Took.Seconds())
	}
	fmt.Fprintf(l.progress, "%s; %s; %s: %.3f s, %d requests, %d bytes\n", w.Name, step, p.name, seconds, counts.Requests(), counts.Out)
	return nil
}

// judge compares what was stored.
func (l *lab) judge(p *place, w work.Workload) error {
	check, err := l.store.Check(p.at.Bucket, w.Set)
	if err == nil && (check.Missing > 0 || check.Wrong > 0) {
		err = fmt.Errorf("%d files are missing and %d are wrong in the store", check.Missing, check.Wrong)
	}
	return err
}

// unproven says why a run that should be cold was none, as far as the store can tell; "" if it was one. A page of a listing holds 1,000 keys at
// most. Two in a hundred may be missing: what a mount knows of files without asking.
func unproven(w work.Workload, step work.Step, p *place, c store.Counts, done work.Done) string {
	if step != work.Cold || p.name == native {
		return ""
	}
	part := func(have, want int64, what string) string {
		if float64(have) >= 0.98*float64(want) {
			return ""
		}
		return fmt.Sprintf("not cold: %d of %d %s", have, want, what)
	}
	switch w.Proof {
	case work.Listed:
		return part(int64(c.List)*1000, int64(w.Keys), "keys can have been listed")
	case work.Stored:
		return part(c.In, done.Bytes, "bytes came to the store")
	case work.Asked:
		return part(int64(c.Requests()), 1, "requests")
	case work.Fetched:
	}
	return part(c.Out, done.Bytes, "bytes came from the store")
}

// fail notes why a subject takes no further part in a workload.
func (l *lab) fail(w work.Workload, step work.Step, name string, err error) {
	l.failed[key(w, name)] = err.Error()
	cell := l.cell(w, step, "", name)
	cell.Failure, cell.Late = l.clean(err), errors.Is(err, errNoEnd) || errors.Is(err, errNotTried)
	fmt.Fprintf(l.progress, "%s; %s; %s: failed: %v\n", w.Name, step, name, err)
}

// clean takes the names of this machine's folders out of a message.
func (l *lab) clean(err error) string { return strings.ReplaceAll(err.Error(), l.tmp+"/", "") }

// cell finds or makes the place of a figure.
func (l *lab) cell(w work.Workload, step work.Step, also, name string) *report.Cell {
	label := string(step)
	if also != "" {
		label = strings.TrimPrefix(label+", "+also, ", ")
	}
	for _, r := range l.result.Rows {
		if r.Group == w.Group && r.Name == w.Name && r.Step == label && r.Network == network(w.Shape) {
			if r.Cells[name] == nil {
				r.Cells[name] = &report.Cell{}
			}
			return r.Cells[name]
		}
	}
	cell := &report.Cell{}
	l.result.Rows = append(l.result.Rows, &report.Row{
		Group: w.Group, Name: w.Name, Step: label, Network: network(w.Shape), Cells: map[string]*report.Cell{name: cell},
	})
	return cell
}

// network describes a shape.
func network(s store.Shape) string {
	var parts []string
	if s.Latency > 0 {
		parts = append(parts, fmt.Sprintf("%d ms per request", s.Latency.Milliseconds()))
	}
	if s.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%d Mbit/s", s.Rate*8/1_000_000))
	}
	return strings.Join(parts, ", ")
}
