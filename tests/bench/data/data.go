// Package data makes up what the laboratory's stores hold. A set is told by a [Spec] alone, and the same spec gives the same bytes in every
// process: the store makes them when they are asked for, and who reads them knows what must come.
package data

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
)

// Kind says what a set is like.
type Kind string

// The kinds of sets.
const (
	Many  Kind = "many"  // Count files of Size bytes in one folder
	Large Kind = "large" // Count files of Size bytes at the top
	Flat  Kind = "flat"  // Count keys in one folder, to be listed
	Deep  Kind = "deep"  // Count keys, ten to a folder three levels down, to be listed
	CSV   Kind = "csv"   // Count hourly tables of Size rows, as Beiwe has them
	Avro  Kind = "avro"  // Count raw files of Empatica
	Image Kind = "image" // a NIfTI image of 8 MiB, and a compressed one
	Empty Kind = "empty" // nothing yet
)

// Spec names a set. Bucket is where it lies in a store, and must tell sets apart.
type Spec struct {
	Bucket string
	Kind   Kind
	Count  int
	Size   int64
}

// Mod is when all files were changed.
func Mod() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// File is one file of a set.
type File struct {
	Name string // the key, and the path below a mount
	Size int64

	shift int64  // where in the pool its bytes begin
	body  []byte // of files that are made as a whole, else nil
}

// Body makes the file's bytes up as they are read.
func (f File) Body() io.ReaderAt {
	if f.body != nil {
		return bytes.NewReader(f.body)
	}
	return patterned{shift: f.shift, size: f.Size}
}

// Sum is the CRC-32C of n bytes from off on.
func (f File) Sum(off, n int64) uint32 {
	sum := NewSum()
	io.Copy(sum, io.NewSectionReader(f.Body(), off, n)) // both are in memory
	return sum.Sum32()
}

// NewSum returns the hash that [File.Sum] is made with.
func NewSum() interface {
	io.Writer
	Sum32() uint32
} {
	return crc32.New(crc32.MakeTable(crc32.Castagnoli))
}

// poolSize is a prime, so that no two blocks of a file that lie at powers of two are the same.
const poolSize = 1<<20 + 7

type pool struct {
	once sync.Once
	raw  []byte
}

var noise pool // the same bytes in every process

func (p *pool) bytes() []byte {
	p.once.Do(func() {
		p.raw = make([]byte, poolSize)
		random := rand.NewChaCha8([32]byte{1})
		random.Read(p.raw)
	})
	return p.raw
}

type patterned struct{ shift, size int64 }

// ReadAt copies out of the pool: the store must not need more of the processor than those that are measured.
func (p patterned) ReadAt(b []byte, off int64) (int, error) {
	if off >= p.size {
		return 0, io.EOF
	}
	var err error
	if int64(len(b)) > p.size-off {
		b, err = b[:p.size-off], io.EOF
	}
	raw := noise.bytes()
	for n := 0; n < len(b); {
		n += copy(b[n:], raw[(p.shift+off+int64(n))%poolSize:])
	}
	return len(b), err
}

// Files returns the set's files in the order of their keys.
func (s Spec) Files() []File {
	switch s.Kind {
	case Many:
		return s.named(func(i int) string { return fmt.Sprintf("d/%05d.csv", i) })
	case Large:
		return s.named(func(i int) string { return fmt.Sprintf("large-%d.bin", i) })
	case Flat:
		return s.named(func(i int) string { return fmt.Sprintf("d/participant-%04d_%06d.csv", i/1000, i) })
	case Deep:
		return s.named(func(i int) string {
			return fmt.Sprintf("site-%02d/sub-%02d/day-%02d/%d.csv", i/25000, i/500%50, i/10%50, i%10)
		})
	case CSV:
		return s.tables()
	case Avro:
		return s.sampled(sample.Empatica(sample.Options{Participants: 1, Days: (s.Count + 3) / 4}), ".avro")
	case Image:
		return s.sampled(sample.HCP(sample.Options{}), "100206/T1w/T1w_acpc_dc.nii", "100206/T1w/Diffusion/data.nii.gz")
	default:
		return nil
	}
}

func (s Spec) named(name func(i int) string) []File {
	files := make([]File, s.Count)
	for i := range files {
		files[i] = File{Name: name(i), Size: s.Size, shift: int64(i) * 7919 % poolSize}
	}
	return files
}

// tables are hours of an accelerometer, each row as long as any other.
func (s Spec) tables() []File {
	var files []File
	for h := range s.Count {
		var b bytes.Buffer
		at := Mod().Truncate(time.Hour).Add(time.Duration(h) * time.Hour)
		b.WriteString("timestamp,UTC time,accuracy,x,y,z\n")
		for row := range int(s.Size) {
			t := at.Add(time.Duration(row) * time.Millisecond)
			fmt.Fprintf(&b, "%d,%s,unknown,-0.%06d,0.%06d,9.%06d\n", t.UnixMilli(), t.Format("2006-01-02T15:04:05.000"), row*7919%1000000, h*104729%1000000, row)
		}
		name := "accelerometer/" + at.Format("2006-01-02 15_04_05+00_00") + ".csv"
		files = append(files, File{Name: name, Size: int64(b.Len()), body: b.Bytes()})
	}
	return files
}

// sampled takes the first Count of made-up files whose keys end so.
func (s Spec) sampled(all func(func(string, s3test.Object) bool), suffixes ...string) []File {
	var files []File
	for key, o := range all {
		for _, suffix := range suffixes {
			if !strings.HasSuffix(key, suffix) || len(files) >= s.Count {
				continue
			}
			body := make([]byte, o.Size)
			o.Body.ReadAt(body, 0) // it is in memory
			files = append(files, File{Name: "raw/" + path.Base(key), Size: o.Size, body: body})
		}
	}
	return files
}

// Bytes is the size of all files together.
func Bytes(files []File) (sum int64) {
	for _, f := range files {
		sum += f.Size
	}
	return sum
}

// Object is the file as the strict store keeps it. What is only listed is not summed: a million sums take long.
func (s Spec) Object(f File) s3test.Object {
	o := s3test.Object{Body: f.Body(), Size: f.Size, ModTime: Mod()}
	if s.Kind == Flat || s.Kind == Deep {
		var raw [16]byte
		copy(raw[:], f.Name[max(0, len(f.Name)-16):])
		o.ETag = `"` + hex.EncodeToString(raw[:]) + `"`
	}
	return o
}
