package host

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MountTable opens the table of what is mounted, in the words of proc(5)'s mountinfo. No mount is touched for it. The caller closes it.
func MountTable() (io.ReadCloser, error) { return os.Open("/proc/self/mountinfo") }

// WithShortPath gives use a path to a socket that fits into the 108 bytes of a socket address. It holds until use returns.
func WithShortPath(path string, use func(short string) error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // only a handle
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// PeerUser is the user of the process at the other end of a socket.
func PeerUser(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err == nil {
		err = credErr
	}
	if err != nil {
		return 0, fmt.Errorf("who asks: %w", err)
	}
	return int(cred.Uid), nil
}

// Shield keeps other processes of the user from attaching to this one and reading its memory.
func Shield() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// Program is the file that a process runs. Where other users' programs are hidden it is the name that the process goes by; "" where nothing is
// known.
func Program(pid int) string {
	if pid <= 0 {
		return ""
	}
	dir := "/proc/" + strconv.Itoa(pid)
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		return exe
	}
	name, err := os.ReadFile(dir + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// Arguments are what a process was started with, its own name first; nil where that is not known.
func Arguments(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
}

// DiskOf tells what dir lies on.
func DiskOf(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, fmt.Errorf("look at the disk: %w", err)
	}
	name, remote := fileSystem(int64(s.Type)) //nolint:unconvert // 32 bits on some machines
	return Disk{Name: name, Remote: remote, NoExec: s.Flags&unix.ST_NOEXEC != 0}, nil
}

// fileSystem names the file systems that matter here by their magic numbers, and tells which lie on other machines.
func fileSystem(magic int64) (name string, remote bool) {
	for _, k := range []struct {
		magic  int64
		name   string
		remote bool
	}{
		{unix.NFS_SUPER_MAGIC, "nfs", true},
		{0xff534d42, "cifs", true},
		{0xfe534d42, "smb2", true},
		{unix.FUSE_SUPER_MAGIC, "fuse", true},
		{0x0bd00bd0, "lustre", true},
		{0x47504653, "gpfs", true},
		{0x19830326, "beegfs", true},
		{unix.CEPH_SUPER_MAGIC, "ceph", true},
		{unix.AFS_SUPER_MAGIC, "afs", true},
		{unix.V9FS_MAGIC, "9p", true},
		{unix.TMPFS_MAGIC, "tmpfs", false},
		{unix.EXT4_SUPER_MAGIC, "ext4", false},
		{unix.XFS_SUPER_MAGIC, "xfs", false},
		{unix.BTRFS_SUPER_MAGIC, "btrfs", false},
		{unix.OVERLAYFS_SUPER_MAGIC, "overlay", false},
		{0x2fc12fc1, "zfs", false},
	} {
		if k.magic == magic&0xffffffff {
			return k.name, k.remote
		}
	}
	return "unknown", false
}

// quotaBlock is the kernel's struct if_dqblk.
type quotaBlock struct {
	hardBlocks, softBlocks, bytes     uint64 // limits in KiB
	hardInodes, softInodes, curInodes uint64
	blockTime, inodeTime              uint64
	valid                             uint32
	_                                 uint32
}

const (
	getQuota  = 0x800007 // Q_GETQUOTA
	userQuota = 0
)

// QuotaLeft is how many bytes the user's quota leaves on the disk of dir; ok is false where there is none, or the system does not tell.
func QuotaLeft(dir string) (left int64, ok bool) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, false
	}
	defer f.Close() //nolint:errcheck // only a handle
	var q quotaBlock
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), getQuota<<8|userQuota, uintptr(os.Geteuid()), uintptr(unsafe.Pointer(&q)), 0, 0) //nolint:gosec // the kernel fills the struct
	limit := max(q.softBlocks, q.hardBlocks) << 10
	if errno != 0 || limit == 0 {
		return 0, false
	}
	return max(int64(limit)-int64(q.bytes), 0), true //nolint:gosec // disks are smaller
}
