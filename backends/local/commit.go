package local

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// lock keeps everybody else of studyfs, here and in other processes, from changing names until unlock is called.
func (s *Source) lock(ctx context.Context, root *os.Root) (unlock func(), err error) {
	select {
	case s.commit <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := root.OpenFile(Reserved+"/lock", os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		<-s.commit
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX) //nolint:gosec // a file descriptor fits
		if !errors.Is(err, unix.EINTR) {
			break // a disk without locks is used by one machine, we hope
		}
	}
	return func() {
		f.Close() //nolint:errcheck // that unlocks it
		<-s.commit
	}, nil
}

// appear gives a finished file its name, in the place of what the caller knows to be there.
func (s *Source) appear(ctx context.Context, root *os.Root, p *part, u backends.Upload) (backends.Entry, error) {
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return backends.Entry{}, err
	}
	e, done, err := s.inTheWay(ctx, root, u)
	if err != nil || done {
		unlock()
		return e, err
	}
	dir, _ := backends.Split(u.Name)
	made, err := s.mkdirs(root, dir, true)
	if err == nil && u.Old == (backends.Entry{}) {
		err = renameNew(root, p.name, u.Name)
	} else if err == nil {
		err = root.Rename(p.name, u.Name)
	}
	unlock()
	if errors.Is(err, os.ErrExist) {
		err = backends.ErrChanged
	}
	if err != nil {
		return backends.Entry{}, err
	}
	if err := syncDirs(root, append(made, dir)); err != nil {
		return backends.Entry{}, err
	}
	return s.entryOf(p.f, u.Name)
}

// entryOf is what a listing will show of an open file.
func (*Source) entryOf(f *os.File, name string) (backends.Entry, error) {
	info, err := f.Stat()
	if err != nil {
		return backends.Entry{}, err
	}
	now, err := factsOfInfo(info)
	return now.entry(name), err
}

// renameNew renames a file to a name that nothing may have. Network file systems offer one way or the other; where there is neither, the
// look under the lock has to do.
func renameNew(root *os.Root, from, to string) error {
	fromDir, fromBase := backends.Split(from)
	toDir, toBase := backends.Split(to)
	src, err := root.Open(at(fromDir))
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read
	dst, err := root.Open(at(toDir))
	if err != nil {
		return err
	}
	defer dst.Close() //nolint:errcheck // only read
	err = renameOnly(src, fromBase, dst, toBase)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	err = root.Link(from, to)
	switch {
	case err == nil:
		return root.Remove(from)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS):
		return root.Rename(from, to)
	}
	return err
}

// at is a folder's name as the operating system wants it.
func at(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// mkdirs makes a folder and those above it, and returns the folders that have a new one in them.
func (*Source) mkdirs(root *os.Root, dir string, implied bool) (changed []string, err error) {
	if dir == "" {
		return nil, nil
	}
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		switch err := root.Mkdir(dir[:i], 0o777); {
		case err == nil:
			imply(root, dir[:i], implied || i < len(dir))
			up, _ := backends.Split(dir[:i])
			changed = append(changed, up)
		case !errors.Is(err, os.ErrExist):
			return changed, err
		}
	}
	if !implied {
		imply(root, dir, false)
	}
	return changed, nil
}

func syncDirs(root *os.Root, dirs []string) error {
	for _, dir := range dirs {
		f, err := root.Open(at(dir))
		if err != nil {
			return err
		}
		err = f.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) { // not every network file system can
			err = nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes an empty folder that stays.
func (s *Source) mkdir(ctx context.Context, root *os.Root, u backends.Upload) (backends.Entry, error) {
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return backends.Entry{}, err
	}
	var made []string
	now, err := s.look(root, u.Name)
	switch {
	case err == nil && !now.isDir():
		err = backends.ErrChanged
	case err == nil || errors.Is(err, backends.ErrNotExist):
		made, err = s.mkdirs(root, u.Name, false)
	}
	unlock()
	if err == nil {
		err = syncDirs(root, made)
	}
	if err == nil {
		now, err = lstat(root, u.Name)
	}
	if err != nil {
		return backends.Entry{}, err
	}
	return now.entry(u.Name), nil
}

// Copy copies a file on the disk, by its own means where it has some. Onto itself, only the metadata change.
func (s *Source) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	s.put.Add(1)
	u.Size, u.Resume, u.Checkpoint, u.Sent = 0, nil, nil, nil
	e, err := s.write(ctx, u, func(root *os.Root) (backends.Entry, error) {
		if from.Dir {
			return s.mkdir(ctx, root, u)
		}
		if u.Name == from.Name {
			return s.touch(ctx, root, from, u)
		}
		return s.copyFile(ctx, root, from, u)
	})
	if err != nil {
		return backends.Entry{}, failed("copy "+from.Name+" to", u.Name, err)
	}
	return e, nil
}

// touch writes other metadata.
func (s *Source) touch(ctx context.Context, root *os.Root, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	if u.Old.Version != from.Version {
		return backends.Entry{}, backends.ErrChanged
	}
	there, err := examineVersion(ctx, root, from)
	if err != nil {
		return backends.Entry{}, err
	}
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return backends.Entry{}, err
	}
	defer unlock()
	f, err := openVersion(root, from)
	if err != nil {
		return backends.Entry{}, err
	}
	defer f.Close() //nolint:errcheck // it is synced
	if err := setNote(f, note{crc: there.CRC64NVME, size: from.Size, mtime: from.ModTime.UnixNano(), meta: u.Meta}); err != nil {
		return backends.Entry{}, err
	}
	if err := f.Sync(); err != nil {
		return backends.Entry{}, err
	}
	return s.entryOf(f, from.Name)
}

func (s *Source) copyFile(ctx context.Context, root *os.Root, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	there, err := examineVersion(ctx, root, from)
	if err != nil {
		return backends.Entry{}, err
	}
	u.Size, u.CRC64NVME = from.Size, there.CRC64NVME
	if now, err := s.look(root, u.Name); (err == nil) != (u.Old != (backends.Entry{})) || err == nil && now.version() != u.Old.Version {
		return backends.Entry{}, backends.ErrChanged
	}
	src, err := openVersion(root, from)
	if err != nil {
		return backends.Entry{}, err
	}
	defer src.Close() //nolint:errcheck // only read
	p, err := beginPart(root, u)
	if err != nil {
		return backends.Entry{}, err
	}
	defer p.end(root, false)
	if _, err := p.f.ReadFrom(src); err != nil { // copy_file_range
		return backends.Entry{}, err
	}
	switch sum, size, err := sumOf(ctx, p.f); {
	case err != nil:
		return backends.Entry{}, err
	case sum != u.CRC64NVME || size != u.Size:
		return backends.Entry{}, backends.ErrChanged
	}
	if err := s.describe(p.f, p.name, u, root); err != nil {
		return backends.Entry{}, err
	}
	return s.appear(ctx, root, p, u)
}

// Remove deletes exactly this version of a file, and the folders above it that were only there for it; or an empty folder.
func (s *Source) Remove(ctx context.Context, e backends.Entry) error {
	s.remove.Add(1)
	_, err := s.write(ctx, backends.Upload{Name: e.Name}, func(root *os.Root) (backends.Entry, error) {
		return backends.Entry{}, s.removeFrom(ctx, root, e)
	})
	if err != nil {
		return failed("remove", e.Name, err)
	}
	return nil
}

func (s *Source) removeFrom(ctx context.Context, root *os.Root, e backends.Entry) error {
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := s.look(root, e.Name)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return nil
	case err != nil:
		return err
	case now.isDir() != e.Dir, !e.Dir && now.version() != e.Version:
		return backends.ErrChanged
	}
	err = root.Remove(e.Name)
	if e.Dir && (errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)) {
		return nil // it stands for more than the empty folder
	}
	if err != nil {
		return err
	}
	dir := prune(root, e.Name)
	return syncDirs(root, []string{dir})
}

// prune removes the folders above a name that nothing lies in and nobody asked for, and returns the lowest that is left.
func prune(root *os.Root, name string) string {
	dir := name
	for strings.Contains(dir, "/") {
		dir, _ = backends.Split(dir)
		if !isImplied(root, dir) || root.Remove(dir) != nil {
			return dir
		}
	}
	return ""
}
