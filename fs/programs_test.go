package fs

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What programs do to a folder has the same result in a mount as on a local disk, before and after it was stored.
func TestPrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("one program after the other: nothing that a race detector could find, and it takes minutes under one")
	}
	const seed = `
mkdir -p src/sub/deep "src/with space"
head -c 300000 /dev/zero | tr '\0' 'x' >src/sub/big
printf 'one\ntwo\nthree\n' >src/text
: >src/empty
ln -s sub/big src/link
ln -s nowhere src/broken
printf '#!/bin/sh\necho hello\n' >"src/with space/run.sh"
chmod 750 "src/with space/run.sh"
chmod 700 src/sub
touch -d '2001-02-03 04:05:06.789' src/text src/sub/big src/sub
touch -h -d '2002-02-03 04:05:06' src/link
`
	scripts := map[string]struct{ need, do string }{
		"cp -a":    {"", `cp -a src dst && diff -r --no-dereference src dst`},
		"cp over":  {"", `cp -a src dst; cp src/text dst/sub/big; cp src/sub/big dst/text`},
		"mv":       {"", `cp -a src dst; mv dst/text dst/renamed; mv dst/sub moved; mv moved dst/other; mv dst/renamed dst/empty`},
		"rsync":    {"rsync", `rsync -a src/ dst/; echo more >>src/text; rsync -a src/ dst/; rsync -a --inplace src/ in/; echo more >>src/text; rsync -a --inplace --no-whole-file src/ in/`},
		"tar":      {"", `mkdir dst; tar cf - src | tar xpf - -C dst; tar --sort=name --mtime=2001-01-01 -cf dst/a.tar src; tar tf dst/a.tar >list`},
		"sed":      {"", `sed -i 's/two/TWO/' src/text; cat src/text`},
		"dd":       {"", `dd if=/dev/zero of=z bs=64k count=9 conv=fsync status=none; printf abc | dd of=z bs=1 seek=70000 conv=notrunc status=none; dd if=z of=y bs=1M oflag=direct status=none 2>/dev/null || cp z y`},
		"append":   {"", `for i in 1 2 3 4 5; do echo $i >>src/text; done; cat src/text src/text >>src/sub/big`},
		"truncate": {"", `truncate -s 100 src/sub/big; truncate -s 5000 src/text; truncate -s 0 src/empty; fallocate -l 70000 f; fallocate -p -o 10 -l 100 src/sub/big; fallocate -z -o 0 -l 10 src/text`},
		"rm":       {"", `cp -a src dst; rm -rf dst/sub "dst/with space"; rm dst/link; mkdir -p a/b/c; rmdir -p a/b/c; rm -rf src`},
		"links":    {"", `ln -sf text src/link; ln -sfn /abs src/broken; readlink src/link src/broken; cat src/link; test ! -e src/broken; ln src/text src/hard 2>/dev/null || cp -p src/text src/hard`},
		"install":  {"", `install -D -m 640 src/text a/b/c; mktemp -p a x.XXXX >/dev/null; rm a/x.*; chmod -R u+rwX,go-w src; touch -r src/text a/b/c`},
		"git":      {"git", `export HOME=$PWD GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z; git init -q r && cd r && cp -a ../src . && git add . && git -c user.name=a -c user.email=a@b commit -qm x && git gc -q && git fsck && git clone -q . ../s && cd ../s && git status --short && git log --format=%H && cd .. && find r s -name .git | xargs rm -rf`},
		"python": {"python3", `python3 -c '
import mmap, os
f = open("src/text", "r+b"); f.seek(4); f.write(b"2"); f.close()
f = open("m", "w+b"); f.truncate(70000); m = mmap.mmap(f.fileno(), 70000); m[5:8] = b"abc"; m[69999] = 33; m.flush(); assert f.read()[5:8] == b"abc"; m.close(); f.close()
f = open("src/sub/big", "r+b"); m = mmap.mmap(f.fileno(), 0); m[1000:1004] = b"mmap"; m.close(); f.close()
f = open("src/text"); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); assert m[0:3] == b"one"
os.replace("m", "n"); os.unlink("n")
f = open("gone", "w+"); os.unlink("gone"); f.write("x" * 9999); f.flush(); assert os.fstat(f.fileno()).st_size == 9999; f.seek(0); assert len(f.read()) == 9999
'`},
		"vim":    {"vim", `export HOME=$PWD; vim -u NONE -es -c '%s/one/ONE/' -c 'w' -c 'set backup' -c '%s/ONE/Two/' -c 'wq' src/text </dev/null; cat src/text; rm -rf .viminfo src/text~ .vim*`},
		"sqlite": {"sqlite3", `sqlite3 db 'create table t(a); insert into t values (1),(2); select sum(a) from t'; sqlite3 db 'pragma journal_mode=wal; insert into t values (3); select sum(a) from t'; rm -f db*`},
		"zip":    {"zip", `zip -qr a.zip src; mkdir u; cd u; unzip -q ../a.zip; cd ..; rm a.zip`},
		"rename swap": {"python3", `python3 -c '
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
open("a", "w").write("A"); open("b", "w").write("BB")
assert c.renameat2(-100, b"a", -100, b"b", 1) == -1 and ctypes.get_errno() == 17
assert c.renameat2(-100, b"a", -100, b"b", 2) == 0
assert open("a").read() == "BB"
assert c.renameat2(-100, b"a", -100, b"c", 1) == 0
'`},
	}
	for _, when := range []string{"staged", "stored", "eager"} { // eager: uploads go on between any two calls of the programs
		t.Run(when, func(t *testing.T) {
			ways(t, setup{Delete: true, Patience: 200, Eager: when == "eager"}, func(t *testing.T, m *mounted) {
				if m.pass != (when != "stored") && when != "eager" {
					t.Skip("one of the two is enough when nothing happens meanwhile")
				}
				began, local := time.Now().Add(-time.Second), t.TempDir() // a kernel's times lag by a tick
				for name := range scripts {
					sh(t, local, "mkdir '"+name+"'; cd '"+name+"'\n"+seed)
					sh(t, m.dir, "mkdir '"+name+"'; cd '"+name+"'\n"+seed)
				}
				if when != "staged" {
					m.store()
				}
				for name, script := range scripts {
					t.Run(name, func(t *testing.T) {
						if when == "eager" && name == "rename swap" {
							t.Skip("what is stored cannot be swapped")
						}
						if _, err := exec.LookPath(script.need); script.need != "" && err != nil {
							t.Skip(script.need + " is not installed")
						}
						want, got := sh(t, filepath.Join(local, name), script.do), sh(t, m.path(name), script.do)
						if want != got {
							t.Errorf("it says\n%s\ninstead of\n%s", got, want)
						}
						sameTree(t, m.path(name), filepath.Join(local, name), began)
					})
				}
				m.store()
				if when != "eager" {
					sameTree(t, m.dir, local, began)
				}
			})
		})
	}
}

// sh runs a script in a directory.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", "set -e\numask 022\n"+script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	return strings.ReplaceAll(string(out), dir, "DIR")
}

// sameTree compares names, kinds, modes, sizes, times and bytes.
func sameTree(t *testing.T, got, want string, since time.Time) {
	t.Helper()
	const show = `find . -mindepth 1 \( -type d -printf '%p %y %m %T@\n' -o -type l -printf '%p %y %l %T@\n' -o -printf '%p %y %m %s %T@\n' \) | sort; find . -type f -print0 | sort -z | xargs -0r md5sum`
	a, b := sh(t, got, show), sh(t, want, show)
	left, right := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(left), len(right)) {
		x, y := "", ""
		if i < len(left) {
			x = left[i]
		}
		if i < len(right) {
			y = right[i]
		}
		if !alike(x, y, since) {
			t.Errorf("here  %s\nlocal %s", x, y)
			if len(left) != len(right) {
				t.Errorf("%s\n%s", a, b)
				return
			}
		}
	}
}

// alike allows times of now to differ: of since and later, however long the test takes.
func alike(x, y string, since time.Time) bool {
	a, b := strings.LastIndexByte(x, ' '), strings.LastIndexByte(y, ' ')
	if a < 0 || b < 0 || x[:a] != y[:b] {
		return x == y
	}
	s, err1 := strconv.ParseFloat(x[a+1:], 64)
	u, err2 := strconv.ParseFloat(y[b+1:], 64)
	now := float64(since.Unix())
	return x == y || err1 == nil && err2 == nil && s >= now && u >= now
}
