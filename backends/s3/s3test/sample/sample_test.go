package sample

import (
	"bytes"
	"io"
	"iter"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
)

func collect(t *testing.T, files iter.Seq2[string, s3test.Object]) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for key, o := range files {
		b, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size))
		if err != nil || all[key] != nil || o.ModTime.IsZero() {
			t.Fatal(key, err)
		}
		all[key] = b
	}
	return all
}

func TestEmpaticaHasWhatAnOrganisationHas(t *testing.T) {
	if testing.Short() {
		t.Skip("makes hundreds of megabytes, one after the other")
	}
	all := collect(t, Empatica(Options{}))
	csv, avro := 0, 0
	for key, b := range all {
		switch path.Ext(key) {
		case ".csv":
			csv++
			if lines := bytes.Count(b, []byte("\n")); lines != 1441 || bytes.Contains(b, []byte("\r")) {
				t.Errorf("%s: %d lines", key, lines)
			}
			fields := bytes.Count(b[:bytes.IndexByte(b, '\n')], []byte(","))
			for line := range bytes.Lines(b) {
				if bytes.Count(line, []byte(",")) != fields {
					t.Fatalf("%s: %q", key, line)
				}
			}
		case ".avro":
			avro++
		}
	}
	if csv != 3*3*16 || avro != 3*3*4 {
		t.Errorf("%d day files, %d raw files", csv, avro)
	}
	for key, b := range collect(t, Empatica(Options{Days: 1})) { // of one day: making it takes time
		if !bytes.Equal(b, all[key]) {
			t.Errorf("%s differs from run to run", key)
		}
	}
}

func TestBIDSIsTheTreeOfTheBudget(t *testing.T) {
	entries, dirs := map[string]bool{}, 0
	for key := range collect(t, BIDS(Options{})) {
		for p := key; p != "."; p = path.Dir(p) {
			if !entries[p] && p != key {
				dirs++
			}
			entries[p] = true
		}
	}
	if len(entries) != 343 || dirs != 143 {
		t.Errorf("%d entries, %d directories", len(entries), dirs)
	}
}

// The programs of those who will read the real files must be able to read these.
func TestReadableByPython(t *testing.T) {
	if testing.Short() {
		t.Skip("makes hundreds of megabytes, one after the other")
	}
	dir := t.TempDir()
	var avro, nii, gz string
	write := func(key string, b []byte) string {
		p := filepath.Join(dir, path.Base(key))
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for key, b := range collect(t, Empatica(Options{Participants: 1, Days: 1})) {
		if strings.HasSuffix(key, ".avro") {
			avro = write(key, b)
		}
	}
	for key, b := range collect(t, HCP(Options{})) {
		switch {
		case strings.HasSuffix(key, "T1w_acpc_dc.nii"):
			nii = write(key, b)
		case strings.HasSuffix(key, "data.nii.gz"):
			gz = write(key, b)
		}
	}
	run := func(module, script string, args ...string) {
		if exec.Command("/usr/bin/python3", "-c", "import "+module).Run() != nil {
			t.Logf("no %s for /usr/bin/python3: not tried", module)
			return
		}
		out, err := exec.Command("/usr/bin/python3", append([]string{"-c", script}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", module, err, out)
		}
	}
	run("avro", `
import sys
from avro.datafile import DataFileReader
from avro.io import DatumReader
r = list(DataFileReader(open(sys.argv[1], "rb"), DatumReader()))
assert len(r) == 1 and len(r[0]["rawData"]["eda"]["values"]) == 2400, r[0].keys()`, avro)
	run("nibabel", `
import sys, nibabel
assert nibabel.load(sys.argv[1]).shape == (128, 128, 256)
assert nibabel.load(sys.argv[2]).get_fdata().shape == (24, 24, 16, 30)`, nii, gz)
}
