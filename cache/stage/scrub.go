package stage

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"studyfs/cache/stage/gate/edf"
)

// scrubExt ends the names of files that go out in the place of others. They lie beside those.
const scrubExt = ".scrub"

// scrubbed is a file of its own that was made of a staged one by taking out what names a patient. Only that one is sent. It is made when it is
// about to be sent, and again whenever the staged file, or what is to be taken out of it, has become another. It is never changed.
type scrubbed struct {
	ID  ID     `json:"id"`  // of its local file: never given twice, so that what a crash leaves half made is never taken for it
	Of  mark   `json:"of"`  // the staged file when it was made
	How string `json:"how"` // by which patches
	Sum uint64 `json:"sum"` // CRC-64/NVME of it

	Locked bool `json:"locked,omitempty"` // it is encrypted
}

func scrubName(id ID) string { return fileName(id) + scrubExt }

// howOf tells sets of patches apart. Nobody can tell from it what they put where.
func howOf(patches []edf.Patch) string {
	h := sha256.New()
	var head [16]byte
	for _, p := range patches {
		binary.LittleEndian.PutUint64(head[:], uint64(p.Offset))
		binary.LittleEndian.PutUint64(head[8:], uint64(len(p.New)))
		_, _ = h.Write(head[:]) // a hash takes all
		_, _ = h.Write(p.New)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// scrubFor sees to it that a job sends what may go out: what a ruling asks to be made of the staged file, or that file if it may go out as it
// is.
func (s *Stage) scrubFor(j *Job, r *ruling) error {
	it := j.it
	s.mu.Lock()
	old, base, sum := it.scrub, it.base, *it.sum
	was, known := s.memory.of(base)
	s.mu.Unlock()
	if len(r.patches) == 0 {
		return s.setScrub(j, nil)
	}
	how := howOf(r.patches)
	if known && was.HasCRC && was.madeOf(sum, how) && was.Size == j.mark.Size && base.Size == was.Size {
		j.same, j.scrub = true, &scrubbed{Of: j.mark, How: how, Sum: was.CRC64NVME}
		return j.take(nil)
	}
	if old != nil && old.Of == j.mark && old.How == how {
		if f := s.reusable(j.ctx, old); f != nil {
			j.scrub = old
			return j.take(f)
		}
	}
	c, f, err := s.makeScrub(j, r.patches)
	if err != nil {
		return err
	}
	c.How, j.scrub = how, c
	return errors.Join(j.take(f), s.setScrub(j, c))
}

// madeOf reports whether what is stored was made in this way of a file with this checksum.
func (m Remembered) madeOf(sum uint64, how string) bool {
	return m.Scrubbed == how && m.Original == sum
}

// take has a job send another file than the staged one; nil: none.
func (j *Job) take(f *blob) error {
	err := j.file.Close()
	if j.file = f; err != nil {
		return fmt.Errorf("staged file: %w", err)
	}
	return nil
}

// setScrub notes what goes out of an item, and removes what did before. The record that a job begins tells of it.
func (s *Stage) setScrub(j *Job, c *scrubbed) error {
	it := j.it
	s.mu.Lock()
	old := it.scrub
	if old == nil && c == nil {
		s.mu.Unlock()
		return nil
	}
	if it.scrub = c; old == nil || c == nil || old.Sum != c.Sum || old.Of.Size != c.Of.Size {
		it.resume = nil // what has been sent was of other bytes
	}
	s.count(it)
	seq := s.put(it)
	s.mu.Unlock()
	if err := s.journal.wait(seq, false); err != nil {
		return err
	}
	if old == nil {
		return nil
	}
	return s.disk.remove(scrubName(old.ID))
}

// reusable opens what was made earlier, if it is still that.
func (s *Stage) reusable(ctx context.Context, c *scrubbed) *blob {
	var t *trust
	if c.Locked {
		t = &trust{}
	}
	f, err := s.disk.openBlob(scrubName(c.ID), c.ID, t)
	if err != nil {
		return nil
	}
	if l, err := f.look(); err == nil && l.Size == c.Of.Size {
		if sum, err := sumOf(ctx, f); err == nil && *sum == c.Sum {
			return f
		}
	}
	f.Close() //nolint:errcheck // only read
	return nil
}

// makeScrub copies the file of a job and takes out what is to be taken out. What it returns is safe on the disk, and is of exactly the bytes
// that were judged. It may use the room that is kept free: files go out only by way of this, and would fill the disk for ever.
func (s *Stage) makeScrub(j *Job, patches []edf.Patch) (*scrubbed, *blob, error) {
	s.mu.Lock()
	id := s.newID()
	s.mu.Unlock()
	name := scrubName(id)
	f, err := s.disk.create(name, id)
	if err != nil {
		return nil, nil, fmt.Errorf("scrubbed copy: %w", err)
	}
	sum, err := s.fillScrub(j, f, patches)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close(), s.disk.remove(name))
	}
	return &scrubbed{ID: id, Of: j.mark, Sum: *sum, Locked: f.v != nil}, f, nil
}

func (s *Stage) fillScrub(j *Job, f *blob, patches []edf.Patch) (*uint64, error) {
	if err := s.disk.copyInto(j.ctx, j.file, f, j.mark.Size); err != nil {
		return nil, fmt.Errorf("scrubbed copy: %w", err)
	}
	for _, p := range patches {
		if _, err := f.WriteAt(p.New, p.Offset); err != nil {
			return nil, fmt.Errorf("scrubbed copy: %w", err)
		}
	}
	if err := errors.Join(s.disk.sync(f.name, f.f), s.disk.syncDir(filesDir)); err != nil {
		return nil, fmt.Errorf("scrubbed copy: %w", err)
	}
	if l, err := j.file.look(); err != nil || l.mark != j.mark {
		return nil, errors.Join(errMoved, err)
	}
	return sumOf(j.ctx, f)
}

// noteScrubbed adds to what is remembered of a stored file what it was before it was scrubbed: so the same file, copied in again, is known.
func (j *Job) noteScrubbed(m *Remembered) {
	if j.scrub != nil && j.it.sum != nil && j.it.summed == j.mark {
		m.Original, m.Scrubbed = *j.it.sum, j.scrub.How
	}
}

// adoptable is the local file with the bytes that were stored; "" if there is none.
func (j *Job) adoptable() string {
	switch {
	case !j.it.hasFile(), j.same:
		return ""
	case j.scrub != nil:
		return scrubName(j.scrub.ID)
	}
	return fileName(j.it.id)
}

// copyPiece is how much is copied between two looks at whether it is still wanted.
const copyPiece = 64 << 20

// copyInto copies size bytes of a file into an empty one, where the file system can by sharing them.
func (d *disk) copyInto(ctx context.Context, from, to *blob, size int64) error {
	if from.v == nil && to.v == nil { // otherwise each write is asked for
		if err := d.before(op{kind: opCopy, path: from.name, to: to.name, size: size}); err != nil {
			return err
		}
	}
	return to.copyFrom(from, size, ctx.Err)
}

// settleScrubs removes what was made to be sent and does not belong to an item any more, and counts what does.
func (l *loader) settleScrubs() {
	s := l.s
	wanted := map[ID]*item{}
	for _, it := range s.items {
		if it.scrub != nil && (it.scrub.Locked || s.disk.keys == nil) { // one in clear is made anew
			wanted[it.scrub.ID] = it
		}
	}
	for _, it := range s.items {
		if it.scrub != nil && wanted[it.scrub.ID] == nil {
			it.scrub, it.resume = nil, nil
		}
	}
	for id := range l.scrubs {
		if wanted[id] == nil {
			l.remove(scrubName(id))
		}
	}
	for id, it := range wanted {
		if !l.scrubs[id] {
			it.scrub, it.resume = nil, nil
		}
		s.count(it)
	}
}
