package cache

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bootName is what the kernel calls the time since it was started, with hyphens or without; "" where it does not tell.
func bootName() string {
	name, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return name
}

// hole is the kernel's struct fpunchhole.
type hole struct {
	flags, reserved uint32
	off, n          int64
}

// diskBlock is what ranges must be multiples of: the size of APFS's and HFS's blocks.
const diskBlock = 4096

// punch frees the disk space of the whole disk blocks in a range, which then read as zeros. Only APFS can do that; others answer ENOTSUP.
func punch(f *os.File, off, n int64) error {
	end := (off + n) &^ (diskBlock - 1)
	off = (off + diskBlock - 1) &^ (diskBlock - 1)
	if off >= end {
		return nil
	}
	h := hole{off: off, n: end - off}
	if _, _, errno := unix.Syscall(unix.SYS_FCNTL, f.Fd(), unix.F_PUNCHHOLE, uintptr(unsafe.Pointer(&h))); errno != 0 {
		return errno
	}
	return nil
}
