package cryptease

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// File is an open container. Its methods may be called by several goroutines at once, as far as its io.ReaderAt may.
type File struct {
	r     io.ReaderAt
	block cipher.Block
	iv    int64 // where the initialisation vector lies
	size  int64
}

// Open reads the header of a container of size bytes and derives the key from the passphrase (UTF-8). The error is
// ErrFormat, ErrRandomKey or one of r's, wrapped; a wrong passphrase is none. The File goes on to read from r, and closes
// nothing.
func Open(r io.ReaderAt, size int64, passphrase []byte) (*File, error) {
	return OpenWith(r, size, derive(passphrase))
}

// OpenWith is Open with a key from keyFor, for callers that keep keys.
func OpenWith(r io.ReaderAt, size int64, keyFor KeyFunc) (*File, error) {
	h, err := readHeader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, err
	}
	if size < h.size+IVSize {
		return nil, fmt.Errorf("%w: it ends too early", ErrFormat)
	}
	block, err := blockFor(h.salt, keyFor)
	if err != nil {
		return nil, err
	}
	return &File{r: r, block: block, iv: h.size, size: size - h.size - IVSize}, nil
}

// Size is the length of the plaintext in bytes.
func (f *File) Size() int64 { return f.size }

// ReadAt reads plaintext as io.ReaderAt has it. It asks the container for the ciphertext of the range, and for the 16
// bytes before that: any place costs the same. When the container ends before its size, that is io.ErrUnexpectedEOF.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("read at a negative offset")
	}
	if off >= f.size {
		return 0, io.EOF
	}
	var end error
	if left := f.size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	// The vector and the ciphertext are one run of bytes: those before off are the vector where off is 0.
	var before [IVSize]byte
	if err := readAt(f.r, before[:], f.iv+off); err != nil {
		return 0, fmt.Errorf("read ciphertext: %w", err)
	}
	n, err := f.r.ReadAt(p, f.iv+IVSize+off)
	n = max(0, min(n, len(p)))
	decrypt(f.block, before[:], p[:n])
	switch {
	case n == len(p):
		return n, end
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read ciphertext: %w", err)
}

// readAt fills p, and takes an end for an error.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n >= len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	}
	return err
}

// NewReader returns the plaintext of the container that r holds. It reads no further than what is asked of it. Errors are
// as Open's; a container that ends within its ciphertext cannot be told from one that is shorter. It is for one goroutine.
func NewReader(r io.Reader, passphrase []byte) (io.Reader, error) {
	return NewReaderWith(r, derive(passphrase))
}

// NewReaderWith is NewReader with a key from keyFor.
func NewReaderWith(r io.Reader, keyFor KeyFunc) (io.Reader, error) {
	h, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	s := &stream{r: r}
	if err := readFull(r, s.before[:]); err != nil {
		return nil, err
	}
	if s.block, err = blockFor(h.salt, keyFor); err != nil {
		return nil, err
	}
	return s, nil
}

// Decrypt writes the plaintext of the container that r holds to w, without holding the whole in memory.
func Decrypt(w io.Writer, r io.Reader, passphrase []byte) error {
	plain, err := NewReader(r, passphrase)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, plain); err != nil {
		return fmt.Errorf("decrypt: %w", err)
	}
	return nil
}

type stream struct {
	r      io.Reader
	block  cipher.Block
	before [IVSize]byte // the last ciphertext that was read
}

// Read returns r's errors as they are: io.EOF has to be.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if n <= 0 {
		return 0, err
	}
	before := s.before
	if n >= IVSize {
		copy(s.before[:], p[n-IVSize:n])
	} else {
		copy(s.before[:], before[n:])
		copy(s.before[IVSize-n:], p[:n])
	}
	decrypt(s.block, before[:], p[:n])
	return n, err
}

// decrypt turns the ciphertext in p, which follows the 16 bytes before, into plaintext. A byte needs the 16 bytes of
// ciphertext before it, so it goes from the end to the beginning and needs no second buffer.
func decrypt(block cipher.Block, before, p []byte) {
	var out [aes.BlockSize]byte
	for i := len(p) - 1; i >= IVSize; i-- {
		block.Encrypt(out[:], p[i-IVSize:i])
		p[i] ^= out[0]
	}
	var window [2 * IVSize]byte
	copy(window[:], before)
	n := copy(window[IVSize:], p)
	for i := range n {
		block.Encrypt(out[:], window[i:i+IVSize])
		p[i] ^= out[0]
	}
}

// Header is what lies before the ciphertext of a container.
type Header struct {
	Salt []byte
	Size int64 // of the container's beginning up to the initialisation vector, in bytes
}

// Plain is the length of the plaintext of a container of size bytes, negative if that is too short to be one.
func (h Header) Plain(size int64) int64 { return size - h.Size - IVSize }

// ReadHeader reads the beginning of a container, and nothing beyond it, for callers that fetch the ciphertext by ranges. Errors
// are as Open's.
func ReadHeader(r io.Reader) (Header, error) {
	h, err := readHeader(r)
	return Header{Salt: h.salt, Size: h.size}, err
}

// NewRangeReader returns the plaintext from an offset off on. r holds the container's bytes from Header.Size+off on: the 16 bytes
// before the ciphertext of that plaintext are the first of them. It is for one goroutine.
func NewRangeReader(r io.Reader, key []byte) (io.Reader, error) {
	s := &stream{r: r}
	if err := readFull(r, s.before[:]); err != nil {
		return nil, err
	}
	var err error
	if s.block, err = newBlock(key); err != nil {
		return nil, err
	}
	return s, nil
}
