package cryptease

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

const chunkSize = 32 << 10

// Encrypt writes r's bytes to w as a container for the passphrase (UTF-8), with a salt and an initialisation vector from
// random, which has to be crypto/rand.Reader or as good. It holds no more than a chunk in memory. What it has written when
// it fails is no container. Errors of r, w and random come back wrapped.
func Encrypt(w io.Writer, r io.Reader, passphrase []byte, random io.Reader) error {
	var fresh [SaltSize + IVSize]byte
	if _, err := io.ReadFull(random, fresh[:]); err != nil {
		return fmt.Errorf("salt: %w", err)
	}
	salt, iv := fresh[:SaltSize], fresh[SaltSize:]
	key, err := DeriveKey(passphrase, salt)
	if err != nil {
		return err
	}
	return Seal(w, r, key, salt, iv)
}

// Seal is Encrypt with everything given: a key as DeriveKey makes it of salt (SaltSize bytes), and an initialisation vector
// (IVSize bytes) that was never used with this key.
func Seal(w io.Writer, r io.Reader, key, salt, iv []byte) error {
	if len(salt) != SaltSize || len(iv) != IVSize {
		return fmt.Errorf("a salt of %d and an initialisation vector of %d bytes where %d and %d are needed", len(salt), len(iv), SaltSize, IVSize)
	}
	block, err := newBlock(key)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(formatHeader(salt, iv), iv...)); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	buf := make([]byte, IVSize+chunkSize) // the last 16 bytes of ciphertext, then a chunk
	copy(buf, iv)
	for {
		n, err := io.ReadFull(r, buf[IVSize:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("read plaintext: %w", err)
		}
		encrypt(block, buf[:IVSize+n])
		if _, err := w.Write(buf[IVSize : IVSize+n]); err != nil {
			return fmt.Errorf("write ciphertext: %w", err)
		}
		if last {
			return nil
		}
		copy(buf, buf[n:n+IVSize])
	}
}

// encrypt turns the plaintext behind the first 16 bytes of buf, which are the ciphertext before it, into ciphertext. The
// shift register of CFB8 is a window that slides over the buffer, so that nothing is shifted.
func encrypt(block cipher.Block, buf []byte) {
	var out [aes.BlockSize]byte
	for i := IVSize; i < len(buf); i++ {
		block.Encrypt(out[:], buf[i-IVSize:i])
		buf[i] ^= out[0]
	}
}
