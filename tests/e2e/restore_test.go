package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// hours is a clock that only a test moves.
type hours struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (h *hours) get() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hours) pass(n time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(n * time.Hour)
}

type restoreJSON struct {
	Schema    int
	Estimates []struct {
		Class        string
		Files, Bytes int64
	}
	Asked, Refused struct{ Files int }
	Found          []struct {
		Class                       string
		Archived, Restoring, Online struct{ Files int }
	}
}

// Somebody wants recordings of two years ago: they are listed, opening them says that they are archived and orders nothing, one command
// says what they cost and asks for them, and when they are there the mount shows them at once.
func TestArchivedRecordings(t *testing.T) {
	e := harness.New(t)
	clock := &hours{now: time.Date(2026, 10, 31, 9, 0, 0, 0, time.UTC)}
	srv, url := harness.Strict(t, "", s3test.Options{RestoreNow: clock.get})
	for _, name := range []string{"a/1.edf", "a/b/2.edf"} {
		o := s3test.Bytes([]byte("brain"))
		o.Class = "DEEP_ARCHIVE"
		srv.Put("study", name, o)
	}
	srv.Put("study", "a/notes.txt", s3test.Bytes([]byte("notes")))
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	file := filepath.Join(dir, "a/1.edf")
	cold := func(when string) {
		t.Helper()
		if _, err := os.ReadFile(file); !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s: %v", when, err)
		}
	}
	cold("archived")
	if info, err := os.Stat(file); err != nil || info.Size() != 5 {
		t.Errorf("%v, %v", info, err)
	}
	if r := e.Run("status", file); !strings.Contains(r.Out, "studyfs restore") {
		t.Errorf("status does not say what to do:\n%s", r.Out)
	}
	run := func(code int, args ...string) (out restoreJSON) {
		t.Helper()
		r := e.Run(append([]string{"restore", "--json"}, args...)...)
		if r.Code != code || code != 2 && json.Unmarshal([]byte(r.Out), &out) != nil {
			t.Fatalf("restore %v: exit %d\n%s%s", args, r.Code, r.Out, r.Err)
		}
		return out
	}
	if p := run(0, "--dry-run", dir); len(p.Estimates) != 1 || p.Estimates[0].Files != 2 || p.Estimates[0].Bytes != 10 {
		t.Errorf("%+v", p)
	}
	run(2, dir)                                 // nobody to ask
	run(2, "--tier", "expedited", "--yes", dir) // not from there
	if n := srv.Count(s3test.OpRestore); n != 0 {
		t.Fatalf("%d restores that nobody has agreed to", n)
	}
	if p := run(0, "--yes", filepath.Join(dir, "a")); p.Asked.Files != 2 {
		t.Errorf("%+v", p)
	}
	if p := run(0, "--yes", dir); p.Asked.Files != 0 || srv.Count(s3test.OpRestore) != 2 {
		t.Errorf("asked for twice: %+v", p)
	}
	cold("on its way")
	if r := e.Run("restore", "--watch", "--every", "1s", "--timeout", "1ms", dir); r.Code != 75 {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	clock.pass(48)
	if r := e.Run("restore", "--watch", "--every", "1s", dir); r.Code != 0 || !strings.Contains(r.Out, "3 files can be read") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if body, err := os.ReadFile(file); err != nil || string(body) != "brain" {
		t.Errorf("restored: %q, %v", body, err)
	}
	if n := srv.Count("HeadObject"); n != 0 {
		t.Errorf("%d HEAD requests", n)
	}
	e.Unmount(dir)
}
