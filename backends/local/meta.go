package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/minio/crc64nvme"
	"golang.org/x/sys/unix"

	"studyfs/backends"
)

// What lies beside the bytes.
const (
	attrFile    = "user.studyfs"         // of a file: note, as text
	attrImplied = "user.studyfs.implied" // of a folder that was made only because a file lies in it: it goes with the last one
)

const maxNote = 4096

// note is what a file was stored with. The checksum holds for as long as size and time are those of the file.
type note struct {
	crc   uint64
	size  int64
	mtime int64
	meta  map[string]string
}

func (n note) text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%016x %d %d\n", n.crc, n.size, n.mtime)
	for _, k := range slices.Sorted(maps.Keys(n.meta)) {
		fmt.Fprintf(&b, "%s=%s\n", k, n.meta[k])
	}
	return b.Bytes()
}

func parseNote(text []byte) (note, bool) {
	n := note{meta: map[string]string{}}
	first, rest, _ := strings.Cut(string(text), "\n")
	if _, err := fmt.Sscanf(first, "%x %d %d", &n.crc, &n.size, &n.mtime); err != nil {
		return note{}, false
	}
	for line := range strings.Lines(rest) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			n.meta[k] = v
		}
	}
	return n, true
}

// setNote writes it, unless the disk keeps no such things.
func setNote(f *os.File, n note) error {
	err := unix.Fsetxattr(int(f.Fd()), attrFile, n.text(), 0) //nolint:gosec // a file descriptor fits
	if err == nil || lacksAttrs(err) {
		return nil
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ERANGE) {
		return fmt.Errorf("%w: its metadata", backends.ErrTooLarge)
	}
	return err
}

func lacksAttrs(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

func noteOf(f *os.File) (note, bool) {
	buf := make([]byte, maxNote)
	n, err := unix.Fgetxattr(int(f.Fd()), attrFile, buf) //nolint:gosec // a file descriptor fits
	if err != nil {
		return note{}, false
	}
	return parseNote(buf[:n])
}

// imply marks a folder as made for what lies in it, or as meant to be there.
func imply(root *os.Root, dir string, implied bool) {
	f, err := root.Open(dir)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read
	if implied {
		unix.Fsetxattr(int(f.Fd()), attrImplied, []byte("1"), 0) //nolint:errcheck,gosec // without it, the folder stays
		return
	}
	unix.Fremovexattr(int(f.Fd()), attrImplied) //nolint:errcheck,gosec // it has none as a rule
}

func isImplied(root *os.Root, dir string) bool {
	f, err := root.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()                                                    //nolint:errcheck // only read
	_, err = unix.Fgetxattr(int(f.Fd()), attrImplied, make([]byte, 8)) //nolint:gosec // a file descriptor fits
	return err == nil
}

// sumOf reads a file to its end.
func sumOf(ctx context.Context, f *os.File) (sum uint64, size int64, err error) {
	buf := make([]byte, pieceSize)
	for {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		n, err := f.ReadAt(buf, size)
		sum = crc64nvme.Update(sum, buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return sum, size, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

// Examine tells what a file was stored with. Where the note of its checksum is missing or too old, the file is read.
func (s *Source) Examine(ctx context.Context, name string) (backends.Stored, error) {
	s.head.Add(1)
	out, err := s.examine(ctx, name)
	if err != nil {
		return backends.Stored{}, failed("examine", name, err)
	}
	return out, nil
}

func (s *Source) examine(ctx context.Context, name string) (backends.Stored, error) {
	root, err := s.open(ctx, false)
	if err != nil {
		return backends.Stored{}, err
	}
	defer root.Close() //nolint:errcheck // only read
	now, err := s.look(root, name)
	if err == nil && now.isDir() {
		err = backends.ErrNotExist
	}
	if err != nil {
		return backends.Stored{}, err
	}
	return examineVersion(ctx, root, now.entry(name))
}

func examineVersion(ctx context.Context, root *os.Root, e backends.Entry) (backends.Stored, error) {
	f, err := openVersion(root, e)
	if err != nil {
		return backends.Stored{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	n, ok := noteOf(f)
	out := backends.Stored{Entry: e, Meta: n.meta, CRC64NVME: n.crc, HasCRC: true}
	if ok && n.size == e.Size && n.mtime == e.ModTime.UnixNano() {
		return out, nil
	}
	if out.CRC64NVME, _, err = sumOf(ctx, f); err == nil {
		err = sameVersion(f, e)
	}
	return out, err
}
