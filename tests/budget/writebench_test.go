package budget

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Files written by benchmarks wait for minutes: what is measured is how they are saved, not how they are uploaded.
const later = "10m"

func mountForSaving(b *testing.B, args ...string) (*harness.Env, string) {
	b.Helper()
	harness.NeedWrites(b)
	_, url := harness.Strict(b, "", s3test.Options{})
	e := harness.New(b)
	e.Profile("lab")
	return e, e.Mount(harness.Writable(url, append([]string{"--quiet", later}, args...)...)...)
}

// A large file copied in and closed, beside a copy to the same disk that is synced:
//
//	go -C tests test ./budget -run xxx -bench CopyIn -benchtime 5x
func BenchmarkCopyIn(b *testing.B) {
	const size = 512 << 20
	e, mount := mountForSaving(b)
	from := filepath.Join(e.Home, "large")
	if err := os.WriteFile(from, harness.Pattern(1, size), 0o600); err != nil {
		b.Fatal(err)
	}
	plain := filepath.Join(e.Home, "plain")
	if err := os.Mkdir(plain, 0o700); err != nil {
		b.Fatal(err)
	}
	var pairs pairs
	for n := 0; b.Loop(); n++ {
		var took [2]time.Duration
		for i := range 2 {
			which := (i + n) % 2 // in turn, and each first as often: the disk is not equally fast all the time
			dir := []string{plain, mount}[which]
			to := filepath.Join(dir, fmt.Sprint("copy", n))
			start := time.Now()
			copyFile(b, from, to, dir == plain)
			took[which] = time.Since(start)
			os.Remove(to)
			exec.Command("sync").Run()
		}
		pairs.add(took[0], took[1])
	}
	without, with, ratio := pairs.medians()
	b.ReportMetric(size/1e6/with.Seconds(), "MB/s")
	b.ReportMetric(size/1e6/without.Seconds(), "local-MB/s")
	b.ReportMetric(ratio, "of-local")
}

// pairs are times of the same work without and with a mount, each pair measured at about the same time. On a machine that others use, too, a
// median of their ratios says more than a ratio of sums.
type pairs struct {
	without, with []time.Duration
	ratios        []float64
}

func (p *pairs) add(without, with time.Duration) {
	p.without, p.with = append(p.without, without), append(p.with, with)
	p.ratios = append(p.ratios, without.Seconds()/with.Seconds())
}

func (p *pairs) medians() (without, with time.Duration, ratio float64) {
	return median(p.without), median(p.with), median(p.ratios)
}

func median[T cmp.Ordered](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func copyFile(b *testing.B, from, to string, sync bool) {
	b.Helper()
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 128<<10)); err != nil {
		b.Fatal(err)
	}
	if sync {
		if err := out.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
}

// Small files saved by eight programs at once, beside the same steps for safety without a mount (bytes, record, directory, journal), and
// beside rclone, if STUDYFS_RCLONE names it, where each file is synced before it is closed:
//
//	go -C tests test ./budget -run xxx -bench DurableCloses -benchtime 3x
func BenchmarkDurableCloses(b *testing.B) {
	const count, writers = 2000, 8
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%d KiB", size>>10), func(b *testing.B) {
			e, mount := mountForSaving(b)
			body := harness.Pattern(1, size)
			safe := newProtocol(b, filepath.Join(e.Home, "protocol"))
			rclone := rcloneMount(b, e.Home)
			var mounted, other pairs
			for n := 0; b.Loop(); n++ {
				by := saveAll(b, count, writers, func(i int) error { return safe.save(fmt.Sprintf("%d-%d", n, i), body) })
				mounted.add(by, saveAll(b, count, writers, func(i int) error {
					return saveOne(filepath.Join(mount, fmt.Sprintf("%d-%d", n, i)), body, false)
				}))
				if rclone != "" {
					other.add(by, saveAll(b, count, writers, func(i int) error {
						return saveOne(filepath.Join(rclone, fmt.Sprintf("%d-%d", n, i)), body, true)
					}))
				}
			}
			without, with, ratio := mounted.medians()
			b.ReportMetric(count/without.Seconds(), "protocol-files/s")
			b.ReportMetric(count/with.Seconds(), "mount-files/s")
			b.ReportMetric(ratio, "of-protocol")
			if rclone != "" {
				_, with, ratio := other.medians()
				b.ReportMetric(count/with.Seconds(), "rclone-files/s")
				b.ReportMetric(ratio, "rclone-of-protocol")
			}
		})
	}
}

func saveAll(b *testing.B, count, writers int, save func(i int) error) time.Duration {
	b.Helper()
	start := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(count); i = next.Add(1) {
				if err := save(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func saveOne(path string, body []byte, sync bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(body); err != nil {
		f.Close()
		return err
	}
	if sync {
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// protocol saves files as safely as a mount promises to, with nothing between: the best that there can be.
type protocol struct {
	dir     string
	journal *os.File
	mu      sync.Mutex // of appends to the journal
}

func newProtocol(b *testing.B, dir string) *protocol {
	b.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	journal, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { journal.Close() })
	return &protocol{dir: dir, journal: journal}
}

func (p *protocol) save(name string, body []byte) error {
	path := filepath.Join(p.dir, name)
	if err := saveOne(path, body, true); err != nil {
		return err
	}
	if err := saveOne(path+".tmp", make([]byte, 300), true); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path+".record"); err != nil {
		return err
	}
	d, err := os.Open(p.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	p.mu.Lock()
	_, err = p.journal.Write(make([]byte, 100))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return unix.Fdatasync(int(p.journal.Fd()))
}

// rcloneMount mounts an empty bucket with rclone and returns where; "" without rclone.
func rcloneMount(b *testing.B, home string) string {
	b.Helper()
	program := os.Getenv("STUDYFS_RCLONE")
	if program == "" {
		return ""
	}
	_, url := harness.Strict(b, "", s3test.Options{})
	dir := filepath.Join(home, "rclone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(home, "rclone.conf")
	text := fmt.Sprintf("[s3]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\nregion = us-east-1\nno_check_bucket = true\nlist_version = 2\n",
		harness.ID, harness.Secret, url)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, "mount", "--vfs-cache-mode", "writes", "--vfs-write-back", later, "--cache-dir", filepath.Join(home, "rclone-cache"), "--config", config, "s3:study", dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		harness.Abort(dir)
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); !harness.Mounted(dir); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("rclone does not mount")
		}
	}
	return dir
}

// A tree of 100,000 files that all wait for their upload: listed by a program that looks at each, asked for by people who watch, and mounted
// again after a kill until "ls" has its answer:
//
//	go -C tests test ./budget -run xxx -bench ManyStaged -benchtime 3x
func BenchmarkManyStaged(b *testing.B) {
	const folders, files = 100, 1000
	harness.NeedWrites(b)
	_, url := harness.Strict(b, "", s3test.Options{})
	e := harness.New(b)
	e.Profile("lab")
	args := harness.Writable(url, "--quiet", later)
	mount := e.Mount(args...)
	for i := range folders {
		if err := os.Mkdir(filepath.Join(mount, fmt.Sprint(i)), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	saveAll(b, folders*files, 16, func(i int) error {
		return saveOne(filepath.Join(mount, fmt.Sprint(i%folders), fmt.Sprint(i)), []byte("x"), false)
	})
	var listed, mounted, asked []time.Duration
	for b.Loop() {
		start := time.Now()
		out, err := exec.Command("ls", "-lR", mount).Output()
		if n := bytes.Count(out, []byte("\n-")); err != nil || n != folders*files {
			b.Fatalf("%d files: %v", n, err)
		}
		listed, start = append(listed, time.Since(start)), time.Now()
		if r := e.Run("uploads", "ls", mount); r.Code != 0 {
			b.Fatal(r)
		}
		asked = append(asked, time.Since(start))
		e.Kill(mount)
		start = time.Now()
		e.MountAt(mount, args...)
		if all, err := os.ReadDir(mount); err != nil || len(all) != folders {
			b.Fatalf("%d folders: %v", len(all), err)
		}
		mounted = append(mounted, time.Since(start))
	}
	b.ReportMetric(median(listed).Seconds(), "ls-lR-s")
	b.ReportMetric(median(asked).Seconds(), "uploads-ls-s")
	b.ReportMetric(median(mounted).Seconds(), "mount-and-ls-s")
}
