package stage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"studyfs/cache/stage/vault"
)

// blob is an open file of the stage, as it lies there or decrypted. It is safe for concurrent use, but for Close, which is the last call.
type blob struct {
	d    *disk
	name string
	f    *os.File
	v    *vault.File // nil: it lies there in clear
	let  func() error
}

// vaults are the encrypted files that are open: all who have one open share it, since it minds what was sealed.
type vaults struct {
	mu   sync.Mutex // guards open; what opens a local file happens under it
	open map[string]*openVault
}

type openVault struct {
	v    *vault.File
	f    *os.File
	refs int
}

// onDisk is a local file as a vault sees it.
type onDisk struct {
	*os.File
	d    *disk
	name string
}

func (o onDisk) WriteAt(p []byte, off int64) (int, error) { return o.d.writeAt(o.name, o.File, p, off) }

func (o onDisk) Truncate(size int64) error { return o.d.truncate(o.name, o.File, size) }

// create makes a file of the stage, encrypted if the stage is. number is one that no other has.
func (d *disk) create(name string, number ID) (*blob, error) {
	if d.keys == nil {
		f, err := d.open(name, true)
		return &blob{d: d, name: name, f: f}, err
	}
	d.vaults.mu.Lock()
	defer d.vaults.mu.Unlock()
	f, err := d.open(name, true)
	if err != nil {
		return nil, err
	}
	v, err := d.keys.files.Create(onDisk{f, d, name}, uint64(number))
	if err != nil {
		return nil, errors.Join(err, f.Close(), d.remove(name))
	}
	return d.share(name, &openVault{v: v, f: f}), nil
}

// openBlob opens a file of the stage. trusted is what is known of an encrypted one: nil of a clear one.
func (d *disk) openBlob(name string, number ID, trusted *trust) (*blob, error) {
	if d.keys == nil || trusted == nil {
		f, err := d.open(name, false)
		return &blob{d: d, name: name, f: f}, err
	}
	d.vaults.mu.Lock()
	defer d.vaults.mu.Unlock()
	if o := d.vaults.open[name]; o != nil {
		return d.share(name, o), nil
	}
	f, err := d.open(name, false)
	if err != nil {
		return nil, err
	}
	v, err := d.openVault(name, f, number, trusted)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d.share(name, &openVault{v: v, f: f}), nil
}

// trust is what is known of an encrypted file.
type trust struct {
	epoch uint64
	marks []*mark // one that it has since nobody has written to it
}

func (d *disk) openVault(name string, f *os.File, number ID, t *trust) (*vault.File, error) {
	l, err := lookAt(f)
	if err != nil {
		return nil, err
	}
	now, clean := mark{vault.SizeOf(l.Size), l.MTime}, false
	for _, m := range t.marks {
		clean = clean || m != nil && *m == now
	}
	v, err := d.keys.files.Open(onDisk{f, d, name}, uint64(number), vault.State{Length: l.Size, Sealed: t.epoch, Clean: clean})
	if err != nil {
		return nil, fmt.Errorf("staged file: %w", err)
	}
	return v, nil
}

// share counts one more who has a file open. The caller holds mu of the vaults.
func (d *disk) share(name string, o *openVault) *blob {
	o.refs++
	d.vaults.open[name] = o
	return &blob{d: d, name: name, f: o.f, v: o.v, let: func() error {
		d.vaults.mu.Lock()
		defer d.vaults.mu.Unlock()
		if o.refs--; o.refs > 0 {
			return nil
		}
		if d.vaults.open[name] == o {
			delete(d.vaults.open, name)
		}
		return o.f.Close()
	}}
}

// openItem opens the file of an item. The caller does not hold mu.
func (s *Stage) openItem(it *item) (*blob, error) {
	s.mu.Lock()
	var t *trust
	if it.locked {
		t = &trust{it.epoch, []*mark{it.sealed, it.copied}}
	}
	s.mu.Unlock()
	return s.disk.openBlob(fileName(it.id), it.id, t)
}

// Close lets go of the file.
func (b *blob) Close() error {
	if b.let != nil {
		return b.let()
	}
	return b.f.Close()
}

// ReadAt reads like [os.File.ReadAt].
func (b *blob) ReadAt(p []byte, off int64) (int, error) {
	if b.v != nil {
		return b.v.ReadAt(p, off)
	}
	return b.f.ReadAt(p, off)
}

// WriteAt writes like [os.File.WriteAt].
func (b *blob) WriteAt(p []byte, off int64) (int, error) {
	if b.v != nil {
		return b.v.WriteAt(p, off)
	}
	return b.d.writeAt(b.name, b.f, p, off)
}

func (b *blob) truncate(size int64) error {
	if b.v != nil {
		return b.v.Truncate(size)
	}
	return b.d.truncate(b.name, b.f, size)
}

// allocate is fallocate(2). In an encrypted file, room is kept for what is written for the first time, and what is punched out is zeros but
// gives no room back; ranges cannot be moved.
func (b *blob) allocate(mode uint32, off, n int64) error {
	if b.v == nil {
		return b.d.allocate(b.name, b.f, mode, off, n)
	}
	const keep, punch, zero = keepSize, punchHole, zeroRange
	switch mode {
	case punch | keep:
		return b.v.Zero(off, n)
	case zero, zero | keep:
		if err := b.v.Zero(off, n); err != nil {
			return err
		}
	case 0, keep:
	default:
		return unix.EOPNOTSUPP
	}
	err := vault.Places(off, n, func(at, n int64) error { return b.d.allocate(b.name, b.f, keep, at, n) })
	if err != nil || mode&keep != 0 {
		return err
	}
	return b.v.Grow(off + n)
}

// seek is lseek(2) for SEEK_DATA and SEEK_HOLE.
func (b *blob) seek(off int64, whence int) (int64, error) {
	if b.v == nil {
		return unix.Seek(int(b.f.Fd()), off, whence)
	}
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	at, err := b.v.Next(off, whence == unix.SEEK_HOLE, func(at int64) int64 {
		data, err := unix.Seek(int(b.f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return -1
		}
		if err != nil {
			return at
		}
		return data
	})
	if err == nil && at < 0 {
		err = unix.ENXIO
	}
	return at, err
}

// look is lookAt of the file as programs see it.
func (b *blob) look() (looked, error) {
	l, err := lookAt(b.f)
	if b.v != nil {
		l.Size = b.v.Size()
	}
	return l, err
}

// lookItem is disk.look of the file of an item as programs see it. The caller holds mu.
func (s *Stage) lookItem(it *item) (looked, error) {
	l, err := s.disk.look(fileName(it.id))
	if it.locked {
		l.Size = vault.SizeOf(l.Size)
	}
	return l, err
}

// notch is that of the disk.
func (b *blob) notch(was looked, n int64) (mark, error) {
	m, err := b.d.notch(b.name, b.f, was, n)
	if b.v != nil {
		m.Size = was.Size
	}
	return m, err
}

// beginSeal notches the file; what is written from now on is not part of what is being sealed. The epoch is to be noted with the mark. ended is
// told whether the bytes are durable.
func (b *blob) beginSeal(was looked, n int64) (m mark, epoch uint64, ended func(durable bool), err error) {
	if b.v == nil {
		m, err = b.notch(was, n)
		return m, 0, func(bool) {}, err
	}
	epoch, err = b.v.Seal(func(size int64) error {
		l, err := lookAt(b.f)
		if err != nil {
			return err
		}
		l.Size = size
		m, err = b.notch(l, n)
		return err
	})
	return m, epoch, b.v.Sealed, err
}

// copyFrom writes size bytes of another file into this one, which is empty.
func (b *blob) copyFrom(from *blob, size int64, each func() error) error {
	if from.v == nil && b.v == nil {
		if _, err := from.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	for off := int64(0); off < size; {
		if err := each(); err != nil {
			return err
		}
		n, err := b.copyPiece(from, off, min(size-off, copyPiece))
		if off += n; err != nil {
			return err
		}
	}
	return nil
}

func (b *blob) copyPiece(from *blob, off, n int64) (int64, error) {
	if from.v == nil && b.v == nil {
		return io.CopyN(b.f, from.f, n) // copy_file_range
	}
	return io.Copy(io.NewOffsetWriter(b, off), io.NewSectionReader(from, off, n))
}
