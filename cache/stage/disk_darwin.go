package stage

import (
	"os"

	"golang.org/x/sys/unix"
)

// What fallocate is asked for. The FUSE protocol speaks in these numbers, Linux's.
const (
	keepSize  = 0x1
	punchHole = 0x2
	zeroRange = 0x10
)

// errNoLabel is what a file system answers that has labels, of a file that has none.
const errNoLabel = unix.ENOATTR

// fallocate refuses: macOS keeps room for what follows a file's end, and for nothing else. Programs take that answer from other file systems
// there as well; the stage's own ballast is only ahead of need.
func fallocate(*os.File, uint32, int64, int64) error { return unix.ENOTSUP }

// datasync makes a file's bytes and size durable. Sync does that by F_FULLFSYNC: macOS's fsync(2) does not have the drive empty its own memory.
func datasync(f *os.File) error { return f.Sync() }

// writeOut does nothing: macOS has no such call.
func writeOut(*os.File) {}

// setModTime sets the time of a file's last change, in nanoseconds, and no other time of it. Links are not followed.
func setModTime(path string, to int64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, unix.NsecToTimespec(to)}, unix.AT_SYMLINK_NOFOLLOW)
}

// freeBytes tells how many bytes of the disk below dir are free, and how many it has.
func freeBytes(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
