package fs

import (
	"context"
	"errors"
	"syscall"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// refusal is an error that is about nothing but a number: what a caller asked for cannot be, or may not. It is not what the
// number is elsewhere in Go: ENOTEMPTY would count as "exists", EPERM as the source's "forbidden".
type refusal struct {
	op     string
	number syscall.Errno
}

func (r *refusal) Error() string { return r.op + ": " + r.number.Error() }

func refuse(op string, number syscall.Errno) error { return &refusal{op, number} }

// errno is the one place where an error becomes a number. The caller's own leaving comes first, then what the source
// said: a refused connection carries a number of its own (ECONNREFUSED) that says nothing to a reader of files.
func errno(err error) syscall.Errno {
	var own *refusal
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return syscall.EINTR
	case errors.As(err, &own):
		return own.number
	}
	return said(err)
}

// said is the half of errno for what the source or the stage said for good.
func said(err error) syscall.Errno {
	switch {
	case errors.Is(err, stage.ErrRefused), errors.Is(err, stage.ErrTrash):
		return syscall.EPERM
	case errors.Is(err, backends.ErrChanged):
		return syscall.ESTALE
	case errors.Is(err, backends.ErrArchived):
		return syscall.ENODATA
	case errors.Is(err, backends.ErrAuth), errors.Is(err, backends.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, backends.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, stage.ErrNotEmpty):
		return syscall.ENOTEMPTY
	case errors.Is(err, backends.ErrExist):
		return syscall.EEXIST
	case errors.Is(err, backends.ErrReadOnly):
		return syscall.EROFS
	case errors.Is(err, stage.ErrStored):
		return syscall.EPERM
	}
	return transient(err)
}

// transient is the half of errno for what may be better next time.
func transient(err error) syscall.Errno {
	var number syscall.Errno
	switch {
	case errors.Is(err, backends.ErrBusy):
		return syscall.EAGAIN
	case errors.Is(err, backends.ErrUnreachable), errors.Is(err, backends.ErrBadAnswer):
		return syscall.EIO
	case errors.Is(err, context.DeadlineExceeded):
		return syscall.ETIMEDOUT
	case errors.As(err, &number) && number != 0:
		return number
	}
	return syscall.EIO
}

// trouble says in words why an entry cannot be read now.
func trouble(e backends.Entry) string {
	switch e.Tier {
	case backends.Archived:
		return "archived: a restore must be asked for before it can be read"
	case backends.Restoring:
		return "archived: a restore was asked for and is under way"
	case backends.Online:
	}
	return ""
}
