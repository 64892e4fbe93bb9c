package clients

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// lab is an empty bucket mounted for writing, and an ordinary directory on which the same is done.
type lab struct {
	e     *harness.Env
	srv   *s3test.Server
	args  []string
	mount string
	plain string
	data  string // what is copied from: a small study
}

func newLab(t *testing.T) *lab {
	t.Helper()
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	l := &lab{e: e, srv: srv, args: harness.Writable(url, "--delete"), plain: filepath.Join(e.Home, "plain"), data: filepath.Join(e.Home, "data")}
	l.mount = e.Mount(l.args...)
	if err := os.Mkdir(l.plain, 0o755); err != nil {
		t.Fatal(err)
	}
	if r := e.Exec("sh", "-ec", `mkdir -p data/sub-01/func data/sub-02/empty data/code; cd data
		for n in 0 1 4096 131072 300000 9000000; do head -c $n /dev/urandom > sub-01/func/run-$n.bin; done
		seq 1000 > sub-02/events.tsv; printf '#!/bin/sh\necho yes\n' > code/run.sh; chmod 755 code/run.sh
		ln -s ../code/run.sh sub-02/link; chmod 600 sub-02/events.tsv
		touch -d '2024-02-03 04:05:06.789' sub-01/func/* ; printf 'x' > 'name with space, ünïcode+%20.txt'`); r.Code != 0 {
		t.Fatal(r.Err)
	}
	return l
}

// tree describes what is below dir: a line for each name, with what must survive. Bytes are told by their sum.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			all[name] = "directory"
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			all[name] = "link to " + target
		default:
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			when := "now" // unless somebody has set it, which must survive
			if time.Since(info.ModTime()) > 24*time.Hour {
				when = info.ModTime().UTC().Format(time.RFC3339Nano)
			}
			all[name] = fmt.Sprintf("%v, %d bytes, %s, of %s", info.Mode(), info.Size(), harness.Sum(body), when)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func differences(got, want map[string]string) (text []string) {
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if got[name] != want[name] {
			text = append(text, fmt.Sprintf("%s: %q, must be %q", name, got[name], want[name]))
		}
	}
	return text
}

// same fails the test if the mount and the plain directory differ below a name: as it is, and mounted anew with an empty cache when all
// is uploaded. Each file is then an object, and there are no others.
func (l *lab) same(t *testing.T, below string) {
	t.Helper()
	want := tree(t, filepath.Join(l.plain, below))
	if text := differences(tree(t, filepath.Join(l.mount, below)), want); len(text) > 0 {
		t.Errorf("at once:\n%s", strings.Join(text, "\n"))
	}
	l.e.Drain(l.mount)
	l.objects(t, below)
	l.e.Unmount(l.mount)
	l.e.EmptyCache()
	l.e.MountAt(l.mount, l.args...)
	if text := differences(tree(t, filepath.Join(l.mount, below)), want); len(text) > 0 {
		t.Errorf("after a restart with an empty cache:\n%s", strings.Join(text, "\n"))
	}
	if t.Failed() {
		t.Log(l.e.Run("uploads", "ls").Out)
		t.FailNow()
	}
}

// objects compares the bucket with the plain directory: by key and bytes, each directory without files as an empty object "name/", each link
// as rclone keeps them.
func (l *lab) objects(t *testing.T, below string) {
	t.Helper()
	want := map[string]string{}
	root := filepath.Join(l.plain, below)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		switch d.Type() {
		case fs.ModeDir:
			if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
				return err
			}
			want[name+"/"] = harness.Sum(nil)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			want[name+".rclonelink"] = harness.Sum([]byte(target))
		default:
			body, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			want[name] = harness.Sum(body)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, body := range harness.Stored(l.srv, strings.TrimPrefix(below+"/", "/")) {
		if name == "" || strings.HasSuffix(name, "/") && want[name] == "" { // a directory that was empty for a while, or is no more
			continue
		}
		got[name] = harness.Sum(body)
	}
	if text := differences(got, want); len(text) > 0 {
		t.Errorf("in the bucket:\n%s", strings.Join(text, "\n"))
	}
}

// writers are what people save files with: shell scripts that work in the directory $D with the study at $S, and the program that each needs.
func writers() map[string][2]string {
	return map[string][2]string{
		"cp -r":            {"cp", `cp -r "$S" .`},
		"cp -a":            {"cp", `cp -a "$S" . && cp -a data/code/run.sh run2.sh`},
		"cp over a copy":   {"cp", `cp -r "$S" . && sleep 1 && cp "$S/sub-02/events.tsv" data/code/run.sh && cp -r "$S" .`},
		"mv":               {"mv", `cp -r "$S" . && mv data/sub-02/events.tsv data/code/ && mv data/sub-01 data/sub-03 && mkdir other && mv data/code other/`},
		"mv into":          {"mv", `cp -r "$S" "$T/in" && mv "$T/in" moved`},
		"mv what is there": {"mv", `cp "$S/sub-02/events.tsv" a && cp "$S/code/run.sh" b && sleep 1.5 && mv a c && mv b c`},
		"rm":               {"rm", `cp -r "$S" . && sleep 1.5 && rm data/code/run.sh && rm -r data/sub-01 && mkdir kept`},
		"tar x":            {"tar", `tar -C "$S" -cf - . | tar --no-same-owner -xf -`},
		"git":              {"git", `git init -q . && git config user.email a@b.c && git config user.name n && cp -r "$S" . && git add -A && git -c gc.auto=0 commit -qm one && git fsck --strict && git status --porcelain && rm -rf .git`},
		"git clone":        {"git", `G="$T/git$$" && mkdir -p "$G" && cp -r "$S" "$G" && git -C "$G" init -q && git -C "$G" add -A && git -C "$G" -c user.email=a@b.c -c user.name=n commit -qm one && git clone -q "$G" clone && git -C clone fsck --strict && rm -rf clone/.git`},
		"dd":               {"dd", `dd if="$S/sub-01/func/run-300000.bin" of=f bs=7777 2>/dev/null && dd if="$S/code/run.sh" of=f bs=1 seek=1000 conv=notrunc 2>/dev/null && dd if="$S/code/run.sh" of=g bs=1 seek=100000 2>/dev/null`},
		"vim":              {"vim", `cp "$S/sub-02/events.tsv" . && vim -u NONE -e -s -c '%s/^5/five/' -c 'wq' events.tsv </dev/null && vim -u NONE -e -s -c 'set backup' -c '2d' -c wq events.tsv </dev/null; ls`},
		"ed":               {"ed", `cp "$S/sub-02/events.tsv" . && printf '2d\nw\nq\n' | ed -s events.tsv`},
		"sed -i":           {"sed", `cp "$S/sub-02/events.tsv" . && sed -i s/^7/seven/ events.tsv && sleep 1.5 && sed -i 3d events.tsv`},
		"shell appends":    {"sh", `for i in 1 2 3 4 5; do echo $i >> log; done; sleep 1.5; echo six >> log; : > empty; echo short > log2; echo s > log2`},
		"touch and chmod":  {"touch", `cp "$S/code/run.sh" . && touch -d '2020-01-02 03:04:05' run.sh && chmod 711 run.sh && touch new`},
		"truncate":         {"truncate", `truncate -s 100000 sparse && cp "$S/sub-02/events.tsv" . && sleep 1.5 && truncate -s 10 events.tsv`},
		"gio":              {"gio", `gio copy "$S/sub-02/events.tsv" events.tsv && gio copy "$S/sub-01/func/run-9000000.bin" big && gio mkdir d && gio move events.tsv d/events.tsv`},
		"many small":       {"sh", `mkdir m && for i in $(seq 100); do echo $i > m/$i; done`},
	}
}

// What each program saves is what it would have saved on a disk.
func TestWriters(t *testing.T) {
	l := newLab(t)
	t.Run("run", func(t *testing.T) {
		for name, w := range writers() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if _, err := exec.LookPath(w[0]); err != nil {
					t.Skipf("%s is not installed", w[0])
				}
				below := strings.ReplaceAll(name, " ", "-")
				for _, root := range []string{l.plain, l.mount} {
					dir := filepath.Join(root, below)
					r := l.e.Exec("sh", "-ec", `umask 022; mkdir "`+dir+`"; cd "`+dir+`"; D="`+dir+`" S="`+l.data+`" T="`+t.TempDir()+`"; `+w[1])
					if r.Code != 0 {
						t.Fatalf("in %s: exit %d\n%s%s", dir, r.Code, r.Out, r.Err)
					}
				}
			})
		}
	})
	l.same(t, "")
}

// scripts are Python programs that save, with the directory D.
func scripts() map[string][2]string {
	return map[string][2]string{
		"header patched": {"struct", `
import struct
with open(D + "/a.edf", "wb") as f:
    f.write(b"\0" * 16); f.write(b"data" * 50000); f.seek(8); f.write(struct.pack("<q", 50000))
with open(D + "/a.edf", "r+b") as f:
    f.seek(4); f.write(b"HEAD"); f.seek(0, 2); f.write(b"tail"); f.seek(0); assert f.read(8) == b"\0\0\0\0HEAD"
with open(D + "/a.edf", "ab") as f:
    f.write(b"more")`},
		"os.replace": {"os", `
import os, tempfile
for i in range(3):
    fd, name = tempfile.mkstemp(dir=D); os.write(fd, b"version %d" % i); os.fsync(fd); os.close(fd); os.chmod(name, 0o644); os.replace(name, D + "/state.json")`},
		"json": {"json", `
import json
json.dump({"a": list(range(10000))}, open(D + "/x.json", "w"))`},
		"to_csv": {"pandas", `
import pandas
pandas.DataFrame({"a": range(20000), "b": "x"}).to_csv(D + "/x.csv", index=False)
f = pandas.read_csv(D + "/x.csv"); f["c"] = f["a"] * 2; f.to_csv(D + "/x.csv", index=False); f.head(3).to_csv(D + "/x.csv", mode="a", header=False)`},
		"nibabel": {"nibabel", `
import nibabel, numpy
nibabel.save(nibabel.Nifti1Image(numpy.arange(32*32*20, dtype="int16").reshape(32, 32, 20), numpy.eye(4)), D + "/x.nii")`},
		"mmap": {"mmap", `
import mmap
with open(D + "/m", "w+b") as f:
    f.truncate(100000)
    m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b"hello"; m[99999:] = b"!"; m.flush(); m.close()`},
		"shutil": {"shutil", `
import shutil
shutil.copytree(S, D + "/t"); shutil.copy2(S + "/code/run.sh", D); shutil.move(D + "/t/code", D + "/code"); shutil.make_archive(D + "/z", "tar", S + "/code")`},
	}
}

func TestPythonWriters(t *testing.T) {
	l := newLab(t)
	const interpreter = "/usr/bin/python3"
	for name, s := range scripts() {
		t.Run(name, func(t *testing.T) {
			if exec.Command(interpreter, "-c", "import "+s[0]).Run() != nil {
				t.Skipf("%s has no %s", interpreter, s[0])
			}
			for _, root := range []string{l.plain, l.mount} {
				dir := filepath.Join(root, strings.ReplaceAll(name, " ", "-"))
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if r := l.e.Exec(interpreter, "-c", "import sys, os\nos.umask(0o22)\nD, S = sys.argv[1:]\n"+s[1], dir, l.data); r.Code != 0 {
					t.Fatalf("in %s: exit %d\n%s%s", dir, r.Code, r.Out, r.Err)
				}
			}
		})
	}
	l.same(t, "")
}

// rsync writes to a name of its own and renames, or writes in place. What is there already, of the same size and time, is not sent again: not by
// rsync, and not by the mount, even when it has been restarted.
func TestRsyncInto(t *testing.T) {
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip("rsync is not installed")
	}
	for _, flags := range [][]string{{"-rlt"}, {"-rlt", "--inplace"}, {"-a"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			l := newLab(t)
			for _, root := range []string{l.plain, l.mount} {
				if r := l.e.Exec("rsync", append(flags, l.data, root)...); r.Code != 0 {
					t.Fatalf("exit %d\n%s%s", r.Code, r.Out, r.Err)
				}
			}
			for _, restarted := range []bool{false, true} {
				l.srv.Reset()
				r := l.e.Exec("rsync", append(flags, "-i", l.data, l.mount)...)
				if r.Code != 0 || strings.Contains(r.Out, "f") {
					t.Errorf("again, restarted %v: exit %d, sent\n%s%s", restarted, r.Code, r.Out, r.Err)
				}
				if restarted {
					l.e.Drain(l.mount)
					for _, r := range l.srv.Requests() {
						if r.Op != "ListObjectsV2" {
							t.Errorf("again, restarted: %s %s", r.Op, r.Key)
						}
					}
				}
				if !restarted {
					l.same(t, "data") // mounts anew
				}
			}
		})
	}
}

// A database on a bucket: it works while it is staged, in the mode that needs no shared memory, and arrives whole.
func TestSQLite(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("sqlite3 is not installed")
	}
	l := newLab(t)
	if err := os.Mkdir(filepath.Join(l.plain, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(l.mount, "db"), 0o755); err != nil {
		t.Fatal(err)
	}
	sql := `create table t(a integer primary key, b text); with recursive n(i) as (select 1 union all select i+1 from n where i < 2000) insert into t select i, hex(i) from n;
		update t set b = 'x' where a % 7 = 0; delete from t where a % 11 = 0; select count(*), sum(a) from t; pragma integrity_check;`
	var out [2]string
	for i, root := range []string{l.plain, l.mount} {
		r := l.e.Exec("sqlite3", filepath.Join(root, "db", "x.sqlite"), sql)
		if r.Code != 0 {
			t.Fatalf("exit %d\n%s", r.Code, r.Err)
		}
		out[i] = r.Out
	}
	if out[0] != out[1] || !strings.Contains(out[1], "ok") {
		t.Errorf("%q, on a disk %q", out[1], out[0])
	}
	l.same(t, "db")
}
