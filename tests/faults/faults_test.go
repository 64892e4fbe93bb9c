// Package faults lets the store misbehave in every way it can and holds the mount to what it promises then: no wrong byte, no
// wrong name, no call that hangs.
package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// longest is what one call on the mount may take.
const longest = 60 * time.Second

// Each fault strikes one request in five of some thousands. The cache is tiny, so that reads go to the store.
func TestNoWrongByteUnderFaults(t *testing.T) {
	faults := s3test.Faults()
	requests := harness.Sized(600, 5000) / len(faults)
	var total atomic.Int64
	t.Run("faults", func(t *testing.T) {
		for i, fault := range faults {
			t.Run(string(fault), func(t *testing.T) {
				t.Parallel()
				total.Add(int64(underFault(t, fault, uint64(i), requests)))
			})
		}
	})
	t.Logf("%d requests in all", total.Load())
}

func underFault(t *testing.T, fault s3test.Fault, seed uint64, requests int) int {
	files := map[string]harness.File{}
	for i := range 40 {
		files[fmt.Sprintf("d%d/small-%02d", i%4, i)] = harness.File{Body: harness.Pattern(int64(i), 20_000+i)}
	}
	for i := range 3 {
		files[fmt.Sprintf("large-%d", i)] = harness.File{Body: harness.Pattern(int64(100+i), 6<<20+i)}
	}
	srv, url := harness.Strict(t, "", s3test.Options{Seed: seed})
	harness.Fill(srv, "", files)
	e := harness.New(t)
	e.Profile("lab")
	if fault == s3test.Stall || fault == s3test.Delay { // a busy machine takes longer than this, which must not count among the faults of others
		e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=300ms", "STUDYFS_TIMEOUT_PROGRESS=200ms")
	}
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=15s")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1", "--cache-size", "1MiB")
	srv.Inject(s3test.Rule{Fault: fault, Share: 0.2, Wait: time.Second})
	refused := fault == s3test.ExpiredToken || fault == s3test.InvalidAccessKeyID // after these nothing is served for a while
	deadline := time.Now().Add(time.Duration(harness.Sized(20, 240)) * time.Second)
	good, bad := 0, 0
	for round := 0; srv.Count("") < requests && time.Now().Before(deadline); round++ {
		for name, f := range files {
			start := time.Now()
			got, err := os.ReadFile(filepath.Join(dir, name))
			if took := time.Since(start); took > longest {
				t.Fatalf("%s took %v", name, took)
			}
			if err != nil {
				bad++
				continue
			}
			good++
			if !bytes.Equal(got, f.Body) {
				t.Fatalf("%s: wrong bytes without an error", name)
			}
		}
		if entries, err := os.ReadDir(dir); err == nil && len(entries) != 7 {
			t.Fatalf("%d names in the root", len(entries))
		}
		if refused && round > 2 {
			break
		}
	}
	struck := 0
	for _, r := range srv.Requests() {
		if r.Fault != "" {
			struck++
		}
	}
	if struck == 0 {
		t.Error("the fault never struck")
	}
	permanent := refused || fault == s3test.AccessDenied
	if !permanent && bad*100 > good {
		t.Errorf("%d of %d reads failed though the fault passes", bad, good+bad)
	}
	return srv.Count("")
}

// A reader that is killed while the store is silent is gone long before.
func TestKilledReaderIsGone(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", map[string]harness.File{"f": {Body: harness.Pattern(1, 1<<20)}, "g": {Body: harness.Pattern(2, 20<<20)}})
	e := harness.New(t)
	e.Profile("lab")
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=50s", "STUDYFS_TIMEOUT_PROGRESS=50s")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	srv.Inject(s3test.Rule{Op: "GetObject", Fault: s3test.Stall, Wait: 50 * time.Second})
	for _, name := range []string{"f", "g"} {
		cmd := exec.Command("cat", filepath.Join(dir, name))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		start := time.Now()
		cmd.Process.Kill()
		cmd.Wait()
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("the killed reader of %s was there for another %v", name, took)
		}
	}
}

// Many readers of one cold file are one request.
func TestManyReadersAreOneRequest(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{Latency: 50 * time.Millisecond})
	body := harness.Pattern(1, 1<<20)
	harness.Fill(srv, "", map[string]harness.File{"f": {Body: body}})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab")
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if n := srv.Count("GetObject"); n != 1 {
		t.Errorf("%d GETs", n)
	}
}
