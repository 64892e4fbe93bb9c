package crypt

import (
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"studyfs/backends"
)

// keyring is what opens objects.
type keyring struct {
	identities []Identity
	password   backends.Secret
}

// ReadIdentities reads a file as age-keygen writes it: one key a line, "#" begins a comment. No error shows a key.
func ReadIdentities(r io.Reader) ([]Identity, error) {
	ids, err := age.ParseIdentities(r)
	if err != nil {
		return nil, fmt.Errorf("identities: %w", err)
	}
	return ids, nil
}

// ReadRecipients reads public keys, one a line, "#" begins a comment.
func ReadRecipients(r io.Reader) ([]Recipient, error) {
	recipients, err := age.ParseRecipients(r)
	if err != nil {
		return nil, fmt.Errorf("recipients: %w", err)
	}
	return recipients, nil
}

// ParseRecipient reads one public key, "age1...".
func ParseRecipient(text string) (Recipient, error) {
	all, err := ReadRecipients(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// headerSize is how much lies before the first chunk of what is made for recipients: the same every time.
func headerSize(recipients []Recipient) (int64, error) {
	var n counter
	w, err := age.Encrypt(&n, recipients...)
	if err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return int64(n) - sealed(0), nil
}
