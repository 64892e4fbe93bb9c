// Package integrity replaces objects under readers and damages the cache, and looks for a byte that is not right.
package integrity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func mount(t *testing.T, files map[string]harness.File, args ...string) (*harness.Env, *s3test.Server, string, []string) {
	t.Helper()
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", files)
	e := harness.New(t)
	e.Profile("lab")
	args = append([]string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1"}, args...)
	return e, srv, e.Mount(args...), args
}

// An object replaced while it is open, before, between and within the requests for it: what is read is one version's bytes, or the read
// fails with ESTALE. Never a mix, never NULs.
func TestReplacedWhileOpen(t *testing.T) {
	const size = 6 << 20
	first := harness.Pattern(0, size)
	versions := map[string]int64{string(first[:8]): 0} // by how they begin
	_, srv, dir, _ := mount(t, map[string]harness.File{"f": {Body: first}}, "--cache-size", "64MiB")
	rnd := rand.New(rand.NewPCG(1, 1))
	version, stale, whole := int64(0), 0, 0
	swap := func() {
		version++ // never one that was there before: the cache might have it
		body := harness.Pattern(version, size)
		versions[string(body[:8])] = version
		srv.Put("study", "f", s3test.Bytes(body))
	}
	for try := range harness.Sized(150, 1000) {
		f, err := os.Open(filepath.Join(dir, "f"))
		if err != nil {
			t.Fatalf("try %d: open: %v", try, err)
		}
		at := rnd.IntN(12) // the read before which it is replaced
		var got []byte
		p := make([]byte, 1<<20)
		for i := 0; ; i++ {
			if i == at {
				swap()
			}
			n, err := f.Read(p[:1+rnd.IntN(len(p))])
			got = append(got, p[:n]...)
			if errors.Is(err, io.EOF) {
				whole++
				break
			}
			if errors.Is(err, syscall.ESTALE) {
				stale++
				break
			}
			if err != nil {
				t.Fatalf("try %d: %v", try, err)
			}
		}
		f.Close()
		if len(got) < 8 {
			continue
		}
		v, ok := versions[string(got[:8])]
		if !ok || !bytes.HasPrefix(harness.Pattern(v, size), got) {
			t.Fatalf("try %d, replaced before read %d: %d bytes are of no one version", try, at, len(got))
		}
	}
	t.Logf("%d read whole, %d ended stale", whole, stale)
	if whole == 0 || stale == 0 {
		t.Error("one of the two never happened: the test proves less than it should")
	}
}

// Small objects come whole at open: whoever reads gets the old one or the new one.
func TestSmallFileReplacedBetweenOpens(t *testing.T) {
	bodies := map[string]bool{}
	_, srv, dir, _ := mount(t, map[string]harness.File{"day.csv": {Body: []byte("version 0")}})
	bodies["version 0"] = true
	last := ""
	for i := range harness.Sized(200, 1000) {
		body := fmt.Sprintf("version %d", i%10) // the same size, as Empatica's day files keep
		bodies[body] = true
		srv.Put("study", "day.csv", s3test.Bytes([]byte(body)))
		got, err := os.ReadFile(filepath.Join(dir, "day.csv"))
		if err != nil || !bodies[string(got)] {
			t.Fatalf("%q, %v", got, err)
		}
		last = string(got)
	}
	if !strings.HasPrefix(last, "version ") {
		t.Errorf("%q", last)
	}
}

// A block of the cache flipped, truncated or swapped while the file is closed and the program runs, or between two runs: found
// and fetched again.
func TestDamagedCache(t *testing.T) {
	files := map[string]harness.File{}
	for i := range 4 {
		files[fmt.Sprintf("small-%d", i)] = harness.File{Body: harness.Pattern(int64(i), 300_000)}
		files[fmt.Sprintf("large-%d", i)] = harness.File{Body: harness.Pattern(int64(10+i), 5<<20)}
	}
	e, srv, dir, args := mount(t, files)
	harness.Compare(t, dir, withTimes(dir, files))
	rnd := rand.New(rand.NewPCG(5, 5))
	for try := range harness.Sized(60, 1000) {
		restart := try%20 == 19
		if restart {
			e.Unmount(dir)
		}
		data := cacheFiles(t, e.Home)
		if len(data) < 2 {
			t.Fatal("no cache files")
		}
		damage(t, rnd, data[rnd.IntN(len(data))], data[rnd.IntN(len(data))])
		if restart {
			e.MountAt(dir, args...)
		}
		dropPages(t)
		for name, f := range files {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(got, f.Body) {
				t.Fatalf("try %d: %s: wrong bytes, %v", try, name, err)
			}
		}
	}
	if srv.Count("GetObject") <= len(files) {
		t.Error("nothing was ever fetched again")
	}
}

// withTimes takes the times that the mount shows: what is compared here are the bytes.
func withTimes(dir string, files map[string]harness.File) map[string]harness.File {
	out := map[string]harness.File{}
	for name, f := range files {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			f.Mod = info.ModTime()
		}
		out[name] = f
	}
	return out
}

func cacheFiles(t *testing.T, home string) (data []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(home, ".cache"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".data") {
			data = append(data, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func damage(t *testing.T, rnd *rand.Rand, a, b string) {
	t.Helper()
	var err error
	switch rnd.IntN(4) {
	case 0: // a flipped bit
		var f *os.File
		if f, err = os.OpenFile(a, os.O_RDWR, 0); err == nil {
			info, _ := f.Stat()
			p, at := make([]byte, 1), rnd.Int64N(max(1, info.Size()))
			f.ReadAt(p, at)
			p[0] ^= 1 << rnd.IntN(8)
			_, err = f.WriteAt(p, at)
			f.Close()
		}
	case 1:
		err = os.Truncate(a, rnd.Int64N(200_000))
	case 2: // swapped with another's
		if a != b {
			err = errors.Join(os.Rename(a, a+".x"), os.Rename(b, a), os.Rename(a+".x", b))
		}
	case 3:
		m := strings.TrimSuffix(a, ".data") + ".map"
		err = os.Truncate(m, rnd.Int64N(100))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dropPages makes the kernel forget what it read before.
func dropPages(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		t.Logf("the kernel keeps its pages: %v", err)
	}
}
