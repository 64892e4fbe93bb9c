package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	keyFile = "key"
	keySize = 32
)

// keys make and open what stands for names. The zero value opens none.
type keys struct {
	pseudonym []byte
	names     cipher.AEAD
}

// loadKeys reads the key of a directory, and makes one where there is none if make says so. The caller has the directory locked.
func loadKeys(dir string, create bool) (keys, error) {
	path := filepath.Join(dir, keyFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && create {
		raw = make([]byte, keySize)
		rand.Read(raw)
		err = writeKey(path, raw)
	}
	if err != nil {
		return keys{}, err
	}
	if len(raw) != keySize {
		return keys{}, fmt.Errorf("%s: not a key of %d bytes", path, keySize)
	}
	return newKeys(raw)
}

// writeKey makes the file appear as a whole, and durably: a name encrypted with a key that is lost is lost.
func writeKey(path string, raw []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func newKeys(raw []byte) (k keys, err error) {
	if k.pseudonym, err = hkdf.Key(sha256.New, raw, nil, "studyfs audit pseudonyms", keySize); err != nil {
		return k, err
	}
	key, err := hkdf.Key(sha256.New, raw, nil, "studyfs audit names", keySize)
	if err != nil {
		return k, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return k, err
	}
	k.names, err = cipher.NewGCMWithRandomNonce(block)
	return k, err
}

// pseudonymBytes is how much of the HMAC is kept: enough that among a billion names two rarely share one.
const pseudonymBytes = 10

func (k keys) object(source, name string) string {
	h := hmac.New(sha256.New, k.pseudonym)
	fmt.Fprintf(h, "%d:%s%s", len(source), source, name) //nolint:errcheck // a hash takes everything
	return "p:" + hex.EncodeToString(h.Sum(nil)[:pseudonymBytes])
}

// record is the line of an event, but for its place in the chain.
func (k keys) record(p pending) Record {
	e := p.e
	r := Record{Time: p.at.UTC(), Op: e.Op, UID: e.UID, PID: e.PID, Exe: e.Exe, Source: e.Source, Mount: e.Mount, Bytes: e.Bytes, Detail: e.Detail}
	if e.Name != "" {
		r.Object = k.object(e.Source, e.Name)
		r.Sealed = k.names.Seal(nil, nil, []byte(e.Name), []byte(r.Object)) // bound to its pseudonym: names cannot be swapped between lines
	}
	return r
}

// name opens a record's name.
func (k keys) name(r Record) (string, error) {
	if len(r.Sealed) == 0 {
		return "", nil
	}
	if k.names == nil {
		return "", errors.New("there is no key")
	}
	name, err := k.names.Open(nil, nil, r.Sealed, []byte(r.Object))
	return string(name), err
}
