// Package e2e runs the built program against real servers through real mounts.
package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// Every byte of every file, cold, warm and after a restart; keys limited to the prefix.
func TestEveryByteStrict(t *testing.T) {
	files := harness.Study(t)
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{PageSize: 50})
	harness.Fill(srv, "v2/4711/", files)
	e := harness.New(t)
	keys := e.KeysFile("s3://study/v2/4711/")
	everyByte(t, e, files, "empatica:"+keys, "--endpoint-url", url)
	for _, r := range srv.Requests() {
		switch {
		case r.Op == "GetObject" || r.Op == "HeadBucket" && r.AccessKey == "":
		case r.Op == "ListObjectsV2" && strings.HasPrefix(r.Query.Get("prefix"), "v2/4711/"):
		default:
			t.Fatalf("asked for %s %q with prefix %q", r.Op, r.Key, r.Query.Get("prefix"))
		}
		if r.Status >= 400 && r.Op != "HeadBucket" {
			t.Errorf("%s: status %d", r.Op, r.Status)
		}
	}
}

func TestEveryByteVersityGW(t *testing.T) {
	files := harness.Study(t)
	delete(files, "names/"+strings.Repeat("n", 255)) // the gateway's own temporary names do not fit beside it
	url, c := harness.Gateway(t)
	bucket := harness.Bucket()
	harness.FillGateway(t, c, bucket, "lab/", files)
	e := harness.New(t)
	e.Profile("lab")
	everyByte(t, e, files, "s3://"+bucket+"/lab/", "--endpoint-url", url, "--profile", "lab")
}

func everyByte(t *testing.T, e *harness.Env, files map[string]harness.File, args ...string) {
	t.Helper()
	dir := e.Mount(args...)
	harness.Compare(t, dir, files)
	harness.Compare(t, dir, files)
	e.Unmount(dir)
	e.MountAt(dir, args...)
	harness.Compare(t, dir, files)
	e.Unmount(dir)
	for _, more := range [][]string{{"--no-passthrough"}, {"--no-open", "--audit", "off"}} {
		e.MountAt(dir, slices.Concat(args, more)...)
		harness.Compare(t, dir, files)
		e.Unmount(dir)
	}
}

func TestSeveralSourcesAndConfig(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "one/", map[string]harness.File{"a": {Body: []byte("1")}})
	harness.Fill(srv, "two/", map[string]harness.File{"b": {Body: []byte("2")}})
	e := harness.New(t)
	e.Profile("lab")
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	if err := os.MkdirAll(filepath.Dir(config), 0o700); err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, name := range []string{"one", "two"} {
		text += "[source." + name + "]\nkind = \"s3\"\nurl = \"s3://study/" + name + "/\"\nprofile = \"lab\"\nendpoint-url = \"" + url + "\"\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount()
	for path, want := range map[string]string{"one/a": "1", "two/b": "2"} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if _, err := os.ReadDir(filepath.Join(dir, "three")); !os.IsNotExist(err) {
		t.Errorf("a folder of no source: %v", err)
	}
	e.Unmount(dir)
	dir = e.Mount("two")
	if got, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(got) != "2" {
		t.Errorf("one source by name: %q, %v", got, err)
	}
}

func TestReadOnlyIsSaid(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"d/f": {Body: []byte("1")}})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	f, d := filepath.Join(dir, "d/f"), filepath.Join(dir, "d")
	for name, call := range map[string]func() error{
		"create":   func() error { return os.WriteFile(filepath.Join(d, "new"), nil, 0o600) },
		"mkdir":    func() error { return os.Mkdir(filepath.Join(d, "new"), 0o700) },
		"unlink":   func() error { return syscall.Unlink(f) },
		"rmdir":    func() error { return syscall.Rmdir(d) },
		"rename":   func() error { return os.Rename(f, f+"2") },
		"link":     func() error { return os.Link(f, f+"2") },
		"symlink":  func() error { return os.Symlink("x", f+"2") },
		"chmod":    func() error { return os.Chmod(f, 0o600) },
		"chown":    func() error { return os.Chown(f, 1, 1) },
		"utimes":   func() error { return syscall.Utimes(f, make([]syscall.Timeval, 2)) },
		"truncate": func() error { return os.Truncate(f, 0) },
		"mknod":    func() error { return syscall.Mknod(f+"2", syscall.S_IFIFO, 0) },
		"setxattr": func() error { return syscall.Setxattr(f, "user.x", []byte("1"), 0) },
		"open for writing": func() error {
			h, err := os.OpenFile(f, os.O_RDWR, 0)
			if err == nil {
				h.Close()
			}
			return err
		},
	} {
		if err := call(); !isErrno(err, syscall.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := srv.Count(s3test.OpPut) + srv.Count(s3test.OpDelete); n != 0 {
		t.Errorf("%d writes reached the store", n)
	}
}

func TestStatusJSON(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"d/f": {Body: []byte("12345")}, "d//hidden": {Body: []byte("x")}})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	if _, err := os.ReadFile(filepath.Join(dir, "d/f")); err != nil {
		t.Fatal(err)
	}
	r := e.Run("status", "--json")
	var got struct {
		Schema int
		Mounts []struct {
			Dir     string
			Sources []struct {
				Name, Kind  string
				ReadOnly    bool `json:"read_only"`
				Passthrough struct {
					On  bool
					Why string
				}
				Cache    map[string]int64
				Requests map[string]int64
				Bytes    struct{ In, Out int64 }
				Listing  map[string]float64
				Uploads  map[string]int64
				Errors   []any
			}
		}
	}
	if err := json.Unmarshal([]byte(r.Out), &got); err != nil || r.Code != 0 {
		t.Fatalf("exit %d, %v\n%s%s", r.Code, err, r.Out, r.Err)
	}
	if got.Schema != 1 || len(got.Mounts) != 1 || len(got.Mounts[0].Sources) != 1 {
		t.Fatalf("%s", r.Out)
	}
	s := got.Mounts[0].Sources[0]
	if s.Kind != "s3" || s.Requests["get"] != int64(srv.Count("GetObject")) || s.Requests["list"] != int64(srv.Count("ListObjectsV2")) ||
		s.Requests["put"] != 0 || s.Cache["bytes"] != 5 || s.Bytes.In < 5 || s.Listing["hidden_keys"] != 1 || s.Uploads["staged"] != 0 {
		t.Errorf("%s", r.Out)
	}
	if !s.Passthrough.On && s.Passthrough.Why == "" {
		t.Error("passthrough is off without a reason")
	}
	if r := e.Run("status", filepath.Join(dir, "d/f")); r.Code != 0 || !strings.Contains(r.Out, "cached") {
		t.Errorf("status of a file: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	for _, secret := range []string{harness.Secret} {
		if strings.Contains(r.Out, secret) {
			t.Error("a secret in status")
		}
	}
}

func TestRunGivesTheCommandsExitCode(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"d/f": {Body: []byte("12345")}})
	e := harness.New(t)
	e.Profile("lab")
	r := e.Run("run", "s3://study/", "--endpoint-url", url, "--profile", "lab", "--", "sh", "-c", "cat d/f; exit 7")
	if r.Code != 7 || r.Out != "12345" {
		t.Errorf("exit %d, %q\n%s", r.Code, r.Out, r.Err)
	}
	if raw, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(raw), e.Home) {
		t.Error("the private mount is left")
	}
}

func TestDemoRunsACommand(t *testing.T) {
	e := harness.New(t)
	dir := filepath.Join(e.Home, "demo")
	r := e.Run("demo", dir, "--", "sh", "-c", "find bids empatica hcp -type f | wc -l; ls -d beiwe/*/* | wc -l; head -c 14 empatica/1/1/participant_data/2026-11-19/P001-3YK1A0B000/digital_biomarkers/aggregated_per_minute/*_eda.csv; exit 3")
	if r.Code != 3 || r.Out != "399\n5\ntimestamp_unix" {
		t.Errorf("exit %d, %q\n%s", r.Code, r.Out, r.Err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the demo's folder is left: %v", err)
	}
}

func isErrno(err error, want syscall.Errno) bool {
	for err != nil {
		if err == want { //nolint:errorlint // unwrapped by hand
			return true
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return false
		}
		err = u.Unwrap()
	}
	return false
}

// A server that was killed leaves a mount that answers "Transport endpoint is not connected"; the next mount clears it.
func TestStaleMountIsCleared(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"f": {Body: []byte("12345")}})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	killServers(t, e)
	var err error
	for range 100 { // the calls under way are aborted first
		if _, err = os.ReadDir(dir); isErrno(err, syscall.ENOTCONN) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !isErrno(err, syscall.ENOTCONN) {
		t.Fatalf("after kill -9: %v", err)
	}
	e.MountAt(dir, "s3://study/", "--endpoint-url", url, "--profile", "lab")
	if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
}

// killServers kills the serving processes of this home.
func killServers(t *testing.T, e *harness.Env) {
	t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/environ")
	killed := 0
	for _, p := range procs {
		env, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(env), "HOME="+e.Home+"\x00") {
			continue
		}
		pid := 0
		for _, c := range filepath.Base(filepath.Dir(p)) {
			pid = 10*pid + int(c-'0')
		}
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("no server found")
	}
}
