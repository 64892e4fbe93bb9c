package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage/gate"
)

// A second process that used the same stage would upload half of what the first one writes.
func TestOneProcessPerStage(t *testing.T) {
	b := newBench(t, nil)
	if _, err := Open(Options{Dir: b.dir, Key: testKey()}); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	b.must(b.Close())
	openBench(t, b.dir, nil)
}

// store ends one job after the other until ctx ends.
func (b *bench) store(ctx context.Context) {
	for {
		j, err := b.Next(ctx)
		if err != nil {
			return
		}
		if err := j.Stored(backends.Entry{Name: j.Name, Size: j.Size, Dir: j.Kind == Dir, Version: "1"}, nil); err != nil {
			b.t.Error(err)
		}
	}
}

// Whoever waits for the uploads does not wait for the time of quiet as well.
func TestWaitSkipsTheQuiet(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	b.file("a/x", "1")
	b.file("b/x", "1")
	go b.store(t.Context())
	b.must(b.Wait(t.Context(), "a"))
	if n := b.Totals(); n.Stored != 1 || n.Left() != 1 {
		t.Fatalf("%+v", n)
	}
	b.must(b.Wait(t.Context(), ""))
	if n := b.Totals(); n.Stored != 2 || n.Left() != 0 {
		t.Fatalf("%+v", n)
	}
}

// With Remote, close returns when the file is stored, and the handle can go on writing.
func TestRemoteCloseWaits(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet, o.Durability = time.Hour, Remote })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go b.store(ctx)
	f := b.write("a", "one")
	for range 2 {
		b.must(f.Flush(ctx))
	}
	if n := b.Totals(); n.Stored != 1 {
		t.Fatalf("stored %d times", n.Stored)
	}
	_, err := f.WriteAt([]byte("two"), 3)
	b.must(err)
	b.must(f.Flush(ctx))
	if n := b.Totals(); n.Stored != 2 {
		t.Fatalf("stored %d times", n.Stored)
	}
	b.must(f.Close())
	if all := b.Items(); len(all) != 0 {
		t.Fatalf("left: %+v", all)
	}
}

// With Remote, a close whose file cannot be stored says so.
func TestRemoteCloseTellsOfConflicts(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Durability = Remote })
	f := b.write("a", "one")
	done := make(chan error)
	go func() { done <- f.Flush(t.Context()) }()
	b.must(b.job().Conflict("somebody else has written it"))
	if err := <-done; !errors.Is(err, syscall.EIO) {
		t.Fatalf("close: %v", err)
	}
	b.must(f.Close())
}

// Relaxed leaves the syncs out of close; an orderly end makes up for it.
func TestRelaxedIsSafeAfterAnOrderlyEnd(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Durability, o.Quiet = Relaxed, time.Hour })
	b.file("a", "text")
	b.must(b.Close())
	b = openBench(t, b.dir, nil)
	if got := b.content("a"); got != "text" {
		t.Fatalf("it holds %q", got)
	}
}

// After a mount had uploaded as much as may wait at once, every program was told that the disk is full, though nothing waited any more.
func TestWhatIsStoredLeavesTheQuota(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quota = 1 << 20 })
	go b.store(t.Context())
	for range 4 {
		b.file("a", strings.Repeat("x", 400<<10))
		b.must(b.Wait(t.Context(), ""))
		b.room.look()
	}
	b.file("kept", "x")
	b.must(b.Remove(t.Context(), "kept"))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used != 0 {
		t.Errorf("%d bytes count as waiting", b.used)
	}
}

// A full stage says so before anything is written, not at close.
func TestQuota(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quota, o.Quiet = 1<<20, time.Hour })
	f, err := b.Create("big", Attr{Mode: 0o644}, backends.Entry{})
	b.must(err)
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 1<<19), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1<<20), 1<<19); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("write above the quota: %v", err)
	}
	b.must(f.Flush(t.Context()))
}

// Names that are not as the profile wants them are kept here, with the reason, and go on once they are renamed.
func TestParkedUntilRenamed(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Gate = gate.Strict })
	b.file("sub-01/anat/T1.nii.gz", "image")
	b.nothingDue()
	all := b.Items()
	if len(all) != 1 || all[0].State != Parked || all[0].Err == "" {
		t.Fatalf("%+v", all)
	}
	b.must(b.Rename(t.Context(), "sub-01/anat/T1.nii.gz", "sub-01/anat/sub-01_T1w.nii.gz", backends.Entry{}, false))
	b.must(b.job().Release())
}

// What the disk has damaged in the middle of the journal is parked where it may be outdated; what came later goes on.
func TestDamagedJournal(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	for _, name := range []string{"a", "b", "c"} {
		b.file(name, "text of "+name)
	}
	b.must(b.Close())
	path := filepath.Join(b.dir, journalName)
	raw, err := os.ReadFile(path)
	b.must(err)
	records := replay(raw).records
	_, first := decodeRecord(raw)
	raw[first+recordHead+20] ^= 1 // in the second of them
	b.must(os.WriteFile(path, raw, 0o600))
	b = openBench(t, b.dir, nil)
	if len(records) < 4 {
		t.Fatalf("%d records", len(records))
	}
	for _, name := range []string{"a", "b", "c"} {
		if got := b.content(name); got != "text of "+name {
			t.Fatalf("%s holds %q", name, got)
		}
	}
	kept, err := os.ReadDir(filepath.Join(b.dir, quarantineDir))
	b.must(err)
	if len(kept) != 1 {
		t.Errorf("the damaged journal was not kept: %v", kept)
	}
}

// An orphan becomes a file when somebody says so.
func TestOrphans(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	b.write("a", "half")
	b = b.crash()
	all := b.Items()
	if len(all) != 1 || all[0].State != Orphan {
		t.Fatalf("%+v", all)
	}
	b.nothingDue()
	b.must(b.Adopt(all[0].ID, "a.recovered"))
	if got := b.content("a.recovered"); got != "half" {
		t.Fatalf("it holds %q", got)
	}
	j := b.job()
	if j.Name != "a.recovered" {
		t.Fatalf("handed out: %+v", j.Info)
	}
	b.must(j.Release())
}

// The times that programs set stay, those of later writes count.
func TestTimes(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	f := b.write("a", "1")
	then := time.Date(2020, 2, 3, 4, 5, 6, 7, time.UTC)
	_, err := b.SetAttr(f.ID(), func(a *Attr) { a.ModTime = then })
	b.must(err)
	b.must(f.Flush(t.Context()))
	if n, _ := b.Lookup("a"); !n.Attr.ModTime.Equal(then) {
		t.Errorf("%v is shown", n.Attr.ModTime)
	}
	b.must(f.Close())
	b = b.crash()
	n, _ := b.Lookup("a")
	if f, err = b.OpenFile(t.Context(), n.ID, true); err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("2"), 0)
	b.must(err)
	if n, _ := b.Lookup("a"); n.Attr.ModTime.Before(then.AddDate(1, 0, 0)) {
		t.Errorf("%v is shown of a file that was just written", n.Attr.ModTime)
	}
	b.must(f.Close())
}
