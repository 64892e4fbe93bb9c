package vault

import (
	"errors"
	"fmt"
	"io"
	"math"
)

// ReadAt reads like [os.File.ReadAt]. ErrDamaged where what lies on the disk is not what was written.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := min(int64(len(p)), f.size-off)
	for int64(n) < want {
		at := off + int64(n)
		if err := f.block(at/blockSize, f.plain[:]); err != nil {
			return n, err
		}
		n += copy(p[n:want], f.plain[at%blockSize:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes like [os.File.WriteAt]. A part of a block is read, changed and written.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.size
	if err := f.grow(off, off+int64(len(p))); err != nil {
		return 0, err
	}
	for n < len(p) {
		at := off + int64(n)
		block, in := at/blockSize, at%blockSize
		part := p[n:min(len(p), n+int(blockSize-in))]
		fresh := len(part) == blockSize || block*blockSize >= was
		if err := f.put(block, fresh, func(b []byte) { copy(b[in:], part) }); err != nil {
			if end := max(was, at); end < f.size {
				err = errors.Join(err, f.cut(end))
			}
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// grow makes room up to end, if it is not there: zeros up to from, and after that whatever is written next. The caller holds mu.
func (f *File) grow(from, end int64) error {
	if end <= f.size {
		return nil
	}
	if !f.clean {
		if err := f.trim(); err != nil {
			return err
		}
	}
	if err := f.blank(from / blockSize); err != nil {
		return err
	}
	if groups := (f.size + groupSize - 1) / groupSize; end > groups*groupSize { // what a crash has left behind the last group must not become part of the next
		if err := f.disk.Truncate(LengthOf(groups * groupSize)); err != nil {
			return fmt.Errorf("encrypted file: %w", err)
		}
	}
	if err := f.disk.Truncate(LengthOf(end)); err != nil { // before the bytes: a length in between would be another size
		return fmt.Errorf("encrypted file: %w", err)
	}
	f.size = end
	return nil
}

// trim makes zeros of what lies behind the end in the last block, where a crash came between the two halves of a truncation.
func (f *File) trim() error {
	n, in := f.size/blockSize, f.size%blockSize
	if in == 0 {
		return nil
	}
	if err := f.block(n, f.plain[:]); err != nil || allZero(f.plain[in:]) {
		return err
	}
	return f.put(n, false, func(b []byte) { clear(b[in:]) })
}

// blank makes zeros of what lies behind the end, up to a block: of what was there before the file was cut off. That is in the last group only.
func (f *File) blank(last int64) error {
	first := (f.size + blockSize - 1) / blockSize
	for n := first; n < min(last, (first+perGroup-1)/perGroup*perGroup); n++ {
		s, err := f.look(n)
		if err != nil {
			return err
		}
		if s.bad || s.epoch != [2]uint64{} {
			if err := f.put(n, true, func([]byte) {}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Truncate sets the size. What is added reads as zeros.
func (f *File) Truncate(size int64) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if size == f.size {
		return f.touch()
	}
	if size > f.size {
		return f.grow(size+blockSize-1, size)
	}
	if in := size % blockSize; in > 0 {
		if err := f.put(size/blockSize, false, func(b []byte) { clear(b[in:]) }); err != nil {
			return err
		}
	}
	return f.cut(size)
}

// cut makes the file shorter. The caller holds mu.
func (f *File) cut(size int64) error {
	if groups := (size + groupSize - 1) / groupSize; groups < (f.size+groupSize-1)/groupSize { // or some of the next group would stay where the length is kept
		if err := f.disk.Truncate(LengthOf(groups * groupSize)); err != nil {
			return fmt.Errorf("encrypted file: %w", err)
		}
		f.size = groups * groupSize
	}
	if err := f.disk.Truncate(LengthOf(size)); err != nil {
		return fmt.Errorf("encrypted file: %w", err)
	}
	f.size = size
	return f.blank(math.MaxInt64) // sealed with the rest, so that it is not there again when a crash leaves the file longer
}

// Zero makes a range within the file zeros. Blocks of which something was written take as much room as before.
func (f *File) Zero(off, n int64) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := false
	for end := min(off+n, f.size); off < end; {
		block, in := off/blockSize, off%blockSize
		part := min(blockSize-in, end-off)
		s, err := f.look(block)
		if err != nil {
			return err
		}
		if s.bad || s.epoch != [2]uint64{} {
			if err := f.put(block, part == blockSize, func(b []byte) { clear(b[in : in+part]) }); err != nil {
				return err
			}
			changed = true
		}
		off += part
	}
	if changed {
		return nil
	}
	return f.touch()
}

// touch moves the times of the file on the disk, as every change does, of nothing too.
func (f *File) touch() error {
	if err := f.disk.Truncate(LengthOf(f.size)); err != nil {
		return fmt.Errorf("encrypted file: %w", err)
	}
	return nil
}

// Places are where the bytes of a range lie that was never written, one run per group.
func Places(off, n int64, each func(at, n int64) error) error {
	for first, last := off/blockSize, (off+n+blockSize-1)/blockSize; first < last; {
		next := min(last, (first/perGroup+1)*perGroup)
		if err := each(slotAt(first, 0), (next-first)*slotSize); err != nil {
			return err
		}
		first = next
	}
	return nil
}

// Next returns where the next data, or with hole the next hole, begins at or after off; the end of the file is a hole. -1: there is none. skip
// returns the place on the disk of the next byte that is no hole there, at or after one, and less than 0 if there is none.
func (f *File) Next(off int64, hole bool, skip func(at int64) int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off < 0 || off >= f.size {
		return -1, nil
	}
	for at := off; at < f.size; {
		n := at / blockSize
		s, err := f.look(n)
		if err != nil {
			return -1, err
		}
		empty := !s.bad && s.epoch == [2]uint64{}
		if empty == hole {
			return at, nil
		}
		at = (n + 1) * blockSize
		if empty && n%perGroup == perGroup-1 { // jump over groups of which nothing was written
			data := skip(slotAt(n+1, 0))
			if data < 0 {
				return -1, nil
			}
			at = max(at, (data-groupsAt)/groupRoom*groupSize)
		}
	}
	if hole {
		return f.size, nil
	}
	return -1, nil
}

// repair makes holes of what was torn before it was sealed, so that nothing is sealed that cannot be read, and looks up to which epoch there is
// anything. The caller holds mu.
func (f *File) repair() error {
	end := (f.size + groupSize - 1) / groupSize * perGroup
	for n := range end {
		s, err := f.look(n)
		if err != nil {
			return err
		}
		f.epoch = max(f.epoch, s.epoch[0], s.epoch[1])
		if err := f.mend(n, s); err != nil {
			return err
		}
	}
	f.clean = true
	if err := f.trim(); err != nil {
		return err
	}
	return f.blank(math.MaxInt64)
}

// mend wipes what is torn of one block.
func (f *File) mend(n int64, s slots) error {
	for i, raw := range s.raw {
		e := s.epoch[i]
		if e == 0 && allZero(raw) || e > 0 && e <= f.sealed {
			continue
		}
		if e > 0 {
			if _, err := f.aead.Open(f.plain[:0], nil, raw[headSize:], f.bound(n, i, e)); err == nil {
				continue
			}
		}
		if e == 0 && !allZero(raw[:headSize]) { // nobody wrote that
			continue
		}
		clear(raw)
		if _, err := f.disk.WriteAt(raw, slotAt(n, i)); err != nil {
			return fmt.Errorf("encrypted file: %w", err)
		}
	}
	return nil
}

// Grow sets the size if the file is shorter.
func (f *File) Grow(size int64) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.grow(size+blockSize-1, size)
}
