package fs

import (
	"os"
	"slices"
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
