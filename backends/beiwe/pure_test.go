package beiwe

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Days with 23 and 25 hours, and zones of half an hour: what a day holds must be what the server sums up under its date.
func TestDaysOfZones(t *testing.T) {
	for _, name := range []string{"America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC", "Pacific/Apia", "America/Sao_Paulo"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := Day(14000); d < 21000; d++ {
			s := d.stretch(zone)
			if s.to >= s.from && (dayOf(s.from, zone) != d || dayOf(s.to, zone) != d) {
				t.Fatalf("%s in %s: from %d to %d are %s and %s", d, name, s.from, s.to, dayOf(s.from, zone), dayOf(s.to, zone))
			}
			if next := (d + 1).start(zone); next != s.to+1 {
				t.Fatalf("%s in %s: a gap before the next day", d, name)
			}
		}
	}
	d, err := ParseDay("2026-11-01")
	if err != nil || d.String() != "2026-11-01" {
		t.Fatalf("%v, %v", d, err)
	}
	zone, _ := time.LoadLocation("America/New_York")
	if s := d.stretch(zone); s.to-s.from+1 != 25*3600 {
		t.Errorf("the day that clocks go back has %d seconds", s.to-s.from+1)
	}
}

func TestHalvesMeetAtAnHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(0, 1<<31).Draw(t, "from")
		s := stretch{from, from + rapid.Int64Range(0, 1<<25).Draw(t, "length")}
		h, ok := s.halves()
		if !ok {
			if s.to-s.from >= 2*3600 {
				t.Fatalf("%v cannot be halved", s)
			}
			return
		}
		if h[1].from != s.from || h[0].to != s.to || h[1].to+1 != h[0].from || h[0].from%3600 != 0 || h[0].from > h[0].to || h[1].from > h[1].to {
			t.Fatalf("%v became %v", s, h)
		}
	})
}

func TestNamesOfFiles(t *testing.T) {
	for _, c := range []struct {
		name, stream, chunk string
		again               int
		direct, ok          bool
	}{
		{"abcdefg1/gps/2026-10-05 02_00_00+00_00.csv", "gps", "CHUNKED_DATA/S/abcdefg1/gps/2026-10-05T02:00:00.csv", 1, true, true},
		{"abcdefg1/gps/2018-06-15 16_00_00.csv", "gps", "CHUNKED_DATA/S/abcdefg1/gps/2018-06-15T16:00:00.csv", 1, true, true},
		{"abcdefg1/survey_timings/5f3a/2026-10-05 02_00_00+00_00.csv", "survey_timings", "CHUNKED_DATA/S/abcdefg1/survey_timings/5f3a/2026-10-05T02:00:00.csv", 1, false, true},
		{"abcdefg1/survey_answers/5f3a/2026-10-05 02_11_59+00_00_2.csv", "survey_answers", "", 2, false, true},
		{"abcdefg1/ambient_audio/2026-10-05 02_11_59+00_00.mp4-duplicate-abcdefghij", "ambient_audio", "", 1, false, true},
		{"abcdefg1/ai_chat_logs/2026-10-05 02_00_00+00_00.csv", "ai_chat_logs", "CHUNKED_DATA/S/abcdefg1/ai_chat_logs/2026-10-05T02:00:00.csv", 1, true, true},
		{name: "abcdefg1/gps/x.csv"},
		{name: "abcdefg1/gps"},
		{name: "../gps/2026-10-05 02_00_00+00_00.csv"},
		{name: "registry"},
		{name: "abcdefg1/gps/2026-13-05 02_00_00+00_00.csv"},
		{name: "abcdefg1/GPS/2026-10-05 02_00_00+00_00.csv"},
		{name: ""},
	} {
		m, ok := parseMember(c.name)
		if ok != c.ok {
			t.Errorf("%q: %v", c.name, ok)
		}
		if !ok || !c.ok {
			continue
		}
		if m.stream != c.stream || m.again != c.again || m.direct() != c.direct {
			t.Errorf("%q: %+v", c.name, m)
		}
		if c.chunk != "" && m.chunkPath("S") != c.chunk {
			t.Errorf("%q: chunk path %q", c.name, m.chunkPath("S"))
		}
		if got := numbered(firstName(m.rest, m.again), m.again); got != m.rest {
			t.Errorf("%q became %q", m.rest, got)
		}
	}
}

// Two studies of one name, names with slashes, hidden names: each gets a folder of its own that can be one.
func TestFolderNames(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("%024d", n) }
	got := folderNames(map[string]string{id(100000000000000001): "A/B", id(2): "Twice", id(3): "Twice", id(4): "", id(5): "..", id(6): ".studyfs", id(7): strings.Repeat("ü", 300)})
	seen := map[string]bool{}
	for id, folder := range got {
		if folder == "" || strings.Contains(folder, "/") || folder[0] == '.' || len(folder) > 255 || seen[folder] {
			t.Errorf("%s: folder %q", id, folder)
		}
		seen[folder] = true
	}
	if got[id(2)] == got[id(3)] || !strings.HasPrefix(got[id(2)], "Twice (") {
		t.Errorf("%v", got)
	}
}

func TestWindowsAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flag := rapid.Bool()
		w := window{
			study: "5f3a9c1e7b2d4c8f6a0e1b99", person: "abcdefg1", streams: rapid.SliceOfN(rapid.SampledFrom(Streams()), 0, 4).Draw(t, "streams"),
			span:  stretch{rapid.Int64().Draw(t, "from"), rapid.Int64().Draw(t, "to")},
			plain: flag.Draw(t, "plain"), ahead: flag.Draw(t, "ahead"), whole: flag.Draw(t, "whole"), probe: flag.Draw(t, "probe"),
		}
		got, err := parseWindow(w.String())
		if err != nil || got.String() != w.String() || !slices.Equal(got.streams, w.streams) {
			t.Fatalf("%v became %v: %v", w, got, err)
		}
	})
}

// The windows of a stream cover all that is needed, newest first, none above its limit unless it is one day, none over a day that is complete.
func TestWindowsCoverWhatIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &stream{Days: map[Day]*cell{}, Files: map[string]*file{}}
		for range rapid.IntRange(1, 60).Draw(t, "days") {
			c := &cell{Got: -1, Bytes: rapid.Int64Range(1, 50).Draw(t, "bytes")}
			if rapid.IntRange(0, 3).Draw(t, "complete") == 0 {
				c.Got = c.Bytes
			}
			c.Plain = rapid.IntRange(0, 5).Draw(t, "plain") == 0
			s.Days[Day(rapid.IntRange(100, 200).Draw(t, "day"))] = c
		}
		needs, _ := s.missing(func(Day) bool { return true })
		covered := map[Day]bool{}
		for last := Day(1000); len(needs) > 0; {
			var r run
			r, needs = newest(needs, 100, s.complete)
			if r.to >= last {
				t.Fatalf("%v after %d", r, last)
			}
			last = r.from
			var bytes int64
			for d := r.from; d <= r.to; d++ {
				if s.complete(d) {
					t.Fatalf("%v takes in the complete day %d", r, d)
				}
				if c := s.Days[d]; c != nil {
					bytes += c.Bytes
					covered[d] = true
					if c.needed() && c.Plain != r.plain {
						t.Fatalf("%v takes in day %d of another kind", r, d)
					}
				}
			}
			if bytes > 100 && r.from != r.to {
				t.Fatalf("%v holds %d bytes", r, bytes)
			}
		}
		for d, c := range s.Days {
			if c.needed() && !covered[d] {
				t.Fatalf("day %d is never fetched", d)
			}
		}
	})
}

// Reading ahead, as a story: testdata/reading.txt. STUDYFS_UPDATE=1 writes it anew.
func TestReadingAhead(t *testing.T) {
	var out strings.Builder
	r := &reading{}
	open := func(what string, hour int64, follows bool) {
		r.open(hour*3600, func() bool { return follows })
		fmt.Fprintf(&out, "%-28s hour %3d  ordered %-5v next window %2d days  near 3 days ahead %v\n", what, hour, r.ordered(), r.days(), r.near(0, 3))
		if r.ordered() {
			r.fetched()
		}
	}
	open("the first file", 10, false)
	open("the next", 11, false)
	open("the same again", 11, false)
	open("on", 12, false)
	open("after a night without data", 30, true)
	open("and on", 31, false)
	open("a jump back", 5, false)
	open("the next from there", 6, false)
	open("far ahead", 400, false)
	open("random", 100, false)
	const file = "testdata/reading.txt"
	if os.Getenv("STUDYFS_UPDATE") != "" {
		os.MkdirAll("testdata", 0o755)
		os.WriteFile(file, []byte(out.String()), 0o644)
	}
	if want, _ := os.ReadFile(file); string(want) != out.String() {
		t.Errorf("it went:\n%s", out.String())
	}
}

// An index that lies damaged on disk is refused, or it is an index; it never panics later.
func FuzzRestore(f *testing.F) {
	o := Options{URL: "http://127.0.0.1:1"}
	o.setDefaults()
	s := &Source{o: o, index: newIndex(), without: map[string]bool{}, moved: 1}
	st := newStudy("5f3a9c1e7b2d4c8f6a0e1b99")
	st.Title, st.Folder, st.Zone = "A", "A", "Europe/Berlin"
	for i := range 3 {
		t := st.person("abcdefg1").stream("gps")
		t.takeDay(Day(20000+i), 100)
		t.put(st.zone, fmt.Sprintf("2026-10-05 0%d_00_00+00_00.csv", i), &file{At: int64(20000+i) * secondsPerDay, Size: 100})
	}
	s.index.Studies[st.ID] = st
	raw, _ := s.Snapshot(0)
	f.Add(raw)
	for range 20 {
		bad := slices.Clone(raw)
		bad[rand.IntN(len(bad))] ^= byte(1 + rand.IntN(255))
		f.Add(bad)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		in := &Source{o: o, index: newIndex(), without: map[string]bool{}}
		if in.Restore(raw) != nil {
			return
		}
		for _, dir := range []string{"", "A", "A/abcdefg1", "A/abcdefg1/gps", ".by-id", ".by-day/A/abcdefg1/gps"} {
			in.Bundle(dir, 0, nil)
			in.children(dir)
			in.Fresh(dir)
		}
		in.Snapshot(1 << 60)
	})
}
