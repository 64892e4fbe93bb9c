package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/zalando/go-keyring"
)

// keyringService is what our secrets in the desktop's keyring have as their attribute "service"; "username" is the name. So
// they are what "secret-tool store --label=… service studyfs username NAME" puts there.
const keyringService = "studyfs"

// desktopPatience is how long the desktop's keyring may take: somebody may have to unlock it.
const desktopPatience = time.Minute

var (
	errNoKeyring = errors.New("there is no desktop keyring here")
	errNoSecret  = errors.New("the desktop's keyring has nothing of that name")
)

// secretStore keeps secrets beyond this process. All of it fails with errNoKeyring where there is none.
type secretStore interface {
	get(name string) (string, error) // errNoSecret where there is none of that name
	set(name, secret string) error   // in the place of an older one
	remove(name string) error        // that there is none is no error
}

// desktopKeys is the keyring of the desktop: GNOME's, KDE's or another that speaks the Secret Service protocol over the session bus.
type desktopKeys struct {
	env      environment
	patience time.Duration
}

func newDesktopKeys(env environment) desktopKeys { return desktopKeys{env, desktopPatience} }

// bus reports whether there is a session bus to ask on. Without one the library would start one, for nobody.
func (k desktopKeys) bus() bool {
	if runtime.GOOS == "darwin" {
		return true // the keychain is asked by a program of the system
	}
	if address := k.env.get("DBUS_SESSION_BUS_ADDRESS"); address != "" {
		return address != "autolaunch:"
	}
	_, err := os.Stat(filepath.Join("/run/user", strconv.Itoa(k.env.uid), "bus"))
	return err == nil
}

// ask calls do and waits for it no longer than patience; a service that never answers keeps a goroutine until the process ends.
func (k desktopKeys) ask(do func() error) error {
	if !k.bus() {
		return errNoKeyring
	}
	answer := make(chan error, 1)
	go func() { answer <- do() }()
	select {
	case err := <-answer:
		if errors.Is(err, keyring.ErrNotFound) {
			return errNoSecret
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errNoKeyring, err)
		}
		return nil
	case <-time.After(k.patience):
		return fmt.Errorf("%w: it did not answer for %s; it may wait to be unlocked", errNoKeyring, k.patience)
	}
}

func (k desktopKeys) get(name string) (string, error) {
	found := make(chan string, 1)
	if err := k.ask(func() error {
		secret, err := keyring.Get(keyringService, name)
		found <- secret
		return err
	}); err != nil {
		return "", err
	}
	return <-found, nil
}

func (k desktopKeys) set(name, secret string) error {
	return k.ask(func() error { return keyring.Set(keyringService, name, secret) })
}

func (k desktopKeys) remove(name string) error {
	err := k.ask(func() error { return keyring.Delete(keyringService, name) })
	if errors.Is(err, errNoSecret) {
		return nil
	}
	return err
}

// fromKeyring follows a reference keyring:NAME to a secret that must be there.
func fromKeyring(store secretStore, name string) ([]byte, error) {
	secret, err := store.get(name)
	if err == nil {
		return []byte(secret), nil
	}
	f := &failure{What: "keyring:" + name, Why: err.Error(), Code: exitPermission}
	f.Do = "put it there with: secret-tool store --label=studyfs service " + keyringService + " username " + quote(name)
	if !errors.Is(err, errNoSecret) {
		f.Do = "log in at the desktop and unlock its keyring, or keep the secret in a file: file:PATH"
	}
	return nil, f
}
