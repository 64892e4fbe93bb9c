package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"studyfs/backends"
	"studyfs/cmd/studyfs/audit"
	"studyfs/cmd/studyfs/host"
	"studyfs/fs"
)

// auditMode is whether what is done to a source is noted, "" for what its kind wants.
type auditMode string

const (
	auditOff    auditMode = "off"
	auditOn     auditMode = "on"
	auditStrict auditMode = "strict"
)

func (a auditMode) String() string { return string(a) }

// UnmarshalText reads a mode's name.
func (a *auditMode) UnmarshalText(text []byte) error {
	switch m := auditMode(text); m {
	case auditOff, auditOn, auditStrict:
		*a = m
		return nil
	}
	return fmt.Errorf("%q is no way to audit; write off, on or strict", text)
}

// audited is what holds for a source: on for people's data and for whatever can be written to, off for open data and plain buckets.
func (s sourceSpec) audited() auditMode {
	switch {
	case s.Audit != "":
		return s.Audit
	case s.Write != nil:
		return auditOn
	case s.Kind == kindHCP, s.Anonymous:
		return auditOff
	case s.Kind == kindS3 && s.Crypt == nil:
		return auditOff
	}
	return auditOn
}

// auditor notes what is done to the sources of one process. The nil auditor notes nothing.
type auditor struct {
	log   *audit.Log
	mount string
}

// trouble is what keeps the log from being whole, nil for nothing.
func (a *auditor) trouble() *failure {
	if a == nil {
		return nil
	}
	n := a.log.Stats()
	switch {
	case n.Err != nil:
		return &failure{What: "audit log", Why: lastCause(n.Err), Do: "free or repair the disk of the state directory: what is done meanwhile is counted, not noted", Code: exitIO}
	case n.Lost > 0:
		return &failure{
			What: "audit log", Why: fmt.Sprintf("%d events came faster than they could be written", n.Lost),
			Do: `they are counted in the log; with audit = "strict" each open waits for its line`, Code: exitPartial,
		}
	}
	return nil
}

func (p places) audit() string { return filepath.Join(p.state, "audit") }

// openAudit begins to note what is done to sources, if that is wanted of any. A log that cannot be written keeps a mount from being made only
// where a source says strict; else it is told in notices.
func openAudit(p places, mount string, keepDays int, sources []sourceSpec) (a *auditor, notice string, err error) {
	wanted, strict := false, false
	for _, s := range sources {
		wanted = wanted || s.audited() != auditOff
		strict = strict || s.audited() == auditStrict
	}
	if !wanted {
		return nil, "", nil
	}
	log, err := audit.Open(audit.Options{Dir: p.audit(), Keep: time.Duration(keepDays) * 24 * time.Hour, Now: time.Now})
	if err != nil {
		f := &failure{What: "audit log in " + p.audit(), Why: lastCause(err), Do: "free or repair the disk, choose another place with --state-dir, or --audit off", Code: exitCannotCreate}
		if strict {
			return nil, "", f
		}
		return nil, f.Error() + "\n  nothing is noted meanwhile", nil
	}
	return &auditor{log: log, mount: mount}, "", nil
}

// note notes what somebody did to a source. An error only with strict: then it must not be done.
func (a *auditor) note(s sourceSpec, e audit.Event) error {
	mode := s.audited()
	if mode == auditOff {
		return nil
	}
	if a == nil {
		if mode == auditStrict {
			return audit.ErrUnwritten
		}
		return nil
	}
	e.Source, e.Mount = s.Name, a.mount
	if mode == auditStrict {
		return a.log.Write(e)
	}
	a.log.Note(e)
	return nil
}

// did notes what this process did itself. That it cannot be noted is too late to matter.
func (a *auditor) did(s sourceSpec, e audit.Event) {
	e.UID, e.PID, e.Exe = uint32(os.Getuid()), os.Getpid(), host.Program(os.Getpid()) //nolint:gosec // a user's number
	a.note(s, e)                                                                      //nolint:errcheck // as said
}

// refused notes that the rules hold a file back. It never waits: whoever tells holds a lock.
func (a *auditor) refused(s sourceSpec) func(name, why string) {
	return func(name, why string) {
		if a != nil && s.audited() != auditOff {
			a.log.Note(audit.Event{
				Op: audit.OpRefuse, Source: s.Name, Mount: a.mount, Name: name, Detail: why,
				UID: uint32(os.Getuid()), PID: os.Getpid(), Exe: host.Program(os.Getpid()), //nolint:gosec // a user's number
			})
		}
	}
}

func (a *auditor) close() error {
	if a == nil {
		return nil
	}
	return a.log.Close()
}

// opened notes that somebody opens a file for reading.
func (m *mountServer) opened(a fs.Access) error {
	s := m.specOf(a.Tree)
	if s.audited() == auditOff {
		return nil
	}
	// The program is looked up while it waits for its file: later it may be gone.
	err := m.audit.note(s, audit.Event{Op: audit.OpRead, Name: a.Name, UID: a.UID, PID: a.PID, Exe: host.Program(a.PID), Bytes: max(a.Size, 0)})
	if err != nil {
		m.log.Error("a file was not opened: the audit log cannot be written", slog.Any("err", errors.Unwrap(err)))
		return fmt.Errorf("open: %w", audit.ErrUnwritten) // without the disk's own number: ENOSPC would mislead a reader
	}
	return nil
}

// auditedWriter notes what people delete at a source, and what is copied there for a rename.
type auditedWriter struct {
	backends.Writer
	m *mountServer
	s sourceSpec
}

// Remove deletes, and notes who did: before it is done where nothing may be done unnoted, else after.
func (w *auditedWriter) Remove(ctx context.Context, e backends.Entry) error {
	if w.s.audited() == auditStrict {
		if err := w.byWhom(ctx, audit.OpDelete, e, "begun"); err != nil {
			return fmt.Errorf("delete: %w", audit.ErrUnwritten)
		}
		return w.Writer.Remove(ctx, e)
	}
	err := w.Writer.Remove(ctx, e)
	if err == nil {
		w.byWhom(ctx, audit.OpDelete, e, "") //nolint:errcheck // it is done
	}
	return err
}

// Copy copies within the source, and notes who did.
func (w *auditedWriter) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	e, err := w.Writer.Copy(ctx, from, u)
	if err == nil {
		w.byWhom(ctx, audit.OpUpload, e, "copied from another name") //nolint:errcheck // it is done
	}
	return e, err
}

func (w *auditedWriter) byWhom(ctx context.Context, op string, e backends.Entry, detail string) error {
	uid, pid := fs.Caller(ctx)
	return w.m.audit.note(w.s, audit.Event{Op: op, Name: e.Name, UID: uid, PID: pid, Exe: host.Program(pid), Bytes: max(e.Size, 0), Detail: detail})
}

// opener is what is told of every opening, nil if nobody wants to know of any.
func (m *mountServer) opener() func(fs.Access) error {
	for _, s := range m.spec.Sources {
		if s.audited() != auditOff {
			return m.opened
		}
	}
	return nil
}

// auditAll notes what happens to all sources at once.
func (m *mountServer) auditAll(op string) {
	for _, s := range m.spec.Sources {
		m.audit.did(s, audit.Event{Op: op})
	}
}

// endAudit notes the end of the mount and closes the log.
func (m *mountServer) endAudit() error {
	if m.fs.Load() != nil {
		m.auditAll(audit.OpUmount)
	}
	return m.audit.close()
}

// auditWipe notes that fetched data is removed, where anything was ever noted.
func (a *app) auditWipe(p places) {
	if _, err := os.Stat(p.audit()); err != nil {
		return
	}
	all := sourceSpec{Name: "*", Audit: auditOn}
	log, notice, err := openAudit(p, "", 0, []sourceSpec{all})
	if err == nil && notice == "" {
		log.did(all, audit.Event{Op: audit.OpWipe})
		err = log.close()
	}
	if notice != "" {
		a.say(notice)
	}
	if err != nil {
		a.say("audit log: " + lastCause(err))
	}
}
