package posix

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func storedChecks() []check {
	return []check{
		{"settled", false, settled},
		{"last file", false, lastFile},
		{"itself", false, itself},
		{"twins 1", false, func(c *C) { twins(c, 1) }},
		{"twins 2", false, func(c *C) { twins(c, 2) }},
		{"twins 3", false, func(c *C) { twins(c, 3) }},
	}
}

// All that can be done to a file, done to one that has just been stored.
func settled(c *C) {
	for name, do := range map[string]struct {
		call func(string) error
		want string
	}{
		"write":    {func(p string) error { return os.WriteFile(p, []byte("new"), 0) }, "new"},
		"append":   {func(p string) error { return appendTo(p, "+") }, "bytes+"},
		"truncate": {func(p string) error { return os.Truncate(p, 2) }, "by"},
		"chmod":    {func(p string) error { return os.Chmod(p, 0o640) }, "bytes"},
		"chown":    {func(p string) error { return os.Chown(p, 3, 4) }, "bytes"},
		"rename":   {func(p string) error { return os.Rename(p, p+"2") }, "bytes"},
		"there and back": {func(p string) error {
			if err := os.Rename(p, p+"2"); err != nil {
				return err
			}
			return os.Rename(p+"2", p)
		}, "bytes"},
	} {
		c.file(name, "bytes", 0o644)
		was := c.stat(name)
		c.is(name, do.call(c.p(name)))
		if name == "rename" {
			c.is(name+", the old name", unix.Access(c.p(name), 0), unix.ENOENT)
			name += "2"
		}
		for _, when := range []string{"at once", "later"} {
			c.body(name+" "+when, name, do.want)
			c.same(name+" "+when+", inode", c.stat(name).Ino, was.Ino)
			if do.want == "bytes" {
				c.same(name+" "+when+", mtime", c.stat(name).Mtim, was.Mtim)
			}
			c.settle(name)
		}
		c.is(name+", unlink", unix.Unlink(c.p(name)))
		c.is(name+", gone", unix.Access(c.p(name), 0), unix.ENOENT)
	}
	c.same("nothing is left", names(c.readdir("")), ". ..")
}

func appendTo(path, what string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(what); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// A file was renamed to its own name just when it had been stored, copied onto itself and deleted.
func itself(c *C) {
	for i := range 4 {
		name := itoa(i)
		c.must(os.WriteFile(c.p(name), []byte(name), 0o644))
		for range 150 { // the upload falls into this
			if !c.is("rename", c.rename(name, name)) {
				return
			}
			if c.Stored {
				time.Sleep(time.Millisecond)
			}
		}
		c.body("bytes", name, name)
	}
}

// A directory stays when its last file goes.
func lastFile(c *C) {
	c.mkdir("d", 0o751)
	c.owned("d", 5, 6)
	was := c.stat("d")
	check := func(how string) {
		for _, when := range []string{" at once", " later"} {
			s := c.stat("d")
			c.same(how+when, []uint64{s.Ino, uint64(s.Mode), uint64(s.Uid)}, []uint64{was.Ino, uint64(was.Mode), uint64(was.Uid)})
			c.same(how+when, names(c.readdir("d")), ". ..")
			c.settle("d")
		}
	}
	c.file("d/f", "x", 0o644)
	c.is("unlink", unix.Unlink(c.p("d/f")))
	check("unlink")
	c.file("d/f", "x", 0o644)
	c.is("rename", c.rename("d/f", "f"))
	check("rename")
	c.mkdir("d/e", 0o755)
	c.file("d/e/f", "x", 0o644)
	c.is("unlink", unix.Unlink(c.p("d/e/f")))
	c.is("rmdir", unix.Rmdir(c.p("d/e")))
	check("rmdir")
	c.is("rmdir", unix.Rmdir(c.p("d")))
	c.settle("d")
	c.is("gone", unix.Access(c.p("d"), 0), unix.ENOENT)
}

// pair does the same by chance to two directories, one of them local.
type pair struct {
	c    *C
	rnd  *rand.Rand
	a, b string
	log  []string
}

func twins(c *C, seed uint64) {
	p := &pair{c: c, rnd: rand.New(rand.NewPCG(seed, 5)), a: c.dir, b: filepath.Join(c.Beside, fmt.Sprint("twin", seed, c.Stored))}
	c.must(os.MkdirAll(p.b, 0o755))
	for i := range 300 {
		if !p.step() || i%25 == 24 && !p.equal() {
			c.same("what led to it", strings.Join(p.log[max(0, len(p.log)-40):], "\n")+"\n"+tree(p.a)+"\ninstead of\n"+tree(p.b), "")
			return
		}
		if i%10 == 9 && c.Stored {
			c.settle("")
		}
	}
}

// name is one of few, so that they meet.
func (p *pair) name() string {
	s := string(rune('a' + p.rnd.IntN(4)))
	for range p.rnd.IntN(3) {
		s += "/" + string(rune('a'+p.rnd.IntN(3)))
	}
	return s
}

// step is one operation in both places, with the same outcome.
func (p *pair) step() bool {
	x, y, n := p.name(), p.name(), p.rnd.IntN(100)
	mode := []uint32{0o600, 0o644, 0o755}[p.rnd.IntN(3)]
	label, do := "", func(string) error { return nil }
	switch k := p.rnd.IntN(12); k {
	case 0, 1, 2:
		label, do = "write "+x+" "+itoa(n), func(d string) error { return os.WriteFile(d+"/"+x, []byte(strings.Repeat("w", n)), os.FileMode(mode)) }
	case 3:
		label, do = "append "+x, func(d string) error { return appendTo(d+"/"+x, strings.Repeat("+", n)) }
	case 4, 5:
		label, do = "mkdir "+x, func(d string) error { return unix.Mkdir(d+"/"+x, 0o755) }
	case 6:
		label, do = "rmdir "+x, func(d string) error { return unix.Rmdir(d + "/" + x) }
	case 7:
		label, do = "unlink "+x, func(d string) error { return unix.Unlink(d + "/" + x) }
	case 8, 9:
		return p.rename(x, y)
	case 10:
		label, do = "truncate "+x+" "+itoa(n), func(d string) error { return unix.Truncate(d+"/"+x, int64(n)) }
	case 11:
		if n < 50 {
			label, do = "chmod "+x, func(d string) error { return unix.Chmod(d+"/"+x, mode|0o100) }
		} else {
			label, do = "symlink "+x, func(d string) error { return unix.Symlink(y, d+"/"+x) }
		}
	}
	p.log = append(p.log, label)
	got, want := do(p.a), do(p.b)
	return p.c.same(strings.Fields(label)[0], text(got), text(want))
}

// rename may be refused for directories with stored files: then it does not happen in the other place either.
func (p *pair) rename(x, y string) bool {
	p.log = append(p.log, "rename "+x+" "+y)
	got := unix.Rename(p.a+"/"+x, p.a+"/"+y)
	if s, err := os.Lstat(p.a + "/" + x); got == unix.EXDEV && p.c.Stored && err == nil && s.IsDir() {
		p.log = append(p.log, "refused")
		return true
	}
	return p.c.same("rename", text(got), text(unix.Rename(p.b+"/"+x, p.b+"/"+y)))
}

func text(err error) string {
	if err == nil {
		return "success"
	}
	s := err.Error()
	return s[strings.LastIndex(s, ": ")+1:]
}

func (p *pair) equal() bool { return p.c.same("tree", tree(p.a), tree(p.b)) }

// tree is all that is below a directory.
func tree(dir string) string {
	var out []string
	filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		line := strings.TrimPrefix(path, dir) + " "
		info, ierr := os.Lstat(path)
		switch {
		case err != nil || ierr != nil:
			line += fmt.Sprint(text(err), text(ierr))
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			line += "-> " + target + " " + text(err)
		case info.IsDir():
			line += info.Mode().String()
		default:
			raw, err := os.ReadFile(path)
			line += info.Mode().String() + " " + string(raw) + " " + text(err)
		}
		out = append(out, line)
		return nil
	})
	sort.Strings(out)
	return strings.Join(out, "\n")
}
