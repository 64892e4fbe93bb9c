package crypt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
	"github.com/minio/crc64nvme"

	"studyfs/backends"
)

// pieceRead is how much plaintext is read at once: chunks enough that reading, summing and encrypting keep each other busy.
const pieceRead = 1 << 20

// cipherState is what a later try needs to go on with the same ciphertext. It is part of what Checkpoint is given.
type cipherState struct {
	Spill string `json:"spill"`
	CRC   uint64 `json:"crc"`
	For   string `json:"for"`   // digest of recipients, plain size and plain checksum
	Below []byte `json:"below"` // what the source below wants to know
}

// ciphertext is what is sent in the place of a body.
type ciphertext struct {
	layout

	file  SpillFile
	state cipherState
}

func (c *ciphertext) bytes() int64 { return c.payload + sealed(c.size) }

// cipher returns the ciphertext of an upload: that of an earlier try, or a new one.
func (s *Source) cipher(ctx context.Context, u backends.Upload, r io.ReaderAt) (*ciphertext, error) {
	c := &ciphertext{layout: layout{payload: s.own, size: u.Size}}
	purpose := s.purpose(u)
	if len(u.Resume) > 0 && json.Unmarshal(u.Resume, &c.state) == nil && c.state.For == purpose {
		if c.reopen(ctx, s.o.Spill) {
			return c, nil
		}
	}
	c.state = cipherState{For: purpose}
	var err error
	if c.file, err = s.o.Spill.Create(ctx, c.bytes()); err != nil {
		return nil, err
	}
	if err := s.encrypt(ctx, c, u, r); err != nil {
		return nil, errors.Join(err, c.file.Close(false))
	}
	c.state.Spill = c.file.ID()
	return c, nil
}

// purpose tells ciphertexts apart that must not be taken for each other.
func (s *Source) purpose(u backends.Upload) string {
	h := sha256.New()
	for _, r := range s.o.Recipients {
		fmt.Fprintf(h, "%v\n", r) //nolint:errcheck // a hash takes all
	}
	fmt.Fprintf(h, "%d %016x", u.Size, u.CRC64NVME) //nolint:errcheck // as above
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// reopen finds the ciphertext of an earlier try, if it is still whole.
func (c *ciphertext) reopen(ctx context.Context, spill Spill) bool {
	f, err := spill.Open(ctx, c.state.Spill)
	if err != nil {
		return false
	}
	h := crc64nvme.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, c.bytes()+1))
	if err != nil || n != c.bytes() || h.Sum64() != c.state.CRC || ctx.Err() != nil {
		f.Close(false) //nolint:errcheck // a new one takes its place
		return false
	}
	c.file = f
	return true
}

// encrypt writes the ciphertext of a body to the file of c. The sums of what is read and of what is written are taken beside.
func (s *Source) encrypt(ctx context.Context, c *ciphertext, u backends.Upload, r io.ReaderAt) error {
	if m, ok := r.(backends.Metered); ok {
		r = m.Unmetered()
	}
	out := &sumWriter{w: io.NewOffsetWriter(c.file, 0)}
	w, err := age.Encrypt(out, s.o.Recipients...)
	if err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	if err := copyBody(ctx, w, r, u); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	if err := out.flush(); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	c.state.CRC = out.sum
	if out.n != c.bytes() {
		return fmt.Errorf("encrypt: %d bytes where %d should be", out.n, c.bytes())
	}
	return nil
}

// copyBody encrypts a body. One piece is summed while the one before it is encrypted.
func copyBody(ctx context.Context, w io.Writer, r io.ReaderAt, u backends.Upload) error {
	bufs := [2][]byte{make([]byte, min(pieceRead, u.Size)), make([]byte, min(pieceRead, u.Size-min(pieceRead, u.Size)))}
	var sum uint64
	var writing sync.WaitGroup
	defer writing.Wait()
	var failed error // of the piece before; read after writing
	for off, i := int64(0), 0; off < u.Size; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := bufs[i%2]
		piece = piece[:min(int64(len(piece)), u.Size-off)]
		n, err := r.ReadAt(piece, off)
		if n < len(piece) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("%w: after %d of %d bytes", err, off+int64(max(n, 0)), u.Size)
		}
		sum = crc64nvme.Update(sum, piece)
		writing.Wait()
		if failed != nil {
			return fmt.Errorf("encrypt: %w", failed)
		}
		writing.Go(func() { _, failed = w.Write(piece) })
		off += int64(len(piece))
	}
	writing.Wait()
	switch {
	case failed != nil:
		return fmt.Errorf("encrypt: %w", failed)
	case ctx.Err() != nil:
		return ctx.Err()
	case sum != u.CRC64NVME:
		return fmt.Errorf("%w: the body has another checksum than was told", backends.ErrBadAnswer)
	}
	return nil
}

// sumWriter sums and counts what it writes, in large pieces.
type sumWriter struct {
	w   io.Writer
	buf bytes.Buffer
	sum uint64
	n   int64
}

func (s *sumWriter) Write(p []byte) (int, error) {
	s.buf.Write(p)
	if s.buf.Len() < pieceRead {
		return len(p), nil
	}
	return len(p), s.flush()
}

func (s *sumWriter) flush() error {
	s.sum = crc64nvme.Update(s.sum, s.buf.Bytes())
	n, err := s.buf.WriteTo(s.w)
	s.n += n
	return err
}

// body is a ciphertext as the source below reads it.
type body struct{ c *ciphertext }

func (b body) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(b.c.file, 0, b.c.bytes()).ReadAt(p, off)
}

// metered is a body that may be sent no faster than the plaintext it stands for: it reads that as well, and is told to wait there.
type metered struct {
	body

	ctx   context.Context //nolint:containedctx // of the upload
	plain io.ReaderAt
}

func (m *metered) Unmetered() io.ReaderAt { return m.body }

func (m *metered) ReadAt(p []byte, off int64) (int, error) {
	from, to := m.c.sent(off), m.c.sent(min(off+int64(len(p)), m.c.bytes()))
	wait := make([]byte, min(to-from, 256<<10))
	for from < to && m.ctx.Err() == nil {
		piece := wait[:min(int64(len(wait)), to-from)]
		if _, err := m.plain.ReadAt(piece, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		from += int64(len(piece))
	}
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	return m.body.ReadAt(p, off)
}

// asSent is what the source below is given to read.
func (c *ciphertext) asSent(ctx context.Context, r io.ReaderAt) io.ReaderAt {
	if _, ok := r.(backends.Metered); ok {
		return &metered{body: body{c}, ctx: ctx, plain: r}
	}
	return body{c}
}

// progress turns bytes of ciphertext that have gone out into bytes of plaintext.
func (c *ciphertext) progress(report func(n int64)) func(n int64) {
	if report == nil {
		return nil
	}
	var mu sync.Mutex // guards sent, and the order of reports
	var sent int64
	return func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		before := c.sent(sent)
		sent += n
		if more := c.sent(sent) - before; more != 0 {
			report(more)
		}
	}
}
