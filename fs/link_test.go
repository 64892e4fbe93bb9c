package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// Links lead to folders and files as everywhere, by programs that follow them and by those that show them.
func TestLinks(t *testing.T) {
	m := mount(t, setup{Indexed: true, XAttrs: true, Objects: []object{
		{Name: "people/Ann/f", Version: "1", Size: 100}, {Name: "ids/7", Link: "../people/Ann"}, {Name: "ids/f", Link: "7/f"}, {Name: "ids/broken", Link: "nowhere"},
	}})
	var st unix.Stat_t
	if err := unix.Lstat(m.path("ids/7"), &st); err != nil || st.Mode != unix.S_IFLNK|0o777 || st.Size != int64(len("../people/Ann")) || st.Nlink != 1 ||
		st.Uid != 1234 || st.Gid != 2345 || st.Ino != inodeOf("", "ids/7") {
		t.Errorf("lstat: %+v, %v", st, err)
	}
	if got, err := os.Readlink(m.path("ids/7")); got != "../people/Ann" || err != nil {
		t.Errorf("readlink: %q, %v", got, err)
	}
	for _, name := range []string{"ids/7/f", "ids/f"} {
		if got, err := os.ReadFile(m.path(name)); err != nil || len(got) != 100 || !same("people/Ann/f", "1", got) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := os.Stat(m.path("ids/broken")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link to nowhere: %v", err)
	}
	list, err := os.ReadDir(m.path("ids"))
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, e := range list {
		if e.Type() != os.ModeSymlink {
			t.Errorf("%s is listed as %v", e.Name(), e.Type())
		}
	}
	if out, err := exec.Command("ls", "-l", m.path("ids")).CombinedOutput(); err != nil || !strings.Contains(string(out), "7 -> ../people/Ann\n") || !bytes.Contains(out, []byte("lrwxrwxrwx")) {
		t.Errorf("ls -l: %s, %v", out, err)
	}
	if out, err := exec.Command("find", "-L", m.path("ids/7"), "-type", "f").CombinedOutput(); err != nil || string(out) != m.path("ids/7/f")+"\n" {
		t.Errorf("find -L: %s, %v", out, err)
	}
	if n, err := unix.Llistxattr(m.path("ids/7"), nil); n != 0 || err != nil {
		t.Errorf("attributes of a link: %d bytes, %v", n, err)
	}
}

func TestLinksCannotBeChanged(t *testing.T) {
	for _, writable := range []bool{true, false} { // by the nodes themselves, by the kernel
		t.Run(fmt.Sprintf("ro=%v", !writable), func(t *testing.T) {
			m := mount(t, setup{Indexed: true, Writable: writable, XAttrs: true, Objects: []object{
				{Name: "d/f", Version: "1", Size: 10}, {Name: "d/l", Link: "f"}, {Name: "d/broken", Link: "nowhere"},
			}})
			l, missing := m.path("d/l"), m.path("d/new")
			times := make([]unix.Timespec, 2)
			for what, try := range map[string]func() error{
				"unlink":         func() error { return unix.Unlink(l) },
				"rename":         func() error { return unix.Rename(l, missing) },
				"link":           func() error { return unix.Link(l, missing) },
				"symlink":        func() error { return unix.Symlink("f", missing) },
				"lchown":         func() error { return unix.Lchown(l, 1, 1) },
				"utimes":         func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, l, times, unix.AT_SYMLINK_NOFOLLOW) },
				"open write":     func() error { return opened(unix.Open(l, unix.O_WRONLY, 0)) },
				"truncate":       func() error { return unix.Truncate(l, 1) },
				"chmod":          func() error { return unix.Chmod(l, 0o644) },
				"create through": func() error { return opened(unix.Open(m.path("d/broken"), unix.O_CREAT|unix.O_WRONLY, 0o644)) },
			} {
				if err := try(); !errors.Is(err, unix.EROFS) {
					t.Errorf("%s: %v, want EROFS", what, err)
				}
			}
			if got, err := os.Readlink(l); got != "f" || err != nil {
				t.Errorf("afterwards: %q, %v", got, err)
			}
		})
	}
}

// A link is led elsewhere, then becomes a file, then a link again: users see each as soon as the source tells.
func TestLinkIsLedElsewhere(t *testing.T) {
	m := mount(t, setup{Indexed: true, Objects: []object{{Name: "a/f", Version: "1", Size: 100}, {Name: "b/f", Version: "1", Size: 200}, {Name: "l", Link: "a"}}})
	if got := sizeOf(m.path("l/f")); got != 100 {
		t.Fatalf("%d bytes", got)
	}
	for _, step := range []struct {
		path string
		size int64
		cmd  []string
	}{
		{"l/f", 200, []string{"link", ".", "l", "b"}},
		{"l", 300, []string{"put", ".", "l", "1", "300"}},
		{"l/f", 100, []string{"link", ".", "l", "a"}},
	} {
		m.do(step.cmd...)
		m.do("tell", ".", "/")
		within(t, strings.Join(step.cmd, " "), func() bool { return sizeOf(m.path(step.path)) == step.size })
	}
}

func TestIdentityOfLinks(t *testing.T) {
	e := backends.Entry{Name: "a/b", Size: 1, Link: "c", ModTime: time.Unix(5, 0)}
	same := identity("t", e)
	if again := identity("t", e); again != same || !sameVersion(e, e) || same.Mode != unix.S_IFLNK {
		t.Errorf("the same link: %+v, was %+v", again, same)
	}
	for what, change := range map[string]func(*backends.Entry){
		"another target": func(e *backends.Entry) { e.Link = "d" },
		"another time":   func(e *backends.Entry) { e.ModTime = time.Unix(6, 0) },
		"a file":         func(e *backends.Entry) { e.Link = "" },
	} {
		other := e
		change(&other)
		if got := identity("t", other); got.Gen == same.Gen || got.Ino != same.Ino || sameVersion(e, other) {
			t.Errorf("%s: %+v, was %+v; the same version: %v", what, got, same, sameVersion(e, other))
		}
	}
	h := &dirHandle{entries: entryList{e}, at: 2, ino: func(backends.Entry) uint64 { return 1 }}
	if got, _ := h.Readdirent(t.Context()); got == nil || got.Name != "b" || got.Mode != unix.S_IFLNK {
		t.Errorf("listed as %v", got)
	}
	tree := &tree{name: "t", fs: &FS{}}
	for _, row := range []struct {
		e    backends.Entry
		want fusefs.InodeEmbedder
	}{{e, &link{}}, {backends.Entry{Name: "f"}, &file{}}, {backends.Entry{Name: "d", Dir: true}, &dir{}}} {
		if got := tree.node(row.e); fmt.Sprintf("%T", got) != fmt.Sprintf("%T", row.want) {
			t.Errorf("%+v is a %T", row.e, got)
		}
	}
}
