package edf

import (
	"cmp"
	"io"
	"slices"
)

// Patch replaces bytes of a file by as many others.
type Patch struct {
	Offset int64
	New    []byte
}

func compare(a, b int64) int { return cmp.Compare(a, b) }

// Apply returns r as it reads with patches applied. They must be in the order of their offsets and apart from each other, as those of
// [Header.Inspect] are, and must not be changed any more. It may be used by several goroutines if r may.
func Apply(r io.ReaderAt, patches []Patch) io.ReaderAt { return &patched{r: r, patches: patches} }

type patched struct {
	r       io.ReaderAt
	patches []Patch
}

// ReadAt reads as the file does, and replaces what lies in what was read.
func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.r.ReadAt(b, off)
	b = b[:n]
	first, _ := slices.BinarySearchFunc(p.patches, off, func(patch Patch, off int64) int {
		return compare(patch.Offset+int64(len(patch.New)), off+1)
	})
	for _, patch := range p.patches[first:] {
		at := patch.Offset - off
		switch {
		case at >= int64(n):
			return n, err
		case at >= 0:
			copy(b[at:], patch.New)
		case -at < int64(len(patch.New)):
			copy(b, patch.New[-at:])
		}
	}
	return n, err
}
