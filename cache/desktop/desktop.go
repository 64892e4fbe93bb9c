// Package desktop knows the names that file managers, indexers and office programs leave or ask for in every folder they see.
//
// All of them stand in one table. A name is junk only where no person would give it to data of theirs: what the programs write under it
// describes a folder's looks, repeats what they can make again, or ends with the program.
package desktop

import "strings"

// habit is what programs do with a name.
type habit uint8

const (
	asked  habit = iota // they ask for it, and seldom or never write it; or people do
	file                // they write a file of that name, which is junk
	folder              // they make a folder of that name, which is junk with all that lies in it
	trash               // what people have deleted lies in a folder of that name at the top
)

// habitOf is the table. It knows the last part of a name; case does not matter to the programs, nor here.
func habitOf(base string) (h habit, known bool) {
	if base == "" || !strings.Contains(".tTdDaAbB", base[:1]) { // most names
		return 0, false
	}
	switch strings.ToLower(base) {
	case ".ds_store", "thumbs.db", "desktop.ini", ".directory": // how Finder, Explorer and Dolphin show a folder
		return file, true
	case ".spotlight-v100", ".fseventsd": // an index, and a log of changes
		return folder, true
	case ".hidden", ".xdg-volume-info", ".metadata_never_index", "autorun.inf", "bdmv", ".localized": // people and discs have these, too
		return asked, true
	}
	switch {
	case strings.HasPrefix(base, "._") && len(base) > len("._"): // AppleDouble: what macOS keeps beside a file
		return file, true
	case base == ".Trash", base == ".Trashes", strings.HasPrefix(base, ".Trash-"):
		return trash, true
	case strings.HasPrefix(base, ".Trash"):
		return asked, true
	}
	return 0, false
}

// Asked reports whether programs ask for base, the last part of a name, in every directory they see.
func Asked(base string) bool {
	_, known := habitOf(base)
	return known
}

// JunkFile reports whether a file of this name, relative to the top, is nothing that people keep.
func JunkFile(name string) bool {
	dir, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	h, known := habitOf(base)
	return known && h == file || isOfficeLock(base) || JunkFolder(dir)
}

// isOfficeLock knows the files by which LibreOffice tells that somebody has a document open. They are asked for, too, but what another
// machine has stored must be found.
func isOfficeLock(base string) bool {
	return strings.HasPrefix(base, ".~lock.") && strings.HasSuffix(base, "#")
}

// JunkFolder reports whether a folder of this name, or one that it lies in, is nothing that people keep.
func JunkFolder(name string) bool {
	for name != "" {
		var part string
		part, name, _ = strings.Cut(name, "/")
		if h, known := habitOf(part); known && h == folder {
			return true
		}
	}
	return false
}

// Trash reports whether a folder of this name is where file managers put what people delete, to be had again.
func Trash(name string) bool {
	h, known := habitOf(name)
	return known && h == trash && !strings.Contains(name, "/")
}
