package posix

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

func nameChecks() []check {
	return []check{
		{"mkdir", false, mkdir},
		{"rmdir", false, rmdir},
		{"rmdir open", false, rmdirOpen},
		{"unlink", false, unlink},
		{"symlink", false, symlink},
		{"link", false, link},
		{"mknod", false, mknod},
		{"statfs", false, statfs},
		{"odd names", false, oddNames},
		{"name taken by turns", false, turns},
	}
}

// loops makes what the errors of paths need.
func (c *C) loops() {
	c.file("file", "x", 0o644)
	c.symlink("loop2", "loop1")
	c.symlink("loop1", "loop2")
}

// paths asks for the errors that any call with a path has.
func (c *C) paths(call func(path string) error) {
	c.is("in what is missing", call(c.p("none/x")), unix.ENOENT)
	c.is("in a file", call(c.p("file/x")), unix.ENOTDIR)
	c.is("in a loop", call(c.p("loop1/x")), unix.ELOOP)
	c.is("256 bytes", call(c.p(long(256))), unix.ENAMETOOLONG)
	c.is("below 256 bytes", call(c.p(long(256)+"/x")), unix.ENAMETOOLONG)
	c.is("path too long", call(c.p(strings.Repeat("x/../", 900)+"x")), unix.ENAMETOOLONG)
}

func mkdir(c *C) {
	c.loops()
	c.paths(func(p string) error { return unix.Mkdir(p, 0o755) })
	c.times("mkdir", func() error { return unix.Mkdir(c.p("d"), 0o755) }, ":mc")
	c.same("mode", c.stat("d").Mode, unix.S_IFDIR|0o755)
	c.settle("d")
	c.is("again", unix.Mkdir(c.p("d"), 0o755), unix.EEXIST)
	c.is("over a file", unix.Mkdir(c.p("file"), 0o755), unix.EEXIST)
	c.is("over a link", unix.Mkdir(c.p("loop1"), 0o755), unix.EEXIST)
	c.symlink("none", "dangling")
	c.is("over a dangling link", unix.Mkdir(c.p("dangling"), 0o755), unix.EEXIST)
	c.is("with a slash", unix.Mkdir(c.p("slash/"), 0o755))
	c.is(".", unix.Mkdir(c.p("d/."), 0o755), unix.EEXIST)
	c.is("..", unix.Mkdir(c.p("d/.."), 0o755), unix.EEXIST)
	c.is("255 bytes", unix.Mkdir(c.p(long(255)), 0o755))
	for _, mode := range []uint32{0, 0o153, 0o777, 0o1777} {
		c.is("mkdir", unix.Mkdir(c.p("m"), mode))
		c.same("mode", c.stat("m").Mode, unix.S_IFDIR|mode)
		c.is("rmdir", unix.Rmdir(c.p("m")))
	}
	c.is("mkdir in it", unix.Mkdir(c.p("d/e"), 0o755))
	c.same("links of a directory", c.stat("d").Nlink, 3)
	c.mkdir("g", 0o755)
	c.is("chown", unix.Chown(c.p("g"), 0, 12))
	c.is("chmod", unix.Chmod(c.p("g"), 0o2775))
	c.is("mkdir in setgid", unix.Mkdir(c.p("g/d"), 0o755))
	s := c.stat("g/d")
	c.same("setgid goes on", []uint32{s.Mode, s.Gid}, []uint32{unix.S_IFDIR | 0o2755, 12})
	c.file("g/f", "", 0o644)
	c.same("group of a file in setgid", c.stat("g/f").Gid, 12)
	c.is("link in setgid", unix.Symlink("x", c.p("g/l")))
	c.same("group of a link in setgid", c.stat("g/l").Gid, 12)
}

func rmdir(c *C) {
	c.loops()
	c.paths(unix.Rmdir)
	c.is("missing", unix.Rmdir(c.p("none")), unix.ENOENT)
	c.is("a file", unix.Rmdir(c.p("file")), unix.ENOTDIR)
	c.is("a link", unix.Rmdir(c.p("loop1")), unix.ENOTDIR)
	c.mkdir("d", 0o755)
	c.symlink("d", "l")
	c.is("a link to a directory", unix.Rmdir(c.p("l")), unix.ENOTDIR)
	for _, made := range []func(){
		func() { c.file("d/x", "", 0o644) }, func() { c.mkdir("d/x", 0o755) }, func() { c.symlink("y", "d/x") },
	} {
		made()
		c.is("with something in it", unix.Rmdir(c.p("d")), unix.ENOTEMPTY, unix.EEXIST)
		c.is("..", unix.Rmdir(c.p("d/x/..")), unix.ENOTEMPTY, unix.EEXIST, unix.ENOTDIR, unix.ENOENT)
		c.must(os.Remove(c.p("d/x")))
	}
	c.settle("d")
	c.is(".", unix.Rmdir(c.p("d/.")), unix.EINVAL)
	c.times("rmdir", func() error { return unix.Rmdir(c.p("d")) }, ":mc")
	c.is("again", unix.Rmdir(c.p("d")), unix.ENOENT)
	c.is("in it", c.try("d/x", unix.O_CREAT|unix.O_WRONLY), unix.ENOENT)
	c.mkdir("d", 0o700)
	c.same("made again", c.stat("d").Mode, unix.S_IFDIR|0o700)
	c.is("rmdir with a slash", unix.Rmdir(c.p("d/")))
}

// A directory that is gone can still be asked and left.
func rmdirOpen(c *C) {
	c.mkdir("d", 0o755)
	ino := c.stat("d").Ino
	fd := c.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
	c.is("rmdir", unix.Rmdir(c.p("d")))
	var s unix.Stat_t
	c.is("fstat", unix.Fstat(fd, &s))
	c.same("inode", s.Ino, ino)
	c.same("links", s.Nlink, 0)
	_, err := unix.Openat(fd, "x", unix.O_CREAT|unix.O_WRONLY, 0o644)
	c.is("create in it", err, unix.ENOENT)
	c.is("mkdir in it", unix.Mkdirat(fd, "x", 0o755), unix.ENOENT)
	c.is("fchmod", unix.Fchmod(fd, 0o700))
	c.is("mkdir of its name", unix.Mkdir(c.p("d"), 0o711))
	c.same("another inode", c.stat("d").Ino != ino, true)
	c.is("fstat", unix.Fstat(fd, &s))
	c.same("mode", s.Mode&0o777, 0o700)
	c.same("mode of the new one", c.stat("d").Mode&0o777, 0o711)
	c.is("close", unix.Close(fd))
}

func unlink(c *C) {
	c.loops()
	c.paths(unix.Unlink)
	c.is("missing", unix.Unlink(c.p("none")), unix.ENOENT)
	c.mkdir("d", 0o755)
	c.is("a directory", unix.Unlink(c.p("d")), unix.EISDIR)
	c.is("a file with a slash", unix.Unlink(c.p("file/")), unix.ENOTDIR)
	c.symlink("file", "l")
	c.times("a link", func() error { return unix.Unlink(c.p("l")) }, "file:", ":mc")
	c.is("the link is gone", c.try("l", unix.O_RDONLY), unix.ENOENT)
	c.times("a file", func() error { return unix.Unlink(c.p("file")) }, ":mc")
	c.is("the file is gone", c.try("file", unix.O_RDONLY), unix.ENOENT)
	c.is("again", unix.Unlink(c.p("file")), unix.ENOENT)
	c.file("d/only", "x", 0o644)
	ino := c.stat("d").Ino
	c.times("the last one", func() error { return unix.Unlink(c.p("d/only")) }, "d:mc", ":")
	c.same("the directory stays", c.stat("d").Ino, ino)
}

func symlink(c *C) {
	c.loops()
	c.paths(func(p string) error { return unix.Symlink("x", p) })
	c.times("symlink", func() error { return unix.Symlink("file", c.p("l")) }, ":mc", "file:")
	s := c.stat("l")
	c.same("mode", s.Mode, unix.S_IFLNK|0o777)
	c.same("size", s.Size, 4)
	c.settle("l")
	c.same("inode", c.stat("l").Ino, s.Ino)
	c.body("through it", "l", "x")
	c.is("over a link", unix.Symlink("x", c.p("l")), unix.EEXIST)
	c.is("over a file", unix.Symlink("x", c.p("file")), unix.EEXIST)
	c.is("over a directory", unix.Symlink("x", c.dir), unix.EEXIST)
	c.is("to nothing", unix.Symlink("", c.p("empty")), unix.ENOENT)
	for _, n := range []int{1, 255, 1023, 1024, 4095} {
		c.is("target of n bytes", unix.Symlink(long(n), c.p("t"+itoa(n))))
		b := make([]byte, 5000)
		got, err := unix.Readlink(c.p("t"+itoa(n)), b)
		c.is("readlink", err)
		c.same("target", string(b[:max(got, 0)]), long(n))
		c.same("size", c.stat("t"+itoa(n)).Size, n)
	}
	c.is("target of 4096 bytes", unix.Symlink(long(4096), c.p("t")), unix.ENAMETOOLONG)
	_, err := unix.Readlink(c.p("file"), make([]byte, 10))
	c.is("readlink of a file", err, unix.EINVAL)
	_, err = unix.Readlink(c.dir, make([]byte, 10))
	c.is("readlink of a directory", err, unix.EINVAL)
	c.is("name of 244 bytes", unix.Symlink("x", c.p(long(244))))
	c.is("name of 255 bytes", unix.Symlink("x", c.p(long(255))))
	c.mkdir("d", 0o755)
	c.symlink("d", "ld")
	c.is("create through a link", c.try("ld/x", unix.O_CREAT|unix.O_WRONLY))
	c.same("made", c.stat("d/x").Size, 0)
	c.same("slash follows", c.stat("ld/").Mode&unix.S_IFMT, unix.S_IFDIR)
	c.is("chmod follows", unix.Chmod(c.p("l"), 0o600))
	c.same("mode of the file", c.stat("file").Mode, unix.S_IFREG|0o600)
	c.times("lchown", func() error { return unix.Lchown(c.p("l"), 5, 6) }, "l:c", "file:")
	s = c.stat("l")
	c.same("owner", []uint32{s.Uid, s.Gid}, []uint32{5, 6})
	c.is("times of the link", unix.UtimesNanoAt(unix.AT_FDCWD, c.p("l"), []unix.Timespec{{Sec: 7}, {Sec: 8, Nsec: 9}}, unix.AT_SYMLINK_NOFOLLOW))
	c.same("mtime", c.stat("l").Mtim, unix.Timespec{Sec: 8, Nsec: 9})
	c.settle("l")
	c.same("mtime later", c.stat("l").Mtim, unix.Timespec{Sec: 8, Nsec: 9})
	c.same("owner later", c.stat("l").Uid, 5)
}

func link(c *C) {
	c.loops()
	c.file("f", "x", 0o644)
	c.is("in what is missing", unix.Link(c.p("f"), c.p("none/x")), unix.ENOENT)
	c.is("in a file", unix.Link(c.p("f"), c.p("file/x")), unix.ENOTDIR)
	c.is("in a loop", unix.Link(c.p("f"), c.p("loop1/x")), unix.ELOOP)
	c.is("of what is missing", unix.Link(c.p("none"), c.p("x")), unix.ENOENT)
	c.is("over a file", unix.Link(c.p("f"), c.p("file")), unix.EEXIST)
	c.is("of a directory", unix.Link(c.dir, c.p("x")), unix.EPERM)
	if !c.is("link", unix.Link(c.p("f"), c.p("g"))) {
		c.is("nothing was made", c.try("g", unix.O_RDONLY), unix.ENOENT)
		return
	}
	c.same("links", c.stat("f").Nlink, 2)
}

func mknod(c *C) {
	c.loops()
	c.paths(func(p string) error { return unix.Mknod(p, unix.S_IFREG|0o644, 0) })
	c.times("regular file", func() error { return unix.Mknod(c.p("r"), unix.S_IFREG|0o604, 0) }, ":mc")
	c.same("mode", c.stat("r").Mode, unix.S_IFREG|0o604)
	c.is("again", unix.Mknod(c.p("r"), unix.S_IFREG|0o644, 0), unix.EEXIST)
	c.is("fifo over a file", unix.Mkfifo(c.p("r"), 0o644), unix.EEXIST)
	c.is("fifo", unix.Mkfifo(c.p("fifo"), 0o644))
	c.is("socket", unix.Mknod(c.p("socket"), unix.S_IFSOCK|0o644, 0))
	c.is("character device", unix.Mknod(c.p("chr"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3))))
	c.is("block device", unix.Mknod(c.p("blk"), unix.S_IFBLK|0o644, int(unix.Mkdev(7, 200))))
	c.is("what is made can be written", os.WriteFile(c.p("r"), []byte("x"), 0))
	c.body("written", "r", "x")
}

func statfs(c *C) {
	var s unix.Statfs_t
	c.is("statfs", unix.Statfs(c.dir, &s))
	c.same("longest name", s.Namelen, 255)
	c.same("there is room", s.Bavail > 0 && s.Bfree >= s.Bavail && s.Blocks >= s.Bfree && s.Bsize > 0 && s.Files > 0 && s.Ffree > 0, true)
	fd := c.open("", unix.O_RDONLY|unix.O_DIRECTORY)
	c.is("fstatfs", unix.Fstatfs(fd, &s))
	c.is("syncfs", unix.Syncfs(fd))
	unix.Close(fd)
}

func oddNames(c *C) {
	for _, name := range []string{" ", "a b", "a\tb", "a\nb", "ünïcödé", "日本語", "\\", "*", "?", "'", "\"", "%2F", "%", "+", "&", "=", "#", "~", "...", ".hidden", "-", "a:b", "[x]", "{y}", "a\x7fb", "\x01"} {
		c.file(name, name, 0o644)
		c.body("body", name, name)
		c.is("rename", unix.Rename(c.p(name), c.p(name+"2")))
		c.body("body", name+"2", name)
		c.is("unlink", unix.Unlink(c.p(name+"2")))
		c.is("mkdir", unix.Mkdir(c.p(name), 0o755))
		c.is("rmdir", unix.Rmdir(c.p(name)))
	}
	c.is("no UTF-8", c.try("a\xffb", unix.O_CREAT|unix.O_WRONLY))
	c.is("the end of links", c.try("a.rclonelink", unix.O_CREAT|unix.O_WRONLY))
}

// One name is a file, a link and a directory by turns.
func turns(c *C) {
	for range 2 {
		c.file("x", "x", 0o644)
		c.is("unlink", unix.Unlink(c.p("x")))
		c.mkdir("x", 0o755)
		c.is("rmdir", unix.Rmdir(c.p("x")))
		c.symlink("y", "x")
		c.is("unlink", unix.Unlink(c.p("x")))
		c.mkdir("x", 0o755)
		c.file("x/f", "f", 0o644)
		c.is("unlink", unix.Unlink(c.p("x/f")))
		c.is("rmdir", unix.Rmdir(c.p("x")))
	}
	c.is("gone", c.try("x", unix.O_RDONLY), unix.ENOENT)
}
