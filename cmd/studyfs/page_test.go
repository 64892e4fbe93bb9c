package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// The page shows names: a configuration or a flag that would show it to the network is refused before anything is mounted.
func TestPageAddressIsOfThisMachine(t *testing.T) {
	for _, address := range []string{"0.0.0.0:8080", ":8080", "192.168.0.7:80", "lab-server:80", "127.0.0.1"} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if got := a.run([]string{"mount", "s3://bucket/", t.TempDir(), "--http", address}); got != exitUsage || !strings.Contains(errs.String(), "127.0.0.1:0") {
			t.Errorf("--http %s: exit %d, %s", address, got, errs.String())
		}
	}
	if err := decode([]byte("http = \"0.0.0.0:80\"\n"), newConfig()); err == nil || !strings.Contains(err.Error(), "this machine") {
		t.Errorf("in the configuration: %v", err)
	}
	c := newConfig()
	if err := decode([]byte("http = \"127.0.0.1:0\"\n"), c); err != nil || c.HTTP != "127.0.0.1:0" {
		t.Errorf("in the configuration: %q, %v", c.HTTP, err)
	}
}

// What a service says goes to the journal, which others read: the address must not be in it.
func TestPageAddressIsNotForTheJournal(t *testing.T) {
	for journal, shown := range map[string]bool{"": true, "8:4711": false} {
		var errs bytes.Buffer
		a := &app{env: testEnv(t, "JOURNAL_STREAM", journal), err: &errs}
		a.sayPage("http://127.0.0.1:1/token/")
		if strings.Contains(errs.String(), "token") != shown || !strings.Contains(errs.String(), "live page") {
			t.Errorf("JOURNAL_STREAM=%q: %s", journal, errs.String())
		}
	}
}

// Nor may it be in what somebody sends with a report of trouble.
func TestBundleHasNoPageAddress(t *testing.T) {
	status := bareStatus([]mountStatus{{Dir: "/mnt/x", Page: "http://127.0.0.1:1/token/", Sources: []sourceStatus{{ID: "0123456789abcdef"}}}}, labels{})
	text, err := json.Marshal(status)
	if err != nil || strings.Contains(string(text), "token") || strings.Contains(string(text), "0123456789abcdef") {
		t.Errorf("%v: %s", err, text)
	}
}

// On the page and in metrics a source that takes files has uploads, one that does not has none.
func TestViewOfStatus(t *testing.T) {
	v := viewOf(&mountStatus{Dir: "/mnt/x", Sources: []sourceStatus{
		{ID: "1", Name: "lab", Uploads: uploadStatus{Conflict: 2, Paused: "by hand"}, Cache: cacheStatus{Limit: 7}},
		{ID: "2", Name: "hcp", ReadOnly: true, Errors: []failure{{What: "hcp", Why: "expired", Do: "renew"}}},
	}})
	if v.CacheLimit != 7 || len(v.Sources) != 2 || v.Sources[0].Uploads == nil || v.Sources[0].Uploads.Conflict != 2 || v.Sources[0].Uploads.Paused != "by hand" {
		t.Errorf("%+v", v)
	}
	if s := v.Sources[1]; s.Uploads != nil || len(s.Problems) != 1 || s.Problems[0].Do != "renew" {
		t.Errorf("%+v", s)
	}
}

// A picture that is drawn over the last one leaves nothing of it, and does not flicker: the screen is never emptied.
func TestInPlace(t *testing.T) {
	got := inPlace("one\ntwo\n")
	if got != "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
}

func TestStatusMetrics(t *testing.T) {
	for args, want := range map[string]int{"status --metrics": exitOK, "status --metrics --json": exitUsage, "status --metrics DIR": exitUsage} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if got := a.run(strings.Fields(args)); got != want {
			t.Errorf("studyfs %s: exit %d, %s", args, got, errs.String())
		}
	}
}
