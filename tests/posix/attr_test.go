package posix

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func attrChecks() []check {
	return []check{
		{"chmod", false, chmod},
		{"chown", false, chown},
		{"truncate", false, truncate},
		{"xattr", false, xattr},
		{"xattr limits", false, xattrLimits},
		{"inodes", false, inodes},
	}
}

// things makes one of each kind, with names that the checks of attributes use.
func (c *C) things() {
	c.file("f", "bytes", 0o644)
	c.mkdir("d", 0o755)
	c.symlink("f", "l")
}

func chmod(c *C) {
	c.loops()
	c.things()
	c.paths(func(p string) error { return unix.Chmod(p, 0o644) })
	c.is("missing", unix.Chmod(c.p("none"), 0o644), unix.ENOENT)
	for _, name := range []string{"f", "d"} {
		kind := c.stat(name).Mode & unix.S_IFMT
		for _, mode := range []uint32{0, 0o111, 0o222, 0o444, 0o777, 0o4755, 0o2755, 0o1755, 0o7777, 0o755} {
			c.is("chmod "+name, unix.Chmod(c.p(name), mode))
			c.same("mode of "+name, c.stat(name).Mode, kind|mode)
		}
		c.times("chmod "+name, func() error { return unix.Chmod(c.p(name), 0o700) }, name+":c", ":")
		c.settle(name)
		c.same("mode later", c.stat(name).Mode, kind|0o700)
		c.times("chmod to the same", func() error { return unix.Chmod(c.p(name), 0o700) }, name+":c")
	}
	c.is("through a link", unix.Chmod(c.p("l"), 0o604))
	c.same("mode", c.stat("f").Mode, unix.S_IFREG|0o604)
	c.is("of a link", unix.Fchmodat(unix.AT_FDCWD, c.p("l"), 0o600, unix.AT_SYMLINK_NOFOLLOW), unix.EOPNOTSUPP)
	fd := c.open("f", unix.O_RDONLY)
	c.times("fchmod", func() error { return unix.Fchmod(fd, 0o640) }, "f:c")
	c.same("mode by the handle", c.fstat(fd).Mode, unix.S_IFREG|0o640)
	unix.Close(fd)
	c.body("bytes", "f", "bytes")
}

func chown(c *C) {
	c.loops()
	c.things()
	c.paths(func(p string) error { return unix.Chown(p, 0, 0) })
	for _, name := range []string{"f", "d", "l"} {
		c.times("lchown "+name, func() error { return unix.Lchown(c.p(name), 5, 6) }, name+":c", ":")
		c.settle(name)
		s := c.stat(name)
		c.same("owner", []uint32{s.Uid, s.Gid}, []uint32{5, 6})
		c.is("only the group", unix.Lchown(c.p(name), -1, 7))
		c.is("only the user", unix.Lchown(c.p(name), 8, -1))
		c.is("neither", unix.Lchown(c.p(name), -1, -1))
		s = c.stat(name)
		c.same("owner", []uint32{s.Uid, s.Gid}, []uint32{8, 7})
	}
	c.is("chown through a link", unix.Chown(c.p("l"), 1, 2))
	c.same("owner", c.stat("f").Uid, 1)
	c.same("owner of the link", c.stat("l").Uid, 8)
	c.is("chmod", unix.Chmod(c.p("f"), 0o6755))
	c.is("chown", unix.Chown(c.p("f"), 3, 3))
	c.same("root takes setuid and setgid", c.stat("f").Mode, unix.S_IFREG|0o755)
	c.is("chmod", unix.Chmod(c.p("d"), 0o6755))
	c.is("chown", unix.Chown(c.p("d"), 3, 3))
	c.same("not from a directory", c.stat("d").Mode, unix.S_IFDIR|0o6755)
	fd := c.open("f", unix.O_RDONLY)
	c.is("fchown", unix.Fchown(fd, 70000, 80000))
	c.same("owner", c.fstat(fd).Gid, 80000)
	unix.Close(fd)
}

func truncate(c *C) {
	c.loops()
	c.things()
	c.paths(func(p string) error { return unix.Truncate(p, 0) })
	c.is("missing", unix.Truncate(c.p("none"), 0), unix.ENOENT)
	c.is("directory", unix.Truncate(c.p("d"), 0), unix.EISDIR)
	c.is("below 0", unix.Truncate(c.p("f"), -1), unix.EINVAL)
	c.is("above all", unix.Truncate(c.p("f"), 1<<62), unix.EFBIG, unix.EINVAL, 0) // tmpfs can
	c.times("grow", func() error { return unix.Truncate(c.p("f"), 10) }, "f:mc", ":")
	c.settle("f")
	c.body("grown", "f", "bytes\x00\x00\x00\x00\x00")
	c.times("shrink", func() error { return unix.Truncate(c.p("f"), 3) }, "f:mc", ":")
	c.settle("f")
	c.is("grow", unix.Truncate(c.p("f"), 6))
	c.body("no old bytes come back", "f", "byt\x00\x00\x00")
	fd := c.open("f", unix.O_RDWR)
	c.times("ftruncate", func() error { return unix.Ftruncate(fd, 100_000) }, "f:mc", ":")
	c.same("size", c.fstat(fd).Size, 100_000)
	_, err := unix.Pwrite(fd, []byte("end"), 99_997)
	c.is("write", err)
	c.is("ftruncate", unix.Ftruncate(fd, 99_998))
	c.is("ftruncate", unix.Ftruncate(fd, 100_000))
	unix.Close(fd)
	c.body("zeros", "f", "byt"+strings.Repeat("\x00", 99_994)+"e\x00\x00")
	c.is("through a link", unix.Truncate(c.p("l"), 2))
	c.body("bytes", "f", "by")
	dir := c.open("d", unix.O_RDONLY)
	c.is("ftruncate of a directory", unix.Ftruncate(dir, 0), unix.EINVAL)
	unix.Close(dir)
}

func xattr(c *C) {
	c.things()
	get := func(name, attr string) (string, error) {
		b := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(c.p(name), attr, b)
		return string(b[:max(n, 0)]), err
	}
	list := func(name string) string {
		b := make([]byte, 1<<16)
		n, err := unix.Listxattr(c.p(name), b)
		c.is("listxattr", err)
		return string(b[:max(n, 0)])
	}
	for _, name := range []string{"f", "d"} {
		_, err := get(name, "user.a")
		c.is("missing", err, unix.ENODATA)
		c.same("empty list", list(name), "")
		c.times("set "+name, func() error { return unix.Setxattr(c.p(name), "user.a", []byte("1"), 0) }, name+":c", ":")
		v, err := get(name, "user.a")
		c.is("get", err)
		c.same("value", v, "1")
		c.is("CREATE", unix.Setxattr(c.p(name), "user.a", []byte("2"), unix.XATTR_CREATE), unix.EEXIST)
		c.is("REPLACE", unix.Setxattr(c.p(name), "user.b", []byte("2"), unix.XATTR_REPLACE), unix.ENODATA)
		c.is("REPLACE", unix.Setxattr(c.p(name), "user.a", []byte("22\x0022"), unix.XATTR_REPLACE))
		v, _ = get(name, "user.a")
		c.same("value", v, "22\x0022")
		c.same("list", list(name), "user.a\x00")
		n, err := unix.Getxattr(c.p(name), "user.a", nil)
		c.is("size", err)
		c.same("size", n, 5)
		_, err = unix.Getxattr(c.p(name), "user.a", make([]byte, 2))
		c.is("too small", err, unix.ERANGE)
		_, err = unix.Listxattr(c.p(name), make([]byte, 2))
		c.is("list too small", err, unix.ERANGE)
		c.is("empty value", unix.Setxattr(c.p(name), "user.empty", nil, 0))
		v, err = get(name, "user.empty")
		c.is("empty value", err)
		c.same("empty value", v, "")
		c.settle(name)
		v, _ = get(name, "user.a")
		c.same("value later", v, "22\x0022")
		c.same("list later", len(list(name)), len("user.a\x00user.empty\x00"))
		c.times("remove "+name, func() error { return unix.Removexattr(c.p(name), "user.a") }, name+":c", ":")
		c.is("remove again", unix.Removexattr(c.p(name), "user.a"), unix.ENODATA)
		c.same("list", list(name), "user.empty\x00")
	}
	fd := c.open("f", unix.O_RDONLY)
	c.is("fsetxattr", unix.Fsetxattr(fd, "user.h", []byte("h"), 0))
	v, _ := get("f", "user.h")
	c.same("value", v, "h")
	unix.Close(fd)
	c.is("of a link", unix.Lsetxattr(c.p("l"), "user.a", []byte("1"), 0), unix.EPERM)
	c.is("through a link", unix.Setxattr(c.p("l"), "user.t", []byte("1"), 0))
	c.body("bytes", "f", "bytes")
}

func xattrLimits(c *C) {
	c.file("f", "", 0o644)
	set := func(attr string, n int) error {
		return unix.Setxattr(c.p("f"), attr, []byte(strings.Repeat("v", n)), 0)
	}
	c.is("name of 255 bytes", set("user."+long(250), 1))
	c.is("name of 256 bytes", set("user."+long(251), 1), unix.ERANGE)
	c.is("no name", set("user.", 1), unix.EINVAL, unix.EOPNOTSUPP)
	c.is("another family", set("other.x", 1), unix.EOPNOTSUPP)
	c.is("1 KiB", set("user.k", 1<<10))
	c.is("above 64 KiB", set("user.big", 1<<16+1), unix.E2BIG)
	c.is("missing", unix.Setxattr(c.p("none"), "user.a", nil, 0), unix.ENOENT)
	c.is("trusted", set("trusted.x", 1))
	_, err := unix.Getxattr(c.p("f"), "security.none", make([]byte, 10))
	c.is("security", err, unix.ENODATA, unix.EOPNOTSUPP)
}

// Inode numbers stay, and are those of readdir.
func inodes(c *C) {
	c.things()
	was := []unix.Stat_t{c.stat("f"), c.stat("d"), c.stat("l")}
	c.same("all differ", was[0].Ino != was[1].Ino && was[1].Ino != was[2].Ino && was[0].Ino != was[2].Ino, true)
	check := func(when string) {
		for i, name := range []string{"f", "d", "l"} {
			c.same("inode of "+name+" "+when, c.stat(name).Ino, was[i].Ino)
			c.same("device of "+name+" "+when, c.stat(name).Dev, was[i].Dev)
			c.same("mtime of "+name+" "+when, c.stat(name).Mtim, was[i].Mtim)
		}
	}
	check("at once")
	c.settle("f", "d", "l")
	check("later")
	for _, e := range c.readdir("") {
		if e.name != "." && e.name != ".." {
			c.same("inode in the list", e.ino, c.stat(e.name).Ino)
		}
	}
	w := c.open("f", unix.O_WRONLY|unix.O_APPEND)
	c.same("inode while written to", c.fstat(w).Ino, was[0].Ino)
	unix.Write(w, []byte("more"))
	c.same("inode while written to", c.stat("f").Ino, was[0].Ino)
	unix.Close(w)
	c.settle("f")
	c.same("inode when written to", c.stat("f").Ino, was[0].Ino)
	c.must(os.Chmod(c.p("f"), 0o600))
	c.settle("f")
	c.same("inode after chmod", c.stat("f").Ino, was[0].Ino)
	c.body("bytes", "f", "bytesmore")
}
