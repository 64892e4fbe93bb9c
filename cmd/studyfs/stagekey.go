package main

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// stageKeyFile says where the key is that staged files are encrypted with, or is it. It lies in the directory of the configuration: what
// takes the state directory away, a backup or a thief of it, must not have the key with it.
const stageKeyFile = "stage.key"

const stageKeyHead = "# Files that wait for their upload are encrypted with this key. Without it they cannot be read by anybody: keep it.\n"

// stageKey returns the 32 bytes that staged files are encrypted with, the same on every call and after every restart. The first call
// makes them: in the desktop's keyring, or where there is none in a file that only this user can read; then notice says so, once. It
// fails rather than make a second key while the first is merely out of reach: what was staged with that would be lost.
func stageKey(env environment) (key []byte, notice string, err error) {
	dir, err := env.xdg("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return nil, "", err
	}
	return lastingKey{path: filepath.Join(dir, stageKeyFile), keyring: newDesktopKeys(env)}.get()
}

// lastingKey is a key that must not be lost.
type lastingKey struct {
	path    string
	keyring secretStore
}

func (k lastingKey) get() (key []byte, notice string, err error) {
	text, err := os.ReadFile(k.path) // only to see whether it is there; followed below
	if errors.Is(err, os.ErrNotExist) {
		if notice, err = k.make(); err != nil {
			return nil, "", err
		}
	} else if err != nil || len(text) == 0 {
		return nil, "", k.broken("it cannot be read, or it is empty")
	}
	if text, err = readSecretFile(k.path); err != nil {
		return nil, "", err
	}
	key, err = k.follow(string(text))
	return key, notice, err
}

// follow returns the key that a file holds or refers to.
func (k lastingKey) follow(text string) ([]byte, error) {
	line := ""
	for l := range strings.Lines(text) {
		if !strings.HasPrefix(l, "#") && strings.TrimSpace(l) != "" {
			line = l
		}
	}
	fields := strings.Fields(line)
	switch {
	case len(fields) == 2 && fields[0] == "key":
		if key, err := decodeKey(fields[1]); err == nil {
			return key, nil
		}
	case len(fields) == 3 && fields[0] == "keyring":
		return k.fromKeyring(fields[1], fields[2])
	}
	return nil, k.broken("it does not hold what was written into it")
}

func (k lastingKey) fromKeyring(name, check string) ([]byte, error) {
	secret, err := k.keyring.get(name)
	if err != nil {
		return nil, &failure{
			What: "the key of staged files", Why: "it is kept in the desktop's keyring as " + name + ": " + err.Error(),
			Do: "log in at the desktop and unlock its keyring (secret-tool lookup service " + keyringService + " username " + name + " shows it)", Code: exitPermission,
		}
	}
	key, err := decodeKey(secret)
	if err != nil || keyCheck(key) != check {
		return nil, k.broken("the desktop's keyring has another key as " + name)
	}
	return key, nil
}

func (k lastingKey) broken(why string) error {
	return &failure{
		What: k.path, Why: why,
		Do: "restore it from a backup: staged files cannot be read without it. If nothing waits to be uploaded (studyfs uploads ls), remove it", Code: exitConfig,
	}
}

// make makes a key and the file that tells of it. Of several processes that do, one succeeds; the others then use that one's.
func (k lastingKey) make() (notice string, err error) {
	key := make([]byte, keySize)
	rand.Read(key)
	secret := base64.StdEncoding.EncodeToString(key)
	line := "key " + secret + "\n"
	name := "stage-" + strings.ToLower(rand.Text()[:8])
	inKeyring := k.keyring.set(name, secret) == nil
	if inKeyring {
		again, err := k.keyring.get(name)
		inKeyring = err == nil && again == secret
	}
	if inKeyring {
		line = "keyring " + name + " " + keyCheck(key) + "\n"
	} else {
		notice = "the key of staged files is kept in " + k.path + ", since there is no desktop keyring: keep a copy of it, not beside the staged files"
	}
	made, err := writeNew(k.path, []byte(stageKeyHead+line))
	if (err != nil || !made) && inKeyring {
		k.keyring.remove(name) //nolint:errcheck // a key that nothing was encrypted with
	}
	if err != nil {
		return "", &failure{What: "cannot keep the key of staged files", Why: lastCause(err), Do: "make " + filepath.Dir(k.path) + " writable", Code: exitCannotCreate}
	}
	if !made {
		return "", nil
	}
	return notice, nil
}

// writeNew makes a file with these bytes, on the disk for good when it returns, for this user only. False: there is one already.
func writeNew(path string, text []byte) (made bool, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // its other name stays
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return false, nil
		}
		return false, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	return true, errors.Join(d.Sync(), d.Close())
}

func decodeKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err == nil && len(key) != keySize {
		err = fmt.Errorf("%d bytes instead of %d", len(key), keySize)
	}
	return key, err
}

// keyCheck tells two keys apart and tells nothing of either.
func keyCheck(key []byte) string {
	sum, err := hkdf.Key(sha256.New, key, nil, "studyfs key check", 8)
	if err != nil { // of lengths only, and these fit
		return ""
	}
	return hex.EncodeToString(sum)
}
