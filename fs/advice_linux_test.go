package fs

import "golang.org/x/sys/unix"

const dontNeed = unix.FADV_DONTNEED

func fadvise(fd int, off, n int64, advice int) error { return unix.Fadvise(fd, off, n, advice) }
