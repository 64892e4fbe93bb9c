package view_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
	"studyfs/backends/mem"
	"studyfs/cache"
	"studyfs/cache/view"
)

// study is a source with a cache over it, as a mount has it.
type study struct {
	src   *mem.Source
	store *cache.Store
	now   time.Time
}

func open(t rapid.TB, dir string, keys ...string) *study {
	t.Helper()
	s := &study{src: mem.New(0), now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	for _, key := range keys {
		s.src.PutBytes(key, []byte(key))
	}
	c := cache.New(cache.Options{MaxBytes: 1 << 20, Memory: 1 << 20, Now: func() time.Time { return s.now }, Log: slog.New(slog.DiscardHandler)})
	var err error
	if s.store, err = c.Open(context.Background(), s.src, cache.SourceOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *study) close(t rapid.TB) {
	t.Helper()
	if err := s.store.Close(); err != nil {
		t.Error(err)
	}
}

func opened(t *testing.T, keys ...string) *study {
	t.Helper()
	s := open(t, t.TempDir(), keys...)
	t.Cleanup(func() { s.close(t) })
	return s
}

// walk shows all of a view: of each file the name that the source has for it, of what is made its size, of a directory "".
func walk(t rapid.TB, v *view.View) map[string]string {
	t.Helper()
	all := map[string]string{}
	for dirs := slices.Clone(v.Folders()); len(dirs) > 0; dirs = dirs[1:] {
		items, fresh, err := v.List(context.Background(), dirs[0])
		if err != nil || fresh <= 0 {
			t.Fatalf("%s: %v, %v", dirs[0], fresh, err)
		}
		if !slices.IsSortedFunc(items, func(a, b view.Item) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s is not in order: %v", dirs[0], items)
		}
		for _, it := range items {
			if _, twice := all[it.Name]; twice || path.Dir(it.Name) != dirs[0] || !v.Has(it.Name) {
				t.Errorf("%s in %s, twice: %v", it.Name, dirs[0], twice)
			}
			switch {
			case it.Dir():
				all[it.Name] = ""
				dirs = append(dirs, it.Name)
			case it.Made != nil:
				all[it.Name] = fmt.Sprint(len(it.Made))
			default:
				all[it.Name] = it.Of.Name
			}
		}
	}
	return all
}

// files are those of a walk that are not directories.
func files(all map[string]string) map[string]string {
	out := map[string]string{}
	for name, key := range all {
		if key != "" {
			out[name] = key
		}
	}
	return out
}

// agrees looks up all that is listed: it is the same.
func agrees(t rapid.TB, v *view.View, all map[string]string) {
	t.Helper()
	for name, key := range all {
		it, _, err := v.Lookup(context.Background(), name)
		if made := it.Made != nil && key == fmt.Sprint(len(it.Made)); err != nil || it.Name != name || it.Of.Name != key && !made {
			t.Errorf("%s is looked up as %q, listed as %q: %v", name, it.Of.Name, key, err)
		}
	}
}

func same(t rapid.TB, got, want map[string]string) {
	t.Helper()
	for name, key := range want {
		if got[name] != key {
			t.Errorf("%s is %q, want %q", name, got[name], key)
		}
	}
	for name, key := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is shown, of %q", name, key)
		}
	}
}

func berlin(t rapid.TB) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestEmpaticaByParticipant(t *testing.T) {
	const eve, next = 1795129859, 1795129860 // 2026-11-19 23:50:59 and a second later
	csv := func(id, day string) string {
		return "digital_biomarkers/aggregated_per_minute/1-1-" + id + "_" + day + "_eda.csv"
	}
	avro := func(id string, at int) string { return fmt.Sprintf("raw_data/v6/1-1-%s_%d.avro", id, at) }
	keys := []string{
		"1/1/participant_data/2026-11-19/P1-3YKA/" + csv("P1", "2026-11-19"),
		"1/1/participant_data/2026-11-19/P1-3YKA/" + avro("P1", eve),
		"1/1/participant_data/2026-11-19/P1-3YKB/" + csv("P1", "2026-11-19"), // a second device, the same name
		"1/1/participant_data/2026-11-20/P1-3YKA/" + csv("P1", "2026-11-20"),
		"1/1/participant_data/2026-11-20/P1-3YKA/notes.txt", // tells no time
		"1/1/participant_data/2026-11-20/P1-3YKA/" + avro("P1", next-86400),
		"1/2/participant_data/2026-11-19/P1-3YKC/" + csv("P1", "2026-11-19"), // somebody else of that name
		"1/1/participant_data/2026-11-19/1-2-P1-3YKD/" + csv("1-2-P1", "2026-11-19"),
		"1/1/participant_data/2026-11-19/README", "1/1/participant_data/today/P1-3YKA/x", "1/1/other", "x/1/participant_data/2026-11-19/P1-3YKA/x",
	}
	s := opened(t, keys...)
	v := view.Empatica(s.store, berlin(t))
	all := walk(t, v)
	agrees(t, v, all)
	same(t, files(all), map[string]string{
		"by-participant/P1/2026-11-19/3YKA/" + csv("P1", "2026-11-19"):             keys[0],
		"by-participant/P1/2026-11-19/3YKA/" + avro("P1", eve):                     keys[1],
		"by-participant/P1/2026-11-19/3YKB/" + csv("P1", "2026-11-19"):             keys[2],
		"by-participant/P1/2026-11-20/3YKA/" + csv("P1", "2026-11-20"):             keys[3],
		"by-participant/P1/2026-11-20/3YKA/notes.txt":                              keys[4],
		"by-participant/P1/2026-11-20/3YKA/" + avro("P1", next-86400):              keys[5],
		"by-participant/1-2-P1/2026-11-19/3YKC/" + csv("P1", "2026-11-19"):         keys[6],
		"by-participant/1-1-1-2-P1/2026-11-19/3YKD/" + csv("1-2-P1", "2026-11-19"): keys[7],

		"by-participant-local/P1/2026-11-19/3YKA/" + csv("P1", "2026-11-19"):             keys[0], // from one at night on
		"by-participant-local/P1/2026-11-20/3YKA/" + csv("P1", "2026-11-19"):             keys[0], // the hour after midnight
		"by-participant-local/P1/2026-11-20/3YKA/" + avro("P1", eve):                     keys[1], // after midnight in Berlin
		"by-participant-local/P1/2026-11-19/3YKB/" + csv("P1", "2026-11-19"):             keys[2],
		"by-participant-local/P1/2026-11-20/3YKB/" + csv("P1", "2026-11-19"):             keys[2],
		"by-participant-local/P1/2026-11-20/3YKA/" + csv("P1", "2026-11-20"):             keys[3],
		"by-participant-local/P1/2026-11-21/3YKA/" + csv("P1", "2026-11-20"):             keys[3],
		"by-participant-local/1-2-P1/2026-11-19/3YKC/" + csv("P1", "2026-11-19"):         keys[6],
		"by-participant-local/1-2-P1/2026-11-20/3YKC/" + csv("P1", "2026-11-19"):         keys[6],
		"by-participant-local/1-1-1-2-P1/2026-11-19/3YKD/" + csv("1-2-P1", "2026-11-19"): keys[7],
		"by-participant-local/1-1-1-2-P1/2026-11-20/3YKD/" + csv("1-2-P1", "2026-11-19"): keys[7],
	})
	for _, missing := range []string{
		"by-participant/P2", "by-participant/1-1-P1", "by-participant/P1/2026-11-18", "by-participant/P1/2026-11-9", "by-participant/P1/2026-11-19/3YKZ", "by-participant/P1/2026-11-19/B-3YKA",
		"by-participant/P1/2026-11-19/3YKA/nothing", "by-participant-local/P1/2026-11-22", "by-participant-local/P1/2026-11-20/3YKA/notes.txt", "by-participant-local/P1/2026-11-19/3YKA/" + avro("P1", eve),
		"by-participant/1-2-", "by-participant/README", "1/1/other", "elsewhere",
	} {
		if it, _, err := v.Lookup(t.Context(), missing); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%s: %+v, %v", missing, it, err)
		}
	}
	if only := view.Empatica(s.store, nil); only.Has("by-participant-local") || len(files(walk(t, only))) != 8 {
		t.Errorf("without a zone: %v", walk(t, only))
	}
}

// What is fetched ahead or pinned by a name of the view is exactly what lies below it: whole folders where they are the same, else files.
func TestPlainNames(t *testing.T) {
	keys := []string{"1/1/participant_data/2026-11-19/P1-D/1-1-P1_2026-11-19_eda.csv", "1/1/participant_data/2026-11-20/P1-D/1-1-P1_2026-11-20_eda.csv", "1/1/participant_data/2026-11-20/P2-D/1-1-P2_2026-11-20_eda.csv"}
	s := opened(t, keys...)
	v := view.Empatica(s.store, time.UTC)
	for name, want := range map[string]string{
		"by-participant/P1": "1/1/participant_data/2026-11-19/P1-D 1/1/participant_data/2026-11-20/P1-D",
		"by-participant/P1/2026-11-20/D/1-1-P1_2026-11-20_eda.csv": keys[1],
		"by-participant-local/P1/2026-11-20":                       keys[1],
		"by-participant":                                           "1/1/participant_data/2026-11-19/P1-D 1/1/participant_data/2026-11-20/P1-D 1/1/participant_data/2026-11-20/P2-D",
	} {
		got, err := v.Plain(t.Context(), name)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
	if _, err := v.Plain(t.Context(), "by-participant/P9"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("nobody: %v", err)
	}
}

func release(ids ...string) (keys []string) {
	for _, id := range ids {
		for _, f := range []string{
			"MNINonLinear/T1w.nii.gz", "T1w/Diffusion/bvals", "T1w/Diffusion/bvecs", "T1w/Diffusion/data.nii.gz", "T1w/Diffusion/nodif_brain_mask.nii.gz",
			"T1w/T1w_acpc_dc.nii.gz", "T1w/aparc+aseg.nii.gz", "release-notes/Structural.txt",
		} {
			keys = append(keys, id+"/"+f)
		}
	}
	return keys
}

func TestPyAFQ(t *testing.T) {
	keys := append(release("100206", "100307"), "README", "group/T1w/Diffusion/bvals", "100408/T1w/T1w_acpc_dc.nii.gz") // the last has little
	s := opened(t, keys...)
	v := view.PyAFQ(s.store, "HCP_1200")
	all := walk(t, v)
	agrees(t, v, all)
	d := "pyafq/derivatives/dmriprep/"
	want := map[string]string{
		"pyafq/dataset_description.json": all["pyafq/dataset_description.json"], d + "dataset_description.json": all[d+"dataset_description.json"],
		d + "sub-100408/ses-01/anat/sub-100408_T1w.nii.gz": "100408/T1w/T1w_acpc_dc.nii.gz",
	}
	for _, id := range []string{"100206", "100307"} {
		in := d + "sub-" + id + "/ses-01/"
		want[in+"dwi/sub-"+id+"_dwi.bval"] = id + "/T1w/Diffusion/bvals"
		want[in+"dwi/sub-"+id+"_dwi.bvec"] = id + "/T1w/Diffusion/bvecs"
		want[in+"dwi/sub-"+id+"_dwi.nii.gz"] = id + "/T1w/Diffusion/data.nii.gz"
		want[in+"anat/sub-"+id+"_T1w.nii.gz"] = id + "/T1w/T1w_acpc_dc.nii.gz"
		want[in+"anat/sub-"+id+"_aparc+aseg_seg.nii.gz"] = id + "/T1w/aparc+aseg.nii.gz"
	}
	same(t, files(all), want)
	for name, says := range map[string]string{
		"pyafq/dataset_description.json": `{"Name":"HCP_1200","Acknowledgements":["Data were provided by`,
		d + "dataset_description.json":   `"PipelineDescription":{"Name":"dmriprep"},"GeneratedBy":[{"Name":"dmriprep"}],"BIDSVersion":"1.4.0","DatasetType":"derivative"}`,
	} {
		it, _, err := v.Lookup(t.Context(), name)
		if err != nil || !strings.Contains(string(it.Made), says) || strings.Contains(string(it.Made), `"Subjects":["100206","100307","100408"],"BIDSVersion"`) == strings.Contains(name, "derivatives") {
			t.Errorf("%s says %s, %v", name, it.Made, err)
		}
	}
	for _, missing := range []string{
		"pyafq/100206", d + "100206", d + "sub-100999", d + "sub-", d + "sub-x", d + "sub-group", d + "sub-100206/dwi", d + "sub-100206/ses-02", d + "sub-100206/ses-01/dwi/sub-100307_dwi.bval",
		d + "sub-100408/ses-01/dwi/sub-100408_dwi.bval", d + "sub-100206/dwi/sub-100206_dwi.bval", "pyafq/derivatives/afq",
	} {
		if it, _, err := v.Lookup(t.Context(), missing); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%s: %+v, %v", missing, it, err)
		}
	}
}

// fourteen are the keys of a study of so many participants over 14 days, each with so many files a day.
func fourteen(people, perDay int) (keys []string) {
	for d := range 14 {
		day := time.Date(2026, 11, 6, 0, 0, 0, 0, time.UTC).AddDate(0, 0, d)
		for p := range people {
			for n := range perDay {
				keys = append(keys, fmt.Sprintf("1/1/participant_data/%s/P%03d-3YK%07d/raw_data/v6/1-1-P%03d_%d.avro", day.Format(time.DateOnly), p, p, p, day.Unix()+int64(60*n)))
			}
		}
	}
	return keys
}

// What listing one participant of a study of 14 days costs on a fresh mount: a page or two where the study is small; where a day is more than a page, a request a
// day. Again, and for everybody else, it costs nothing while the listings are believed; one day costs no more than that day.
func TestWhatAParticipantCosts(t *testing.T) {
	for name, c := range map[string]struct {
		people, perDay      int
		lookup, day, person int64
	}{
		"small": {people: 3, perDay: 20, lookup: 3, day: 0, person: 0},
		"large": {people: 60, perDay: 20, lookup: 3, day: 2, person: 14},
	} {
		t.Run(name, func(t *testing.T) {
			s := opened(t, fourteen(c.people, c.perDay)...)
			v := view.Empatica(s.store, berlin(t))
			cost := func(what string, most int64, do func() error) {
				t.Helper()
				before := s.src.Counts().List
				if err := do(); err != nil {
					t.Fatal(err)
				}
				n := s.src.Counts().List - before
				t.Logf("%s: %d requests", what, n)
				if n > most {
					t.Errorf("%s: %d requests, want %d at most", what, n, most)
				}
			}
			lookup := func(name string) func() error {
				return func() error { _, _, err := v.Lookup(t.Context(), name); return err }
			}
			list := func(name string) func() error {
				return func() error { _, _, err := v.List(t.Context(), name); return err }
			}
			cost("the participant", c.lookup, lookup("by-participant/P001"))
			cost("a day of theirs", c.day, lookup("by-participant/P001/2026-11-10/3YK0000001/raw_data"))
			cost("all of their days", c.person, list("by-participant/P001"))
			cost("again", 0, list("by-participant/P001"))
			cost("another one", 0, list("by-participant/P002"))
			cost("everybody", 4, list("by-participant"))
			cost("local days", 0, list("by-participant-local/P002"))
			cost("somebody who is not there", 0, func() error {
				if err := lookup("by-participant/X")(); !errors.Is(err, backends.ErrNotExist) {
					return fmt.Errorf("%w: found", err)
				}
				return nil
			})
		})
	}
}

// A subject of HCP costs a page of listing for all of its five files.
func TestWhatASubjectCosts(t *testing.T) {
	keys := append(release("100206", "100307"), "100408/T1w/T1w_acpc_dc.nii.gz")
	for i := range 3000 {
		keys = append(keys, fmt.Sprintf("100206/MNINonLinear/%04d", i), fmt.Sprintf("100206/unprocessed/%04d", i))
	}
	s := opened(t, keys...)
	v := view.PyAFQ(s.store, "HCP_1200")
	if _, err := s.store.List(t.Context(), ""); err != nil { // mounting does
		t.Fatal(err)
	}
	before := s.src.Counts().List
	for _, dir := range []string{"pyafq", "pyafq/derivatives/dmriprep", "pyafq/derivatives/dmriprep/sub-100206"} {
		if items, _, err := v.List(t.Context(), dir); err != nil || len(items) == 0 {
			t.Fatal(items, err)
		}
	}
	if n := s.src.Counts().List - before; n != 0 {
		t.Errorf("%d requests for what the root's listing tells", n)
	}
	for _, dir := range []string{"dwi", "anat", "dwi"} {
		if items, _, err := v.List(t.Context(), "pyafq/derivatives/dmriprep/sub-100206/ses-01/"+dir); err != nil || len(items) < 2 {
			t.Fatal(items, err)
		}
	}
	if n := s.src.Counts().List - before; n > 1 {
		t.Errorf("%d requests for a subject", n)
	}
	for range 3 { // some subjects lack files
		before = s.src.Counts().List
		if items, _, err := v.List(t.Context(), "pyafq/derivatives/dmriprep/sub-100408/ses-01/dwi"); err != nil || len(items) != 0 {
			t.Fatal(items, err)
		}
	}
	if n := s.src.Counts().List - before; n != 0 {
		t.Errorf("%d requests for what was known to be missing", n)
	}
}

// A service that does not answer is an error, never a participant without data: a script would take the days for missing.
func TestErrorsAreNoAbsence(t *testing.T) {
	s := opened(t, fourteen(2, 2)...)
	s.src.Before(func(mem.Op) error { return backends.ErrPermission })
	v, hcp := view.Empatica(s.store, berlin(t)), view.PyAFQ(s.store, "x")
	for _, name := range []string{"by-participant/P001", "by-participant/P001/2026-11-06", "by-participant/P001/2026-11-06/3YK0000001", "by-participant-local/P001/2026-11-06", "by-participant-local/P001/2026-11-06/3YK0000001/raw_data"} {
		if _, _, err := v.Lookup(t.Context(), name); !errors.Is(err, backends.ErrPermission) {
			t.Errorf("looking up %s: %v", name, err)
		}
		if _, err := v.Plain(t.Context(), name); !errors.Is(err, backends.ErrPermission) {
			t.Errorf("files of %s: %v", name, err)
		}
		if _, _, err := v.List(t.Context(), name); !errors.Is(err, backends.ErrPermission) {
			t.Errorf("listing %s: %v", name, err)
		}
	}
	for _, name := range []string{"pyafq", "pyafq/derivatives/dmriprep", "pyafq/derivatives/dmriprep/sub-1/ses-01/dwi"} {
		if _, _, err := hcp.List(t.Context(), name); !errors.Is(err, backends.ErrPermission) {
			t.Errorf("listing %s: %v", name, err)
		}
	}
}

// Whatever an organisation is called and whatever lies in it: by UTC's days every file of a day is shown exactly once, under a name that leads back to it; by local days in each
// day that it has a part of and nowhere else; nothing else is shown; and a change in the source is told of under all names that are shown.
func TestEveryNameLeadsToOneFile(t *testing.T) {
	dir := t.TempDir()
	zones := []string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/Sao_Paulo"}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(rt, "zone"))
		if err != nil {
			rt.Fatal(err)
		}
		keys := map[string]bool{}
		for range rapid.IntRange(1, 30).Draw(rt, "files") {
			keys[drawKey(rt)] = true
		}
		s := open(rt, fmt.Sprint(dir, "/", run), slices.Collect(maps.Keys(keys))...)
		defer s.close(rt)
		v := view.Empatica(s.store, zone)
		all := walk(rt, v)
		agrees(rt, v, all)
		want := map[string]string{}
		for key := range keys {
			for _, name := range expected(key, zone) {
				if was, taken := want[name]; taken {
					rt.Errorf("%s is %s and %s", name, was, key)
				}
				want[name] = key
			}
			told := map[string]string{}
			for _, c := range v.Changed(backends.Change{Dir: path.Dir(key), Names: []string{key}}) {
				for _, name := range c.Names {
					told[name] = key
				}
			}
			for name, of := range all {
				if of == key && told[name] != key {
					rt.Errorf("that %s changes is not told of %s", key, name)
				}
			}
		}
		same(rt, files(all), want)
	})
}

// drawKey makes up a key: most as Empatica makes them, some not.
func drawKey(rt *rapid.T) string {
	day := time.Date(2026, 10, 24, 0, 0, 0, 0, time.UTC).AddDate(0, 0, rapid.IntRange(0, 2).Draw(rt, "day"))
	id := rapid.SampledFrom([]string{"P1", "1-1-P1", "1-2-P1", "P_2026-10-25_x", "a-b", "7", "-", "ü_1761350400"}).Draw(rt, "participant")
	base := rapid.SampledFrom([]string{"1/1/participant_data/", "1/1/participant_data/", "1/2/participant_data/", "12/3/participant_data/", "1/participant_data/"}).Draw(rt, "site")
	dev := rapid.SampledFrom([]string{"A", "B"}).Draw(rt, "device")
	at := day.Add(time.Duration(rapid.IntRange(-3600, 90000).Draw(rt, "second")) * time.Second)
	file := rapid.SampledFrom([]string{
		fmt.Sprintf("raw_data/v6/1-1-%s_%d.avro", id, at.Unix()), "digital_biomarkers/x/1-1-" + id + "_" + at.Format(time.DateOnly) + "_eda.csv",
		"notes.txt", "raw_data/v6/" + at.Format(time.DateOnly) + ".csv", "raw_data/_1.avro",
	}).Draw(rt, "file")
	return base + day.Format(time.DateOnly) + "/" + id + "-" + dev + "/" + file
}

// expected says under which names a key must be shown, reckoned apart from the product: by instants.
func expected(key string, zone *time.Location) (names []string) {
	p := strings.SplitN(key, "/", 6)
	if len(p) < 6 || p[2] != "participant_data" {
		return nil
	}
	cut := len(p[4]) - 2
	id, dev := p[4][:cut], p[4][cut+1:]
	who := p[0] + "-" + p[1] + "-" + id
	if p[0]+p[1] == "11" && !strings.HasPrefix(id, "1-") {
		who = id
	}
	names = append(names, strings.Join([]string{"by-participant", who, p[3], dev, p[5]}, "/"))
	folder, _ := time.Parse(time.DateOnly, p[3])
	base := path.Base(key)
	var first, last time.Time
	var unix int64
	if _, err := fmt.Sscanf(base[strings.LastIndex(base, "_")+1:], "%d.avro", &unix); err == nil && strings.HasSuffix(base, ".avro") && unix > 1 {
		first, last = time.Unix(unix, 0), time.Unix(unix, 0)
	} else if i := strings.LastIndex(base, "2026-"); i >= 0 && !strings.HasSuffix(base, ".avro") {
		first, _ = time.Parse(time.DateOnly, base[i:i+10])
		last = first.Add(24*time.Hour - time.Second)
	} else {
		return names
	}
	if first.Before(folder) || !first.Before(folder.AddDate(0, 0, 1)) {
		return names
	}
	days := map[string]bool{first.In(zone).Format(time.DateOnly): true, last.In(zone).Format(time.DateOnly): true}
	for day := range days {
		names = append(names, strings.Join([]string{"by-participant-local", who, day, dev, p[5]}, "/"))
	}
	return names
}

// The same of HCP: every name of a subject's files leads to one of its five, and back.
func TestPyAFQTellsOfChanges(t *testing.T) {
	s := opened(t, release("100206")...)
	v := view.PyAFQ(s.store, "HCP_1200")
	shown, told := map[string]string{}, map[string]string{}
	for name, key := range files(walk(t, v)) {
		if !strings.HasSuffix(name, ".json") {
			shown[name] = key
		}
	}
	for _, key := range append(release("100206"), "100206", "README", "group/T1w/Diffusion/bvals") {
		for _, c := range v.Changed(backends.Change{Dir: path.Dir(key), Names: []string{key}}) {
			if key != "100206" {
				told[c.Names[0]] = key
			}
		}
	}
	same(t, told, shown)
}
