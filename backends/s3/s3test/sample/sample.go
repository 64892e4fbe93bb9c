// Package sample makes up study data in the layouts of the real sources: an Empatica organisation, an HCP-like and a
// BIDS-like bucket. The same seed gives the same bytes. No figure in it was ever measured on anybody.
package sample

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"studyfs/backends/s3/s3test"
)

// Options choose what is made. The zero value is what the demo shows.
type Options struct {
	Seed         uint64
	Participants int       // of Empatica; 0 means 3
	Days         int       // of Empatica; 0 means 3
	LastDay      time.Time // of Empatica; zero means 2026-11-19
}

func (o *Options) setDefaults() {
	if o.Participants == 0 {
		o.Participants = 3
	}
	if o.Days == 0 {
		o.Days = 3
	}
	if o.LastDay.IsZero() {
		o.LastDay = time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC)
	}
}

// random returns a source of numbers of its own for every file, so that files do not depend on each other.
func random(seed uint64, key string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(key))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

func object(body []byte, mod time.Time) s3test.Object {
	o := s3test.Bytes(body)
	o.ModTime = mod
	return o
}

// nifti returns a NIfTI-1 image of 16-bit integers: a header of 348 bytes, 4 bytes that say that nothing follows it,
// then the voxels (nifti.nimh.nih.gov, nifti1.h).
func nifti(rnd *rand.Rand, dims ...int) []byte {
	voxels := 1
	for _, d := range dims {
		voxels *= d
	}
	b := make([]byte, 352+2*voxels)
	le := binary.LittleEndian
	le.PutUint32(b, 348)
	le.PutUint16(b[40:], uint16(len(dims))) //nolint:gosec // at most 7
	for i := range 7 {
		d := 1
		if i < len(dims) {
			d = dims[i]
		}
		le.PutUint16(b[42+2*i:], uint16(d)) //nolint:gosec // small
	}
	le.PutUint16(b[70:], 4)  // int16
	le.PutUint16(b[72:], 16) // bits
	for i := range 8 {
		le.PutUint32(b[76+4*i:], math.Float32bits(1)) // voxel sizes
	}
	le.PutUint32(b[108:], math.Float32bits(352)) // where the voxels begin
	le.PutUint32(b[112:], math.Float32bits(1))   // slope
	b[123] = 2 | 8                               // mm, s
	copy(b[344:], "n+1\x00")
	for i := range voxels {
		le.PutUint16(b[352+2*i:], uint16(rnd.UintN(4096))) //nolint:gosec // below 4096
	}
	return b
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b) //nolint:errcheck // a buffer takes everything
	z.Close()  //nolint:errcheck // a buffer takes everything
	return out.Bytes()
}

// HCP yields a piece of the HCP OpenAccess bucket: three subjects with the files that diffusion pipelines read, and one
// uncompressed image of 8 MiB.
func HCP(o Options) iter.Seq2[string, s3test.Object] {
	o.setDefaults()
	mod := time.Date(2018, 8, 14, 12, 0, 0, 0, time.UTC)
	return func(yield func(string, s3test.Object) bool) {
		for _, id := range []string{"100206", "100307", "100408"} {
			base := "HCP_1200/" + id + "/"
			rnd := random(o.Seed, base)
			for _, f := range []struct {
				name string
				body []byte
			}{
				{"MNINonLinear/Results/rfMRI_REST1_LR/Movement_Regressors.txt", []byte(table(rnd, 1200, 12))},
				{"T1w/Diffusion/bvals", []byte(strings.Repeat("1000 ", 30) + "\n")},
				{"T1w/Diffusion/bvecs", []byte(table(rnd, 3, 30))},
				{"T1w/Diffusion/data.nii.gz", gzipped(nifti(rnd, 24, 24, 16, 30))},
				{"T1w/T1w_acpc_dc.nii", nifti(rnd, 128, 128, 256)},
				{"T1w/T1w_acpc_dc.nii.gz", gzipped(nifti(rnd, 32, 32, 32))},
				{"release-notes/Structural.txt", []byte("made up for studyfs\n")},
			} {
				if id != "100206" && strings.HasSuffix(f.name, "T1w_acpc_dc.nii") {
					continue
				}
				if !yield(base+f.name, object(f.body, mod)) {
					return
				}
			}
		}
	}
}

func table(rnd *rand.Rand, rows, columns int) string {
	var b strings.Builder
	for range rows {
		for range columns {
			fmt.Fprintf(&b, "%9.6f ", rnd.NormFloat64())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// BIDS yields a small BIDS data set of 200 files in 143 directories, 343 entries as find counts them below its root.
func BIDS(o Options) iter.Seq2[string, s3test.Object] {
	o.setDefaults()
	mod := time.Date(2025, 3, 1, 9, 30, 0, 0, time.UTC)
	image := gzipped(nifti(random(o.Seed, "bids"), 8, 8, 8))
	return func(yield func(string, s3test.Object) bool) {
		put := func(key, body string) bool { return yield(key, object([]byte(body), mod)) }
		if !put("README", "A made-up data set.\n") ||
			!put("dataset_description.json", `{"Name": "made up", "BIDSVersion": "1.9.0"}`+"\n") ||
			!put("participants.tsv", participants(20)) ||
			!put("derivatives/pipeline/logs/run-1.txt", "nothing was computed\n") {
			return
		}
		for n := 1; n <= 20; n++ {
			sub := fmt.Sprintf("sub-%02d", n)
			if !put(sub+"/"+sub+"_sessions.tsv", "session_id\nses-1\nses-2\n") {
				return
			}
			if n <= 16 && !put(sub+"/ses-1/"+sub+"_ses-1_scans.tsv", "filename\n") {
				return
			}
			for _, name := range []string{"ses-1/anat/%s_ses-1_T1w", "ses-1/func/%s_ses-1_task-rest_bold", "ses-2/anat/%s_ses-2_T1w", "ses-2/func/%s_ses-2_task-rest_bold"} {
				name = sub + "/" + fmt.Sprintf(name, sub)
				if !put(name+".json", `{"RepetitionTime": 0.8}`+"\n") || !put(name+".nii.gz", string(image)) {
					return
				}
			}
		}
	}
}

func participants(n int) string {
	var b strings.Builder
	b.WriteString("participant_id\tage\n")
	for i := range n {
		fmt.Fprintf(&b, "sub-%02d\t%d\n", i+1, 20+i)
	}
	return b.String()
}
