package posix

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Two users who are not root.
const (
	alice = 65534
	bob   = 65533
	staff = 4000 // a group
)

// as runs f as another user: with the credentials of one thread, which ends with it.
func (c *C) as(uid, gid int, f func(), groups ...uint32) {
	done := make(chan any)
	go func() {
		defer func() { done <- recover() }()
		runtime.LockOSThread()
		var p unsafe.Pointer
		if len(groups) > 0 {
			p = unsafe.Pointer(&groups[0])
		}
		for _, e := range []unix.Errno{
			raw(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(p), 0), raw(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)),
			raw(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)),
		} {
			if e != 0 {
				panic(e)
			}
		}
		f()
	}()
	if e := <-done; e != nil {
		panic(e)
	}
}

func raw(call, a, b, d uintptr) unix.Errno {
	_, _, e := unix.RawSyscall(call, a, b, d)
	return e
}

func userChecks() []check {
	return []check{
		{"user modes", false, userModes},
		{"user search", false, userSearch},
		{"user chmod", false, userChmod},
		{"user chown", false, userChown},
		{"user times", false, userTimes},
		{"user sticky", false, userSticky},
		{"user setuid", false, userSetuid},
		{"user owns", false, userOwns},
		{"user setgid", false, userSetgid},
	}
}

func userModes(c *C) {
	c.file("f", "x", 0o600)
	c.owned("f", alice, staff)
	for _, k := range []struct {
		mode     uint32
		uid, gid int
		flags    int
		want     unix.Errno
	}{
		{0o400, alice, 1, unix.O_RDONLY, 0},
		{0o400, alice, 1, unix.O_WRONLY, unix.EACCES},
		{0o200, alice, 1, unix.O_WRONLY, 0},
		{0o200, alice, 1, unix.O_RDONLY, unix.EACCES},
		{0o200, alice, 1, unix.O_RDWR, unix.EACCES},
		{0o077, alice, staff, unix.O_RDONLY, unix.EACCES},
		{0o040, bob, staff, unix.O_RDONLY, 0},
		{0o040, bob, 1, unix.O_RDONLY, unix.EACCES},
		{0o707, bob, staff, unix.O_RDONLY, unix.EACCES},
		{0o020, bob, staff, unix.O_WRONLY, 0},
		{0o004, bob, 1, unix.O_RDONLY, 0},
		{0o006, bob, 1, unix.O_RDWR, 0},
		{0o004, bob, 1, unix.O_RDONLY | unix.O_TRUNC, unix.EACCES},
		{0o002, bob, 1, unix.O_RDONLY, unix.EACCES},
		{0, 0, 0, unix.O_RDWR, 0},
	} {
		c.must(unix.Chmod(c.p("f"), k.mode))
		c.as(k.uid, k.gid, func() { c.is("open", c.try("f", k.flags), k.want) })
	}
	c.must(unix.Chmod(c.p("f"), 0o640))
	c.as(bob, 1, func() { c.is("by a further group", c.try("f", unix.O_RDONLY)) }, staff)
	c.as(bob, 1, func() { c.is("truncate", unix.Truncate(c.p("f"), 0), unix.EACCES) })
	c.as(alice, 1, func() { c.is("truncate one's own", unix.Truncate(c.p("f"), 0)) })
	c.as(bob, 1, func() {
		c.is("create in another's directory", c.try("new", unix.O_CREAT|unix.O_WRONLY), unix.EACCES)
		c.is("mkdir", unix.Mkdir(c.p("new"), 0o755), unix.EACCES)
		c.is("symlink", unix.Symlink("x", c.p("new")), unix.EACCES)
		c.is("mkfifo", unix.Mkfifo(c.p("new"), 0o644), unix.EACCES)
		c.is("link", unix.Link(c.p("f"), c.p("new")), unix.EACCES, unix.EPERM)
		c.is("unlink", unix.Unlink(c.p("f")), unix.EACCES)
		c.is("rename", c.rename("f", "g"), unix.EACCES)
		c.is("setxattr", unix.Setxattr(c.p("f"), "user.x", nil, 0), unix.EACCES)
		_, err := unix.Getxattr(c.p("f"), "user.x", nil)
		c.is("getxattr", err, unix.EACCES)
	})
	c.must(unix.Chmod(c.p("f"), 0o666))
	c.as(bob, 1, func() { c.is("run what nobody may", unix.Access(c.p("f"), unix.X_OK), unix.EACCES) })
}

func userSearch(c *C) {
	c.mkdir("d", 0o755)
	c.mkdir("e", 0o777)
	c.file("d/f", "x", 0o666)
	c.owned("d", bob, staff)
	was := c.stat("d/f")
	for _, mode := range []uint32{0o644, 0} {
		c.must(unix.Chmod(c.p("d"), mode))
		c.as(alice, 1, func() {
			var s unix.Stat_t
			c.is("stat", unix.Lstat(c.p("d/f"), &s), unix.EACCES)
			c.is("open", c.try("d/f", unix.O_RDONLY), unix.EACCES)
			c.is("create", c.try("d/g", unix.O_CREAT|unix.O_WRONLY), unix.EACCES)
			c.is("mkdir", unix.Mkdir(c.p("d/g"), 0o755), unix.EACCES)
			c.is("unlink", unix.Unlink(c.p("d/f")), unix.EACCES)
			c.is("rename", c.rename("d/f", "e/f"), unix.EACCES)
			c.is("rename into", c.rename("e", "d/e"), unix.EACCES)
			c.is("chmod", unix.Chmod(c.p("d/f"), 0o600), unix.EACCES)
			c.is("chown", unix.Chown(c.p("d/f"), alice, -1), unix.EACCES)
			c.is("truncate", unix.Truncate(c.p("d/f"), 0), unix.EACCES)
			c.is("readlink", func() error { _, err := unix.Readlink(c.p("d/f"), make([]byte, 9)); return err }(), unix.EACCES)
			c.is("utimes", unix.Utimes(c.p("d/f"), nil), unix.EACCES)
			_, err := unix.Open(c.p("d"), unix.O_RDONLY, 0)
			c.is("readdir", err, map[bool]unix.Errno{true: 0, false: unix.EACCES}[mode == 0o644])
		})
	}
	c.must(unix.Chmod(c.p("d"), 0o711))
	c.as(alice, 1, func() {
		c.is("open", c.try("d/f", unix.O_RDWR))
		_, err := unix.Open(c.p("d"), unix.O_RDONLY, 0)
		c.is("readdir", err, unix.EACCES)
		c.is("unlink", unix.Unlink(c.p("d/f")), unix.EACCES)
		c.is("rename", c.rename("d/f", "e/f"), unix.EACCES)
		c.is("rename onto", c.rename("e", "d/e"), unix.EACCES)
	})
	c.same("nothing happened", c.stat("d/f").Ino, was.Ino)
}

func userChmod(c *C) {
	c.file("f", "x", 0o644)
	c.owned("f", alice, staff)
	c.as(bob, staff, func() { c.is("another's", unix.Chmod(c.p("f"), 0o600), unix.EPERM) })
	c.as(alice, 1, func() {
		c.is("one's own", unix.Chmod(c.p("f"), 0o4711))
		c.same("mode", c.stat("f").Mode&0o7777, 0o4711)
		c.is("setgid of a foreign group", unix.Chmod(c.p("f"), 0o2755))
		c.same("is not set", c.stat("f").Mode&0o7777, 0o755)
	})
	c.as(alice, 1, func() {
		c.is("setgid of one's group", unix.Chmod(c.p("f"), 0o2755))
		c.same("is set", c.stat("f").Mode&0o7777, 0o2755)
	}, staff)
	c.settle("f")
	c.same("later", c.stat("f").Mode&0o7777, 0o2755)
}

func userChown(c *C) {
	c.file("f", "x", 0o644)
	c.owned("f", alice, alice)
	c.as(bob, bob, func() { c.is("another's", unix.Chown(c.p("f"), bob, bob), unix.EPERM) })
	c.as(alice, alice, func() {
		c.is("give away", unix.Chown(c.p("f"), bob, -1), unix.EPERM)
		c.is("to a foreign group", unix.Chown(c.p("f"), -1, staff), unix.EPERM)
	})
	c.must(unix.Chmod(c.p("f"), 0o6755))
	c.as(alice, alice, func() {
		c.is("to one's group", unix.Chown(c.p("f"), -1, staff))
		s := c.stat("f")
		c.same("setuid and setgid go", []uint32{s.Mode & 0o7777, s.Gid}, []uint32{0o755, staff})
		c.is("to oneself", unix.Chown(c.p("f"), alice, staff))
		c.is("neither", unix.Chown(c.p("f"), -1, -1))
	}, staff)
	c.symlink("f", "l")
	c.owned("l", alice, alice)
	c.as(bob, bob, func() { c.is("another's link", unix.Lchown(c.p("l"), bob, bob), unix.EPERM) })
	c.as(alice, alice, func() { c.is("one's own link", unix.Lchown(c.p("l"), -1, staff)) }, staff)
	c.same("group of the link", c.stat("l").Gid, staff)
}

func userTimes(c *C) {
	c.file("f", "x", 0o644)
	c.owned("f", alice, alice)
	now, omit, some := unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Sec: 5}
	c.as(bob, bob, func() {
		c.is("set another's", c.utime("f", some, some), unix.EPERM)
		c.is("another's now", c.utime("f", now, now), unix.EACCES)
		c.is("half of another's", c.utime("f", now, omit), unix.EPERM)
		c.is("neither", c.utime("f", omit, omit))
	})
	c.must(unix.Chmod(c.p("f"), 0o666))
	c.as(bob, bob, func() {
		c.is("set what one may write", c.utime("f", some, some), unix.EPERM)
		c.is("what one may write, now", c.utime("f", now, now))
		c.is("half of it", c.utime("f", omit, now), unix.EPERM)
	})
	c.must(unix.Chmod(c.p("f"), 0o444))
	c.as(alice, alice, func() {
		c.is("set one's own", c.utime("f", some, some))
		c.is("one's own, now", c.utime("f", now, now))
	})
}

func userSticky(c *C) {
	c.mkdir("d", 0o1777)
	c.owned("d", bob, bob)
	c.must(unix.Chmod(c.p("d"), 0o1777))
	c.mkdir("e", 0o777)
	c.as(alice, alice, func() {
		c.file("d/alice", "x", 0o666)
		c.mkdir("d/dir", 0o777)
	})
	c.as(1234, 1234, func() {
		c.is("unlink", unix.Unlink(c.p("d/alice")), unix.EPERM)
		c.is("rmdir", unix.Rmdir(c.p("d/dir")), unix.EPERM)
		c.is("rename", c.rename("d/alice", "d/x"), unix.EPERM)
		c.is("rename away", c.rename("d/alice", "e/x"), unix.EPERM)
		c.is("rename a directory", c.rename("d/dir", "d/x"), unix.EPERM)
		c.file("d/mine", "y", 0o644)
		c.is("rename over another's", c.rename("d/mine", "d/alice"), unix.EPERM)
		c.is("rename one's own", c.rename("d/mine", "d/mine2"))
		c.is("unlink one's own", unix.Unlink(c.p("d/mine2")))
	})
	c.as(alice, alice, func() { c.is("unlink one's own", unix.Unlink(c.p("d/alice"))) })
	c.as(bob, bob, func() { c.is("in one's own directory", unix.Rmdir(c.p("d/dir"))) })
}

// Writing takes setuid and setgid away, but not from root.
func userSetuid(c *C) {
	write := func() error {
		w, err := unix.Open(c.p("f"), unix.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer unix.Close(w)
		_, err = unix.Write(w, []byte("y"))
		return err
	}
	c.file("f", "x", 0o777)
	for _, mode := range []uint32{0o4777, 0o2777, 0o6777} {
		c.must(unix.Chmod(c.p("f"), mode))
		c.settle("f")
		c.is("write by root", write())
		c.same("stays", c.stat("f").Mode&0o7777, mode)
		c.as(alice, alice, func() { c.is("write", write()) })
		c.same("goes", c.stat("f").Mode&0o7777, 0o777)
		c.must(unix.Chmod(c.p("f"), mode))
		c.as(alice, alice, func() { c.is("truncate", unix.Truncate(c.p("f"), 0)) })
		c.same("goes by truncate", c.stat("f").Mode&0o7777, 0o777)
		c.must(unix.Chmod(c.p("f"), mode))
		c.is("some bytes", write())
		c.as(alice, alice, func() { c.is("O_TRUNC", c.try("f", unix.O_WRONLY|unix.O_TRUNC)) })
		c.same("goes by O_TRUNC", c.stat("f").Mode&0o7777, 0o777)
	}
	c.settle("f")
	c.same("later", c.stat("f").Mode&0o7777, 0o777)
	c.body("bytes", "f", "")
}

func userOwns(c *C) {
	c.must(unix.Chmod(c.dir, 0o777))
	c.as(alice, bob, func() {
		c.file("f", "x", 0o600)
		c.mkdir("d", 0o700)
		c.symlink("f", "l")
		c.file("d/f", "x", 0o400)
	})
	for _, name := range []string{"f", "d", "l", "d/f"} {
		s := c.stat(name)
		c.same("owner of "+name, []uint32{s.Uid, s.Gid}, []uint32{alice, bob})
	}
	c.as(alice, bob, func() {
		c.is("remove what cannot be written", unix.Unlink(c.p("d/f")))
		c.is("rmdir", unix.Rmdir(c.p("d")))
		fd, err := unix.Open(c.p("r"), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o444)
		c.is("create read-only", err)
		_, err = unix.Write(fd, []byte("x"))
		c.is("write to it", err)
		unix.Close(fd)
		c.is("open again", c.try("r", unix.O_WRONLY), unix.EACCES)
	})
	c.as(bob, bob, func() { c.is("another's", c.try("f", unix.O_RDONLY), unix.EACCES) })
}

func userSetgid(c *C) {
	c.mkdir("g", 0o2777)
	c.owned("g", bob, staff)
	c.must(unix.Chmod(c.p("g"), 0o2777))
	c.as(alice, alice, func() {
		c.file("g/f", "", 0o2770)
		s := c.stat("g/f")
		c.same("file", []uint32{s.Mode & 0o7777, s.Gid}, []uint32{0o770, staff})
		c.mkdir("g/d", 0o755)
		s = c.stat("g/d")
		c.same("directory", []uint32{s.Mode & 0o7777, s.Gid}, []uint32{0o2755, staff})
	})
}
