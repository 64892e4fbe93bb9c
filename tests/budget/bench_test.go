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
