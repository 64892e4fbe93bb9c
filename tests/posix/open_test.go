package posix

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// long is a name of n bytes.
func long(n int) string { return strings.Repeat("n", n) }

// try opens and closes.
func (c *C) try(name string, flags int) error {
	fd, err := unix.Open(c.p(name), flags, 0o644)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func openChecks() []check {
	return []check{
		{"open creates", false, openCreates},
		{"open errors", false, openErrors},
		{"open truncates", false, openTruncates},
		{"open removed", false, openRemoved},
		{"open running", false, openRunning},
		{"open access", false, openAccess},
		{"umask", true, umask},
	}
}

func openCreates(c *C) {
	c.times("O_CREAT", func() error { return c.try("f", unix.O_CREAT|unix.O_WRONLY) }, ":mc")
	s := c.stat("f")
	c.same("mode", s.Mode, unix.S_IFREG|0o644)
	c.same("size and links", fmt.Sprint(s.Size, s.Nlink), "0 1")
	c.same("owner", []uint32{s.Uid, s.Gid}, []uint32{0, 0})
	c.times("O_CREAT of what is there", func() error { return c.try("f", unix.O_CREAT|unix.O_WRONLY) }, ":", "f:")
	c.is("O_EXCL of what is there", c.try("f", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY), unix.EEXIST)
	for _, mode := range []uint32{0, 0o151, 0o777, 0o4755, 0o2755, 0o1755, 0o7777} {
		fd, err := unix.Open(c.p("m"), unix.O_CREAT|unix.O_WRONLY, mode)
		c.is("create", err)
		c.same("mode", c.fstat(fd).Mode, unix.S_IFREG|mode)
		_, err = unix.Write(fd, []byte("x"))
		c.is("write whatever the mode", err)
		unix.Close(fd)
		c.is("unlink", unix.Unlink(c.p("m")))
	}
	c.symlink("nowhere", "dangling")
	c.is("O_EXCL of a link", c.try("dangling", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY), unix.EEXIST)
	c.is("through a link", c.try("dangling", unix.O_CREAT|unix.O_WRONLY))
	c.same("made through a link", c.stat("nowhere").Mode, unix.S_IFREG|0o644)
	fd, err := unix.Open(c.dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if c.is("O_TMPFILE", err) {
		unix.Close(fd)
	}
	c.is("255 bytes", c.try(long(255), unix.O_CREAT|unix.O_WRONLY))
	c.is("255 bytes again", c.try(long(255), unix.O_RDONLY))
	c.is("unlink 255 bytes", unix.Unlink(c.p(long(255))))
}

func openErrors(c *C) {
	c.file("f", "x", 0o644)
	c.mkdir("d", 0o755)
	c.symlink("f", "l")
	c.symlink("loop2", "loop1")
	c.symlink("loop1", "loop2")
	c.is("missing", c.try("none", unix.O_RDONLY), unix.ENOENT)
	c.is("missing, to write", c.try("none", unix.O_RDWR|unix.O_TRUNC), unix.ENOENT)
	c.is("in what is missing", c.try("none/f", unix.O_CREAT|unix.O_WRONLY), unix.ENOENT)
	c.is("in a file", c.try("f/x", unix.O_CREAT|unix.O_WRONLY), unix.ENOTDIR)
	c.is("file with a slash", c.try("f/", unix.O_RDONLY), unix.ENOTDIR)
	c.is("new with a slash", c.try("new/", unix.O_CREAT|unix.O_WRONLY), unix.EISDIR)
	c.is("O_DIRECTORY", c.try("f", unix.O_DIRECTORY), unix.ENOTDIR)
	c.is("directory to write", c.try("d", unix.O_WRONLY), unix.EISDIR)
	c.is("directory to read and write", c.try("d", unix.O_RDWR), unix.EISDIR)
	c.is("directory to create", c.try("d", unix.O_CREAT|unix.O_RDONLY), unix.EISDIR)
	c.is("directory to truncate", c.try("d", unix.O_TRUNC|unix.O_RDONLY), unix.EISDIR)
	c.is("O_NOFOLLOW", c.try("l", unix.O_NOFOLLOW), unix.ELOOP)
	c.is("loop", c.try("loop1", unix.O_RDONLY), unix.ELOOP)
	c.is("in a loop", c.try("loop1/f", unix.O_RDONLY), unix.ELOOP)
	c.is("create in a loop", c.try("loop1", unix.O_CREAT|unix.O_WRONLY), unix.ELOOP)
	c.is("256 bytes", c.try(long(256), unix.O_CREAT|unix.O_WRONLY), unix.ENAMETOOLONG)
	c.is("256 bytes to read", c.try(long(256), unix.O_RDONLY), unix.ENAMETOOLONG)
	c.is("path of 4097 bytes", c.try(strings.Repeat("d/../", 900)+"f", unix.O_RDONLY), unix.ENAMETOOLONG)
	c.is("path of 3500 bytes", c.try(strings.Repeat("d/../", 700)+"f", unix.O_RDONLY))
	deep := c.dir
	for range 15 {
		deep += "/" + long(200)
		if !c.is("deep mkdir", unix.Mkdir(deep, 0o755)) {
			break
		}
	}
}

func openTruncates(c *C) {
	c.file("f", "some bytes", 0o644)
	c.times("O_TRUNC", func() error { return c.try("f", unix.O_WRONLY|unix.O_TRUNC) }, "f:mc", ":")
	c.same("size", c.stat("f").Size, 0)
	c.settle("f")
	c.times("O_TRUNC of nothing", func() error { return c.try("f", unix.O_WRONLY|unix.O_TRUNC) }, "f:mc", ":")
	c.file("g", "some bytes", 0o644)
	c.is("O_TRUNC to read", c.try("g", unix.O_RDONLY|unix.O_TRUNC))
	c.same("size", c.stat("g").Size, 0)
	c.file("h", "some bytes", 0o644)
	c.is("O_CREAT O_TRUNC", c.try("h", unix.O_CREAT|unix.O_RDWR|unix.O_TRUNC))
	c.same("size", c.stat("h").Size, 0)
	c.file("i", "some bytes", 0o644)
	r := c.open("i", unix.O_RDONLY)
	w := c.open("i", unix.O_WRONLY|unix.O_TRUNC)
	c.same("size by another handle", c.fstat(w).Size, 0)
	unix.Write(w, []byte("new"))
	unix.Close(w)
	unix.Close(r)
	c.body("afterwards", "i", "new")
}

// A file that lost its last name lives on for those who have it open.
func openRemoved(c *C) {
	c.file("f", "bytes", 0o644)
	fd := c.open("f", unix.O_RDWR)
	was := c.fstat(fd)
	c.tick()
	c.is("unlink", unix.Unlink(c.p("f")))
	c.is("its name", c.try("f", unix.O_RDONLY), unix.ENOENT)
	c.same("links", c.fstat(fd).Nlink, 0)
	c.same("inode", c.fstat(fd).Ino, was.Ino)
	c.moved("unlink, open", was, c.fstat(fd), "c")
	b := make([]byte, 10)
	n, err := unix.Pread(fd, b, 0)
	c.is("read", err)
	c.same("bytes", string(b[:n]), "bytes")
	_, err = unix.Pwrite(fd, []byte("more"), 5)
	c.is("write", err)
	c.same("size", c.fstat(fd).Size, 9)
	c.is("fchmod", unix.Fchmod(fd, 0o600))
	c.same("mode", c.fstat(fd).Mode, unix.S_IFREG|0o600)
	c.is("fchown", unix.Fchown(fd, 5, 6))
	c.same("owner", c.fstat(fd).Uid, 5)
	c.is("futimens", unix.Futimes(fd, []unix.Timeval{{Sec: 5}, {Sec: 6}}))
	c.same("mtime", c.fstat(fd).Mtim.Sec, 6)
	c.is("ftruncate", unix.Ftruncate(fd, 2))
	c.same("size", c.fstat(fd).Size, 2)
	c.is("fsync", unix.Fsync(fd))
	c.file("f", "another", 0o644)
	c.same("another file has another inode", c.stat("f").Ino != was.Ino, true)
	c.same("links", c.fstat(fd).Nlink, 0)
	c.is("close", unix.Close(fd))
	c.body("the other file", "f", "another")
	r := c.open("f", unix.O_RDONLY)
	c.is("unlink", unix.Unlink(c.p("f")))
	c.same("links", c.fstat(r).Nlink, 0)
	n, err = unix.Pread(r, b, 0)
	c.is("read", err)
	c.same("bytes", string(b[:n]), "another")
	c.is("fchmod", unix.Fchmod(r, 0o600))
	c.same("mode", c.fstat(r).Mode, unix.S_IFREG|0o600)
	c.is("close", unix.Close(r))
}

// A program that runs cannot be written to, and a file that is written to cannot be run.
func openRunning(c *C) {
	sleep, err := exec.LookPath("sleep")
	c.must(err)
	raw, err := os.ReadFile(sleep)
	c.must(err)
	c.file("sleep", string(raw), 0o755)
	cmd := exec.Command(c.p("sleep"), "20")
	cmd.Args[0] = "sleep"
	c.is("run", cmd.Start())
	for range 200 { // Start returns when it is the new program
		if exe, err := os.Readlink("/proc/" + itoa(cmd.Process.Pid) + "/exe"); err != nil || strings.HasSuffix(exe, "/sleep") {
			break
		}
		c.tick()
	}
	if c.Stored {
		c.settle("sleep")
	}
	c.is("O_WRONLY", c.try("sleep", unix.O_WRONLY), unix.ETXTBSY)
	c.is("O_RDWR", c.try("sleep", unix.O_RDWR), unix.ETXTBSY)
	c.is("truncate", unix.Truncate(c.p("sleep"), 10), unix.ETXTBSY)
	c.is("O_RDONLY", c.try("sleep", unix.O_RDONLY))
	c.is("unlink", unix.Unlink(c.p("sleep")))
	cmd.Process.Kill()
	cmd.Wait()
	c.file("written", string(raw), 0o755)
	w := c.open("written", unix.O_WRONLY)
	c.is("run what is written to", exec.Command(c.p("written"), "0").Run(), unix.ETXTBSY)
	unix.Close(w)
	c.is("run", exec.Command("/bin/sh", "-c", "exec "+c.p("written")+" 0").Run())
}

func openAccess(c *C) {
	c.file("f", "x", 0o644)
	b := make([]byte, 4)
	r := c.open("f", unix.O_RDONLY)
	_, err := unix.Write(r, b)
	c.is("write to O_RDONLY", err, unix.EBADF)
	c.is("ftruncate of O_RDONLY", unix.Ftruncate(r, 0), unix.EINVAL)
	unix.Close(r)
	w := c.open("f", unix.O_WRONLY)
	_, err = unix.Read(w, b)
	c.is("read from O_WRONLY", err, unix.EBADF)
	unix.Close(w)
	p := c.open("f", unix.O_PATH)
	c.same("fstat of O_PATH", c.fstat(p).Size, 1)
	c.is("open by the handle", unix.Access("/proc/self/fd/"+itoa(p), unix.R_OK))
	unix.Close(p)
	c.is("access", unix.Access(c.p("f"), unix.R_OK|unix.W_OK))
	c.is("access to run", unix.Access(c.p("f"), unix.X_OK), unix.EACCES)
	for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC, unix.O_NOATIME, unix.O_NONBLOCK} {
		fd := c.open("f", unix.O_RDWR|flag)
		_, err = unix.Write(fd, []byte("y"))
		c.is("write with flags", err)
		unix.Close(fd)
	}
}

func umask(c *C) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	c.is("create", func() error {
		fd, err := unix.Open(c.p("f"), unix.O_CREAT|unix.O_WRONLY, 0o777)
		unix.Close(fd)
		return err
	}())
	c.same("file", c.stat("f").Mode, unix.S_IFREG|0o750)
	c.is("mkdir", unix.Mkdir(c.p("d"), 0o777))
	c.same("directory", c.stat("d").Mode, unix.S_IFDIR|0o750)
	c.is("mknod", unix.Mknod(c.p("n"), unix.S_IFREG|0o666, 0))
	c.same("mknod", c.stat("n").Mode, unix.S_IFREG|0o640)
	c.is("chmod", unix.Chmod(c.p("f"), 0o777))
	c.same("chmod knows no umask", c.stat("f").Mode, unix.S_IFREG|0o777)
}
