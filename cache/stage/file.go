package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"studyfs/backends"
)

// File is an open handle on a staged file. Its methods are safe for concurrent use, but for Close, which is the last one.
type File struct {
	s     *Stage
	it    *item
	f     *blob
	write bool
	once  sync.Once
}

// ID is the number of what is open.
func (f *File) ID() ID { return f.it.id }

// Info is a snapshot with the size as it is now. It works for what was renamed, removed or stored meanwhile, too.
func (f *File) Info() Info {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	_, _ = f.s.look(f.it, f.f) // else it is as it was seen last
	return f.it.info()
}

// Local is the staged file itself, for the kernel to read and write: the File's until Close. Nil where it is encrypted.
func (f *File) Local() *os.File {
	if f.f.v != nil {
		return nil
	}
	return f.f.f
}

// Seek is lseek(2) with SEEK_DATA and SEEK_HOLE. It moves nothing.
func (f *File) Seek(off int64, whence int) (int64, error) { return f.f.seek(off, whence) }

// ReadAt reads like [os.File.ReadAt].
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// WriteAt writes like [os.File.WriteAt], within the quota. It is for mounts where the kernel does not write by itself.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.s.room.admit(int64(len(p))); err != nil {
		return 0, err
	}
	return f.f.WriteAt(p, off)
}

// Truncate sets the size.
func (f *File) Truncate(size int64) error { return f.f.truncate(size) }

// Allocate is fallocate(2).
func (f *File) Allocate(off, n int64, mode uint32) error {
	const punch = 2
	if mode&punch == 0 {
		if err := f.s.room.admit(n); err != nil {
			return err
		}
	}
	return f.f.allocate(mode, off, n)
}

// Flush is close(2): what is there is sealed, so that it survives any crash. With Remote it returns when that is stored at the source, or
// tells why it cannot be. With Relaxed it does nothing.
//
// Where there are Rules, under Relaxed too, what is there is sealed and then judged. ErrRefused: it is kept, but goes nowhere.
func (f *File) Flush(ctx context.Context) error {
	if !f.write || f.s.o.Durability == Relaxed && f.s.o.Rules == nil {
		return nil
	}
	if err := f.s.seal(f.it, f.f); err != nil {
		return err
	}
	if err := f.s.weigh(f.it, f.f); err != nil || f.s.o.Durability != Remote {
		return err
	}
	return f.s.await(ctx, f.it)
}

// Sync is fsync(2): as Flush, under Relaxed too; attributes that were changed are durable afterwards as well.
func (f *File) Sync(ctx context.Context) error {
	if err := f.s.seal(f.it, f.f); err != nil {
		return err
	}
	if err := f.s.journal.wait(f.s.journal.newest(), true); err != nil || f.s.o.Durability != Remote {
		return err
	}
	return f.s.await(ctx, f.it)
}

// Close lets go of the file. With the last handle that may write, the time of quiet begins.
func (f *File) Close() error {
	var err error
	f.once.Do(func() { err = f.close() })
	return err
}

func (f *File) close() error {
	s, it := f.s, f.it
	s.mu.Lock()
	l, lookErr := s.look(it, f.f)
	if f.write {
		it.writers--
		it.touched = s.o.Now()
	} else {
		s.readTo(it)
	}
	drop := false
	if f.write && it.writers == 0 && !it.gone {
		drop = it.copied != nil && *it.copied == l.mark && lookErr == nil && !s.closed
		if drop {
			s.discard(it)
			s.journal.add(record{Kind: kindDrop, ID: it.id})
		} else {
			s.enqueue(it)
		}
	}
	name := it.name
	s.signal()
	s.mu.Unlock()
	if drop {
		s.erase(it)
		s.changed(name)
	}
	if err := errors.Join(lookErr, f.f.Close()); err != nil {
		return fmt.Errorf("staged file: %w", err)
	}
	return nil
}

// OpenFile opens what is staged. To write, an upload of it that is under way is ended first. backends.ErrNotExist says that it is not
// staged any more: it was removed, or stored meanwhile.
func (s *Stage) OpenFile(ctx context.Context, id ID, write bool) (*File, error) {
	if write {
		if err := s.room.admit(0); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	it, err := s.idle(ctx, func() *item { return s.items[id] }, write)
	if err == nil && (it == nil || !it.hasFile() || !it.named()) {
		err = backends.ErrNotExist
	}
	if err == nil && write {
		err = s.usable()
	}
	if err != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("open staged file: %w", err)
	}
	it.count(write, 1)
	it.opened = true
	s.mu.Unlock()
	f, err := s.openItem(it)
	if err != nil {
		s.mu.Lock()
		it.count(write, -1)
		s.mu.Unlock()
		return nil, fmt.Errorf("open staged file: %w", err)
	}
	return &File{s: s, it: it, f: f, write: write}, nil
}

func (it *item) count(write bool, by int) {
	if write {
		it.writers += by
	} else {
		it.readers += by
	}
}

// idle returns what find finds, when no job has it any more; with busy false it does not matter. The caller holds mu, which is let
// go of meanwhile.
func (s *Stage) idle(ctx context.Context, find func() *item, busy bool) (*item, error) {
	for {
		it := find()
		if it == nil || it.job == nil || !busy {
			return it, nil
		}
		job := it.job
		it.wanted++ // or it could be handed out again before we see that it is free
		s.mu.Unlock()
		job.cancel()
		select {
		case <-job.done:
		case <-ctx.Done():
		}
		s.mu.Lock()
		s.leaveBe([]*item{it})
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
