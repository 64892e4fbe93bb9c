package stage

import (
	"regexp"
	"strings"
)

// isTemporary reports whether a name, or that of a directory on the way to it, is one that programs give to what they have not finished: rsync
// (.name.XXXXXX), vim (.name.swp, 4913, name~), emacs (#name#), sed -i, browsers, office programs. Files of such names say nothing of what they
// will be called.
func isTemporary(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if isTemporaryPart(part) {
			return true
		}
	}
	return false
}

func isTemporaryPart(part string) bool {
	if part == "" {
		return false
	}
	if first, last := part[0], part[len(part)-1]; first == '.' || first == '~' || last == '~' || first == '#' && last == '#' {
		return true
	}
	ext := strings.ToLower(part[strings.LastIndexByte(part, '.')+1:])
	switch {
	case len(ext) == len(part):
	case ext == "tmp", ext == "temp", ext == "part", ext == "partial", ext == "filepart", ext == "crdownload", ext == "download",
		len(ext) == 3 && strings.HasPrefix(ext, "sw") && ext[2] >= 'l': // vim counts .swp, .swo, … down
		return true
	}
	return isMadeUp(part)
}

// isMadeUp knows names that nobody has thought of: those of vim's test for write permission, of sed -i, mktemp and tempfile.
func isMadeUp(part string) bool {
	return part == "4913" || madeUp.MatchString(part)
}

var madeUp = regexp.MustCompile(`^(sed[A-Za-z0-9]{6}|tmp[._]?[A-Za-z0-9_]{6,10})$`)
