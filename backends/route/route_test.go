package route

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/mem"
)

// rig is a route over four stores in memory.
type rig struct {
	*Source
	t     *testing.T
	at    map[string]*mem.Source
	state string
	key   []byte
	now   time.Time
}

func newRig(t *testing.T, endings ...string) *rig {
	t.Helper()
	r := &rig{t: t, at: map[string]*mem.Source{}, state: t.TempDir(), now: time.Unix(1_700_000_000, 0)}
	for _, name := range []string{"video", "edf", "archive", "nas"} {
		r.at[name] = mem.New(3)
		r.at[name].SetPartSize(8)
	}
	if len(endings) == 0 {
		endings = []string{".avi"}
	}
	r.open(endings...)
	return r
}

// open is a process that begins.
func (r *rig) open(endings ...string) {
	r.t.Helper()
	s, err := New(Options{
		State: r.state, Key: r.key, Now: func() time.Time { r.now = r.now.Add(time.Second); return r.now },
		Targets: []Target{
			{Name: "video", Source: r.at["video"], Endings: endings},
			{Name: "edf", Source: r.at["edf"]},
			{Name: "archive", Source: r.at["archive"], Copy: true, Class: "DEEP_ARCHIVE"},
			{Name: "nas", Source: r.at["nas"], Copy: true},
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Source = s
	r.t.Cleanup(func() { s.Close() })
}

// holding are the targets that have exactly these bytes under a name.
func (r *rig) holding(name, body string) (names []string) {
	for _, n := range slices.Sorted(maps.Keys(r.at)) {
		if b, ok := r.at[n].Bytes(name); ok && string(b) == body {
			names = append(names, n)
		}
	}
	return names
}

func (r *rig) wantAt(name, body string, want ...string) {
	r.t.Helper()
	if got := r.holding(name, body); !slices.Equal(got, want) {
		r.t.Errorf("%s is %q at %q, want %q", name, body, got, want)
	}
}

func (r *rig) mustPut(name, body string, old backends.Entry) backends.Entry {
	r.t.Helper()
	u := backendtest.Upload(name, []byte(body))
	u.Old = old
	e, err := r.Put(r.t.Context(), u, strings.NewReader(body))
	if err != nil {
		r.t.Fatalf("put %s: %v", name, err)
	}
	return e
}

// bodies counts requests with bytes of files in them, at each target.
func (r *rig) bodies() map[string]int {
	n := map[string]int{}
	for name, m := range r.at {
		for _, op := range m.Log() {
			if op.Name == "put" || op.Name == "part" {
				n[name]++
			}
		}
	}
	return n
}

// All rules of sources and writers hold, whichever primary a name is for.
func TestConformance(t *testing.T) {
	for _, endings := range [][]string{{".none"}, {"f", "b", "a-1", "a/c/d", "z", "k", "x", "é", "+", "日本", "empty"}} {
		backendtest.Run(t, func(t *testing.T) backendtest.Harness {
			r := newRig(t, endings...)
			return backendtest.Harness{
				Source: r.Source, Odd: true, Writes: true, Sizes: []int64{7, 8, 9, 23, 24, 25},
				Put: func(key string, body []byte) {
					r.at[r.o.Targets[r.plan(key).primary].Name].PutBytes(key, body)
				},
				Remove: func(key string) {
					for _, m := range r.at {
						m.Delete(key)
					}
				},
			}
		})
	}
}

func TestPlan(t *testing.T) {
	targets := []Target{{Name: "nas", Copy: true}, {Name: "video", Endings: []string{".avi", ".mp4"}}, {Name: "edf"}, {Name: "archive", Copy: true}}
	for name, primary := range map[string]string{
		"a1/a1_3/a1_3_0001.avi": "video", "a1/A.AVI": "video", "x.mp4": "video", "a1/x.avi.enc": "video", "avi": "edf", "a.avi/x": "edf", "a.avi.txt": "edf",
		"a1/a1_1.edf": "edf", "a1/.avi": "video", "": "edf", "a1/x.avi.rclonelink": "edf",
	} {
		p := planFor(targets, name)
		if got := targets[p.primary].Name; got != primary || !slices.Equal(p.copies, []int{0, 3}) {
			t.Errorf("%q: %s, %v; want %s", name, got, p.copies, primary)
		}
	}
}

func TestTargetsMustFit(t *testing.T) {
	for what, all := range map[string][]Target{
		"none": {}, "only copies": {{Name: "a", Copy: true}}, "two for the rest": {{Name: "a"}, {Name: "b"}}, "one name twice": {{Name: "a"}, {Name: "a", Copy: true}},
		"no name": {{}}, "a colon": {{Name: "a:b"}},
	} {
		if _, err := New(Options{Targets: all}); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// A patient's folder holds videos and recordings, which lie in two buckets: it is one folder.
func TestOneTree(t *testing.T) {
	r := newRig(t)
	r.mustPut("a1/day/v.avi", "video", backends.Entry{})
	r.mustPut("a1/day/r.edf", "recording", backends.Entry{})
	r.wantAt("a1/day/v.avi", "video", "archive", "nas", "video")
	r.wantAt("a1/day/r.edf", "recording", "archive", "edf", "nas")
	r.at["nas"].PutBytes("a1/day/only at the NAS", nil)
	r.at["edf"].PutBytes("a1/day/old.avi", []byte("stored before there were two buckets"))
	var got []string
	for e, err := range r.List(t.Context(), "a1/day") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name+" "+strings.Split(e.Version, ":")[0])
	}
	if want := []string{"a1/day/old.avi edf", "a1/day/r.edf edf", "a1/day/v.avi video"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	old, err := r.Stat(t.Context(), "a1/day/old.avi")
	if err != nil {
		t.Fatal(err)
	}
	r.mustPut("a1/day/old.avi", "new", old)
	r.wantAt("a1/day/old.avi", "new", "archive", "nas", "video")
	if _, left := r.at["edf"].Bytes("a1/day/old.avi"); left {
		t.Error("the old version still lies in the other bucket")
	}
	if e, err := r.Examine(t.Context(), "a1/day/old.avi"); err != nil || e.Partial || !strings.HasPrefix(e.Entry.Version, "video:") {
		t.Errorf("%+v, %v", e, err)
	}
}

var errDown = errors.New("down")

// down has a target answer nothing, until the function that it returns is called.
func (r *rig) down(name string) (up func()) {
	r.at[name].Before(func(mem.Op) error { return backends.ErrUnreachable })
	return func() { r.at[name].Before(nil) }
}

// One target is away. The others get the file now, the error names the one that does not, and later only that one is sent to.
func TestOneTargetAway(t *testing.T) {
	for _, away := range []string{"video", "archive", "nas"} {
		r := newRig(t)
		body := "a body that goes in several parts"
		u := backendtest.Upload("a1/v.avi", []byte(body))
		u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
		up := r.down(away)
		_, err := r.Put(t.Context(), u, strings.NewReader(body))
		var where *backends.TargetError
		if !errors.Is(err, backends.ErrUnreachable) || !errors.As(err, &where) || where.Target != away {
			t.Errorf("%s away: %v", away, err)
		}
		others := slices.DeleteFunc([]string{"archive", "nas", "video"}, func(n string) bool { return n == away })
		r.wantAt(u.Name, body, others...)
		before := r.bodies()
		up()
		r.open(".avi") // as after a crash
		if _, err := r.Put(t.Context(), u, strings.NewReader(body)); err != nil {
			t.Errorf("%s is back: %v", away, err)
		}
		r.wantAt(u.Name, body, "archive", "nas", "video")
		for name, n := range r.bodies() {
			if name != away && n != before[name] {
				t.Errorf("%s was away, and %s was sent %d more bodies", away, name, n-before[name])
			}
		}
		if x, err := r.Examine(t.Context(), u.Name); err != nil || x.Partial {
			t.Errorf("%+v, %v", x, err)
		}
	}
}

// The process is killed at any request of an upload, of a new file and of one that replaces another: the next try ends with the same at
// all targets, and sends no target a whole body twice.
func TestCutOffAnywhere(t *testing.T) {
	const body, before = "the body that is to be stored", "what was stored before, at all"
	for _, replace := range []bool{false, true} {
		for cut := 1; ; cut++ {
			r := newRig(t)
			u := backendtest.Upload("a1/v.avi", []byte(body))
			if replace {
				u.Old = r.mustPut(u.Name, before, backends.Entry{})
			}
			u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
			ctx, kill := context.WithCancel(t.Context())
			n := make(chan int, 1)
			n <- 0
			for _, m := range r.at {
				hook := func(mem.Op) error {
					k := <-n + 1
					n <- k
					if k >= cut {
						kill()
						return context.Canceled
					}
					return nil
				}
				if cut%2 == 0 {
					m.After(hook) // it is done, and nobody hears of it
				} else {
					m.Before(hook)
				}
			}
			_, err := r.Put(ctx, u, strings.NewReader(body))
			kill()
			for _, m := range r.at {
				m.Before(nil)
				m.After(nil)
			}
			r.open(".avi")
			if _, again := r.Put(t.Context(), u, strings.NewReader(body)); again != nil {
				t.Fatalf("replacing %v, cut at %d: %v", replace, cut, again)
			}
			r.wantAt(u.Name, body, "archive", "nas", "video")
			if err == nil {
				break
			}
			if cut > 200 {
				t.Fatal("it never ends")
			}
		}
	}
}

// An answer is lost at each target in turn: what was done is found, and not sent again.
func TestLostAnswers(t *testing.T) {
	for _, where := range []string{"video", "archive", "nas"} {
		r := newRig(t)
		lost := false
		r.at[where].After(func(op mem.Op) error {
			if lost || op.Name != "put" {
				return nil
			}
			lost = true
			return errDown
		})
		u := backendtest.Upload("v.avi", []byte("small"))
		if _, err := r.Put(t.Context(), u, strings.NewReader("small")); !errors.Is(err, errDown) {
			t.Errorf("%s: %v", where, err)
		}
		if _, err := r.Put(t.Context(), u, strings.NewReader("small")); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		if n := r.bodies(); n[where] != 1 {
			t.Errorf("%s: sent %d times", where, n[where])
		}
	}
}

// A file is changed while an earlier version of it has reached some targets only: the later one gets everywhere.
func TestChangedHalfway(t *testing.T) {
	r := newRig(t)
	up := r.down("nas")
	first := backendtest.Upload("a1/x.edf", []byte("one"))
	if _, err := r.Put(t.Context(), first, strings.NewReader("one")); err == nil {
		t.Fatal("no error")
	}
	up()
	now, err := r.Examine(t.Context(), "a1/x.edf") // as the uploader does, to see whose it is
	if err != nil || !now.Partial || !now.HasCRC || now.CRC64NVME != first.CRC64NVME {
		t.Fatalf("%+v, %v", now, err)
	}
	r.mustPut("a1/x.edf", "two", now.Entry)
	r.wantAt("a1/x.edf", "two", "archive", "edf", "nas")
	r.wantAt("a1/x.edf", "one")

	// The primary is the one that has not answered: what lies at the copies is known as ours, can be replaced and be undone.
	up = r.down("edf")
	if _, err := r.Put(t.Context(), backendtest.Upload("a1/y.edf", []byte("one")), strings.NewReader("one")); err == nil {
		t.Fatal("no error")
	}
	up()
	r.wantAt("a1/y.edf", "one", "archive", "nas")
	if now, err = r.Examine(t.Context(), "a1/y.edf"); err != nil || !now.Partial {
		t.Fatalf("%+v, %v", now, err)
	}
	r.mustPut("a1/y.edf", "two", now.Entry)
	r.wantAt("a1/y.edf", "two", "archive", "edf", "nas")
	r.at["edf"].Delete("a1/y.edf")
	now, err = r.Examine(t.Context(), "a1/y.edf")
	if err == nil {
		err = r.Remove(t.Context(), now.Entry)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.wantAt("a1/y.edf", "two")
}

// Somebody has put another file under that name on the NAS by hand: it is not overwritten, the file is not called stored, and it is once
// the place is free.
func TestOccupied(t *testing.T) {
	r := newRig(t)
	r.at["nas"].PutBytes("a1/x.edf", []byte("made by hand"))
	u := backendtest.Upload("a1/x.edf", []byte("ours"))
	_, err := r.Put(t.Context(), u, strings.NewReader("ours"))
	var where *backends.TargetError
	if !errors.Is(err, backends.ErrOccupied) || errors.Is(err, backends.ErrChanged) || !errors.As(err, &where) || where.Target != "nas" {
		t.Errorf("%v", err)
	}
	r.wantAt("a1/x.edf", "made by hand", "nas")
	if x, err := r.Examine(t.Context(), "a1/x.edf"); err != nil || !x.Partial {
		t.Errorf("%+v, %v", x, err)
	}
	r.at["nas"].Delete("a1/x.edf")
	if _, err := r.Put(t.Context(), u, strings.NewReader("ours")); err != nil {
		t.Error(err)
	}
	r.wantAt("a1/x.edf", "ours", "archive", "edf", "nas")

	// What lies there already is as good, whoever brought it.
	r.at["nas"].PutBytes("a1/same.edf", []byte("same"))
	r.mustPut("a1/same.edf", "same", backends.Entry{})
	if n := r.bodies()["nas"]; n != 1 {
		t.Errorf("the NAS was sent %d bodies", n)
	}
}

// Somebody else's file lies at the primary: no copy of ours is left anywhere, at whatever moment theirs came.
func TestConflictLeavesNoCopies(t *testing.T) {
	for _, late := range []bool{false, true} {
		r := newRig(t)
		theirs := func() { r.at["edf"].PutBytes("a1/x.edf", []byte("theirs")) }
		if late {
			r.at["edf"].Before(func(op mem.Op) error {
				if op.Name == "put" {
					theirs()
				}
				return nil
			})
		} else {
			theirs()
		}
		_, err := r.Put(t.Context(), backendtest.Upload("a1/x.edf", []byte("ours")), strings.NewReader("ours"))
		if !errors.Is(err, backends.ErrChanged) {
			t.Errorf("%v", err)
		}
		r.wantAt("a1/x.edf", "ours")
		r.wantAt("a1/x.edf", "theirs", "edf")
	}
}

// A file is renamed. The archive cannot copy what is archived, and the NAS has never had the file: both get it.
func TestRename(t *testing.T) {
	r := newRig(t)
	e := r.mustPut("a1/x.edf", "recording", backends.Entry{})
	r.at["nas"].Delete("a1/x.edf")
	r.at["archive"].Before(func(op mem.Op) error {
		if op.Name == "copy" {
			return backends.ErrArchived
		}
		return nil
	})
	for _, to := range []string{"a1/y.edf", "a1/y.avi"} { // the second belongs into another bucket
		if _, err := r.Copy(t.Context(), e, backends.Upload{Name: to}); err != nil {
			t.Fatal(err)
		}
	}
	r.wantAt("a1/y.edf", "recording", "archive", "edf", "nas")
	r.wantAt("a1/y.avi", "recording", "archive", "nas", "video")
	if _, err := r.Copy(t.Context(), e, backends.Upload{Name: "a1/y.edf"}); err != nil {
		t.Errorf("a rename that was cut off, again: %v", err)
	}
	if err := r.Remove(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	r.wantAt("a1/x.edf", "recording")
}

// Removing is cut off since one target is away: the file is still seen, and can be removed again.
func TestRemoveConverges(t *testing.T) {
	r := newRig(t)
	e := r.mustPut("a1/x.edf", "body", backends.Entry{})
	r.at["nas"].PutBytes("a1/x.edf", []byte("by hand"))
	up := r.down("archive")
	if err := r.Remove(t.Context(), e); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if _, err := r.Stat(t.Context(), "a1/x.edf"); err != nil {
		t.Errorf("it is gone from sight: %v", err)
	}
	up()
	if err := r.Remove(t.Context(), e); err != nil {
		t.Error(err)
	}
	r.wantAt("a1/x.edf", "body")
	r.wantAt("a1/x.edf", "by hand", "nas")
}

// A bucket does not answer: what the other one has can be read, and nothing seems to be gone.
func TestReadsGoOn(t *testing.T) {
	r := newRig(t)
	v, e := r.mustPut("a1/v.avi", "video", backends.Entry{}), r.mustPut("a1/x.edf", "recording", backends.Entry{})
	r.down("video")
	if b, err := r.ReadRange(t.Context(), e, 0, e.Size); err != nil {
		t.Error(err)
	} else {
		b.Close()
	}
	if _, err := r.Stat(t.Context(), "a1/x.edf"); err != nil {
		t.Error(err)
	}
	if _, err := r.ReadRange(t.Context(), v, 0, 1); !errors.Is(err, backends.ErrUnreachable) || !strings.Contains(err.Error(), "target video") {
		t.Errorf("%v", err)
	}
	for e, err := range r.List(t.Context(), "a1") {
		if !errors.Is(err, backends.ErrUnreachable) {
			t.Errorf("listed %+v, %v", e, err)
		}
	}
}
