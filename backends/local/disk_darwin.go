package local

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// factsOfStat are the facts that the standard library brings along.
func factsOfStat(st *syscall.Stat_t) facts {
	return facts{mode: uint32(st.Mode), ino: st.Ino, size: st.Size, mtime: st.Mtimespec.Nano(), changed: st.Ctimespec.Nano()}
}

// renameOnly renames within open folders to a name that nothing has, by one call that fails where something has it.
func renameOnly(src *os.File, from string, dst *os.File, to string) error {
	return unix.RenameatxNp(int(src.Fd()), from, int(dst.Fd()), to, unix.RENAME_EXCL)
}

// forget has what is read of an open file from now on come from the disk, so far as the kernel lets us say so.
func forget(f *os.File) {
	unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1) //nolint:errcheck // said above
}
