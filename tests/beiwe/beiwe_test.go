// Package beiwe mounts Beiwe servers with the built program and holds what people see against what the server has.
package beiwe

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "4") // most of these wait; what the command line says wins
	harness.Main(m)
}

// within waits until a thing is so, at most for d.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	const long = time.Minute // what never comes, and not what a busy machine delays
	for deadline := time.Now().Add(long); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", long, what)
		}
	}
}

// light are the streams of the sample data without those that are all bulk.
func light() []string {
	return slices.DeleteFunc(beiwetest.Streams(), func(s string) bool {
		return s == "accelerometer" || s == "gyro" || s == "devicemotion" || s == "magnetometer"
	})
}

// Somebody analyses a study from the mount: what they compute on is what the server has, whichever generation of servers it is, the
// first time, again, after a restart of the mount, and after phones have uploaded more.
func TestEveryByte(t *testing.T) {
	t.Parallel()
	for i, g := range []beiwetest.Generation{beiwetest.Current, beiwetest.SHA1Short, beiwetest.SHA1Full, beiwetest.MD5} {
		for _, v2 := range []bool{false, true} {
			if g != beiwetest.Current && v2 != (i%2 == 1) && harness.Sized(0, 1) == 0 {
				continue // every generation once, every version twice; backends/beiwe has them all
			}
			t.Run(fmt.Sprintf("generation %d, version 2 %v", g, v2), func(t *testing.T) {
				t.Parallel()
				streams := []string{"gps", "calls", "texts", "identifiers", "survey_answers", "survey_timings", "audio_recordings", "ambient_audio"}
				if g == beiwetest.Current && v2 { // all of them, once
					streams = light()
				}
				b := harness.NewBeiwe(t, beiwetest.Options{Generation: g, V2: v2, MD5Newline: true}, beiwetest.FillOptions{Participants: 2, Days: 4, Streams: streams})
				everyByte(t, b)
			})
		}
	}
}

func everyByte(t *testing.T, b *harness.Beiwe) {
	t.Helper()
	e := b.Env()
	dir := e.Mount("beiwe:")
	b.Compare(dir)
	b.Requests()
	b.Compare(dir)
	b.AtMost(0, "all once more")
	e.Unmount(dir)
	e.MountAt(dir, "beiwe:")
	b.Compare(dir)
	b.AtMost(2, "all after a restart")
	e.Unmount(dir)
	e.MountAt(dir, "beiwe:", "--refresh", "500ms")
	b.Compare(dir)
	uploads(t, b, dir)
	b.Compare(dir)
}

// uploads adds hours to an old day, to a new day and to another stream, and rewrites one.
func uploads(t *testing.T, b *harness.Beiwe, dir string) {
	t.Helper()
	one, other := b.People[0], b.People[1]
	old, fresh := b.End.Add(-60*time.Hour), b.End.Add(48*time.Hour)
	b.Requests()
	gps, calls := filepath.Join(dir, harness.BeiweStudy, one, "gps"), filepath.Join(dir, harness.BeiweStudy, other, "calls")
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, one, "gps", old, 1)
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, one, "gps", fresh, 1)
	beiwetest.AddHour(b.Server, harness.BeiweStudyID, other, "calls", fresh, 1)
	truth := b.Truth()
	rewritten := truth[strings.Join([]string{harness.BeiweStudy, one, "gps", harness.Hour(old)}, "/")]
	within(t, "all uploads are seen", func() bool {
		info, err := os.Stat(filepath.Join(gps, harness.Hour(old)))
		names, _ := os.ReadDir(gps)
		others, _ := os.ReadDir(calls)
		has := func(all []os.DirEntry, name string) bool {
			return slices.ContainsFunc(all, func(d os.DirEntry) bool { return d.Name() == name })
		}
		return err == nil && info.Size() == rewritten.Body.Size() && has(names, harness.Hour(fresh)) && has(others, harness.Hour(fresh))
	})
	b.CompareBelow(dir, harness.BeiweStudy+"/"+one+"/gps/")
	b.CompareBelow(dir, harness.BeiweStudy+"/"+other+"/calls/")
	onlyTheseDays(t, b, old, fresh)
}

// onlyTheseDays checks that what was asked for lies in the days (of the study's zone) of these moments, and is little.
func onlyTheseDays(t *testing.T, b *harness.Beiwe, moments ...time.Time) {
	t.Helper()
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, r := range b.Requests() {
		if !strings.HasPrefix(r.Path, "/get-data/") {
			continue
		}
		bytes += r.Bytes
		from, err1 := time.Parse("2006-01-02T15:04:05", r.Form.Get("time_start"))
		to, err2 := time.Parse("2006-01-02T15:04:05", r.Form.Get("time_end"))
		if err1 != nil || err2 != nil {
			t.Errorf("asked from %q to %q", r.Form.Get("time_start"), r.Form.Get("time_end"))
		}
		inside := false
		for _, m := range moments {
			y, mo, d := m.In(zone).Date()
			inside = inside || !from.Before(time.Date(y, mo, d, 0, 0, 0, 0, zone)) && to.Before(time.Date(y, mo, d+1, 0, 0, 0, 0, zone))
		}
		if !inside {
			t.Errorf("asked for %s from %v to %v, of which nothing had changed", r.Form["data_streams"], from, to)
		}
	}
	if bytes > 1<<20 {
		t.Errorf("%d bytes for three small files", bytes)
	}
}
