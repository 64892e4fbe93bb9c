package desktop

import (
	"strings"
	"testing"
)

// What is taken for junk is not uploaded: so data of people must never be, whatever they resemble.
func TestJunk(t *testing.T) {
	for name, want := range map[string]struct{ file, folder, asked bool }{
		".DS_Store":             {file: true, asked: true},
		"sub-01/eeg/.ds_store":  {file: true, asked: true},
		"Thumbs.db":             {file: true, asked: true},
		"THUMBS.DB":             {file: true, asked: true},
		"desktop.ini":           {file: true, asked: true},
		".directory":            {file: true, asked: true},
		"._data.csv":            {file: true, asked: true},
		"a/._b/c.csv":           {},
		".~lock.table.ods#":     {file: true},
		".Spotlight-V100":       {folder: true, asked: true},
		"d/.Spotlight-V100/a/b": {file: true, folder: true},
		".fseventsd/0000":       {file: true, folder: true},

		"._":                         {},
		"_data.csv":                  {},
		".data.csv":                  {},
		"data._csv":                  {},
		"lock.table.ods#":            {},
		".~lock.table":               {},
		"my Thumbs.db":               {},
		"Thumbs.db.csv":              {},
		".DS_Store/a.csv":            {},
		"Thumbs.db/a.csv":            {},
		".hidden":                    {asked: true},
		"autorun.inf":                {asked: true},
		"BDMV":                       {asked: true},
		"BDMV/x.m2ts":                {},
		".Trash-1000":                {asked: true},
		".Trash-1000/files/data.csv": {},
		".Trashes/501/data.csv":      {},
		"":                           {},
		"a/":                         {},
	} {
		if got := JunkFile(name); got != want.file {
			t.Errorf("JunkFile(%q) = %v", name, got)
		}
		if got := JunkFolder(name); got != want.folder {
			t.Errorf("JunkFolder(%q) = %v", name, got)
		}
		if got := Asked(name[strings.LastIndexByte(name, '/')+1:]); got != want.asked {
			t.Errorf("Asked(%q) = %v", name, got)
		}
	}
	for name, want := range map[string]bool{".Trash": true, ".Trash-1000": true, ".Trashes": true, "d/.Trash-1000": false, "Trash": false, ".Trash-1000/files": false, ".Trashcan": false, "": false} {
		if got := Trash(name); got != want {
			t.Errorf("Trash(%q) = %v", name, got)
		}
	}
}
