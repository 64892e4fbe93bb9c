package kill

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// A process that was killed in the kernel can leave a mount that is not dead for the kernel, and answers nobody: this process plays it. The
// next mount clears it, as any other that was left; so does umount. Nobody waits for it for ever.
func TestHungMountIsCleared(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount without a helper")
	}
	_, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	dir := filepath.Join(e.Home, "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	hang := func() {
		t.Helper()
		dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev.Fd())
		if err := unix.Mount("hung", dir, "fuse.studyfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { harness.Abort(dir) })
	}
	hang()
	e.MountAt(dir, "s3://study/", "--endpoint-url", url, "--profile", "lab")
	if _, err := os.ReadDir(dir); err != nil {
		t.Error(err)
	}
	e.Unmount(dir)
	hang()
	if r := e.Run("status", dir); r.Code == 0 || !strings.Contains(r.Err, "has ended") {
		t.Errorf("status of it: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if r := e.Run("umount", dir); r.Code != 0 || harness.Mounted(dir) {
		t.Errorf("umount of it: exit %d\n%s", r.Code, r.Err)
	}
}
