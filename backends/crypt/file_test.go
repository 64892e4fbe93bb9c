package crypt

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/crypt/cryptease"
)

// A file on a disk or in a mount is opened by what it is, not by what it is called.
func TestDecryptFiles(t *testing.T) {
	id := newIdentity(t)
	o := Options{Identities: []Identity{id}, Password: backends.NewSecret(labPassword)}
	for _, n := range []int64{0, 1, 200_000} {
		plain := backendtest.Noise(n, 1)
		var lock bytes.Buffer
		if err := cryptease.Encrypt(&lock, bytes.NewReader(plain), []byte(labPassword), rand.Reader); err != nil {
			t.Fatal(err)
		}
		for name, file := range map[string][]byte{
			"age": encrypted(t, plain, id.Recipient()), "md5": desFile(t, 1, labPassword, plain), "sha256": desFile(t, 0, labPassword, plain), "lock": lock.Bytes(),
		} {
			r, err := Decrypt(t.Context(), bytes.NewReader(file), int64(len(file)), o)
			if err != nil {
				t.Errorf("%s of %d bytes: %v", name, n, err)
				continue
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s of %d bytes: %d, %v", name, n, len(got), err)
			}
			none := Options{}
			if _, err := Decrypt(t.Context(), bytes.NewReader(file), int64(len(file)), none); !errors.Is(err, backends.ErrPermission) {
				t.Errorf("%s without a key: %v", name, err)
			}
		}
	}
	for _, text := range []string{"", "x", "some text that is no ciphertext at all"} {
		if _, err := Decrypt(t.Context(), bytes.NewReader([]byte(text)), int64(len(text)), o); !errors.Is(err, backends.ErrBadAnswer) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
