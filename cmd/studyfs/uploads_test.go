package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func sampleStages() []stageReport {
	return []stageReport{
		{
			ID: "0123456789abcdef", Source: "study", URL: "s3://study/", Dir: "/home/u/study", PID: 42,
			Uploads: uploadStatus{Staged: 1, Uploading: 1, Conflict: 1, BytesLeft: 3 << 30},
			Items: []uploadItem{
				{ID: 7, Name: "derivatives/vista/sub-01/a.nii.gz", Kind: "file", State: "uploading", Size: 4 << 30, Sent: 1 << 30, AgeS: 75},
				{ID: 8, Name: "b.json", Kind: "file", State: "staged", Size: 120, AgeS: 2, Warnings: []string{"sub01 should be sub-01"}},
				{ID: 9, Name: "c\x1b[2J.json", Kind: "file", State: "conflict", Size: 5, AgeS: 90000, Error: "somebody else has stored another file of that name"},
			},
		},
		{ID: "fedcba9876543210", Source: "old", URL: "s3://old/", Uploads: uploadStatus{Staged: 1}, Items: []uploadItem{{ID: 7, Name: "b.json", Kind: "file", State: "staged", AgeS: 400000}}},
		{ID: "00", Source: "busy", URL: "s3://busy/", Error: "process 7 (studyfs uploads) is writing to it from this machine already", Items: []uploadItem{}},
		{ID: "11", Source: "idle", URL: "s3://idle/", Dir: "/mnt/idle", Items: []uploadItem{}},
	}
}

// What people see must say what waits, why, and what to do; and a file's name must not be able to play with the terminal.
func TestUploadsTable(t *testing.T) {
	var out bytes.Buffer
	if err := printStages(&out, sampleStages()); err != nil {
		t.Fatal(err)
	}
	const want = `s3://study/ at /home/u/study: 1 waiting, 1 uploading, 1 in conflict, 3.00 GiB left
ID  STATE      SIZE      SENT  AGE    NAME
7   uploading  4.00 GiB  25 %  1m     derivatives/vista/sub-01/a.nii.gz
8   staged     120 B     0 %   2s     b.json
                                        sub01 should be sub-01
9   conflict   5 B       0 %   25h00m  "c\x1b[2J.json"
                                        somebody else has stored another file of that name

s3://old/, which nobody uploads now (studyfs uploads run): 1 waiting
ID  STATE   SIZE  SENT  AGE  NAME
7   staged  0 B   -     4d   b.json

s3://busy/
  process 7 (studyfs uploads) is writing to it from this machine already
`
	squeeze := func(text string) string {
		var lines []string
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return strings.Join(lines, "\n")
	}
	if got := squeeze(out.String()); got != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// The fields of uploads ls --json are a promise to other people's scripts.
func TestUploadsFields(t *testing.T) {
	text, err := json.Marshal(uploadsReport{Schema: statusSchema, Stages: sampleStages()})
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Schema int              `json:"schema"`
		Stages []map[string]any `json:"stages"`
	}
	if err := json.Unmarshal(text, &report); err != nil || report.Schema != 1 {
		t.Fatalf("schema %d, %v; want 1", report.Schema, err)
	}
	for _, field := range []string{"id", "source", "url", "dir", "uploads", "items"} {
		if _, ok := report.Stages[1][field]; !ok {
			t.Errorf("field %s is missing", field)
		}
	}
	item := report.Stages[0]["items"].([]any)[0].(map[string]any)
	for _, field := range []string{"id", "name", "kind", "state", "size", "sent", "changed", "age_s"} {
		if _, ok := item[field]; !ok {
			t.Errorf("field items.%s is missing", field)
		}
	}
}

func TestFindItem(t *testing.T) {
	var all []stageRef
	for _, r := range sampleStages() {
		all = append(all, stageRef{id: r.ID, dir: r.Dir, report: r})
	}
	for arg, want := range map[string]string{
		"derivatives/vista/sub-01/a.nii.gz":               "study 7",
		"/home/u/study/derivatives/vista/sub-01/a.nii.gz": "study 7",
		"/home/u/study/b.json":                            "study 8",
		"9":                                               "study 9",
	} {
		c, err := findItem(all, arg)
		if got := c.ref.report.Source + " " + strings.TrimSpace(string(rune('0'+c.item.ID))); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", arg, got, err, want)
		}
	}
	for arg, want := range map[string]string{"7": "several files are meant", "b.json": "several files are meant", "b.jsn": "did you mean b.json", "77": "nothing that waits"} {
		if _, err := findItem(all, arg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", arg, err, want)
		}
	}
}

func TestLeftoverLines(t *testing.T) {
	for want, l := range map[string]*leftover{
		"": {},
		"3 files (1.20 GiB) are not uploaded yet; they are safe on this machine and go on at the next mount, or: studyfs uploads run": {Files: 3, Bytes: 12 << 30 / 10},
		"1 file (5 B) is not uploaded yet; it is safe on this machine and goes on at the next mount, or: studyfs uploads run|1 file waits for a decision of yours: studyfs uploads ls": {
			Files: 1, Bytes: 5, Stalled: 1,
		},
		"2 files were still open and may not be complete; they are kept, and not uploaded by themselves: studyfs uploads ls": {Open: 2},
	} {
		if got := strings.Join(l.lines(), "|"); got != want {
			t.Errorf("%+v:\n%s\nwant\n%s", *l, got, want)
		}
	}
	var none *leftover
	if !none.done() || none.lines() != nil {
		t.Error("a mount that nothing is written to has left something")
	}
}

func TestPicture(t *testing.T) {
	r := sampleStages()[0]
	r.More = 3
	got := picture([]stageRef{{dir: r.Dir, report: r}}, 60)
	for _, want := range []string{"[######..................] 25 %", "and 3 more", "conflict", "…"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b[2J") {
		t.Error("a name has cleared the screen")
	}
}

func TestProgressLineIsSilentWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgressLine(&out)
	p.show(time.Unix(0, 0), 3, 100)
	p.clear()
	if out.Len() > 0 {
		t.Errorf("wrote %q", out.String())
	}
}

// Without a terminal nobody can agree to a deletion by typing.
func TestDropNeedsYes(t *testing.T) {
	var errs bytes.Buffer
	a := &app{env: testEnv(t), out: &errs, err: &errs}
	if err := a.confirmDrop([]uploadItem{{Name: "a"}}, true); err != nil {
		t.Errorf("with --yes: %v", err)
	}
	if err := a.confirmDrop([]uploadItem{{Name: "a"}}, false); codeOf(err) != exitUsage {
		t.Errorf("without: %v", err)
	}
}

func TestUploadsOfNothing(t *testing.T) {
	for args, c := range map[string]struct {
		want string
		code int
	}{
		"uploads ls":              {"nothing waits", exitOK},
		"uploads run":             {"nothing waits", exitOK},
		"uploads wait":            {"", exitOK},
		"uploads verify":          {"all are what was uploaded", exitOK},
		"uploads watch":           {"no mount uploads", exitError},
		"uploads pause":           {"no mount uploads", exitError},
		"uploads drop x":          {"nothing that waits", exitError},
		"uploads drop":            {"needs the NAME", exitUsage},
		"uploads resolve x":       {"choose one of", exitUsage},
		"uploads ls nosuch":       {"neither a mount nor a source", exitError},
		"uploads wait /nosuch":    {"not in a mount", exitError},
		"uploads retry x --as":    {"flag needs an argument", exitUsage},
		"uploads resolve --mine":  {"needs the NAME", exitUsage},
		"umount /nosuch --flush":  {"not mounted", exitError},
		"umount / --flush=banana": {"invalid argument", exitUsage},
	} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if got := a.run(strings.Fields(args)); got != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("studyfs %s: exit %d\n%s%s; want %d and %q", args, got, out.String(), errs.String(), c.code, c.want)
		}
	}
}
