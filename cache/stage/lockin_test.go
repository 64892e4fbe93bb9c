package stage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
	"studyfs/cache/stage/gate"
)

// marker is what names a patient.
const marker = "Doe^Jane"

func someKey(c byte) []byte { return bytes.Repeat([]byte{c}, keySize) }

// fingerprints of all files below a directory, but for the lock, which names a process.
func fingerprints(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == lockName || e.Name() == ballastName {
			return err
		}
		raw, err := os.ReadFile(path)
		out[path] = fmt.Sprintf("%x", sha256.Sum256(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// marked returns how often marker stands in files and names below a directory.
func marked(t *testing.T, dir string) (n int) {
	t.Helper()
	for path := range fingerprints(t, dir) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		label := make([]byte, maxLabel)
		size, err := unix.Lgetxattr(path, labelAttr, label)
		if err != nil {
			size = 0
		}
		n += strings.Count(path+string(raw)+string(label[:size]), marker)
	}
	return n
}

// busy fills a stage with what names a patient: names, attributes, targets, contents, reasons. Nothing of it is stored.
func busy(b *bench) {
	t := b.t
	for i := range 5 {
		name := fmt.Sprintf("%s-dir/%s-%d.edf", marker, marker, i)
		b.file(name, strings.Repeat(marker+" ", 3000))
		n, _ := b.Lookup(name)
		_, err := b.SetAttr(n.ID, func(a *Attr) { a.XAttrs = map[string]string{"user." + marker: marker} })
		b.must(err)
	}
	_, err := b.Mkdir(marker+"/below", Attr{Mode: 0o755})
	b.must(err)
	_, err = b.Symlink(marker+"-link", "../"+marker, Attr{Mode: 0o777}, backends.Entry{})
	b.must(err)
	b.must(b.Rename(t.Context(), marker+"-dir", marker+"-moved", backends.Entry{}, false))
	f, err := b.Create(marker+"-open", Attr{Mode: 0o600}, backends.Entry{})
	b.must(err)
	_, err = f.WriteAt([]byte(marker), 5000)
	b.must(err)
	b.must(f.Sync(t.Context()))
	_, err = f.WriteAt([]byte(marker+" again"), 100)
	b.must(err)
	b.must(f.Close())
	e := backends.Entry{Name: marker + "-stored", Size: int64(len(marker)), Version: marker + "-version"}
	_, err = b.Replace(t.Context(), e, Attr{Mode: 0o600}, func(_ context.Context, w io.WriterAt) error {
		_, err := w.WriteAt([]byte(marker), 0)
		return err
	}, func(ID) {})
	b.must(err)
	b.Hasten()
	j := b.job()
	b.must(j.Checkpoint([]byte(marker)))
	b.must(j.Fail(marker + " was refused"))
}

// A thief of the disk, or whoever reads a backup, learns nothing of the files that wait: not from them, their names, the journal, the sidecars, nor from the log.
func TestNothingOfAnEncryptedStageLiesInClear(t *testing.T) {
	var log bytes.Buffer
	options := func(o *Options) {
		o.Key, o.Target, o.Quiet = someKey('k'), marker, time.Hour
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b := newBench(t, options)
	busy(b)
	if n := marked(t, b.dir); n > 0 {
		t.Errorf("%d markers while it is open", n)
	}
	b.must(b.Close())
	b = openBench(t, b.dir, options)
	if n, ok := b.Lookup(marker + "-moved/" + marker + "-3.edf"); !ok || b.content(n.Name) != strings.Repeat(marker+" ", 3000) {
		t.Errorf("a file is not there again: %+v", n)
	}
	b.must(b.Close())
	if n := marked(t, b.dir); n > 0 {
		t.Errorf("%d markers at the end", n)
	}
	if strings.Contains(log.String(), marker) {
		t.Errorf("the log names it: %s", log.String())
	}
}

// Somebody starts without the key, or with another one: it is said, and nothing is changed or lost.
func TestWithoutItsKeyNothingIsTouched(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Key, o.Quiet = someKey('k'), time.Hour })
	busy(b)
	b.must(b.Close())
	dir := b.dir
	before := fingerprints(t, dir)
	for _, c := range []struct {
		key  []byte
		want error
	}{{nil, ErrNoKey}, {someKey('x'), ErrKey}} {
		if s, err := Open(Options{Dir: dir, Key: c.key}); !errors.Is(err, c.want) {
			t.Errorf("open: %v, %v", s, err)
		}
		if text, err := Target(dir, c.key); !errors.Is(err, c.want) || text != "" {
			t.Errorf("target: %q, %v", text, err)
		}
	}
	if _, err := Open(Options{Dir: dir, Key: []byte("short")}); err == nil {
		t.Error("a short key is taken")
	}
	if after := fingerprints(t, dir); !maps.Equal(before, after) {
		t.Errorf("something was changed: %v, was %v", after, before)
	}
	if text, err := Target(dir, someKey('k')); text != "s3://study" || err != nil || !Encrypted(dir) {
		t.Errorf("target: %q, %v, encrypted %v", text, err, Encrypted(dir))
	}
	b.must(os.Remove(filepath.Join(dir, headerName))) // and a lost header changes nothing about that
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a header: %v", err)
	}
}

// A lab switches encryption on while files wait: none is lost, and none is in clear any more, whenever the power fails meanwhile.
func TestAClearStageIsEncryptedWhole(t *testing.T) {
	if testKey() != nil {
		t.Skip("it begins in clear")
	}
	w := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	busy(w)
	w.must(w.Close())
	if marked(t, w.dir) == 0 {
		t.Fatal("this test finds nothing")
	}
	tree := map[string]*simFile{}
	for _, sub := range []string{"", filesDir} {
		all, err := os.ReadDir(filepath.Join(w.dir, sub))
		w.must(err)
		for _, e := range all {
			if path := filepath.Join(sub, e.Name()); e.IsDir() {
				tree[path] = &simFile{dir: true}
			} else if e.Name() != lockName && e.Name() != ballastName {
				raw, err := os.ReadFile(filepath.Join(w.dir, path))
				w.must(err)
				tree[path] = &simFile{data: raw}
			}
		}
	}
	open := func(dir string, rec *recorder) *bench {
		return openBench(t, dir, func(o *Options) { o.Key, o.hook, o.Quiet = someKey('k'), rec.hook, time.Hour })
	}
	check := func(dir, when string) {
		b := open(dir, &recorder{})
		for i := range 5 {
			name := fmt.Sprintf("%s-moved/%s-%d.edf", marker, marker, i)
			if n, ok := b.Lookup(name); !ok || b.content(name) != strings.Repeat(marker+" ", 3000) || n.Attr.XAttrs["user."+marker] != marker {
				t.Errorf("%s: %s: %v %+v", when, name, ok, n)
			}
		}
		b.must(b.Close())
		if n := marked(t, dir); n > 0 {
			t.Errorf("%s: %d markers", when, n)
		}
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrNoKey) {
			t.Errorf("%s: opened without the key: %v", when, err)
		}
	}
	rec := &recorder{}
	dir := layOut(t, tree)
	b := open(dir, rec)
	ops := rec.log()
	b.must(b.Close())
	check(dir, "in the end")
	disk := loadSim(tree)
	for n, o := range ops {
		disk.apply(o)
		if n%29 > 0 && os.Getenv("STUDYFS_FULL") == "" {
			continue
		}
		for _, f := range []fate{{"all lost", none, lost}, {"all kept", all, contentOf}, {"data kept", none, contentOf}} {
			check(layOut(t, disk.crash(f)), fmt.Sprintf("%s after %v", f.name, o))
		}
		if t.Failed() {
			return
		}
	}
}

// No room to encrypt what waits: it stays as it is, goes on, and is encrypted the next time.
func TestAFullDiskPutsEncryptionOff(t *testing.T) {
	if testKey() != nil {
		t.Skip("it begins in clear")
	}
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	b.file("a", "text")
	b.must(b.Close())
	rec := &recorder{fail: func(_ int, o op) error {
		if o.kind == opWrite && strings.HasSuffix(o.path, tempExt) && strings.HasPrefix(o.path, fileName(1)) {
			return ErrNoRoom
		}
		return nil
	}}
	for _, hook := range []func(op) error{rec.hook, nil} {
		b = openBench(t, b.dir, func(o *Options) { o.Key, o.hook = someKey('k'), hook })
		if got := b.content("a"); got != "text" {
			t.Errorf("%q", got)
		}
		if left := b.disk.keys.clear; left != (hook != nil) {
			t.Errorf("in clear: %v", left)
		}
		b.must(b.Close())
	}
}

// A staged file that the disk has damaged is never sent, and nobody reads wrong bytes of it.
func TestDamagedEncryptedFilesAreNotSent(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Key = someKey('k') })
	id := b.file("a", strings.Repeat("text", 5000))
	path := filepath.Join(b.dir, fileName(id))
	st, err := os.Stat(path)
	b.must(err)
	raw, err := os.ReadFile(path)
	b.must(err)
	raw[4096+5000] ^= 1
	b.must(os.WriteFile(path, raw, 0o600))
	b.must(os.Chtimes(path, st.ModTime(), st.ModTime()))
	f, err := b.OpenFile(t.Context(), id, false)
	b.must(err)
	if n, err := f.ReadAt(make([]byte, 20000), 0); err == nil || n > 4096 {
		t.Errorf("%d bytes, %v", n, err)
	}
	b.must(f.Close())
	b.Hasten()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if j, err := b.Next(ctx); err == nil {
		t.Errorf("it is handed out: %+v", j)
	}
}

// What goes out in the place of a file is encrypted like it.
func TestTheScrubbedFileIsEncrypted(t *testing.T) {
	rules := someRules(t, gate.Scrub)
	b := newBench(t, func(o *Options) { o.Key, o.Rules = someKey('k'), rules })
	b.must(b.close(b.write(good, recording(true))))
	j := b.job()
	sent, err := io.ReadAll(io.NewSectionReader(j.Body(), 0, j.Size))
	b.must(err)
	if string(sent) == recording(true) || len(sent) != len(recording(true)) {
		t.Error("what is sent was not scrubbed")
	}
	for path := range fingerprints(t, b.dir) {
		if raw, err := os.ReadFile(path); err != nil || bytes.Contains(raw, sent[200:240]) {
			t.Errorf("%s is in clear, %v", filepath.Base(path), err)
		}
	}
	b.must(j.Release())
}
