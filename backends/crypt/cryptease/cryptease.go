// Package cryptease reads and writes the container of the Python package of that name, in which Beiwe's tools keep keyrings
// and locked data files:
//
//	u32, little endian: length N of the header
//	N bytes of JSON: how the key is derived, above all with which salt
//	16 bytes: the initialisation vector that counts (the header holds a copy that does not)
//	ciphertext, as long as the plaintext
//
// The key is PBKDF2-HMAC-SHA256 of the passphrase with 100,000 rounds, the cipher AES-256 in CFB mode with a feedback of 8
// bits, without padding. The header names other rounds, lengths and ciphers in vain: the original reads nothing of it but
// the salt, and so does this package.
//
// Nothing authenticates a container. A wrong passphrase gives garbage and no error, changed bytes give other bytes, and the
// end of a shortened file looks like an end. Callers have to know from the content whether it is right.
package cryptease

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Sizes of the format, in bytes.
const (
	Overhead = 288 // what Encrypt and Seal add to the plaintext; a file with another header has another overhead
	KeySize  = 32
	SaltSize = 32
	IVSize   = aes.BlockSize
)

const (
	rounds     = 100_000
	lengthSize = 4
	maxHeader  = 64 << 10
)

var (
	// ErrFormat says that something is not a container, or ends before its ciphertext begins.
	ErrFormat = errors.New("not a cryptease file")
	// ErrRandomKey says that a container was made with a random key, which only its maker has: no passphrase opens it.
	ErrRandomKey = errors.New("encrypted with a random key and not with a passphrase")
)

// KeyFunc returns the key, KeySize bytes, for a container's salt. Its errors come back wrapped.
type KeyFunc func(salt []byte) ([]byte, error)

// DeriveKey computes the key for a passphrase (UTF-8, may be empty) and a salt. It takes some 80 ms of one core: who opens
// many containers of one salt keeps it.
func DeriveKey(passphrase, salt []byte) ([]byte, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, rounds, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return key, nil
}

func derive(passphrase []byte) KeyFunc {
	return func(salt []byte) ([]byte, error) { return DeriveKey(passphrase, salt) }
}

// header is what a reader needs of a container's beginning.
type header struct {
	salt []byte
	size int64 // of the length and the JSON; the initialisation vector follows
}

// readHeader reads up to the initialisation vector and not a byte further.
func readHeader(r io.Reader) (header, error) {
	var length [lengthSize]byte
	if err := readFull(r, length[:]); err != nil {
		return header{}, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < 2 || n > maxHeader {
		return header{}, fmt.Errorf("%w: a header of %d bytes", ErrFormat, n)
	}
	text := make([]byte, n)
	if err := readFull(r, text); err != nil {
		return header{}, err
	}
	salt, err := parseHeader(text)
	return header{salt: salt, size: lengthSize + int64(n)}, err
}

// readFull is io.ReadFull for a part that every container has.
func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrFormat)
	}
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	return nil
}

func parseHeader(text []byte) (salt []byte, err error) {
	var h struct {
		KDF struct {
			Function string          `json:"function"`
			Params   json.RawMessage `json:"params"` // what stands here depends on the function
		} `json:"kdf"`
	}
	if json.Unmarshal(text, &h) != nil {
		return nil, fmt.Errorf("%w: its header is not the JSON it should be", ErrFormat)
	}
	switch h.KDF.Function {
	case "PBKDF2HMAC":
	case "RAND":
		return nil, ErrRandomKey
	default:
		return nil, fmt.Errorf("%w: its header names no way to derive the key that is known", ErrFormat)
	}
	var params struct {
		Salt string `json:"salt"`
	}
	if json.Unmarshal(h.KDF.Params, &params) != nil {
		return nil, fmt.Errorf("%w: its header holds no salt", ErrFormat)
	}
	salt, err = base64.StdEncoding.DecodeString(params.Salt)
	if err != nil || len(salt) == 0 {
		return nil, fmt.Errorf("%w: its header holds no salt", ErrFormat)
	}
	return salt, nil
}

// formatHeader is the header as Python's json.dumps writes it today, the length in front.
func formatHeader(salt, iv []byte) []byte {
	text := fmt.Sprintf(`{"cipher": {"function": "AES", "params": {"bits": 256, "mode": "CFB8"}}, `+
		`"kdf": {"function": "PBKDF2HMAC", "params": {"salt": "%s", "length": %d, "iterations": %d, "algorithm": "sha256"}}, "iv": "%s"}`,
		base64.StdEncoding.EncodeToString(salt), KeySize, rounds, base64.StdEncoding.EncodeToString(iv))
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
}

func newBlock(key []byte) (cipher.Block, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key of %d bytes where %d are needed", len(key), KeySize)
	}
	return aes.NewCipher(key)
}

func blockFor(salt []byte, keyFor KeyFunc) (cipher.Block, error) {
	key, err := keyFor(salt)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return newBlock(key)
}
