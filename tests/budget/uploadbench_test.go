package budget

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Small files uploaded to a store that takes 20 ms per request, by how many may go at once:
//
//	go -C tests test ./budget -run xxx -bench Uploads -benchtime 1x
func BenchmarkUploads(b *testing.B) {
	harness.NeedWrites(b)
	const count = 1000
	for _, parallel := range []string{"1", "8", "16", "32"} {
		b.Run("parallel="+parallel, func(b *testing.B) {
			srv, url := harness.Strict(b, "", s3test.Options{Latency: 20 * time.Millisecond})
			e := harness.New(b)
			e.Profile("lab")
			mount := e.Mount(harness.Writable(url, "--quiet", later, "--upload-parallel", parallel)...)
			var took time.Duration
			for n := 0; b.Loop(); n++ {
				for i := range count {
					if err := saveOne(filepath.Join(mount, fmt.Sprintf("%d-%d", n, i)), harness.Pattern(int64(i), 1<<10), false); err != nil {
						b.Fatal(err)
					}
				}
				srv.Reset()
				start := time.Now()
				e.Drain(mount)
				took += time.Since(start)
				b.ReportMetric(float64(len(srv.Requests()))/count, "requests/file")
			}
			b.ReportMetric(float64(b.N)*count/took.Seconds(), "files/s")
		})
	}
}

// One large file uploaded in parts. What the server process takes in memory beyond what it had before, and in processor time per GiB:
//
//	go -C tests test ./budget -run xxx -bench LargeUpload -benchtime 1x
func BenchmarkLargeUpload(b *testing.B) {
	harness.NeedWrites(b)
	const size = 1 << 30
	_, url := harness.Strict(b, "", s3test.Options{})
	e := harness.New(b)
	e.Profile("lab")
	mount := e.Mount(harness.Writable(url, "--quiet", later)...)
	pid := e.PID(mount)
	for n := 0; b.Loop(); n++ {
		if err := os.WriteFile(filepath.Join(mount, fmt.Sprint(n)), harness.Pattern(int64(n), size), 0o600); err != nil {
			b.Fatal(err)
		}
		cpu, rss := processorTime(b, pid), resident(b, pid)
		start := time.Now()
		e.Drain(mount)
		b.ReportMetric(size/1e6/time.Since(start).Seconds(), "MB/s")
		b.ReportMetric((processorTime(b, pid) - cpu).Seconds(), "cpu-s/GiB")
		b.ReportMetric(float64(peak(b, pid)-rss)/(1<<20), "MiB-more")
	}
}

func status(tb testing.TB, pid int, field string) int64 {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatalf("no %s", field)
	return 0
}

// resident is what a process has in memory now, peak the most that it ever had.
func resident(tb testing.TB, pid int) int64 { tb.Helper(); return status(tb, pid, "VmRSS") }
func peak(tb testing.TB, pid int) int64     { tb.Helper(); return status(tb, pid, "VmHWM") }

// processorTime is what a process has used, in user and system mode.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	var ticks int64
	for _, field := range strings.Fields(rest)[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
