package main

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/scrypt"

	"studyfs/backends"
)

// passphraseCost is what a guess at the passphrase costs: 2^17 rounds of scrypt, 128 MiB of memory and a third of a second.
const passphraseCost = 17

// maxPassphraseCost bounds what a file that somebody else has written can make us spend: 1 GiB.
const maxPassphraseCost = 20

// passphraseNote lies in the cache directory: what makes a key of the passphrase, and tells a wrong one before anything is removed as unreadable.
type passphraseNote struct {
	Schema int    `json:"schema"`
	Cost   int    `json:"scrypt_log2_n"`
	Salt   []byte `json:"salt"`
	Check  []byte `json:"check"`
}

func (k *cacheKeys) passphraseFile() string { return filepath.Join(k.places.cache, "passphrase.json") }

// passphrase asks for the passphrase and makes the key of it; one that is new is what the first answer says.
func (k *cacheKeys) passphrase(ref string) ([]byte, error) {
	text, err := os.ReadFile(k.passphraseFile())
	if errors.Is(err, os.ErrNotExist) {
		return k.newPassphrase(ref)
	}
	var note passphraseNote
	if err == nil {
		err = json.Unmarshal(text, &note)
	}
	if err != nil || note.Schema != 1 || note.Cost < 1 || note.Cost > maxPassphraseCost || len(note.Salt) < 16 {
		return nil, &failure{
			What: k.passphraseFile(), Why: "it is not what was written into it", Do: "studyfs cache wipe removes it with all that it protects", Code: exitConfig,
		}
	}
	secret, err := k.askPassphrase(ref, "passphrase of the cache in "+k.places.cache)
	if err != nil {
		return nil, err
	}
	key, check, err := note.stretch(secret)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(check, note.Check) {
		return nil, &failure{
			What: "cache-key", Why: "wrong passphrase for the cache in " + k.places.cache,
			Do: "try again; where it is forgotten, studyfs cache wipe removes what was kept, and the next mount takes a new one", Code: exitPermission,
		}
	}
	return key, nil
}

func (k *cacheKeys) newPassphrase(ref string) ([]byte, error) {
	question := "new passphrase for the cache in " + k.places.cache
	secret, err := k.askPassphrase(ref, question)
	if err != nil {
		return nil, err
	}
	if ref == "prompt" {
		again, err := k.askPassphrase(ref, "the same again")
		if err != nil {
			return nil, err
		}
		if again.Reveal() != secret.Reveal() {
			return nil, &failure{What: "cache-key", Why: "the two passphrases differ", Do: "try again; nothing was written", Code: exitUsage}
		}
	}
	note := passphraseNote{Schema: 1, Cost: k.cost, Salt: make([]byte, 16)}
	rand.Read(note.Salt)
	key, check, err := note.stretch(secret)
	if err != nil {
		return nil, err
	}
	note.Check = check
	text, err := json.Marshal(note)
	if err != nil {
		return nil, err
	}
	made, err := writeNew(k.passphraseFile(), text)
	if err != nil {
		return nil, &failure{What: "cannot write to " + k.places.cache, Why: lastCause(err), Do: "choose another place with --cache-dir", Code: exitCannotCreate}
	}
	if !made { // somebody else has, meanwhile
		return nil, &failure{What: "cache-key", Why: "another mount has just chosen a passphrase", Do: "try again with that one", Code: exitTryAgain}
	}
	return key, nil
}

// askPassphrase follows ref; what there is must not be empty.
func (k *cacheKeys) askPassphrase(ref, question string) (secret backends.Secret, err error) {
	const what = "cache-key"
	if ref == "prompt" {
		secret, err = passphrases{k.env, k.terminal}.ask(what, question)
		if f, ok := errors.AsType[*failure](err); ok {
			f.Do = "cache-key = \"passphrase:file:PATH\", \"passphrase:cmd:COMMAND\" or \"passphrase:keyring:NAME\" need no terminal"
		}
	} else {
		var text []byte
		text, err = followRef(k.env, ref, "the passphrase of the cache")
		secret = backends.NewSecret(strings.TrimRight(string(text), "\r\n"))
	}
	if err == nil && secret.Empty() {
		err = &failure{What: what, Why: "an empty passphrase protects nothing", Do: "choose another", Code: exitConfig}
	}
	return secret, err
}

// stretch makes a key of a passphrase, and what tells the right one from others.
func (n *passphraseNote) stretch(secret backends.Secret) (key, check []byte, err error) {
	long, err := scrypt.Key([]byte(secret.Reveal()), n.Salt, 1<<n.Cost, 8, 1, keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("cache-key: %w", err)
	}
	if key, err = hkdf.Key(sha256.New, long, nil, "studyfs passphrase key", keySize); err != nil {
		return nil, nil, fmt.Errorf("cache-key: %w", err)
	}
	check, err = hkdf.Key(sha256.New, long, nil, "studyfs passphrase check", 16)
	return key, check, err
}
