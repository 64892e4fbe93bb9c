package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// Seal says what must never lie in clear on the local disk. Blocks are AES-256-GCM there, under keys that are made of Key for each
// version of each object.
type Seal struct {
	// Key is any secret that is hard to guess, not empty. It is the caller's: it must not change while the store is open, and is never
	// written anywhere. With another key than in an earlier run, what is sealed is removed, then fetched again.
	Key []byte
	// Covers reports whether an object's bytes are sealed. It says the same of a name always, and must not block. Nil means all there
	// is: every object's bytes, what was listed, and file names that nobody can link to an object's without Key. What remains to be
	// seen are the number of objects, their sizes to within a few bytes, and when they were used.
	Covers func(name string) bool
	// Label names the choice that Covers makes. When it differs from that of an earlier run, all kept blocks are removed
	// first: among them may be clear ones of what is covered now. It is written down in clear. Without Covers it is not used.
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
	key, err := s.o.Seal.derive(s.home, "block "+string(id[:]), 32)
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
func (o *SourceOptions) covers(name string) bool {
	return o.Seal.all() || o.Seal != nil && o.Seal.Covers(name)
}

// dropTwin removes what the same version left in the other form, clear or sealed.
func (s *Store) dropTwin(id objectID, size int64) {
	if s.o.Seal == nil {
		return
	}
	id[len(id)-1] ^= sealedBit
	s.unlink(id)
	s.cache.usage.forget(s, id, extentCount(size))
}
