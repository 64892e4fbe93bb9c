package gate

import "strings"

// The tables follow src/schema of the BIDS specification, version 1.11.

// isOpaque reports whether a directory at the top of a dataset is left to its owner.
func isOpaque(dir string) bool {
	switch dir {
	case "code", "docs", "logs", "rawbids", "sourcedata", "stimuli":
		return true
	}
	return false
}

func datatypes() []string {
	return []string{"anat", "dwi", "func", "fmap", "perf", "meg", "eeg", "ieeg", "beh", "pet", "micr", "nirs", "motion", "mrs", "emg"}
}

// entityOrder holds the keys of all entities in the one order that a name may have them in.
func entityOrder() []string {
	return []string{
		"sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo",
		"flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "atlas", "seg", "scale", "res", "den", "label", "desc",
	}
}

// isIndexKey reports whether an entity's label is a number.
func isIndexKey(key string) bool {
	switch key {
	case "echo", "flip", "inv", "run", "split", "chunk":
		return true
	}
	return false
}

// isTopFile reports whether BIDS knows a file by that name at the top of a dataset.
func isTopFile(stem, ext string) bool {
	switch stem {
	case "README":
		return ext == "" || ext == ".md" || ext == ".rst" || ext == ".txt"
	case "CHANGES", "LICENSE":
		return ext == "" || ext == ".md" || ext == ".txt"
	case "CITATION":
		return ext == ".cff"
	case "dataset_description", "genetic_info":
		return ext == ".json"
	case "participants", "samples":
		return ext == ".tsv" || ext == ".json"
	}
	return false
}

// isSidecar reports whether a file of that kind may lie above the data that it describes.
func isSidecar(ext string) bool {
	switch ext {
	case ".json", ".tsv", ".bval", ".bvec", ".bvals", ".bvecs":
		return true
	}
	return false
}

// isText reports whether a file at the top of a tree is likely to be about it rather than of it.
func isText(ext string) bool {
	switch strings.ToLower(ext) {
	case "", ".json", ".tsv", ".csv", ".txt", ".md", ".rst", ".html", ".pdf", ".cff", ".bib", ".toml", ".yml", ".yaml":
		return true
	}
	return false
}

// isIEEG reports whether a recording of intracranial EEG may have that extension.
func isIEEG(ext string) bool {
	switch ext {
	case ".edf", ".vhdr", ".eeg", ".vmrk", ".set", ".fdt", ".nwb", ".mefd", ".json":
		return true
	}
	return false
}

// betterSuffix returns what is meant by a suffix that BIDS does not have, "" where nothing is known.
func betterSuffix(suffix string) string {
	switch suffix {
	case "T1", "t1", "t1w", "T1W":
		return "_T1w"
	case "T2", "t2", "t2w", "T2W":
		return "_T2w"
	case "aparc+aseg":
		return "_desc-aparcaseg_dseg"
	}
	return ""
}
