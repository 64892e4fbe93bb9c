package beiwe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/tests/harness"
)

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// The figures that make the mount pleasant, counted at the server.
func TestRequestsThroughTheMount(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 3, Days: 30, Streams: []string{"gps", "calls"}})
	e := b.Env()
	dir := e.Mount("beiwe:", "--refresh", "2s")
	study := filepath.Join(dir, names(t, dir)[0])
	if n := len(names(t, study)); n != 3 {
		t.Fatalf("%d participants", n)
	}
	b.AtMost(4, "mount and ls of studies and participants")
	gps := func(n int) string { return filepath.Join(study, b.People[n], "gps") }
	if r := e.Exec("ls", "-l", gps(0)); r.Code != 0 || strings.Count(r.Out, ".csv") != 720 {
		t.Fatalf("ls -l: %d files, %s", strings.Count(r.Out, ".csv"), r.Err)
	}
	b.AtMost(2+1, "ls -l of a stream of 30 days, and one refreshing that may fall between")
	if _, err := os.ReadFile(filepath.Join(gps(1), harness.Hour(b.End.Add(-200*time.Hour)))); err != nil {
		t.Fatal(err)
	}
	b.AtMost(1+1, "one known hour")
	for h := range 720 {
		if _, err := os.ReadFile(filepath.Join(gps(2), harness.Hour(b.End.Add(-time.Duration(719-h)*time.Hour)))); err != nil {
			t.Fatal(err)
		}
	}
	data := 0
	for _, r := range b.Requests() {
		if strings.HasPrefix(r.Path, "/get-data") {
			data++
		}
	}
	if data > 5 {
		t.Errorf("720 hours in order: %d requests", data)
	}
	e.Exec("ls", "-lR", dir)
	within(t, "one refreshing", func() bool { return len(b.Log()) > 0 })
	b.Requests()
	e.Exec("ls", "-lR", dir)
	time.Sleep(2100 * time.Millisecond)
	summaries := 0
	for _, r := range b.Requests() {
		if r.Path != "/get-summary-statistics/v1" {
			t.Errorf("ls -lR once more asked for %s", r.Path)
		}
		summaries++
	}
	if summaries < 1 || summaries > 3 {
		t.Errorf("refreshing took %d requests in two to four seconds", summaries)
	}
}

const forest = `
import os, sys
from datetime import datetime
import pandas as pd
study, rows = sys.argv[1], 0
ids = [d for d in os.listdir(study) if os.path.isdir(os.path.join(study, d)) and not d.startswith(".") and d != "registry"]
for pid in sorted(ids):
    for stream in os.listdir(os.path.join(study, pid)):
        folder = os.path.join(study, pid, stream)
        assert os.path.isdir(folder), folder
        if stream in ("survey_answers", "survey_timings", "audio_recordings"):
            continue
        for name in sorted(os.listdir(folder)):          # every name must be a time, or Forest dies
            datetime.strptime(name.replace(".csv", "").replace(".mp4", "").replace("+00_00", ""), "%Y-%m-%d %H_%M_%S")
    gps = os.path.join(study, pid, "gps")
    frames = [pd.read_csv(os.path.join(gps, name)) for name in sorted(os.listdir(gps))]
    all = pd.concat(frames)
    assert list(all.columns) == ["timestamp", "UTC time", "latitude", "longitude", "altitude", "accuracy"], all.columns
    assert all["timestamp"].is_monotonic_increasing
    rows += len(all)
print(len(ids), rows)
`

// Forest lists everything, parses every name and reads every file. It must not notice that this is a mount.
func TestForestAndPandas(t *testing.T) {
	const python = "/usr/bin/python3"
	if exec.Command(python, "-c", "import pandas").Run() != nil {
		t.Skip("python3 with pandas is not installed")
	}
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 3, Days: 3, Streams: light()})
	b.AddParticipant(harness.BeiweStudyID, "nobody11", beiwetest.Participant{})
	e := b.Env()
	dir := e.Mount("beiwe:")
	rows := 0
	for _, f := range b.Truth() {
		if f.Stream == "gps" {
			rows += bytes.Count(harness.Content(f.Body), []byte("\n"))
		}
	}
	script := filepath.Join(e.Home, "forest.py")
	if err := os.WriteFile(script, []byte(forest), 0o600); err != nil {
		t.Fatal(err)
	}
	r := e.Exec(python, script, filepath.Join(dir, harness.BeiweStudy))
	if want := fmt.Sprintf("3 %d\n", rows); r.Code != 0 || r.Out != want {
		t.Errorf("it printed %q, want %q\n%s", r.Out, want, r.Err)
	}
}

// What is ours beside the studies is found by name and seen by nobody who lists.
func TestHiddenFolders(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 5, Streams: []string{"gps"}})
	e := b.Env()
	dir := e.Mount("beiwe:")
	if got := e.Exec("ls", "-A", dir).Out; got != harness.BeiweStudy+"\n" {
		t.Errorf("the root shows %q", got)
	}
	for _, name := range []string{"settings.json", "participants.csv", "interventions.json", "survey_history.json", "summary.csv"} {
		if raw, err := os.ReadFile(filepath.Join(dir, ".studyfs", harness.BeiweStudy, name)); err != nil || len(raw) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, ".by-id", harness.BeiweStudyID)); err != nil || target != "../"+harness.BeiweStudy {
		t.Errorf("by id: %q, %v", target, err)
	}
	if n := len(names(t, filepath.Join(dir, ".by-id", harness.BeiweStudyID))); n != 1 {
		t.Errorf("%d participants behind the link", n)
	}
	b.Requests()
	at := b.End.Add(-50 * time.Hour)
	zone, _ := time.LoadLocation("America/New_York")
	day := filepath.Join(dir, ".by-day", harness.BeiweStudy, b.People[0], "gps", at.In(zone).Format("2006-01-02"))
	if n := len(names(t, day)); n < 23 || n > 25 {
		t.Errorf("a day of %d hours", n)
	}
	got, err := os.ReadFile(filepath.Join(day, harness.Hour(at)))
	want := b.Truth()[strings.Join([]string{harness.BeiweStudy, b.People[0], "gps", harness.Hour(at)}, "/")]
	if err != nil || !bytes.Equal(got, harness.Content(want.Body)) {
		t.Errorf("through the day: %d bytes, %v", len(got), err)
	}
	b.AtMost(1, "one day, listed and read")
}

// pid is the serving process.
func serverOf(t *testing.T, e *harness.Env) (pid int, status string) {
	t.Helper()
	r := e.Run("status", "--json")
	var report struct{ Mounts []struct{ PID int } }
	if err := json.Unmarshal([]byte(r.Out), &report); err != nil || len(report.Mounts) != 1 {
		t.Fatalf("status: %v\n%s", err, r.Out)
	}
	return report.Mounts[0].PID, r.Out
}

// Keys, passphrases and participants' names must not be found in anything that a mount leaves behind or shows.
func TestSecretsStayWhereTheyBelong(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 2, Days: 2, Streams: []string{"gps", "survey_answers"}})
	e := harness.New(t)
	const ringPass, studyPass, password = "planted-keyring-passphrase", "planted-study-passphrase", "planted-website-password"
	ring := e.Keyring(fmt.Sprintf(`{"beiwe.test":{"URL":%q,"USERNAME":"u","PASSWORD":%q,"ACCESS_KEY":%q,"SECRET_KEY":%q,"SECRETS":{%q:%q}}}`,
		b.URL, password, harness.BeiweAccess, harness.BeiweSecret, harness.BeiweStudy, studyPass), ringPass)
	e.Vars = append(e.Vars, "NRG_KEYRING_PASS="+ringPass)
	dir := e.Mount("beiwe:beiwe.test", "--keyring", ring, "--log-level", "debug", "--refresh", "200ms", "--lock", "gps", "--encrypt-cache=false")
	b.Compare(dir)
	b.Fail(beiwetest.Fault{Kind: beiwetest.Broken, Count: 5})
	names(t, dir)
	os.ReadFile(filepath.Join(dir, harness.BeiweStudy, b.People[0], "gps", "2020-01-01 00_00_00+00_00.csv")) // an error is what is wanted
	time.Sleep(500 * time.Millisecond)
	b.ClearFaults()
	pid, status := serverOf(t, e)
	argv, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	shown := map[string]string{"status": status, "argv": string(argv), "text status": e.Run("status").Out}
	out := filepath.Join(e.Home, "out")
	r := e.Run("export", "beiwe:beiwe.test", out, "--keyring", ring, "--lock", "gps", "--encrypt-cache=false", "--participant", b.People[0])
	shown["export"] = r.Out + r.Err
	if r.Code != 0 {
		t.Errorf("export: exit %d\n%s", r.Code, r.Err)
	}
	e.Unmount(dir)
	secrets := []string{harness.BeiweAccess, harness.BeiweSecret, ringPass, studyPass, password}
	for where, text := range shown {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s shows a secret", where)
			}
		}
	}
	row := []byte("timestamp,UTC time,latitude,longitude")
	filepath.WalkDir(e.Home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == ring {
			return nil //nolint:nilerr // files come and go
		}
		below, _ := filepath.Rel(e.Home, path)
		for _, p := range b.People {
			if strings.Contains(below, p) && !strings.HasPrefix(path, out) {
				t.Errorf("the name of %s tells a participant", below)
			}
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // a directory
		}
		for _, s := range secrets {
			if bytes.Contains(raw, []byte(s)) {
				t.Errorf("%s holds a secret", below)
			}
		}
		if bytes.Contains(raw, row) {
			t.Errorf("%s holds locked contents in clear", below)
		}
		if strings.HasSuffix(path, ".log") {
			for _, p := range b.People {
				if bytes.Contains(raw, []byte(p)) {
					t.Errorf("%s names a participant", below)
				}
			}
		}
		return nil
	})
}

// Locked streams are read as any other, also after a restart without fetching them again.
func TestLockedStreams(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 3, Streams: []string{"gps", "calls"}})
	e := b.Env()
	dir := e.Mount("beiwe:", "--lock", "gps", "--encrypt-cache=false")
	b.Compare(dir)
	e.Unmount(dir)
	b.Requests()
	e.MountAt(dir, "beiwe:", "--lock", "gps", "--encrypt-cache=false")
	b.Compare(dir)
	b.AtMost(2, "all after a restart")
	e.Unmount(dir)
	e.MountAt(dir, "beiwe:", "--encrypt-cache=false")
	b.Compare(dir)
}

// A listing that takes long ends with Ctrl-C at once, status tells how far it was, and what had come is not sent again.
func TestInterruptedListing(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{}, beiwetest.FillOptions{Participants: 1, Days: 9, Streams: []string{"gps"}})
	e := b.Env()
	dir := e.Mount("beiwe:")
	study := filepath.Join(dir, harness.BeiweStudy)
	names(t, study)
	b.Fail(beiwetest.Fault{Path: "/get-data", Kind: beiwetest.Drip, Delay: 100 * time.Millisecond})
	gps := filepath.Join(study, b.People[0], "gps")
	ls := exec.Command("ls", gps)
	if err := ls.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "status tells of it", func() bool {
		_, status := serverOf(t, e)
		return strings.Contains(status, `"fetching"`) && strings.Contains(status, `"gps"`)
	})
	time.Sleep(1500 * time.Millisecond) // some files come
	began := time.Now()
	ls.Process.Signal(syscall.SIGINT)
	ls.Wait()
	if took := time.Since(began); took > 8*time.Second { // of twenty that the listing would take
		t.Errorf("Ctrl-C took %v", took)
	}
	b.ClearFaults()
	within(t, "the fetch has ended", func() bool {
		_, status := serverOf(t, e)
		return !strings.Contains(status, `"fetching"`)
	})
	b.Requests()
	if n := len(names(t, gps)); n != 216 {
		t.Errorf("%d hours", n)
	}
	members := 0
	for _, r := range b.Requests() {
		members += r.Members
	}
	if members > 215 || members == 0 {
		t.Errorf("%d files were sent for the rest of 216", members)
	}
	b.Compare(dir)
}

// Revoked keys close the mount, the cache too, with one notice; new ones open it without a remount.
func TestKeysAreRevoked(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"gps"}})
	e := b.Env()
	dir := e.Mount("beiwe:", "--refresh", "200ms")
	b.Compare(dir)
	file := filepath.Join(dir, harness.BeiweStudy, b.People[0], "gps", harness.Hour(b.End))
	b.RevokeKey(harness.BeiweAccess)
	within(t, "cached files are refused", func() bool {
		_, err := os.ReadFile(file)
		return errors.Is(err, syscall.EACCES)
	})
	if _, err := os.ReadDir(filepath.Dir(file)); !errors.Is(err, syscall.EACCES) {
		t.Errorf("ls: %v", err)
	}
	time.Sleep(time.Second)
	if _, status := serverOf(t, e); !strings.Contains(status, "refused the keys") {
		t.Errorf("status:\n%s", status)
	}
	logs, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "log", "*.log"))
	raw, _ := os.ReadFile(logs[0])
	if n := bytes.Count(raw, []byte("refuses the keys")); n != 1 {
		t.Errorf("%d notices:\n%s", n, raw)
	}
	b.AddKey(harness.BeiweAccess, harness.BeiweSecret)
	within(t, "the mount works again", func() bool {
		_, err := os.ReadFile(file)
		return err == nil
	})
	b.Compare(dir)
	if r := e.Run("mount", "beiwe:", filepath.Join(e.Home, "other")); r.Code != 0 {
		t.Errorf("a second mount: %s", r.Err)
	} else {
		e.Unmount(filepath.Join(e.Home, "other"))
	}
	b.RevokeKey(harness.BeiweAccess)
	if r := e.Run("mount", "beiwe:", filepath.Join(e.Home, "other")); r.Code != 77 || !strings.Contains(r.Err, "refused the keys") {
		t.Errorf("mount with revoked keys: exit %d\n%s", r.Code, r.Err)
	}
}

// A file that is open when its hour is rewritten stays what it was; whoever opens it next sees the new hour.
func TestOpenFileKeepsItsVersion(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 2, Streams: []string{"gps"}})
	e := b.Env()
	dir := e.Mount("beiwe:", "--refresh", "200ms")
	b.Compare(dir)
	at := b.End.Add(-20 * time.Hour)
	path := filepath.Join(dir, harness.BeiweStudy, b.People[0], "gps", harness.Hour(at))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, b.People[0], "gps", at, 9)
	within(t, "the new hour is seen", func() bool {
		now, err := os.ReadFile(path)
		return err == nil && !bytes.Equal(now, before)
	})
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, before) {
		t.Errorf("the open file: %d bytes of %d, %v", len(got), len(before), err)
	}
	b.Compare(dir)
}

// Surveys lie in folders of their own below their stream. Late hours appear there as anywhere, though the kernel has looked at them before.
func TestLateHoursInASurveysFolder(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 3, Streams: []string{"survey_timings"}})
	e := b.Env()
	dir := e.Mount("beiwe:", "--refresh", "1s")
	b.Compare(dir)
	folder := filepath.Join(dir, harness.BeiweStudy, b.People[0], "survey_timings", beiwetest.SurveyID)
	old := names(t, folder)[0]
	at, err := time.Parse("2006-01-02 15_04_05+00_00.csv", old)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(folder, old))
	if err != nil {
		t.Fatal(err)
	}
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, b.People[0], "survey_timings", at, 5)
	within(t, "the rewritten hour is seen", func() bool {
		now, err := os.Stat(filepath.Join(folder, old))
		return err == nil && now.Size() != info.Size()
	})
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, b.People[0], "survey_timings", at.Add(3*time.Hour), 5)
	within(t, "the new hour is listed", func() bool {
		return strings.Contains(strings.Join(names(t, folder), " "), harness.Hour(at.Add(3*time.Hour)))
	})
	b.Compare(dir)
}

// Whatever a window weighs, it streams through: a folder of 2 GiB costs no more memory than one of 2 MiB.
func TestMemoryOfALargeWindow(t *testing.T) {
	b := harness.NewBeiwe(t, beiwetest.Options{}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"gps"}})
	count := harness.Sized(64, 512)
	for n := range count {
		b.Put(harness.BeiweStudyID, b.People[0], "accelerometer", beiwetest.File{
			Time: b.End.Add(-time.Duration(n) * time.Hour), Body: beiwetest.Noise(4<<20+int64(n), uint64(n)),
		})
	}
	e := b.Env()
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=60s")
	dir := e.Mount("beiwe:", "--cache-size", "1GiB")
	folder := filepath.Join(dir, harness.BeiweStudy, b.People[0], "accelerometer")
	if n := len(names(t, folder)); n != count {
		t.Fatalf("%d files", n)
	}
	pid, _ := serverOf(t, e)
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); fields[0] == "VmHWM:" {
			kib, _ := strconv.Atoi(fields[1])
			t.Logf("%d MiB at most for %d MiB", kib>>10, count*4)
			if kib > 200<<10 {
				t.Errorf("%d KiB of memory", kib)
			}
		}
	}
	last := filepath.Join(folder, harness.Hour(b.End))
	got, err := os.ReadFile(last)
	if err != nil || int64(len(got)) != 4<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
