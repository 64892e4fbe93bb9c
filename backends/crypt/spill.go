package crypt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Spill keeps ciphertexts on the local disk while they are sent: encrypting the same bytes again gives others, so an upload that
// broke off can only go on with what it began with. Its methods are safe for concurrent use.
type Spill interface {
	// Create makes room for a ciphertext of size bytes, or fails with what the disk says (ENOSPC).
	Create(ctx context.Context, size int64) (SpillFile, error)
	// Open returns what an earlier process or try has kept under an id, or fs.ErrNotExist. Nobody else has it open.
	Open(ctx context.Context, id string) (SpillFile, error)
}

// SpillFile is one ciphertext. Its bytes need not survive a power cut: what is kept is checked before it is used.
type SpillFile interface {
	io.ReaderAt
	io.WriterAt
	// ID is what Open knows it by: printable ASCII, at most 100 bytes.
	ID() string
	// Close ends its use. Unless it is to be kept for a later Open, it is removed.
	Close(keep bool) error
}

// spillAge is after how long a ciphertext that nobody asked for again is removed. Its upload then begins anew.
const spillAge = 7 * 24 * time.Hour

const spillPrefix = "cipher-"

// DirSpill keeps ciphertexts as files of mode 0600 in one directory, which is its own.
type DirSpill struct{ root *os.Root }

// OpenDirSpill makes the directory, mode 0700, and removes from it what was left a week before now.
func OpenDirSpill(dir string, now time.Time) (*DirSpill, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ciphertexts: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("ciphertexts: %w", err)
	}
	old, err := fs.ReadDir(root.FS(), ".")
	for _, f := range old {
		info, infoErr := f.Info()
		if infoErr == nil && strings.HasPrefix(f.Name(), spillPrefix) && now.Sub(info.ModTime()) > spillAge {
			root.Remove(f.Name()) //nolint:errcheck // next time
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ciphertexts: %w", err), root.Close())
	}
	return &DirSpill{root}, nil
}

// Close lets go of the directory. What was kept in it stays.
func (d *DirSpill) Close() error { return d.root.Close() }

// Create makes a file, which grows as it is written.
func (d *DirSpill) Create(context.Context, int64) (SpillFile, error) {
	f, err := os.CreateTemp(d.root.Name(), spillPrefix)
	if err != nil {
		return nil, fmt.Errorf("ciphertext: %w", err)
	}
	return &dirFile{File: f, root: d.root, id: filepath.Base(f.Name())}, nil
}

// Open opens a file that was kept.
func (d *DirSpill) Open(_ context.Context, id string) (SpillFile, error) {
	if !strings.HasPrefix(id, spillPrefix) {
		return nil, fmt.Errorf("ciphertext: %w", fs.ErrNotExist)
	}
	f, err := d.root.OpenFile(id, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("ciphertext: %w", err)
	}
	return &dirFile{File: f, root: d.root, id: id}, nil
}

type dirFile struct {
	*os.File

	root *os.Root
	id   string
}

func (f *dirFile) ID() string { return f.id }

func (f *dirFile) Close(keep bool) error {
	err := f.File.Close()
	if !keep {
		err = errors.Join(err, f.root.Remove(f.id))
	}
	return err
}
