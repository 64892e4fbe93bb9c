// Package integrity replaces objects under readers and damages the cache, and looks for a byte that is not right.
package integrity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

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

// made is an object whose every word tells its version and its place, none of it NUL, made up as it is read.
type made struct{ version uint64 }

func (m made) ReadAt(p []byte, off int64) (int, error) {
	var word [8]byte
	for i := range p {
		at := uint64(off) + uint64(i)
		if i == 0 || at%8 == 0 {
			binary.LittleEndian.PutUint64(word[:], (at/8+m.version<<40)*0x9e3779b97f4a7c15|0x0101010101010101)
		}
		p[i] = word[at%8]
	}
	return len(p), nil
}

// An object replaced while it is open, before, between and within the requests for it: what is read is one version's bytes, or the read
// fails with ESTALE. Never a mix, never NULs. Every try has an object of its own, of which nothing is cached yet.
func TestReplacedWhileOpen(t *testing.T) {
	const size = 6 << 20
	tries := harness.Sized(150, 1000)
	srv, url := harness.Strict(t, "", s3test.Options{})
	put := func(try int, version uint64) {
		srv.Put("study", fmt.Sprint("f", try), s3test.Object{Body: made{version}, Size: size, ETag: fmt.Sprintf("%q", fmt.Sprint(version))})
	}
	for try := range tries {
		put(try, uint64(2*try+1))
	}
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount("s3://study/", "--endpoint-url", url, "--profile", "lab", "--cache-size", "256MiB")
	rnd := rand.New(rand.NewPCG(1, 1))
	stale, whole := 0, 0
	for try := range tries {
		at := rnd.IntN(14) - 1 // the read before which it is replaced; -1: before it is opened
		if at < 0 {
			put(try, uint64(2*try+2))
		}
		got, err := readInPieces(t, filepath.Join(dir, fmt.Sprint("f", try)), rnd, func(i int) {
			if i == at {
				put(try, uint64(2*try+2))
			}
		})
		switch {
		case err == nil && len(got) == size:
			whole++
		case errors.Is(err, syscall.ESTALE):
			stale++
		default:
			t.Fatalf("try %d: %d bytes, %v", try, len(got), err)
		}
		want := make([]byte, len(got))
		for _, version := range []uint64{uint64(2*try + 1), uint64(2*try + 2)} {
			made{version}.ReadAt(want, 0)
			if bytes.Equal(got, want) {
				got = nil
				break
			}
		}
		if len(got) > 0 {
			t.Fatalf("try %d, replaced before read %d: %d bytes are of no one version", try, at, len(got))
		}
	}
	t.Logf("%d read whole, %d ended stale", whole, stale)
	if whole == 0 || stale == 0 {
		t.Error("one of the two never happened: the test proves less than it should")
	}
}

// readInPieces reads a file in pieces of random size, calling before ahead of each.
func readInPieces(t *testing.T, path string, rnd *rand.Rand, before func(i int)) (got []byte, err error) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := make([]byte, 1<<20)
	for i := 0; ; i++ {
		before(i)
		n, err := f.Read(p[:1+rnd.IntN(len(p))])
		got = append(got, p[:n]...)
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
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
		if !restart {
			released(t, e.PID(dir)) // what is open has been compared already, and is believed until it is closed
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

// released waits until the serving process has closed all cached objects: the kernel tells of a file some time after close has returned.
func released(t *testing.T, pid int) {
	t.Helper()
	for range 5000 {
		open, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if !slices.ContainsFunc(open, func(fd string) bool {
			path, _ := os.Readlink(fd)
			return strings.HasSuffix(path, ".data")
		}) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("cached objects stay open")
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
