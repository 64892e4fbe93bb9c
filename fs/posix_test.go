//go:build linux

package fs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// What POSIX says of files holds in a mount, but for what objects cannot do.
func TestPosix(t *testing.T) {
	cannot := []string{
		"Link", "LinkUnlinkRename", // an object has one name
		"Tmpfile",             // files without a name: refused, and programs then take one with a name
		"FcntlFlockLocksFile", // expects locks of one process to get into each other's way: no local disk does that
		"FdLeak",              // looks at the descriptors of this process, which serves nothing here
		"OpenSymlinkRace",     // may end in ESTALE, rightly: tests/suites has it, and says how
	}
	ways(t, setup{Delete: true, Patience: 120}, func(t *testing.T, m *mounted) {
		for name, test := range posixtest.All {
			t.Run(name, func(t *testing.T) {
				if slices.Contains(cannot, name) {
					t.Skip("not for objects")
				}
				if err := os.Mkdir(m.path(name), 0o755); err != nil {
					t.Fatal(err)
				}
				test(t, m.path(name))
			})
		}
		m.upload()
	})
}

// The rest of what POSIX says: errors, times, permissions of several users, set-id bits, files without a name.
func TestPosixByProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("one program after the other: nothing that a race detector could find, and it takes minutes under one")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be several users")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	script, err := filepath.Abs("testdata/posix.py")
	if err != nil {
		t.Fatal(err)
	}
	ways(t, setup{Delete: true, Others: true}, func(t *testing.T, m *mounted) {
		if out, err := exec.Command("python3", script, m.dir).CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "done 0\n") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
