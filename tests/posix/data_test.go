package posix

import (
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

func dataChecks() []check {
	return []check{
		{"holes", false, holes},
		{"seek", false, seek},
		{"append", false, appending},
		{"mmap", false, mmap},
		{"fallocate", false, fallocate},
		{"copy_file_range", false, copyRange},
		{"direct", false, direct},
		{"locks", false, locks},
		{"sync", false, syncs},
		{"handles", false, handles},
	}
}

func holes(c *C) {
	fd := c.open("f", unix.O_CREAT|unix.O_RDWR)
	_, err := unix.Pwrite(fd, []byte("end"), 1<<20)
	c.is("pwrite", err)
	c.same("size", c.fstat(fd).Size, 1<<20+3)
	b := make([]byte, 10)
	n, err := unix.Pread(fd, b, 1<<19)
	c.is("pread", err)
	c.same("zeros", string(b[:n]), strings.Repeat("\x00", 10))
	n, err = unix.Pread(fd, b, 1<<20+1)
	c.is("pread at the end", err)
	c.same("end", string(b[:n]), "nd")
	n, err = unix.Pread(fd, b, 1<<21)
	c.is("pread behind the end", err)
	c.same("nothing", n, 0)
	_, err = unix.Pread(fd, b, -1)
	c.is("pread below 0", err, unix.EINVAL)
	_, err = unix.Pwrite(fd, b, -1)
	c.is("pwrite below 0", err, unix.EINVAL)
	unix.Close(fd)
	c.settle("f")
	c.body("all of it", "f", strings.Repeat("\x00", 1<<20)+"end")
}

func seek(c *C) {
	fd := c.open("f", unix.O_CREAT|unix.O_RDWR)
	unix.Pwrite(fd, []byte(strings.Repeat("a", 65536)), 0)
	unix.Pwrite(fd, []byte(strings.Repeat("b", 65536)), 1<<20)
	c.is("fsync", unix.Fsync(fd))
	at := func(label string, off int64, whence int, want int64) {
		got, err := unix.Seek(fd, off, whence)
		c.is(label, err)
		c.same(label, got, want)
	}
	at("SEEK_DATA", 0, unix.SEEK_DATA, 0)
	at("SEEK_HOLE", 0, unix.SEEK_HOLE, 65536)
	at("SEEK_DATA behind the hole", 70000, unix.SEEK_DATA, 1<<20)
	at("SEEK_HOLE at the end", 1<<20, unix.SEEK_HOLE, 1<<20+65536)
	_, err := unix.Seek(fd, 1<<21, unix.SEEK_DATA)
	c.is("SEEK_DATA behind the end", err, unix.ENXIO)
	_, err = unix.Seek(fd, 1<<21, unix.SEEK_HOLE)
	c.is("SEEK_HOLE behind the end", err, unix.ENXIO)
	_, err = unix.Seek(fd, -1, unix.SEEK_SET)
	c.is("below 0", err, unix.EINVAL)
	_, err = unix.Seek(fd, 0, 77)
	c.is("no such seek", err, unix.EINVAL)
	at("SEEK_END", -5, unix.SEEK_END, 1<<20+65536-5)
	at("SEEK_CUR", 5, unix.SEEK_CUR, 1<<20+65536)
	unix.Close(fd)
}

func appending(c *C) {
	c.file("f", "0", 0o644)
	a, b := c.open("f", unix.O_WRONLY|unix.O_APPEND), c.open("f", unix.O_WRONLY|unix.O_APPEND)
	for range 5 {
		unix.Write(a, []byte("a"))
		unix.Write(b, []byte("b"))
	}
	_, err := unix.Pwrite(a, []byte("p"), 0)
	c.is("pwrite with O_APPEND", err)
	c.is("ftruncate", unix.Ftruncate(b, 8))
	unix.Write(a, []byte("e"))
	unix.Close(a)
	unix.Close(b)
	c.body("in turns", "f", "0abababae")
	for i := range 5 {
		w := c.open("f", unix.O_WRONLY|unix.O_APPEND)
		unix.Write(w, []byte(itoa(i)))
		c.is("close", unix.Close(w))
		if i%2 == 0 {
			c.settle("f")
		}
	}
	c.body("again and again", "f", "0abababae01234")
	const rounds = 4 // of a stored file, the first to write makes a copy: two had an inode each, and wrote over each other
	for range rounds {
		c.settle("f")
		var both sync.WaitGroup
		for _, x := range []string{"x", "y"} {
			both.Go(func() {
				w := c.open("f", unix.O_WRONLY|unix.O_APPEND)
				for range 200 {
					unix.Write(w, []byte(strings.Repeat(x, 10)))
				}
				unix.Close(w)
			})
		}
		both.Wait()
	}
	raw, err := os.ReadFile(c.p("f"))
	c.is("read", err)
	c.same("size", len(raw), 14+rounds*4000)
	lines := strings.Count(string(raw), strings.Repeat("x", 10)) + strings.Count(string(raw), strings.Repeat("y", 10))
	c.same("none is lost", lines >= rounds*400, true)
}

func mmap(c *C) {
	c.file("f", strings.Repeat("a", 10_000), 0o644)
	fd := c.open("f", unix.O_RDWR)
	m, err := unix.Mmap(fd, 0, 10_000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if !c.is("shared", err) {
		return
	}
	c.same("read", string(m[9_998:]), "aa")
	copy(m[5000:], "mapped")
	b := make([]byte, 6)
	unix.Pread(fd, b, 5000)
	c.same("read what was mapped", string(b), "mapped")
	unix.Pwrite(fd, []byte("written"), 6000)
	c.same("mapped what was written", string(m[6000:6007]), "written")
	c.is("msync", unix.Msync(m, unix.MS_SYNC))
	p, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	c.is("private", err)
	copy(p, "private")
	unix.Pread(fd, b, 0)
	c.same("private stays so", string(b), "aaaaaa")
	c.must(unix.Munmap(p))
	c.is("close before the mapping", unix.Close(fd))
	copy(m[100:], "after close")
	c.must(unix.Munmap(m))
	raw, err := os.ReadFile(c.p("f"))
	c.is("read", err)
	c.same("after close", string(raw[100:111]), "after close")
	c.same("mapped", string(raw[5000:5006]), "mapped")
	c.settle("f")
	r := c.open("f", unix.O_RDONLY)
	_, err = unix.Mmap(r, 0, 4096, unix.PROT_WRITE, unix.MAP_SHARED)
	c.is("to write what is open to read", err, unix.EACCES)
	m, err = unix.Mmap(r, 0, 10_000, unix.PROT_READ, unix.MAP_SHARED)
	c.is("to read", err)
	c.same("read", string(m[100:111]), "after close")
	c.must(unix.Munmap(m))
	p, err = unix.Mmap(r, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	c.is("private", err)
	copy(p, "private")
	c.must(unix.Munmap(p))
	unix.Close(r)
	fd = c.open("g", unix.O_CREAT|unix.O_RDWR)
	c.is("ftruncate", unix.Ftruncate(fd, 3))
	m, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	c.is("map", err)
	copy(m, "abcdef")
	c.must(unix.Munmap(m))
	unix.Close(fd)
	c.body("not behind the end", "g", "abc")
}

func fallocate(c *C) {
	fd := c.open("f", unix.O_CREAT|unix.O_RDWR)
	c.is("fallocate", unix.Fallocate(fd, 0, 0, 10_000))
	c.same("size", c.fstat(fd).Size, 10_000)
	c.is("KEEP_SIZE", unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 20_000))
	c.same("size", c.fstat(fd).Size, 10_000)
	unix.Pwrite(fd, []byte(strings.Repeat("x", 10_000)), 0)
	c.is("PUNCH_HOLE", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 10, 5000))
	c.is("of nothing", unix.Fallocate(fd, 0, 0, 0), unix.EINVAL)
	c.is("below 0", unix.Fallocate(fd, 0, -1, 10), unix.EINVAL)
	unix.Close(fd)
	c.settle("f")
	c.body("bytes", "f", strings.Repeat("x", 10)+strings.Repeat("\x00", 5000)+strings.Repeat("x", 4990))
	r := c.open("f", unix.O_RDONLY)
	c.is("of what is open to read", unix.Fallocate(r, 0, 0, 10), unix.EBADF)
	unix.Close(r)
	w := c.open("f", unix.O_WRONLY)
	c.is("grow", unix.Fallocate(w, 0, 9_000, 5_000))
	c.same("size", c.fstat(w).Size, 14_000)
	unix.Close(w)
	c.same("size", c.stat("f").Size, 14_000)
}

func copyRange(c *C) {
	c.file("f", "0123456789", 0o644)
	r, w := c.open("f", unix.O_RDWR), c.open("g", unix.O_CREAT|unix.O_RDWR)
	n, err := unix.CopyFileRange(r, nil, w, nil, 100, 0)
	c.is("copy", err)
	c.same("bytes", n, 10)
	from, to := int64(2), int64(20)
	n, err = unix.CopyFileRange(r, &from, w, &to, 3, 0)
	c.is("copy a part", err)
	c.same("bytes and places", []int64{int64(n), from, to}, []int64{3, 5, 23})
	n, err = unix.Sendfile(w, r, &from, 2)
	c.is("sendfile", err)
	c.same("bytes", n, 2)
	unix.Close(r)
	unix.Close(w)
	c.body("copied", "g", "012345678956\x00\x00\x00\x00\x00\x00\x00\x00234")
}

func direct(c *C) {
	if c.dir[:8] == "/dev/shm" {
		return // no O_DIRECT in older kernels
	}
	fd, err := unix.Open(c.p("f"), unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o644)
	if !c.is("open", err) {
		return
	}
	m, err := unix.Mmap(-1, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	c.must(err)
	copy(m, strings.Repeat("d", 8192))
	n, err := unix.Pwrite(fd, m, 4096)
	c.is("write", err)
	c.same("bytes", n, 8192)
	n, err = unix.Pread(fd, m, 0)
	c.is("read", err)
	c.same("bytes", string(m[4095:4097])+itoa(n), "\x00d8192")
	unix.Close(fd)
	c.settle("f")
	c.body("all of it", "f", strings.Repeat("\x00", 4096)+strings.Repeat("d", 8192))
}

func locks(c *C) {
	c.file("f", "x", 0o644)
	a, b := c.open("f", unix.O_RDWR), c.open("f", unix.O_RDWR)
	c.is("flock", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB))
	c.is("flock of another", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
	c.is("unlock", unix.Flock(a, unix.LOCK_UN))
	c.is("flock", unix.Flock(b, unix.LOCK_SH|unix.LOCK_NB))
	c.is("two read", unix.Flock(a, unix.LOCK_SH|unix.LOCK_NB))
	lock := func(fd int, kind int16, from int64) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: from, Len: 10})
	}
	c.is("range", lock(a, unix.F_WRLCK, 0))
	c.is("another's range", lock(b, unix.F_RDLCK, 5), unix.EAGAIN)
	c.is("beside it", lock(b, unix.F_WRLCK, 10))
	c.is("unlock", lock(a, unix.F_UNLCK, 0))
	c.is("free again", lock(b, unix.F_WRLCK, 5))
	c.is("of the process", unix.FcntlFlock(uintptr(a), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 100, Len: 1}))
	unix.Close(a)
	unix.Close(b)
}

func syncs(c *C) {
	c.file("f", "x", 0o644)
	w := c.open("f", unix.O_RDWR)
	unix.Write(w, []byte("y"))
	c.is("fsync", unix.Fsync(w))
	c.is("fdatasync", unix.Fdatasync(w))
	c.is("sync_file_range", unix.SyncFileRange(w, 0, 0, unix.SYNC_FILE_RANGE_WRITE))
	unix.Close(w)
	r := c.open("f", unix.O_RDONLY)
	c.is("fsync of what is open to read", unix.Fsync(r))
	c.is("fadvise", unix.Fadvise(r, 0, 0, unix.FADV_DONTNEED))
	c.is("readahead", unix.Fadvise(r, 0, 0, unix.FADV_WILLNEED))
	unix.Close(r)
	d := c.open("", unix.O_RDONLY)
	c.is("fsync of a directory", unix.Fsync(d))
	c.is("fdatasync of a directory", unix.Fdatasync(d))
	unix.Close(d)
}

// Handles of one file see what is done through others.
func handles(c *C) {
	c.file("f", "one", 0o644)
	r := c.open("f", unix.O_RDONLY)
	w := c.open("f", unix.O_RDWR)
	b := make([]byte, 20)
	read := func(label string, fd int, want string) {
		n, err := unix.Pread(fd, b, 0)
		c.is(label, err)
		c.same(label, string(b[:max(n, 0)]), want)
	}
	read("before", r, "one")
	unix.Pwrite(w, []byte("two!"), 0)
	read("by the writer", w, "two!")
	read("by an earlier reader", r, "two!")
	c.same("size by an earlier reader", c.fstat(r).Size, 4)
	late := c.open("f", unix.O_RDONLY)
	read("by a later reader", late, "two!")
	unix.Close(w)
	c.settle("f")
	read("after the upload", late, "two!")
	w = c.open("f", unix.O_RDWR)
	unix.Pwrite(w, []byte("three"), 0)
	read("by an earlier reader, after the upload", late, "three")
	unix.Close(w)
	unix.Close(r)
	unix.Close(late)
	c.body("in the end", "f", "three")
	w = c.open("f", unix.O_RDWR)
	for i := range 3 { // a log that stays open
		unix.Pwrite(w, []byte(itoa(i)), 0)
		c.is("fsync", unix.Fsync(w))
		if c.Stored {
			c.settle("d")
		}
		read("while open", w, itoa(i)+"hree")
		c.body("by name", "f", itoa(i)+"hree")
	}
	two, err := unix.Dup(w)
	c.is("dup", err)
	unix.Close(w)
	c.settle("d")
	_, err = unix.Pwrite(two, []byte("dup"), 0)
	c.is("write by the second", err)
	unix.Close(two)
	c.body("in the end", "f", "dupee")
}
