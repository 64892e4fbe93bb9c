package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

// detach takes a mount out of the tree at once, whoever still uses it: they get errors.
func detach(dir string) error {
	err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH)
	if err == nil || os.Geteuid() == 0 {
		return err
	}
	if f, err := host.MountTable(); err == nil { // as force does; it is the user's own
		connection := filepath.Join("/sys/fs/fuse/connections", findConnection(f, dir))
		os.WriteFile(filepath.Join(connection, "abort"), []byte("1"), 0) //nolint:errcheck // not everywhere is there such a file
		f.Close()                                                        //nolint:errcheck // only read
	}
	return exec.Command("fusermount3", "-uz", "--", dir).Run() //nolint:noctx // ends by itself
}

// plainUnmount takes a mount away that nobody uses.
func plainUnmount(dir string) error {
	if os.Geteuid() == 0 {
		return unix.Unmount(dir, 0)
	}
	return exec.Command("fusermount3", "-u", "--", dir).Run() //nolint:noctx // ends by itself
}

// fuseAvailable says what to install where this machine cannot mount.
func fuseAvailable() error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return &failure{
			What: "cannot mount", Why: "this machine has no /dev/fuse",
			Do: "modprobe fuse; in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN", Code: exitUnreachable,
		}
	}
	if os.Geteuid() == 0 {
		return nil // root mounts without help
	}
	if unix.Access("/dev/fuse", unix.R_OK|unix.W_OK) != nil {
		return &failure{
			What: "cannot mount", Why: "this user may not use /dev/fuse",
			Do: "ask the administrator for chmod 666 /dev/fuse (the usual mode), or for membership in its group", Code: exitUnreachable,
		}
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return &failure{
			What: "cannot mount", Why: "fusermount3 is not installed, and only root can mount without it",
			Do: "Debian, Ubuntu: apt install fuse3; Fedora, RHEL: dnf install fuse3", Code: exitUnreachable,
		}
	}
	return nil
}

// otherUsersAllowed says what the administrator must do before users may share a mount.
func otherUsersAllowed() error {
	if os.Geteuid() == 0 {
		return nil
	}
	text, err := os.ReadFile("/etc/fuse.conf")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == "user_allow_other" {
				return nil
			}
		}
	}
	return &failure{What: "--allow-other", Why: "this machine does not allow it", Do: "ask the administrator to put the line user_allow_other into /etc/fuse.conf", Code: exitPermission}
}
