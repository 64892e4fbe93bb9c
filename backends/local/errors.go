package local

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"studyfs/backends"
)

// cause gives an error of the operating system the sentinel that it stands for.
func cause(err error) error {
	if err == nil {
		return nil
	}
	for sentinel, numbers := range map[error][]syscall.Errno{
		backends.ErrReadOnly:    {syscall.EROFS},
		backends.ErrTooLarge:    {syscall.EFBIG},
		backends.ErrName:        {syscall.ENAMETOOLONG, syscall.EILSEQ},
		backends.ErrExist:       {syscall.ENOTDIR, syscall.EISDIR},
		backends.ErrUnreachable: {syscall.ESTALE, syscall.ENOTCONN, syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ETIMEDOUT, syscall.ENODEV, syscall.ENXIO},
		backends.ErrBusy:        {syscall.EAGAIN, syscall.EDQUOT},
	} {
		for _, n := range numbers {
			if errors.Is(err, n) && !errors.Is(err, sentinel) {
				return fmt.Errorf("%w: %w", sentinel, err)
			}
		}
	}
	return err
}

// isGone reports whether an error says that nothing lies under a name, nor can.
func isGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

func failed(op, name string, err error) error { return fmt.Errorf("%s %s: %w", op, name, cause(err)) }
