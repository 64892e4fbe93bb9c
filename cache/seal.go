package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"strings"
)

// Seal says which objects must never lie in clear on the local disk. Their blocks are AES-256-GCM there, under keys that are
// made of Key for each version of each object.
type Seal struct {
	// Key is any secret that is hard to guess, not empty. It is the caller's: it must not change while the store is open, and is never
	// written anywhere. With another key than in an earlier run, what is sealed is fetched again.
	Key []byte
	// Covers reports whether an object's bytes are sealed. It says the same of a name always, and must not block.
	Covers func(name string) bool
	// Label names the choice that Covers makes. When it differs from that of an earlier run, all kept blocks are removed
	// first: among them may be clear ones of what is covered now. It is written down in clear.
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

// sealer seals the blocks of one object version. The key is the version's own and a nonce is the block's number: a nonce may not serve
// for two texts under one key, and it does not, since a block of one version is always the same bytes. So sealing it again
// after an eviction, or beside another fetch, gives the same sealed bytes, and there is nothing to keep count of.
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
	return newSealer(key, id)
}

func newSealer(key []byte, id objectID) (*sealer, error) {
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

// dropTwin removes what the same version left in the other form, clear or sealed.
func (s *Store) dropTwin(id objectID, size int64) {
	if s.o.Seal == nil {
		return
	}
	id[len(id)-1] ^= sealedBit
	s.unlink(id)
	s.cache.usage.forget(s, id, extentCount(size))
}

// keepSealed removes what an earlier run left that must not, or cannot, be used in this one: everything where the choice of what is
// sealed was another, and what was sealed with another key. A file notes both for the next run.
func (s *Store) keepSealed() error {
	path := s.home.path("sealed")
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	now := ""
	if s.o.Seal != nil {
		if len(s.o.Seal.Key) == 0 {
			return errors.New("sealing needs a key")
		}
		check, err := hkdf.Key(sha256.New, s.o.Seal.Key, s.home.key, "studyfs key check", 16)
		if err != nil {
			return err
		}
		now = hex.EncodeToString(check) + "\n" + s.o.Seal.Label
	}
	if string(before) == now {
		return nil
	}
	_, labelBefore, _ := strings.Cut(string(before), "\n")
	_, label, _ := strings.Cut(now, "\n")
	if len(before) > 0 && now != "" && labelBefore == label {
		s.home.maps(func(id objectID, _ string) {
			if id.sealed() {
				s.unlink(id)
			}
		})
	} else if err := os.RemoveAll(s.home.path("blocks")); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(now), 0o600)
}
