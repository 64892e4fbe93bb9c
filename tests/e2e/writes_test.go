package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// writable is a home with keys, in which files are uploaded as soon as they are closed.
func writable(t *testing.T) *harness.Env {
	t.Helper()
	e := harness.New(t)
	e.Profile("lab")
	e.Vars = append(e.Vars, "STUDYFS_QUIET=20ms")
	return e
}

// lab is how the tests name the source that they write to.
func lab(bucket, url string) []string {
	return []string{"s3://" + bucket + "/lab/", "--endpoint-url", url, "--profile", "lab", "--write"}
}

// stages is what uploads ls --json prints.
type stages struct {
	Schema int
	Stages []struct {
		Source, URL, Dir, Error string
		Uploads                 map[string]any
		Items                   []struct {
			ID                 uint64
			Name, State, Error string
			Size               int64
		}
	}
}

func uploads(t *testing.T, e *harness.Env) stages {
	t.Helper()
	r := e.Run("uploads", "ls", "--json")
	var s stages
	if err := json.Unmarshal([]byte(r.Out), &s); err != nil || r.Code != 0 || s.Schema != 1 {
		t.Fatalf("uploads ls: exit %d, %v\n%s%s", r.Code, err, r.Out, r.Err)
	}
	return s
}

func stored(t *testing.T, srv *s3test.Server, key string) string {
	t.Helper()
	o, ok := srv.Object("study", key)
	if !ok {
		return "(nothing)"
	}
	body, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// write creates a file in the way that a shell does.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// noNames fails if a name of a file is in a log: names hold participants.
func noNames(t *testing.T, e *harness.Env, names ...string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "log", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("no logs: %v", err)
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			if bytes.Contains(text, []byte(name)) {
				t.Errorf("a log holds the name %q:\n%s", name, text)
			}
		}
	}
}

// A study is copied in, and every byte of it is at the service when umount --flush returns.
func TestCopyInStrict(t *testing.T) {
	srv, url := harness.Strict(t, "lab/", s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
	copyIn(t, "study", url, func(t *testing.T) map[string][]byte {
		t.Helper()
		all := map[string][]byte{}
		for _, key := range srv.Keys("study") {
			all[key] = []byte(stored(t, srv, key))
		}
		return all
	})
}

func TestCopyInVersityGW(t *testing.T) {
	url, c := harness.Gateway(t)
	bucket := harness.Bucket()
	harness.FillGateway(t, c, bucket, "lab/", nil)
	copyIn(t, bucket, url, func(t *testing.T) map[string][]byte {
		t.Helper()
		all := map[string][]byte{}
		p := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{Bucket: &bucket})
		for p.HasMorePages() {
			page, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Contents {
				got, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: aws.String(bucket), Key: o.Key})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(got.Body)
				if err != nil {
					t.Fatal(err)
				}
				all[*o.Key] = body
			}
		}
		return all
	})
}

func copyIn(t *testing.T, bucket, url string, objects func(*testing.T) map[string][]byte) {
	t.Helper()
	files := harness.Study(t)
	delete(files, "names/"+strings.Repeat("n", 255)) // the gateway's own temporary names do not fit beside it
	e := writable(t)
	from := filepath.Join(e.Home, "from")
	for name, f := range files {
		write(t, filepath.Join(from, name), string(f.Body))
	}
	dir := e.Mount(lab(bucket, url)...)
	if r := e.Exec("cp", "-r", from+"/.", dir); r.Code != 0 {
		t.Fatalf("cp: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec("diff", "-r", from, dir); r.Code != 0 {
		t.Errorf("what was written is not what is read: exit %d\n%.2000s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Run("umount", "--flush", dir); r.Code != 0 || strings.Contains(r.Err, "not uploaded") {
		t.Fatalf("umount --flush: exit %d\n%s", r.Code, r.Err)
	}
	got := objects(t)
	for name, f := range files {
		if body, ok := got["lab/"+name]; !ok || !bytes.Equal(body, f.Body) {
			t.Errorf("%s: %d bytes at the service (there: %v); want %d", name, len(body), ok, len(f.Body))
		}
		delete(got, "lab/"+name)
	}
	for key := range got {
		if !strings.HasSuffix(key, "/") { // a folder that was empty for a moment
			t.Errorf("nobody has written %q", key)
		}
	}
	for _, s := range uploads(t, e).Stages {
		if len(s.Items) > 0 {
			t.Errorf("left behind: %+v", s.Items)
		}
	}
	e.MountAt(dir, lab(bucket, url)[:5]...) // without --write
	if r := e.Exec("diff", "-r", from, dir); r.Code != 0 {
		t.Errorf("read by a later mount: exit %d\n%.2000s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Run("uploads", "verify"); r.Code != 0 || !strings.Contains(r.Err, strconv.Itoa(len(files))+" files looked at") {
		t.Errorf("verify: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	noNames(t, e, "with space", "participant_data", "sizes/")
}

// The service is down while files are copied in. Nothing is lost, nothing hangs, and a later "uploads run" stores them.
func TestUploadsAreLeftAndRunLater(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	dir := e.Mount(lab("study", url)...)
	heal := srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.SlowDown})
	write(t, filepath.Join(dir, "derivatives/vista/sub-01/dwi/sub-01_dwi.nii.gz"), "12345")
	write(t, filepath.Join(dir, "README"), "123")
	s := uploads(t, e)
	if len(s.Stages) != 1 || len(s.Stages[0].Items) != 2 || s.Stages[0].Dir != dir {
		t.Fatalf("%+v", s)
	}
	if r := e.Run("uploads", "wait", "--timeout", "50ms", dir); r.Code != 75 {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	begun := time.Now()
	r := e.Run("umount", dir)
	if r.Code != 0 || !strings.Contains(r.Err, "2 files (8 B) are not uploaded yet; they are safe on this machine") {
		t.Errorf("umount: exit %d\n%s", r.Code, r.Err)
	}
	if took := time.Since(begun); took > 40*time.Second {
		t.Errorf("umount took %v; 10 s are promised", took)
	}
	if s := uploads(t, e); len(s.Stages) != 1 || len(s.Stages[0].Items) != 2 || s.Stages[0].Dir != "" {
		t.Errorf("after the unmount: %+v", s)
	}
	if r := e.Run("uploads", "run", "--timeout", "300ms"); r.Code != 75 {
		t.Errorf("run while the service is down: exit %d\n%s", r.Code, r.Err)
	}
	heal()
	if r := e.Run("uploads", "run"); r.Code != 0 || !strings.Contains(r.Err, "uploaded 2 files") {
		t.Errorf("run: exit %d\n%s", r.Code, r.Err)
	}
	if got := stored(t, srv, "lab/README"); got != "123" {
		t.Errorf("stored: %s", got)
	}
	noNames(t, e, "README", "sub-01", "vista")
}

// The service has fallen silent in the middle of an upload. An unmount does not wait for it, and nothing is lost.
func TestUnmountDoesNotWaitForASilentService(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=5m", "STUDYFS_TIMEOUT_PROGRESS=5m", "STUDYFS_TIMEOUT_RETRY=5m")
	dir := e.Mount(lab("study", url)...)
	heal := srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.Delay, Wait: time.Hour})
	write(t, filepath.Join(dir, "f"), "text")
	for i := 0; uploads(t, e).Stages[0].Uploads["uploading"] != 1.0; i++ {
		if i == 200 {
			t.Fatal("the upload does not begin")
		}
	}
	begun := time.Now()
	if r := e.Run("umount", dir); r.Code != 0 || !strings.Contains(r.Err, "1 file (4 B) is not uploaded yet") {
		t.Errorf("umount: exit %d\n%s", r.Code, r.Err)
	}
	if took := time.Since(begun); took > 40*time.Second {
		t.Errorf("umount took %v; 10 s are promised", took)
	}
	heal()
	e.MountAt(dir, lab("study", url)...)
	if r := e.Run("umount", "--flush", dir); r.Code != 0 || stored(t, srv, "lab/f") != "text" {
		t.Errorf("umount --flush: exit %d, stored %q\n%s", r.Code, stored(t, srv, "lab/f"), r.Err)
	}
}

// Two people write the same file. Whoever is second is asked, and either answer is followed.
func TestConflictIsResolved(t *testing.T) {
	for how, want := range map[string]struct {
		file  string
		count int
	}{"mine": {"mine", 1}, "theirs": {"theirs", 1}, "both": {"theirs", 2}} {
		t.Run(how, func(t *testing.T) {
			srv, url := harness.Strict(t, "", s3test.Options{})
			e := writable(t)
			e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
			dir := e.Mount(lab("study", url)...)
			write(t, filepath.Join(dir, "d/f.txt"), "mine")
			srv.Put("study", "lab/d/f.txt", s3test.Bytes([]byte("theirs")))
			if r := e.Run("uploads", "wait"); r.Code != 75 || !strings.Contains(r.Err, "decision") {
				t.Fatalf("wait: exit %d\n%s", r.Code, r.Err)
			}
			if s := uploads(t, e); len(s.Stages[0].Items) != 1 || s.Stages[0].Items[0].State != "conflict" || s.Stages[0].Items[0].Error == "" {
				t.Fatalf("%+v", s)
			}
			if got := stored(t, srv, "lab/d/f.txt"); got != "theirs" {
				t.Fatalf("overwritten by %q", got)
			}
			if r := e.Run("uploads", "resolve", "d/f.txt", "--"+how); r.Code != 0 {
				t.Fatalf("resolve: exit %d\n%s", r.Code, r.Err)
			}
			if r := e.Run("uploads", "wait", dir); r.Code != 0 {
				t.Fatalf("wait: exit %d\n%s", r.Code, r.Err)
			}
			keys := slices.DeleteFunc(srv.Keys("study"), func(key string) bool { return strings.HasSuffix(key, "/") })
			if got := stored(t, srv, "lab/d/f.txt"); got != want.file || len(keys) != want.count {
				t.Errorf("stored %q among %q; want %q among %d", got, keys, want.file, want.count)
			}
		})
	}
}

// The serving process is killed while files wait. The next mount has them, and uploads them by itself.
func TestKillAndRemount(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
	dir := e.Mount(lab("study", url)...)
	for i := range 20 {
		write(t, filepath.Join(dir, "d", strconv.Itoa(i)), strings.Repeat("x", i*1000))
	}
	var status struct{ Mounts []struct{ PID int } }
	if err := json.Unmarshal([]byte(e.Run("status", "--json").Out), &status); err != nil || len(status.Mounts) != 1 {
		t.Fatalf("%v, %+v", err, status)
	}
	if err := syscall.Kill(status.Mounts[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if n := srv.Count(s3test.OpPut); n != 0 {
		t.Fatalf("%d uploads before the kill", n)
	}
	for { // until the kernel has noticed
		f, err := os.Open(dir)
		if isErrno(err, syscall.ENOTCONN) {
			break
		}
		if err == nil {
			f.Close()
		}
		time.Sleep(time.Millisecond)
	}
	e.Vars = append(e.Vars, "STUDYFS_QUIET=20ms")
	e.MountAt(dir, lab("study", url)...)
	if r := e.Run("uploads", "wait"); r.Code != 0 {
		t.Fatalf("wait: exit %d\n%s", r.Code, r.Err)
	}
	for i := range 20 {
		if got := stored(t, srv, "lab/d/"+strconv.Itoa(i)); got != strings.Repeat("x", i*1000) {
			t.Errorf("%d: %d bytes are stored; want %d", i, len(got), i*1000)
		}
	}
}

// A batch job's machine may vanish when the job ends: what it has written must be stored by then, or the job must fail.
func TestRunStoresBeforeItEnds(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
	run := func(script string) harness.Result {
		return e.Run(append(append([]string{"run"}, lab("study", url)...), "--", "sh", "-c", script)...)
	}
	if r := run("mkdir d && echo result > d/out; exit 3"); r.Code != 3 || stored(t, srv, "lab/d/out") != "result\n" {
		t.Errorf("exit %d, stored %q\n%s", r.Code, stored(t, srv, "lab/d/out"), r.Err)
	}
	srv.Put("study", "lab/e", s3test.Bytes([]byte("old")))
	r := run("cat e; echo new > e; touch -d 2001-01-01 e")
	if r.Code != 0 || stored(t, srv, "lab/e") != "new\n" || r.Out != "old" {
		t.Errorf("exit %d, stored %q\n%s", r.Code, stored(t, srv, "lab/e"), r.Err)
	}
	srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.AccessDenied})
	if r := run("echo new > f"); r.Code != 75 {
		t.Errorf("keys that may not write: exit %d\n%s", r.Code, r.Err)
	}
}

// Two mounts must not look after the same staged files, and whoever comes second must learn who is first.
func TestSecondWriterIsRefused(t *testing.T) {
	_, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Mount(lab("study", url)...)
	r := e.Run(append(append([]string{"mount"}, lab("study", url)...), filepath.Join(e.Home, "second"))...)
	if r.Code != 75 || !strings.Contains(r.Err, "process ") || !strings.Contains(r.Err, "serve-mount") {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
}

// What is staged can be seen, dropped and paused; what is stored can be compared with what was sent.
func TestUploadsCommands(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	dir := e.Mount(lab("study", url)...)
	if r := e.Run("uploads", "pause"); r.Code != 0 {
		t.Fatalf("pause: exit %d\n%s", r.Code, r.Err)
	}
	write(t, filepath.Join(dir, "a"), "aaa")
	write(t, filepath.Join(dir, "b"), "bbb")
	if r := e.Run("uploads", "wait"); r.Code != 75 || !strings.Contains(r.Err, "paused") {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("status", filepath.Join(dir, "a")); r.Code != 0 || !strings.Contains(r.Out, "staged") {
		t.Errorf("status: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Run("uploads", "drop", "a"); r.Code != 2 || !strings.Contains(r.Err, "--yes") {
		t.Errorf("drop: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("uploads", "drop", filepath.Join(dir, "a"), "--yes"); r.Code != 0 {
		t.Errorf("drop --yes: exit %d\n%s", r.Code, r.Err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("the dropped file is still seen: %v", err)
	}
	if r := e.Run("uploads", "resume"); r.Code != 0 {
		t.Errorf("resume: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("uploads", "wait", filepath.Join(dir, "b")); r.Code != 0 {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	if keys := srv.Keys("study"); !slices.Equal(keys, []string{"lab/b"}) {
		t.Errorf("stored %q", keys)
	}
	if r := e.Run("uploads", "verify"); r.Code != 0 {
		t.Errorf("verify: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	srv.Put("study", "lab/b", s3test.Bytes([]byte("other")))
	if r := e.Run("uploads", "verify"); r.Code != 1 || !strings.HasPrefix(r.Out, "b: ") {
		t.Errorf("verify after a change by somebody else: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	r := e.Run("status", "--json")
	for _, want := range []string{`"read_only": false`, `"stored": 1`, `"durability": "local"`, `"conditions": "able"`} {
		if !strings.Contains(r.Out, want) {
			t.Errorf("status --json lacks %s\n%s", want, r.Out)
		}
	}
}

// The network is away when the mount begins. Files can be copied in all the same, and go up when it is back.
func TestMountAndWriteOffline(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/old", s3test.Bytes([]byte("old")))
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=300ms")
	dir := e.Mount(lab("study", url)...)
	if got, err := os.ReadFile(filepath.Join(dir, "old")); err != nil || string(got) != "old" {
		t.Fatalf("%q, %v", got, err)
	}
	e.Unmount(dir)
	heal := srv.Inject(s3test.Rule{Fault: s3test.Refuse})
	e.MountAt(dir, append(lab("study", url), "--region", "us-east-1")...)
	write(t, filepath.Join(dir, "new"), "new")
	for name, want := range map[string]string{"new": "new", "old": "old"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if r := e.Run("uploads", "wait", "--timeout", "100ms"); r.Code != 75 {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	heal()
	if r := e.Run("uploads", "wait"); r.Code != 0 || stored(t, srv, "lab/new") != "new" {
		t.Errorf("wait: exit %d, stored %q\n%s", r.Code, stored(t, srv, "lab/new"), r.Err)
	}
}

// The source has left the configuration; what was staged for it can still be uploaded.
func TestUploadsRunWithoutConfiguration(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	write(t, config, "[source.lab]\nkind = \"s3\"\nurl = \"s3://study/x/\"\nkeys = \"file:"+e.KeysFile("")+"\"\nendpoint-url = \""+url+"\"\nwrite = true\n")
	dir := e.Mount("lab")
	write(t, filepath.Join(dir, "f"), "text")
	e.Unmount(dir)
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if s := uploads(t, e); len(s.Stages) != 1 || s.Stages[0].URL != "s3://study/x/" || len(s.Stages[0].Items) != 1 {
		t.Errorf("%+v", s)
	}
	if r := e.Run("uploads", "run"); r.Code != 0 || stored(t, srv, "x/f") != "text" {
		t.Errorf("run: exit %d, stored %q\n%s", r.Code, stored(t, srv, "x/f"), r.Err)
	}
	header, err := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*", "stage", "header"))
	if err != nil || len(header) != 1 {
		t.Fatalf("%q, %v", header, err)
	}
	if text, err := os.ReadFile(header[0]); err != nil || strings.Contains(string(text), harness.Secret) {
		t.Errorf("the header of the stage holds keys, or cannot be read: %v", err)
	}
}

// The demo's lab bucket takes files, and its end takes no longer for it.
func TestDemoTakesFiles(t *testing.T) {
	e := writable(t)
	r := e.Run("demo", filepath.Join(e.Home, "demo"), "--", "sh", "-c", "cp -r bids/* lab && diff -r bids lab")
	if r.Code != 0 {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
}
