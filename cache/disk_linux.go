package cache

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// bootName is what the kernel calls the time since it was started, with hyphens or without; "" where it does not tell.
func bootName() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// punch frees the disk space of a range, which then reads as zeros.
func punch(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}
