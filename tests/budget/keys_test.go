package budget

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
)

// How much memory the serving process may ever have had when all names of a bucket were found: of 30,000 keys, and of a million.
const (
	findLimitSome = 100 << 20
	findLimitFull = 400 << 20
)

// lines counts lines.
type lines int

func (l *lines) Write(p []byte) (int, error) {
	*l += lines(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

// Somebody runs find over a bucket of a million keys, in one folder, in a thousand, and in 100,000: it comes to its end, and the machine still has memory for
// other things. Without STUDYFS_FULL there are 30,000.
func TestFindOverManyKeys(t *testing.T) {
	count, limit := 30_000, int64(findLimitSome)
	if os.Getenv("STUDYFS_FULL") != "" {
		count, limit = 1_000_000, findLimitFull
	}
	for name, key := range map[string]func(i int) string{
		"flat": func(i int) string { return fmt.Sprintf("d/recording-%07d.csv", i) },
		"deep": func(i int) string { return fmt.Sprintf("d/sub-%04d/ses-%d/run-%03d.csv", i/900, i%900/100, i%100) },
		"tens": func(i int) string {
			return fmt.Sprintf("site-%02d/sub-%02d/day-%02d/%d.csv", i/25000, i/500%50, i/10%50, i%10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, srv, url := prepare(t, nil)
			one := s3test.Object{Body: bytes.NewReader([]byte("x")), Size: 1, ModTime: time.Unix(1e9, 0)}
			for i := range count {
				one.ETag = fmt.Sprintf("\"%032x\"", i)
				srv.Put("study", key(i), one)
			}
			dir := e.Mount(source(url)...)
			var found lines
			cmd := exec.Command("find", dir, "-type", "f")
			cmd.Stdout = &found
			err := cmd.Run()
			files := int(found)
			if err != nil || files != count {
				t.Fatalf("%d files, %v", files, err)
			}
			most := peak(t, e.PID(dir))
			t.Logf("%d files: %d LIST, at most %d MiB resident", files, srv.Count("ListObjectsV2"), most>>20)
			if most > limit {
				t.Errorf("%d MiB, allowed %d", most>>20, limit>>20)
			}
			within(t, srv, 3*count/900, 0, 0)
			e.Unmount(dir)
		})
	}
}
