package stage

import (
	"hash/crc32"
	"io"
)

// proofMax is how large a file may be to be sealed with one sync: it is read once more from memory, which for 256 KiB takes a hundredth of
// what a sync takes.
const proofMax = 256 << 10

// proofOf returns the CRC-32C of a file that is being sealed for the first time. With it in the label, bytes and label are made durable by
// one sync instead of two: after a crash that left the label and not all of the bytes, they do not fit, and the label says nothing. nil:
// bytes have to be durable before the label. So it is for files that were sealed before, whose earlier label still has to count if this
// seal is cut off. The caller holds sealing.
func (s *Stage) proofOf(it *item, f *blob, size int64) *uint32 {
	s.mu.Lock()
	before := it.sealed != nil || it.copied != nil
	s.mu.Unlock()
	if before || it.sidecar || f.v != nil || size > proofMax {
		return nil
	}
	sum, err := crcOf(f, size)
	if err != nil {
		return nil
	}
	return &sum
}

// crcOf is the CRC-32C of the first size bytes of a file.
func crcOf(f io.ReaderAt, size int64) (uint32, error) {
	h := crc32.New(castagnoli())
	if n, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, size), make([]byte, min(size, 32<<10)+1)); err != nil || n != size {
		return 0, io.ErrUnexpectedEOF
	}
	return h.Sum32(), nil
}

// proven reports whether the bytes of an item are those that its label was written for.
func (l *loader) proven(r *itemRecord) bool {
	if r.Proof == nil {
		return true
	}
	if r.Sealed == nil || r.Locked {
		return false
	}
	f, err := l.s.disk.open(fileName(r.ID), false)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	sum, err := crcOf(f, r.Sealed.Size)
	return err == nil && sum == *r.Proof
}
