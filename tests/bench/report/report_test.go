package report

import (
	"bytes"
	"flag"
	"fmt"
	"image/png"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

// sampleRun has a win, a loss, a failure, a refused figure, a peer that was too slow and one that is missing.
func sampleRun() Run {
	return Run{
		Date: "2026-11-21", Machine: "2 cores", Command: "go -C tests run ./bench --sizes quick", Notes: []string{"Caches were not dropped: not root."},
		Subjects: []Subject{
			{Name: "studyfs", Version: "1.0", Ours: true},
			{Name: "rclone", Version: "v1.75.1"},
			{Name: "s3fs", Version: "not installed", Missing: true},
			{Name: "bare GET", Version: "a Go client", Reference: true},
		},
		Rows: []*Row{
			{Group: "Small files", Name: "300 of 64 KiB in order", Step: "cold", Network: "20 ms", Cells: map[string]*Cell{
				"studyfs": {
					Seconds: []float64{0.9, 0.8, 1.1}, Requests: []float64{301, 301, 301}, Sent: []float64{19 << 20, 19 << 20, 19 << 20},
					Received: []float64{0, 0, 0}, Peak: []float64{80 << 20, 81 << 20, 82 << 20},
				},
				"rclone":   {Seconds: []float64{14}, Cut: true, Requests: []float64{602}, Sent: []float64{19 << 20}, Received: []float64{0}},
				"bare GET": {Seconds: []float64{6.1, 6.2}},
			}},
			{Group: "Small files", Name: "300 of 64 KiB in order", Step: "again", Network: "20 ms", Cells: map[string]*Cell{
				"studyfs": {Seconds: []float64{0.05, 0.07}}, "rclone": {Seconds: []float64{0.01, 0.03}},
			}},
			{Group: "Listings", Name: "`find` of 1,000 keys, flat", Step: "cold", Cells: map[string]*Cell{
				"studyfs": {Seconds: []float64{1}, Refused: "not cold: 3 of 10 bytes came from the store"},
				"rclone":  {Failure: "cannot | list"}, "s3fs": {Failure: "no end after 12s", Late: true},
			}},
		},
	}
}

// Somebody measures group by group: what was measured before stays, a workload's rows are of one sitting, and the table says which.
func TestMerge(t *testing.T) {
	row := func(group, name, step string, seconds float64) *Row {
		return &Row{Group: group, Name: name, Step: step, Cells: map[string]*Cell{"studyfs": {Seconds: []float64{seconds}}}}
	}
	first := Run{Date: "Monday", Machine: "2 cores", Command: "one", Notes: []string{"old"}, Rows: []*Row{
		row("small", "a", "cold", 1), row("small", "a", "again", 2), row("small", "b", "cold", 3), row("large", "c", "cold", 4),
	}}
	second := Run{Date: "Tuesday", Command: "two", Rows: []*Row{row("small", "d", "cold", 5), row("small", "a", "cold", 6), row("warm", "e", "cold", 7)}}
	third := Run{Date: "Wednesday", Command: "three", Rows: []*Row{row("large", "c", "cold", 8)}}
	got := ""
	all := Merge(Merge(first, second), third)
	for _, r := range all.Rows {
		got += fmt.Sprintf("%s %s %s %v %s\n", r.Group, r.Name, r.Step, r.Cells["studyfs"].Seconds[0], r.Sitting)
	}
	const want = "small a cold 6 `two` (Tuesday; )\n" + "small b cold 3 `one` (Monday; 2 cores)\n" + "small d cold 5 `two` (Tuesday; )\n" +
		"large c cold 8 \n" + "warm e cold 7 `two` (Tuesday; )\n"
	if got != want || all.Date != "Wednesday" || all.Notes != nil {
		t.Errorf("%s, %v; got\n%s, want\n%s", all.Date, all.Notes, got, want)
	}
	if table := Table(all); !strings.Contains(table, "* `two` (Tuesday; )\n* `one` (Monday; 2 cores)\n") {
		t.Error(table)
	}
}

// What stands in the documentation is what was measured, losses and failures with it. With -update the file is written anew, to be looked at.
func TestTable(t *testing.T) {
	const golden = "testdata/table.md"
	got := Table(sampleRun())
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, must := range []string{"**▼ 0.333**", "15.6", "**failed**", "refused: not cold", "| no end after 12s |", "≈ 14.0 (one run)"} {
		if !strings.Contains(got, must) {
			t.Errorf("no %q", must)
		}
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		figures             []float64
		median, least, most float64
	}{
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{4, 1, 2, 3}, 2.5, 1, 4},
		{[]float64{7}, 7, 7, 7},
	} {
		least, most := Spread(c.figures)
		if got := Median(c.figures); got != c.median || least != c.least || most != c.most {
			t.Errorf("%v: %v, %v to %v", c.figures, got, least, most)
		}
	}
	if !math.IsNaN(Median(nil)) {
		t.Error("there is a median of nothing")
	}
}

// A second run takes the place of the first; what people wrote around it stays.
func TestInsert(t *testing.T) {
	document := "# Benchmarks\n\nwords\n\n" + Begin + "\nold\n" + End + "\n\nmore words\n"
	once := Insert(document, "new\n")
	if strings.Contains(once, "old") || !strings.Contains(once, "new") || !strings.HasPrefix(once, "# Benchmarks\n\nwords\n") || !strings.HasSuffix(once, "\n\nmore words\n") {
		t.Error(once)
	}
	if twice := Insert(once, "new\n"); twice != once {
		t.Errorf("a second time: %s", twice)
	}
	if bare := Insert("words\n", "new"); Insert(bare, "new") != bare || !strings.HasPrefix(bare, "words\n\n") {
		t.Error(bare)
	}
}

// Charts must stay small: they are kept in the repository.
func TestChart(t *testing.T) {
	raw, err := Chart(sampleRun(), "Small files")
	if err != nil || len(raw) > 100<<10 {
		t.Fatal(len(raw), err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil || img.Bounds().Dx() != chartWidth || img.Bounds().Dy() < 100 {
		t.Fatal(img.Bounds(), err)
	}
	ours, _, _, _ := img.At(barLeft+1, margin+2*lineHeight+barHeight/2).RGBA()
	if r, _, _, _ := colours()[5].RGBA(); ours != r {
		t.Error("no bar of ours in the first row")
	}
	if none, err := Chart(sampleRun(), "Listings"); none != nil || err != nil {
		t.Errorf("a chart of nothing: %d bytes, %v", len(none), err)
	}
}
