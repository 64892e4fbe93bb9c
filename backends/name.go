package backends

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxComponent is NAME_MAX of every Linux file system: the kernel refuses longer names before it asks anybody.
const maxComponent = 255

// ErrName says why a key cannot be shown as a path.
var ErrName = errors.New("key is not a file name")

// ValidName reports whether key can stand as a path below a mount: no empty, "." or ".." component, no NUL, no
// component above 255 bytes, valid UTF-8. "" is valid: the root.
func ValidName(key string) bool {
	if key == "" {
		return true
	}
	if strings.ContainsRune(key, 0) || !utf8.ValidString(key) {
		return false
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." || len(part) > maxComponent {
			return false
		}
	}
	return true
}

// Split cuts a name into the directory that holds it and its last component. The root's children have dir "".
func Split(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

// Join puts base below dir.
func Join(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
