package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// machines are mistakes that are the machine's, or the administrator's.
func machines() []mistake {
	return []mistake{
		{"no fusermount3", 69, []string{"apt install fuse3"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			args := organisation(e, url, "s3://study/v2/4711/")
			e.AsNobody()
			e.Vars = slices.DeleteFunc(e.Vars, func(v string) bool { return strings.HasPrefix(v, "PATH=") })
			e.Vars = append(e.Vars, "PATH="+filepath.Join(e.Home, "bin"))
			info, err := os.Stat("/dev/fuse")
			if err == nil && info.Mode().Perm() != 0o666 { // as it is where people work, and not in containers
				t.Cleanup(func() { os.Chmod("/dev/fuse", info.Mode()) })
				err = os.Chmod("/dev/fuse", 0o666)
			}
			if err != nil {
				t.Skipf("no FUSE for everybody here: %v", err)
			}
			return args
		}},
		{"full disk", 73, []string{"no space left", "--cache-dir"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			dir := small(t, e, "full")
			f, err := os.Create(filepath.Join(dir, "thesis"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(f, zeros{}); err == nil {
				t.Error("the disk is not full")
			}
			f.Close()
			return append(organisation(e, url, "s3://study/v2/4711/"), "--cache-dir", filepath.Join(dir, "cache"))
		}},
		{"cache on a disk that cannot be written to", 73, []string{"read-only", "--cache-dir"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			dir := small(t, e, "backup")
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return append(organisation(e, url, "s3://study/v2/4711/"), "--cache-dir", filepath.Join(dir, "cache"))
		}},
		{"the serving process was killed", 1, []string{"has ended", "studyfs umount"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			dir := filepath.Join(e.Home, "mnt")
			e.MountAt(dir, organisation(e, url, "s3://study/v2/4711/")[1:4]...)
			var status struct {
				Mounts []struct {
					PID int `json:"pid"`
				} `json:"mounts"`
			}
			if err := json.Unmarshal([]byte(e.Run("status", "--json").Out), &status); err != nil || len(status.Mounts) != 1 {
				t.Fatalf("%+v, %v", status, err)
			}
			if err := syscall.Kill(status.Mounts[0].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for { // until the kernel knows
				if _, err := os.Open(dir); errors.Is(err, syscall.ENOTCONN) {
					return []string{"status", dir}
				}
			}
		}},
		{"unmounting what programs use", 75, []string{"still use it", "fuser"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, url string) []string {
			dir := filepath.Join(e.Home, "mnt")
			e.MountAt(dir, organisation(e, url, "s3://study/v2/4711/")[1:4]...)
			f, err := os.Open(filepath.Join(dir, "f"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return []string{"umount", dir}
		}},
		{"wrong region", 78, []string{"not in eu-north-1", "leave out --region"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				io.WriteString(w, `<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message></Error>`)
			}))
			t.Cleanup(other.Close)
			e.Profile("lab")
			return []string{"mount", "s3://study/", "--profile", "lab", "--region", "eu-north-1", "--endpoint-url", other.URL, filepath.Join(e.Home, "mnt")}
		}},
		{"one slash of two", 2, []string{"does not begin with s3://"}, typed("mount", "s3:/study/v2/", "HOME/mnt")},
		{"new keys of no source", 2, []string{"names no source", "studyfs setup"}, typed("auth")},
		{"setup in a script that forgets something", 2, []string{"no terminal", "--keys"}, typed("setup", "empatica")},
		{"several mistakes in the configuration", 78, []string{"line 1", "line 3", "did you mean"}, func(t *testing.T, e *harness.Env, _ *s3test.Server, _ string) []string {
			path := filepath.Join(e.Home, "config.toml")
			if err := os.WriteFile(path, []byte("memroy = \"1GiB\"\n[cache]\nsize = \"lots\"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"--config", path, "config", "check"}
		}},
	}
}

// small is a disk of 1 MiB.
func small(t *testing.T, e *harness.Env, name string) string {
	t.Helper()
	dir := filepath.Join(e.Home, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("only root can mount a disk: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
