package posix

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

func renameChecks() []check {
	return []check{
		{"rename errors", false, renameErrors},
		{"rename file", false, renameFile},
		{"rename link", false, renameLink},
		{"rename directory", false, renameDir},
		{"rename full directory", false, renameFullDir},
		{"rename over", false, renameOver},
		{"rename over open", false, renameOverOpen},
		{"rename flags", false, renameFlags},
		{"rename chain", false, renameChain},
	}
}

func (c *C) rename(a, b string) error { return unix.Rename(c.p(a), c.p(b)) }

func renameErrors(c *C) {
	c.loops()
	c.file("f", "f", 0o644)
	c.mkdir("d", 0o755)
	c.mkdir("d/sub", 0o755)
	c.mkdir("full", 0o755)
	c.file("full/x", "x", 0o644)
	c.paths(func(p string) error { return unix.Rename(p, c.p("to")) })
	c.paths(func(p string) error { return unix.Rename(c.p("f"), p) })
	c.is("missing", c.rename("none", "to"), unix.ENOENT)
	c.is("nothing", c.rename("", "to/x"), unix.ENOENT)
	c.is("directory over a file", c.rename("d", "f"), unix.ENOTDIR)
	c.is("directory over a link", c.rename("d", "loop1"), unix.ENOTDIR)
	c.is("file over a directory", c.rename("f", "d"), unix.EISDIR)
	c.is("link over a directory", c.rename("loop1", "d"), unix.EISDIR)
	c.is("over a full directory", c.rename("d", "full"), unix.ENOTEMPTY, unix.EEXIST)
	c.is("file over a full directory", c.rename("f", "full"), unix.EISDIR)
	c.is("into itself", c.rename("d", "d/x"), unix.EINVAL)
	c.is("deep into itself", c.rename("d", "d/sub/x"), unix.EINVAL)
	c.is("over its parent", c.rename("d/sub", "d"), unix.ENOTEMPTY, unix.EEXIST)
	c.is(".", c.rename("d/.", "x"), unix.EBUSY, unix.EINVAL)
	c.is("..", c.rename("d/..", "x"), unix.EBUSY, unix.EINVAL)
	c.is("to .", c.rename("full", "d/."), unix.EBUSY, unix.EINVAL)
	c.is("file with a slash", c.rename("f/", "x"), unix.ENOTDIR)
	c.is("file to a slash", c.rename("f", "x/"), unix.ENOTDIR)
	c.is("elsewhere", unix.Rename(c.p("f"), c.Beside+"/elsewhere"), unix.EXDEV, 0)
	os.Rename(c.Beside+"/elsewhere", c.p("f"))
	c.times("to itself", func() error { return c.rename("f", "f") }, "f:", ":")
	c.times("directory to itself", func() error { return c.rename("d", "d") }, "d:", ":")
	c.body("nothing happened", "f", "f")
	c.body("nothing happened", "full/x", "x")
}

func renameFile(c *C) {
	c.mkdir("a", 0o755)
	c.mkdir("b", 0o755)
	c.file("a/f", "bytes", 0o640)
	c.owned("a/f", 3, 4)
	c.is("set", unix.Setxattr(c.p("a/f"), "user.color", []byte("red"), 0))
	c.is("utimens", unix.UtimesNano(c.p("a/f"), []unix.Timespec{{Sec: 1000, Nsec: 1}, {Sec: 2000, Nsec: 2}}))
	c.settle("a/f")
	was := c.stat("a/f")
	r := c.open("a/f", unix.O_RDONLY)
	c.times("rename", func() error { return c.rename("a/f", "b/g") }, "a:mc", "b:mc", ":")
	s := c.stat("b/g")
	c.moved("file", was, s, "c")
	s.Ctim = was.Ctim
	c.same("all of it", s, was)
	c.body("bytes", "b/g", "bytes")
	b := make([]byte, 5)
	n, err := unix.Getxattr(c.p("b/g"), "user.color", b)
	c.is("getxattr", err)
	c.same("attribute", string(b[:max(n, 0)]), "red")
	c.is("the old name", c.try("a/f", unix.O_RDONLY), unix.ENOENT)
	n, err = unix.Pread(r, b, 0)
	c.is("read", err)
	c.same("handle", string(b[:max(n, 0)]), "bytes")
	c.same("handle's inode and links", fmt.Sprint(c.fstat(r).Ino, c.fstat(r).Nlink), fmt.Sprint(was.Ino, 1))
	unix.Close(r)
	c.settle("b/g")
	s = c.stat("b/g")
	s.Ctim, s.Atim = was.Ctim, was.Atim // a local disk counts the reading
	c.same("all of it later", s, was)
	w := c.open("b/g", unix.O_WRONLY|unix.O_APPEND)
	c.is("rename while written to", c.rename("b/g", "a/h"))
	_, err = unix.Write(w, []byte(" more"))
	c.is("write", err)
	c.is("close", unix.Close(w))
	c.body("bytes", "a/h", "bytes more")
	c.same("inode", c.stat("a/h").Ino, was.Ino)
	c.is("the old name", c.try("b/g", unix.O_RDONLY), unix.ENOENT)
	c.settle("a/h")
	c.body("bytes", "a/h", "bytes more")
	c.same("mode", c.stat("a/h").Mode, unix.S_IFREG|0o640)
	c.same("255 bytes", c.rename("a/h", "a/"+long(255)), nil)
	c.body("255 bytes", "a/"+long(255), "bytes more")
}

func renameLink(c *C) {
	c.file("f", "f", 0o644)
	c.symlink("f", "l")
	was := c.stat("l")
	c.times("rename", func() error { return c.rename("l", "m") }, ":mc", "f:")
	s := c.stat("m")
	c.moved("link", was, s, "c")
	c.same("inode", s.Ino, was.Ino)
	c.body("through it", "m", "f")
	c.symlink("none", "n")
	c.is("over a link", c.rename("m", "n"))
	c.body("through it", "n", "f")
	c.is("file over a link", c.rename("f", "n"))
	c.body("file", "n", "f")
	c.same("file", c.stat("n").Mode&unix.S_IFMT, unix.S_IFREG)
	c.settle("n")
	c.symlink("n", "k")
	c.is("link over a file", c.rename("k", "n"))
	c.same("link", c.stat("n").Mode&unix.S_IFMT, unix.S_IFLNK)
	c.is("which is a loop", c.try("n", unix.O_RDONLY), unix.ELOOP)
	c.settle("n")
	c.same("link", c.stat("n").Mode&unix.S_IFMT, unix.S_IFLNK)
	c.is("unlink", unix.Unlink(c.p("n")))
	c.is("nothing is left", unix.Access(c.p("n"), 0), unix.ENOENT)
}

func renameDir(c *C) {
	c.mkdir("a", 0o755)
	c.mkdir("b", 0o755)
	c.mkdir("a/d", 0o750)
	was := c.stat("a/d")
	fd := c.open("a/d", unix.O_RDONLY|unix.O_DIRECTORY)
	c.times("rename", func() error { return c.rename("a/d", "b/e") }, "a:mc", "b:mc", ":")
	s := c.stat("b/e")
	c.same("inode", s.Ino, was.Ino)
	c.same("mode", s.Mode, was.Mode)
	c.same("mtime", s.Mtim, was.Mtim)
	c.is("the old name", unix.Access(c.p("a/d"), 0), unix.ENOENT)
	up, err := os.Stat(c.p("b/e/.."))
	c.must(err)
	b, err := os.Stat(c.p("b"))
	c.must(err)
	c.same("..", os.SameFile(up, b), true)
	w, err := unix.Openat(fd, "x", unix.O_CREAT|unix.O_WRONLY, 0o644)
	c.is("create by the handle", err)
	unix.Close(w)
	c.same("made", c.stat("b/e/x").Size, 0)
	c.is("unlink", unix.Unlink(c.p("b/e/x")))
	unix.Close(fd)
	c.settle("b/e")
	c.mkdir("empty", 0o755)
	c.is("over an empty one", c.rename("b/e", "empty"))
	c.same("inode", c.stat("empty").Ino, was.Ino)
	c.is("with a slash", c.rename("empty/", "slash/"))
	c.same("inode", c.stat("slash").Ino, was.Ino)
}

func renameFullDir(c *C) {
	c.mkdir("d", 0o755)
	c.mkdir("d/sub", 0o711)
	c.file("d/f", "f", 0o600)
	c.file("d/sub/g", "g", 0o644)
	c.symlink("f", "d/l")
	ino := []uint64{c.stat("d").Ino, c.stat("d/sub").Ino, c.stat("d/f").Ino, c.stat("d/sub/g").Ino}
	w := c.open("d/f", unix.O_WRONLY|unix.O_APPEND)
	defer unix.Close(w)
	if !c.is("rename", c.rename("d", "e")) {
		c.body("all is where it was", "d/sub/g", "g")
		return
	}
	_, err := unix.Write(w, []byte("f"))
	c.is("write", err)
	c.same("inodes", []uint64{c.stat("e").Ino, c.stat("e/sub").Ino, c.stat("e/f").Ino, c.stat("e/sub/g").Ino}, ino)
	c.body("bytes", "e/f", "ff")
	c.body("bytes", "e/l", "ff")
	c.body("bytes", "e/sub/g", "g")
	c.same("mode", c.stat("e/f").Mode, unix.S_IFREG|0o600)
	c.is("the old name", unix.Access(c.p("d"), 0), unix.ENOENT)
	c.mkdir("d", 0o755)
	c.is("an old name in a new directory", unix.Access(c.p("d/f"), 0), unix.ENOENT)
	c.is("into another", c.rename("e", "d/e"))
	c.body("bytes", "d/e/sub/g", "g")
	c.is("up again", c.rename("d/e/sub", "sub"))
	c.body("bytes", "sub/g", "g")
	c.is("over its empty parent", c.rename("sub", "d/e/sub"))
	c.is("not over a full one", c.rename("d/e", "d"), unix.ENOTEMPTY, unix.EEXIST)
}

func renameOver(c *C) {
	c.file("a", "a", 0o600)
	c.file("b", "b", 0o644)
	was := c.stat("a")
	c.times("rename", func() error { return c.rename("a", "b") }, ":mc")
	c.same("inode", c.stat("b").Ino, was.Ino)
	c.same("mode", c.stat("b").Mode, was.Mode)
	c.same("mtime", c.stat("b").Mtim, was.Mtim)
	c.body("bytes", "b", "a")
	c.is("the old name", unix.Access(c.p("a"), 0), unix.ENOENT)
	c.settle("b")
	c.body("bytes", "b", "a")
	c.same("inode", c.stat("b").Ino, was.Ino)
	for i := range 5 { // as programs save
		name := "tmp" + itoa(i)
		c.must(os.WriteFile(c.p(name), []byte(name), 0o644))
		c.is("rename", c.rename(name, "b"))
		c.body("bytes", "b", name)
	}
	c.settle("b")
	c.body("bytes", "b", "tmp4")
}

func renameOverOpen(c *C) {
	c.file("a", "a", 0o644)
	c.file("b", "b", 0o644)
	rw := c.open("b", unix.O_RDWR)
	ino := c.fstat(rw).Ino
	c.is("rename", c.rename("a", "b"))
	b := make([]byte, 5)
	n, err := unix.Pread(rw, b, 0)
	c.is("read", err)
	c.same("handle", string(b[:max(n, 0)]), "b")
	c.same("handle's inode and links", fmt.Sprint(c.fstat(rw).Ino, c.fstat(rw).Nlink), fmt.Sprint(ino, 0))
	_, err = unix.Pwrite(rw, []byte("old"), 0)
	c.is("write", err)
	c.is("close", unix.Close(rw))
	c.body("new", "b", "a")
	c.settle("b")
	c.body("new", "b", "a")
	c.file("a", "a2", 0o644)
	r := c.open("b", unix.O_RDONLY)
	c.is("rename", c.rename("a", "b"))
	n, err = unix.Pread(r, b, 0)
	c.is("read", err)
	c.same("handle", string(b[:max(n, 0)]), "a")
	c.same("links", c.fstat(r).Nlink, 0)
	c.is("close", unix.Close(r))
	c.body("new", "b", "a2")
	c.mkdir("d", 0o755)
	c.mkdir("e", 0o755)
	fd := c.open("e", unix.O_RDONLY)
	c.is("directory", c.rename("d", "e"))
	var s unix.Stat_t
	c.is("fstat", unix.Fstat(fd, &s))
	c.same("links of the replaced directory", s.Nlink, 0)
	unix.Close(fd)
}

func renameFlags(c *C) {
	do := func(a, b string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, c.p(a), unix.AT_FDCWD, c.p(b), flags)
	}
	c.file("a", "a", 0o644)
	c.file("b", "b", 0o644)
	c.mkdir("d", 0o755)
	c.is("NOREPLACE over a file", do("a", "b", unix.RENAME_NOREPLACE), unix.EEXIST)
	c.is("NOREPLACE over a directory", do("a", "d", unix.RENAME_NOREPLACE), unix.EEXIST)
	c.is("NOREPLACE", do("a", "c", unix.RENAME_NOREPLACE))
	c.body("bytes", "c", "a")
	c.is("both", do("c", "b", unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE), unix.EINVAL)
	c.is("unknown", do("c", "b", 64), unix.EINVAL)
	c.is("EXCHANGE with nothing", do("c", "none", unix.RENAME_EXCHANGE), unix.ENOENT)
	x, y := c.stat("b").Ino, c.stat("c").Ino
	if c.is("EXCHANGE", do("b", "c", unix.RENAME_EXCHANGE)) {
		c.body("bytes", "b", "a")
		c.body("bytes", "c", "b")
		c.same("inodes", []uint64{c.stat("b").Ino, c.stat("c").Ino}, []uint64{y, x})
	}
	c.is("EXCHANGE with a directory", do("b", "d", unix.RENAME_EXCHANGE))
}

// A file goes from name to name, and each name is used again.
func renameChain(c *C) {
	c.file("0", "bytes", 0o644)
	ino := c.stat("0").Ino
	for i := range 6 {
		c.is("rename", c.rename(itoa(i), itoa(i+1)))
		if i%2 == 0 {
			c.settle(itoa(i + 1))
		}
		c.file(itoa(i), strings.Repeat("x", i), 0o644)
	}
	c.body("bytes", "6", "bytes")
	c.same("inode", c.stat("6").Ino, ino)
	for i := range 6 {
		c.same("size", c.stat(itoa(i)).Size, i)
	}
	c.is("back", c.rename("6", "0"))
	c.body("bytes", "0", "bytes")
	c.same("inode", c.stat("0").Ino, ino)
}
