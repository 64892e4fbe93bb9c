package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// facts are what the file system tells of a file.
type facts struct {
	mode           uint32
	ino            uint64
	size           int64
	mtime, changed int64 // nanoseconds
}

func factsOf(st *unix.Stat_t) facts {
	return facts{mode: uint32(st.Mode), ino: st.Ino, size: st.Size, mtime: st.Mtim.Nano(), changed: st.Ctim.Nano()} //nolint:unconvert // 16 bits on macOS
}

func factsOfInfo(info fs.FileInfo) (facts, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return facts{}, errors.New("the system tells too little of a file")
	}
	return factsOfStat(st), nil
}

func (f facts) isDir() bool     { return f.mode&unix.S_IFMT == unix.S_IFDIR }
func (f facts) isRegular() bool { return f.mode&unix.S_IFMT == unix.S_IFREG }

// version differs whenever the bytes differ, as far as the file system's clock can tell two changes apart. Files that are written here
// get times of their own.
func (f facts) version() string { return fmt.Sprintf("%x-%x-%x-%x", f.ino, f.size, f.mtime, f.changed) }

func (f facts) entry(name string) backends.Entry {
	e := backends.Entry{Name: name, Dir: f.isDir(), ModTime: time.Unix(0, f.mtime).UTC()}
	if !e.Dir {
		e.Size, e.Version = f.size, f.version()
	}
	return e
}

func lstat(root *os.Root, name string) (facts, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return facts{}, err
	}
	return factsOfInfo(info)
}

// List yields the children of dir.
func (s *Source) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		found, err := s.children(ctx, dir)
		if err != nil {
			yield(backends.Entry{}, failed("list", dir, err))
			return
		}
		for _, e := range found {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *Source) children(ctx context.Context, dir string) ([]backends.Entry, error) {
	s.list.Add(1)
	root, err := s.open(ctx, false)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // only read
	if !backends.ValidName(dir) || isReserved(dir) {
		return nil, nil
	}
	f, err := root.Open(cmp.Or(dir, "."))
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	names, err := f.Readdirnames(-1)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []backends.Entry
	for _, base := range names {
		e, ok, err := s.child(ctx, f, dir, base)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// child looks at one name in an open folder.
func (s *Source) child(ctx context.Context, f *os.File, dir, base string) (e backends.Entry, ok bool, err error) {
	name := backends.Join(dir, base)
	if isReserved(name) {
		return e, false, nil
	}
	if err := ctx.Err(); err != nil {
		return e, false, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(int(f.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW) //nolint:gosec // a file descriptor fits
	switch {
	case isGone(err): // removed meanwhile
		return e, false, nil
	case err != nil:
		return e, false, err
	}
	if now := factsOf(&st); backends.ValidName(name) && (now.isDir() || now.isRegular()) {
		return now.entry(name), true, nil
	}
	s.hide(name)
	return e, false, nil
}

// Stat returns one entry.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	s.head.Add(1)
	root, err := s.open(ctx, false)
	if err != nil {
		return backends.Entry{}, failed("stat", name, err)
	}
	defer root.Close() //nolint:errcheck // only read
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	now, err := s.look(root, name)
	if err != nil {
		return backends.Entry{}, failed("stat", name, err)
	}
	return now.entry(name), nil
}

// look is what lies under a name: ErrNotExist where nothing is shown.
func (*Source) look(root *os.Root, name string) (facts, error) {
	if name == "" || !backends.ValidName(name) || isReserved(name) {
		return facts{}, backends.ErrNotExist
	}
	now, err := lstat(root, name)
	switch {
	case isGone(err):
		return now, backends.ErrNotExist
	case err != nil:
		return now, err
	case !now.isDir() && !now.isRegular():
		return now, backends.ErrNotExist
	}
	return now, nil
}

// ReadRange reads a file whose version is looked at before the first and before the last byte is handed out.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off+n > e.Size {
		return nil, fmt.Errorf("read %s: range %d+%d of %d bytes", e.Name, off, n, e.Size)
	}
	s.get.Add(1)
	root, err := s.open(ctx, false)
	if err != nil {
		return nil, failed("read", e.Name, err)
	}
	defer root.Close() //nolint:errcheck // only read
	f, err := openVersion(root, e)
	if err != nil {
		return nil, failed("read", e.Name, err)
	}
	return &body{ctx: ctx, f: f, e: e, r: io.NewSectionReader(f, off, n), left: n, count: func(n int64) { s.in.Add(n) }}, nil
}

// openVersion opens exactly this version of a file. The caller closes it.
func openVersion(root *os.Root, e backends.Entry) (*os.File, error) {
	if e.Name == "" || !backends.ValidName(e.Name) || isReserved(e.Name) {
		return nil, backends.ErrNotExist
	}
	f, err := root.OpenFile(e.Name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // what has become a pipe must not make us wait
	if isGone(err) {
		return nil, backends.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if err := sameVersion(f, e); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func sameVersion(f *os.File, e backends.Entry) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := factsOfInfo(info)
	if err == nil && (!now.isRegular() || now.version() != e.Version) {
		err = backends.ErrChanged
	}
	return err
}

type body struct {
	ctx   context.Context //nolint:containedctx // of this read
	f     *os.File
	e     backends.Entry
	r     io.Reader
	left  int64
	count func(int64)
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.count(int64(n))
	if err != nil && (b.left > 0 || !errors.Is(err, io.EOF)) {
		if errors.Is(err, io.EOF) { // shorter than it was
			err = backends.ErrChanged
		}
		return 0, failed("read", b.e.Name, err)
	}
	if b.left == 0 {
		if err := sameVersion(b.f, b.e); err != nil {
			return 0, failed("read", b.e.Name, err)
		}
	}
	return n, nil
}

func (b *body) Close() error { return b.f.Close() }
