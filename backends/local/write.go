package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"studyfs/backends"
)

const (
	pieceSize  = 1 << 20
	partSuffix = ".part"
	// partAge is how long what was begun waits to be resumed: longer than a stage would rest over a holiday.
	partAge = 30 * 24 * time.Hour
	maxMeta = 2048 // what the contract promises that fits
)

// Put writes a file beside its place, syncs it, reads it back and puts it into its place. An interrupted one is resumed: what was
// written stays, and the checksum over all of it tells whether it was the right thing.
//
// Old is compared and replaced under a lock that all programs of studyfs take. Another program that replaces the file in the
// microseconds between loses its version.
func (s *Source) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	s.put.Add(1)
	e, err := s.write(ctx, u, func(root *os.Root) (backends.Entry, error) {
		if u.Dir {
			return s.mkdir(ctx, root, u)
		}
		return s.putFile(ctx, root, u, r)
	})
	if err != nil {
		return backends.Entry{}, failed("put", u.Name, err)
	}
	return e, nil
}

// write opens the directory for something that changes it.
func (s *Source) write(ctx context.Context, u backends.Upload, do func(*os.Root) (backends.Entry, error)) (backends.Entry, error) {
	if err := check(u); err != nil {
		return backends.Entry{}, err
	}
	root, err := s.open(ctx, true)
	if err != nil {
		return backends.Entry{}, err
	}
	defer root.Close() //nolint:errcheck // all is synced by then
	s.sweep(root)
	return do(root)
}

func check(u backends.Upload) error {
	if u.Name == "" || !backends.ValidName(u.Name) || isReserved(u.Name) {
		return backends.ErrName
	}
	if u.Size < 0 || u.Dir && u.Size != 0 {
		return fmt.Errorf("size %d", u.Size)
	}
	n := 0
	for k, v := range u.Meta {
		n += len(k) + len(v)
	}
	if n > maxMeta {
		return fmt.Errorf("%w: %d bytes of metadata", backends.ErrTooLarge, n)
	}
	return nil
}

func (s *Source) putFile(ctx context.Context, root *os.Root, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	switch e, done, err := s.inTheWay(ctx, root, u); { // before a large file is sent for nothing
	case err != nil:
		return backends.Entry{}, err
	case done:
		if u.Sent != nil {
			u.Sent(u.Size)
		}
		s.out.Add(u.Size)
		return e, nil
	}
	p, err := beginPart(root, u)
	if err != nil {
		return backends.Entry{}, err
	}
	err = s.fill(ctx, p, u, r)
	var e backends.Entry
	if err == nil {
		err = s.describe(p.f, p.name, u, root)
	}
	if err == nil {
		e, err = s.appear(ctx, root, p, u)
	}
	hopeless := errors.Is(err, backends.ErrChanged) || errors.Is(err, backends.ErrBadAnswer)
	p.end(root, err != nil && u.Checkpoint != nil && !hopeless)
	return e, err
}

// inTheWay reports whether something else than u.Old lies there: an error, unless it is what is to be stored.
func (s *Source) inTheWay(ctx context.Context, root *os.Root, u backends.Upload) (e backends.Entry, same bool, err error) {
	now, err := s.look(root, u.Name)
	gone := errors.Is(err, backends.ErrNotExist)
	switch {
	case err != nil && !gone:
		return e, false, err
	case gone && u.Old == (backends.Entry{}), !gone && u.Old.Version != "" && now.isRegular() && now.version() == u.Old.Version:
		return e, false, nil
	case gone, !now.isRegular(), now.size != u.Size:
		return e, false, backends.ErrChanged
	}
	there, err := examineVersion(ctx, root, now.entry(u.Name))
	if err == nil && there.CRC64NVME != u.CRC64NVME {
		err = backends.ErrChanged
	}
	return there.Entry, err == nil, err
}

// part is a file on its way.
type part struct {
	f    *os.File
	name string
	have int64 // bytes that an earlier try has written
}

// beginPart goes on with the file of an earlier try, or makes one.
func beginPart(root *os.Root, u backends.Upload) (*part, error) {
	if id := string(u.Resume); id != "" && !strings.ContainsAny(id, "/.\x00") {
		name := Reserved + "/" + id + partSuffix
		if f, err := root.OpenFile(name, os.O_RDWR, 0); err == nil {
			info, err := f.Stat()
			if err == nil && info.Mode().IsRegular() && info.Size() <= u.Size {
				return &part{f: f, name: name, have: info.Size() / pieceSize * pieceSize}, nil
			}
			f.Close() //nolint:errcheck // another takes its place
		}
	}
	id := rand.Text()
	name := Reserved + "/" + id + partSuffix
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	p := &part{f: f, name: name}
	if u.Checkpoint != nil {
		if err := u.Checkpoint([]byte(id)); err != nil {
			p.end(root, false)
			return nil, err
		}
	}
	return p, nil
}

// end lets go of it; it stays on the disk only where a later try will want it.
func (p *part) end(root *os.Root, keep bool) {
	p.f.Close() //nolint:errcheck // what counts has been synced
	if !keep {
		root.Remove(p.name) //nolint:errcheck // as a rule it has its name by now; else sweep takes it
	}
}

// fill writes the body, and reads it back. What was resumed and turns out to be something else is written once more.
func (s *Source) fill(ctx context.Context, p *part, u backends.Upload, r io.ReaderAt) error {
	for {
		if err := s.send(ctx, p, u, r); err != nil {
			return err
		}
		if err := p.f.Sync(); err != nil {
			return err
		}
		forget(p.f)
		sum, size, err := sumOf(ctx, p.f)
		switch {
		case err != nil:
			return err
		case sum == u.CRC64NVME && size == u.Size:
			return nil
		case p.have == 0:
			return fmt.Errorf("%w: another checksum", backends.ErrBadAnswer)
		}
		p.have = 0
		if u.Sent != nil {
			u.Sent(-u.Size)
		}
	}
}

func (s *Source) send(ctx context.Context, p *part, u backends.Upload, r io.ReaderAt) error {
	if err := p.f.Truncate(p.have); err != nil {
		return err
	}
	told := func(n int64) {
		if u.Sent != nil && n > 0 {
			u.Sent(n)
		}
	}
	told(p.have)
	buf := make([]byte, min(pieceSize, u.Size))
	for off := p.have; off < u.Size; {
		piece := buf[:min(int64(len(buf)), u.Size-off)]
		n, err := r.ReadAt(piece, off)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case n < len(piece) && (err == nil || errors.Is(err, io.EOF)):
			return fmt.Errorf("%w: after %d of %d bytes", io.ErrUnexpectedEOF, off+int64(n), u.Size)
		case n < len(piece):
			return err
		}
		if _, err := p.f.WriteAt(piece, off); err != nil {
			return err
		}
		off += int64(n)
		s.out.Add(int64(n))
		told(int64(n))
	}
	return ctx.Err()
}

// describe gives a file that is about to appear a time of its own, so that no other version has the same, and its note.
func (s *Source) describe(f *os.File, name string, u backends.Upload, root *os.Root) error {
	at := s.tick()
	if err := root.Chtimes(name, at, at); err != nil {
		return err
	}
	info, err := f.Stat() // not every disk keeps nanoseconds
	if err != nil {
		return err
	}
	if err := setNote(f, note{crc: u.CRC64NVME, size: info.Size(), mtime: info.ModTime().UnixNano(), meta: u.Meta}); err != nil {
		return err
	}
	return f.Sync()
}

// tick is now, or later: never the same twice.
func (s *Source) tick() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !now.After(s.last) {
		now = s.last.Add(time.Microsecond)
	}
	s.last = now
	return now
}

// sweep removes, once, what was begun long ago and never finished.
func (s *Source) sweep(root *os.Root) {
	s.mu.Lock()
	first := !s.swept
	s.swept = true
	s.mu.Unlock()
	if !first {
		return
	}
	f, err := root.Open(Reserved)
	if err != nil {
		return
	}
	defer f.Close()                //nolint:errcheck // only read
	names, _ := f.Readdirnames(-1) // what is missed is found next time
	for _, n := range names {
		info, err := root.Lstat(Reserved + "/" + n)
		if err == nil && strings.HasSuffix(n, partSuffix) && s.now().Sub(info.ModTime()) > partAge {
			root.Remove(Reserved + "/" + n) //nolint:errcheck // next time
		}
	}
}
