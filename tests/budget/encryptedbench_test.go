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

// One file uploaded encrypted, beside the same uploaded in clear to the same kind of store, in turns. MB/s are of what was copied in; "of-clear"
// is the encrypted speed by the clear one:
//
//	go -C tests test ./budget -run xxx -bench EncryptedUpload -benchtime 5x
func BenchmarkEncryptedUpload(b *testing.B) {
	harness.NeedWrites(b)
	const size = 256 << 20
	body := harness.Pattern(1, size)
	e := harness.New(b)
	e.Profile("lab")
	mount := func(name string, more ...string) string {
		_, url := harness.Strict(b, "", s3test.Options{})
		dir := filepath.Join(e.Home, name)
		e.MountAt(dir, harness.Writable(url, append(more, "--quiet", later)...)...)
		return dir
	}
	mounts := []string{mount("clear"), mount("encrypted", "--encrypt-to", recipient)}
	took := make([]time.Duration, len(mounts))
	n := 0
	for ; b.Loop(); n++ {
		for i, dir := range mounts {
			b.StopTimer()
			name := filepath.Join(dir, fmt.Sprintf("%d.avi", n))
			if err := os.WriteFile(name, body, 0o600); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			start := time.Now()
			e.Drain(dir)
			took[i] += time.Since(start)
		}
	}
	total := float64(n) * size / 1e6
	b.ReportMetric(total/took[0].Seconds(), "clear-MB/s")
	b.ReportMetric(total/took[1].Seconds(), "encrypted-MB/s")
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "of-clear")
}
