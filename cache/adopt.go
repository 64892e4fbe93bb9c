package cache

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"

	"studyfs/backends"
)

type (
	bodyReader = io.Reader
	sealFunc   = func() (backends.Entry, error)
)

// adopt takes an object whose name and version are known only at its end, and makes its bytes cache. Small ones wait in memory for their name, larger
// ones in a spill. That the disk refuses is no error: the bytes are fetched again when somebody wants them.
func (s *Store) adopt(ctx context.Context, size int64, body bodyReader, seal sealFunc) error {
	head, ok := s.buffers.Get().(*bytes.Buffer)
	if !ok {
		head = &bytes.Buffer{}
	}
	defer s.buffers.Put(head)
	head.Reset()
	if size < 0 || size > s.o.SmallFile {
		size = s.o.SmallFile + 1
	}
	if _, err := io.CopyN(head, body, size); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if int64(head.Len()) > s.o.SmallFile {
		return s.adoptLarge(ctx, io.MultiReader(head, body), seal)
	}
	if _, err := io.Copy(io.Discard, body); err != nil { // its end is where a body tells that it was right
		return err
	}
	e, err := seal()
	if err != nil {
		return err
	}
	s.fill(ctx, e, head)
	return nil
}

// adoptLarge spills a body until its name is known.
func (s *Store) adoptLarge(ctx context.Context, body bodyReader, seal sealFunc) error {
	spill, err := newSpill(s.home.dir)
	if err != nil {
		s.disk.failed(s.now())
		_, err := io.Copy(io.Discard, body)
		if err == nil {
			_, err = seal()
		}
		return err
	}
	defer spill.close()
	if err := spill.take(body); err != nil {
		return err
	}
	e, err := seal()
	if err != nil {
		return err
	}
	if plain, err := spill.again(); err == nil && spill.broken == nil {
		s.fill(ctx, e, plain)
	} else {
		s.disk.failed(s.now())
	}
	return nil
}

// fill writes the bytes of e, all of them, where they are not there already.
func (s *Store) fill(ctx context.Context, e backends.Entry, plain io.Reader) {
	if e.Size <= 0 || e.Dir || e.Link != "" {
		return
	}
	o, err := s.acquire(ctx, s.idOf(e), e.Size)
	if err != nil {
		return
	}
	defer s.release(o)
	if o.whole() || o.file == nil {
		return
	}
	buf := s.cache.memory.scratch()
	defer s.cache.memory.pool.Put(buf)
	for block := range blockCount(e.Size) {
		_, n := bytesOf(span{block, block + 1}, e.Size)
		if _, err := io.ReadFull(plain, (*buf)[:n]); err != nil {
			s.disk.failed(s.now())
			return
		}
		if err := s.keep(o, block, (*buf)[:n]); err != nil {
			return
		}
	}
	o.save()
}

// whole reports whether every block is here.
func (o *object) whole() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file != nil && o.blocks != nil && o.blocks.count() == blockCount(o.size)
}

// spill is a file without a name that holds a body until it gets one. What is in it may be what must never lie in clear on this disk: so
// it is encrypted, with a key that nobody has but this value.
type spill struct {
	file   *os.File
	block  cipher.Block
	broken error // of the local disk
}

func newSpill(dir string) (*spill, error) {
	file, err := os.CreateTemp(dir, "spill-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &spill{file: file, block: block}, nil
}

// stream is the key stream from the beginning; a key is used for one spill only.
func (p *spill) stream() cipher.Stream {
	return cipher.NewCTR(p.block, make([]byte, aes.BlockSize))
}

// take writes body to its end. Its errors are the body's; those of the disk are kept.
func (p *spill) take(body io.Reader) error {
	w := cipher.StreamWriter{S: p.stream(), W: diskWriter{p}}
	_, err := io.Copy(w, body)
	return err
}

// diskWriter swallows bytes once the disk has failed, so that the body is read to its end.
type diskWriter struct{ p *spill }

func (d diskWriter) Write(b []byte) (int, error) {
	if d.p.broken == nil {
		_, d.p.broken = d.p.file.Write(b)
	}
	return len(b), nil
}

// again reads what was taken.
func (p *spill) again() (io.Reader, error) {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	return cipher.StreamReader{S: p.stream(), R: p.file}, nil
}

func (p *spill) close() {
	p.file.Close() //nolint:errcheck // it has no name: nothing is left
}
