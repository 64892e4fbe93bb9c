package packages

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dpkgDir is where dpkg keeps what it knows.
const dpkgDir = "var/lib/dpkg"

// debian is a root directory with the essential packages of Debian, a few more, and what those need: copied file by file from where they are
// installed here, as they would be unpacked from an archive. Nothing else of this machine is there: no configuration, no homes, no programs.
type debian struct {
	t    *testing.T
	root string
}

// stanza is a package as dpkg's status file has it.
type stanza struct {
	text                 string
	depends, provides    []string // of depends: alternatives in one string
	installed, essential bool
}

// newDebian makes such a root.
func newDebian(t *testing.T, packages ...string) *debian {
	t.Helper()
	d := &debian{t, filepath.Join(t.TempDir(), "root")}
	d.skeleton()
	all := d.status()
	for name, p := range all {
		if p.essential {
			packages = append(packages, name)
		}
	}
	var status strings.Builder
	for name := range closure(all, packages) {
		d.unpack(name)
		status.WriteString(all[name].text + "\n\n")
	}
	d.write(dpkgDir+"/status", status.String(), 0o644)
	return d
}

func (d *debian) path(name string) string { return filepath.Join(d.root, name) }

func (d *debian) write(name, text string, mode os.FileMode) {
	d.t.Helper()
	err := os.MkdirAll(filepath.Dir(d.path(name)), 0o755)
	if err == nil {
		err = os.WriteFile(d.path(name), []byte(text), mode)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// skeleton makes what no package brings as a file: what is linked to /usr, the users, and devices.
func (d *debian) skeleton() {
	d.t.Helper()
	for _, dir := range []string{"usr", "etc", "dev", "proc", "root", "tmp", "home", "var/tmp", "run", dpkgDir + "/info", dpkgDir + "/updates", dpkgDir + "/triggers"} {
		if err := os.MkdirAll(d.path(dir), 0o755); err != nil {
			d.t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if target, err := os.Readlink("/" + dir); err == nil {
			if err := errors.Join(os.MkdirAll(d.path("usr/"+dir), 0o755), os.Symlink(target, d.path(dir))); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(d.path(dir), 0o777|os.ModeSticky); err != nil {
			d.t.Fatal(err)
		}
	}
	d.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	d.write("etc/group", "root:x:0:\n", 0o644)
	if err := os.Symlink("../proc/self/mounts", d.path("etc/mtab")); err != nil {
		d.t.Fatal(err)
	}
	for name, number := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0), "fuse": unix.Mkdev(10, 229),
	} {
		path := d.path("dev/" + name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(number)); err != nil {
			d.t.Skipf("no devices can be made here: %v", err)
		}
		os.Chmod(path, 0o666) // whatever the umask is
	}
	if f, err := os.OpenFile(d.path("dev/null"), os.O_RDWR, 0); err != nil {
		d.t.Skipf("devices cannot be used here: %v", err)
	} else {
		f.Close()
	}
}

// status reads which packages are installed on this machine.
func (d *debian) status() map[string]stanza {
	d.t.Helper()
	raw, err := os.ReadFile("/" + dpkgDir + "/status")
	if err != nil {
		d.t.Skipf("no Debian here: %v", err)
	}
	all := map[string]stanza{}
	for text := range strings.SplitSeq(string(raw), "\n\n") {
		p, name := stanza{text: text}, ""
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case "Package":
				name = value
			case "Status":
				p.installed = strings.HasSuffix(value, " installed")
			case "Essential":
				p.essential = value == "yes"
			case "Depends", "Pre-Depends":
				p.depends = append(p.depends, strings.Split(value, ",")...)
			case "Provides":
				p.provides = append(p.provides, strings.Split(value, ",")...)
			}
		}
		if before, is := all[name]; p.installed && (!is || strings.Contains(before.text, "\nArchitecture: i386\n")) {
			all[name] = p
		}
	}
	return all
}

// bare is the name in a dependency such as " libc6:any (>= 2.34)".
func bare(dependency string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(dependency), " ")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// closure adds what packages need to them, as far as it is installed.
func closure(all map[string]stanza, packages []string) map[string]bool {
	given := map[string]string{}
	for name, p := range all {
		given[name] = name
		for _, v := range p.provides {
			if _, is := all[bare(v)]; !is {
				given[bare(v)] = name
			}
		}
	}
	found := map[string]bool{}
	for len(packages) > 0 {
		name := packages[0]
		packages = packages[1:]
		if _, is := all[name]; !is || found[name] {
			continue
		}
		found[name] = true
		for _, d := range all[name].depends {
			for alternative := range strings.SplitSeq(d, "|") {
				if has, is := given[bare(alternative)]; is {
					packages = append(packages, has)
					break
				}
			}
		}
	}
	return found
}

// unpack copies the files of a package that is installed here, and what dpkg knows of it.
func (d *debian) unpack(name string) {
	d.t.Helper()
	list := ""
	for _, id := range []string{name, name + ":" + runtime.GOARCH} {
		known, err := filepath.Glob("/" + dpkgDir + "/info/" + id + ".*")
		if err != nil {
			d.t.Fatal(err)
		}
		for _, from := range known {
			if strings.HasSuffix(from, ".list") {
				list = from
			}
			d.copy(from)
		}
	}
	d.copy("/" + dpkgDir + "/info/format")
	raw, err := os.ReadFile(list)
	if err != nil {
		d.t.Fatalf("the files of %s: %v", name, err)
	}
	for path := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n") {
		if path != "/." && !strings.HasPrefix(path, "/usr/share/doc/") && !strings.HasPrefix(path, "/usr/share/man/") && !strings.HasPrefix(path, "/usr/share/locale/") {
			d.copy(path)
		}
	}
}

// copy copies a file, a link or a directory as such, with its mode. What is not there is left out: some machines have no manuals.
func (d *debian) copy(path string) {
	d.t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		return
	}
	to := d.path(path)
	if _, err := os.Lstat(to); err == nil {
		return
	}
	switch {
	case info.IsDir():
		err = os.MkdirAll(to, 0o755)
	case info.Mode()&os.ModeSymlink != 0:
		var target string
		if target, err = os.Readlink(path); err == nil {
			err = os.Symlink(target, to)
		}
	case info.Mode().IsRegular():
		err = copyFile(path, to, info.Mode())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func copyFile(from, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close()) // fusermount3 is setuid
}
