package crypt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"studyfs/backends"
)

// errGuess says that a listing gave a size that turned out wrong. The next listing has the right one.
var errGuess = fmt.Errorf("%w: it is encrypted, and its size was a guess that was wrong", backends.ErrChanged)

// opened is an object whose key and size are known.
type opened interface {
	plainSize() int64
	read(ctx context.Context, src backends.Source, in backends.Entry, off, n int64) (io.ReadCloser, error)
}

// ReadRange streams plaintext of exactly this version of e. It asks the source below for the ciphertext of that range alone, in one
// request; the first read of a version costs at most two more small ones.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	k, in := stored(e)
	if k == plain {
		return s.src.ReadRange(ctx, in, off, n)
	}
	if off < 0 || n <= 0 || off > e.Size-n {
		return nil, fmt.Errorf("read %s: range %d+%d of %d bytes", e.Name, off, n, e.Size)
	}
	body, err := s.readRange(ctx, k, in, e.Size, off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.Name, err)
	}
	return body, nil
}

func (s *Source) readRange(ctx context.Context, k kind, in backends.Entry, size, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, known := s.head(in)
	if !known && k == aged && off < chunkSize {
		want, ok := layoutOf(in.Size, in.Size-sealed(size))
		if !ok {
			return nil, s.guessed(ctx, k, in)
		}
		return s.ageFromTop(ctx, in, want, off, n)
	}
	var err error
	if !known {
		if h, err = s.load(ctx, k, in); err != nil {
			return nil, err
		}
	}
	if h.plainSize() != size {
		return nil, errGuess
	}
	return h.read(ctx, s.src, in, off, n)
}

// guessed finds out the true size of an object that cannot have the one it was listed with.
func (s *Source) guessed(ctx context.Context, k kind, in backends.Entry) error {
	if _, err := s.load(ctx, k, in); err != nil {
		return err
	}
	return errGuess
}

// head is what is remembered of a version.
func (s *Source) head(in backends.Entry) (opened, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads.Get(keyOf(in))
}

func (s *Source) keep(in backends.Entry, h opened) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads.Add(keyOf(in), h)
	s.sizes.Add(keyOf(in), h.plainSize())
}

// call is one opening of an object, for all who wait for it.
type call struct {
	done chan struct{}
	h    opened
	err  error // set, as h, before done is closed
}

// load opens an object, once however many want it at the same time.
func (s *Source) load(ctx context.Context, k kind, in backends.Entry) (opened, error) {
	key := keyOf(in)
	for {
		s.mu.Lock()
		if h, ok := s.heads.Get(key); ok {
			s.mu.Unlock()
			return h, nil
		}
		c := s.calls[key]
		mine := c == nil
		if mine {
			c = &call{done: make(chan struct{})}
			s.calls[key] = c
		}
		s.mu.Unlock()
		if mine {
			c.h, c.err = s.open(ctx, k, in)
			s.mu.Lock()
			delete(s.calls, key)
			s.mu.Unlock()
			close(c.done)
			return c.h, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, context.DeadlineExceeded) { // that was the other's patience
			return c.h, c.err
		}
	}
}

func (s *Source) open(ctx context.Context, k kind, in backends.Entry) (h opened, err error) {
	switch k {
	case des:
		h, err = s.loadDES(ctx, in)
	case locked:
		h, err = s.loadLock(ctx, in)
	default:
		h, err = s.loadAge(ctx, in)
	}
	if err != nil {
		return nil, err
	}
	s.keep(in, h)
	return h, nil
}

// fetch reads a small piece.
func fetch(ctx context.Context, src backends.Source, in backends.Entry, off, n int64) ([]byte, error) {
	body, err := src.ReadRange(ctx, in, off, n)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, n)
	if err := errors.Join(fill(body, buf), body.Close()); err != nil {
		return nil, err
	}
	return buf, nil
}

// fill reads all of p; an end before that is a wrong answer.
func fill(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", backends.ErrBadAnswer, io.ErrUnexpectedEOF)
	}
	return err
}

// reader turns pieces of plaintext into a range. It is for one goroutine.
type reader struct {
	src  io.Closer
	next func() ([]byte, error) // never called for more than there is
	skip int64                  // bytes of the first piece that nobody asked for
	left int64
	rest []byte
	err  error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.left == 0:
			return 0, io.EOF
		}
		if r.rest, r.err = r.next(); r.err != nil {
			r.rest = nil
			continue
		}
		cut := min(r.skip, int64(len(r.rest)))
		r.rest, r.skip = r.rest[cut:], r.skip-cut
		r.rest = r.rest[:min(int64(len(r.rest)), r.left)]
		r.left -= int64(len(r.rest))
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error { return r.src.Close() }
