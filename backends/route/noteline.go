package route

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// ErrKey says that what the manifests lack is encrypted, and the key that was given, if any, does not open it. Nothing was touched.
var ErrKey = errors.New("what the manifests lack is encrypted with another key")

// lines are how records lie on the local disk: a line of JSON each or, with a key, of base64 over AES-256-GCM (a random nonce first),
// since a record tells the name of a file that waits encrypted itself.
type lines struct{ seal cipher.AEAD }

func newLines(key []byte) (lines, error) {
	if key == nil {
		return lines{}, nil
	}
	own, err := hkdf.Key(sha256.New, key, nil, "studyfs route: records", 32)
	if err != nil {
		return lines{}, fmt.Errorf("derive a key: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return lines{}, fmt.Errorf("cipher: %w", err)
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	return lines{seal}, err
}

// encode returns a record with its newline.
func (l lines) encode(r Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if l.seal != nil {
		text = []byte(base64.StdEncoding.EncodeToString(l.seal.Seal(nil, nil, text, nil)))
	}
	return append(text, '\n'), nil
}

// lineKind is what a line turned out to be.
type lineKind uint8

const (
	lineDamaged lineKind = iota // no record
	lineClear                   // a record in clear
	lineSealed                  // an encrypted record
	lineClosed                  // what the key does not open: of another key, or damaged
)

// decode is the reverse of encode, and takes lines in clear with any key.
func (l lines) decode(line []byte) (r Record, how lineKind) {
	text := bytes.TrimSuffix(line, []byte("\n"))
	how = lineClear
	if !bytes.HasPrefix(text, []byte("{")) {
		sealed, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil || len(text) == 0 {
			return r, lineDamaged
		}
		if l.seal == nil {
			return r, lineClosed
		}
		if text, err = l.seal.Open(nil, nil, sealed, nil); err != nil {
			return r, lineClosed
		}
		how = lineSealed
	}
	if json.Unmarshal(text, &r) != nil || r.Name == "" {
		return r, lineDamaged
	}
	return r, how
}
