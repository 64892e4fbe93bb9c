package s3

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/s3/s3test"
)

// archive is a store with a clock of its own for restores.
type archive struct {
	*s3test.Server
	src *Source
	mu  sync.Mutex // guards now
	now time.Time
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	a := &archive{now: time.Date(2026, 10, 31, 22, 30, 0, 0, time.UTC)}
	o := s3test.Options{RestoreNow: func() time.Time {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.now
	}}
	a.Server, a.src = writable(t, o, nil)
	return a
}

func (a *archive) wait(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now = a.now.Add(d)
}

func (a *archive) add(name, class string) {
	o := s3test.Bytes([]byte("brain"))
	o.Class = class
	a.Put("study", "v2/001/"+name, o)
}

// entry is what the listing says of a name.
func (a *archive) entry(t *testing.T, name string) backends.Entry {
	t.Helper()
	page, err := a.src.WalkPage(t.Context(), "", "")
	i := slices.IndexFunc(page.Entries, func(e backends.Entry) bool { return e.Name == name })
	if err != nil || i < 0 {
		t.Fatal(err, page)
	}
	return page.Entries[i]
}

// A recording is asked for, is there after the hours that were told, reads like any other, and is gone again when its days are over:
// nobody has to look at anything but the listing.
func TestRestoreFromBeginningToEnd(t *testing.T) {
	a := newArchive(t)
	a.add("a.edf", "DEEP_ARCHIVE")
	e := a.entry(t, "a.edf")
	if e.Tier != backends.Archived || e.Size != 5 || e.Class != "DEEP_ARCHIVE" {
		t.Fatalf("%+v", e)
	}
	step := func(what string, want, told backends.Tier) {
		t.Helper()
		got, err := a.src.Restore(t.Context(), e, 3, backends.RestoreBulk)
		if err != nil || got != told {
			t.Errorf("%s: asked: %d, %v", what, got, err)
		}
		now := a.entry(t, "a.edf")
		if now.Tier != want {
			t.Errorf("%s: listed as %d", what, now.Tier)
		}
		if _, err := read(a.src, now, 0, 5); (err == nil) != (want == backends.Online) || err != nil && !errors.Is(err, backends.ErrArchived) {
			t.Errorf("%s: read: %v", what, err)
		}
	}
	step("asked for", backends.Restoring, backends.Restoring)
	step("asked for again", backends.Restoring, backends.Restoring) // 409 is no failure
	a.wait(48 * time.Hour)
	step("there", backends.Online, backends.Online)
	a.wait(3*24*time.Hour + time.Hour) // until 2026-11-05 22:30, but copies go at midnight
	if now := a.entry(t, "a.edf"); now.Tier != backends.Online {
		t.Error("gone before midnight")
	}
	a.wait(time.Hour)
	if now := a.entry(t, "a.edf"); now.Tier != backends.Archived {
		t.Error("an expired copy is listed as readable")
	}
	if n := a.Count("HeadObject"); n != 0 {
		t.Errorf("%d HEAD requests", n)
	}
}

// Whoever waits for a slow restore can pay for a faster one. The other way round nothing changes.
func TestFasterRestore(t *testing.T) {
	a := newArchive(t)
	a.add("a.edf", "GLACIER")
	e := a.entry(t, "a.edf")
	for _, tier := range []string{backends.RestoreBulk, backends.RestoreExpedited, backends.RestoreStandard} {
		if got, err := a.src.Restore(t.Context(), e, 1, tier); err != nil || got != backends.Restoring {
			t.Errorf("%s: %d, %v", tier, got, err)
		}
	}
	a.wait(5 * time.Minute)
	if now := a.entry(t, "a.edf"); now.Tier != backends.Online {
		t.Errorf("after 5 minutes: %d", now.Tier)
	}
}

// INTELLIGENT_TIERING is restored without days, for good; its listing does not tell that it is archived, looking at it does.
func TestRestoreOfIntelligentTiering(t *testing.T) {
	a := newArchive(t)
	o := s3test.Bytes([]byte("brain"))
	o.Class, o.Archive = "INTELLIGENT_TIERING", "DEEP_ARCHIVE_ACCESS"
	a.Put("study", "v2/001/a.edf", o)
	look := func() backends.Tier {
		st, err := a.src.Examine(t.Context(), "a.edf")
		if err != nil {
			t.Fatal(err)
		}
		return st.Entry.Tier
	}
	e := a.entry(t, "a.edf")
	if _, err := read(a.src, e, 0, 5); !errors.Is(err, backends.ErrArchived) || look() != backends.Archived {
		t.Errorf("before: %v, %d", err, look())
	}
	if got, err := a.src.Restore(t.Context(), e, 7, backends.RestoreStandard); err != nil || got != backends.Restoring {
		t.Errorf("%d, %v", got, err)
	}
	if got := look(); got != backends.Restoring {
		t.Errorf("under way: %d", got)
	}
	a.wait(1000 * time.Hour)
	if _, err := read(a.src, e, 0, 5); err != nil || look() != backends.Online {
		t.Errorf("after: %v, %d", err, look())
	}
}

// What cannot be restored as asked is an error that says so, and no request is repeated for half a minute because of it.
func TestRestoresThatCannotBe(t *testing.T) {
	a := newArchive(t)
	a.add("deep", "DEEP_ARCHIVE")
	a.add("plain", "")
	a.add("cold", "GLACIER")
	if _, err := a.src.Restore(t.Context(), a.entry(t, "deep"), 1, backends.RestoreExpedited); !errors.Is(err, backends.ErrTier) {
		t.Errorf("expedited from the deep archive: %v", err)
	}
	if got, err := a.src.Restore(t.Context(), a.entry(t, "plain"), 1, backends.RestoreBulk); err != nil || got != backends.Online {
		t.Errorf("what was never archived: %d, %v", got, err)
	}
	gone := a.entry(t, "cold")
	gone.Name = "gone"
	if _, err := a.src.Restore(t.Context(), gone, 1, backends.RestoreBulk); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("what is gone: %v", err)
	}
	a.Inject(s3test.Rule{Fault: s3test.NoCapacity})
	if _, err := a.src.Restore(t.Context(), a.entry(t, "cold"), 1, backends.RestoreExpedited); !errors.Is(err, backends.ErrTier) {
		t.Errorf("no capacity: %v", err)
	}
	before := a.Count("")
	for _, bad := range []struct {
		days int
		tier string
	}{{0, "bulk"}, {-1, "bulk"}, {1, "Bulk"}, {1, ""}, {1 << 20, "bulk"}} {
		if _, err := a.src.Restore(t.Context(), gone, bad.days, bad.tier); err == nil {
			t.Errorf("%+v was sent", bad)
		}
	}
	if a.Count("") != before {
		t.Error("a nonsensical restore was sent")
	}
}

// A fault on the way costs a repetition and never a second restore, and a login page is not taken for a copy that lies there.
func TestRestoreUnderFaults(t *testing.T) {
	for _, fault := range []s3test.Fault{s3test.SlowDown, s3test.InternalError, s3test.Refuse, s3test.Lost, s3test.Garbage, s3test.Conflict, s3test.Truncate, s3test.Reset} {
		t.Run(string(fault), func(t *testing.T) {
			a := newArchive(t)
			a.add("a.edf", "GLACIER")
			a.Inject(s3test.Rule{Op: s3test.OpRestore, Fault: fault, Times: 1})
			got, err := a.src.Restore(t.Context(), a.entry(t, "a.edf"), 1, backends.RestoreBulk)
			if err != nil || got != backends.Restoring {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
	a := newArchive(t)
	a.add("a.edf", "GLACIER")
	a.Inject(s3test.Rule{Op: s3test.OpRestore, Fault: s3test.AccessDenied})
	if _, err := a.src.Restore(t.Context(), a.entry(t, "a.edf"), 1, backends.RestoreBulk); !errors.Is(err, backends.ErrPermission) || a.Count(s3test.OpRestore) != 1 {
		t.Errorf("%v after %d requests", err, a.Count(s3test.OpRestore))
	}
}
