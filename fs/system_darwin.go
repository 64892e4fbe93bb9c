package fs

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What renames are asked for.
const (
	renameNoReplace = unix.RENAME_EXCL
	renameExchange  = unix.RENAME_SWAP
)

// leavePrivileges is nothing: macFUSE knows no such thing, and has another meaning for the bit.
const leavePrivileges = 0

// ready says what is missing before anything can be mounted here.
func ready() error {
	_, err := helper()
	return err
}

// mountsDirectly reports whether the mount call itself may be used.
func mountsDirectly() bool { return false }

// directFlags is never used: see mountsDirectly.
func directFlags(bool, bool) uintptr { return 0 }

// helper finds the program that mounts, where go-fuse looks for it.
func helper() (string, error) {
	for _, path := range []string{
		"/Library/Filesystems/macfuse.fs/Contents/Resources/mount_macfuse",
		"/Library/Filesystems/osxfuse.fs/Contents/Resources/mount_osxfuse",
	} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: macFUSE is not installed: brew install --cask macfuse", ErrUnavailable)
}

// unmount takes the mount at dir away, by force even while files are open.
func unmount(dir string, lazily bool) error {
	flags := 0
	if lazily {
		flags = unix.MNT_FORCE
	}
	return unix.Unmount(dir, flags)
}

// deviceAt cannot tell: what Linux calls it by has no name here.
func deviceAt(string) (string, error) {
	return "", fmt.Errorf("find the mount: %w on macOS", errors.ErrUnsupported)
}

// commandName is the name of a process, 16 bytes of it, as the kernel has it.
func commandName(pid int) (string, error) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return "", err
	}
	return unix.ByteSliceToString(p.Proc.P_comm[:]), nil
}

// isOverlay reports whether dir lies on an overlay of other file systems: there are none.
func isOverlay(string) bool { return false }

// lend is refused: macFUSE has no passthrough.
func lend(*os.File, *fuse.Server) syscall.Errno { return syscall.ENOTSUP }
