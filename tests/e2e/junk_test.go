package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// ofMac fills a folder as it looks after macOS and Windows have been there: files, the same number of names that are junk, and an index. It
// returns the names of the files.
func ofMac(t *testing.T, dir string, n int) (data []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("study/sub-%02d/data.csv", i)
		data = append(data, "lab/"+name)
		write(t, filepath.Join(dir, name), "data of "+name)
		base := []string{"._data.csv", ".DS_Store", "Thumbs.db", "desktop.ini"}[i%4]
		write(t, filepath.Join(dir, filepath.Dir(name), base), "junk")
	}
	write(t, filepath.Join(dir, "study", ".Spotlight-V100", "Store-V2", "0.indexHead"), "index")
	return data
}

// changes are the keys of all requests that change something.
func changes(srv *s3test.Server) (keys []string) {
	for _, r := range srv.Requests() {
		switch r.Op {
		case s3test.OpPut, s3test.OpCreateMultipart, s3test.OpCopy, s3test.OpDelete, s3test.OpDeleteObjects:
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// A folder of a Mac is copied in: the mount shows all of it, and the bucket gets what people keep. Nobody waits for the rest, or is told of it.
func TestJunkStaysOnThisMachine(t *testing.T) {
	const n = 20
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/old/.DS_Store", s3test.Bytes([]byte("of somebody who came before")))
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h") // or a slow cp leaves folders empty for long enough to be stored
	from := filepath.Join(e.Home, "from")
	want := ofMac(t, from, n)
	args := append(lab("study", url), "--bids", "off")
	dir := e.Mount(args...)
	write(t, filepath.Join(dir, "first"), "by which the service is tried")
	e.Drain(dir)
	srv.Reset()
	if r := e.Exec("cp", "-r", filepath.Join(from, "study"), dir); r.Code != 0 || r.Err != "" {
		t.Fatalf("cp -r: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Run("uploads", "wait", dir); r.Code != 0 {
		t.Errorf("uploads wait: exit %d\n%s", r.Code, r.Err)
	}
	got := changes(srv)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("sent: %q", got)
	}
	same := func(when string) {
		t.Helper()
		if r := e.Exec("diff", "-r", filepath.Join(from, "study"), filepath.Join(dir, "study")); r.Code != 0 {
			t.Errorf("%s: diff: exit %d\n%s%s", when, r.Code, r.Out, r.Err)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "old", ".DS_Store")); err != nil || string(text) != "of somebody who came before" {
			t.Errorf("%s: what lies in the bucket reads %q, %v", when, text, err)
		}
		if all := e.Uploads(); len(all) != 0 {
			t.Errorf("%s: people are told of %+v", when, all)
		}
	}
	same("after the upload")
	if r := e.Run("status", filepath.Join(dir, "study", "sub-00", "._data.csv")); r.Code != 0 || !strings.Contains(r.Out, "local") {
		t.Errorf("status: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Run("umount", "--flush", dir); r.Code != 0 || strings.Contains(r.Err, "not uploaded") {
		t.Errorf("umount --flush: exit %d\n%s", r.Code, r.Err)
	}
	e.MountAt(dir, args...)
	same("after a remount")
	e.Kill(dir)
	harness.Abort(dir)
	e.MountAt(dir, args...)
	same("after a kill")
	e.Drain(dir)
	e.Unmount(dir)
	if got, want := srv.Keys("study"), append([]string{"lab/first", "lab/old/.DS_Store"}, want...); !slices.Equal(got, want) {
		t.Errorf("the bucket holds %q", got)
	}
}

// File managers and office programs write, rename, mark and remove such names all day, and find their folders empty when they are.
func TestProgramsThatLeaveJunk(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/d/stored.csv", s3test.Bytes([]byte("data")))
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h") // or the marker of a folder is on its way while that is renamed
	dir := e.Mount(append(lab("study", url), "--delete", "--bids", "off")...)
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, in("d/.DS_Store"), "one")
	write(t, in("d/.DS_Store"), "two")
	must(unix.Setxattr(in("d/.DS_Store"), "user.note", []byte("x"), 0))
	must(os.Chmod(in("d/.DS_Store"), 0o600))
	write(t, in("d/.~lock.stored.csv#"), "somebody")
	must(os.Remove(in("d/.~lock.stored.csv#")))
	write(t, in("d/._gone"), "x")
	must(os.Rename(in("d/._gone"), in("d/._kept")))
	if text, err := os.ReadFile(in("d/.DS_Store")); err != nil || string(text) != "two" {
		t.Errorf("%q, %v", text, err)
	}
	e.Drain(dir)
	if got := changes(srv); len(got) != 0 {
		t.Errorf("sent: %q", got)
	}

	must(os.Rename(in("d/._kept"), in("d/kept"))) // is data from now on
	must(os.Rename(in("d/stored.csv"), in("d/._stored.csv")))
	e.Drain(dir)
	if got, want := srv.Keys("study"), []string{"lab/d/._stored.csv", "lab/d/kept"}; !slices.Equal(got, want) || stored(t, srv, want[0]) != "data" {
		t.Errorf("the bucket holds %q", got)
	}
	must(os.Remove(in("d/kept")))
	must(os.Remove(in("d/._stored.csv")))
	e.Drain(dir)
	if got := srv.Keys("study"); !slices.Equal(got, []string{"lab/d/"}) { // the folder is still there, with what it holds here
		t.Errorf("the bucket holds %q", got)
	}
	if text, err := os.ReadFile(in("d/.DS_Store")); err != nil || string(text) != "two" {
		t.Errorf("%q, %v", text, err)
	}
	must(os.Remove(in("d"))) // rmdir: there is nothing in it but that
	must(os.Mkdir(in("new"), 0o755))
	write(t, in("new/.DS_Store"), "x")
	must(os.Rename(in("new"), in("renamed")))
	must(syscall.Rmdir(in("renamed")))
	e.Drain(dir)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
	if got := srv.Keys("study"); len(got) != 0 {
		t.Errorf("the bucket holds %q", got)
	}
	if err := os.Mkdir(in(".Trash-1000"), 0o700); !errors.Is(err, syscall.EPERM) {
		t.Errorf("a trash is made: %v", err)
	}
}

// Who asked for it gets all in the bucket.
func TestJunkIsUploaded(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	dir := e.Mount(append(lab("study", url), "--junk", "upload")...)
	write(t, filepath.Join(dir, ".DS_Store"), "x")
	e.Drain(dir)
	if got := srv.Keys("study"); !slices.Equal(got, []string{"lab/.DS_Store"}) {
		t.Errorf("the bucket holds %q", got)
	}
}
