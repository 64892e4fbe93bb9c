//go:build linux

package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadsEveryByte(t *testing.T) {
	for _, how := range readings() {
		pass := !how.NoPassthrough && !how.NoOpen
		t.Run(how.name(), func(t *testing.T) {
			how.Objects = []object{
				{Name: "empty", Version: "1"},
				{Name: "a/small", Version: "1", Size: 70_001},
				{Name: "a/middle", Version: "1", Size: 900_003},
				{Name: "a/b/large", Version: "1", Size: 9<<20 + 17},
			}
			m := mount(t, how)
			for range 2 { // cold, warm
				for name, size := range map[string]int{"empty": 0, "a/small": 70_001, "a/middle": 900_003, "a/b/large": 9<<20 + 17} {
					got, err := os.ReadFile(m.path(name))
					if err != nil || len(got) != size || !same(name, "1", got) {
						t.Fatalf("%s: %d bytes, %v, right %v", name, len(got), err, same(name, "1", got))
					}
				}
			}
			if on, _, _ := strings.Cut(m.do("passthrough"), " "); pass && os.Geteuid() == 0 && on != "true" {
				t.Errorf("passthrough: %s", m.do("passthrough"))
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	m := mount(t, setup{Objects: []object{{Name: "d/f", Version: "1", Size: 1025}}})
	var f, d, root unix.Stat_t
	for name, st := range map[string]*unix.Stat_t{"d/f": &f, "d": &d, "": &root} {
		if err := unix.Stat(m.path(name), st); err != nil {
			t.Fatal(err)
		}
		if st.Uid != 1234 || st.Gid != 2345 {
			t.Errorf("%q: owner %d:%d", name, st.Uid, st.Gid)
		}
	}
	if f.Mode != unix.S_IFREG|0o444 || f.Nlink != 1 || f.Size != 1025 || f.Blocks != 3 || f.Mtim.Sec != 1_700_000_000 || f.Ctim != f.Mtim || f.Atim != f.Mtim {
		t.Errorf("file: %+v", f)
	}
	for _, st := range []unix.Stat_t{d, root} {
		if st.Mode != unix.S_IFDIR|0o555 || st.Nlink != 2 || st.Mtim.Sec < 1_700_000_000 {
			t.Errorf("directory: %+v", st)
		}
	}
	if f.Ino != inodeOf("", "d/f") || d.Ino != inodeOf("", "d") {
		t.Errorf("inode numbers %d, %d must depend on nothing but the path", f.Ino, d.Ino)
	}
	list, err := readDirInodes(m.path("d"))
	if err != nil || list["f"] != f.Ino || list["."] != d.Ino || list[".."] != root.Ino {
		t.Errorf("readdir says %v, %v; stat %d, %d, %d", list, err, f.Ino, d.Ino, root.Ino)
	}
}

// readDirInodes reads "." and "..", too, which the os package hides.
func readDirInodes(dir string) (map[string]uint64, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	found, buf := map[string]uint64{}, make([]byte, 8192)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			return found, err
		}
		for b := buf[:n]; len(b) > 0; {
			reclen := int(b[16]) | int(b[17])<<8
			name, _, _ := bytes.Cut(b[19:reclen], []byte{0})
			for i := range 8 {
				found[string(name)] |= uint64(b[i]) << (8 * i)
			}
			b = b[reclen:]
		}
	}
}

func TestEveryChangeIsRefused(t *testing.T) {
	for _, writable := range []bool{true, false} { // by the nodes themselves, by the kernel
		t.Run(fmt.Sprintf("ro=%v", !writable), func(t *testing.T) {
			m := mount(t, setup{Writable: writable, XAttrs: true, Objects: []object{{Name: "d/f", Version: "1", Size: 10}, {Name: "d/e/g", Version: "1", Size: 10}}})
			f, d, missing := m.path("d/f"), m.path("d"), m.path("d/new")
			for what, try := range map[string]func() error{
				"create":      func() error { return opened(unix.Open(missing, unix.O_CREAT|unix.O_WRONLY, 0o644)) },
				"tmpfile":     func() error { return opened(unix.Open(d, unix.O_TMPFILE|unix.O_WRONLY, 0o644)) },
				"open write":  func() error { return opened(unix.Open(f, unix.O_WRONLY, 0)) },
				"open rdwr":   func() error { return opened(unix.Open(f, unix.O_RDWR, 0)) },
				"append":      func() error { return opened(unix.Open(f, unix.O_WRONLY|unix.O_APPEND, 0)) },
				"open trunc":  func() error { return opened(unix.Open(f, unix.O_RDONLY|unix.O_TRUNC, 0)) },
				"truncate":    func() error { return unix.Truncate(f, 1) },
				"mkdir":       func() error { return unix.Mkdir(missing, 0o755) },
				"mknod":       func() error { return unix.Mknod(missing, unix.S_IFREG|0o644, 0) },
				"mkfifo":      func() error { return unix.Mkfifo(missing, 0o644) },
				"unlink":      func() error { return unix.Unlink(f) },
				"rmdir":       func() error { return unix.Rmdir(m.path("d/e")) },
				"rename":      func() error { return unix.Rename(f, missing) },
				"rename dir":  func() error { return unix.Rename(m.path("d/e"), missing) },
				"link":        func() error { return unix.Link(f, missing) },
				"symlink":     func() error { return unix.Symlink("x", missing) },
				"chmod":       func() error { return unix.Chmod(f, 0o644) },
				"chown":       func() error { return unix.Chown(f, 1, 1) },
				"utimes":      func() error { return unix.Utimes(f, make([]unix.Timeval, 2)) },
				"setxattr":    func() error { return unix.Setxattr(f, "user.x", []byte("y"), 0) },
				"removexattr": func() error { return unix.Removexattr(f, "user.studyfs.state") },
				"chmod dir":   func() error { return unix.Chmod(d, 0o755) },
			} {
				if err := try(); !errors.Is(err, unix.EROFS) {
					t.Errorf("%s: %v, want EROFS", what, err)
				}
			}
			if _, err := os.Stat(f); err != nil {
				t.Errorf("the file afterwards: %v", err)
			}
			mounts, _ := os.ReadFile("/proc/self/mounts")
			for line := range strings.Lines(string(mounts)) {
				if fields := strings.Fields(line); fields[1] == m.dir {
					opts := strings.Split(fields[3], ",")
					if fields[0] != "test:source" || fields[2] != "fuse.studyfs" || slices.Contains(opts, "ro") == writable ||
						!slices.Contains(opts, "nosuid") || !slices.Contains(opts, "nodev") {
						t.Errorf("mounted as %s", line)
					}
				}
			}
		})
	}
}

func TestLargeDirectory(t *testing.T) {
	const files = 10_000
	m := mount(t, setup{Many: files})
	for round := range 3 { // through requests, then from the kernel's own pages
		start := time.Now()
		names, err := os.ReadDir(m.path("many"))
		if err != nil || len(names) != files {
			t.Fatalf("round %d: %d entries, %v", round, len(names), err)
		}
		if round > 0 {
			continue
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("listing took %v", took)
		}
		for _, e := range names[:3] {
			if info, err := e.Info(); err != nil || info.Size() != 10 {
				t.Errorf("%s: %v, %v", e.Name(), info, err)
			}
		}
	}
	if out, err := exec.Command("ls", "-l", m.path("many")).Output(); err != nil || bytes.Count(out, []byte("\n")) != files+1 {
		t.Errorf("ls -l: %d lines, %v", bytes.Count(out, []byte("\n")), err)
	}
}

func TestSeekdir(t *testing.T) {
	m := mount(t, setup{Many: 1_999, TTL: time.Millisecond})
	dirNames(t, m.path("many"))
	m.do("put", ".", "many/99999999", "1", "5") // a listing that changed is not answered from the kernel's own pages
	time.Sleep(2 * time.Millisecond)
	fd, err := unix.Open(m.path("many"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	type seen struct {
		off  int64
		name string
	}
	var all []seen
	buf := make([]byte, 1000)
	for {
		n, err := unix.Getdents(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for b := buf[:n]; len(b) > 0; {
			reclen := int(b[16]) | int(b[17])<<8
			name, _, _ := bytes.Cut(b[19:reclen], []byte{0})
			off := int64(0)
			for i := range 8 {
				off |= int64(b[8+i]) << (8 * i)
			}
			all = append(all, seen{off, string(name)})
			b = b[reclen:]
		}
	}
	if len(all) != 2_002 {
		t.Fatalf("%d entries", len(all))
	}
	for _, i := range []int{1500, 3, 0, 2000, 777, 1999} {
		if _, err := unix.Seek(fd, all[i].off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			t.Fatalf("after %s: %d, %v", all[i].name, n, err)
		}
		name, _, _ := bytes.Cut(buf[19:n], []byte{0})
		if string(name) != all[i+1].name {
			t.Errorf("after %s comes %s, want %s", all[i].name, name, all[i+1].name)
		}
	}
}

// The kernel still believes the old entry; only open(2) finds out, and must succeed all the same.
func TestOutdatedNodeIsLookedUpAgain(t *testing.T) {
	m := mount(t, setup{Deaf: true, Objects: []object{{Name: "d/f", Version: "1", Size: 100}}})
	if _, err := os.Stat(m.path("d/f")); err != nil {
		t.Fatal(err)
	}
	check := func(version string, size int) {
		t.Helper()
		f, err := os.Open(m.path("d/f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, _ := f.Stat()
		got, err := io.ReadAll(f)
		if err != nil || !same("d/f", version, got) || len(got) != size || info.Size() != int64(size) {
			t.Errorf("version %s: %d of %d bytes, right %v, %v", version, len(got), info.Size(), same("d/f", version, got), err)
		}
	}
	m.do("put", ".", "d/f", "2", "200") // the listing is believed for an hour; reading finds the change
	check("2", 200)
	m.do("put", ".", "d/f", "3", "300") // now the store knows from a listing, but not the kernel
	m.do("ttl", "1ms")
	time.Sleep(2 * time.Millisecond)
	m.do("stat", "d/f")
	m.do("ttl", "1h")
	check("3", 300)
	m.do("remove", ".", "d/f")
	m.do("ttl", "1ms")
	time.Sleep(2 * time.Millisecond)
	m.do("stat", "d/f")
	m.do("ttl", "1h")
	if _, err := os.ReadFile(m.path("d/f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

// The kernel believes names for an hour; the store finds out earlier and says so.
func TestChangedReachesTheKernel(t *testing.T) {
	for _, flood := range []string{"", "dir", "everything"} {
		m := mount(t, setup{Deaf: flood != "", Trees: []string{"one", "two"}, Objects: []object{{Name: "d/f", Version: "1", Size: 100}, {Name: "d/h", Version: "1", Size: 100}}})
		if got := dirNames(t, m.dir); !slices.Equal(got, []string{"one", "two"}) {
			t.Fatalf("root: %v", got)
		}
		open, err := os.Open(m.path("one/d")) // its own snapshot
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		for _, name := range []string{"one/d/f", "one/d/g", "one/d/h", "two/d/f"} {
			if _, err := os.Stat(m.path(name)); err != nil && !strings.HasSuffix(name, "g") {
				t.Fatal(err)
			}
		}
		m.do("put", "one", "d/g", "1", "5")
		m.do("put", "one", "d/h", "2", "7")
		m.do("remove", "one", "d/f")
		m.do("ttl", "1ms")
		time.Sleep(2 * time.Millisecond)
		m.do("stat", "one/d/f") // has the store list again
		m.do("ttl", "1h")
		if flood != "" { // too many changes at once: more is taken back
			m.do("flood", "one", "d", flood)
		}
		deadline := time.Now().Add(3 * time.Second)
		for {
			_, gone := os.Stat(m.path("one/d/f"))
			_, here := os.Stat(m.path("one/d/g"))
			h, _ := os.Stat(m.path("one/d/h"))
			if errors.Is(gone, fs.ErrNotExist) && (here == nil || flood != "") && h.Size() == 7 { // a name that is missing is believed for 5 s at most
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("flood %q: f %v, g %v, h %d bytes", flood, gone, here, h.Size())
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got := dirNames(t, m.path("one/d")); !slices.Equal(got, []string{"g", "h"}) {
			t.Errorf("listed: %v", got)
		}
		if got, _ := open.Readdirnames(-1); !slices.Equal(got, []string{"f", "h"}) {
			t.Errorf("the directory that was open: %v", got)
		}
		if got := dirNames(t, m.path("two/d")); !slices.Equal(got, []string{"f", "h"}) {
			t.Errorf("the other tree: %v", got)
		}
	}
}

func TestStatfsAndSeek(t *testing.T) {
	m := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 5000}}})
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil || st.Bsize != 4096 || st.Namelen != 255 || st.Blocks == 0 || st.Bavail == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if off, err := f.Seek(10, unix.SEEK_HOLE); off != 5000 || err != nil {
		t.Errorf("SEEK_HOLE: %d, %v", off, err)
	}
	if off, err := f.Seek(10, unix.SEEK_DATA); off != 10 || err != nil {
		t.Errorf("SEEK_DATA: %d, %v", off, err)
	}
}

func TestXattrs(t *testing.T) {
	m := mount(t, setup{XAttrs: true, Objects: []object{{Name: "f", Version: `"e1"`, Size: 5000}, {Name: "cold", Version: "1", Size: 5, Archived: true}}})
	buf := make([]byte, 1000)
	get := func(name, attr string) string {
		n, err := unix.Getxattr(m.path(name), attr, buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	none := unix.ENODATA.Error()
	for _, row := range [][3]string{
		{"f", "state", "remote"},
		{"f", "etag", `"e1"`},
		{"f", "version", `"e1"`},
		{"f", "storage_class", "STANDARD"},
		{"f", "error", none},
		{"f", "progress", none},
		{"f", "nothing", none},
		{"cold", "state", "remote"},
		{"cold", "error", "archived: a restore must be asked for before it can be read"},
	} {
		if got := get(row[0], "user.studyfs."+row[1]); got != row[2] {
			t.Errorf("%s of %s: %q, want %q", row[1], row[0], got, row[2])
		}
	}
	if got := get("f", "security.selinux"); got != none {
		t.Errorf("security.selinux: %s", got)
	}
	if _, err := os.ReadFile(m.path("f")); err != nil {
		t.Fatal(err)
	}
	if got := get("f", "user.studyfs.state"); got != "cached" {
		t.Errorf("state after reading: %s", got)
	}
	n, err := unix.Listxattr(m.path("f"), buf)
	if want := "user.studyfs.state\x00user.studyfs.etag\x00user.studyfs.version\x00user.studyfs.storage_class\x00"; err != nil || string(buf[:n]) != want {
		t.Errorf("list: %q, %v", buf[:n], err)
	}
	if n, err := unix.Listxattr(m.path("f"), nil); err != nil || n == 0 {
		t.Errorf("size of the list: %d, %v", n, err)
	}
	if _, err := os.ReadFile(m.path("cold")); !errors.Is(err, unix.ENODATA) {
		t.Errorf("reading an archived object: %v", err)
	}
	plain := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 5}}})
	if _, err := unix.Getxattr(plain.path("f"), "user.studyfs.state", buf); !errors.Is(err, unix.ENOTSUP) {
		t.Errorf("without XAttrs: %v", err)
	}
}

func TestUnmountWithFilesOpen(t *testing.T) {
	m := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 500}}})
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := m.do("unmount"); !strings.HasPrefix(got, "true ") || !strings.Contains(got, "still open") {
		t.Errorf("unmount: %s", got)
	}
	if got, err := io.ReadAll(f); err != nil || !same("f", "1", got) || len(got) != 500 {
		t.Errorf("the open file afterwards: %d bytes, %v", len(got), err)
	}
	if names := dirNames(t, m.dir); len(names) != 0 {
		t.Errorf("still mounted: %v", names)
	}
}

func TestAboutTheMount(t *testing.T) {
	m := mount(t, setup{Trees: []string{"a"}, Objects: []object{{Name: "x/f", Version: "1", Size: 500}}})
	if got := m.do("stat", "a/x/f"); got != "a 500 1 remote <nil>" {
		t.Errorf("stat: %s", got)
	}
	if got := m.do("stat", "."); got != " 0  remote <nil>" {
		t.Errorf("stat of the root: %s", got)
	}
	if got := m.do("stat", "a/x/none"); !strings.Contains(got, "not exist") {
		t.Errorf("stat of nothing: %s", got)
	}
	number, failed, _ := strings.Cut(m.do("connection"), " ")
	if failed != "<nil>" || number == "" {
		t.Errorf("connection: %s %s", number, failed)
	}
	if os.Geteuid() == 0 {
		if got := m.do("readahead"); got != "1048576 " {
			t.Errorf("readahead: %s", got)
		}
	}
	if _, err := os.Stat(filepath.Join("/sys/class/bdi", "0:"+number)); err != nil {
		t.Errorf("the connection's number: %v", err)
	}
	if err := unix.Unmount(m.dir, 0); err != nil && os.Geteuid() == 0 {
		t.Error(err)
	}
	if got := m.do("wait"); got != "ok" {
		t.Error(got)
	}
	if got := m.do("unmount"); got != "true <nil>" { // somebody else has done it
		t.Errorf("unmount: %s", got)
	}
}
