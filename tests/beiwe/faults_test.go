package beiwe

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/tests/harness"
)

const data = "/get-data" // the beginning of both routes to data

// impatient is a home in which nothing is waited for longer than a second: the server is in this process.
func impatient(b *harness.Beiwe) *harness.Env {
	e := b.Env()
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=1s", "STUDYFS_TIMEOUT_PROGRESS=1s", "STUDYFS_TIMEOUT_RETRY=5s")
	return e
}

// exact compares the mount with the server: every byte, and that nobody has a folder too many or too few.
func exact(t *testing.T, b *harness.Beiwe, dir string) {
	t.Helper()
	b.Compare(dir)
	streams := map[string]map[string]bool{}
	for _, f := range b.Truth() {
		if streams[f.Participant] == nil {
			streams[f.Participant] = map[string]bool{}
		}
		streams[f.Participant][f.Stream] = true
	}
	study := filepath.Join(dir, harness.BeiweStudy)
	if got, want := names(t, study), slices.Sorted(maps.Keys(streams)); !slices.Equal(got, want) {
		t.Errorf("participants %v, want %v", got, want)
	}
	for id, all := range streams {
		if got, want := names(t, filepath.Join(study, id)), slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
			t.Errorf("streams %v, want %v", got, want)
		}
	}
}

// Networks and servers fail now and then. Whoever reads a study then waits a little longer, and gets all of it.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault beiwetest.Fault
		zip   bool // it strikes inside the zip, which both versions of the route write in their own way
	}{
		"504 after silence":   {fault: beiwetest.Fault{Path: data, Kind: beiwetest.NoFirstByte, Delay: 200 * time.Millisecond, Count: 2}},
		"silence":             {fault: beiwetest.Fault{Path: data, Kind: beiwetest.NoFirstByte, Delay: 20 * time.Second, Count: 1}},
		"502":                 {fault: beiwetest.Fault{Kind: beiwetest.GatewayFailed, Every: 2, Count: 4}},
		"503":                 {fault: beiwetest.Fault{Kind: beiwetest.Maintenance, Every: 2, Count: 4}},
		"reset":               {fault: beiwetest.Fault{Kind: beiwetest.Reset, Every: 2, Count: 4}},
		"truncated":           {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.Truncate, After: 10, Count: 3}},
		"truncated at once":   {fault: beiwetest.Fault{Path: data, Kind: beiwetest.Truncate, Count: 3}},
		"cut inside a file":   {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.Cut, After: 7, Count: 3}},
		"missing object":      {fault: beiwetest.Fault{Path: data, Kind: beiwetest.MissingObject, Count: 3}},
		"stalls":              {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.Stall, After: 5, Count: 2}},
		"slow":                {fault: beiwetest.Fault{Path: data, Kind: beiwetest.Drip, Delay: 2 * time.Millisecond}},
		"a damaged file":      {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.WrongCRC, Every: 2, Count: 2}},
		"a short file":        {fault: beiwetest.Fault{Path: data, Kind: beiwetest.WrongSize, Every: 2, Count: 2}},
		"names that lead out": {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.BadNames, After: 3}},
		"a file twice":        {zip: true, fault: beiwetest.Fault{Path: data, Kind: beiwetest.Twice, After: 3}},
	} {
		for _, v2 := range []bool{false, true} {
			if v2 && !c.zip {
				continue
			}
			t.Run(fmt.Sprintf("%s, version 2 %v", name, v2), func(t *testing.T) {
				t.Parallel()
				b := harness.NewBeiwe(t, beiwetest.Options{V2: v2}, beiwetest.FillOptions{
					Participants: 1, Days: 2, Streams: []string{"gps", "calls", "survey_answers", "survey_timings"},
				})
				e := impatient(b)
				var struck atomic.Int64
				fault := c.fault // of this run alone: the two versions run side by side
				fault.Hook = func() { struck.Add(1) }
				if fault.Path != "" {
					fault.Path = data + map[bool]string{false: "/v1", true: "/v2"}[v2]
				}
				if fault.Count > 0 && fault.Every == 0 && v2 {
					fault.Count++ // whether there is a version 2 is asked there, too
				}
				b.Fail(fault)
				dir := mountAnyhow(t, e)
				untilWhole(t, dir)
				exact(t, b, dir)
				if n := int(struck.Load()); n < 1 || n < fault.Count && fault.Every == 0 {
					t.Errorf("it went wrong %d times, not %d", n, fault.Count)
				}
				e.Unmount(dir)
				b.ClearFaults()
				e.MountAt(dir, "beiwe:")
				exact(t, b, dir)
			})
		}
	}
}

// mountAnyhow mounts, if need be at the second try: a person would do so, too.
func mountAnyhow(t *testing.T, e *harness.Env) string {
	t.Helper()
	dir := filepath.Join(e.Home, "mnt")
	if r := e.Run("mount", "beiwe:", dir); r.Code == 0 {
		e.Unmount(dir)
	}
	return e.Mount("beiwe:")
}

// untilWhole lists everything until no listing fails any more: an error is honest, and a person tries again.
func untilWhole(t *testing.T, dir string) {
	t.Helper()
	var err error
	for range 4 {
		err = filepath.WalkDir(dir, func(_ string, _ fs.DirEntry, err error) error { return err })
		if err == nil {
			return
		}
	}
	t.Fatalf("it never came whole: %v", err)
}

// What goes wrong for good is an error that a script stops at, never a folder that looks whole and is not, nor one that stays wrong once
// the server is well.
func TestLastingFaults(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]beiwetest.Kind{
		"500": beiwetest.Broken, "garbage": beiwetest.Garbage, "http to https": beiwetest.RedirectHTTPS, "elsewhere": beiwetest.RedirectAway,
		"damaged": beiwetest.WrongCRC, "compressed": beiwetest.Deflate, "bomb": beiwetest.Bomb, "404": beiwetest.Truncated404,
		"forbidden": beiwetest.Forbidden, "cut": beiwetest.Cut,
	} {
		for _, v2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, version 2 %v", name, v2), func(t *testing.T) {
				t.Parallel()
				b := harness.NewBeiwe(t, beiwetest.Options{V2: v2}, beiwetest.FillOptions{Participants: 1, Days: 2, Streams: []string{"gps"}})
				dir := impatient(b).Mount("beiwe:")
				gps := filepath.Join(dir, harness.BeiweStudy, b.People[0], "gps")
				if got := names(t, filepath.Dir(gps)); !slices.Equal(got, []string{"gps"}) {
					t.Fatalf("streams %v", got)
				}
				b.Fail(beiwetest.Fault{Path: data, Kind: kind})
				if all, err := os.ReadDir(gps); err == nil {
					t.Errorf("a listing of %d files", len(all))
				}
				if all, err := os.ReadFile(filepath.Join(gps, harness.Hour(b.End))); err == nil || errors.Is(err, syscall.ENOENT) {
					t.Errorf("a file of %d bytes, %v", len(all), err)
				}
				b.ClearFaults()
				within(t, "the folder is whole", func() bool {
					all, err := os.ReadDir(gps)
					if err == nil && len(all) != 48 {
						t.Fatalf("a listing of %d files of 48", len(all))
					}
					return err == nil
				})
				exact(t, b, dir)
			})
		}
	}
}

// A server may have gained a stream that nobody here has heard of. It must not keep people from what they know, and what is shown of it is right.
func TestStreamThatNobodyKnows(t *testing.T) {
	t.Parallel()
	for _, v2 := range []bool{false, true} {
		b := harness.NewBeiwe(t, beiwetest.Options{V2: v2}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"gps"}})
		b.Fail(beiwetest.Fault{Path: data, Kind: beiwetest.UnknownStream, After: 3})
		e := b.Env()
		dir := e.Mount("beiwe:")
		person := harness.BeiweStudy + "/" + b.People[0]
		b.CompareBelow(dir, person+"/gps/")
		all := names(t, filepath.Join(dir, person))
		if slices.Contains(all, "ai_chat_logs") {
			got, err := os.ReadFile(filepath.Join(dir, person, "ai_chat_logs/2026-01-01 00_00_00+00_00.csv"))
			if err != nil || !strings.HasSuffix(string(got), ",hello") {
				t.Errorf("the unknown stream is listed, but %q, %v", got, err)
			}
			all = slices.DeleteFunc(all, func(s string) bool { return s == "ai_chat_logs" })
		}
		if !slices.Equal(all, []string{"gps"}) {
			t.Errorf("streams %v", all)
		}
		e.Unmount(dir)
	}
}

// While the server is down for maintenance people go on with what they have read before, also over a restart of their machine. What they have not is
// an error, never an empty folder.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 2, Days: 2, Streams: []string{"gps", "survey_answers"}})
	e := impatient(b)
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_RETRY=1s")
	dir := e.Mount("beiwe:", "--refresh", "200ms")
	warm, cold := harness.BeiweStudy+"/"+b.People[0]+"/", filepath.Join(dir, harness.BeiweStudy, b.People[1], "gps")
	b.CompareBelow(dir, warm)
	people := names(t, filepath.Join(dir, harness.BeiweStudy))
	b.Fail(beiwetest.Fault{Kind: beiwetest.Maintenance})
	check := func(when string) {
		t.Helper()
		for range 2 {
			b.CompareBelow(dir, warm)
			time.Sleep(500 * time.Millisecond) // refreshing fails meanwhile
		}
		if got := names(t, filepath.Join(dir, harness.BeiweStudy)); !slices.Equal(got, people) {
			t.Errorf("%s: participants %v, were %v", when, got, people)
		}
		if all, err := os.ReadDir(cold); err == nil {
			t.Errorf("%s: a folder that was never read shows %d files", when, len(all))
		}
		if _, status := serverOf(t, e); !strings.Contains(status, "maintenance") && !strings.Contains(status, "503") {
			t.Errorf("%s: status says nothing of it:\n%s", when, status)
		}
	}
	check("in use")
	e.Unmount(dir)
	r := e.Run("mount", "beiwe:", dir, "--refresh", "200ms")
	if r.Code != 0 || !strings.Contains(r.Err+r.Out, "does not answer") {
		t.Fatalf("mount: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	t.Cleanup(func() { e.Unmount(dir) })
	check("after a restart")
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, b.People[0], "gps", b.End.Add(30*time.Hour), 1)
	b.ClearFaults()
	within(t, "the study is whole, with what came meanwhile", func() bool {
		_, err := os.ReadDir(cold)
		return err == nil && len(names(t, filepath.Join(dir, warm, "gps"))) == 49
	})
	exact(t, b, dir)
}

// A mount of something that is not a working Beiwe server says so at once and leaves nothing behind.
func TestMountOfABrokenServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind beiwetest.Kind
		code int
		says string
	}{
		"http to https": {beiwetest.RedirectHTTPS, 0, "https"},
		"garbage":       {beiwetest.Garbage, 0, ""},
		"forbidden":     {beiwetest.Forbidden, 77, "refused the keys"},
		"500":           {beiwetest.Broken, 0, ""},
		"maintenance":   {beiwetest.Maintenance, 0, "maintenance"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := harness.NewBeiwe(t, beiwetest.Options{}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"calls"}})
			e := impatient(b)
			b.Fail(beiwetest.Fault{Kind: c.kind})
			dir := filepath.Join(e.Home, "mnt")
			r := e.Run("mount", "beiwe:", dir)
			t.Logf("exit %d\n%s", r.Code, r.Err)
			if r.Code == 0 || c.code != 0 && r.Code != c.code || !strings.Contains(r.Err, c.says) {
				t.Errorf("exit %d\n%s", r.Code, r.Err)
			}
			if raw, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(raw), dir) {
				t.Error("the mount is left")
			}
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder made for it is left: %v", err)
			}
			for _, r := range b.Requests() {
				if r.Method == "GET" && r.Path == "/get-studies/v1" {
					t.Error("a redirect was followed")
				}
			}
		})
	}
}
