package gate

import (
	"fmt"
	"slices"
	"strings"

	"studyfs/cache/stage/gate/edf"
)

// fileKind is how a file is looked at.
type fileKind uint8

const (
	anyKind   fileKind = iota // its name only
	recording                 // EDF and BDF
	table                     // text
	natus                     // what the recorders of the hospital write: the patient's name is inside
	encrypted
)

// kindOf tells the kind of a file by its extension, which is in small letters with its dot.
func kindOf(ext string) fileKind {
	switch ext {
	case ".edf", ".bdf", ".edf+", ".bdf+", ".rec":
		return recording
	case ".csv", ".json", ".tsv", ".txt", ".xml", ".md", ".html", ".log", ".yaml":
		return table
	case ".doc", ".docx", ".eeg", ".ent", ".epo", ".erd", ".etc", ".snc", ".stc", ".vt2", ".vtc":
		return natus
	case ".age", ".enc":
		return encrypted
	}
	return anyKind
}

// isUsual reports whether names may end so, if the rules tell nothing else.
func isUsual(ext string) bool {
	switch ext {
	case ".edf", ".bdf", ".avi", ".mp4", ".mkv", ".mov", ".mpg", ".wmv", ".csv", ".json", ".tsv":
		return true
	}
	return false
}

// isLabel reports whether a word says of a file or folder what it holds, and nothing of whom.
func (r Rules) isLabel(s string) bool {
	switch s {
	case "avi", "bdf", "csv", "ecog", "edf", "eeg", "natus", "seg", "snc", "txt", "vid", "video", "vtc":
		return true
	}
	return slices.Contains(r.Labels, s)
}

// path judges a name part by part and returns what kind of file it is of.
func (t *trial) path(name string, folder bool) fileKind {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		where := fmt.Sprintf("folder %d of the path", i+1)
		if last && !folder {
			where = "the name of the file"
		} else if last {
			where = "the name of the folder"
		}
		all := tokens(part)
		if len(t.find.find(all)) > 0 {
			t.wrong("deny-list", "A word of the deny-list stands in "+where+". Rename it")
		}
		if dateLike(part, all) {
			t.remark("date-like", "Something in "+where+" looks like a date. Look whether it is one of the patient's")
		}
		if !last || folder {
			t.folder(part, where)
		}
	}
	if folder {
		return anyKind
	}
	return t.file(parts[len(parts)-1])
}

// folder judges the name of one folder: a subject's, or one that tells a kind of data.
func (t *trial) folder(part, where string) {
	if t.rules.isLabel(part) {
		return
	}
	if !t.coded(part, where) {
		t.wrong("name", "In "+where+" is something else than the code of a subject, such as c0ffee12 or c0ffee12_edf. Rename it")
	}
}

// file judges the name of a file, and returns its kind.
func (t *trial) file(base string) fileKind {
	stem, ext := cutLast(base)
	kind := kindOf(ext)
	inner := ext
	if kind == encrypted {
		if s, e := cutLast(stem); e != "" {
			stem, inner = s, e
		}
	}
	folded := kindOf(strings.ToLower(ext))
	switch {
	case folded == natus && !t.rules.Encrypts:
		t.wrong("names-inside", "Files of this kind have the name of the patient inside, whatever they are called. Encrypt it, or leave it out")
	case folded == natus, kind == encrypted && (inner == ext || kindOf(inner) == natus):
	case !t.mayEnd(inner):
		t.wrong("extension", "Files with this extension are not known to be free of names. Have the rules allow it, or leave it out")
	}
	if !t.coded(stem, "the name of the file") {
		t.wrong("name", "The name is something else than the code of a subject and numbers, such as c0ffee12_3.edf. Rename it")
	}
	if folded != anyKind {
		return folded
	}
	return kind
}

func (t *trial) mayEnd(ext string) bool {
	if t.rules.Extensions == nil {
		return isUsual(ext)
	}
	return slices.Contains(t.rules.Extensions, ext)
}

// coded judges code[_pt1][_label or number]…, and minds that all codes of a path are of one subject.
func (t *trial) coded(s, where string) bool {
	parts := strings.Split(s, "_")
	if !edf.IsCode(parts[0]) {
		return false
	}
	for i, part := range parts[1:] {
		part1 := i == 0 && edf.IsCode(parts[0]+"_"+part) // pt1
		if !part1 && !t.rules.isLabel(part) && !isNumber(part) {
			return false
		}
	}
	if t.code != "" && t.code != parts[0] {
		t.wrong("subject", "The code in "+where+" is another than that before it: the file would count as the wrong subject's. Move or rename it")
	}
	t.code = parts[0]
	return true
}

// isNumber reports whether s counts days, files or parts. Longer numbers are those of records and telephones.
func isNumber(s string) bool { return isIndex(s) && len(s) <= 8 }

// cutLast splits a name at its last dot.
func cutLast(base string) (stem, ext string) {
	if i := strings.LastIndexByte(base, '.'); i >= 0 {
		return base[:i], base[i:]
	}
	return base, ""
}

// dateLike reports whether something in a text, all of whose tokens are given, looks like a day: 2019-03-04, 20190304, 4.3.19, 04-MAR-2019, March 2019.
func dateLike(text string, all []token) bool {
	for i, t := range all {
		if isDay(t.text) {
			return true
		}
		if i+1 < len(all) && isMonthName(t.text) && isYear(all[i+1].text) {
			return true
		}
		if i+2 < len(all) && isThree(text, all[i], all[i+1], all[i+2]) {
			return true
		}
	}
	return false
}

// isDay knows 20190304, 04032019 and 03042019.
func isDay(s string) bool {
	if len(s) != len("20190304") || !isIndex(s) {
		return false
	}
	return isNumeric(s[:4], s[4:6], s[6:], false) || isNumeric(s[:2], s[2:4], s[4:], false) && (isUpTo(s[:2], 12) || isUpTo(s[2:4], 12))
}

// isThree knows day, month and year in any order, divided by one and the same character.
func isThree(text string, a, b, c token) bool {
	between, again := text[a.end:b.start], text[b.end:c.start]
	if between != again || len(between) > 1 || !strings.Contains("-./_ ", between) {
		return false
	}
	if isMonthName(b.text) {
		return isUpTo(a.text, 31) && isUpTo(c.text, 2100)
	}
	switch between {
	case "-":
		return isNumeric(a.text, b.text, c.text, false)
	case ".", "/":
		return isNumeric(a.text, b.text, c.text, true)
	}
	return false // spaces and bars divide the numbers of channels and files
}

// isNumeric knows 2019 3 4, 4 3 2019 and, if short, 4 3 19.
func isNumeric(a, b, c string, short bool) bool {
	if isYear(a) {
		return isUpTo(b, 12) && isUpTo(c, 31)
	}
	short = short && len(c) == 2 && isUpTo(c, 99)
	return isUpTo(a, 31) && isUpTo(b, 31) && (short || isYear(c))
}

// isUpTo reports whether s is a number from 1, or 00, to most.
func isUpTo(s string, most int) bool {
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' || n > most {
			return false
		}
		n = 10*n + int(r-'0')
	}
	return s != "" && n <= most && (n > 0 || len(s) == 2)
}

func isYear(s string) bool { return len(s) == 4 && s >= "1900" && s < "2100" && isUpTo(s, 2100) }

// isMonthName knows the English months, and their first three letters.
func isMonthName(s string) bool {
	const months = " january february march april may june july august september october november december "
	if len(s) < 3 || strings.Contains(s, " ") {
		return false
	}
	i := strings.Index(months, " "+s)
	return i >= 0 && (len(s) == 3 || months[i+1+len(s)] == ' ')
}
