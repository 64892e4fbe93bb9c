package fs

import "testing"

// The names that desktops' indexers and makers of small pictures have in the kernel, cut off at 15 bytes. A program of the user that is
// taken for one of them would find its files unreadable.
func TestIndexersAreKnown(t *testing.T) {
	for comm, want := range map[string]verdict{
		"tracker-miner-f": {indexes: true, walks: true}, "tracker-extract": {indexes: true, walks: true}, "localsearch-3": {indexes: true, walks: true},
		"updatedb": {indexes: true, walks: true}, "updatedb.plocat": {indexes: true, walks: true}, "baloo_file_extr": {indexes: true, walks: true},
		"tumblerd": {indexes: true}, "gdk-pixbuf-thum": {indexes: true}, "totem-video-thu": {indexes: true}, "evince-thumbnai": {indexes: true},
		"python3": {}, "nautilus": {}, "cp": {}, "ls": {}, "Rscript": {}, "MATLAB": {}, "rsync": {}, "find": {}, "dolphin": {}, "eyetracker": {},
	} {
		if got := judge(comm); got != want {
			t.Errorf("%s: %+v; want %+v", comm, got, want)
		}
	}
}
