package view

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"studyfs/backends"
)

// The folders and files of pyAFQ's view.
const (
	pyAFQFolder  = "pyafq"
	derivatives  = "derivatives"
	dmriprep     = "dmriprep"
	session      = "ses-01"
	description  = "dataset_description.json"
	bidsVersion  = "1.4.0" // that pyAFQ claims
	hcpThanks    = "Data were provided by the Human Connectome Project, WU-Minn Consortium (Principal Investigators: David Van Essen and Kamil Ugurbil; 1U54MH091657) funded by the 16 NIH Institutes and Centers that support the NIH Blueprint for Neuroscience Research; and by the McDonnell Center for Systems Neuroscience at Washington University."
	pyAFQDataset = pyAFQFolder + "/" + derivatives + "/" + dmriprep
)

// pyAFQ names what a release of the Human Connectome Project has as pyAFQ does, see [PyAFQ].
type pyAFQ struct{ study string }

// PyAFQ shows a release of the Human Connectome Project, such as HCP_1200, as AFQ.data.fetch.fetch_hcp of pyAFQ would leave it: the data set
// pyafq has dataset_description.json and derivatives/dmriprep, which has another and sub-ID/ses-01 for each subject, with
//
//	dwi/sub-ID_dwi.bval, .bvec, .nii.gz        ID/T1w/Diffusion/bvals, bvecs, data.nii.gz
//	anat/sub-ID_T1w.nii.gz                     ID/T1w/T1w_acpc_dc.nii.gz
//	anat/sub-ID_aparc+aseg_seg.nii.gz          ID/T1w/aparc+aseg.nii.gz
//
// as far as the subject has them. It has a folder of its own since programs walk through all of a data set, and the release has 15 million files.
// study is what it is called in the descriptions, which are the only files that the source does not have.
func PyAFQ(s Store, study string) *View { return &View{store: s, names: pyAFQ{study}} }

// fetched are the files of a subject: below its folder in the release, and below ses-01 without what stands for the subject.
func fetched() [][2]string {
	return [][2]string{
		{"T1w/T1w_acpc_dc.nii.gz", "anat/_T1w.nii.gz"},
		{"T1w/aparc+aseg.nii.gz", "anat/_aparc+aseg_seg.nii.gz"},
		{"T1w/Diffusion/bvals", "dwi/_dwi.bval"},
		{"T1w/Diffusion/bvecs", "dwi/_dwi.bvec"},
		{"T1w/Diffusion/data.nii.gz", "dwi/_dwi.nii.gz"},
	}
}

func (p pyAFQ) folders() []string { return []string{pyAFQFolder} }

func (p pyAFQ) folder(string) (string, bool) { return "", false }

// shown are the names of a file or of a subject's folder.
func (p pyAFQ) shown(key string) []string {
	id, rest := cut(key)
	if !number(id) {
		return nil
	}
	if rest == "" {
		return []string{pyAFQDataset + "/sub-" + id}
	}
	for _, f := range fetched() {
		if f[0] == rest {
			return []string{pyAFQDataset + "/sub-" + id + "/" + session + "/" + named(f[1], id)}
		}
	}
	return nil
}

// named puts the subject into the name of a file.
func named(file, id string) string { return strings.Replace(file, "/_", "/sub-"+id+"_", 1) }

// key is what the source calls a file, in the folder of the subject; "" if that is none of the five.
func key(id, file string) string {
	for _, f := range fetched() {
		if named(f[1], id) == file {
			return f[0]
		}
	}
	return ""
}

// subject takes what lies below derivatives/dmriprep apart.
func subject(name string) (id, rest string, ok bool) {
	below, ok := strings.CutPrefix(name, pyAFQDataset+"/sub-")
	id, rest = cut(below)
	return id, rest, ok && number(id)
}

func (p pyAFQ) lookup(ctx context.Context, a *asked, name string) (Item, error) {
	it := Item{Name: name}
	switch name {
	case pyAFQFolder, pyAFQFolder + "/" + derivatives, pyAFQDataset:
		return it, nil
	case pyAFQFolder + "/" + description, pyAFQDataset + "/" + description:
		return p.describe(ctx, a, name)
	}
	id, rest, ok := subject(name)
	if !ok {
		return it, backends.ErrNotExist
	}
	if e, err := a.lookup(ctx, id); err != nil || !e.Dir {
		return it, orNotExist(err)
	}
	switch rest {
	case "", session, session + "/anat", session + "/dwi":
		return it, nil
	}
	file, _ := strings.CutPrefix(rest, session+"/")
	at := key(id, file)
	if at == "" || file == rest {
		return it, backends.ErrNotExist
	}
	e, err := a.find(ctx, id, at)
	if err != nil || e.Dir {
		return it, orNotExist(err)
	}
	it.Of = e
	return it, nil
}

// orNotExist is the error of a lookup that found nothing of use: its own, if it has one.
func orNotExist(err error) error {
	if err == nil {
		return backends.ErrNotExist
	}
	return err
}

func (p pyAFQ) list(ctx context.Context, a *asked, dir string) ([]Item, error) {
	switch dir {
	case pyAFQFolder:
		return p.items(ctx, a, dir, []string{description, derivatives})
	case pyAFQFolder + "/" + derivatives:
		return p.items(ctx, a, dir, []string{dmriprep})
	case pyAFQDataset:
		ids, err := p.subjects(ctx, a)
		if err != nil {
			return nil, err
		}
		names := []string{description}
		for _, id := range ids {
			names = append(names, "sub-"+id)
		}
		return p.items(ctx, a, dir, names)
	}
	id, rest, ok := subject(dir)
	switch {
	case !ok:
		return nil, nil
	case rest == "":
		return p.items(ctx, a, dir, []string{session})
	case rest == session:
		return p.items(ctx, a, dir, []string{"anat", "dwi"})
	}
	var names []string
	for _, f := range fetched() {
		if in, base := backends.Split(named(f[1], id)); session+"/"+in == rest {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return p.items(ctx, a, dir, names)
}

// items are those of the names in dir that there are. Subjects need not be asked for: that they were listed is enough.
func (p pyAFQ) items(ctx context.Context, a *asked, dir string, names []string) ([]Item, error) {
	var all []Item
	for _, n := range names {
		name := backends.Join(dir, n)
		if id, rest, ok := subject(name); ok && rest == "" && id != "" {
			all = append(all, Item{Name: name})
			continue
		}
		it, err := p.lookup(ctx, a, name)
		switch {
		case errors.Is(err, backends.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, it)
	}
	return all, nil
}

// subjects are those of the release, in order.
func (p pyAFQ) subjects(ctx context.Context, a *asked) ([]string, error) { return numbered(ctx, a, "") }

// about is a dataset_description.json as pyAFQ writes it.
type about struct {
	Name             string
	Acknowledgements []string
	Subjects         []string     `json:",omitempty"`
	Pipeline         *generator   `json:"PipelineDescription,omitempty"`
	GeneratedBy      []*generator `json:",omitempty"`
	BIDSVersion      string
	DatasetType      string `json:",omitempty"`
}

type generator struct{ Name string }

// describe makes one of the two descriptions.
func (p pyAFQ) describe(ctx context.Context, a *asked, name string) (Item, error) {
	d := about{Name: p.study, Acknowledgements: []string{hcpThanks}, BIDSVersion: bidsVersion}
	if name == pyAFQFolder+"/"+description {
		ids, err := p.subjects(ctx, a)
		if err != nil {
			return Item{}, err
		}
		d.Subjects = ids
	} else {
		d.Pipeline = &generator{dmriprep}
		d.GeneratedBy, d.DatasetType = []*generator{d.Pipeline}, "derivative"
	}
	made, err := json.Marshal(d)
	return Item{Name: name, Made: append(made, '\n')}, err
}
