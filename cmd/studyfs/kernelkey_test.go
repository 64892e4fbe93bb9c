package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernelKeysFor returns the kernel's keyring and a name in it for this test, or skips where there is none, as in most containers.
func kernelKeysFor(t *testing.T) (kernelKeys, string) {
	t.Helper()
	k := kernelKeys{filepath.Join(t.TempDir(), "keys.lock")}
	name := "studyfs:test-" + hashOf(k.lock)
	if _, err := k.get(name); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EACCES) {
			t.Skip("no kernel keyring here: ", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.remove(name); err != nil {
			t.Error(err)
		}
	})
	return k, name
}

// A later mount finds the key of an earlier one, several at once find the same, and after it was destroyed nobody does.
func TestKernelKeepsTheKey(t *testing.T) {
	k, name := kernelKeysFor(t)
	first, err := k.get(name)
	if err != nil || len(first) != keySize {
		t.Fatal(first, err)
	}
	if err := k.remove(name); err != nil {
		t.Fatal(err)
	}
	keys := make([][]byte, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = k.get(name); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if !bytes.Equal(key, keys[0]) {
			t.Error("two keys of one name")
		}
	}
	if bytes.Equal(keys[0], first) {
		t.Error("the key that was destroyed is back")
	}
	for range 2 {
		if err := k.remove(name); err != nil {
			t.Error(err)
		}
	}
}

// On a login node there is no desktop: nothing may hang, and nothing may start a session bus.
func TestNoDesktopKeyring(t *testing.T) {
	env := testEnv(t)
	env.uid = 1 << 30
	k := newDesktopKeys(env)
	if _, err := k.get("x"); !errors.Is(err, errNoKeyring) {
		t.Errorf("got %v", err)
	}
	if err := k.set("x", "y"); !errors.Is(err, errNoKeyring) {
		t.Errorf("got %v", err)
	}
	if err := k.remove("x"); !errors.Is(err, errNoKeyring) {
		t.Errorf("got %v", err)
	}
}

// A keyring that never answers, since nobody is there to unlock it, does not stop a mount for ever.
func TestSilentDesktopKeyring(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+socket)
	env := environment{lookup: os.LookupEnv, uid: os.Getuid()}
	k := desktopKeys{env, 50 * time.Millisecond}
	if _, err := k.get("x"); !errors.Is(err, errNoKeyring) || !strings.Contains(err.Error(), "unlocked") {
		t.Errorf("got %v", err)
	}
}

// The whole way, as a mount on a login node goes it.
func TestStageKeyOfAUser(t *testing.T) {
	env := testEnv(t)
	env.uid = 1 << 30
	key, notice, err := stageKey(env)
	if err != nil || len(key) != keySize || !strings.Contains(notice, filepath.Join(env.get("HOME"), ".config/studyfs")) {
		t.Errorf("%d bytes, %q, %v", len(key), notice, err)
	}
}
