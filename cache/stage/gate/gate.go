// Package gate judges files that are copied into a study. A [Profile] looks at names only, by the rules of the Brain Imaging Data Structure
// (BIDS, https://bids-specification.readthedocs.io) and by the looser ones of trees that are merely like it. [Rules] look at names and contents
// for what could name a patient. Neither keeps state nor touches a disk.
package gate

import (
	"fmt"
	"slices"
	"strings"
)

// Profile is how closely names are looked at.
type Profile uint8

// The profiles.
const (
	// Off finds nothing.
	Off Profile = iota
	// Bidsish warns where a tree cannot be told apart into subjects, sessions and kinds of data: sub01 stands for sub-01, .bvals
	// for .bval, and any suffix will do. It never holds a file back.
	Bidsish
	// Strict holds back what the BIDS specification does not allow.
	Strict
)

// String returns the profile as [ParseProfile] takes it.
func (p Profile) String() string {
	switch p {
	case Off:
		return "off"
	case Bidsish:
		return "bidsish"
	case Strict:
		return "strict"
	default:
		return fmt.Sprintf("Profile(%d)", uint8(p))
	}
}

// ParseProfile reads "off", "bidsish" or "strict".
func ParseProfile(s string) (Profile, error) {
	for _, p := range []Profile{Off, Bidsish, Strict} {
		if s == p.String() {
			return p, nil
		}
	}
	return Off, fmt.Errorf("no BIDS profile %q: off, bidsish or strict", s)
}

// Finding is one thing that is wrong with a name.
type Finding struct {
	Rule  string // short and stable, such as "entity-order"
	Text  string // what is wrong, why, and what to do; it holds parts of the name
	Parks bool   // the file must not be uploaded as it is
}

// Siblings returns the names (not paths) of what lies in a directory, staged or stored. "" is the root.
type Siblings = func(dir string) []string

// Check judges the name of one file, relative to the root of the study. siblings is asked for the directories of the path; where it is nil, the
// rules that need to know what else is there are left out. Nothing is found in hidden files, nor in the directories that BIDS leaves to
// their owners (code, sourcedata, …). Any string may be given; the findings are in a fixed order.
func (p Profile) Check(name string, siblings Siblings) []Finding {
	if p != Bidsish && p != Strict {
		return nil
	}
	j := &judge{strict: p == Strict, name: name, siblings: siblings}
	if j.siblings == nil {
		j.siblings = func(string) []string { return nil }
		j.alone = true
	}
	parts := strings.Split(name, "/")
	if name == "" || slices.ContainsFunc(parts, func(part string) bool { return part == "" || part[0] == '.' }) {
		return nil
	}
	for len(parts) > 2 && parts[0] == "derivatives" { // the output of a pipeline is a dataset of its own
		j.root, parts = join(j.root, "derivatives/"+parts[1]), parts[2:]
	}
	if len(parts) > 1 && isOpaque(parts[0]) {
		return nil
	}
	j.collisions(strings.Split(name, "/"))
	j.dataset(parts)
	return j.findings
}

// judge collects what is found of one name.
type judge struct {
	strict   bool
	alone    bool // nothing is known of what else is there
	name     string
	root     string // directory of the dataset, which is the study's or that of one pipeline
	siblings Siblings
	findings []Finding
}

// wrong notes what both profiles mind.
func (j *judge) wrong(rule, format string, args ...any) {
	j.findings = append(j.findings, Finding{Rule: rule, Text: fmt.Sprintf(format, args...), Parks: j.strict})
}

// unlike notes what only the specification minds.
func (j *judge) unlike(rule, format string, args ...any) {
	if j.strict {
		j.wrong(rule, format, args...)
	}
}

// remark notes what is worth a word but holds nothing back.
func (j *judge) remark(rule, format string, args ...any) {
	j.findings = append(j.findings, Finding{Rule: rule, Text: fmt.Sprintf(format, args...)})
}

// dataset judges a path relative to its dataset.
func (j *judge) dataset(parts []string) {
	j.characters(parts)
	if len(parts) == 1 {
		j.atTop(parts[0])
		return
	}
	if parts[0] == "phenotype" && len(parts) == 2 {
		if _, ext := cutExt(parts[1]); ext != ".tsv" && ext != ".json" {
			j.unlike("extension", "phenotype holds .tsv and .json files only. Keep %q below sourcedata", parts[1])
		}
		return
	}
	pl, rest, ok := j.place(parts)
	if !ok {
		return
	}
	if j.strict {
		j.described(parts)
	}
	if len(rest) == 1 {
		j.besideDatatypes(pl, rest[0])
		return
	}
	j.inDatatype(pl, rest)
}

// place is what the directories say of a file.
type place struct {
	subject, session   string // labels, "" where there is no such directory
	subKey, sesKey     string // "sub" and "ses", or "tpl" and "cohort"
	datatype, fileDir  string
	belowTheDirectory  string // the directory of the subject, or of the session
	sessionlessAllowed bool
}

// place reads the directories of the subject and the session off a path, and returns what follows them.
func (j *judge) place(parts []string) (place, []string, bool) {
	pl := place{subKey: "sub", sesKey: "ses"}
	if strings.HasPrefix(parts[0], "tpl-") {
		pl.subKey, pl.sesKey = "tpl", "cohort"
	}
	label, dashed := dirLabel(parts[0], pl.subKey)
	if label == "" {
		j.wrong("path", "Nothing tells the subject: %q is no directory such as sub-01. Files belong to [derivatives/PIPELINE/]sub-X[/ses-Y]/DATATYPE/, "+
			"everything else below code, sourcedata or another directory that BIDS leaves alone", parts[0])
		return pl, nil, false
	}
	if !dashed {
		j.unlike("subject-directory", "The directory %q should be called %q: BIDS programs do not find it otherwise", parts[0], pl.subKey+"-"+label)
	}
	pl.subject, pl.belowTheDirectory = label, join(j.root, parts[0])
	rest := parts[1:]
	if label, dashed = dirLabel(rest[0], pl.sesKey); label != "" && len(rest) > 1 {
		if !dashed {
			j.unlike("session-directory", "The directory %q should be called %q: BIDS programs do not find it otherwise", rest[0], pl.sesKey+"-"+label)
		}
		pl.session, pl.belowTheDirectory = label, join(pl.belowTheDirectory, rest[0])
		rest = rest[1:]
	}
	return pl, rest, true
}

// inDatatype judges a file that lies where data lie: rest is its datatype, its name, and maybe what is inside of a recording that is a directory.
func (j *judge) inDatatype(pl place, rest []string) {
	pl.datatype, pl.fileDir = rest[0], join(pl.belowTheDirectory, rest[0])
	if !slices.Contains(datatypes(), pl.datatype) {
		j.wrong("datatype", "%q is not a kind of data that BIDS knows (%s). Move the file to one of these", pl.datatype, strings.Join(datatypes(), ", "))
		return
	}
	f := parseName(rest[1])
	if len(rest) > 2 && !f.isDirectory(pl.datatype) {
		j.wrong("path", "%q lies too deep: below %s there are only files, and no directories but recordings such as .ds and .mefd", rest[len(rest)-1], pl.datatype)
		return
	}
	j.owner(pl, f)
	j.grammar(f)
	j.extension(pl, f)
	j.twins(pl, f)
	j.diffusion(pl, f)
}

// besideDatatypes judges a file in the directory of a subject or a session itself.
func (j *judge) besideDatatypes(pl place, base string) {
	f := parseName(base)
	if !isSidecar(f.ext) {
		j.wrong("path", "%q lies beside the directories of the datatypes. Move it into one of them: %s", base, strings.Join(datatypes(), ", "))
		return
	}
	pl.sessionlessAllowed = pl.session == "" || f.suffix == "sessions"
	j.owner(pl, f)
	j.grammar(f)
}

// atTop judges a file in the dataset's own directory.
func (j *judge) atTop(base string) {
	stem, ext := cutExt(base)
	if isTopFile(stem, ext) {
		return
	}
	f := parseName(base)
	if isSidecar(ext) && f.suffix != "" && len(f.entities) > 0 && f.get("sub") == "" {
		j.grammar(f)
		return
	}
	if !j.strict && isText(ext) {
		return
	}
	j.wrong("top-level", "%q does not belong at the top of a dataset. Put it below code, sourcedata, or the directory of its subject", base)
}

// described remarks once per dataset, at the first of its files, that nothing describes it.
func (j *judge) described(parts []string) {
	if j.alone || slices.Contains(j.siblings(j.root), "dataset_description.json") {
		return
	}
	dir := j.root
	for i, part := range parts {
		for _, other := range j.siblings(dir) {
			if other < part && (i > 0 || isSubject(other)) {
				return
			}
		}
		dir = join(dir, part)
	}
	j.remark("dataset-description", "There is no dataset_description.json at the top of the dataset. BIDS programs refuse it without one: "+
		`write one with at least "Name" and "BIDSVersion"`)
}
