package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
)

// title begins the file, and is authenticated with it.
const title = "studyfs names 1\n"

// saltLen is how long the salt is. Each writing has a key of its own, so that no nonce can come twice with one key.
const saltLen = 32

// keyOf makes the key of ledgers out of a secret that has other uses, too.
func keyOf(secret []byte) []byte { return derive(secret, []byte("studyfs names")) }

func derive(key, of []byte) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(of) // a hash takes all
	return mac.Sum(nil)
}

func seal(key, plain []byte, random io.Reader) ([]byte, error) {
	text := append([]byte(title), make([]byte, saltLen)...)
	if _, err := io.ReadFull(random, text[len(title):]); err != nil {
		return nil, err
	}
	aead, err := newAEAD(key, text[len(title):])
	if err != nil {
		return nil, err
	}
	return aead.Seal(text, make([]byte, aead.NonceSize()), plain, []byte(title)), nil
}

func unseal(key, text []byte) ([]byte, error) {
	if len(text) < len(title)+saltLen || string(text[:len(title)]) != title {
		return nil, errors.New("not a ledger")
	}
	aead, err := newAEAD(key, text[len(title):len(title)+saltLen])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, make([]byte, aead.NonceSize()), text[len(title)+saltLen:], []byte(title))
}

func newAEAD(key, salt []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(derive(key, salt))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
