package stage

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
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
			t.Run(fmt.Sprintf("%v %v", fault, which), func(t *testing.T) {
				for n := 0; ; n++ {
					if done := failAt(t, which, n, 1, fault); done || t.Failed() {
						return
					}
				}
			})
		}
	}
}

// A disk that fails from some moment on.
func TestADiskThatGoesOnFailingLosesNothingSafe(t *testing.T) {
	for _, fault := range []error{unix.EIO, unix.ENOSPC} {
		for _, which := range faulty()[:3] {
			for n := 0; ; n++ {
				if done := failAt(t, which, n, 1<<30, fault); done || t.Failed() {
					break
				}
			}
		}
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
			raw, err := os.ReadFile(dir + "/" + fileName(id))
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
