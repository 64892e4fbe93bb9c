package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

type auditLine struct {
	Seq                     uint64
	Op, Exe, Source, Object string
	Name, Detail            string
	UID, PID                int
}

func auditLines(t *testing.T, e *harness.Env, args ...string) (all []auditLine) {
	t.Helper()
	r := e.Run(append([]string{"audit", "show", "--json"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	for line := range strings.Lines(r.Out) {
		var l auditLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err, line)
		}
		all = append(all, l)
	}
	return all
}

// Somebody reads a participant's file. Who did, with what, stands in the log, each time, also where the bytes come from the kernel's own pages;
// the file on the disk holds no name, and changing it is noticed.
func TestAuditOfReading(t *testing.T) {
	e := harness.New(t)
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	srv.Put("study", "v2/4711/sub-01/heart.csv", s3test.Bytes([]byte("beats")))
	keys := e.KeysFile("s3://study/v2/4711/")
	dir := e.Mount("empatica:"+keys, "--endpoint-url", url)
	for range 2 {
		if r := e.Exec("cat", filepath.Join(dir, "sub-01/heart.csv")); r.Out != "beats" {
			t.Fatalf("%+v", r)
		}
	}
	e.Unmount(dir)
	reads := auditLines(t, e, "--names", "--op", "open-read")
	if len(reads) != 2 {
		t.Fatalf("%+v", reads)
	}
	for _, l := range reads {
		if l.Name != "sub-01/heart.csv" || l.UID != os.Getuid() || l.PID == 0 || !strings.HasPrefix(filepath.Base(l.Exe), "cat") && !strings.Contains(l.Exe, "coreutils") && !strings.Contains(l.Exe, "busybox") || l.Source != "empatica" {
			t.Errorf("%+v", l)
		}
	}
	if reads[0].PID == reads[1].PID || reads[0].Object != reads[1].Object {
		t.Errorf("%+v", reads)
	}
	if hidden := auditLines(t, e, "--source", "empatica", "--user", strconv.Itoa(os.Getuid())); len(hidden) != 4 || hidden[1].Name != "" { // mount, two reads, umount
		t.Errorf("%+v", hidden)
	}
	logs, err := filepath.Glob(filepath.Join(e.Home, ".state/studyfs/audit/audit.jsonl"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	raw, err := os.ReadFile(logs[0])
	if err != nil || strings.Contains(string(raw), "heart") {
		t.Errorf("%v\n%s", err, raw)
	}
	if r := e.Run("audit", "verify"); r.Code != 0 || !strings.Contains(r.Out, "4 lines") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	lines := slices.Collect(strings.Lines(string(raw)))
	if err := os.WriteFile(logs[0], []byte(strings.Join(slices.Delete(lines, 1, 2), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := e.Run("audit", "verify"); r.Code != 1 || !strings.Contains(r.Err, "missing") {
		t.Errorf("a line was removed: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}

// What is copied in, deleted and read before it is stored is noted. Open data is not, unless that is asked for.
func TestAuditOfWriting(t *testing.T) {
	e := writable(t)
	srv, url := harness.Strict(t, "lab/", s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
	dir := e.Mount(append(lab("study", url), "--delete")...)
	file := filepath.Join(dir, "note.txt")
	if err := os.WriteFile(file, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := e.Exec("cat", file); r.Out != "text" {
		t.Errorf("%+v", r)
	}
	e.Drain(dir)
	if r := e.Exec("rm", file); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	e.Unmount(dir)
	var ops []string
	for _, l := range auditLines(t, e, "--names") {
		if l.Name != "" && l.Name != "note.txt" {
			t.Errorf("%+v", l)
		}
		ops = append(ops, l.Op)
	}
	if got := strings.Join(ops, " "); got != "mount open-read upload delete umount" {
		t.Errorf("%s", got)
	}
}

// A file that the rules keep in is noted as refused: the attempt matters as much as an upload.
func TestAuditOfRefusals(t *testing.T) {
	e := writable(t)
	srv, url := harness.Strict(t, "lab/", s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
	dir := e.Mount(append(lab("study", url), "--gate", "refuse")...)
	if err := os.WriteFile(filepath.Join(dir, "Smith.doc"), []byte("text"), 0o644); err == nil {
		t.Error("the gate is open")
	}
	e.Unmount(dir)
	refused := auditLines(t, e, "--names", "--op", "refuse")
	if len(refused) != 1 || refused[0].Name != "Smith.doc" || refused[0].Detail == "" || strings.Contains(refused[0].Detail, "Smith") {
		t.Errorf("%+v", refused)
	}
}

// With strict nothing is read that cannot be noted.
func TestStrictAudit(t *testing.T) {
	e := harness.New(t)
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	srv.Put("study", "v2/4711/a.csv", s3test.Bytes([]byte("beats")))
	keys := e.KeysFile("s3://study/v2/4711/")
	dir := e.Mount("empatica:"+keys, "--endpoint-url", url, "--audit", "strict")
	if r := e.Exec("cat", filepath.Join(dir, "a.csv")); r.Out != "beats" {
		t.Fatalf("%+v", r)
	}
	log := filepath.Join(e.Home, ".state/studyfs/audit")
	if err := os.Rename(log, log+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, nil, 0o600); err != nil { // no directory can be made there
		t.Fatal(err)
	}
	if r := e.Exec("cat", filepath.Join(dir, "a.csv")); r.Code == 0 || r.Out != "" || !strings.Contains(r.Err, "put/output error") {
		t.Errorf("%+v", r)
	}
	if r := e.Run("mount", "empatica:"+keys, "--endpoint-url", url, "--audit", "strict", filepath.Join(e.Home, "second")); r.Code != 73 || !strings.Contains(r.Err, "audit log") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if err := os.Remove(log); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(log+".away", log); err != nil {
		t.Fatal(err)
	}
	if r := e.Exec("cat", filepath.Join(dir, "a.csv")); r.Out != "beats" {
		t.Errorf("the log is back: %+v", r)
	}
	e.Unmount(dir)
}
