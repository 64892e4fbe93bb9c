package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// The network has died, and somebody wants to know what is here and what waits: that is told at once, without one request. It takes 1 to 20 ms;
// the bound is what no busy machine needs, and far below any time limit of a request.
func TestQuestionsWithTheNetworkDead(t *testing.T) {
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"d/read": {Body: []byte("12345")}, "d/seen": {Body: []byte("x")}})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount(harness.Writable(url)...)
	if _, err := os.ReadFile(filepath.Join(dir, "d/read")); err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	back := sync.OnceFunc(func() { close(dead) })
	t.Cleanup(back)
	srv.OnRequest(func(s3test.Request) { <-dead })
	if err := os.WriteFile(filepath.Join(dir, "d/new"), []byte("waits"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(srv.Requests())
	quick := func(what string, ask func() string, want ...string) {
		t.Helper()
		var took []time.Duration
		for range 9 {
			began := time.Now()
			if got := ask(); !slices.ContainsFunc(want, func(w string) bool { return strings.Contains(got, w) }) {
				t.Errorf("%s: %q", what, got)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%s: %v, at most %v", what, took[4], took[8])
		if took[4] > time.Second {
			t.Errorf("%s takes %v", what, took[4])
		}
	}
	for name, want := range map[string][]string{"read": {"cached"}, "seen": {"remote"}, "new": {"staged", "uploading", "writing"}} {
		path := filepath.Join(dir, "d", name)
		quick("state of "+name, func() string {
			b := make([]byte, 100)
			n, err := unix.Getxattr(path, "user.studyfs.state", b)
			if err != nil {
				return err.Error()
			}
			return string(b[:n])
		}, want...)
		quick("status of "+name, func() string { r := e.Run("status", path); return r.Out + r.Err }, want...)
	}
	quick("status", func() string { r := e.Run("status", "--json"); return r.Out + r.Err }, `"staged"`)
	if n := len(srv.Requests()) - before; n > 4 { // those of the upload
		t.Errorf("%d requests", n)
	}
	back()
	e.Unmount(dir)
}
