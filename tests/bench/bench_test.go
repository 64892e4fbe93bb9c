package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/tests/bench/mounts"
	"studyfs/tests/bench/report"
	"studyfs/tests/bench/store"
	"studyfs/tests/bench/work"
)

// The stores run in a process of their own: this one, started again.
func TestMain(m *testing.M) {
	if os.Getenv(store.Child) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Somebody runs the laboratory without peers: every workload ends, its bytes are right and cold where they should be, and the documents hold what was measured.
func TestMeasures(t *testing.T) {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	out := t.TempDir()
	page := filepath.Join(out, "benchmarks.md")
	if err := os.WriteFile(page, []byte("words\n\n"+report.Begin+"\nstale\n"+report.End+"\n\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{
		"--sizes", "quick", "--runs", "1", "--no-peers", "--keep-caches", "--out", out,
		"--only", "Small files: 100 of 64 KiB in order$|Listings: .* 1,000 keys, flat|Copy-in: 50|Warm: open",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var progress strings.Builder
	if err := run(t.Context(), o, &progress); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	var result report.Run
	raw, err := os.ReadFile(filepath.Join(out, "benchmarks.json"))
	if err == nil {
		err = json.Unmarshal(raw, &result)
	}
	if err != nil {
		t.Fatal(err)
	}
	whole(t, result, progress.String())
	text, err := os.ReadFile(page)
	if s := string(text); err != nil || !strings.HasPrefix(s, "words\n") || !strings.HasSuffix(s, "\nmore\n") || strings.Contains(s, "stale") || !strings.Contains(s, "benchmarks-copy-in.png") {
		t.Errorf("the page: %v\n%s", err, s)
	}
	pictures, err := filepath.Glob(filepath.Join(out, "*.png"))
	if err != nil || len(pictures) != 4 {
		t.Errorf("charts: %v, %v", pictures, err)
	}
	for _, picture := range pictures {
		if info, err := os.Stat(picture); err != nil || info.Size() > 100<<10 {
			t.Errorf("%s: %v", picture, err)
		}
	}
}

// whole fails the test if studyfs did not do a row.
func whole(t *testing.T, result report.Run, progress string) {
	t.Helper()
	if len(result.Rows) != 8 {
		t.Errorf("%d rows", len(result.Rows))
	}
	for _, r := range result.Rows {
		c := r.Cells[mounts.Studyfs]
		if c == nil || len(c.Seconds) != 1 || c.Failure != "" || c.Refused != "" {
			t.Errorf("%s; %s: %+v", r.Name, r.Step, c)
			continue
		}
		if r.Step == string(work.Cold) && c.Requests[0] == 0 {
			t.Errorf("%s: nothing was asked for", r.Name)
		}
		if len(c.Peak) > 0 && c.Peak[0] < 1<<20 {
			t.Errorf("%s: %v bytes of memory", r.Name, c.Peak)
		}
	}
	if t.Failed() {
		t.Log(progress)
	}
}

// A figure from a cache that was not empty must not be printed as cold.
func TestRefusesWhatIsNotCold(t *testing.T) {
	p := &place{name: mounts.Studyfs}
	for name, c := range map[string]struct {
		proof  work.Proof
		counts store.Counts
		done   work.Done
		good   bool
	}{
		"all bytes":         {work.Fetched, store.Counts{Get: 1, Out: 1000}, work.Done{Bytes: 1000}, true},
		"some bytes":        {work.Fetched, store.Counts{Get: 1, Out: 900}, work.Done{Bytes: 1000}, false},
		"all pages":         {work.Listed, store.Counts{List: 10}, work.Done{}, true},
		"too few pages":     {work.Listed, store.Counts{List: 9}, work.Done{}, false},
		"stored":            {work.Stored, store.Counts{In: 1001}, work.Done{Bytes: 1000}, true},
		"not stored":        {work.Stored, store.Counts{In: 10}, work.Done{Bytes: 1000}, false},
		"asked":             {work.Asked, store.Counts{Get: 1}, work.Done{}, true},
		"asked for nothing": {work.Asked, store.Counts{}, work.Done{}, false},
	} {
		w := work.Workload{Proof: c.proof, Keys: 10_000}
		if why := unproven(w, work.Cold, p, c.counts, c.done); (why == "") != c.good {
			t.Errorf("%s: %q", name, why)
		}
		if why := unproven(w, work.Again, p, c.counts, c.done); why != "" {
			t.Errorf("%s, warm: %q", name, why)
		}
	}
}

// Two rows of one name would be one cell of the table.
func TestNamesTellWorkloadsApart(t *testing.T) {
	for _, size := range []work.Size{work.Quick, work.Medium, work.Full} {
		seen := map[string]bool{}
		buckets := map[string]string{}
		for _, w := range work.All(size) {
			k := key(w, "")
			if seen[k] {
				t.Errorf("%s: twice %s", size, k)
			}
			seen[k] = true
			spec, _ := json.Marshal(w.Set) // it has no field that cannot be written
			if had := buckets[w.Set.Bucket]; had != "" && had != string(spec) {
				t.Errorf("%s: bucket %s is %s and %s", size, w.Set.Bucket, had, spec)
			}
			buckets[w.Set.Bucket] = string(spec)
		}
	}
}
