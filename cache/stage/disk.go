package stage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// What lies in a stage's directory.
const (
	filesDir      = "files"      // staged files, and sidecars of those that cannot have labels
	quarantineDir = "quarantine" // what could not be understood
	journalName   = "journal"
	headerName    = "header"
	lockName      = "lock"
	ballastName   = "ballast"
	sidecarExt    = ".meta"
	tempExt       = ".tmp"
)

// labelAttr is the extended attribute that holds the label of a staged file.
const labelAttr = "user.studyfs.item"

// maxLabel is how long a label may be: ext4 keeps all attributes of a file in one block, and small ones cost no block at all.
const maxLabel = 2 << 10

type opKind uint8

const (
	opMkdir opKind = iota
	opCreate
	opOpen
	opRead
	opWrite
	opTruncate
	opAllocate
	opSync    // of bytes and size
	opSyncAll // of attributes, too
	opLabel
	opSyncDir
	opRename
	opRemove
	opCopy
)

// op is one call on the local disk. Paths are relative to the stage's directory.
type op struct {
	kind     opKind
	path, to string
	off      int64
	data     []byte // what is written
	size     int64
}

// errShort, from a hook, makes a write stop half way.
var errShort = errors.New("short write")

// disk is the one place where a stage touches the local disk, but for what the kernel writes into staged files by itself. Tests see
// each call before it happens and may fail it.
type disk struct {
	dir    string
	hook   func(op) error
	keys   *ciphers // nil: the stage lies there in clear
	vaults vaults
	made   atomic.Bool // a name in filesDir was made since syncMade
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *disk) before(o op) error {
	if d.hook == nil {
		return nil
	}
	return d.hook(o)
}

// makeAll makes the directories, durably: a file is only as safe as the directories that lead to it.
func (d *disk) makeAll() error {
	there := d.dir // the lowest directory that is there
	for ; there != filepath.Dir(there); there = filepath.Dir(there) {
		if _, err := os.Stat(there); err == nil {
			break
		}
	}
	for _, name := range []string{"", filesDir, quarantineDir} {
		if err := d.before(op{kind: opMkdir, path: name}); err != nil {
			return err
		}
		if err := os.MkdirAll(d.path(name), 0o700); err != nil {
			return err
		}
	}
	if err := d.syncDir(""); err != nil {
		return err
	}
	for up := ".."; there != d.path(up[:len(up)-2]); up += "/.." {
		if err := d.syncDir(up); err != nil {
			return err
		}
	}
	return nil
}

// open opens a file for reading and writing; with create it must not exist.
func (d *disk) open(name string, create bool) (*os.File, error) {
	kind, flags := opOpen, os.O_RDWR
	if create {
		kind, flags = opCreate, os.O_RDWR|os.O_CREATE|os.O_EXCL
	}
	if err := d.before(op{kind: kind, path: name}); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path(name), flags|unix.O_NOFOLLOW, 0o600)
	if create {
		d.noteMade(name)
	}
	return f, err
}

// noteMade is called after a name was made: a syncMade that has begun before does not count.
func (d *disk) noteMade(name string) {
	if strings.HasPrefix(name, filesDir+"/") {
		d.made.Store(true)
	}
}

// syncMade makes the names of staged files durable. It waits for nothing if none was made since the last time. What was removed may come back.
func (d *disk) syncMade() error {
	if !d.made.Swap(false) {
		return nil
	}
	err := d.syncDir(filesDir)
	if err != nil {
		d.made.Store(true)
	}
	return err
}

func (d *disk) readAll(name string) ([]byte, error) {
	if err := d.before(op{kind: opRead, path: name}); err != nil {
		return nil, err
	}
	return os.ReadFile(d.path(name))
}

func (d *disk) writeAt(name string, f *os.File, p []byte, off int64) (int, error) {
	err := d.before(op{kind: opWrite, path: name, off: off, data: p})
	if errors.Is(err, errShort) {
		n, _ := f.WriteAt(p[:len(p)/2], off)
		return n, io.ErrShortWrite
	}
	if err != nil {
		return 0, err
	}
	return f.WriteAt(p, off)
}

func (d *disk) truncate(name string, f *os.File, size int64) error {
	if err := d.before(op{kind: opTruncate, path: name, size: size}); err != nil {
		return err
	}
	return f.Truncate(size)
}

func (d *disk) allocate(name string, f *os.File, mode uint32, off, n int64) error {
	if err := d.before(op{kind: opAllocate, path: name, off: off, size: n}); err != nil {
		return err
	}
	return fallocate(f, mode, off, n)
}

// sync makes a file's bytes and size durable.
func (d *disk) sync(name string, f *os.File) error {
	if err := d.before(op{kind: opSync, path: name}); err != nil {
		return err
	}
	return datasync(f)
}

// syncAll makes a file's bytes, size and label durable.
func (d *disk) syncAll(name string, f *os.File) error {
	if err := d.before(op{kind: opSyncAll, path: name}); err != nil {
		return err
	}
	return f.Sync()
}

// syncDir makes the names in a directory durable.
func (d *disk) syncDir(name string) error {
	if err := d.before(op{kind: opSyncDir, path: name}); err != nil {
		return err
	}
	f, err := os.Open(d.path(name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// label gives an open file a label, in the place of the one it has. Not every file system has labels.
func (d *disk) label(name string, f *os.File, raw []byte) error {
	if err := d.before(op{kind: opLabel, path: name, data: raw}); err != nil {
		return err
	}
	return unix.Fsetxattr(int(f.Fd()), labelAttr, raw, 0)
}

// unlabel takes the label from a file, if it has one.
func (d *disk) unlabel(name string) error {
	if err := d.before(op{kind: opLabel, path: name}); err != nil {
		return err
	}
	err := unix.Lremovexattr(d.path(name), labelAttr)
	if errors.Is(err, errNoLabel) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// readLabel returns the label of a file; empty where it has none.
func (d *disk) readLabel(name string) ([]byte, error) {
	if err := d.before(op{kind: opRead, path: name}); err != nil {
		return nil, err
	}
	raw := make([]byte, maxLabel)
	n, err := unix.Lgetxattr(d.path(name), labelAttr, raw)
	if errors.Is(err, errNoLabel) || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	return raw[:max(n, 0)], err
}

func (d *disk) rename(from, to string) error {
	if err := d.before(op{kind: opRename, path: from, to: to}); err != nil {
		return err
	}
	err := os.Rename(d.path(from), d.path(to))
	d.noteMade(to)
	return err
}

func (d *disk) remove(name string) error {
	if err := d.before(op{kind: opRemove, path: name}); err != nil {
		return err
	}
	err := os.Remove(d.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// replace writes a file under a temporary name, syncs it and gives it its name. The name is durable after a syncDir.
func (d *disk) replace(name string, data []byte) error {
	f, err := d.draft(name, data)
	if err != nil {
		return err
	}
	return d.publish(name, f)
}

// draft writes a file under a temporary name.
func (d *disk) draft(name string, data []byte) (*os.File, error) {
	temp := name + tempExt
	if err := d.remove(temp); err != nil {
		return nil, err
	}
	f, err := d.open(temp, true)
	if err != nil {
		return nil, err
	}
	if _, err = d.writeAt(temp, f, data, 0); err != nil {
		return nil, errors.Join(err, f.Close(), d.remove(temp))
	}
	return f, nil
}

// publish syncs what draft has written, closes it and gives it its name.
func (d *disk) publish(name string, f *os.File) error {
	temp := name + tempExt
	if err := errors.Join(d.sync(temp, f), f.Close()); err != nil {
		return errors.Join(err, d.remove(temp))
	}
	return d.rename(temp, name)
}

// begin has the disk begin to take a file's bytes, so that a sync that follows has less to wait for. It promises nothing.
func (*disk) begin(f *os.File) { writeOut(f) }

// list returns the regular files in a directory, sorted, and what else is there.
func (d *disk) list(dir string) (files, others []string, err error) {
	f, err := os.Open(d.path(dir))
	if err != nil {
		return nil, nil, err
	}
	all, err := f.ReadDir(-1) // not os.ReadDir, which sorts what is slower to sort
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, err
	}
	for _, e := range all {
		if e.Type().IsRegular() {
			files = append(files, e.Name())
		} else {
			others = append(others, e.Name())
		}
	}
	slices.Sort(files)
	return files, others, nil
}

// mark tells whether a file was written to since: size and modification time move with every write, through a mapping too
// (when the page is first written to).
type mark struct {
	Size  int64 `json:"size"`
	MTime int64 `json:"mtime"` // Unix nanoseconds
}

// looked is what a look at a staged file tells.
type looked struct {
	mark
	blocks int64 // bytes that it takes on the disk
}

// notches is how many marks can be told apart within one tick, and how far they set times back.
const notches = 1000

// notch sets a file's modification time a little back and returns the mark of the file since. Before Linux 6.13, file systems take times
// from a clock that ticks every few milliseconds: a write that follows in the same tick would not show without it. n makes marks within one
// tick differ. What is written while notch looks is taken for written after it.
func (d *disk) notch(name string, f *os.File, was looked, n int64) (mark, error) {
	back := was.MTime - 1 - n%notches
	if err := setModTime(d.path(name), back); err != nil && !errors.Is(err, unix.ENOENT) {
		return mark{}, fmt.Errorf("staged file: %w", err) // ENOENT: removed while open
	}
	l, err := lookAt(f)
	if err != nil || l.MTime > was.MTime {
		return mark{was.Size, back}, err
	}
	return l.mark, nil // with the time as the file system has rounded it
}

func lookAt(f *os.File) (looked, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return looked{}, fmt.Errorf("staged file: %w", err)
	}
	return lookedOf(&st), nil
}

// look is lookAt by name: cheap enough under a lock, and never waits for a network.
func (d *disk) look(name string) (looked, error) {
	var st unix.Stat_t
	if err := unix.Lstat(d.path(name), &st); err != nil {
		return looked{}, fmt.Errorf("staged file: %w", err)
	}
	return lookedOf(&st), nil
}

func lookedOf(st *unix.Stat_t) looked {
	return looked{mark: mark{st.Size, st.Mtim.Nano()}, blocks: st.Blocks * 512}
}

// free tells how many bytes of the disk are free, and how many it has.
func (d *disk) free() (free, total int64, err error) {
	if free, total, err = freeBytes(d.dir); err != nil {
		return 0, 0, fmt.Errorf("staging disk: %w", err)
	}
	return free, total, nil
}
