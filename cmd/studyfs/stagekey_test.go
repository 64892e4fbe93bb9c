package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeKeyring is a desktop's keyring, or its absence.
type fakeKeyring struct {
	mu      sync.Mutex
	secrets map[string]string // nil: there is none
}

func (k *fakeKeyring) get(name string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return "", errNoKeyring
	}
	secret, ok := k.secrets[name]
	if !ok {
		return "", errNoSecret
	}
	return secret, nil
}

func (k *fakeKeyring) set(name, secret string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.secrets == nil {
		return errNoKeyring
	}
	k.secrets[name] = secret
	return nil
}

func (k *fakeKeyring) remove(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.secrets, name)
	return nil
}

// Without a desktop the key is a file that only its owner can read; he is told once, and the key stays.
func TestStageKeyInAFile(t *testing.T) {
	k := lastingKey{path: filepath.Join(t.TempDir(), "config", stageKeyFile), keyring: &fakeKeyring{}}
	key, notice, err := k.get()
	if err != nil || len(key) != keySize || !strings.Contains(notice, k.path) {
		t.Fatalf("%d bytes, %q, %v", len(key), notice, err)
	}
	info, err := os.Stat(k.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	again, notice, err := k.get()
	if err != nil || notice != "" || !bytes.Equal(again, key) {
		t.Errorf("the second time: same key %v, notice %q, %v", bytes.Equal(again, key), notice, err)
	}
	if left, _ := filepath.Glob(filepath.Dir(k.path) + "/.*-*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	k.keyring = &fakeKeyring{secrets: map[string]string{}} // a desktop appears: what was staged must stay readable
	if again, _, err = k.get(); err != nil || !bytes.Equal(again, key) {
		t.Errorf("with a keyring: %v", err)
	}
	if err := os.Chmod(k.path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.get(); codeOf(err) != exitPermission {
		t.Errorf("readable by all: %v; want exit %d", err, exitPermission)
	}
}

// With a desktop no key lies on the disk. While its keyring is out of reach nothing gets a second key: the files staged with the first
// would be lost.
func TestStageKeyInTheKeyring(t *testing.T) {
	ring := &fakeKeyring{secrets: map[string]string{}}
	k := lastingKey{path: filepath.Join(t.TempDir(), stageKeyFile), keyring: ring}
	key, notice, err := k.get()
	if err != nil || notice != "" || len(ring.secrets) != 1 {
		t.Fatalf("%q, %v, %d secrets", notice, err, len(ring.secrets))
	}
	text, err := os.ReadFile(k.path)
	for _, secret := range ring.secrets {
		if err != nil || bytes.Contains(text, []byte(secret)) {
			t.Errorf("the key lies in %s (%v)", k.path, err)
		}
	}
	if again, _, err := k.get(); err != nil || !bytes.Equal(again, key) {
		t.Errorf("the second time: %v", err)
	}
	for _, trouble := range []*fakeKeyring{{}, {secrets: map[string]string{}}} {
		k.keyring = trouble
		if _, _, err := k.get(); codeOf(err) != exitPermission || !strings.Contains(err.Error(), "unlock") {
			t.Errorf("keyring away: %v; want exit %d and what to do", err, exitPermission)
		}
	}
	if now, err := os.ReadFile(k.path); err != nil || !bytes.Equal(now, text) {
		t.Error("the note of where the key is was changed")
	}
	other := maps.Clone(ring.secrets)
	for name := range other {
		other[name] = strings.Repeat("A", 43) + "="
	}
	k.keyring = &fakeKeyring{secrets: other}
	if _, _, err := k.get(); codeOf(err) != exitConfig {
		t.Errorf("another key in the keyring: %v; want exit %d", err, exitConfig)
	}
}

// Ten mounts at login must not make ten keys.
func TestStageKeyIsMadeOnce(t *testing.T) {
	for _, ring := range []*fakeKeyring{{}, {secrets: map[string]string{}}} {
		k := lastingKey{path: filepath.Join(t.TempDir(), stageKeyFile), keyring: ring}
		keys := make([]string, 10)
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				key, _, err := k.get()
				if err != nil {
					t.Error(err)
				}
				keys[i] = string(key)
			})
		}
		all.Wait()
		if len(slices.Compact(keys)) != 1 || len(ring.secrets) > 1 {
			t.Errorf("%d keys, %d in the keyring", len(slices.Compact(keys)), len(ring.secrets))
		}
	}
}

// A key file that was damaged is said to be, not replaced.
func TestDamagedStageKeyIsNotReplaced(t *testing.T) {
	for _, text := range []string{"", "nonsense", "key AAAA", "keyring stage-x"} {
		k := lastingKey{path: writeFile(t, filepath.Join(t.TempDir(), stageKeyFile), text, 0o600), keyring: &fakeKeyring{}}
		_, _, err := k.get()
		if now, readErr := os.ReadFile(k.path); codeOf(err) != exitConfig || readErr != nil || string(now) != text {
			t.Errorf("%q: %v, now %q", text, err, now)
		}
	}
	if _, err := fromKeyring(&fakeKeyring{}, "x"); codeOf(err) != exitPermission || errors.Is(err, errNoSecret) {
		t.Errorf("no keyring: %v", err)
	}
}
