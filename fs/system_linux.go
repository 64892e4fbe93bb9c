package fs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What renames are asked for.
const (
	renameNoReplace = unix.RENAME_NOREPLACE
	renameExchange  = unix.RENAME_EXCHANGE
)

// leavePrivileges has the kernel leave it to us to take setuid and setgid away: or it asks for security.capability before each write. See setter.
const leavePrivileges = fuse.CAP_HANDLE_KILLPRIV_V2

// ready says what is missing before anything can be mounted here.
func ready() error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("%w: no /dev/fuse here: load the fuse module, or give the container --device /dev/fuse (%w)", ErrUnavailable, err)
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("%w: this user may not open /dev/fuse: on most systems everyone may (chmod 666), on some the group fuse (%w)", ErrUnavailable, err)
	}
	return nil
}

// mountsDirectly reports whether the mount call itself may be used.
func mountsDirectly() bool { return os.Geteuid() == 0 }

// directFlags are what the mount call is given.
func directFlags(noExec, readOnly bool) uintptr {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if noExec {
		flags |= unix.MS_NOEXEC
	}
	if readOnly {
		flags |= unix.MS_RDONLY
	}
	return flags
}

// helper finds the program that mounts for users, where go-fuse looks for it.
func helper() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: fusermount3 is not installed: install the package fuse3 (apt install fuse3)", ErrUnavailable)
}

// unmount takes the mount at dir away, lazily even while files are open.
func unmount(dir string, lazily bool) error {
	flags, arg := 0, "-u"
	if lazily {
		flags, arg = unix.MNT_DETACH, "-uz"
	}
	err := unix.Unmount(dir, flags)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	bin, err := helper()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	out, err := exec.Command(bin, arg, dir).CombinedOutput() //nolint:noctx // ends by itself; must run even when the caller was cancelled
	if err != nil {
		return fmt.Errorf("unmount %s: %w (%s)", dir, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// deviceAt is MAJOR:MINOR of the mount at dir, from mountinfo: asking the mount itself could hang.
func deviceAt(dir string) (string, error) {
	info, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the mount: %w", err)
	}
	defer info.Close() //nolint:errcheck // only read
	if parent, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		dir = filepath.Join(parent, filepath.Base(dir))
	}
	return findDevice(bufio.NewScanner(info), dir)
}

// commandName is the name of a process, 15 bytes of it, as the kernel has it.
func commandName(pid int) (string, error) {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(comm)), err
}

// isOverlay reports whether dir lies on an overlay of other file systems.
func isOverlay(dir string) bool {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return err == nil && s.Type == unix.OVERLAYFS_SUPER_MAGIC
}

// lend gives the kernel an open file for passthrough, and takes it back.
func lend(f *os.File, s *fuse.Server) syscall.Errno {
	id, number := s.RegisterBackingFd(&fuse.BackingMap{Fd: int32(f.Fd())})
	if number != 0 {
		return number
	}
	return s.UnregisterBackingFd(id)
}
