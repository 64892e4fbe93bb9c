package posix

import (
	"maps"
	"os"
	"strings"
	"testing"
)

// difference is what a mount does otherwise than a local disk, and cannot help.
type difference struct{ got, why, says string } // says: how docs/semantics.md tells users of it

const (
	oneName  = "an object has one name"
	noThing  = "an object is bytes: there is nothing that a fifo, socket or device could be stored as"
	version  = "whoever has opened a stored file for reading goes on with that version"
	objects  = "a directory with stored files is many objects, and no request renames them all at once: mv copies"
	noSwap   = "no request swaps two objects"
	dropsAll = "the kernel leaves it to us and does not say who writes, so that root's writes do it, too"
)

// declared are all differences, by the label of the question. With stored, some are added that there are only once a thing
// has been uploaded.
func declared(stored bool) map[string]difference {
	all := map[string]difference{
		"link: link":                  {"EPERM", oneName, "| `link`, `mknod` of fifos, devices and sockets | `EPERM`"},
		"mknod: fifo":                 {"EPERM", noThing, "| `link`, `mknod` of fifos, devices and sockets | `EPERM`"},
		"mknod: socket":               {"EPERM", noThing, "| `link`, `mknod` of fifos, devices and sockets | `EPERM`"},
		"mknod: character device":     {"EPERM", noThing, "| `link`, `mknod` of fifos, devices and sockets | `EPERM`"},
		"mknod: block device":         {"EPERM", noThing, "| `link`, `mknod` of fifos, devices and sockets | `EPERM`"},
		"open creates: O_TMPFILE":     {"EOPNOTSUPP", "a staged file has a name; programs make one with a name instead", "`O_TMPFILE` | `EOPNOTSUPP`"},
		"open errors: deep mkdir":     {"ENAMETOOLONG", "a key of S3 has at most 1,024 bytes", "keys above 1,024 | `ENAMETOOLONG`"},
		"symlink: name of 255 bytes":  {"ENAMETOOLONG", "the object's name ends in .rclonelink, and the whole has at most 255 bytes", "of symbolic links: above 244"},
		"odd names: no UTF-8":         {"EINVAL", "keys of S3 are UTF-8", "names that are no UTF-8"},
		"odd names: the end of links": {"EINVAL", "it is how a symbolic link is stored", "names that end in `.rclonelink`"},
		"xattr limits: trusted":       {"EOPNOTSUPP", "only user.* are kept, on this machine", "else `EOPNOTSUPP`"},
		"mkdir: links of a directory": {"2", "counting the directories in one would take a listing", "`st_nlink` is 2"},
		"user setuid: stays":          {"511", dropsAll, "takes both away, from root's files too"},
	}
	if stored {
		maps.Copy(all, map[string]difference{
			"rename full directory: rename":                   {"EXDEV", objects, "stored below it: `EXDEV`"},
			"rename flags: EXCHANGE":                          {"EPERM", noSwap, "`RENAME_EXCHANGE`: `EPERM`"},
			"rename flags: EXCHANGE with a directory":         {"EPERM", noSwap, "`RENAME_EXCHANGE`: `EPERM`"},
			"handles: by an earlier reader":                   {"one", version, "the version that was opened, and its size"},
			"handles: size by an earlier reader":              {"3", version, "the version that was opened, and its size"},
			"handles: by an earlier reader, after the upload": {"two!", version, "sees all changes until it is stored"},
		})
	}
	return all
}

// Users are told of each.
func TestDeclaredIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	for label, d := range declared(true) {
		if d.says == "" || !strings.Contains(string(text), d.says) {
			t.Errorf("%s: docs/semantics.md does not say %q", label, d.says)
		}
	}
}
