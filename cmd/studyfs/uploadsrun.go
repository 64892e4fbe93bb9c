package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// runUploads is "uploads run": what a mount does for uploads, for stages that no mount looks after.
func (a *app) runUploads(args []string, timeout time.Duration) (err error) {
	l, err := a.load()
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	refs, err := a.chooseStages(ctx, l, args, uploadsRequest{Limit: -1})
	if err != nil {
		return err
	}
	limited, cancel := within(ctx, timeout)
	defer cancel()
	r := &uploadsRunner{app: a}
	defer func() {
		if closing := r.close(); err == nil {
			err = closing
		}
	}()
	for _, ref := range refs {
		r.add(limited, l, ref)
	}
	if len(r.all) == 0 && r.trouble == nil {
		a.say(r.nothing())
		return nil
	}
	a.waitAll(limited, r.all, "")
	if ctx.Err() != nil {
		a.say("interrupted; what is left stays safe on this machine")
		return statusError(exitInterrupted)
	}
	return r.verdict()
}

// uploadsRunner looks after several stages.
type uploadsRunner struct {
	app     *app
	open    []*unserved
	all     []*waiting
	served  int // stages with something in them that mounts look after
	trouble *failure
}

// add takes a stage over and starts its uploads. One that cannot be is told of, and does not keep others waiting.
func (r *uploadsRunner) add(ctx context.Context, l *loaded, ref stageRef) {
	if ref.socket != "" {
		if ref.report.Uploads.moving() > 0 {
			r.served++
		}
		return
	}
	if ref.report.Error == "" && ref.report.Uploads.moving()+ref.report.Uploads.stalled() == 0 {
		return
	}
	rules, err := ref.spec.judging(l.env) //nolint:contextcheck // a command that prints a secret has a limit of its own
	if err == nil {
		err = l.readable(ref.id)
	}
	var u *unserved
	if err == nil {
		u, err = r.app.openUnserved(ctx, l, ref.spec, rules)
	}
	if err == nil {
		r.open = append(r.open, u)
		err = u.begin(ctx)
	}
	if err != nil {
		f := asFailure(ref.spec.describe(), err)
		r.app.say(f.Error())
		if r.trouble == nil {
			r.trouble = f
		}
		return
	}
	t := &uploadTarget{spec: ref.spec, stage: u.writing.stage, trouble: u.writing.trouble, examiner: u.examiner, remote: u.source.remote}
	r.all = append(r.all, &waiting{what: ref.spec.describe(), ask: t.do})
}

// begin connects and starts the uploads.
func (u *unserved) begin(ctx context.Context) error {
	if err := u.connect(ctx); err != nil {
		return err
	}
	var err error
	if u.source.audit, _, err = openAudit(u.server.spec.places(), "", u.server.spec.AuditDays, u.server.spec.Sources); err != nil {
		return err
	}
	u.writing.audit = u.source.audit
	return u.writing.begin(u.source.remote, nil)
}

func (r *uploadsRunner) nothing() string {
	if r.served > 0 {
		return "mounts upload what is staged: studyfs uploads wait"
	}
	return "nothing waits for its upload"
}

// verdict tells what came of it.
func (r *uploadsRunner) verdict() error {
	stored, stalled := 0, 0
	var unfinished *failure
	for _, w := range r.all {
		report, done, err := w.state()
		stored += report.Uploads.Stored
		stalled += report.Uploads.stalled()
		switch {
		case err != nil:
			unfinished = asFailure(w.what, err)
		case report.Uploads.Paused != "":
			unfinished = &failure{What: w.what, Why: "uploads are paused: " + report.Uploads.Paused, Code: exitTryAgain}
		case !done:
			unfinished = &failure{
				What: w.what, Why: "not all is stored: " + report.Uploads.summary(), Do: "it stays safe on this machine: studyfs uploads run goes on with it", Code: exitTryAgain,
			}
		}
	}
	r.app.say(fmt.Sprintf("uploaded %s", countFiles(stored)))
	switch {
	case unfinished != nil:
		return unfinished
	case stalled > 0:
		r.app.say(fmt.Sprintf("%s %s for a decision of yours: studyfs uploads ls", countFiles(stalled), pick(stalled, "waits", "wait")))
		return statusError(exitPartial)
	case r.trouble != nil && len(r.all) > 0:
		return statusError(exitPartial)
	case r.trouble != nil:
		return statusError(r.trouble.Code) // it has been said
	}
	return nil
}

func (r *uploadsRunner) close() error {
	var all error
	for _, u := range r.open {
		all = errors.Join(all, u.close())
	}
	return all
}
