package beiwe

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/tests/harness"
)

// Two answers given within one second have one name at the server, which numbers them by chance, differently each time. A script that notes which
// file it has read must find the same content under the same name tomorrow, on this computer and on another.
func TestNamesOfOneSecondStay(t *testing.T) {
	t.Parallel()
	for _, v2 := range []bool{false, true} {
		b := harness.NewBeiwe(t, beiwetest.Options{V2: v2, Seed: 7}, beiwetest.FillOptions{Participants: 1, Days: 1, Streams: []string{"gps"}})
		at, want := b.End.Add(-5*time.Hour).Truncate(time.Minute), map[string]string{}
		for n, text := range []string{"one", "two, longer", "three, longest"} {
			b.Put(harness.BeiweStudyID, b.People[0], "survey_answers", beiwetest.File{
				Survey: beiwetest.SurveyID, Time: at.Add(time.Duration(100*n) * time.Millisecond), Body: beiwetest.Bytes(text),
			})
			want[at.Format("2006-01-02 15_04_05+00_00")+[]string{"", "_2", "_3"}[n]+".csv"] = text
		}
		e := b.Env()
		for n, cache := range []string{"one", "one", "two", "three", "four", "two"} {
			b.Configure(func(o *beiwetest.Options) { o.Seed = uint64(n) })
			dir := e.Mount("beiwe:", "--cache-dir", filepath.Join(e.Home, cache))
			folder, got := filepath.Join(dir, harness.BeiweStudy, b.People[0], "survey_answers", beiwetest.SurveyID), map[string]string{}
			for _, name := range names(t, folder) {
				raw, err := os.ReadFile(filepath.Join(folder, name))
				if err != nil {
					t.Fatal(err)
				}
				got[name] = string(raw)
			}
			if !maps.Equal(got, want) {
				t.Errorf("version 2 %v, mount %d: %q, want %q", v2, n, got, want)
			}
			e.Unmount(dir)
		}
	}
}

// Laboratories run servers of their own for years. One that knows neither summaries, settings, nor hashes is mounted as any other.
func TestOldServer(t *testing.T) {
	t.Parallel()
	b := harness.NewBeiwe(t, beiwetest.Options{NoSummary: true, NoSettings: true, NaiveNames: true, Generation: beiwetest.MD5}, beiwetest.FillOptions{
		Participants: 2, Days: 3, Streams: []string{"gps", "calls", "power_state", "survey_answers", "survey_timings", "audio_recordings"},
	})
	for _, f := range b.Truth() { // the second participant has no recordings
		if f.Participant == b.People[1] && f.Stream == "audio_recordings" {
			b.Remove(harness.BeiweStudyID, f.Participant, f.ChunkPath)
		}
	}
	e := b.Env()
	dir := e.Mount("beiwe:")
	exact(t, b, dir)
	b.Requests()
	exact(t, b, dir)
	b.AtMost(0, "all once more")
	e.Unmount(dir)
	e.MountAt(dir, "beiwe:")
	exact(t, b, dir)
	again := b.Requests()
	t.Logf("%d requests after a restart", len(again))
	for _, r := range again {
		if strings.HasPrefix(r.Path, data) && strings.Contains(r.Form.Get("data_streams"), ",") {
			t.Errorf("after a restart more was asked for than which streams there are: %s", r.Form.Get("data_streams"))
		}
	}
	b.ResetLog()
	exact(t, b, dir)
	b.AtMost(0, "all once more after a restart")
}

// Somebody wants three days of GPS out of a large study: that is all they see, and all that is asked for.
func TestOnlySomeDaysAndStreams(t *testing.T) {
	t.Parallel()
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{
		Participants: 2, Days: 9, Streams: []string{"gps", "calls", "survey_answers", "survey_timings"},
	})
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	day := func(at time.Time) string { return at.In(zone).Format("2006-01-02") }
	since, until := day(b.End.Add(-120*time.Hour)), day(b.End.Add(-72*time.Hour))
	e := b.Env()
	dir := e.Mount("beiwe:", "--since", since, "--until", until, "--streams", "gps,survey_answers")
	want := map[string]bool{}
	for path, f := range b.Truth() {
		if d := day(f.Time); since <= d && d <= until && (f.Stream == "gps" || f.Stream == "survey_answers") {
			want[path] = true
		}
	}
	got := map[string]bool{}
	for line := range strings.Lines(e.Exec("find", dir, "-type", "f").Out) {
		path := strings.TrimPrefix(strings.TrimSpace(line), dir+"/")
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if f := b.Truth()[path]; err != nil || f.Body == nil || string(raw) != string(harness.Content(f.Body)) {
			t.Errorf("%s: %d bytes, %v", path, len(raw), err)
		}
		got[path] = true
	}
	if !maps.Equal(got, want) || len(want) < 100 {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	for _, id := range b.People {
		if got := names(t, filepath.Join(dir, harness.BeiweStudy, id)); !slices.Equal(got, []string{"gps", "survey_answers"}) {
			t.Errorf("streams %v", got)
		}
	}
	for _, r := range b.Requests() {
		if s := r.Form.Get("data_streams"); strings.Contains(s, "calls") || strings.Contains(s, "timings") {
			t.Errorf("asked for %s", s)
		}
		if from := r.Form.Get("time_start"); r.Form.Get("data_streams") == `["gps"]` && from < since {
			t.Errorf("asked for gps from %s", from)
		}
	}
}

// A cluster job starts many readers at once, each with a part of the hours that are known by name, before anything is here. All get right bytes,
// and the server is not asked for one hour at a time.
func TestManyReadersAtOnce(t *testing.T) {
	t.Parallel()
	b := harness.NewBeiwe(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 2, Days: 14, Streams: []string{"gps", "calls"}})
	e := b.Env()
	dir := e.Mount("beiwe:")
	truth := b.Truth()
	paths := slices.Sorted(maps.Keys(truth))
	const readers = 8
	var work sync.WaitGroup
	for part := range slices.Chunk(paths, len(paths)/readers+1) {
		work.Go(func() {
			for _, path := range part {
				raw, err := os.ReadFile(filepath.Join(dir, path))
				if err != nil || string(raw) != string(harness.Content(truth[path].Body)) {
					t.Errorf("%s: %d bytes, %v", path, len(raw), err)
				}
			}
		})
	}
	work.Wait()
	b.AtMost(len(paths)/8, "all hours by many readers")
	exact(t, b, dir)
}

// A training run reads hours in the order of chance, each by its name. Every one is right, whatever was fetched around it.
func TestHoursInAnyOrder(t *testing.T) {
	t.Parallel()
	b := harness.NewBeiwe(t, beiwetest.Options{}, beiwetest.FillOptions{Participants: 2, Days: 5, Streams: []string{"gps", "calls"}})
	e := b.Env()
	dir := e.Mount("beiwe:")
	truth := b.Truth()
	paths := slices.Sorted(maps.Keys(truth))
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(paths), func(i, k int) { paths[i], paths[k] = paths[k], paths[i] }) //nolint:gosec // an order
	for _, path := range paths {
		raw, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(raw) != string(harness.Content(truth[path].Body)) {
			t.Errorf("%s: %d bytes, %v", path, len(raw), err)
		}
	}
	t.Logf("%d requests for %d files", len(b.Requests()), len(paths))
	exact(t, b, dir)
}
