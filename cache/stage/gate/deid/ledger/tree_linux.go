package ledger

import "golang.org/x/sys/unix"

// renameNew renames within open folders to a name that nothing has, by one call that fails where something has it. EINVAL: the file system
// has no such call.
func renameNew(fromDir int, from string, toDir int, to string) error {
	return unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
}

// syncFolder makes the names in an open folder durable.
func syncFolder(fd int) error { return unix.Fsync(fd) }
