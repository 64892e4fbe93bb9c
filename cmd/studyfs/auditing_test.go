package main

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"studyfs/cmd/studyfs/audit"
	"studyfs/fs"
)

// People's data and whatever can be written to are noted without being asked for; open data is not.
func TestAuditDefaults(t *testing.T) {
	for want, specs := range map[auditMode][]sourceSpec{
		auditOn: {
			{Kind: kindEmpatica},
			{Kind: kindBeiwe},
			{Kind: kindAzure},
			{Kind: kindS3, Write: &writeSpec{}},
			{Kind: kindS3, Crypt: &cryptSpec{}},
			{Kind: kindHCP, Audit: auditOn},
			{Kind: kindS3, Anonymous: true, Audit: auditOn},
		},
		auditOff:    {{Kind: kindHCP}, {Kind: kindS3}, {Kind: kindS3, Anonymous: true}, {Kind: kindAzure, Anonymous: true}, {Kind: kindEmpatica, Audit: auditOff}},
		auditStrict: {{Kind: kindS3, Audit: auditStrict}},
	} {
		for _, s := range specs {
			if got := s.audited(); got != want {
				t.Errorf("%+v: %s, want %s", s, got, want)
			}
		}
	}
	var mode auditMode
	if mode.UnmarshalText([]byte("yes")) == nil || mode.UnmarshalText([]byte("strict")) != nil || mode != auditStrict {
		t.Error(mode)
	}
}

// A log that cannot be written: a mount says so and goes on, a strict one is not made, and what is opened strictly fails with EIO's reason.
func TestAuditThatCannotBeWritten(t *testing.T) {
	p := places{state: t.TempDir()}
	if err := os.WriteFile(p.audit(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if a, notice, err := openAudit(p, "/mnt", 0, []sourceSpec{{Kind: kindEmpatica}}); a != nil || !strings.Contains(notice, "nothing is noted") || err != nil {
		t.Errorf("%v, %q, %v", a, notice, err)
	}
	strict := sourceSpec{Name: "x", Kind: kindEmpatica, Audit: auditStrict}
	if _, _, err := openAudit(p, "/mnt", 0, []sourceSpec{{Kind: kindHCP}, strict}); codeOf(err) != exitCannotCreate {
		t.Errorf("%v", err)
	}
	if a, notice, err := openAudit(p, "/mnt", 0, []sourceSpec{{Kind: kindHCP}}); a != nil || notice != "" || err != nil {
		t.Errorf("nothing is wanted: %v, %q, %v", a, notice, err)
	}
	m := &mountServer{spec: &mountSpec{Sources: []sourceSpec{strict}}, log: slog.New(slog.DiscardHandler), sources: []*liveSource{{spec: strict}}}
	if err := m.opened(fs.Access{Name: "a"}); !errors.Is(err, audit.ErrUnwritten) {
		t.Errorf("%v", err)
	}
}

// A disk that fails after the mount was made: status says that events are missing, and of which log.
func TestAuditThatFailsLaterIsToldInStatus(t *testing.T) {
	p := places{state: t.TempDir()}
	spec := sourceSpec{Name: "x", Kind: kindEmpatica}
	a, _, err := openAudit(p, "/mnt", 0, []sourceSpec{spec})
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	s, open := &liveSource{spec: spec, audit: a}, &liveSource{spec: sourceSpec{Kind: kindHCP}, audit: a}
	if st := s.status(); len(st.Errors) != 0 {
		t.Errorf("%v", st.Errors)
	}
	if err := errors.Join(os.RemoveAll(p.audit()), os.WriteFile(p.audit(), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	spec.Audit = auditStrict // whose line is waited for
	if err := a.note(spec, audit.Event{Op: audit.OpRead, Name: "a"}); err == nil {
		t.Fatal("it was written")
	}
	a.note(s.spec, audit.Event{Op: audit.OpRead, Name: "a"})
	a.note(spec, audit.Event{Op: audit.OpRead, Name: "a"})
	if st := s.status(); len(st.Errors) != 1 || st.Errors[0].What != "audit log" {
		t.Errorf("%v", st.Errors)
	}
	if st := open.status(); len(st.Errors) != 0 {
		t.Errorf("nothing is noted of this source: %v", st.Errors)
	}
}

// What an open pays is a look at the process and a place in a queue.
func TestAuditCostPerOpen(t *testing.T) {
	s := sourceSpec{Name: "x", Kind: kindEmpatica}
	a, _, err := openAudit(places{state: t.TempDir()}, "/mnt", 0, []sourceSpec{s})
	if err != nil {
		t.Fatal(err)
	}
	m := &mountServer{spec: &mountSpec{Sources: []sourceSpec{s}}, sources: []*liveSource{{spec: s}}, audit: a}
	access := fs.Access{Name: "sub-01/heart.csv", PID: os.Getpid()}
	if allocs := testing.AllocsPerRun(200, func() { m.opened(access) }); allocs > 50 { // those of the writer, which runs beside it, among them
		t.Errorf("%.0f allocations", allocs)
	}
	if err := a.close(); err != nil || a.log.Stats().Written != 201 {
		t.Errorf("%+v, %v", a.log.Stats(), err)
	}
}
