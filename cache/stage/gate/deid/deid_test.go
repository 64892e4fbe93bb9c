package deid

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"studyfs/cache/stage/gate"
	"studyfs/cache/stage/gate/edf"
)

func secret() []byte { return bytes.Repeat([]byte("s3cret"), 4) }

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// The lab's own script made codes that nobody could make again, with eight rounds of a hash over a surname.
func TestNewCode(t *testing.T) {
	seen := map[string]bool{}
	for i := range 500 {
		code, err := NewCode(secret(), fmt.Sprint("patient ", i), func(code string) bool { return seen[code] })
		if err != nil || !edf.IsCode(code) || seen[code] {
			t.Fatal(code, err)
		}
		seen[code] = true
	}
	a, _ := NewCode(secret(), "Patient 1", nil)
	b, _ := NewCode(secret(), " patient 1\n", nil)
	c, _ := NewCode(append(secret(), 'x'), "patient 1", nil)
	d, _ := NewCode(secret(), "patient 1", func(code string) bool { return code == a })
	if a != b || a == c || a == d {
		t.Error(a, b, c, d)
	}
	if _, err := NewCode([]byte("short"), "x", nil); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
	if _, err := NewCode(secret(), " ", nil); err == nil {
		t.Error("nobody got a code")
	}
	if _, err := NewCode(secret(), "x", func(string) bool { return true }); err == nil {
		t.Error("a code was given twice")
	}
}

func TestPlan(t *testing.T) {
	files := []File{
		{"Q_2/b.edf", Recording, at("2019-03-05 08:00")},
		{"Q_1/a.EDF", Recording, at("2019-03-04 08:00")},
		{"v/late.avi", Video, at("2019-03-05 00:00")},
		{"v/z.avi", Video, at("2019-03-04 23:00")},
		{"v/y.avi", Video, at("2019-03-04 23:30")},
		{"v/april.avi", Video, at("2019-04-04 23:30")},
		{"s/x.SNC", Text, at("2019-03-05 08:01")},
		{"s/w.snc", Text, at("2019-03-04 08:01")},
		{"s/w.vtc", Text, at("2019-03-04 08:01")},
	}
	want := map[string]string{
		"Q_1/a.EDF": "c0ffee12_edf/c0ffee12_1.edf", "Q_2/b.edf": "c0ffee12_edf/c0ffee12_2.edf",
		"v/z.avi": "c0ffee12/c0ffee12_0/c0ffee12_0_0000.avi", "v/y.avi": "c0ffee12/c0ffee12_0/c0ffee12_0_0001.avi",
		"v/late.avi": "c0ffee12/c0ffee12_1/c0ffee12_1_0000.avi", "v/april.avi": "c0ffee12/c0ffee12_31/c0ffee12_31_0000.avi",
		"s/w.snc": "c0ffee12_snc/c0ffee12_1.snc", "s/x.SNC": "c0ffee12_snc/c0ffee12_2.snc", "s/w.vtc": "c0ffee12_vtc/c0ffee12_1.vtc",
	}
	for range 20 {
		rand.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		moves, err := Plan("c0ffee12", files, nil)
		if err != nil || len(moves) != len(want) {
			t.Fatal(moves, err)
		}
		for _, m := range moves {
			if want[m.From] != m.To {
				t.Errorf("%s becomes %s", m.From, m.To)
			}
			j := gate.Rules{Encrypts: true}.Judge(m.To, 0, strings.NewReader(""))
			if slices.ContainsFunc(j.Findings, func(f gate.Finding) bool { return f.Rule != "edf" }) {
				t.Errorf("%s: %+v", m.To, j.Findings)
			}
		}
	}
}

// The lab's script renamed within its loop, and so one file over another.
func TestPlanNeverLeadsOverAnotherFile(t *testing.T) {
	one, two := at("2019-03-04 08:00"), at("2019-03-05 08:00")
	for name, c := range map[string]struct {
		code   string
		files  []File
		exists string
	}{
		"exists":        {"c0ffee12", []File{{"a.edf", Recording, one}}, "c0ffee12_edf/c0ffee12_1.edf"},
		"to be moved":   {"c0ffee12", []File{{"c0ffee12_edf/c0ffee12_1.edf", Recording, two}, {"a.edf", Recording, one}}, ""},
		"twice":         {"c0ffee12", []File{{"a.edf", Recording, one}, {"a.edf", Recording, two}}, ""},
		"no start":      {"c0ffee12", []File{{"a.edf", Recording, time.Time{}}}, ""},
		"odd extension": {"c0ffee12", []File{{"a.Quillfeather", Recording, one}}, ""},
		"no code":       {"Quillfeather", []File{{"a.edf", Recording, one}}, ""},
	} {
		moves, err := Plan(c.code, c.files, func(name string) bool { return name == c.exists })
		if err == nil || moves != nil || strings.Contains(err.Error(), "edf") || strings.Contains(err.Error(), "Quill") {
			t.Errorf("%s: %v, %v", name, moves, err)
		}
	}
}

func TestPair(t *testing.T) {
	vtc := []File{{Start: at("2019-03-04 08:00")}, {Start: at("2019-03-04 20:00")}, {Start: at("2019-03-06 08:00")}}
	snc := []File{{Start: at("2019-03-04 20:07")}, {Start: at("2019-03-04 08:10")}}
	if got, err := Pair(vtc, snc, 10*time.Minute); err != nil || !slices.Equal(got, []int{1, 0, -1}) {
		t.Error(got, err)
	}
	vtc[1].Start = at("2019-03-04 08:05")
	if got, err := Pair(vtc, snc, 10*time.Minute); err == nil {
		t.Errorf("two of one: %v", got)
	}
}

// More comes from the hospital weeks later: it goes on behind what was uploaded, and takes no number again even where the files are gone from this disk.
func TestContinue(t *testing.T) {
	first, err := Continue("c0ffee12", []File{
		{"a.edf", Recording, at("2019-03-04 08:00")}, {"b.avi", Video, at("2019-03-05 08:00")}, {"c.snc", Text, at("2019-03-05 08:00")},
	}, History{}, nil)
	if err != nil || first.Late != 0 {
		t.Fatal(first, err)
	}
	again, err := Continue("c0ffee12", []File{
		{"z.edf", Recording, at("2019-03-06 08:00")}, {"y.edf", Recording, at("2019-03-04 07:00")}, {"x.avi", Video, at("2019-03-05 09:00")}, {"w.snc", Text, at("2019-03-06 08:00")},
	}, first.After, nil)
	want := []Move{{"y.edf", "c0ffee12_edf/c0ffee12_2.edf"}, {"x.avi", "c0ffee12/c0ffee12_1/c0ffee12_1_0001.avi"}, {"w.snc", "c0ffee12_snc/c0ffee12_2.snc"}, {"z.edf", "c0ffee12_edf/c0ffee12_3.edf"}}
	if err != nil || !slices.Equal(again.Moves, want) || again.Late != 1 {
		t.Errorf("%v, %d late, %v", again.Moves, again.Late, err)
	}
	if first.After.Counts[""] != 1 {
		t.Errorf("what was given was changed: %v", first.After)
	}
	if p, err := Continue("c0ffee12", []File{{"x.avi", Video, at("2019-03-03 23:59")}}, first.After, nil); err == nil {
		t.Errorf("a video of day -1: %v", p)
	}
}

// Whatever a hospital sends, and in however many lots: no two files get one name, no name has a part of an old one, and within a series numbers
// follow the starts.
func TestPlanOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`Quill(feather)?[/_ ~.]{1,2}[A-Za-z0-9./ ]{0,8}\.(edf|EDF|bdf|avi|Mp4|snc|VTC|txt)`), 0, 30, rapid.ID).Draw(t, "names")
		exists, start := map[string]bool{}, map[string]time.Time{}
		var before History
		for len(names) > 0 {
			lot := names[:rapid.IntRange(1, len(names)).Draw(t, "lot")]
			names = names[len(lot):]
			var files []File
			for _, name := range lot {
				kind, ok := KindOf(name)
				if !ok {
					t.Fatalf("%q is of no kind", name)
				}
				f := File{Name: name, Kind: kind, Start: at("2019-03-04 08:00").Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "start")) * time.Minute)}
				if !before.Precedes(f.Start) {
					files = append(files, f)
				}
				start[name] = f.Start
			}
			plan, err := Continue("c0ffee12", files, before, func(name string) bool { return exists[name] })
			if err != nil || len(plan.Moves) != len(files) {
				t.Fatal(plan, err)
			}
			last := map[string]Move{}
			for _, m := range plan.Moves {
				series := strings.TrimRight(strings.TrimSuffix(m.To, extension(m.To)), "0123456789") // without the number
				if exists[m.To] || strings.Contains(strings.ToLower(m.To), "quill") || start[m.From].Before(start[last[series].From]) {
					t.Fatalf("%q becomes %q after %q", m.From, m.To, last[series].From)
				}
				exists[m.To], last[series] = true, m
			}
			before = plan.After
		}
	})
}
