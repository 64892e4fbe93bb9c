package gate

import (
	"slices"
	"strings"
	"testing"
)

// tree answers as siblings of a study that holds these files.
func tree(files ...string) Siblings {
	return func(dir string) []string {
		var names []string
		for _, file := range files {
			rest, ok := file, dir == ""
			if !ok {
				rest, ok = strings.CutPrefix(file, dir+"/")
			}
			name, _, _ := strings.Cut(rest, "/")
			if ok && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		return names
	}
}

// rules are the rules that findings name; those that park are marked.
func rules(findings []Finding) string {
	var all []string
	for _, f := range findings {
		if f.Parks {
			f.Rule += "!"
		}
		all = append(all, f.Rule)
	}
	return strings.Join(all, " ")
}

// The tree that the lab's own instructions ask for: undashed directories, .bvals, one T1 among the T1w, aparc+aseg as a suffix.
func labTree() []string {
	var files []string
	for _, sub := range []string{"01", "02"} {
		for _, ses := range []string{"01", "02"} {
			dir, stem := "derivatives/dmriprep/sub"+sub+"/ses"+ses+"/", "sub-"+sub+"_ses-"+ses+"_"
			t1 := "T1w.nii.gz"
			if sub+ses == "0101" {
				t1 = "T1.nii.gz"
			}
			files = append(files, dir+"anat/"+stem+"aparc+aseg.nii.gz", dir+"anat/"+stem+t1,
				dir+"dwi/"+stem+"dwi.bvals", dir+"dwi/"+stem+"dwi.bvecs", dir+"dwi/"+stem+"dwi.nii.gz")
		}
	}
	return files
}

// A lab that follows its own instructions gets no warning, or it would soon read none.
func TestTheLabsOwnTreePasses(t *testing.T) {
	files := labTree()
	for _, file := range files {
		if f := Bidsish.Check(file, tree(files...)); len(f) > 0 {
			t.Errorf("%s: %v", file, f)
		}
	}
	described, held := 0, map[string]string{}
	for _, file := range files {
		f := Strict.Check(file, tree(files...))
		described += strings.Count(rules(f), "dataset-description")
		held[file] = strings.ReplaceAll(rules(f), " dataset-description", "")
	}
	if described != 1 {
		t.Errorf("the missing description is told %d times, not once", described)
	}
	const dirs = "subject-directory! session-directory! "
	for file, want := range map[string]string{
		"derivatives/dmriprep/sub01/ses01/anat/sub-01_ses-01_T1.nii.gz":         dirs + "suffix!",
		"derivatives/dmriprep/sub01/ses02/anat/sub-01_ses-02_T1w.nii.gz":        strings.TrimSpace(dirs),
		"derivatives/dmriprep/sub02/ses01/anat/sub-02_ses-01_aparc+aseg.nii.gz": dirs + "suffix!",
		"derivatives/dmriprep/sub02/ses01/dwi/sub-02_ses-01_dwi.bvals":          dirs + "extension!",
		"derivatives/dmriprep/sub02/ses01/dwi/sub-02_ses-01_dwi.nii.gz":         dirs + "dwi-triple! dwi-triple!",
	} {
		if held[file] != want {
			t.Errorf("strict: %s: %q, want %q", file, held[file], want)
		}
	}
}

// Nothing that the specification allows is minded by either profile.
func TestValidNamesPass(t *testing.T) {
	files := []string{
		"dataset_description.json", "README", "README.md", "CHANGES", "LICENSE", "CITATION.cff", "participants.tsv", "participants.json", ".bidsignore",
		"task-rest_bold.json", "acq-b0_dwi.bval", "code/run me.sh", "sourcedata/sub1/X.EDF", "stimuli/a.png", "phenotype/adhd.tsv",
		"sub-01/sub-01_sessions.tsv", "sub-01/ses-1/sub-01_ses-1_scans.tsv", "sub-01/ses-1/sub-01_ses-1_task-rest_bold.json",
		"sub-01/ses-1/anat/sub-01_ses-1_acq-hi_run-02_T1w.nii.gz", "sub-01/ses-1/func/sub-01_ses-1_task-rest_run-1_echo-2_bold.nii.gz",
		"sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz", "sub-01/ses-1/dwi/sub-01_ses-1_dwi.bval", "sub-01/ses-1/dwi/sub-01_ses-1_dwi.bvec",
		"sub-01/ses-1/dwi/sub-01_ses-1_sbref.nii.gz", "sub-02/ieeg/sub-02_task-film_ieeg.edf", "sub-02/ieeg/sub-02_task-film_ieeg.mefd/a/.x/b c.tdat",
		"sub-02/ieeg/sub-02_space-MNI_electrodes.tsv", "sub-02/meg/sub-02_task-a_meg.ds/x/y", "sub-02/meg/sub-02_task-a_meg/config",
		"sub-02/micr/sub-02_sample-A_SEM.ome.zarr/0/0", "derivatives/fmriprep/dataset_description.json", "derivatives/fmriprep/logs/a b/c",
		"derivatives/fmriprep/sub-02/anat/sub-02_desc-aparcaseg_dseg.nii.gz", "derivatives/a/derivatives/b/sub-02/anat/sub-02_desc-x_mask.nii.gz",
		"derivatives/a/derivatives/b/dataset_description.json", "derivatives/a/dataset_description.json",
		"tpl-MNI/cohort-1/anat/tpl-MNI_cohort-1_res-1_T1w.nii.gz", "a/.hidden/b",
	}
	for _, p := range []Profile{Bidsish, Strict} {
		for _, file := range files {
			if f := p.Check(file, tree(files...)); len(f) > 0 {
				t.Errorf("%v: %s: %v", p, file, f)
			}
		}
	}
}

func TestFindings(t *testing.T) {
	const anat = "sub-01/anat/sub-01_"
	for _, c := range []struct{ name, bidsish, strict string }{
		{"scan.nii.gz", "top-level", "top-level!"},
		{"notes.txt", "", "top-level!"},
		{"subcortical/x.nii.gz", "path", "path!"},
		{"derivatives/x.nii.gz", "path", "path!"},
		{"sub-01/T1w.nii.gz", "path", "path!"},
		{"sub-01/mri/sub-01_T1w.nii.gz", "datatype", "datatype!"},
		{"sub-01/anat/old/sub-01_T1w.nii.gz", "path", "path!"},
		{"sub-01/anat/sub-02_T1w.nii.gz", "subject", "subject!"},
		{"sub-01/anat/T1w.nii.gz", "subject", "subject!"},
		{"sub-01/anat/run-1_sub-01_T1w.nii.gz", "subject", "subject! entity-order!"},
		{"sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz", "session", "session!"},
		{"sub-01/anat/sub-01_ses-2_T1w.nii.gz", "session", "session!"},
		{"sub-01/ses-1/anat/sub-01_T1w.nii.gz", "", "session!"},
		{anat + "run-1_run-2_T1w.nii.gz", "entity-twice", "entity-twice!"},
		{anat + "run-1_acq-a_T1w.nii.gz", "", "entity-order!"},
		{anat + "desc-x_space-y_T1w.nii.gz", "", "entity-order!"},
		{anat + "run-a_T1w.nii.gz", "", "index!"},
		{anat + "acq-a.b_T1w.nii.gz", "", "suffix! extension!"},
		{anat + "acq-_T1w.nii.gz", "", "label!"},
		{anat + "acq-a-b_T1w.nii.gz", "", "label!"},
		{anat + "zzz-1_T1w.nii.gz", "", "entity!"},
		{anat + "final_T1w.nii.gz", "", "entity!"},
		{anat + "run-1.nii.gz", "", "suffix!"},
		{anat + "T1.nii.gz", "", "suffix!"},
		{anat + "T1w.NII.GZ", "", "extension!"},
		{anat + "T1w", "", "extension!"},
		{anat + "T1 w.nii.gz", "characters", "characters! suffix!"},
		{"sub-01/ieeg/sub-01_task-a_ieeg.EDF", "", "extension!"},
		{"sub-01/ieeg/sub-01_task-a_ieeg.mat", "", "extension!"},
		{"phenotype/adhd.xlsx", "", "extension!"},
	} {
		if got := rules(Bidsish.Check(c.name, nil)); got != c.bidsish {
			t.Errorf("bidsish: %s: %q, want %q", c.name, got, c.bidsish)
		}
		if got := rules(Strict.Check(c.name, nil)); got != c.strict {
			t.Errorf("strict: %s: %q, want %q", c.name, got, c.strict)
		}
		if got := Off.Check(c.name, nil); got != nil {
			t.Errorf("off: %s: %v", c.name, got)
		}
	}
}

// What one file does to another shows only beside it.
func TestNeighbours(t *testing.T) {
	const d = "sub-01/dwi/sub-01_"
	for _, c := range []struct {
		name  string
		other []string
		want  string
	}{
		{"sub-01/anat/sub-01_T1w.nii", []string{"sub-01/anat/sub-01_T1w.nii.gz"}, "nifti-twice"},
		{"sub-01/anat/sub-01_T1w.nii", []string{"sub-01/anat/sub-01_t1w.nii"}, "case-collision"},
		{"sub-a/anat/sub-a_T1w.nii", []string{"sub-A/anat/sub-A_T1w.nii"}, "case-collision"},
		{"derivatives/p/sub-a/anat/sub-a_T1w.nii", []string{"derivatives/P/sub-b/anat/sub-b_T1w.nii"}, "case-collision"},
		{d + "dwi.nii.gz", nil, "dwi-triple dwi-triple"},
		{d + "dwi.nii.gz", []string{d + "dwi.bval"}, "dwi-triple"},
		{d + "dwi.nii.gz", []string{d + "dwi.bval", d + "dwi.bvec"}, ""},
		{d + "dwi.nii.gz", []string{d + "dwi.bvals", d + "dwi.bvecs"}, ""},
		{d + "dwi.nii.gz", []string{"dwi.bval", "sub-01/sub-01_dwi.bvec"}, ""},
		{d + "run-1_dwi.nii.gz", []string{d + "run-2_dwi.bval", d + "dwi.bvec"}, "dwi-triple"},
		{d + "dwi.bval", nil, "dwi-triple"},
		{d + "dwi.bval", []string{d + "run-1_dwi.nii"}, ""},
	} {
		if got := rules(Bidsish.Check(c.name, tree(append(c.other, c.name)...))); got != c.want {
			t.Errorf("%s beside %v: %q, want %q", c.name, c.other, got, c.want)
		}
	}
}

func TestCheckDescription(t *testing.T) {
	for text, want := range map[string]int{
		`{"Name":"a","BIDSVersion":"1.10.0"}`:                                                             0,
		`{"Name":"a","BIDSVersion":"1.10.0","DatasetType":"derivative"}`:                                  1,
		`{"Name":"a","BIDSVersion":"1.10.0","DatasetType":"derivative","GeneratedBy":[{"Name":"vista"}]}`: 0,
		`{}`: 2, ``: 1, `[]`: 1, `{"Name":1}`: 1,
	} {
		if got := CheckDescription(strings.NewReader(text)); len(got) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestParseProfile(t *testing.T) {
	for _, p := range []Profile{Off, Bidsish, Strict} {
		if got, err := ParseProfile(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if _, err := ParseProfile("Strict"); err == nil {
		t.Error("a profile that there is not was taken")
	}
}

func FuzzCheck(f *testing.F) {
	for _, file := range labTree() {
		f.Add(file, "sub-01")
	}
	f.Add("derivatives/derivatives/derivatives", "")
	f.Add("sub-1/ses-1", "-_._-.")
	f.Fuzz(func(t *testing.T, name, other string) {
		siblings := func(dir string) []string {
			if len(dir) > len(name) {
				t.Errorf("asks for %q of %q", dir, name)
			}
			return []string{other, "README"}
		}
		for _, finding := range Bidsish.Check(name, siblings) {
			if finding.Parks {
				t.Errorf("bidsish holds back %q: %v", name, finding)
			}
		}
		loose, strict := Bidsish.Check(name, nil), Strict.Check(name, nil)
		if len(strict) < len(loose) {
			t.Errorf("%q: strict finds less: %v than bidsish: %v", name, strict, loose)
		}
	})
}
