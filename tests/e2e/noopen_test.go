package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Whoever reads public data again and again has the kernel open the files by itself; status says what that means.
func TestNoOpen(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"d/f": {Body: []byte("12345")}})
	e := harness.New(t)
	e.Profile("lab")
	args := []string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--no-open"}
	dir := e.Mount(args...)
	for range 3 {
		if got, err := os.ReadFile(filepath.Join(dir, "d/f")); err != nil || string(got) != "12345" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if n := srv.Count("GetObject"); n != 1 {
		t.Errorf("%d requests for one file", n)
	}
	if r := e.Run("status", dir); r.Code != 0 || !strings.Contains(r.Out, "no-open") {
		t.Errorf("status: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	e.Unmount(dir)
	e.MountAt(dir, args...)
	if got, err := os.ReadFile(filepath.Join(dir, "d/f")); err != nil || string(got) != "12345" || srv.Count("GetObject") != 1 {
		t.Errorf("after a restart: %q, %v, %d requests", got, err, srv.Count("GetObject"))
	}
}

// What needs to see every open is refused before anything is mounted, and the message says what to leave out.
func TestNoOpenIsRefused(t *testing.T) {
	e := harness.New(t)
	e.Profile("lab")
	for more, why := range map[string]string{
		"--write":    "written to",
		"--audit=on": "audit log",
	} {
		r := e.Run("mount", "s3://study/", "--endpoint-url", "http://127.0.0.1:1", "--region", "us-east-1", "--profile", "lab", "--no-open", more, filepath.Join(e.Home, "mnt"))
		if r.Code != 2 || !strings.Contains(r.Err, why) || !strings.Contains(r.Err, "without --no-open") {
			t.Errorf("%s: exit %d\n%s", more, r.Code, r.Err)
		}
		if _, err := os.Stat(filepath.Join(e.Home, "mnt")); !os.IsNotExist(err) {
			t.Errorf("%s: something was made at the mount point: %v", more, err)
		}
	}
}
