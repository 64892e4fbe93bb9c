// Package local is a directory, on a NAS or on another disk, as a source and as a target of uploads.
//
// The folder [Reserved] at its root says that the disk is there: a mount point without its disk is an empty folder too, and must
// neither be taken for a source that lost everything nor be written to. It is made by people, once ("mkdir DIR/.studyfs"), and
// holds what is on its way. Without it nothing is written, and an empty directory is backends.ErrUnreachable. The directory is
// opened anew for every call, so that a disk that comes back is used again, and one in use can be unmounted.
//
// A file appears under its name whole and durable, or not at all: it is written and synced in [Reserved], read back and compared
// with its checksum, renamed, and the folder is synced. Names never lead out of the directory: symbolic links, sockets and names
// that are no valid ones are counted, not shown.
//
// A version is made of inode, size and both times of change. Metadata and checksum lie in the extended attribute "user.studyfs";
// on a disk that has none, checksums are found by reading, and metadata are lost. A call that a hung disk does not answer cannot
// be cancelled.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"studyfs/backends"
)

// Reserved is the folder at the root that marks the directory and is never shown.
const Reserved = ".studyfs"

// maxHidden bounds the names that are counted once.
const maxHidden = 1 << 16

// Options say where the directory is.
type Options struct {
	Dir string           // an absolute path
	Now func() time.Time // nil means the system's clock
}

// Source is a directory. It is safe for concurrent use, also by several processes.
type Source struct {
	dir    string
	now    func() time.Time
	commit chan struct{} // holds one while names change: what was compared is what is replaced

	list, head, get, put, remove, in, out atomic.Int64

	mu      sync.Mutex // guards what follows; no I/O under it
	hidden  map[string]bool
	trouble error
	last    time.Time // that a file was given as its time of change
	swept   bool
}

var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
	_ backends.Writer   = (*Source)(nil)
	_ backends.Examiner = (*Source)(nil)
	_ backends.Prober   = (*Source)(nil)
)

// New returns the directory as a source. It looks at nothing yet.
func New(o Options) (*Source, error) {
	if !filepath.IsAbs(o.Dir) {
		return nil, fmt.Errorf("directory %q: not an absolute path", o.Dir)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	return &Source{dir: filepath.Clean(o.Dir), now: o.Now, commit: make(chan struct{}, 1), hidden: map[string]bool{}}, nil
}

// open opens the directory, if it is certain that its disk is there.
func (s *Source) open(ctx context.Context, write bool) (*os.Root, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := s.openMarked(write)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = nil
	if errors.Is(err, backends.ErrUnreachable) {
		s.trouble = err
	}
	return root, err
}

func (s *Source) openMarked(write bool) (*os.Root, error) {
	root, err := os.OpenRoot(s.dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no folder %s: is its disk mounted?", backends.ErrUnreachable, s.dir)
	case err != nil:
		return nil, cause(err)
	}
	info, err := root.Stat(Reserved)
	if err == nil && info.IsDir() {
		return root, nil
	}
	missing := err == nil || errors.Is(err, os.ErrNotExist)
	if err = cause(err); missing {
		err = fmt.Errorf("%w: %s holds no folder %s: is its disk mounted? If it is, say so once: mkdir %s",
			backends.ErrUnreachable, s.dir, Reserved, filepath.Join(s.dir, Reserved))
		if !write && !isEmpty(root) {
			return root, nil
		}
	}
	return nil, errors.Join(err, root.Close())
}

func isEmpty(root *os.Root) bool {
	f, err := root.Open(".")
	if err != nil {
		return true
	}
	defer f.Close() //nolint:errcheck // only read
	_, err = f.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// Ready reports whether files can be written: whether the disk is there, and marked.
func (s *Source) Ready(ctx context.Context) error {
	root, err := s.open(ctx, true)
	if err != nil {
		return err
	}
	return root.Close()
}

// isReserved reports whether a name lies where no file of a user's can.
func isReserved(name string) bool { return name == Reserved || strings.HasPrefix(name, Reserved+"/") }

// Counts tells what was asked of the directory so far.
func (s *Source) Counts() backends.Counts {
	s.mu.Lock()
	hidden := int64(len(s.hidden))
	s.mu.Unlock()
	return backends.Counts{
		List: s.list.Load(), Head: s.head.Load(), Get: s.get.Load(), Put: s.put.Load(), Delete: s.remove.Load(),
		BytesIn: s.in.Load(), BytesOut: s.out.Load(), HiddenKeys: hidden,
	}
}

// Trouble tells that the disk is not there.
func (s *Source) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// Abilities are those of a file system.
func (*Source) Abilities() backends.Abilities {
	return backends.Abilities{Conditions: backends.Able, Checksums: backends.Able}
}

func (s *Source) hide(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hidden) < maxHidden {
		s.hidden[name] = true
	}
}
