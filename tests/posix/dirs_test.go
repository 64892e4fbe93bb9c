package posix

import (
	"encoding/binary"
	"fmt"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

func dirChecks() []check {
	return []check{
		{"readdir", false, readdir},
		{"readdir many", false, readdirMany},
		{"readdir seek", false, readdirSeek},
		{"readdir changes", false, readdirChanges},
		{"rm -r", false, removeAll},
	}
}

type dirent struct {
	name string
	ino  uint64
	off  int64
	kind byte
}

// getdents returns what one call gives.
func getdents(fd, size int) ([]dirent, error) {
	b := make([]byte, size)
	n, err := unix.Getdents(fd, b)
	if err != nil {
		return nil, err
	}
	var out []dirent
	for b = b[:n]; len(b) > 0; {
		length := binary.NativeEndian.Uint16(b[16:])
		e := dirent{ino: binary.NativeEndian.Uint64(b), off: int64(binary.NativeEndian.Uint64(b[8:])), kind: b[18]}
		e.name, _, _ = strings.Cut(string(b[19:length]), "\x00")
		out, b = append(out, e), b[length:]
	}
	return out, nil
}

func (c *C) rest(fd, size int) (out []dirent) {
	for {
		part, err := getdents(fd, size)
		c.must(err)
		if len(part) == 0 {
			return out
		}
		out = append(out, part...)
	}
}

func (c *C) readdir(name string) []dirent {
	fd := c.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	defer unix.Close(fd)
	return c.rest(fd, 8192)
}

func names(all []dirent) string {
	var out []string
	for _, e := range all {
		out = append(out, e.name)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

func readdir(c *C) {
	c.mkdir("d", 0o755)
	c.same("empty", names(c.readdir("d")), ". ..")
	c.file("d/f", "", 0o644)
	c.mkdir("d/s", 0o755)
	c.symlink("x", "d/l")
	kinds := map[string]byte{"f": unix.DT_REG, "s": unix.DT_DIR, "l": unix.DT_LNK, ".": unix.DT_DIR, "..": unix.DT_DIR}
	all := c.readdir("d")
	c.same("names", names(all), ". .. f l s")
	for _, e := range all {
		c.same("kind of "+e.name, e.kind, kinds[e.name])
		c.same("inode of "+e.name, e.ino, c.stat("d/"+e.name).Ino)
	}
	c.file("file", "", 0o644)
	_, err := unix.Open(c.p("file"), unix.O_DIRECTORY, 0)
	c.is("of a file", err, unix.ENOTDIR)
	fd := c.open("file", unix.O_RDONLY)
	_, err = getdents(fd, 1000)
	c.is("of a file", err, unix.ENOTDIR)
	unix.Close(fd)
	fd = c.open("d", unix.O_RDONLY)
	_, err = unix.Read(fd, make([]byte, 10))
	c.is("read", err, unix.EISDIR)
	unix.Close(fd)
}

func many(c *C, n int) {
	c.mkdir("d", 0o755)
	for i := range n {
		c.must(unix.Mkdir(c.p(fmt.Sprintf("d/%04d-%s", i, long(20))), 0o755))
	}
}

func readdirMany(c *C) {
	many(c, 500)
	seen := map[string]int{}
	for _, e := range c.readdir("d") {
		seen[e.name]++
	}
	c.same("all", len(seen), 502)
	for name, n := range seen {
		if n != 1 {
			c.same("once", name, "")
		}
	}
	fd := c.open("d", unix.O_RDONLY)
	n := 0
	for { // as rm does
		part, err := getdents(fd, 1000)
		c.must(err)
		if len(part) == 0 {
			break
		}
		for _, e := range part {
			if e.name != "." && e.name != ".." {
				c.is("remove while reading", unix.Unlinkat(fd, e.name, unix.AT_REMOVEDIR))
				n++
			}
		}
	}
	unix.Close(fd)
	c.same("all removed", n, 500)
	c.is("rmdir", unix.Rmdir(c.p("d")))
}

func readdirSeek(c *C) {
	many(c, 100)
	fd := c.open("d", unix.O_RDONLY)
	all := c.rest(fd, 600)
	c.same("all", len(all), 102)
	for _, i := range []int{0, 1, 2, 50, 99, 100} {
		_, err := unix.Seek(fd, all[i].off, unix.SEEK_SET)
		c.is("seekdir", err)
		c.same("the rest", fmt.Sprint(c.rest(fd, 600)), fmt.Sprint(all[i+1:]))
	}
	c.must(unix.Mkdir(c.p("d/new"), 0o755))
	_, err := unix.Seek(fd, 0, unix.SEEK_SET)
	c.is("rewinddir", err)
	c.same("a new one after rewinddir", len(c.rest(fd, 600)), 103)
	c.must(unix.Rmdir(c.p("d/new")))
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	c.is("rewinddir", err)
	c.same("gone after rewinddir", len(c.rest(fd, 600)), 102)
	unix.Close(fd)
}

func readdirChanges(c *C) {
	c.mkdir("d", 0o755)
	c.file("d/a", "", 0o644)
	c.same("one", names(c.readdir("d")), ". .. a")
	c.file("d/b", "", 0o644)
	c.same("two", names(c.readdir("d")), ". .. a b")
	c.must(c.rename("d/a", "d/c"))
	c.same("renamed", names(c.readdir("d")), ". .. b c")
	c.settle("d/c")
	c.same("renamed", names(c.readdir("d")), ". .. b c")
	c.must(unix.Unlink(c.p("d/b")))
	c.same("unlinked", names(c.readdir("d")), ". .. c")
	c.must(c.rename("d/c", "c"))
	c.same("moved away", names(c.readdir("d")), ". ..")
	c.settle("d")
	c.same("empty later", names(c.readdir("d")), ". ..")
	c.same("it stays", c.stat("d").Mode, unix.S_IFDIR|0o755)
	c.symlink("x", "d/l")
	c.same("link", names(c.readdir("d")), ". .. l")
}

func removeAll(c *C) {
	for i := range 3 {
		c.mkdir(fmt.Sprintf("t%d", i), 0o755)
		for j := range 3 {
			c.must(os.WriteFile(c.p(fmt.Sprintf("t%d/f%d", i, j)), []byte("x"), 0o644))
			c.must(os.MkdirAll(c.p(fmt.Sprintf("t%d/d%d/e", i, j)), 0o755))
			c.must(os.Symlink("x", c.p(fmt.Sprintf("t%d/d%d/l", i, j))))
		}
	}
	c.settle("t0/f0", "t0")
	for i := range 3 {
		c.is("rm -r", os.RemoveAll(c.p(fmt.Sprintf("t%d", i))))
	}
	c.same("nothing is left", names(c.readdir("")), ". ..")
}
