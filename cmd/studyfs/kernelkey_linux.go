package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// get returns the key of that name, a new one where there is none. Its errors say that this kernel, or this container, keeps none.
func (k kernelKeys) get(name string) ([]byte, error) {
	if err := os.MkdirAll(filepath.Dir(k.lock), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(k.lock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close() //nolint:errcheck // nothing is written to it
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	var key []byte
	err = withUserKeyring(func(ring int) error {
		id, err := unix.KeyctlSearch(ring, "user", name, 0)
		if err != nil { // none, or one that was revoked: it is replaced
			fresh := make([]byte, keySize)
			rand.Read(fresh)
			if id, err = unix.AddKey("user", name, fresh, ring); err != nil {
				return fmt.Errorf("add a key: %w", err)
			}
		}
		buf := make([]byte, keySize+1)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, buf, 0)
		switch {
		case err != nil:
			return fmt.Errorf("read a key: %w", err)
		case n != keySize:
			return fmt.Errorf("a key of that name has %d bytes; it is not ours", n)
		}
		key = buf[:n]
		return nil
	})
	return key, err
}

// remove destroys the key of that name for everybody; that there is none is no error.
func (k kernelKeys) remove(name string) error {
	return withUserKeyring(func(ring int) error {
		id, err := unix.KeyctlSearch(ring, "user", name, 0)
		if err != nil {
			if errors.Is(err, unix.ENOKEY) || errors.Is(err, unix.EKEYREVOKED) {
				return nil
			}
			return fmt.Errorf("search: %w", err)
		}
		_, revoked := unix.KeyctlInt(unix.KEYCTL_REVOKE, id, 0, 0, 0)
		_, unlinked := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, ring, 0, 0)
		if revoked != nil && unlinked != nil {
			return fmt.Errorf("remove a key: %w", errors.Join(revoked, unlinked))
		}
		return nil
	})
}

// withUserKeyring calls do with the user's keyring, possessed: without that its keys can be found but not read, as in a login that did not
// link it into its session. Possession is a thread's, so do has one of its own, which ends with it and takes the link along.
func withUserKeyring(do func(ring int) error) error {
	done := make(chan error, 1)
	go func() { // ends with do
		runtime.LockOSThread() // and is never unlocked: the thread must end
		done <- possessed(do)
	}()
	return <-done
}

func possessed(do func(ring int) error) error {
	ring, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
	if err != nil {
		return fmt.Errorf("user keyring: %w", err)
	}
	own, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_THREAD_KEYRING, true)
	if err != nil {
		return fmt.Errorf("thread keyring: %w", err)
	}
	if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, ring, own, 0, 0); err != nil {
		return fmt.Errorf("link the user keyring: %w", err)
	}
	return do(ring)
}
