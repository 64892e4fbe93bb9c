package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	keySize   = 32
	kernelKey = "studyfs:cache" // the description under which the kernel keeps the key, unless the configuration names another
)

// kernelKeys is the keyring that the kernel keeps for each user until the next boot, never on a disk. Any process of the user may
// have what is in it; no other user may.
type kernelKeys struct{ lock string } // a file: who looks for a key and makes one must be alone

// noKernelKeys tells that nothing can be kept there, so nothing is.
func noKernelKeys(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EACCES)
}
