package mem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"time"

	"studyfs/backends"
)

var (
	_ backends.Writer   = (*Source)(nil)
	_ backends.Examiner = (*Source)(nil)
	_ backends.Prober   = (*Source)(nil)
)

// maxMeta is what the contract promises that fits.
const maxMeta = 2048

// maxSummed bounds the objects put by tests whose checksum is told: a larger body may be made up as it is read.
const maxSummed = 64 << 20

// upload is an object in parts that has not appeared yet.
type upload struct {
	key   string
	size  int64
	parts map[int64][]byte // by offset
}

// After has f called once a put, part, finish, copy or remove has been done, ahead of its answer. An error of f is the answer
// then: what a lost one looks like.
func (s *Source) After(f func(Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = f
}

// SetAbilities makes the source show other abilities. If Conditions is Unable, it ignores conditions, as such services do.
func (s *Source) SetAbilities(a backends.Abilities) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abilities = a
}

// SetPartSize makes objects larger than n bytes go in parts of n, which can be resumed. It is 8 MiB at first.
func (s *Source) SetPartSize(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partSize = n
}

// SetNow gives the clock that tells the ModTime of what is written. At first it stands still.
func (s *Source) SetNow(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Unfinished tells how many uploads in parts wait to be resumed.
func (s *Source) Unfinished() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uploads)
}

// Bytes returns what lies under a key, false if nothing does.
func (s *Source) Bytes(key string) ([]byte, bool) {
	s.mu.Lock()
	o, ok := s.objects[key]
	s.mu.Unlock()
	if !ok {
		return nil, false
	}
	b := make([]byte, o.Size)
	if n, _ := o.Body.ReadAt(b, 0); int64(n) < o.Size {
		return nil, false
	}
	return b, true
}

// Abilities tells what SetAbilities said.
func (s *Source) Abilities() backends.Abilities {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.abilities
}

// answer runs the hook behind a call that has been done.
func (s *Source) answer(op Op) error {
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after == nil {
		return nil
	}
	return after(op)
}

func keyOf(name string, dir bool) string {
	if dir {
		return name + "/"
	}
	return name
}

func check(u backends.Upload) error {
	if u.Name == "" || !backends.ValidName(u.Name) {
		return backends.ErrName
	}
	if u.Size < 0 || u.Dir && u.Size != 0 {
		return fmt.Errorf("size %d", u.Size)
	}
	n := 0
	for k, v := range u.Meta {
		n += len(k) + len(v)
	}
	if n > maxMeta {
		return fmt.Errorf("%w: %d bytes of metadata", backends.ErrTooLarge, n)
	}
	return nil
}

// Put stores a whole object. One that is larger than the part size goes in parts.
func (s *Source) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	e, err := s.put(ctx, u, r)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("put %s: %w", u.Name, err)
	}
	return e, nil
}

func (s *Source) put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	if err := check(u); err != nil {
		return backends.Entry{}, err
	}
	s.mu.Lock()
	part := s.partSize
	s.mu.Unlock()
	op := Op{Name: "put", Object: u.Name, N: u.Size}
	var id string
	var body []byte
	var err error
	if u.Size > part {
		op.Name = "finish"
		if id, body, err = s.putParts(ctx, u, r, part); err != nil {
			return backends.Entry{}, err
		}
	}
	if err = s.request(ctx, op); err != nil {
		return backends.Entry{}, err
	}
	if u.Size <= part {
		if body, err = s.receive(ctx, u, r, 0, u.Size); err != nil {
			return backends.Entry{}, err
		}
	}
	s.forget(id) // there is nothing to resume any more, whatever comes
	if crc64.Checksum(body, table()) != u.CRC64NVME {
		return backends.Entry{}, fmt.Errorf("%w: another checksum", backends.ErrBadAnswer)
	}
	e, err := s.appear(u, Object{Body: bytes.NewReader(body), Size: u.Size})
	if err != nil {
		return backends.Entry{}, err
	}
	return e, s.answer(op)
}

// receive reads a piece of a body as a connection does.
func (s *Source) receive(ctx context.Context, u backends.Upload, r io.ReaderAt, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(&body{ctx: ctx, r: io.NewSectionReader(r, off, n)}, b); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.bytesOut += n
	s.mu.Unlock()
	if u.Sent != nil {
		u.Sent(n)
	}
	return b, ctx.Err()
}

// putParts sends what an earlier try has not, and returns the whole body.
func (s *Source) putParts(ctx context.Context, u backends.Upload, r io.ReaderAt, part int64) (id string, whole []byte, err error) {
	id, up := s.resume(u)
	checkpoint := func() error {
		if u.Checkpoint == nil {
			return nil
		}
		return u.Checkpoint([]byte(id))
	}
	if err := checkpoint(); err != nil {
		return id, nil, err
	}
	for off := int64(0); off < u.Size; off += part {
		n := min(part, u.Size-off)
		s.mu.Lock()
		have, done := up.parts[off]
		s.mu.Unlock()
		if !done {
			op := Op{Name: "part", Object: u.Name, Off: off, N: n}
			if err := s.request(ctx, op); err != nil {
				return id, nil, err
			}
			if have, err = s.receive(ctx, u, r, off, n); err != nil {
				return id, nil, err
			}
			s.mu.Lock()
			up.parts[off] = have
			s.mu.Unlock()
			if err := errors.Join(s.answer(op), checkpoint()); err != nil {
				return id, nil, err
			}
		} else if u.Sent != nil {
			u.Sent(n)
		}
		whole = append(whole, have...)
	}
	return id, whole, nil
}

func (s *Source) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uploads, id)
}

// resume finds the upload of an earlier try, or begins one.
func (s *Source) resume(u backends.Upload) (string, *upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, key := string(u.Resume), keyOf(u.Name, u.Dir)
	if up := s.uploads[id]; up != nil && up.key == key && up.size == u.Size {
		return id, up
	}
	id = s.newVersion()
	up := &upload{key: key, size: u.Size, parts: map[int64][]byte{}}
	s.uploads[id] = up
	return id, up
}

// appear puts an object in the place of what the caller knows to be there.
func (s *Source) appear(u backends.Upload, o Object) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(u.Name, u.Dir)
	have, had := s.objects[key]
	if !s.inPlace(u.Old, have, had) {
		if sum, ok := have.sum(); had && ok && sum == u.CRC64NVME && have.Size == u.Size {
			e, _ := s.entry(key) // its own bytes, of a try whose answer was lost
			return e, nil
		}
		return backends.Entry{}, backends.ErrChanged
	}
	return s.store(key, u, o, s.newVersion()), nil
}

// inPlace reports whether what lies there is what the caller expects. The caller holds mu.
func (s *Source) inPlace(old backends.Entry, have stored, had bool) bool {
	switch {
	case s.abilities.Conditions == backends.Unable:
		return true
	case old == (backends.Entry{}):
		return !had
	case old.Dir:
		return had
	}
	return had && have.version == old.Version
}

// store writes an object. The caller holds mu.
func (s *Source) store(key string, u backends.Upload, o Object, version string) backends.Entry {
	o.ModTime, o.Class, o.Meta = s.now().UTC().Truncate(time.Second), u.Class, maps.Clone(u.Meta)
	s.objects[key] = stored{o, version}
	e, _ := s.entry(key)
	return e
}

// sum is the checksum of an object, if it is not too large to be read for that.
func (o stored) sum() (uint64, bool) {
	if o.Body == nil || o.Size > maxSummed {
		return 0, false
	}
	h := crc64.New(table())
	n, err := io.Copy(h, io.NewSectionReader(o.Body, 0, o.Size))
	return h.Sum64(), err == nil && n == o.Size
}

func table() *crc64.Table { return crc64.MakeTable(0x9a6c9329ac4bc9b5) }

// Copy stores the bytes of from once more, under the same version: as with ETags, the same bytes may share one.
func (s *Source) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	u.Size = 0
	err := check(u)
	op := Op{Name: "copy", Object: u.Name}
	if err == nil {
		err = s.request(ctx, op)
	}
	var e backends.Entry
	if err == nil {
		e, err = s.copy(from, u)
	}
	if err == nil {
		err = s.answer(op)
	}
	if err != nil {
		return backends.Entry{}, fmt.Errorf("copy %s to %s: %w", from.Name, u.Name, err)
	}
	return e, nil
}

func (s *Source) copy(from backends.Entry, u backends.Upload) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src, ok := s.objects[keyOf(from.Name, from.Dir)]
	key := keyOf(u.Name, u.Dir)
	have, had := s.objects[key]
	switch {
	case !ok:
		return backends.Entry{}, backends.ErrNotExist
	case !from.Dir && src.version != from.Version, !s.inPlace(u.Old, have, had):
		return backends.Entry{}, backends.ErrChanged
	case src.Tier != backends.Online:
		return backends.Entry{}, backends.ErrArchived
	}
	return s.store(key, u, src.Object, src.version), nil
}

// Remove deletes exactly the version of e.
func (s *Source) Remove(ctx context.Context, e backends.Entry) error {
	op := Op{Name: "remove", Object: e.Name}
	err := s.request(ctx, op)
	if err == nil {
		err = s.remove(e)
	}
	if err == nil {
		err = s.answer(op)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", e.Name, err)
	}
	return nil
}

func (s *Source) remove(e backends.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := keyOf(e.Name, e.Dir)
	if have, had := s.objects[key]; had && !e.Dir && have.version != e.Version && s.abilities.Conditions != backends.Unable {
		return backends.ErrChanged
	}
	delete(s.objects, key)
	return nil
}

// Examine looks at the object of a name.
func (s *Source) Examine(ctx context.Context, name string) (backends.Stored, error) {
	err := s.request(ctx, Op{Name: "examine", Object: name})
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if err == nil && !ok {
		err = backends.ErrNotExist
	}
	if err != nil {
		return backends.Stored{}, fmt.Errorf("examine %s: %w", name, err)
	}
	out := backends.Stored{Meta: maps.Clone(o.Meta)}
	out.Entry, _ = s.entry(name)
	out.CRC64NVME, out.HasCRC = o.sum()
	return out, nil
}
