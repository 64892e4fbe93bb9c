package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkConfig looks at the configuration, and at who may change it: a command in it is run as the user.
func checkConfig(_ context.Context, c *checkup) []finding {
	if c.trouble != nil {
		return []finding{failed(c.trouble)}
	}
	info, err := os.Stat(c.l.path)
	if errors.Is(err, os.ErrNotExist) {
		return []finding{fine("there is no %s; none is needed", c.l.path)}
	}
	if err != nil {
		return []finding{warn("%s: %w", c.l.path, err).do("ls -l " + quote(c.l.path))}
	}
	mode := info.Mode().Perm()
	stat, known := info.Sys().(*syscall.Stat_t)
	switch {
	case known && int(stat.Uid) != c.l.env.uid && stat.Uid != 0:
		return []finding{warn("%s belongs to another user, who can have any command run as you", c.l.path).do("make a copy of your own")}
	case mode&0o022 != 0:
		return []finding{fail("others can change %s (mode %s), and have any command run as you", c.l.path, public(mode.String())).do("chmod 600 " + quote(c.l.path))}
	}
	return []finding{fine("%s: %d sources, no mistakes", c.l.path, len(c.l.Source))}
}

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

func checkAllowOther(_ context.Context, c *checkup) []finding {
	err := otherUsersAllowed()
	switch {
	case err == nil:
		return []finding{fine("mounts can be shared with other users (--allow-other)")}
	case c.l.AllowOther:
		return []finding{failed(err)}
	}
	return []finding{skip("mounts cannot be shared with other users here; nothing asks for that").do(asFailure("", err).Do)}
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

// checkKeyring asks the keyrings that the configuration refers to.
func checkKeyring(_ context.Context, c *checkup) []finding {
	names := c.keyringNames()
	if len(names) == 0 {
		return []finding{skip("nothing refers to the desktop's keyring")}
	}
	store := newDesktopKeys(c.l.env)
	store.patience = checkPatience / 2
	var all []finding
	for _, name := range names {
		if _, err := fromKeyring(store, name); err != nil {
			all = append(all, failed(err))
			continue
		}
		all = append(all, fine("the desktop's keyring has %s", name))
	}
	return all
}

// keyringNames lists what the configuration refers to as keyring:NAME.
func (c *checkup) keyringNames() []string {
	var names []string
	add := func(refs ...string) {
		for _, ref := range refs {
			if name, found := strings.CutPrefix(ref, refKeyring+":"); found && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(c.l.Deid.Secret)
	for _, name := range c.l.sourceNames() {
		s := c.l.Source[name]
		add(s.Keys, s.Identity, s.Password, s.WordsSecret, s.ShiftSecret)
	}
	return names
}
