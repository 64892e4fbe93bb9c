package main

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func checkDevice(_ context.Context, c *checkup) []finding {
	const device = "/dev/fuse"
	if _, err := os.Stat(device); err != nil {
		return []finding{fail("this machine has no /dev/fuse").do("modprobe fuse\nin a container: start it with --device /dev/fuse --cap-add SYS_ADMIN")}
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		f := fail("/dev/fuse cannot be opened: %w", err)
		if c.l.env.uid == 0 {
			return []finding{f.do("start the container with --device /dev/fuse --cap-add SYS_ADMIN")}
		}
		return []finding{f.do("sudo chmod 666 /dev/fuse (the usual mode), or membership in its group")}
	}
	unix.Close(fd) //nolint:errcheck // only opened
	return []finding{fine("/dev/fuse can be used")}
}

func checkHelper(_ context.Context, c *checkup) []finding {
	path, err := lookPath(c.l.env, "fusermount3")
	if err == nil {
		return []finding{fine("%s", path)}
	}
	const install = "Debian, Ubuntu: apt install fuse3; Fedora, RHEL: dnf install fuse3"
	if c.l.env.uid == 0 {
		return []finding{fine("not installed; root does not need it")}
	}
	return []finding{fail("fusermount3 is not installed, and only root can mount without it").do(install)}
}

// passthroughKernel is the first that reads files by itself: Linux 6.9.
const passthroughKernel = 6<<8 | 9

func checkPassthrough(_ context.Context, c *checkup) []finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return []finding{skip("the kernel's version cannot be told: %w", err)}
	}
	release := unix.ByteSliceToString(u.Release[:])
	switch {
	case c.l.NoPassthrough:
		return []finding{fine("switched off by no-passthrough")}
	case kernelVersion(release) < passthroughKernel:
		return []finding{fine("off: the kernel %s is older than 6.9; what is stored on this disk is read a little slower", public(release))}
	case c.l.env.uid != 0:
		return []finding{fine("off: it is for root only; what is stored on this disk is read a little slower")}
	}
	return []finding{fine("the kernel %s may read what is stored on this disk by itself", public(release))}
}

// kernelVersion is major<<8|minor of a release such as 6.8.0-47-generic, 0 of what is none.
func kernelVersion(release string) int {
	var v [2]int
	for i, part := range strings.SplitN(release, ".", 3)[:min(2, strings.Count(release, ".")+1)] {
		for _, r := range part {
			if r < '0' || r > '9' || v[i] > 1<<16 {
				break
			}
			v[i] = 10*v[i] + int(r-'0')
		}
	}
	return v[0]<<8 | min(v[1], 0xff)
}
