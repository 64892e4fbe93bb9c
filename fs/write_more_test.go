package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A source that may not be written to stays so beside one that may.
func TestReadOnlyTreeBesideWritable(t *testing.T) {
	m := mount(t, setup{Lab: true, Trees: []string{"lab", "data"}, ReadOnly: []string{"data"}, Objects: []object{{Name: "d/f", Version: "1", Size: 9}}})
	if err := os.WriteFile(m.path("lab/d/new"), []byte("x"), 0o644); err != nil {
		t.Errorf("write: %v", err)
	}
	if err := os.WriteFile(m.path("data/d/new"), []byte("x"), 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write into the read-only tree: %v", err)
	}
	if err := os.WriteFile(m.path("data/d/f"), []byte("x"), 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("overwrite in the read-only tree: %v", err)
	}
	if err := unix.Rename(m.path("lab/d/new"), m.path("data/d/new")); err == nil {
		t.Error("renamed into the read-only tree")
	}
	if err := os.Mkdir(m.path("more"), 0o755); !errors.Is(err, unix.EROFS) {
		t.Errorf("mkdir beside the trees: %v", err)
	}
	if out, err := exec.Command("cp", "-a", m.path("data/d/f"), m.path("lab/d/copy")).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("cp -a: %s, %v", out, err)
	}
	if got := m.do("upload", "lab"); got != "<nil>" {
		t.Error(got)
	}
	if got := m.do("objects", "lab"); got != `"d/copy d/f d/new"` {
		t.Errorf("objects: %s", got)
	}
}

// Links that other programs have stored are links here, and links made here are theirs.
func TestLinksOfOthers(t *testing.T) {
	ways(t, setup{Delete: true, Objects: []object{
		{Name: "d/f", Version: "1", Size: 9}, {Name: "d/l.rclonelink", Link: "f"}, {Name: "d/both", Version: "1", Size: 9}, {Name: "d/both.rclonelink", Link: "f"},
	}}, func(t *testing.T, m *mounted) {
		if got := names(t, m.path("d")); got != "both f l" {
			t.Errorf("listed: %s", got)
		}
		if got, err := os.Readlink(m.path("d/l")); err != nil || got != "f" {
			t.Errorf("%q, %v", got, err)
		}
		if got, err := os.ReadFile(m.path("d/l")); err != nil || len(got) != 9 {
			t.Errorf("through the link: %d bytes, %v", len(got), err)
		}
		if _, err := os.Lstat(m.path("d/l.rclonelink")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the object: %v", err)
		}
		if err := os.Symlink("../x", m.path("d/new")); err != nil {
			t.Error(err)
		}
		for _, when := range []string{"staged", "stored"} {
			if got, err := os.Readlink(m.path("d/new")); err != nil || got != "../x" {
				t.Errorf("%s: %q, %v", when, got, err)
			}
			m.upload()
		}
		if got := m.do("object", ".", "d/new.rclonelink"); got != `"../x" true` {
			t.Errorf("stored: %s", got)
		}
		if err := os.Rename(m.path("d/f"), m.path("d/l")); err != nil { // a file in the place of a link
			t.Error(err)
		}
		if st, err := os.Lstat(m.path("d/l")); err != nil || st.Size() != 9 || !st.Mode().IsRegular() {
			t.Errorf("%v, %v", st, err)
		}
		if got := m.do("objects", "."); got != `"d/both d/both.rclonelink d/l d/new.rclonelink"` {
			t.Errorf("objects: %s", got)
		}
	})
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// A user can ask how far a file has come, and finds a conflict.
func TestStatesOfFiles(t *testing.T) {
	ways(t, setup{Objects: []object{{Name: "old", Version: "1", Size: 9}}}, func(t *testing.T, m *mounted) {
		state := func(name string) string {
			b := make([]byte, 100)
			n, err := unix.Getxattr(m.path(name), "user.studyfs.state", b)
			if err != nil {
				return err.Error()
			}
			return string(b[:n])
		}
		if got := state("old"); got != "remote" {
			t.Errorf("before: %s", got)
		}
		os.WriteFile(m.path("new"), []byte("new"), 0o644)
		os.WriteFile(m.path("old"), []byte("changed"), 0o644)
		if a, b := state("new"), state("old"); a != "staged" || b != "staged" {
			t.Errorf("written: %s, %s", a, b)
		}
		m.do("set", ".", "old", "theirs")
		m.upload()
		if a, b := state("new"), state("old"); a != "stored" || b != "conflict" {
			t.Errorf("uploaded: %s, %s", a, b)
		}
		if got, err := os.ReadFile(m.path("old")); err != nil || string(got) != "changed" {
			t.Errorf("our bytes: %q, %v", got, err)
		}
		if got := m.do("object", ".", "old"); got != `"theirs" true` {
			t.Errorf("their bytes: %s", got)
		}
	})
}

// There is no room: a program is told so when it writes, or when it opens; df shows it before.
func TestNoRoom(t *testing.T) {
	m := mount(t, setup{Lab: true, Quota: 1 << 20, NoPassthrough: true})
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil || st.Bavail*uint64(st.Bsize) != 1<<20 {
		t.Errorf("%d free, %v", st.Bavail*uint64(st.Bsize), err)
	}
	err := os.WriteFile(m.path("f"), make([]byte, 8<<20), 0o644)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write: %v", err)
	}
	if err := os.Remove(m.path("f")); err != nil {
		t.Errorf("remove: %v", err)
	}
}

// Copying files in costs no request before they are uploaded, in new directories neither.
func TestWritingAsksNothing(t *testing.T) {
	ways(t, setup{Objects: []object{{Name: "d/f", Version: "1", Size: 9}}}, func(t *testing.T, m *mounted) {
		names(t, m.dir)
		names(t, m.path("d"))
		before, _ := strconv.Atoi(m.do("requests", "."))
		for i := range 100 {
			dir := m.path(fmt.Sprintf("d/new%d/sub", i%10))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, i), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("find", m.dir).CombinedOutput(); err != nil || bytes.Count(out, []byte("\n")) != 123 {
			t.Errorf("find: %s, %v", out, err)
		}
		after, _ := strconv.Atoi(m.do("requests", "."))
		if after != before {
			t.Errorf("%d requests", after-before)
		}
		m.upload()
		if stored, _ := strconv.Atoi(m.do("requests", ".")); stored-after != 100 {
			t.Errorf("%d requests to upload 100 files", stored-after)
		}
		exec.Command("find", m.dir, "-size", "+0").Run()
		if end, _ := strconv.Atoi(m.do("requests", ".")); end-after != 100 {
			t.Errorf("%d requests to look at what was uploaded", end-after-100)
		}
	})
}
