package crypt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"

	"studyfs/backends"
)

// Decrypt returns the plaintext of a file of size bytes, whatever its name is: age's, openssl's or cryptease's. Of o, only Identities and
// Password count. Errors are those of a Source: backends.ErrPermission where no key fits, backends.ErrBadAnswer where the file is none
// of these or was altered. The reader is for one goroutine.
func Decrypt(ctx context.Context, f io.ReaderAt, size int64, o Options) (io.Reader, error) {
	k, err := sniff(f, size)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	if k != aged && o.Password.Empty() {
		return nil, fmt.Errorf("decrypt: %w: it takes a password, and none is given", backends.ErrPermission)
	}
	src := file{f}
	s, err := New(src, Options{Identities: o.Identities, Password: o.Password})
	if err != nil {
		return nil, err
	}
	in := backends.Entry{Name: "file", Size: size, Version: "1"}
	h, err := s.load(ctx, k, in)
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	if h.plainSize() == 0 {
		return bytes.NewReader(nil), nil
	}
	body, err := h.read(ctx, src, in, 0, h.plainSize())
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return body, nil
}

// sniff tells what a file is by how it begins.
func sniff(f io.ReaderAt, size int64) (kind, error) {
	start := make([]byte, min(size, int64(len(ageIntro))))
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), start); err != nil {
		return plain, err
	}
	switch {
	case bytes.Equal(start, []byte(ageIntro)):
		return aged, nil
	case bytes.HasPrefix(start, []byte(saltedMagic)) && size >= minDES && size%desBlock == 0:
		return des, nil
	case size < minLock:
		return plain, fmt.Errorf("%w: not an encrypted file", backends.ErrBadAnswer)
	}
	return locked, nil
}

// file is a source of one object, which needs no listing.
type file struct{ io.ReaderAt }

func (file) List(context.Context, string) iter.Seq2[backends.Entry, error] {
	return func(func(backends.Entry, error) bool) {}
}

func (file) Stat(context.Context, string) (backends.Entry, error) {
	return backends.Entry{}, backends.ErrNotExist
}

func (f file) ReadRange(_ context.Context, _ backends.Entry, off, n int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(f, off, n)), nil
}
