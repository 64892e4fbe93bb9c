package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

type warmJSON struct {
	Schema                          int
	Found, Missing, Fetched, Failed struct{ Files, Bytes int64 }
	Requests                        int64
	Pins                            []struct {
		Path  string
		Bytes int64
	}
}

// Somebody fetches a study before a flight: he is told what it will be, it costs that and no more, it goes on where it was broken off, and without
// a network all is there. What is pinned outlives everything that comes after it.
func TestWarmAndPin(t *testing.T) {
	e := harness.New(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	put := func(name string, size int, age time.Duration) {
		o := s3test.Bytes(harness.Pattern(int64(len(name)), size))
		o.ModTime = time.Now().Add(-age)
		srv.Put("study", name, o)
	}
	for i := range 30 {
		put(fmt.Sprintf("a/sub-%02d/small.csv", i), 20_000+i, 100*24*time.Hour)
	}
	put("a/image.nii", 9<<20+5, 100*24*time.Hour)
	put("a/new.csv", 1000, time.Hour)
	put("b/other.bin", 5<<20, 100*24*time.Hour)
	cold := s3test.Bytes([]byte("cold"))
	cold.Class = "GLACIER"
	srv.Put("study", "c/archived", cold)
	e.Profile("lab")
	args := []string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1"}
	dir := e.Mount(args...)
	warm := func(code int, args ...string) (out warmJSON) {
		t.Helper()
		r := e.Run(append(args, "--json")...)
		if r.Code != code || json.Unmarshal([]byte(r.Out), &out) != nil || out.Schema != 1 {
			t.Fatalf("%v: exit %d\n%s%s", args, r.Code, r.Out, r.Err)
		}
		return out
	}
	gets := func() (n, bytes int64) {
		for _, r := range srv.Requests() {
			if r.Op == "GetObject" {
				n, bytes = n+1, bytes+r.BytesOut
			}
		}
		return n, bytes
	}
	a := filepath.Join(dir, "a")
	if r := warm(0, "warm", "--dry-run", "--since", "7d", a); r.Found.Files != 1 || r.Missing.Bytes != 1000 {
		t.Errorf("of the last week: %+v", r)
	}
	plan := warm(0, "warm", "--dry-run", a)
	if n, _ := gets(); n != 0 || plan.Missing.Files != 32 {
		t.Fatalf("%d requests for a plan: %+v", n, plan)
	}
	done := warm(0, "warm", a)
	n, got := gets()
	t.Logf("estimate: %d requests, %d bytes; counted %d, %d", plan.Requests, plan.Missing.Bytes, n, got)
	if n*10 < plan.Requests*9 || n*10 > plan.Requests*11 || got*10 < plan.Missing.Bytes*9 || got*10 > plan.Missing.Bytes*11 || done.Fetched != plan.Missing {
		t.Errorf("the estimate is off: %+v, %+v", plan, done)
	}
	if r := warm(0, "warm", a, filepath.Join(dir, "a/image.nii")); r.Missing.Files != 0 || r.Found.Files != 32 {
		t.Errorf("again: %+v", r)
	}
	if again, _ := gets(); again != n {
		t.Errorf("%d requests for what was there", again-n)
	}
	if r := warm(3, "warm", filepath.Join(dir, "c")); r.Found.Files != 1 || r.Fetched.Files != 0 {
		t.Errorf("archived: %+v", r)
	}
	if r := e.Run("warm", filepath.Join(dir, "nowhere")); r.Code != 1 || !strings.Contains(r.Err, "no such file") {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
	pinned := warm(0, "pin", a).Pins
	if len(pinned) != 1 || pinned[0].Path != a || pinned[0].Bytes != plan.Missing.Bytes {
		t.Errorf("pinned: %+v", pinned)
	}
	e.Unmount(dir)
	e.MountAt(dir, append(args, "--cache-size", "11MiB")...) // a holds 9.6
	if r := e.Run("pin"); r.Code != 0 || !strings.Contains(r.Out, a) {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	warm(0, "warm", filepath.Join(dir, "b"))
	srv.Reset()
	if body, err := os.ReadFile(filepath.Join(a, "image.nii")); err != nil || !bytes.Equal(body, harness.Pattern(int64(len("a/image.nii")), 9<<20+5)) {
		t.Errorf("wrong bytes, %v", err)
	}
	if n, _ := gets(); n != 0 {
		t.Errorf("%d requests for what is pinned", n)
	}
	if r := e.Run("warm", a, filepath.Join(dir, "b"), "--dry-run"); r.Code != 0 || !strings.Contains(r.Out, "33 files") {
		t.Errorf("exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if pins := warm(0, "unpin", a).Pins; len(pins) != 0 {
		t.Errorf("unpinned: %+v", pins)
	}
	if r := e.Run("unpin", a); r.Code != 1 || !strings.Contains(r.Err, "not pinned") {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
	e.Unmount(dir)
}
