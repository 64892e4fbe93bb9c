package budget

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

const (
	smallCount, smallFolders = 20_000, 20
	smallSize                = 4 << 10
)

// smallNames are files in folders of a thousand, in turn.
func smallNames() []string {
	names := make([]string, smallCount)
	for i := range names {
		names[i] = fmt.Sprintf("d%02d/%05d.csv", i%smallFolders, i)
	}
	return names
}

// Opening, reading and closing 20,000 small files that were read before: through the mount, in a folder of this machine, and in a file system that
// does nothing but answer (or, beside "no-open", is not asked), made with the same library, in turn. "x-native" and "x-bare" are how fast the mount is in comparison,
// "first-µs/file" what the first pass took with a store that answers at once:
//
//	go -C tests test ./budget -run xxx -bench WarmOpens -benchtime 5x
func BenchmarkWarmOpens(b *testing.B) {
	srv, url := harness.Strict(b, "", s3test.Options{})
	files, names := map[string]harness.File{}, smallNames()
	native := b.TempDir()
	for i, name := range names {
		body := harness.Pattern(int64(i), smallSize)
		files[name] = harness.File{Body: body}
		if err := os.MkdirAll(filepath.Join(native, filepath.Dir(name)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(native, name), body, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	harness.Fill(srv, "", files)
	bares := map[bool]string{false: mountBare(b), true: mountBare(b, bareNoOpen+"=1")}
	for _, dir := range []string{native, bares[false], bares[true]} {
		readAll(b, dir, names, 1)
	}
	modes := map[string][]string{"open": nil, "no-passthrough": {"--no-passthrough"}, "no-open": {"--no-open"}}
	for _, mode := range []string{"open", "no-passthrough", "no-open"} {
		b.Run(mode, func(b *testing.B) {
			e := harness.New(b)
			e.Profile("lab")
			dir := e.Mount(append(source(url), modes[mode]...)...)
			bare, first := bares[mode == "no-open"], readAll(b, dir, names, 16)
			var here, there, nothing time.Duration
			for b.Loop() {
				here += readAll(b, native, names, 1)
				there += readAll(b, dir, names, 1)
				nothing += readAll(b, bare, names, 1)
			}
			per := float64(b.N) * smallCount * 1000
			b.ReportMetric(float64(first)/1000/smallCount, "first-µs/file")
			b.ReportMetric(float64(here)/per, "native-µs/file")
			b.ReportMetric(float64(there)/per, "mount-µs/file")
			b.ReportMetric(float64(nothing)/per, "bare-µs/file")
			b.ReportMetric(float64(here)/float64(there), "x-native")
			b.ReportMetric(float64(nothing)/float64(there), "x-bare")
		})
	}
}

// readAll opens, reads and closes all files and tells how long that took. It makes the calls themselves: package os would also wait for each file in
// its poller, which a file of FUSE allows and one of ext4 does not.
func readAll(b *testing.B, dir string, names []string, readers int) time.Duration {
	b.Helper()
	start := time.Now()
	var all sync.WaitGroup
	for n := range readers {
		all.Go(func() {
			buf := make([]byte, 64<<10)
			for i := n; i < len(names); i += readers {
				if err := readFile(filepath.Join(dir, names[i]), buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

func readFile(path string, buf []byte) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf)
	if err == nil && n != smallSize {
		err = io.ErrUnexpectedEOF
	}
	return err
}
