// Package budget holds the requests that a workload may cost. Requests and bytes are counted at the store: they are the same on every machine.
package budget

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
	"studyfs/tests/harness"
)

// mount fills a store, mounts it with the region given, so that the listing is all that remains, and empties the log.
func mount(t *testing.T, files map[string]harness.File) (*s3test.Server, string) {
	t.Helper()
	e, srv, url := prepare(t, files)
	return srv, e.Mount(source(url)...)
}

func prepare(t *testing.T, files map[string]harness.File) (*harness.Env, *s3test.Server, string) {
	t.Helper()
	srv, url := harness.Strict(t, "", s3test.Options{})
	harness.Fill(srv, "", files)
	e := harness.New(t)
	e.Profile("lab")
	return e, srv, url
}

func source(url string) []string {
	return []string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1"}
}

// within fails the test if more was asked for than allowed.
func within(t *testing.T, srv *s3test.Server, list, get int, bytes int64) {
	t.Helper()
	var lists, gets, others int
	var out int64
	for _, r := range srv.Requests() {
		switch r.Op {
		case "ListObjectsV2":
			lists++
		case "GetObject":
			gets++
			out += r.BytesOut
		default:
			others++
		}
	}
	t.Logf("%d LIST, %d GET (%d bytes), %d others", lists, gets, out, others)
	if lists > list || gets > get || others > 0 || out > bytes {
		t.Errorf("allowed: %d LIST, %d GET, %d bytes, nothing else", list, get, bytes)
	}
}

func many(format string, n int) map[string]harness.File {
	files := map[string]harness.File{}
	for i := range n {
		files[fmt.Sprintf(format, i)] = harness.File{Body: []byte("x"), Mod: time.Unix(1e9, 0)}
	}
	return files
}

func TestMountStatAndDfOfTheRoot(t *testing.T) {
	for _, given := range []bool{true, false} {
		e, srv, url := prepare(t, many("d/%d", 10))
		args := source(url)
		allowed := 1
		if !given {
			args, allowed = args[:5], 2
		}
		dir := e.Mount(args...)
		if _, err := os.Stat(dir); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Statfs(dir, new(syscall.Statfs_t)); err != nil {
			t.Fatal(err)
		}
		if n := srv.Count(""); n > allowed {
			t.Errorf("region given %v: %d requests, allowed %d", given, n, allowed)
		}
	}
}

func TestListingOf2000Files(t *testing.T) {
	srv, dir := mount(t, many("d/file-%04d", 2000))
	entries, err := os.ReadDir(filepath.Join(dir, "d"))
	if err != nil || len(entries) != 2000 {
		t.Fatal(len(entries), err)
	}
	for _, d := range entries {
		if info, err := os.Lstat(filepath.Join(dir, "d", d.Name())); err != nil || info.Size() != 1 {
			t.Fatal(d.Name(), err)
		}
	}
	within(t, srv, 3, 0, 0)
}

// A large folder costs few requests more than it has pages, although they are sent at once.
func TestListingOf20000Files(t *testing.T) {
	srv, dir := mount(t, many("d/file-%05d", 20_000))
	if n := readNames(t, filepath.Join(dir, "d")); n != 20_000 {
		t.Fatal(n)
	}
	within(t, srv, 20*6/5+20, 0, 0)
}

func TestFindOverABIDSTree(t *testing.T) {
	srv, dir := mount(t, harness.Collect(t, "", sample.BIDS(sample.Options{})))
	entries, dirs := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		entries++
		if d.IsDir() {
			dirs++
		}
		_, err = os.Lstat(path)
		return err
	})
	if err != nil || entries != 343 || dirs != 143 {
		t.Fatal(entries, dirs, err)
	}
	within(t, srv, 1, 0, 0)
}

func TestStatSixLevelsDown(t *testing.T) {
	t.Run("all within a page", func(t *testing.T) {
		srv, dir := mount(t, many("a/b/c/d/e/%d", 100))
		if _, err := os.Stat(filepath.Join(dir, "a/b/c/d/e/7")); err != nil {
			t.Fatal(err)
		}
		within(t, srv, 1, 0, 0)
	})
	t.Run("two levels exceed a page", func(t *testing.T) {
		files := many("a/b/c/d/e/%d", 100)
		for _, more := range []string{"A/%04d", "a/A/%04d"} { // before the name, so that the first page ends short of it
			maps.Copy(files, many(more, 1500))
		}
		srv, dir := mount(t, files)
		if _, err := os.Stat(filepath.Join(dir, "a/b/c/d/e/7")); err != nil {
			t.Fatal(err)
		}
		within(t, srv, 3, 0, 0) // 1, and one per level that exceeds a page
	})
}

func TestMissingNamesInAListedDirectory(t *testing.T) {
	srv, dir := mount(t, many("d/%d", 10))
	if _, err := os.ReadDir(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	srv.Reset()
	for i := range 20 {
		if _, err := os.Stat(filepath.Join(dir, "d", fmt.Sprint("missing-", i))); !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	for _, probe := range []string{".Trash", ".Trash-0", ".hidden", "autorun.inf", ".xdg-volume-info", "Thumbs.db", "._d", ".DS_Store"} {
		if _, err := os.Stat(filepath.Join(dir, probe)); !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	within(t, srv, 0, 0, 0)
}

func TestRandomReadsOf256MiB(t *testing.T) {
	const size = 256 << 20
	body := harness.Pattern(1, size)
	srv, dir := mount(t, map[string]harness.File{"image.nii": {Body: body}})
	f, err := os.Open(filepath.Join(dir, "image.nii"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rnd, p := rand.New(rand.NewPCG(3, 4)), make([]byte, 4096)
	for range 100 {
		off := rnd.Int64N(size/4096) * 4096
		if _, err := f.ReadAt(p, off); err != nil || string(p) != string(body[off:off+4096]) {
			t.Fatalf("at %d: wrong bytes, %v", off, err)
		}
	}
	within(t, srv, 1, 100, 13<<20)
}

// Slices of an image, 128 KiB each at any offset: a quarter more than their bytes.
func TestRandomSlicesOf256MiB(t *testing.T) {
	const size, slice, count = 256 << 20, 128 << 10, 50
	body := harness.Pattern(6, size)
	srv, dir := mount(t, map[string]harness.File{"image.nii": {Body: body}})
	f, err := os.Open(filepath.Join(dir, "image.nii"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rnd, p := rand.New(rand.NewPCG(7, 8)), make([]byte, slice)
	for range count {
		off := rnd.Int64N(size - slice)
		if _, err := f.ReadAt(p, off); err != nil || string(p) != string(body[off:off+slice]) {
			t.Fatalf("at %d: wrong bytes, %v", off, err)
		}
	}
	within(t, srv, 1, count+count/10, count*slice*13/10)
}

func TestSequentialReadOf256MiB(t *testing.T) {
	const size = 256 << 20
	body := harness.Pattern(2, size)
	srv, dir := mount(t, map[string]harness.File{"image.nii": {Body: body}})
	f, err := os.Open(filepath.Join(dir, "image.nii"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, 1<<20)
	for off := 0; off < size; off += len(p) {
		if _, err := f.Read(p); err != nil || string(p) != string(body[off:off+len(p)]) {
			t.Fatalf("at %d: wrong bytes, %v", off, err)
		}
	}
	within(t, srv, 1, 256, size+size/20)
}

func TestThreeHundredSmallFilesAndAgainAfterARestart(t *testing.T) {
	files := map[string]harness.File{}
	for i := range 300 {
		files[fmt.Sprintf("d/%03d.csv", i)] = harness.File{Body: harness.Pattern(int64(i), 64<<10)}
	}
	e, srv, url := prepare(t, files)
	dir := e.Mount(source(url)...)
	readAll := func() {
		t.Helper()
		for i := range 300 {
			name := fmt.Sprintf("d/%03d.csv", i)
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != string(files[name].Body) {
				t.Fatal(name, err)
			}
		}
	}
	readAll()
	within(t, srv, 1, 300, 300*64<<10)
	srv.Reset()
	readAll()
	within(t, srv, 0, 0, 0)
	e.Unmount(dir)
	e.MountAt(dir, source(url)...)
	readAll()
	time.Sleep(500 * time.Millisecond) // what is looked at again in the background counts too
	within(t, srv, 1, 0, 0)
}

func TestAttributesCostNoRequest(t *testing.T) {
	srv, dir := mount(t, many("d/%d", 10))
	if _, err := os.ReadDir(filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	srv.Reset()
	if _, err := syscall.Getxattr(filepath.Join(dir, "d/1"), "user.studyfs.state", nil); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("a mount of read-only sources answers %v", err)
	}
	within(t, srv, 0, 0, 0)
}
