package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// silence is as many zeros as anybody reads.
type silence struct{}

func (silence) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// A file manager opens a folder of recordings: it looks at each, asks for names that only file managers know, and reads heads to choose
// icons. That must not fetch the recordings.
func TestFileManagerReadsHeads(t *testing.T) {
	const size = 9 << 20
	srv, url := harness.Strict(t, "", s3test.Options{})
	n := harness.Sized(100, 1000)
	for i := range n {
		srv.Put("study", "lab/rec-"+strconv.Itoa(i)+".edf", s3test.Object{Body: silence{}, Size: size, ETag: `"` + strconv.Itoa(i) + `"`})
	}
	e := writable(t)
	dir := e.Mount("s3://study/lab/", "--endpoint-url", url, "--profile", "lab")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != n {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	before := srv.Count("")
	for _, name := range []string{".hidden", ".directory", ".xdg-volume-info", "autorun.inf", ".Trash", ".Trash-0", "desktop.ini", "Thumbs.db", ".DS_Store", "BDMV"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, entry := range entries {
		if _, err := os.Lstat(filepath.Join(dir, "._"+entry.Name())); !os.IsNotExist(err) {
			t.Errorf("._%s: %v", entry.Name(), err)
		}
		if info, err := entry.Info(); err != nil || info.Size() != size {
			t.Errorf("%s: %v", entry.Name(), err)
		}
	}
	if asked := srv.Count("") - before; asked > 0 {
		t.Errorf("looking at %d files and for names of file managers cost %d requests", n, asked)
	}
	head := make([]byte, 64<<10)
	for _, entry := range entries {
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(f, head); err != nil {
			t.Errorf("%s: %v", entry.Name(), err)
		}
		f.Close()
	}
	e.Unmount(dir)
	out := map[string]int64{}
	for _, r := range srv.Requests() {
		if r.Op == "GetObject" {
			out[r.Key] += r.BytesOut
		}
	}
	for key, bytes := range out {
		if bytes > 128<<10 {
			t.Errorf("%s: a head of 64 KiB cost %d bytes", key, bytes)
		}
	}
	if len(out) != n {
		t.Errorf("%d of %d files were read", len(out), n)
	}
}

// The desktop's indexer finds the mount. With --no-index it gets nothing, at no request, and everybody else still reads.
func TestIndexersAreKeptOut(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/d/f", s3test.Bytes([]byte("text")))
	e := writable(t)
	dir := e.Mount("s3://study/lab/", "--endpoint-url", url, "--profile", "lab", "--no-index")
	as := func(name, program string) string { // the kernel names a process by its file
		t.Helper()
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skip(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(e.Home, name)
		if err := os.WriteFile(to, text, 0o755); err != nil {
			t.Fatal(err)
		}
		return to
	}
	file := filepath.Join(dir, "d", "f")
	if _, err := os.Lstat(file); err != nil {
		t.Fatal(err)
	}
	before := srv.Count("")
	if r := e.Exec(as("tracker-miner-fs-3", "cat"), file); r.Code == 0 || !strings.Contains(r.Err, "temporarily unavailable") {
		t.Errorf("an indexer reads %q: exit %d\n%s", r.Out, r.Code, r.Err)
	}
	if r := e.Exec(as("updatedb.plocate", "ls"), filepath.Join(dir, "d")); r.Code == 0 || r.Out != "" {
		t.Errorf("an indexer lists %q: exit %d\n%s", r.Out, r.Code, r.Err)
	}
	if asked := srv.Count("") - before; asked > 0 {
		t.Errorf("that cost %d requests", asked)
	}
	if r := e.Exec("cat", file); r.Code != 0 || r.Out != "text" {
		t.Errorf("everybody else reads %q: exit %d\n%s", r.Out, r.Code, r.Err)
	}
}
