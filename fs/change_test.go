package fs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// within waits until a thing is so: what a source tells reaches the kernel by itself.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// sizeOf is what stat shows, or -1 where there is nothing.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

// A source says of a folder only that anything in it may differ, while the kernel believes all of it for an hour: users
// see what is new, what is gone and what has become something else.
func TestAllOfAFolderIsAskedAnew(t *testing.T) {
	m := mount(t, setup{Indexed: true, Trees: []string{"one", "two"}, Objects: []object{
		{Name: "d/f", Version: "1", Size: 100},
		{Name: "d/h", Version: "1", Size: 100},
		{Name: "d/l", Link: "f"},
		{Name: "d/sub/x", Version: "1", Size: 100},
		{Name: "d/gone/x", Version: "1", Size: 100},
		{Name: "d/turns/x", Version: "1", Size: 100},
	}})
	for _, tree := range []string{"one", "two"} {
		for _, name := range []string{"f", "h", "l", "sub/x", "gone/x", "turns/x"} {
			if got := sizeOf(m.path(tree + "/d/" + name)); got != 100 {
				t.Fatalf("%s: %d bytes", name, got)
			}
		}
	}
	dirNames(t, m.path("one/d"))
	m.do("put", "one", "d/f", "2", "200")
	m.do("remove", "one", "d/h")
	m.do("link", "one", "d/l", "sub/x")
	m.do("put", "one", "d/new", "1", "5")
	m.do("remove", "one", "d/gone/x")
	m.do("remove", "one", "d/turns/x")
	m.do("put", "one", "d/turns", "1", "7")
	m.do("tell", "one", "d")
	within(t, "the new version is seen", func() bool { return sizeOf(m.path("one/d/f")) == 200 })
	within(t, "what is gone is not", func() bool { return sizeOf(m.path("one/d/h")) == -1 })
	within(t, "a folder that is gone cannot be listed", func() bool { // names are told one after the other
		_, err := os.ReadDir(m.path("one/d/gone"))
		return errors.Is(err, fs.ErrNotExist)
	})
	if _, err := os.Stat(m.path("one/d/gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of a folder that is gone: %v", err)
	}
	within(t, "a folder is a file now", func() bool {
		info, err := os.Stat(m.path("one/d/turns"))
		return err == nil && !info.IsDir() && info.Size() == 7
	})
	within(t, "the link leads elsewhere", func() bool {
		got, err := os.Readlink(m.path("one/d/l"))
		return err == nil && got == "sub/x"
	})
	within(t, "the listing is the new one", func() bool {
		return slices.Equal(dirNames(t, m.path("one/d")), []string{"f", "l", "new", "sub", "turns"})
	})
	if got := dirNames(t, m.path("two/d")); !slices.Equal(got, []string{"f", "gone", "h", "l", "sub", "turns"}) {
		t.Errorf("the other tree: %v", got)
	}
}

// A shell sits in a folder while its study is refreshed, again and again: it stays where it is.
func TestCurrentDirectorySurvivesAll(t *testing.T) {
	m := mount(t, setup{Indexed: true, Objects: []object{{Name: "d/f", Version: "1", Size: 100}, {Name: "d/sub/x", Version: "1", Size: 100}}})
	shell := exec.Command("sh", "-c", "echo ready; read line; readlink /proc/self/cwd; cat x | wc -c")
	shell.Dir = m.path("d/sub")
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil { // a shell looks its folder up as it begins
		t.Fatal(err)
	}
	sizeOf(m.path("d/f"))
	m.do("put", ".", "d/f", "2", "200")
	m.do("tell", ".", "d")
	// Not by a look at d/sub, which would mend what is tested here.
	within(t, "the change", func() bool { return sizeOf(m.path("d/f")) == 200 })
	time.Sleep(50 * time.Millisecond)
	io.WriteString(in, "\n")
	said, err := io.ReadAll(out)
	if err := errors.Join(err, shell.Wait()); err != nil || string(said) != m.path("d/sub")+"\n100\n" {
		t.Errorf("%v: %q", err, said)
	}
}

// A study is refreshed while files of it are read: whoever has one open reads on in the version that he began with.
func TestOpenFilesSurviveAll(t *testing.T) {
	const large = 8 << 20
	m := mount(t, setup{Indexed: true, Objects: []object{{Name: "d/large", Version: "1", Size: large}, {Name: "d/small", Version: "1", Size: 50_000}}})
	open := map[string]*os.File{}
	for _, name := range []string{"d/large", "d/small"} {
		f, err := os.Open(m.path(name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		open[name] = f
		if _, err := f.ReadAt(make([]byte, 10_000), 0); err != nil {
			t.Fatal(err)
		}
		m.do("put", ".", name, "2", "60000")
	}
	m.do("tell", ".", "d")
	for name, f := range open {
		within(t, "the new version of "+name, func() bool { return sizeOf(m.path(name)) == 60_000 })
		if got, err := os.ReadFile(m.path(name)); err != nil || len(got) != 60_000 || !same(name, "2", got) {
			t.Errorf("%s opened anew: %d bytes, %v", name, len(got), err)
		}
		info, err := f.Stat()
		if err != nil || info.Size() == 60_000 {
			t.Errorf("%s: the open file shows %v, %v", name, info, err)
		}
		head := make([]byte, 10_000)
		if _, err := f.ReadAt(head, 0); err != nil || !same(name, "1", head) {
			t.Errorf("%s: what was read before, again: %v", name, err)
		}
	}
	if got, err := io.ReadAll(open["d/small"]); err != nil || len(got) != 50_000 || !same("d/small", "1", got) {
		t.Errorf("the small file, which was here as a whole: %d bytes, %v", len(got), err)
	}
	tail := make([]byte, 1000)
	_, err := open["d/large"].ReadAt(tail, large-1000)
	if !errors.Is(err, syscall.ESTALE) && (err != nil || !slices.Equal(tail, content("d/large", "1", large-1000, 1000))) {
		t.Errorf("the end of the large file: %v, want its own bytes or ESTALE", err)
	}
}

// A source tells of folders that nobody ever looked at.
func TestChangesOfUnknownFolders(t *testing.T) {
	m := mount(t, setup{Indexed: true, Objects: []object{{Name: "d/f", Version: "1", Size: 100}, {Name: "d/sub/x", Version: "1", Size: 100}}})
	if got := sizeOf(m.path("d/f")); got != 100 {
		t.Fatalf("%d bytes", got)
	}
	m.do("put", ".", "d/sub/x", "2", "300")
	m.do("tell", ".", "d/sub")
	m.do("tell", ".", "d/sub/none/at/all")
	m.do("tell", ".", "none")
	if got := sizeOf(m.path("d/sub/x")); got != 300 {
		t.Errorf("%d bytes", got)
	}
	if got := dirNames(t, m.path("d")); !slices.Equal(got, []string{"f", "sub"}) {
		t.Errorf("listed: %v", got)
	}
}

// A control directory does not get in the way of scripts that list the root, and is there for whoever knows its name.
func TestHiddenNames(t *testing.T) {
	for _, tree := range []string{"", "study"} {
		m := mount(t, setup{Indexed: true, Trees: []string{tree}, Objects: []object{{Name: "f", Version: "1", Size: 100}, {Name: hidden + "/status", Version: "1", Size: 30}}})
		root := m.path(tree)
		for _, when := range []string{"at first", "when it is known", "after a change"} {
			if when == "after a change" {
				m.do("tell", treeArg(tree), "/")
				time.Sleep(50 * time.Millisecond)
			}
			if out, err := exec.Command("ls", "-a", root).CombinedOutput(); err != nil || string(out) != ".\n..\nf\n" {
				t.Errorf("%s: ls -a: %q, %v", when, out, err)
			}
			if info, err := os.Stat(root + "/" + hidden); err != nil || !info.IsDir() {
				t.Errorf("%s: stat: %v, %v", when, info, err)
			}
			if out, err := exec.Command("sh", "-c", `cd "$0" && pwd -P && ls -a && cat status | wc -c`, root+"/"+hidden).CombinedOutput(); err != nil || string(out) != root+"/"+hidden+"\n.\n..\nstatus\n30\n" {
				t.Errorf("%s: cd: %q, %v", when, out, err)
			}
			if _, err := os.Stat(root + "/.other"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: another hidden name: %v", when, err)
			}
		}
	}
}

// treeArg names a tree in a command to the child.
func treeArg(tree string) string {
	if tree == "" {
		return "."
	}
	return tree
}

// A listing does not tell a file's size: whoever reads it gets all of it, and not the nothing that its size looks like.
func TestFilesOfUnknownSizeAreReadWhole(t *testing.T) {
	for _, noPassthrough := range []bool{true, false} {
		m := mount(t, setup{NoPassthrough: noPassthrough, Objects: []object{
			{Name: "small", Version: "1", Size: 100_000, Unsized: true}, {Name: "large", Version: "1", Size: 5<<20 + 3, Unsized: true},
		}})
		for range 2 { // cold, warm
			for name, size := range map[string]int{"small": 100_000, "large": 5<<20 + 3} {
				if got, err := os.ReadFile(m.path(name)); err != nil || len(got) != size || !same(name, "1", got) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
			}
		}
	}
	if attrTimeout(backends.Entry{Size: backends.SizeUnknown}, time.Hour) != 0 {
		t.Error("the kernel may keep a size that nobody knows")
	}
}

// What waits for the kernel does not grow with how often a source says the same, and All goes before names.
func TestAllTakesTheNamesIn(t *testing.T) {
	v := newInvalidator(nil)
	v.add("t", backends.Change{Dir: "d", Names: []string{"d/a"}})
	v.add("t", backends.Change{Dir: "d", All: true})
	v.add("t", backends.Change{Dir: "d", Names: []string{"d/b"}})
	if names, known := v.pending[place{"t", "d"}]; !known || names != nil || len(v.pending) != 1 {
		t.Errorf("pending: %v", v.pending)
	}
}

// An open directory has its snapshot, whatever is told meanwhile.
func TestOpenDirectorySurvivesAll(t *testing.T) {
	m := mount(t, setup{Indexed: true, Objects: []object{{Name: "d/f", Version: "1", Size: 100}, {Name: "d/h", Version: "1", Size: 100}}})
	d, err := os.Open(m.path("d"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	m.do("remove", ".", "d/f")
	m.do("tell", ".", "d")
	within(t, "the change", func() bool { return slices.Equal(dirNames(t, m.path("d")), []string{"h"}) })
	if got, err := d.Readdirnames(-1); !slices.Equal(got, []string{"f", "h"}) {
		t.Errorf("%v, %v", got, err)
	}
	m.do("remove", ".", "d/h")
	m.do("tell", ".", "/")
	within(t, "that the folder is gone", func() bool { return sizeOf(m.path("d")) == -1 })
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); !errors.Is(err, unix.ESTALE) {
		t.Errorf("fstat of an open folder that is gone: %v, want ESTALE", err)
	}
}
