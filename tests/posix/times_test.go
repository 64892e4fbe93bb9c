package posix

import (
	"time"

	"golang.org/x/sys/unix"
)

func timeChecks() []check {
	return []check{
		{"utimensat", false, utimensat},
		{"utimensat far", false, utimensatFar},
		{"write times", false, writeTimes},
		{"times of others", false, timesOfOthers},
	}
}

func (c *C) utime(name string, a, m unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, c.p(name), []unix.Timespec{a, m}, unix.AT_SYMLINK_NOFOLLOW)
}

func utimensat(c *C) {
	c.loops()
	c.things()
	now, omit := unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Nsec: unix.UTIME_OMIT}
	c.paths(func(p string) error { return unix.UtimesNano(p, []unix.Timespec{now, now}) })
	for _, name := range []string{"f", "d", "l"} {
		a, m := unix.Timespec{Sec: 100_000, Nsec: 123_456_789}, unix.Timespec{Sec: 200_000, Nsec: 987_654_321}
		c.is("set "+name, c.utime(name, a, m))
		c.same("atime of "+name, c.stat(name).Atim, a)
		c.same("mtime of "+name, c.stat(name).Mtim, m)
		c.settle(name)
		c.same("atime of "+name+" later", c.stat(name).Atim, a)
		c.same("mtime of "+name+" later", c.stat(name).Mtim, m)
		a.Sec++
		c.is("only atime", c.utime(name, a, omit))
		c.same("atime of "+name, c.stat(name).Atim, a)
		c.same("mtime of "+name, c.stat(name).Mtim, m)
		m.Sec++
		c.is("only mtime", c.utime(name, omit, m))
		c.same("atime of "+name, c.stat(name).Atim, a)
		c.same("mtime of "+name, c.stat(name).Mtim, m)
		c.times("neither", func() error { return c.utime(name, omit, omit) }, name+":")
		c.same("atime of "+name, c.stat(name).Atim, a)
		begin := time.Now().Add(-20 * time.Millisecond)
		c.times("now", func() error { return c.utime(name, now, now) }, name+":mc", ":")
		s := c.stat(name)
		c.same("atime is now", time.Unix(s.Atim.Unix()).After(begin), true)
		c.same("mtime is now", time.Unix(s.Mtim.Unix()).After(begin) && time.Unix(s.Mtim.Unix()).Before(time.Now().Add(time.Second)), true)
		c.is("atime now", c.utime(name, now, m))
		c.same("mtime of "+name, c.stat(name).Mtim, m)
		c.is("nanoseconds", c.utime(name, unix.Timespec{Nsec: 1_000_000_000}, m), unix.EINVAL)
	}
	fd := c.open("f", unix.O_RDONLY)
	c.is("futimens", unix.Futimes(fd, []unix.Timeval{{Sec: 5}, {Sec: 6}}))
	c.same("mtime", c.stat("f").Mtim.Sec, 6)
	unix.Close(fd)
	c.is("set", c.utime("f", unix.Timespec{Sec: 10}, unix.Timespec{Sec: 20}))
	w := c.open("f", unix.O_WRONLY)
	unix.Write(w, []byte("x"))
	c.same("a write moves it", c.fstat(w).Mtim.Sec > 20, true)
	c.is("futimens of what is written to", unix.Futimes(w, []unix.Timeval{{Sec: 5}, {Sec: 6}}))
	unix.Close(w)
	c.same("close does not", c.stat("f").Mtim.Sec, 6)
	c.settle("f")
	c.same("nor does anything later", c.stat("f").Mtim.Sec, 6)
}

func utimensatFar(c *C) {
	c.file("f", "x", 0o644)
	for _, t := range []unix.Timespec{{Sec: -1, Nsec: 5}, {Sec: -100_000_000}, {Sec: 1<<31 + 1, Nsec: 7}, {Sec: 1<<32 + 1}, {Sec: 1 << 33}, {}} {
		c.is("set", c.utime("f", t, t))
		c.same("mtime", c.stat("f").Mtim, t)
		c.settle("f")
		c.same("mtime later", c.stat("f").Mtim, t)
	}
}

func writeTimes(c *C) {
	c.file("f", "bytes", 0o644)
	w := c.open("f", unix.O_RDWR)
	do := func(label string, call func() error, rule string) {
		was := c.fstat(w)
		c.tick()
		c.is(label, call())
		c.moved(label, was, c.fstat(w), rule)
	}
	b := make([]byte, 10)
	do("write", func() error { _, err := unix.Write(w, []byte("x")); return err }, "mc")
	do("pwrite", func() error { _, err := unix.Pwrite(w, []byte("x"), 100); return err }, "mc")
	do("read", func() error { _, err := unix.Pread(w, b, 0); return err }, "")
	do("fsync", func() error { return unix.Fsync(w) }, "")
	do("write of nothing", func() error { _, err := unix.Write(w, nil); return err }, "")
	do("fallocate", func() error { return unix.Fallocate(w, 0, 0, 1000) }, "c?")
	do("fchmod", func() error { return unix.Fchmod(w, 0o600) }, "c")
	do("fchown", func() error { return unix.Fchown(w, 1, 1) }, "c")
	do("fsetxattr", func() error { return unix.Fsetxattr(w, "user.x", nil, 0) }, "c")
	do("failed", func() error { unix.Ftruncate(w, -1); return nil }, "")
	was := c.fstat(w)
	c.tick()
	c.is("close", unix.Close(w))
	c.moved("close", was, c.stat("f"), "")
	was = c.stat("f")
	c.settle("f")
	c.moved("later", was, c.stat("f"), "")
	c.times("open and close", func() error { return c.try("f", unix.O_RDWR) }, "f:")
	c.times("read", func() error { return c.try("f", unix.O_RDONLY) }, "f:", ":")
}

// What is done to one thing moves no times of others.
func timesOfOthers(c *C) {
	c.things()
	c.mkdir("d/e", 0o755)
	c.file("d/e/x", "x", 0o644)
	c.times("create", func() error { return c.try("d/e/y", unix.O_CREAT|unix.O_WRONLY) }, "d/e:mc", "d:", ":", "d/e/x:", "f:")
	c.settle("d/e/y")
	c.times("write", func() error {
		w := c.open("d/e/x", unix.O_WRONLY)
		defer unix.Close(w)
		_, err := unix.Write(w, []byte("z"))
		return err
	}, "d/e/x:mc", "d/e:", "d:", ":", "f:")
	c.settle("d/e/x")
	was := []unix.Stat_t{c.stat("d/e"), c.stat("d"), c.stat("")}
	c.settle("d")
	for i, name := range []string{"d/e", "d", ""} {
		c.moved(name+" later", was[i], c.stat(name), "")
	}
	c.times("failed create", func() error { unix.Mkdir(c.p("d/e"), 0o755); c.try("d/e/x", unix.O_CREAT|unix.O_EXCL); return nil }, "d:", "d/e:")
	c.times("failed unlink", func() error { unix.Unlink(c.p("d/e")); unix.Rmdir(c.p("d")); return nil }, "d:", "d/e:", ":")
	c.times("failed rename", func() error { c.rename("d", "f"); c.rename("f", "d"); return nil }, "d:", "f:", ":")
}
