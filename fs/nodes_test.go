package fs

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func (m *mounted) nodes() int {
	m.t.Helper()
	n, err := strconv.Atoi(m.do("nodes"))
	if err != nil {
		m.t.Fatal(err)
	}
	return n
}

// Somebody looks at all of 3,000 files, and the kernel then forgets them: what was kept here for each of the files goes with what the kernel
// kept. And they are all there again. With STUDYFS_FULL the kernel forgets as when memory is short, which disturbs others on the machine.
func TestForgottenFilesAreForgotten(t *testing.T) {
	const files = 3000
	m := mount(t, setup{Many: files})
	forget := func() { m.do("forget", ".", "many") }
	if os.Getenv("STUDYFS_FULL") != "" && os.Geteuid() == 0 {
		forget = func() {
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
				t.Skip(err) // a container may not
			}
		}
	}
	look := func() {
		t.Helper()
		if out, err := exec.Command("ls", "-l", m.path("many")).Output(); err != nil || strings.Count(string(out), "\n") != files+1 {
			t.Fatalf("%d lines, %v", strings.Count(string(out), "\n"), err)
		}
	}
	look()
	if n := m.nodes(); n < files/2 || n > files+files/10 { // some may be forgotten already
		t.Errorf("%d nodes of %d files", n, files)
	}
	for end := time.Now().Add(20 * time.Second); m.nodes() > files/20; time.Sleep(50 * time.Millisecond) {
		forget()
		if time.Now().After(end) {
			t.Fatalf("%d nodes are left of %d", m.nodes(), files)
		}
	}
	look()
}

// Somebody finds very many files and looks at none: no more of them are kept in memory than a few. All are found, and whoever looks at one
// sees it.
func TestFindKeepsFewNodes(t *testing.T) {
	const files, most = 5000, 100
	m := mount(t, setup{Many: files, MaxNodes: most})
	for range 2 {
		out, err := exec.Command("find", m.path("many"), "-type", "f").Output()
		if n := strings.Count(string(out), "\n"); err != nil || n != files {
			t.Fatalf("%d files, %v", n, err)
		}
		if n := m.nodes(); n > most {
			t.Errorf("%d nodes, allowed %d", n, most)
		}
	}
	if info, err := os.Stat(m.path("many/00004999")); err != nil || info.Size() != 10 {
		t.Errorf("the last file: %v, %v", info, err)
	}
	out, err := exec.Command("ls", "-l", m.path("many")).Output()
	if n := strings.Count(string(out), "\n"); err != nil || n != files+1 {
		t.Errorf("ls -l: %d lines, %v", n, err)
	}
}
