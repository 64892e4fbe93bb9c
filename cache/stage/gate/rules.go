package gate

import (
	"slices"
	"strings"
)

// characters minds what programs and shells stumble over.
func (j *judge) characters(parts []string) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+_.-"
	for _, part := range parts {
		if odd := strings.Trim(part, allowed); odd != "" {
			j.wrong("characters", "%q holds other characters than letters, digits and + _ . -, which many programs cannot read. Rename it", part)
			return
		}
	}
}

// collisions minds a neighbour whose name differs only in case: on many a computer one of the two would replace the other.
func (j *judge) collisions(parts []string) {
	dir := ""
	for _, part := range parts {
		for _, other := range j.siblings(dir) {
			if other != part && strings.EqualFold(other, part) {
				j.wrong("case-collision", "%q and %q differ only in case: where names are kept without it, one replaces the other. Rename one", part, other)
				return
			}
		}
		dir = join(dir, part)
	}
}

// owner minds a name that tells another subject or session than the directories it lies in.
func (j *judge) owner(pl place, f fileName) {
	subject, session := f.get(pl.subKey), f.get(pl.sesKey)
	switch {
	case subject == "" || f.entities[0].key != pl.subKey:
		j.wrong("subject", "The name %q does not begin with its subject. Call it %s-%s_…", f.base, pl.subKey, pl.subject)
	case subject != pl.subject:
		j.wrong("subject", "The name says %s-%s, the directory %s-%s: one of them is wrong, and the data would count as the wrong person's. Move or rename it",
			pl.subKey, subject, pl.subKey, pl.subject)
	}
	switch {
	case session != "" && session != pl.session && pl.session == "":
		j.wrong("session", "The name says %s-%s, but no directory does. Move it below %s-%s", pl.sesKey, session, pl.sesKey, session)
	case session != "" && session != pl.session:
		j.wrong("session", "The name says %s-%s, the directory %s-%s: one of them is wrong. Move or rename it", pl.sesKey, session, pl.sesKey, pl.session)
	case session == "" && pl.session != "" && !pl.sessionlessAllowed:
		j.unlike("session", "The name does not tell the session of its directory. Add _%s-%s behind the subject", pl.sesKey, pl.session)
	}
}

// grammar minds the parts of a name: key-label pairs in one order, then a suffix, then an extension.
func (j *judge) grammar(f fileName) {
	order, last, lastKey := entityOrder(), -1, ""
	var seen []string
	for _, e := range f.entities {
		if slices.Contains(seen, e.key) {
			j.wrong("entity-twice", "%s- stands twice in %q, and nobody can tell which holds. Remove one", e.key, f.base)
			continue
		}
		seen = append(seen, e.key)
		at := slices.Index(order, e.key)
		if at < 0 {
			j.unlike("entity", "%s- in %q is not an entity that BIDS knows. Use another, such as acq- or desc-", e.key, f.base)
			continue
		}
		if at < last {
			j.unlike("entity-order", "%s- must stand before %s- in %q: the order of entities is fixed. Rename it", e.key, lastKey, f.base)
		} else {
			last, lastKey = at, e.key
		}
		j.label(e)
	}
	for _, odd := range f.odd {
		j.unlike("entity", "%q in %q is not of the form key-label. Give it a key, such as acq- or desc-", odd, f.base)
	}
	j.suffix(f)
}

func (j *judge) label(e entity) {
	switch {
	case isIndexKey(e.key) && !isIndex(e.label):
		j.unlike("index", "%s-%s: this entity counts, so that its label must be a number. Rename it", e.key, e.label)
	case !isLabel(e.label):
		j.unlike("label", "%s-%s: a label has letters, digits and + only. Rename it", e.key, e.label)
	}
}

func (j *judge) suffix(f fileName) {
	better := betterSuffix(f.suffix)
	switch {
	case f.suffix == "":
		j.unlike("suffix", "%q has no suffix that says what it holds. Add one, such as _T1w or _bold", f.base)
	case better != "":
		j.unlike("suffix", "_%s is no suffix of BIDS. Call it %s", f.suffix, better)
	case !isLabel(f.suffix) || strings.Contains(f.suffix, "+"):
		j.unlike("suffix", "_%s is no suffix: it has other characters than letters and digits. Rename it", f.suffix)
	}
}

// extension minds how files end.
func (j *judge) extension(pl place, f fileName) {
	lower := strings.ToLower(f.ext)
	switch {
	case f.ext == "" && !f.isDirectory(pl.datatype):
		j.unlike("extension", "%q has no extension. Add the one of its format", f.base)
	case f.ext != lower:
		j.unlike("extension", "Extensions are in lower case: %s, not %s. Rename it", lower, f.ext)
	case f.ext == ".bvals" || f.ext == ".bvecs":
		j.unlike("extension", "The extension is %s, without the s: programs look for nothing else. Rename it", strings.TrimSuffix(f.ext, "s"))
	case pl.datatype == "ieeg" && f.suffix == "ieeg" && !isIEEG(f.ext):
		j.unlike("extension", "Intracranial EEG is kept as .edf, .vhdr with .eeg and .vmrk, .set with .fdt, .nwb or .mefd, not as %s. "+
			"Convert it, and keep the original below sourcedata", f.ext)
	}
}

// twins minds the same image kept twice, packed and not.
func (j *judge) twins(pl place, f fileName) {
	other := map[string]string{".nii": ".nii.gz", ".nii.gz": ".nii"}[f.ext]
	if other != "" && slices.Contains(j.siblings(pl.fileDir), f.stem+other) {
		j.wrong("nifti-twice", "%q lies here both as .nii and as .nii.gz, and programs take either. Remove one", f.stem)
	}
}

// diffusion minds diffusion images without their gradients, and the other way round.
func (j *judge) diffusion(pl place, f fileName) {
	if j.alone || pl.datatype != "dwi" || f.suffix != "dwi" {
		return
	}
	switch f.ext {
	case ".nii", ".nii.gz":
		for _, ext := range []string{".bval", ".bvec"} {
			if !j.gradients(pl, f, ext) {
				j.wrong("dwi-triple", "%q has no %s beside it, and cannot be used without. Copy that as well", f.base, f.stem+ext)
			}
		}
	case ".bval", ".bvec", ".bvals", ".bvecs":
		for _, other := range j.siblings(pl.fileDir) {
			if image := parseName(other); (image.ext == ".nii" || image.ext == ".nii.gz") && f.describes(image) {
				return
			}
		}
		j.remark("dwi-triple", "There is no image %s.nii.gz to %q. Copy that as well", f.stem, f.base)
	}
}

// gradients reports whether a file ext describes f: one beside it or, as BIDS inherits, in a directory above. Of trees that are only like
// BIDS the form with an s is taken as well.
func (j *judge) gradients(pl place, f fileName, ext string) bool {
	for dir := pl.fileDir; ; dir = dir[:max(strings.LastIndexByte(dir, '/'), 0)] {
		for _, other := range j.siblings(dir) {
			g := parseName(other)
			if (g.ext == ext || g.ext == ext+"s" && !j.strict) && g.describes(f) {
				return true
			}
		}
		if dir == j.root || dir == "" {
			return false
		}
	}
}
