package budget

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Small files in order from a store that takes 20 ms per request, each run on a fresh mount with an empty cache; beside it the same with nothing
// fetched ahead:
//
//	go -C tests test ./budget -run xxx -bench SmallFiles -benchtime 3x
func BenchmarkSmallFilesInOrder(b *testing.B) {
	const count, size = 300, 64 << 10
	srv, url := harness.Strict(b, "", s3test.Options{Latency: 20 * time.Millisecond})
	files := map[string]harness.File{}
	for i := range count {
		files[fmt.Sprintf("d/%03d.csv", i)] = harness.File{Body: harness.Pattern(int64(i), size)}
	}
	harness.Fill(srv, "", files)
	for _, ahead := range []string{"32", "0"} {
		b.Run("ahead="+ahead, func(b *testing.B) {
			b.SetBytes(count * size)
			for n := range b.N {
				b.StopTimer()
				e := harness.New(b)
				e.Profile("lab")
				dir := filepath.Join(e.Home, fmt.Sprint("mnt", n))
				e.MountAt(dir, append(source(url), "--read-ahead-files", ahead)...)
				srv.Reset()
				b.StartTimer()
				for i := range count {
					if _, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("d/%03d.csv", i))); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				b.ReportMetric(float64(len(srv.Requests())), "requests")
				e.Unmount(dir)
			}
		})
	}
}

// A folder of 100,000 files from a store that takes 20 or 100 ms per page, each run on a fresh mount. "sequential" is what as many pages one after
// the other would take at the least, for comparison:
//
//	go -C tests test ./budget -run xxx -bench FlatListing -benchtime 3x
func BenchmarkFlatListing(b *testing.B) {
	const count = 100_000
	for _, latency := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond} {
		b.Run(latency.String(), func(b *testing.B) {
			srv, url := harness.Strict(b, "", s3test.Options{Latency: latency})
			harness.Fill(srv, "", many("d/file-%06d.csv", count))
			for n := range b.N {
				b.StopTimer()
				e := harness.New(b)
				e.Profile("lab")
				dir := filepath.Join(e.Home, fmt.Sprint("mnt", n))
				e.MountAt(dir, source(url)...)
				srv.Reset()
				b.StartTimer()
				if names := readNames(b, filepath.Join(dir, "d")); names != count {
					b.Fatal(names)
				}
				b.StopTimer()
				b.ReportMetric(float64(len(srv.Requests())), "requests")
				b.ReportMetric(float64(count/1000)*latency.Seconds(), "s-sequential")
				e.Unmount(dir)
			}
		})
	}
}

func readNames(t testing.TB, dir string) int {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}
