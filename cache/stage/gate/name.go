package gate

import (
	"slices"
	"strings"
)

// fileName is the name of a data file, taken apart.
type fileName struct {
	base     string
	entities []entity // key-label pairs in their order
	odd      []string // what stands among them without being one
	suffix   string
	stem     string // all but the extension
	ext      string // with its dot; ".nii.gz" is one
}

type entity struct{ key, label string }

// parseName takes key-label_key-label_suffix.ext apart. It takes any name: what is missing is empty.
func parseName(base string) fileName {
	f := fileName{base: base}
	f.stem, f.ext = cutExt(base)
	parts := strings.Split(f.stem, "_")
	if last := parts[len(parts)-1]; !strings.Contains(last, "-") {
		f.suffix, parts = last, parts[:len(parts)-1]
	}
	for _, part := range parts {
		if key, label, ok := strings.Cut(part, "-"); ok {
			f.entities = append(f.entities, entity{key, label})
		} else {
			f.odd = append(f.odd, part)
		}
	}
	return f
}

// get returns the label of an entity, "" where the name has none.
func (f fileName) get(key string) string {
	for _, e := range f.entities {
		if e.key == key {
			return e.label
		}
	}
	return ""
}

// describes reports whether what a sidecar says holds for f: every entity of the sidecar is one of f's.
func (f fileName) describes(of fileName) bool {
	return f.suffix == of.suffix && len(f.odd) == 0 &&
		!slices.ContainsFunc(f.entities, func(e entity) bool { return !slices.Contains(of.entities, e) })
}

// isDirectory reports whether a recording of this name is a directory, whose insides belong to its program.
func (f fileName) isDirectory(datatype string) bool {
	switch f.ext {
	case ".ds", ".mefd", ".zarr", ".ome.zarr":
		return true
	case "":
		return datatype == "meg" && f.suffix == "meg" // BTi and 4D recordings have no extension
	}
	return false
}

// cutExt splits a name at its first dot, as BIDS does.
func cutExt(base string) (stem, ext string) {
	if i := strings.IndexByte(base, '.'); i >= 0 {
		return base[:i], base[i:]
	}
	return base, ""
}

// dirLabel returns the label in the name of a directory such as sub-01. dashed is false for sub01, which is taken for it where the label
// begins with a digit or a capital: subcortical is no subject.
func dirLabel(dir, key string) (label string, dashed bool) {
	rest, ok := strings.CutPrefix(dir, key)
	if !ok {
		return "", false
	}
	if label, ok = strings.CutPrefix(rest, "-"); ok {
		if isLabel(label) {
			return label, true
		}
		return "", false
	}
	if isLabel(rest) && (rest[0] <= '9' || rest[0] >= 'A' && rest[0] <= 'Z') {
		return rest, false
	}
	return "", false
}

// isLabel reports whether s is what may stand behind a key: letters, digits and plus signs.
func isLabel(s string) bool {
	return s != "" && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+") == ""
}

func isIndex(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func isSubject(dir string) bool {
	sub, _ := dirLabel(dir, "sub")
	tpl, dashed := dirLabel(dir, "tpl")
	return sub != "" || tpl != "" && dashed
}

func join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
