package crypt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"

	"studyfs/backends"
)

// What is kept beside a ciphertext, so that the same plaintext is known without being read.
const (
	metaSize = "studyfs-plain-size"
	metaCRC  = "studyfs-plain-crc64nvme"
)

// Put encrypts the Size bytes of r to the recipients and stores them as NAME.age. The ciphertext is made first, on the local disk: it
// is what an interrupted upload goes on with. Bytes sent are told in terms of the plaintext.
//
// Two objects are changed where a version that is not of age is replaced: NAME.age is stored, then the old one is removed.
func (s *Source) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	e, err := s.put(ctx, u, r)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("put %s: %w", u.Name, err)
	}
	return e, nil
}

func (s *Source) put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	w, ok := s.src.(backends.Writer)
	if !ok {
		return backends.Entry{}, backends.ErrReadOnly
	}
	if u.Dir {
		return w.Put(ctx, u, r)
	}
	if err := s.check(u); err != nil {
		return backends.Entry{}, err
	}
	c, err := s.cipher(ctx, u, r)
	if err != nil {
		return backends.Entry{}, err
	}
	begun := c.state.Below != nil
	done, err := s.replace(ctx, w, u.Old, s.below(u, c, &begun), func(in backends.Upload) (backends.Entry, error) {
		return w.Put(ctx, in, c.asSent(ctx, r))
	})
	changed := errors.Is(err, backends.ErrChanged)
	c.file.Close(err != nil && begun && !changed) //nolint:errcheck // what is left of it is removed in time
	if changed {
		if e, ok := s.same(ctx, u); ok { // of a try whose answer was lost
			return e, nil
		}
	}
	if err != nil {
		return backends.Entry{}, err
	}
	s.mu.Lock()
	s.sizes.Add(keyOf(done), u.Size)
	s.mu.Unlock()
	return aged.shown(done, u.Size), nil
}

// check refuses what cannot be stored encrypted.
func (s *Source) check(u backends.Upload) error {
	switch {
	case s.own == 0:
		return fmt.Errorf("%w: no recipients are given", backends.ErrReadOnly)
	case u.Name == "", !backends.ValidName(u.Name), !backends.ValidName(u.Name + aged.suffix()): // the suffix makes it longer
		return backends.ErrName
	case u.Size < 0:
		return fmt.Errorf("size %d", u.Size)
	}
	return nil
}

// below is the upload of a ciphertext. begun is set once there is something to go on with later.
func (s *Source) below(u backends.Upload, c *ciphertext, begun *bool) backends.Upload {
	in := u
	in.Name, in.Size, in.CRC64NVME, in.Resume = u.Name+aged.suffix(), c.bytes(), c.state.CRC, c.state.Below
	in.Meta = withPlain(u.Meta, u.Size, u.CRC64NVME)
	in.Sent = c.progress(u.Sent)
	if u.Checkpoint != nil {
		in.Checkpoint = func(state []byte) error { // never called twice at once
			now := c.state
			now.Below = state
			text, err := json.Marshal(now)
			if err == nil {
				err = u.Checkpoint(text)
			}
			*begun = *begun || err == nil
			return err
		}
	}
	return in
}

// withPlain adds what is known of the plaintext to metadata.
func withPlain(meta map[string]string, size int64, crc uint64) map[string]string {
	out := maps.Clone(meta)
	if out == nil {
		out = map[string]string{}
	}
	out[metaSize] = strconv.FormatInt(size, 10)
	out[metaCRC] = fmt.Sprintf("%016x", crc)
	return out
}

// same reports whether what lies there has the plaintext of u.
func (s *Source) same(ctx context.Context, u backends.Upload) (backends.Entry, bool) {
	there, err := s.Examine(ctx, u.Name)
	if k, _ := stored(there.Entry); err != nil || k != aged || !there.HasCRC {
		return backends.Entry{}, false
	}
	return there.Entry, there.CRC64NVME == u.CRC64NVME && there.Entry.Size == u.Size
}

// replace writes an object below in the place of old, which is an entry of this source. If that lies under another name there, the new
// one is created and the old one removed, each under its condition.
func (s *Source) replace(ctx context.Context, w backends.Writer, old backends.Entry, in backends.Upload, write func(backends.Upload) (backends.Entry, error)) (backends.Entry, error) {
	in.Old = backends.Entry{}
	if old == (backends.Entry{}) {
		return write(in)
	}
	_, there := stored(old)
	if there.Name == in.Name {
		in.Old = there
		return write(in)
	}
	now, err := s.src.Stat(ctx, there.Name)
	switch {
	case errors.Is(err, backends.ErrNotExist), err == nil && now.Version != there.Version:
		return backends.Entry{}, backends.ErrChanged
	case err != nil:
		return backends.Entry{}, err
	}
	e, err := write(in)
	if err != nil {
		return e, err
	}
	if err := w.Remove(ctx, there); err != nil {
		if errors.Is(err, backends.ErrChanged) { // it is somebody else's, so ours must not stand before it
			err = errors.Join(err, w.Remove(ctx, e))
		}
		return backends.Entry{}, err
	}
	return e, nil
}

// Copy stores the bytes of from once more as they are: a ciphertext stays one, for the same recipients, and an object that lies there in
// clear stays in clear.
func (s *Source) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	e, err := s.copy(ctx, from, u)
	if err != nil {
		return backends.Entry{}, fmt.Errorf("copy %s to %s: %w", from.Name, u.Name, err)
	}
	return e, nil
}

func (s *Source) copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	w, ok := s.src.(backends.Writer)
	if !ok {
		return backends.Entry{}, backends.ErrReadOnly
	}
	k, source := stored(from)
	in := u
	in.Name += k.suffix()
	if u.Name == "" || !backends.ValidName(u.Name) || !backends.ValidName(in.Name) {
		return backends.Entry{}, backends.ErrName
	}
	if k == aged {
		if size, crc, ok := s.plainOf(ctx, source); ok {
			in.Meta = withPlain(u.Meta, size, crc)
		}
	}
	done, err := s.replace(ctx, w, u.Old, in, func(in backends.Upload) (backends.Entry, error) { return w.Copy(ctx, source, in) })
	if err != nil {
		return backends.Entry{}, err
	}
	if k != plain {
		s.mu.Lock()
		if size, known := s.sizes.Get(keyOf(source)); known {
			s.sizes.Add(keyOf(done), size)
		}
		s.mu.Unlock()
	}
	return k.shown(done, from.Size), nil
}

// plainOf is what the metadata of a stored object tell of its plaintext; false if they do not, or cannot be seen.
func (s *Source) plainOf(ctx context.Context, in backends.Entry) (size int64, crc uint64, ok bool) {
	x, can := s.src.(backends.Examiner)
	if !can {
		return 0, 0, false
	}
	there, err := x.Examine(ctx, in.Name)
	if err != nil || there.Entry.Version != in.Version {
		return 0, 0, false // the copy itself says what is wrong
	}
	return readPlain(there)
}

// readPlain reads what Put has noted, if it can be true.
func readPlain(there backends.Stored) (size int64, crc uint64, ok bool) {
	size, err := strconv.ParseInt(there.Meta[metaSize], 10, 64)
	if err != nil || size < 0 || size > there.Entry.Size {
		return 0, 0, false
	}
	crc, err = strconv.ParseUint(there.Meta[metaCRC], 16, 64)
	_, fits := layoutOf(there.Entry.Size, there.Entry.Size-sealed(size))
	return size, crc, err == nil && fits
}

// Remove deletes exactly this version of e.
func (s *Source) Remove(ctx context.Context, e backends.Entry) error {
	w, ok := s.src.(backends.Writer)
	if !ok {
		return fmt.Errorf("remove %s: %w", e.Name, backends.ErrReadOnly)
	}
	_, in := stored(e)
	return w.Remove(ctx, in)
}

// Examine looks at the object that stands for a name, as a rule in one request. The checksum is that of the plaintext, as it was noted
// when it was encrypted.
func (s *Source) Examine(ctx context.Context, name string) (backends.Stored, error) {
	x, ok := s.src.(backends.Examiner)
	if !ok {
		return backends.Stored{}, fmt.Errorf("examine %s: %w: the source below shows no metadata", name, backends.ErrPermission)
	}
	kinds := s.kinds()
	kinds[0], kinds[1] = aged, plain // what is looked for is nearly always what was stored
	for _, k := range kinds {
		there, err := x.Examine(ctx, name+k.suffix())
		switch {
		case errors.Is(err, backends.ErrNotExist):
		case err != nil:
			return backends.Stored{}, err
		case s.child(there.Entry).kind == k:
			return s.examined(k, there), nil
		}
	}
	return backends.Stored{}, fmt.Errorf("examine %s: %w", name, backends.ErrNotExist)
}

func (s *Source) examined(k kind, there backends.Stored) backends.Stored {
	if k == plain {
		return there
	}
	out := backends.Stored{Meta: maps.Clone(there.Meta)}
	delete(out.Meta, metaSize)
	delete(out.Meta, metaCRC)
	size := s.sizeOf(k, there.Entry)
	if k == aged {
		var noted int64
		if noted, out.CRC64NVME, out.HasCRC = readPlain(there); out.HasCRC {
			size = noted
		}
	}
	out.Entry = k.shown(there.Entry, size)
	return out
}

// Abilities are those of the source below.
func (s *Source) Abilities() backends.Abilities {
	if p, ok := s.src.(backends.Prober); ok {
		return p.Abilities()
	}
	return backends.Abilities{}
}
