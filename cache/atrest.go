package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"strings"
)

// What lies on the local disk is either clear or AES-256-GCM, and this file is where that is decided. There are two forms of the
// latter. A block is always the same bytes, so its nonce is its number (sealer). A listing is written anew as often as it changes, so its
// nonces are random (sealedCodec). Every key is derived from the caller's and from the directory's own random bytes, for one purpose.

// codec turns stored listings into what lies on disk and back. open fails on whatever was not sealed by the same codec.
type codec interface {
	seal(dst, plain []byte) []byte
	open(dst, sealed []byte) ([]byte, error)
}

// clearCodec stores bytes as they are, followed by their CRC-32C.
type clearCodec struct{}

func (clearCodec) seal(dst, plain []byte) []byte {
	dst = append(dst, plain...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(plain, castagnoli()))
}

func (clearCodec) open(dst, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 {
		return nil, errors.New("too short")
	}
	plain := sealed[:len(sealed)-4]
	if crc32.Checksum(plain, castagnoli()) != binary.LittleEndian.Uint32(sealed[len(plain):]) {
		return nil, errors.New("checksum does not match")
	}
	return append(dst, plain...), nil
}

// sealedCodec stores AES-256-GCM with a random nonce in front. One key may seal 2³² texts: at a hundred a minute, a listing of a million names, that
// is 80 years.
type sealedCodec struct{ aead cipher.AEAD }

func newSealedCodec(key []byte) (*sealedCodec, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealedCodec{aead}, err
}

func (c *sealedCodec) seal(dst, plain []byte) []byte { return c.aead.Seal(dst, nil, plain, nil) }

func (c *sealedCodec) open(dst, sealed []byte) ([]byte, error) {
	return c.aead.Open(dst, nil, sealed, nil)
}

// all reports whether nothing of the store lies in clear.
func (s *Seal) all() bool { return s != nil && s.Covers == nil }

// derive makes a key of n bytes for one purpose.
func (s *Seal) derive(h *home, purpose string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, s.Key, h.salt, "studyfs "+purpose, n)
}

// atRest makes the home's names and the codec of listings fit what the store seals, after what an earlier run left that does not fit
// has been removed.
func (s *Store) atRest() (err error) {
	if s.o.Seal != nil && len(s.o.Seal.Key) == 0 {
		return errors.New("sealing needs a key")
	}
	if err := s.keepSealed(); err != nil {
		return err
	}
	s.codec = clearCodec{}
	if !s.o.Seal.all() {
		return nil
	}
	key, err := s.o.Seal.derive(s.home, "names", sha256.Size)
	if err != nil {
		return err
	}
	s.home.names = &keyed{key: key}
	if key, err = s.o.Seal.derive(s.home, "listing", sha256.Size); err != nil {
		return err
	}
	s.codec, err = newSealedCodec(key)
	return err
}

// allLabel stands where a Seal's label does, for one that covers everything. No label of a caller begins so.
const allLabel = "\x00all"

func (s *Seal) label() string {
	if s.all() {
		return allLabel
	}
	return s.Label
}

// keepSealed removes what an earlier run left that must not, or cannot, be used in this one: everything where the choice of what is
// sealed was another, and what was sealed with another key. A file notes both for the next run; it is written last, so that a run which
// ends in between leaves the rest to the next.
func (s *Store) keepSealed() error {
	path := s.home.path("sealed")
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	now := ""
	if s.o.Seal != nil {
		check, err := s.o.Seal.derive(s.home, "key check", 16)
		if err != nil {
			return err
		}
		now = hex.EncodeToString(check) + "\n" + s.o.Seal.label()
	}
	if string(before) == now {
		return nil
	}
	_, labelBefore, _ := strings.Cut(string(before), "\n")
	_, label, _ := strings.Cut(now, "\n")
	all := labelBefore == allLabel || label == allLabel
	if len(before) > 0 && now != "" && labelBefore == label && !all {
		s.removeSealed()
	} else if err := s.home.empty(all); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(now), 0o600)
}

// removeSealed removes the blocks that are sealed.
func (s *Store) removeSealed() {
	s.home.maps(func(id objectID, _ string) {
		if id.sealed() {
			s.unlink(id)
		}
	})
}

// empty removes all blocks and, where listed, what was listed.
func (h *home) empty(listed bool) error {
	err := os.RemoveAll(h.path("blocks"))
	if listed {
		err = errors.Join(err, removeIfThere(h.path("listing")), removeIfThere(h.path("listing.new")))
	}
	return err
}
