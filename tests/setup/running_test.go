package setup

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

func file(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keys is a keys file as AWS gives it.
func keys(t *testing.T, e *harness.Env, name, id, secret string) string {
	t.Helper()
	return file(t, filepath.Join(e.Home, name), "Access key ID,Secret access key\r\n"+id+","+secret+"\r\n")
}

const other = "AKIAOTHEROTHEROTHERX"

// The keys are revoked while people read and write. Whoever brings new ones types one command: files open again at once, what waited is
// uploaded, and the next mount has the new keys, too. Wrong ones change nothing.
func TestNewKeysOfARunningMount(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "lab/", map[string]harness.File{"a": {Body: []byte("a")}, "b": {Body: []byte("b")}})
	e := harness.New(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=10ms")
	if r := e.Run("setup", "s3://study/lab/", "--keys", keys(t, e, "first.csv", harness.ID, harness.Secret), "--endpoint-url", url, "--write"); r.Code != 0 {
		t.Fatalf("setup: exit %d\n%s", r.Code, r.Err)
	}
	dir := e.Mount("lab")
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "a" {
		t.Fatalf("%q, %v", got, err)
	}
	srv.Revoke(harness.ID)
	file(t, filepath.Join(dir, "c"), "c")
	if r := e.Run("uploads", "wait"); r.Code != 75 || !strings.Contains(r.Err, "keys") {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "b")); !os.IsPermission(err) {
		t.Errorf("with revoked keys: %v", err)
	}
	kept := filepath.Join(e.Home, ".config", "studyfs", "keys", "lab.csv")
	before, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	srv.AddKey(s3test.AccessKey{ID: other, Secret: harness.Secret})
	if r := e.Run("auth", "lab", "--keys", keys(t, e, "wrong.csv", other, strings.ToUpper(harness.Secret))); r.Code != 77 || !strings.Contains(r.Err, "secret access key") {
		t.Errorf("wrong keys: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("auth", "lap"); r.Code != 2 || !strings.Contains(r.Err, "did you mean lab") {
		t.Errorf("a name mistyped: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("auth"); r.Code != 2 || !strings.Contains(r.Err, "--keys") {
		t.Errorf("without a terminal: exit %d\n%s", r.Code, r.Err)
	}
	if now, err := os.ReadFile(kept); err != nil || string(now) != string(before) {
		t.Errorf("wrong keys were kept: %v", err)
	}
	r, typed := e.AtTerminal([]string{"", other, harness.Secret}, "auth")
	if r.Code != 0 || typed != 3 || !strings.Contains(r.Err, dir+" uses the new keys") || strings.Contains(r.Err, harness.Secret) {
		t.Fatalf("auth: exit %d after %d lines\n%s", r.Code, typed, r.Err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(got) != "b" {
		t.Errorf("with new keys: %q, %v", got, err)
	}
	if r := e.Run("uploads", "wait"); r.Code != 0 || !slices.Contains(srv.Keys("study"), "lab/c") {
		t.Errorf("wait: exit %d, stored %q\n%s", r.Code, srv.Keys("study"), r.Err)
	}
	e.Unmount(dir)
	if r := e.Run("mount", "lab", dir); r.Code != 0 {
		t.Errorf("the next mount: exit %d\n%s", r.Code, r.Err)
	}
}

// reloading is what status tells of the last reading of the configuration.
type reloading struct {
	At       time.Time `json:"at"`
	OK       bool      `json:"ok"`
	Why      string    `json:"why"`
	Applied  []string  `json:"applied"`
	Later    []string  `json:"next_mount"`
	Problems []string  `json:"problems"`
}

type mounts struct {
	Mounts []struct {
		PID    int        `json:"pid"`
		Log    string     `json:"log"`
		Reload *reloading `json:"reload"`
	} `json:"mounts"`
}

func status(t *testing.T, e *harness.Env) mounts {
	t.Helper()
	var m mounts
	if err := json.Unmarshal([]byte(e.Run("status", "--json").Out), &m); err != nil || len(m.Mounts) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	return m
}

// hangUp sends SIGHUP and returns what came of it.
func hangUp(t *testing.T, e *harness.Env, pid int) reloading {
	t.Helper()
	var before time.Time
	if r := status(t, e).Mounts[0].Reload; r != nil {
		before = r.At
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		if r := status(t, e).Mounts[0].Reload; r != nil && r.At.After(before) {
			return *r
		}
	}
	t.Fatal("the configuration was not read again")
	return reloading{}
}

// An administrator edits the configuration of a mount that people work in: what can change does, what cannot is said, and a mistake in it
// harms nobody.
func TestConfigurationIsReadAgain(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "lab/", map[string]harness.File{"a": {Body: []byte("a")}})
	e := harness.New(t)
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	first := keys(t, e, "first.csv", harness.ID, harness.Secret)
	text := func(head, bandwidth, keys string) string {
		return head + "\n[source.lab]\nkind = \"s3\"\nwrite = true\nurl = \"s3://study/lab/\"\nendpoint-url = \"" + url + "\"\nupload-bandwidth = \"" + bandwidth + "\"\nkeys = \"file:" + keys + "\"\n"
	}
	file(t, config, text("", "1MiB", first))
	dir := e.Mount("lab")
	m := status(t, e).Mounts[0]
	if m.Reload != nil {
		t.Errorf("read again already: %+v", m.Reload)
	}
	file(t, config, text("read-ahead-files = 3\n[log]\nlevel = \"debug\"\n[cache]\nsize = \"1GiB\"", "2MiB", first))
	r := hangUp(t, e, m.PID)
	if !r.OK || !slices.Equal(r.Applied, []string{"log.level", "read-ahead-files", "source.lab.upload-bandwidth"}) || !slices.Equal(r.Later, []string{"cache.size"}) || len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
	if said := e.Run("status"); !strings.Contains(said.Out, "with the next mount: cache.size") {
		t.Errorf("status does not tell:\n%s", said.Out)
	}

	file(t, config, text("memory = \"lots\"", "2MiB", first))
	if r = hangUp(t, e, m.PID); r.OK || !strings.Contains(r.Why, "line 1") {
		t.Errorf("a broken configuration: %+v", r)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != "a" {
		t.Errorf("%q, %v", got, err)
	}

	// New keys at another place, and then such as are refused.
	srv.AddKey(s3test.AccessKey{ID: other, Secret: harness.Secret})
	srv.Revoke(harness.ID)
	file(t, config, text("", "2MiB", keys(t, e, "second.csv", other, harness.Secret)))
	if r = hangUp(t, e, m.PID); !r.OK || !slices.Contains(r.Applied, "source.lab.keys") || len(r.Problems) > 0 {
		t.Errorf("new keys: %+v", r)
	}
	file(t, filepath.Join(dir, "b"), "b")
	if r := e.Run("umount", "--flush=1m", dir); r.Code != 0 || !slices.Contains(srv.Keys("study"), "lab/b") {
		t.Errorf("umount: exit %d, stored %q\n%s", r.Code, srv.Keys("study"), r.Err)
	}
	log, err := os.ReadFile(m.Log)
	if err != nil || !strings.Contains(string(log), "read the configuration again") || strings.Contains(string(log), harness.Secret) || strings.Contains(string(log), other) {
		t.Errorf("%v\n%s", err, log)
	}
}

// Keys that the service refuses do not take the place of good ones.
func TestRefusedKeysAreNotTaken(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "lab/", map[string]harness.File{"a": {Body: []byte("a")}, "b": {Body: []byte("b")}})
	e := harness.New(t)
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	text := "[source.lab]\nkind = \"s3\"\nurl = \"s3://study/lab/\"\nendpoint-url = \"" + url + "\"\nkeys = \"file:KEYS\"\n"
	file(t, config, strings.Replace(text, "KEYS", keys(t, e, "first.csv", harness.ID, harness.Secret), 1))
	dir := e.Mount("lab")
	file(t, config, strings.Replace(text, "KEYS", keys(t, e, "second.csv", other, harness.Secret), 1))
	r := hangUp(t, e, status(t, e).Mounts[0].PID)
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "access key ID") || len(r.Applied) > 0 {
		t.Errorf("%+v", r)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(got) != "b" {
		t.Errorf("with the keys of before: %q, %v", got, err)
	}
}

// systemd sends SIGHUP to the process that it has started, which stays in front and has no terminal: the mount goes on.
func TestReloadOfAMountInFront(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"a": {Body: []byte("a")}})
	e := harness.New(t)
	dir := filepath.Join(e.Home, "mnt")
	file(t, filepath.Join(e.Home, ".config", "studyfs", "config.toml"),
		"[source.lab]\nkind = \"s3\"\nurl = \"s3://study/\"\nendpoint-url = \""+url+"\"\nkeys = \"file:"+keys(t, e, "k.csv", harness.ID, harness.Secret)+"\"\n")
	e.UnmountAtEnd(dir)
	cmd := exec.Command(harness.Program(t), "mount", "-f", "lab", dir)
	cmd.Env, cmd.Dir = e.Vars, e.Home
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for text := ""; !strings.Contains(text, "Ctrl-C"); {
		n, err := said.Read(buf)
		if text += string(buf[:n]); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	if r := hangUp(t, e, cmd.Process.Pid); !r.OK || len(r.Applied)+len(r.Later)+len(r.Problems) > 0 {
		t.Errorf("%+v", r)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
}
