package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// macFUSE is where the installer of macFUSE puts the program that mounts.
const macFUSE = "/Library/Filesystems/macfuse.fs/Contents/Resources/mount_macfuse"

// detach takes a mount out of the tree at once, whoever still uses it: they get errors.
func detach(dir string) error { return unix.Unmount(dir, unix.MNT_FORCE) }

// plainUnmount takes a mount away that nobody uses.
func plainUnmount(dir string) error { return unix.Unmount(dir, 0) }

// fuseAvailable says what to install where this machine cannot mount.
func fuseAvailable() error {
	if _, err := os.Stat(macFUSE); err != nil {
		return &failure{What: "cannot mount", Why: "macFUSE is not installed", Do: "brew install --cask macfuse", Code: exitUnreachable}
	}
	return nil
}

// otherUsersAllowed says what the administrator must do before users may share a mount.
func otherUsersAllowed() error {
	if allowed, err := unix.SysctlUint32("vfs.generic.macfuse.tunables.allow_other"); os.Geteuid() == 0 || err == nil && allowed != 0 {
		return nil
	}
	return &failure{
		What: "--allow-other", Why: "this machine does not allow it",
		Do: "sudo sysctl -w vfs.generic.macfuse.tunables.allow_other=1", Code: exitPermission,
	}
}
