package local

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// factsOfStat are the facts that the standard library brings along.
func factsOfStat(st *syscall.Stat_t) facts {
	return facts{mode: st.Mode, ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(), changed: st.Ctim.Nano()}
}

// renameOnly renames within open folders to a name that nothing has, by one call that fails where something has it.
func renameOnly(src *os.File, from string, dst *os.File, to string) error {
	return unix.Renameat2(int(src.Fd()), from, int(dst.Fd()), to, unix.RENAME_NOREPLACE) //nolint:gosec // file descriptors fit
}

// forget has the kernel give up its copy of a file, so far as it lets us say so: what is read next is to come from the disk.
func forget(f *os.File) {
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) //nolint:errcheck,gosec // said above; a file descriptor fits
}
