package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// faulty are histories that touch each kind of call on the disk.
func faulty() [][]int {
	all := acts()
	at := func(name string) int { return slices.IndexFunc(all, func(a act) bool { return a.name == name }) }
	return [][]int{
		{at("create"), at("overwrite")},
		{at("fsync"), at("rename over")},
		{at("truncate"), at("rename directory")},
		{at("editor"), at("remove")},
		{at("mkdir"), at("chmod"), at("exchange")},
		{at("symlink"), at("write"), at("rename")},
	}
}

// A disk that fails one call must not make close report success for bytes that it does not have, nor take anything with it that was safe. So: each
// call of a history fails once; the program gives up at the first error, then the power is cut, and the stage is opened again.
func TestOneFailedCallLosesNothingSafe(t *testing.T) {
	for _, fault := range []error{unix.EIO, unix.ENOSPC, errShort} {
		for _, which := range faulty() {
			t.Run(fmt.Sprintf("%v %v", fault, which), func(t *testing.T) { failEach(t, which, 1, fault) })
		}
	}
}

// A disk that fails from some moment on.
func TestADiskThatGoesOnFailingLosesNothingSafe(t *testing.T) {
	for _, fault := range []error{unix.EIO, unix.ENOSPC} {
		for _, which := range faulty()[:3] {
			t.Run(fmt.Sprintf("%v %v", fault, which), func(t *testing.T) { failEach(t, which, 1<<30, fault) })
		}
	}
}

// failEach fails times calls from each on; in a short run, from every fifth. Mostly it waits for the disk, so it does so beside others.
func failEach(t *testing.T, which []int, times int, fault error) {
	t.Parallel()
	n, step := 0, 1
	if testing.Short() {
		n, step = len(t.Name())%5, 5
	}
	for !failAt(t, which, n, times, fault) && !t.Failed() {
		n += step
	}
}

// failAt fails some calls from the n-th on, and reports whether the history ended before.
func failAt(t *testing.T, which []int, n, times int, fault error) (done bool) {
	t.Helper()
	hit, failed := false, op{}
	rec := &recorder{}
	rec.fail = func(at int, o op) error {
		if at < n || at >= n+times || errors.Is(fault, errShort) && o.kind != opWrite {
			return nil
		}
		if errors.Is(fault, unix.ENOSPC) && (o.kind == opRead || o.kind == opOpen || o.kind == opRemove) {
			return nil // a full disk does these
		}
		if !hit {
			hit, failed = true, o
		}
		return fault
	}
	calls := func() int {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		return rec.calls
	}
	dir := fastDir(t)
	defer os.RemoveAll(dir)
	w, err := openWorld(t, dir, rec)
	if err != nil {
		if !hit {
			t.Fatal(err)
		}
		return false // nothing was promised
	}
	name, do := history(which)
	do(w)
	if calls() <= n {
		w.end()
		return true
	}
	if w.err != nil && !hit {
		t.Fatalf("%s: %v", name, w.err)
	}
	ops, before := rec.log(), moment{what: w.now}
	w.end()
	after := before
	if w.err != nil {
		after.what = w.trying
	}
	disk := newSimDisk()
	for _, o := range ops {
		disk.apply(o)
	}
	for _, f := range []fate{{"all lost", none, lost}, {"all kept", all, contentOf}} {
		if why := lookAfterFault(t, disk.crash(f), before, after, failed); why != "" {
			t.Errorf("%s: call %d, %v, fails (%v); the program is told: %v; then, %s: %s", name, n, failed, fault, w.err, f.name, why)
		}
	}
	return false
}

// lookAfterFault compares. What the disk has failed may be put aside, as long as it is still listed and the program was told.
func lookAfterFault(t *testing.T, tree map[string]*simFile, before, after moment, failed op) string {
	t.Helper()
	dir := layOut(t, tree)
	defer os.RemoveAll(dir)
	is, err := survey(t, dir, &recorder{})
	if err != nil {
		return err.Error()
	}
	why := judge(is, before.what, after.what)
	if why == "" {
		return ""
	}
	for id, f := range is { // a file whose sync failed is put aside with all its bytes
		it, ok := before.what[id]
		if f.State == Quarantined && ok && failed.path == fileName(id) && it.dirty() {
			f.State, f.Name = Staged, it.name
			raw, err := readStaged(dir + "/" + fileName(id))
			if err != nil {
				return err.Error()
			}
			if f.bytes = raw; !it.sealed {
				f.State = Orphan
			}
			is[id] = f
		}
	}
	return judge(is, before.what, after.what)
}

// Before Linux 6.13, times of files tick every few milliseconds. A program that patched a header right after fsync had it neither synced by close,
// nor, in a file that had just been copied from the source to be changed, kept at all.
func TestAWriteWithinOneTickIsSeen(t *testing.T) {
	dir, rec := fastDir(t), &recorder{}
	w, err := openWorld(t, dir, rec)
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	tick := time.Now().Truncate(time.Second)
	sameTick := func(id ID) {
		if err := os.Chtimes(filepath.Join(dir, fileName(id)), tick, tick); err != nil {
			t.Fatal(err)
		}
	}
	syncs := func(f *File) (n int) {
		for _, o := range rec.log() {
			if o.kind == opSyncAll && o.path == fileName(f.ID()) { // with the label, once for each seal
				n++
			}
		}
		return n
	}
	f := w.create("a")
	for want := 1; want < 4; want++ {
		w.write(f, 0, 100)
		sameTick(f.ID())
		w.flush(f)
		w.flush(f)
		if n := syncs(f); n != want {
			t.Fatalf("synced %d times after %d writes", n, want)
		}
	}
	if got := f.Info().Attr.ModTime; !got.Equal(tick) {
		t.Errorf("the file shows the time %v, not %v", got, tick)
	}
	w.close(f)

	copied := func(name string) (ID, *File) {
		n, err := w.s.Replace(t.Context(), backends.Entry{Name: name, Size: 3, Version: "1"}, Attr{Mode: 0o600}, func(_ context.Context, to io.WriterAt) error {
			_, err := to.WriteAt([]byte("old"), 0)
			return err
		}, func(ID) {})
		if err != nil {
			t.Fatal(err)
		}
		f, err := w.s.OpenFile(t.Context(), n.ID, true)
		if err != nil {
			t.Fatal(err)
		}
		return n.ID, f
	}
	id, f := copied("b")
	l, err := f.f.look()
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("new"), 0)
	tick = time.Unix(0, l.MTime+1) // the time of the copy, before it was notched
	sameTick(id)
	f.Close()
	if _, ok := w.s.Lookup("b"); !ok {
		t.Error("what was written was thrown away")
	}
	_, f = copied("c")
	f.Close()
	if _, ok := w.s.Lookup("c"); ok {
		t.Error("a copy that nobody has changed stays")
	}
}
