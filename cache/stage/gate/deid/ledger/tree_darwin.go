package ledger

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames within open folders to a name that nothing has, by one call that fails where something has it. EINVAL: the file system
// has no such call.
func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.RenameatxNp(fromDir, from, toDir, to, unix.RENAME_EXCL)
	if errors.Is(err, unix.ENOTSUP) {
		return unix.EINVAL
	}
	return err
}

// syncFolder makes the names in an open folder durable: fsync(2) does not have the drive empty its own memory here.
func syncFolder(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}
