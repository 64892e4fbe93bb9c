package e2e

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
	"studyfs/tests/harness"
)

func gets(srv *s3test.Server) (n int) {
	for _, r := range srv.Requests() {
		if r.Op == "GetObject" {
			n++
		}
	}
	return n
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// An analyst has one participant's data in one folder, by days of UTC and of the study's place, and nothing is fetched or kept twice for it.
func TestByParticipant(t *testing.T) {
	files := harness.Collect(t, sample.EmpaticaPrefix, sample.Empatica(sample.Options{Participants: 2, Days: 2}))
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	harness.Fill(srv, "v2/4711/", files)
	e := harness.New(t)
	args := []string{"empatica:" + e.KeysFile("s3://study/v2/4711/"), "--endpoint-url", url}
	dir := e.Mount(args...)
	if got := entries(t, dir); !slices.Equal(got, []string{"1"}) {
		t.Errorf("a view that nobody asked for: %v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "by-participant")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a view that nobody asked for: %v", err)
	}
	e.Unmount(dir)
	e.MountAt(dir, append(args, "--view", "by-participant", "--time-zone", "America/New_York")...)
	if got := entries(t, dir); !slices.Equal(got, []string{"1", "by-participant", "by-participant-local"}) {
		t.Errorf("root: %v", got)
	}
	utc, local := map[string]harness.File{}, map[string]harness.File{}
	key := regexp.MustCompile(`^1/1/participant_data/(2026-11-..)/(P00.)-(3YK\w+)/(.*)$`)
	before := map[string]string{"2026-11-18": "2026-11-17", "2026-11-19": "2026-11-18"}
	for name, f := range files {
		m := key.FindStringSubmatch(name)
		day, in := m[1], "/"+m[3]+"/"+m[4]
		utc[m[2]+"/"+day+in] = f
		if csv := strings.HasSuffix(name, ".csv"); csv || !earliest(name, files) {
			local[m[2]+"/"+day+in] = f
		}
		if csv := strings.HasSuffix(name, ".csv"); csv || earliest(name, files) { // from seven in the evening on
			local[m[2]+"/"+before[day]+in] = f
		}
	}
	srv.Reset()
	harness.Compare(t, filepath.Join(dir, "by-participant"), utc)
	if n := gets(srv); n != len(files) {
		t.Errorf("%d requests for %d files", n, len(files))
	}
	srv.Reset()
	harness.Compare(t, filepath.Join(dir, "by-participant-local"), local)
	harness.Compare(t, filepath.Join(dir, "1"), trimmed(files, "1/"))
	if n := len(srv.Requests()); n != 0 {
		t.Errorf("%d requests for the same files under other names", n)
	}
	one := filepath.Join(dir, "by-participant/P001/2026-11-19/3YK1A0B000/digital_biomarkers/aggregated_per_minute/1-1-P001_2026-11-19_eda.csv")
	if r := e.Run("status", one, "--json"); r.Code != 0 || !strings.Contains(r.Out, `"cached"`) {
		t.Errorf("status: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	if err := os.WriteFile(one, nil, 0o644); err == nil || os.Remove(one) == nil || os.Mkdir(filepath.Join(dir, "by-participant/P003"), 0o755) == nil {
		t.Error("a view was written to")
	}
	e.Unmount(dir)
}

// earliest tells the raw file that begins at 00:13 UTC.
func earliest(name string, files map[string]harness.File) bool {
	dir := name[:strings.LastIndexByte(name, '/')+1]
	for other := range files {
		if strings.HasPrefix(other, dir) && other < name {
			return false
		}
	}
	return strings.HasSuffix(name, ".avro")
}

func trimmed(files map[string]harness.File, prefix string) map[string]harness.File {
	out := map[string]harness.File{}
	for name, f := range files {
		out[strings.TrimPrefix(name, prefix)] = f
	}
	return out
}

// One participant is fetched ahead and pinned by the name of the view, and by no other.
func TestWarmAndPinOfAParticipant(t *testing.T) {
	files := harness.Collect(t, sample.EmpaticaPrefix, sample.Empatica(sample.Options{Participants: 2, Days: 2}))
	srv, url := harness.Strict(t, "v2/4711/", s3test.Options{})
	harness.Fill(srv, "v2/4711/", files)
	e := harness.New(t)
	dir := e.Mount("empatica:"+e.KeysFile("s3://study/v2/4711/"), "--endpoint-url", url, "--view", "by-participant", "--time-zone", "Europe/Berlin")
	warm := func(args ...string) (out warmJSON) {
		t.Helper()
		r := e.Run(append(args, "--json")...)
		if r.Code != 0 || json.Unmarshal([]byte(r.Out), &out) != nil {
			t.Fatalf("%v: exit %d\n%s%s", args, r.Code, r.Out, r.Err)
		}
		return out
	}
	person, day := filepath.Join(dir, "by-participant/P001"), filepath.Join(dir, "by-participant-local/P001/2026-11-20")
	if r := warm("warm", "--dry-run", day); r.Found.Files != 17 { // 16 biomarkers of UTC's 19th, and the raw file that begins after midnight in Berlin
		t.Errorf("a local day: %+v", r)
	}
	if r := warm("warm", person); r.Found.Files != 40 || r.Fetched.Files != 40 || gets(srv) != 40 {
		t.Errorf("%+v, %d requests", r, gets(srv))
	}
	pins := warm("pin", person).Pins
	if len(pins) != 2 || pins[0].Path != filepath.Join(dir, "1/1/participant_data/2026-11-18/P001-3YK1A0B000") || pins[0].Bytes == 0 {
		t.Errorf("pinned: %+v", pins)
	}
	if left := warm("unpin", person).Pins; len(left) != 0 {
		t.Errorf("still pinned: %+v", left)
	}
	if r := e.Run("warm", filepath.Join(dir, "by-participant/P009")); r.Code != 1 || !strings.Contains(r.Err, "no such file") {
		t.Errorf("nobody: exit %d\n%s", r.Code, r.Err)
	}
	e.Unmount(dir)
}

// A pipeline for what pyAFQ's fetch_hcp leaves reads HCP without a copy: nibabel gets the same images, and the descriptions are there.
func TestHCPAsPyAFQNamesIt(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.CreateBucket("hcp-openaccess")
	for key, o := range sample.HCP(sample.Options{}) {
		srv.Put("hcp-openaccess", key, o)
	}
	files := harness.Collect(t, "HCP_1200/", sample.HCP(sample.Options{}))
	srv.Put("hcp-openaccess", "HCP_1200/100206/T1w/aparc+aseg.nii.gz", s3test.Bytes(files["100307/T1w/T1w_acpc_dc.nii.gz"].Body))
	files["100206/T1w/aparc+aseg.nii.gz"] = files["100307/T1w/T1w_acpc_dc.nii.gz"]
	e := harness.New(t)
	e.Profile("hcp")
	dir := e.Mount("hcp:", "--endpoint-url", url, "--view", "pyafq")
	got := map[string]string{}
	err := filepath.WalkDir(filepath.Join(dir, "pyafq"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		got[name] = string(body)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"pyafq/", "pyafq/derivatives/dmriprep/"} {
		var says struct {
			Name, BIDSVersion, DatasetType string
			Subjects                       []string
		}
		text := got[d+"dataset_description.json"]
		if err := json.Unmarshal([]byte(text), &says); err != nil || says.Name != "HCP_1200" || says.BIDSVersion != "1.4.0" || (len(says.Subjects) == 3) != (says.DatasetType == "") {
			t.Errorf("%s: %s, %v", d, text, err)
		}
		delete(got, d+"dataset_description.json")
	}
	want := map[string]string{"pyafq/derivatives/dmriprep/sub-100206/ses-01/anat/sub-100206_aparc+aseg_seg.nii.gz": string(files["100206/T1w/aparc+aseg.nii.gz"].Body)}
	for _, id := range []string{"100206", "100307", "100408"} {
		for name, key := range map[string]string{"dwi/_dwi.bval": "Diffusion/bvals", "dwi/_dwi.bvec": "Diffusion/bvecs", "dwi/_dwi.nii.gz": "Diffusion/data.nii.gz", "anat/_T1w.nii.gz": "T1w_acpc_dc.nii.gz"} {
			want["pyafq/derivatives/dmriprep/sub-"+id+"/ses-01/"+strings.Replace(name, "_", "sub-"+id+"_", 1)] = string(files[id+"/T1w/"+key].Body)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	if n := gets(srv); n != len(want) {
		t.Errorf("%d requests for %d files", n, len(want))
	}
	harness.Compare(t, filepath.Join(dir, "100408"), below(files, "100408/"))
	const python, script = "/usr/bin/python3", `
import sys, nibabel, numpy
D = sys.argv[1]
for a, b in [("dwi/sub-100206_dwi.nii.gz", "Diffusion/data.nii.gz"), ("anat/sub-100206_T1w.nii.gz", "T1w_acpc_dc.nii.gz")]:
    shown = nibabel.load(D + "/pyafq/derivatives/dmriprep/sub-100206/ses-01/" + a)
    plain = nibabel.load(D + "/100206/T1w/" + b)
    assert shown.shape == plain.shape and numpy.array_equal(numpy.asarray(shown.dataobj), numpy.asarray(plain.dataobj))
    print(shown.shape)
bvals = numpy.loadtxt(D + "/pyafq/derivatives/dmriprep/sub-100206/ses-01/dwi/sub-100206_dwi.bval")
assert len(bvals) == 30`
	if exec.Command(python, "-c", "import nibabel").Run() == nil {
		if r := e.Exec(python, "-c", script, dir); r.Code != 0 || !strings.Contains(r.Out, "(24, 24, 16, 30)") {
			t.Errorf("nibabel: exit %d\n%s%s", r.Code, r.Out, r.Err)
		}
	}
	e.Unmount(dir)
}

// below are the files in a folder, by their names in it.
func below(files map[string]harness.File, dir string) map[string]harness.File {
	out := map[string]harness.File{}
	for name, f := range files {
		if rest, in := strings.CutPrefix(name, dir); in {
			out[rest] = f
		}
	}
	return out
}
