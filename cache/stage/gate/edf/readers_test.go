package edf

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"studyfs/cache/stage/gate/edf/edftest"
)

// What is scrubbed must open in the programs that people use, and its date and time must be those that we meant.

const readWithEDFlib = `
#include <edflib.h>
#include <stdio.h>
int main(int n, char **args) {
	for (int i = 1; i < n; i++) {
		struct edf_hdr_struct h;
		int f = edfopen_file_readonly(args[i], &h, EDFLIB_READ_ALL_ANNOTATIONS);
		if (f < 0) { printf("refused: %d\n", h.filetype); continue; }
		printf("%04d-%02d-%02dT%02d:%02d:%02d", h.startdate_year, h.startdate_month, h.startdate_day, h.starttime_hour, h.starttime_minute, h.starttime_second);
		for (int j = 0; j < h.annotations_in_file; j++) {
			struct edf_annotation_struct a;
			edf_get_annotation(f, j, &a);
			printf(" %s", a.annotation);
		}
		printf("\n");
		edfclose_file(f);
	}
	return 0;
}`

const readWithMNE = `
import sys, mne
for name in sys.argv[1:]:
    read = mne.io.read_raw_bdf if name.endswith("bdf") else mne.io.read_raw_edf
    raw = read(name, preload=True, verbose="ERROR")
    print(raw.info["meas_date"].strftime("%Y-%m-%dT%H:%M:%S"), *raw.annotations.description)
`

func TestOtherProgramsReadWhatIsScrubbed(t *testing.T) {
	const struck = " Lights off XXX XXXXXXXXXXXX moves spike seen by XXXXXXXXXXXX"
	plus, gaps, wide := plusFile(), plusFile(), plusFile()
	gaps.Mark = "EDF+D"
	wide.BDF, wide.Mark = true, "BDF+C"
	files := []struct {
		name string
		file edftest.File
		o    Options
		want string
	}{
		{"plus.edf", plus, options(), struck},
		{"gaps.edf", gaps, options(), struck},
		{"wide.bdf", wide, options(), struck},
		{"undated.edf", plus, Options{Find: options().Find}, struck},
		{"plain.edf", edftest.File{Patient: "Quillfeather, Ada", Recording: "Harborview"}, options(), ""},
		{"plain.bdf", edftest.File{BDF: true, Mark: "24BIT", Patient: "Quillfeather, Ada"}, options(), ""},
	}
	dir := t.TempDir()
	var paths, want []string
	for _, f := range files {
		out := scrubbed(t, f.name, f.file.Bytes(), f.o)
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, out, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
		want = append(want, parse(t, out).Start.Format("2006-01-02T15:04:05")+f.want)
	}
	check := func(t *testing.T, out []byte, want []string) {
		got := strings.Split(strings.TrimSpace(string(out)), "\n")
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("%s: read as %q, want %q", files[i].name, got, want[i])
			}
		}
	}
	t.Run("EDFlib", func(t *testing.T) {
		program := filepath.Join(dir, "read")
		cc := exec.Command("cc", "-x", "c", "-o", program, "-", "-ledf")
		cc.Stdin = strings.NewReader(readWithEDFlib)
		if out, err := cc.CombinedOutput(); err != nil {
			t.Skipf("no C compiler, or no EDFlib (libedf-dev): %v\n%s", err, out)
		}
		out, err := exec.Command(program, paths...).Output()
		if err != nil {
			t.Fatal(err)
		}
		discontinuous := slices.Clone(want)
		discontinuous[1] = "refused: -10" // EDFlib reads no file with gaps
		check(t, out, discontinuous)
	})
	t.Run("MNE", func(t *testing.T) {
		if testing.Short() {
			t.Skip("it takes seconds to start")
		}
		const python = "/usr/bin/python3"
		if err := exec.Command(python, "-c", "import mne").Run(); err != nil {
			t.Skipf("no MNE (python3-mne): %v", err)
		}
		cmd := exec.Command(python, append([]string{"-c", readWithMNE}, paths...)...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "NUMBA_CACHE_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		check(t, out, want)
	})
}
