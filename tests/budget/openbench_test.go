package budget

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Opening, reading and closing 20,000 small files that were read before, through the mount and in a folder of this machine in turn; "x-native" is how
// fast the mount is in comparison, "first-µs/file" what the first pass took with a store that answers at once:
//
//	go -C tests test ./budget -run xxx -bench WarmOpens -benchtime 5x
func BenchmarkWarmOpens(b *testing.B) {
	const count, folders, size = 20_000, 20, 4 << 10
	srv, url := harness.Strict(b, "", s3test.Options{})
	files, names := map[string]harness.File{}, []string{}
	native := b.TempDir()
	for i := range count {
		name := fmt.Sprintf("d%02d/%05d.csv", i%folders, i)
		body := harness.Pattern(int64(i), size)
		files[name], names = harness.File{Body: body}, append(names, name)
		if err := os.MkdirAll(filepath.Join(native, filepath.Dir(name)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(native, name), body, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	harness.Fill(srv, "", files)
	modes := map[string][]string{"open": nil, "no-passthrough": {"--no-passthrough"}, "no-open": {"--no-open"}}
	for _, mode := range []string{"open", "no-passthrough", "no-open"} {
		b.Run(mode, func(b *testing.B) {
			e := harness.New(b)
			e.Profile("lab")
			dir := e.Mount(append(source(url), modes[mode]...)...)
			first := readAll(b, dir, names, 16)
			readAll(b, native, names, 1)
			var here, there time.Duration
			for b.Loop() {
				here += readAll(b, native, names, 1)
				there += readAll(b, dir, names, 1)
			}
			per := float64(b.N) * count * 1000
			b.ReportMetric(float64(first)/1000/count, "first-µs/file")
			b.ReportMetric(float64(here)/per, "native-µs/file")
			b.ReportMetric(float64(there)/per, "mount-µs/file")
			b.ReportMetric(float64(here)/float64(there), "x-native")
		})
	}
}

// readAll opens, reads and closes all files and tells how long that took.
func readAll(b *testing.B, dir string, names []string, readers int) time.Duration {
	b.Helper()
	start := time.Now()
	var all sync.WaitGroup
	for n := range readers {
		all.Go(func() {
			buf := make([]byte, 64<<10)
			for i := n; i < len(names); i += readers {
				f, err := os.Open(filepath.Join(dir, names[i]))
				if err != nil {
					b.Error(err)
					return
				}
				if got, err := f.Read(buf); got == 0 && err != io.EOF {
					b.Error(err)
				}
				f.Close()
			}
		})
	}
	all.Wait()
	return time.Since(start)
}
