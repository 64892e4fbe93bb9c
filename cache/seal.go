package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
)

// Seal says which objects must never lie in clear on the local disk.
type Seal struct {
	Key    []byte                 // any secret; the caller's, never written anywhere
	Covers func(name string) bool // must always say the same of a name
	// Label names the choice that Covers makes. When it differs from that of an earlier run, all kept blocks are removed
	// first: among them may be clear ones of what is covered now.
	Label string
}

// sealOverhead is what a sealed block is longer than the clear one: the tag of AES-GCM.
const sealOverhead = 16

// sealedBit marks the id of an object whose blocks are sealed, so that everybody who meets its files knows, eviction too, which has no name of it.
const sealedBit = 1

func (id objectID) sealed() bool { return id[len(id)-1]&sealedBit != 0 }

// stride is the distance of two blocks in the data file.
func (id objectID) stride() int64 {
	if id.sealed() {
		return BlockSize + sealOverhead
	}
	return BlockSize
}

// stored returns where the blocks of s lie in the data file of an object of size bytes.
func (id objectID) stored(s span, size int64) (off, n int64) {
	if !id.sealed() {
		return bytesOf(s, size)
	}
	off = s.from * id.stride()
	return off, min(s.to*id.stride(), id.fileSize(size)) - off
}

// fileSize is the length of the data file.
func (id objectID) fileSize(size int64) int64 {
	if !id.sealed() {
		return size
	}
	return size + blockCount(size)*sealOverhead
}

// sealer seals the blocks of one object version. The key is the object's own and a nonce is the block's number: one and the same block of one
// version is always the same bytes, so sealing it again after an eviction tells nothing.
type sealer struct {
	aead cipher.AEAD
	id   objectID
}

func (s *Store) sealer(id objectID) (*sealer, error) {
	if !id.sealed() {
		return nil, nil //nolint:nilnil // clear objects have none
	}
	if s.o.Seal == nil {
		return nil, errors.New("no key for a sealed object")
	}
	key, err := hkdf.Key(sha256.New, s.o.Seal.Key, s.home.key, "studyfs block "+string(id[:]), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &sealer{aead, id}, err
}

func (s *sealer) nonce(block int64) []byte {
	nonce := make([]byte, s.aead.NonceSize())
	binary.LittleEndian.PutUint64(nonce, uint64(block))
	return nonce
}

func (s *sealer) seal(dst []byte, block int64, plain []byte) []byte {
	return s.aead.Seal(dst, s.nonce(block), plain, s.id[:])
}

// open replaces sealed by its plain bytes; false if it is not what was sealed.
func (s *sealer) open(block int64, sealed []byte) ([]byte, bool) {
	plain, err := s.aead.Open(sealed[:0], s.nonce(block), sealed, s.id[:])
	return plain, err == nil
}

// covers reports whether the bytes of a name must be sealed.
func (o *SourceOptions) covers(name string) bool { return o.Seal != nil && o.Seal.Covers(name) }

// keepLabel removes what an earlier choice of what is sealed left, and notes the present one.
func (s *Store) keepLabel() error {
	label := ""
	if s.o.Seal != nil {
		label = s.o.Seal.Label
	}
	path := s.home.path("sealed")
	before, err := os.ReadFile(path)
	if err == nil && string(before) == label || errors.Is(err, os.ErrNotExist) && label == "" {
		return nil
	}
	if err := os.RemoveAll(s.home.path("blocks")); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(label), 0o600)
}
