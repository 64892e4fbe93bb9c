package stage

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"studyfs/cache/stage/vault"
)

// The errors of encrypted stages.
var (
	// ErrNoKey says that a stage is encrypted and no key was given. Nothing was touched.
	ErrNoKey = errors.New("what waits there is encrypted, and no key was given")
	// ErrKey says that a stage is encrypted with another key. Nothing was touched.
	ErrKey = errors.New("what waits there is encrypted with another key")
)

const (
	keySize      = 32
	sealedBody   = 1 // the first byte of a record's body that is encrypted; that of JSON is '{'
	sealedHeader = "aes-256-gcm"
)

// ciphers are what an encrypted stage is read and written with.
type ciphers struct {
	files *vault.Keys
	log   cipher.AEAD // of records
	check string      // tells keys apart, and nothing of them
	clear bool        // records in clear count, too: the stage was in clear before, and has not been rewritten whole
}

// newCiphers derives all from one key; nil of no key.
func newCiphers(key []byte) (*ciphers, error) {
	if key == nil {
		return nil, nil
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of staged files has %d bytes, not %d", len(key), keySize)
	}
	files, err := vault.NewKeys(key)
	if err != nil {
		return nil, err
	}
	records, err := hkdf.Key(sha256.New, key, nil, "studyfs stage: records", keySize)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	check, err := hkdf.Key(sha256.New, key, nil, "studyfs stage: key check", 16)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(records)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	log, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return &ciphers{files: files, log: log, check: hex.EncodeToString(check)}, nil
}

// place is what the body of a record cannot be taken away from.
func place(seq, sure uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte("record"), seq), sure)
}

// encode appends a record to b, encrypted unless c is nil.
func (c *ciphers) encode(r record, b []byte, seq, sure uint64) ([]byte, error) {
	body, err := r.body()
	if err != nil {
		return b, err
	}
	if c != nil {
		body = c.log.Seal([]byte{sealedBody}, nil, body, place(seq, sure))
	}
	return frame(b, body, seq, sure), nil
}

// body returns the JSON of a record; nil if it is not one that counts.
func (c *ciphers) body(raw []byte, seq, sure uint64) []byte {
	sealed := len(raw) > 0 && raw[0] == sealedBody
	switch {
	case c == nil && !sealed, c != nil && c.clear && !sealed:
		return raw
	case c == nil || !sealed:
		return nil
	}
	plain, err := c.log.Open(nil, nil, raw[1:], place(seq, sure))
	if err != nil {
		return nil
	}
	return plain
}

// sealedJournal reports whether a journal begins with an encrypted record.
func sealedJournal(raw []byte) bool {
	body, _, _, n := unframe(raw)
	return n > 0 && len(body) > 0 && body[0] == sealedBody
}

// header is that of an encrypted stage. One in clear is the target's text alone.
type header struct {
	Encrypted string `json:"studyfs-stage-encrypted"`
	Check     string `json:"key-check"`
	Source    string `json:"target-sha256"`
	Target    []byte `json:"target"` // encrypted
	Clear     bool   `json:"not-all-yet,omitempty"`
}

const headerPlace = "header"

func (c *ciphers) header(target string, mixed bool) ([]byte, error) {
	sum := sha256.Sum256([]byte(target))
	raw, err := json.Marshal(header{
		Encrypted: sealedHeader, Check: c.check, Source: hex.EncodeToString(sum[:]), Clear: mixed,
		Target: c.log.Seal(nil, nil, []byte(target), []byte(headerPlace)),
	})
	if err != nil {
		return nil, fmt.Errorf("header of the stage: %w", err)
	}
	return raw, nil
}

// parseHeader reads a header; sealed is nil for one in clear.
func parseHeader(raw []byte) (sealed *header) {
	h := &header{}
	if !bytes.HasPrefix(raw, []byte(`{"studyfs-stage-encrypted":`)) || json.Unmarshal(raw, h) != nil {
		return nil
	}
	return h
}

// target is the target's text that a header holds. The key has to be the right one.
func (c *ciphers) target(h *header) (string, error) {
	switch {
	case c == nil:
		return "", ErrNoKey
	case h.Encrypted != sealedHeader:
		return "", fmt.Errorf("%w: by a newer version (%s)", ErrKey, h.Encrypted)
	case h.Check != c.check:
		return "", ErrKey
	}
	text, err := c.log.Open(nil, nil, h.Target, []byte(headerPlace))
	if err != nil {
		return "", ErrKey
	}
	return string(text), nil
}

// unlock makes ready the keys of a stage that may be there already. It changes nothing on the disk.
func (d *disk) unlock(key []byte) error {
	keys, err := newCiphers(key)
	if err != nil {
		return err
	}
	raw, err := d.readAll(headerName)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	h := parseHeader(raw)
	if h != nil {
		if _, err := keys.target(h); err != nil {
			return err
		}
	}
	if keys != nil {
		keys.clear = h == nil || h.Clear
	}
	d.keys, d.vaults.open = keys, map[string]*openVault{}
	return nil
}

// Target returns what the stage in dir was opened for, without opening it. key is needed for one that is encrypted, and does no harm for one that
// is not. ErrNoKey and ErrKey: it is encrypted, and key is not what it is encrypted with.
func Target(dir string, key []byte) (string, error) {
	raw, err := os.ReadFile((&disk{dir: dir}).path(headerName))
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	h := parseHeader(raw)
	if h == nil {
		return string(raw), nil
	}
	keys, err := newCiphers(key)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	text, err := keys.target(h)
	if err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	return text, nil
}

// Encrypted reports whether the stage in dir is, so that its key is needed.
func Encrypted(dir string) bool {
	raw, err := os.ReadFile((&disk{dir: dir}).path(headerName))
	return err == nil && parseHeader(raw) != nil
}
