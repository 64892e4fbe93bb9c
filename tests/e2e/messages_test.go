package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Every mistake has its own message, which says what to do, and its exit code.
func TestMistakes(t *testing.T) {
	seen := map[string]string{}
	for _, m := range slices.Concat([]mistake{
		{"revoked key", 77, []string{"keys", "empatica portal"}, func(_ *testing.T, e *harness.Env, srv *s3test.Server, url string) []string {
			srv.Revoke(harness.ID)
			return organisation(e, url, "s3://study/v2/4711/")
		}},
		{"wrong bucket", 78, []string{"bucket"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			return organisation(e, url, "s3://nosuchbucket/v2/4711/")
		}},
		{"wrong prefix", 77, []string{"prefix"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			return organisation(e, url, "s3://study/v2/9999/")
		}},
		{"no address", 78, []string{"s3://"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			return organisation(e, url, "https://console.example.org/study")
		}},
		{"no network", 69, []string{"reach"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=500ms")
			return organisation(e, "http://127.0.0.1:1", "s3://study/v2/4711/")
		}},
		{"plain http elsewhere", 2, []string{"http"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			return organisation(e, "http://s3.example.org", "s3://study/v2/4711/")
		}},
		{"keys that others can read", 77, []string{"chmod 600"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			if err := os.Chmod(filepath.Join(e.Home, "keys.csv"), 0o640); err != nil {
				t.Fatal(err)
			}
			return args
		}},
		{"keys that git keeps", 77, []string{"git"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			for _, git := range [][]string{{"init", "-q"}, {"add", "-f", "keys.csv"}} {
				cmd := exec.Command("git", append([]string{"-C", e.Home}, git...)...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			return args
		}},
		{"no keys file", 78, []string{"keys.csv"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			return []string{"mount", "empatica:" + filepath.Join(e.Home, "keys.csv"), filepath.Join(e.Home, "mnt")}
		}},
		{"directory in use", 73, []string{"already", "umount"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			e.MountAt(filepath.Join(e.Home, "mnt"), args[1:4]...)
			return args
		}},
		{"directory not empty", 73, []string{"not empty"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			if err := os.MkdirAll(filepath.Join(e.Home, "mnt", "thesis"), 0o700); err != nil {
				t.Fatal(err)
			}
			return organisation(e, url, "s3://study/v2/4711/")
		}},
		{"not a directory", 73, []string{"not a directory"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			if err := os.WriteFile(filepath.Join(e.Home, "mnt"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return organisation(e, url, "s3://study/v2/4711/")
		}},
		{"unknown source", 2, []string{"source"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			return []string{"mount", "nonsense:x", filepath.Join(e.Home, "mnt")}
		}},
		{"unknown config key", 78, []string{"endpoint-url"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			path := filepath.Join(e.Home, "config.toml")
			if err := os.WriteFile(path, []byte("[source.a]\nkind = \"s3\"\nurl = \"s3://study/\"\nendpoint-ulr = \"x\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"--config", path, "mount", "a", filepath.Join(e.Home, "mnt")}
		}},
		{"status of no mount", 1, []string{"mount"}, func(_ *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			return []string{"status", e.Home}
		}},
	}, keysOfService(), beiweAccounts(), typingErrors(), machines()) {
		t.Run(m.name, func(t *testing.T) {
			srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
			harness.Fill(srv, "v2/4711/", map[string]harness.File{"f": {Body: []byte("1")}})
			e := harness.New(t)
			r := e.Run(m.args(t, e, srv, url)...)
			if r.Code != m.code {
				t.Errorf("exit %d, want %d", r.Code, m.code)
			}
			for _, text := range m.says {
				if !strings.Contains(strings.ToLower(r.Err), text) {
					t.Errorf("the message does not speak of %q", text)
				}
			}
			said := r.Err
			if notice, rest, _ := strings.Cut(said, "\n"); strings.Contains(notice, "created") {
				said = rest
			}
			what, todo, _ := strings.Cut(said, "\n")
			if !strings.HasPrefix(what, "studyfs: ") || strings.TrimSpace(todo) == "" {
				t.Error("the message does not say what to do")
			}
			shape := strings.ReplaceAll(what, e.Home, "~")
			if before, again := seen[shape]; again {
				t.Errorf("the same message as for %q", before)
			}
			seen[shape] = m.name
			for _, text := range neverShown {
				if strings.Contains(r.Err+r.Out, text) {
					t.Errorf("the message shows %q", text)
				}
			}
			if t.Failed() || testing.Verbose() {
				t.Logf("exit %d\n%s", r.Code, r.Err)
			}
		})
	}
}

// These are no mistakes: the mount works and says what was noticed.
func TestNotices(t *testing.T) {
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	e := harness.New(t)
	dir := filepath.Join(e.Home, "mnt")
	r := e.Run("mount", "empatica:"+e.KeysFile("s3://study/v2/4711"), "--endpoint-url", url, dir)
	if r.Code != 0 || !strings.Contains(r.Err, "slash") || !strings.Contains(r.Err, "empty") {
		t.Errorf("an empty organisation without its slash: exit %d\n%s", r.Code, r.Err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	e.Unmount(dir)
	harness.Fill(srv, "v2/4711/", map[string]harness.File{"f": {Body: []byte("1")}})
	e.MountAt(dir, "empatica:"+e.KeysFile("s3://study/v2/4711/"), "--endpoint-url", url)
	if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(got) != "1" {
		t.Errorf("%q, %v", got, err)
	}
}

// Keys that are revoked while the mount is up: one notice, EACCES, and no cached data any more.
func TestKeysRevokedWhileMounted(t *testing.T) {
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	harness.Fill(srv, "v2/4711/", map[string]harness.File{"a": {Body: harness.Pattern(1, 1000)}, "b": {Body: harness.Pattern(2, 1000)}})
	e := harness.New(t)
	dir := e.Mount("empatica:"+e.KeysFile("s3://study/v2/4711/"), "--endpoint-url", url)
	if _, err := os.ReadFile(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	srv.Revoke(harness.ID)
	for _, name := range []string{"b", "a"} {
		if _, err := os.ReadFile(filepath.Join(dir, name)); !os.IsPermission(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r := e.Run("status"); !strings.Contains(r.Out, "refuse") {
		t.Errorf("status does not tell:\n%s", r.Out)
	}
	logs, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*", "*.log"))
	more, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*.log"))
	notices := 0
	for _, log := range append(logs, more...) {
		raw, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		notices += strings.Count(string(raw), "refuses the keys")
		if strings.Contains(string(raw), harness.Secret) || strings.Contains(string(raw), "participant") {
			t.Errorf("secret or name in the log:\n%s", raw)
		}
	}
	if notices != 1 {
		t.Errorf("%d notices in the log", notices)
	}
}
