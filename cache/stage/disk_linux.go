package stage

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// What fallocate is asked for. The FUSE protocol speaks in these numbers.
const (
	keepSize  = unix.FALLOC_FL_KEEP_SIZE
	punchHole = unix.FALLOC_FL_PUNCH_HOLE
	zeroRange = unix.FALLOC_FL_ZERO_RANGE
)

// errNoLabel is what a file system answers that has labels, of a file that has none.
const errNoLabel = unix.ENODATA

func fallocate(f *os.File, mode uint32, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), mode, off, n)
}

// datasync makes a file's bytes and size durable, and no more than that where the system knows the difference.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeOut has the disk begin to take a file's bytes. It promises nothing.
func writeOut(f *os.File) {
	unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // the sync tells
}

// setModTime sets the time of a file's last change, in nanoseconds, and no other time of it. Links are not followed.
func setModTime(path string, to int64) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(to)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW)
}

// freeBytes tells how many bytes of the disk below dir are free, and how many it has.
func freeBytes(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Frsize, int64(st.Blocks) * st.Frsize, nil
}
