package stage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile keeps other processes out.
type lockFile struct{ f *os.File }

// takeLock returns ErrLocked, with the number of the process that holds it, if there is one.
func takeLock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		owner := make([]byte, 32)
		n, _ := f.ReadAt(owner, 0)
		return nil, errors.Join(fmt.Errorf("stage: %w (process %s)", ErrLocked, strings.TrimSpace(string(owner[:n]))), f.Close())
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		if _, werr := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); werr != nil && !isNoSpace(werr) {
			err = werr
		}
	}
	if err != nil && !isNoSpace(err) {
		return nil, errors.Join(fmt.Errorf("stage: %w", err), f.Close())
	}
	return &lockFile{f}, nil
}

func (l *lockFile) release() error { return l.f.Close() }

func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
