package fs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cache"
	"studyfs/cache/stage"
	"studyfs/cache/view"
)

const (
	aDay    = "1/1/participant_data/2026-11-19/P1-D/"
	aView   = "by-participant/P1/2026-11-19/D/"
	aLocal  = "by-participant-local/P1/2026-11-20/D/"
	aSignal = "1-1-P1_2026-11-19_eda.csv"
	aRaw    = "raw/1-1-P1_1795129859.avro"
)

func byParticipant(t *testing.T, more setup) *mounted {
	t.Helper()
	more.View = true
	more.Objects = []object{
		{Name: aDay + aSignal, Version: "1", Size: 300_000}, {Name: aDay + aRaw, Version: "1", Size: 5000}, {Name: aDay + "note", Version: "1", Size: 5}, {Name: "by-participant/mine", Version: "1", Size: 5},
	}
	return mount(t, more)
}

// A file under a name of a view is the file itself: the same number, the same bytes, once in the cache. Programs that copy folders get files, not links.
func TestViewShowsTheFilesThemselves(t *testing.T) {
	m := byParticipant(t, setup{XAttrs: true})
	if got := dirNames(t, m.dir); !slices.Equal(got, []string{"1", "by-participant", "by-participant-local"}) {
		t.Errorf("root: %v", got)
	}
	read := func(name, of string, size int64) {
		t.Helper()
		got, err := os.ReadFile(m.path(name))
		if err != nil || int64(len(got)) != size || !same(of, "1", got) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		var st, plain unix.Stat_t
		if err := errors.Join(unix.Stat(m.path(name), &st), unix.Stat(m.path(of), &plain)); err != nil || st != plain || st.Nlink != 1 {
			t.Errorf("%s: %+v, the file itself is %+v, %v", name, st, plain, err)
		}
	}
	read(aView+aSignal, aDay+aSignal, 300_000)
	read(aLocal+aSignal, aDay+aSignal, 300_000)
	read(aLocal+aRaw, aDay+aRaw, 5000)
	read(aView+aRaw, aDay+aRaw, 5000)
	if got := m.do("stat", aView+aSignal); got != " 300000 1 cached <nil>" || got != m.do("stat", aDay+aSignal) {
		t.Errorf("status: %s", got)
	}
	copied := filepath.Join(t.TempDir(), "P1")
	if out, err := exec.Command("cp", "-a", m.path("by-participant/P1"), copied).CombinedOutput(); err != nil {
		t.Fatalf("cp: %s, %v", out, err)
	}
	if got, err := os.ReadFile(filepath.Join(copied, "2026-11-19/D", aRaw)); err != nil || !same(aDay+aRaw, "1", got) {
		t.Errorf("the copy: %d bytes, %v", len(got), err)
	}
	if out, err := exec.Command("find", m.path("by-participant"), "-type", "f").Output(); err != nil || strings.Count(string(out), "\n") != 3 {
		t.Errorf("find: %s, %v", out, err)
	}
	for _, missing := range []string{"by-participant/mine", "by-participant/P2", "by-participant/.hidden", "by-participant/autorun.inf", aLocal + "note"} {
		if _, err := os.Stat(m.path(missing)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

// In several trees, one view does not show through in another, and opening both names at once is one file.
func TestViewsOfSeveralTrees(t *testing.T) {
	m := byParticipant(t, setup{Trees: []string{"one", "two"}, NoPassthrough: true})
	for _, tree := range []string{"one/", "two/"} {
		a, err := os.Open(m.path(tree + aView + aSignal))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := os.Open(m.path(tree + aDay + aSignal))
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, f := range []*os.File{a, b, a} {
			got := make([]byte, 4096)
			if _, err := f.ReadAt(got, 200_000); err != nil || !slices.Equal(got, content(aDay+aSignal, "1", 200_000, 4096)) {
				t.Errorf("%s: %v", f.Name(), err)
			}
		}
	}
	if _, err := os.Stat(m.path("by-participant")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("beside the trees: %v", err)
	}
}

// Nothing in a view can be changed, by the nodes' own word.
func TestViewIsReadOnly(t *testing.T) {
	for _, o := range []setup{{Writable: true, XAttrs: true}, {Writable: true, XAttrs: true, PyAFQ: true}} {
		d, f := aView, aView+aSignal
		var m *mounted
		if o.PyAFQ {
			o.Objects = []object{{Name: "100/T1w/Diffusion/bvals", Version: "1", Size: 10}}
			m, d, f = mount(t, o), "pyafq/derivatives/dmriprep", "pyafq/dataset_description.json"
		} else {
			m = byParticipant(t, o)
		}
		d, f = m.path(d), m.path(f)
		missing := filepath.Join(d, "new")
		for what, try := range map[string]func() error{
			"create":     func() error { return opened(unix.Open(missing, unix.O_CREAT|unix.O_WRONLY, 0o644)) },
			"open write": func() error { return opened(unix.Open(f, unix.O_WRONLY, 0)) },
			"open trunc": func() error { return opened(unix.Open(f, unix.O_RDONLY|unix.O_TRUNC, 0)) },
			"truncate":   func() error { return unix.Truncate(f, 1) },
			"mkdir":      func() error { return unix.Mkdir(missing, 0o755) },
			"unlink":     func() error { return unix.Unlink(f) },
			"rmdir":      func() error { return unix.Rmdir(d) },
			"rename":     func() error { return unix.Rename(f, missing) },
			"rename dir": func() error { return unix.Rename(d, m.path("elsewhere")) },
			"link":       func() error { return unix.Link(f, missing) },
			"symlink":    func() error { return unix.Symlink("x", missing) },
			"chmod":      func() error { return unix.Chmod(f, 0o644) },
			"chmod dir":  func() error { return unix.Chmod(d, 0o755) },
			"utimes":     func() error { return unix.Utimes(f, make([]unix.Timeval, 2)) },
			"setxattr":   func() error { return unix.Setxattr(f, "user.x", []byte("y"), 0) },
		} {
			if err := try(); !errors.Is(err, unix.EROFS) {
				t.Errorf("%s: %v, want EROFS", what, err)
			}
		}
	}
}

// The descriptions that pyAFQ writes are files like others, though nothing in the source stands for them.
func TestFilesThatAreMade(t *testing.T) {
	m := mount(t, setup{PyAFQ: true, Objects: []object{{Name: "100/T1w/Diffusion/bvals", Version: "1", Size: 10}, {Name: "100/T1w/T1w_acpc_dc.nii.gz", Version: "1", Size: 500}}})
	name := m.path("pyafq/dataset_description.json")
	for range 2 {
		got, err := os.ReadFile(name)
		info, serr := os.Stat(name)
		if err := errors.Join(err, serr); err != nil || !strings.HasSuffix(string(got), `"Subjects":["100"],"BIDSVersion":"1.4.0"}`+"\n") || info.Size() != int64(len(got)) || info.Mode() != 0o444 {
			t.Errorf("%s, %v, %v", got, info, err)
		}
	}
	if out, err := exec.Command("tail", "-c", "10", name).Output(); err != nil || string(out) != `:"1.4.0"}`+"\n" {
		t.Errorf("its end: %q, %v", out, err)
	}
	if got, err := os.ReadFile(m.path("pyafq/derivatives/dmriprep/sub-100/ses-01/anat/sub-100_T1w.nii.gz")); err != nil || !same("100/T1w/T1w_acpc_dc.nii.gz", "1", got) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if got := m.do("stat", "pyafq/dataset_description.json"); !strings.HasSuffix(got, "<nil>") {
		t.Errorf("status: %s", got)
	}
}

// What the source replaces or removes is soon so under the names of the view, too, though the kernel believes them for an hour.
func TestChangesReachTheView(t *testing.T) {
	m := byParticipant(t, setup{})
	for _, name := range []string{aView + aSignal, aLocal + aSignal, aView + aRaw, aLocal + aRaw} {
		if _, err := os.ReadFile(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	held, err := os.Open(m.path(aView + aSignal))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	m.do("put", ".", aDay+aSignal, "2", "400")
	m.do("remove", ".", aDay+aRaw)
	m.do("put", ".", strings.Replace(aDay, "P1", "P2", 1)+"x", "1", "5")
	m.do("ttl", "1ms")
	deadline := time.Now().Add(5 * time.Second)
	for _, dir := range []string{aDay[:len(aDay)-1], aDay + "raw", "1/1/participant_data/2026-11-19"} {
		m.do("stat", dir+"/any") // has the store list again
	}
	m.do("ttl", "1h")
	for _, in := range []string{aView, aLocal} {
		for {
			got, err := os.ReadFile(m.path(in + aSignal))
			_, gone := os.Stat(m.path(in + aRaw))
			_, here := os.Stat(m.path("by-participant/P2/2026-11-19/D/x"))
			if err == nil && len(got) == 400 && same(aDay+aSignal, "2", got) && errors.Is(gone, fs.ErrNotExist) && here == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d bytes, %v; removed: %v; new: %v", in, len(got), err, gone, here)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	old := make([]byte, 1000)
	if _, err := held.ReadAt(old, 1000); err != nil && !errors.Is(err, unix.ESTALE) || err == nil && !slices.Equal(old, content(aDay+aSignal, "1", 1000, 1000)) {
		t.Errorf("the handle that was open: %v", err)
	}
}

// A tree that can be written to has no view: what is staged would be missing in it.
func TestNoViewOfAWritableTree(t *testing.T) {
	if _, err := New(Options{Dir: t.TempDir(), Trees: []Tree{{View: &view.View{}, Store: &cache.Store{}, Stage: &stage.Stage{}}}}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}
