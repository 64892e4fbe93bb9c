package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// ErrCannotRename is returned by file systems on which a file cannot be renamed without the danger of replacing another.
var ErrCannotRename = errors.New("the file system can rename nothing without the danger of overwriting")

// tree is a folder in which files are renamed. Names are relative to it and cannot lead out of it.
type tree struct {
	root   *os.Root
	before func() error
	links  bool
}

// bare takes the names out of an error.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// look returns what is under a name; nil if nothing is.
func (t *tree) look(name string) (fs.FileInfo, error) {
	info, err := t.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing is an answer
	}
	return info, bare(err)
}

// mkdirs makes a folder and those above it. Each must be a folder, not a link to one.
func (t *tree) mkdirs(dir string, mode func(dir string) fs.FileMode) error {
	if dir == "." {
		return nil
	}
	if err := t.mkdirs(path.Dir(dir), mode); err != nil {
		return err
	}
	info, err := t.look(dir)
	switch {
	case err != nil:
		return err
	case info != nil && info.IsDir():
		return nil
	case info != nil:
		return unix.ENOTDIR
	}
	if err := t.before(); err != nil {
		return err
	}
	if err := t.root.Mkdir(dir, mode(dir)|0o700); err != nil {
		return bare(err)
	}
	return t.sync(path.Dir(dir))
}

// sync makes the names in a folder durable. One that is gone needs nothing.
func (t *tree) sync(dir string) error {
	if err := t.before(); err != nil {
		return err
	}
	d, err := t.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return bare(err)
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // file systems on servers cannot sync folders: they do it by themselves
	}
	return bare(errors.Join(err, d.Close()))
}

// rmdir takes away a folder if it is empty.
func (t *tree) rmdir(dir string) error {
	if err := t.before(); err != nil {
		return err
	}
	err := t.in(dir, func(fd int, base string) error { return unix.Unlinkat(fd, base, unix.AT_REMOVEDIR) })
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// rename gives a file a name that nothing has.
func (t *tree) rename(from, to string) error {
	if err := t.before(); err != nil {
		return err
	}
	return t.in(from, func(fromDir int, fromBase string) error {
		return t.in(to, func(toDir int, toBase string) error {
			if t.links {
				return t.relink(fromDir, fromBase, toDir, toBase)
			}
			err := renameNew(fromDir, fromBase, toDir, toBase)
			if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
				return err
			}
			return t.relink(fromDir, fromBase, toDir, toBase)
		})
	})
}

// relink is for file systems, NFS above all, that know no renaming which does not replace. A link never replaces; a crash between it and
// the removal leaves one file under two names, which is known by that.
func (t *tree) relink(fromDir int, from string, toDir int, to string) error {
	err := unix.Linkat(fromDir, from, toDir, to, 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EMLINK):
		return ErrCannotRename
	case err != nil:
		return err
	}
	if err := syncFolder(toDir); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if err := t.before(); err != nil {
		return err
	}
	return unix.Unlinkat(fromDir, from, 0)
}

// unlink takes away one of two names of a file.
func (t *tree) unlink(name string) error {
	if err := t.before(); err != nil {
		return err
	}
	return t.in(name, func(fd int, base string) error { return unix.Unlinkat(fd, base, 0) })
}

// in opens the folder that a name is in.
func (t *tree) in(name string, do func(fd int, base string) error) error {
	d, err := t.root.Open(path.Dir(name))
	if err != nil {
		return bare(err)
	}
	defer d.Close() //nolint:errcheck // nothing was written to it
	return do(int(d.Fd()), path.Base(name))
}
