// Package suites runs what others test file systems with on a writable mount, and a random tester of its own.
package suites

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Fsx is a run of random operations on one file, each compared with the same on bytes in memory.
type Fsx struct {
	Path  string
	Seed  uint64
	Ops   int
	Max   int           // largest size of the file
	Mmap  bool          // also read and write through shared mappings
	Pause time.Duration // after some closes: long enough for the file to be uploaded in between
}

type fsx struct {
	Fsx

	f      *os.File
	want   []byte
	rnd    *rand.Rand
	log    []string       // what was done last
	counts map[string]int // by operation
	noHole bool           // the file system does not punch holes
}

// kept is how many operations a failure tells of.
const kept = 30

// Run makes the file, works on it and leaves it closed. It returns the bytes that the file then has, and how often each
// operation was done.
func (x Fsx) Run() (body []byte, counts map[string]int, err error) {
	r := &fsx{Fsx: x, rnd: rand.New(rand.NewPCG(x.Seed, 11)), counts: map[string]int{}}
	if r.f, err = os.OpenFile(x.Path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644); err != nil {
		return nil, nil, err
	}
	defer func() { r.f.Close() }()
	for i := range x.Ops {
		name, op := r.pick()
		r.counts[name]++
		if err := op(); err != nil {
			return nil, nil, fmt.Errorf("operation %d (%s, seed %d): %w\n%s", i, name, x.Seed, err, strings.Join(r.log, "\n"))
		}
		if i%500 == 499 {
			if err := r.whole(); err != nil {
				return nil, nil, fmt.Errorf("after operation %d (seed %d): %w\n%s", i, x.Seed, err, strings.Join(r.log, "\n"))
			}
		}
	}
	if err := r.reopen(); err != nil {
		return nil, nil, err
	}
	if err := r.whole(); err != nil {
		return nil, nil, fmt.Errorf("at the end (seed %d): %w\n%s", x.Seed, err, strings.Join(r.log, "\n"))
	}
	return r.want, r.counts, r.f.Close()
}

func (r *fsx) pick() (string, func() error) {
	n := r.rnd.IntN(100)
	switch {
	case n < 28:
		return "write", r.write
	case n < 34:
		return "append", r.append
	case n < 40:
		return "truncate", r.truncate
	case n < 70:
		return "read", r.read
	case n < 74:
		return "reopen", r.reopen
	case n < 76:
		return "fsync", r.sync
	case n < 78:
		return "stat", r.stat
	case n < 82 && !r.noHole:
		return "punch", r.punch
	case n < 91 && r.Mmap && len(r.want) > 0:
		return "mapped read", func() error { return r.mapped(false) }
	case n >= 91 && r.Mmap && len(r.want) > 0:
		return "mapped write", func() error { return r.mapped(true) }
	}
	return "read", r.read
}

func (r *fsx) note(format string, args ...any) {
	r.log = append(r.log, fmt.Sprintf(format, args...))
	if len(r.log) > kept {
		r.log = r.log[1:]
	}
}

// extent picks a place and a length below a limit; lengths are mostly small, places sometimes at borders of pages.
func (r *fsx) extent(limit int) (off, n int) {
	off = r.rnd.IntN(limit)
	if r.rnd.IntN(4) == 0 {
		off &^= 4095
	}
	longest := 4096 << r.rnd.IntN(6)
	return off, 1 + r.rnd.IntN(max(1, min(longest, limit-off)))
}

func (r *fsx) bytes(n int) []byte {
	p := make([]byte, n)
	var seed [32]byte
	seed[0], seed[1], seed[2] = byte(r.rnd.Uint32()), byte(r.rnd.Uint32()), byte(r.rnd.Uint32())
	rand.NewChaCha8(seed).Read(p)
	return p
}

func (r *fsx) write() error {
	off, n := r.extent(r.Max)
	p := r.bytes(n)
	r.note("write %d at %d (size %d)", n, off, len(r.want))
	if _, err := r.f.WriteAt(p, int64(off)); err != nil {
		return err
	}
	r.grow(off + n)
	copy(r.want[off:], p)
	return nil
}

func (r *fsx) grow(size int) {
	if size > len(r.want) {
		r.want = append(r.want, make([]byte, size-len(r.want))...)
	}
}

func (r *fsx) append() error {
	_, n := r.extent(r.Max)
	if n = min(n, r.Max-len(r.want)); n == 0 {
		return nil
	}
	p := r.bytes(n)
	r.note("append %d at %d", n, len(r.want))
	f, err := os.OpenFile(r.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.Write(p); err != nil {
		f.Close()
		return err
	}
	r.want = append(r.want, p...)
	return f.Close()
}

func (r *fsx) truncate() error {
	size := r.rnd.IntN(r.Max + 1)
	if r.rnd.IntN(3) > 0 { // near what it is: else it would always be small
		size = min(r.Max, max(0, len(r.want)+r.rnd.IntN(20_000)-10_000))
	}
	r.note("truncate from %d to %d", len(r.want), size)
	var err error
	if r.rnd.IntN(2) == 0 {
		err = r.f.Truncate(int64(size))
	} else {
		err = os.Truncate(r.Path, int64(size))
	}
	if err != nil {
		return err
	}
	r.grow(size)
	r.want = r.want[:size]
	return nil
}

func (r *fsx) read() error {
	off, n := r.extent(r.Max)
	r.note("read %d at %d (size %d)", n, off, len(r.want))
	p := make([]byte, n)
	got, err := r.f.ReadAt(p, int64(off))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return r.compare("read", off, p[:got], min(n, max(0, len(r.want)-off)))
}

// compare holds what was read at off against the bytes in memory, n of them.
func (r *fsx) compare(what string, off int, got []byte, n int) error {
	if len(got) != n {
		return fmt.Errorf("%s at %d: %d bytes instead of %d", what, off, len(got), n)
	}
	if n == 0 || bytes.Equal(got, r.want[off:off+n]) {
		return nil
	}
	for i := range got {
		if got[i] != r.want[off+i] {
			return fmt.Errorf("%s: byte %d is %#x, must be %#x", what, off+i, got[i], r.want[off+i])
		}
	}
	return nil
}

func (r *fsx) whole() error {
	got, err := os.ReadFile(r.Path)
	if err != nil {
		return err
	}
	return r.compare("the whole file", 0, got, len(r.want))
}

func (r *fsx) reopen() error {
	r.note("close and reopen (size %d)", len(r.want))
	if err := r.f.Close(); err != nil {
		return err
	}
	if r.Pause > 0 && r.rnd.IntN(20) == 0 {
		time.Sleep(r.Pause)
		r.note("after a pause")
	}
	var err error
	if r.f, err = os.OpenFile(r.Path, os.O_RDWR, 0); err != nil {
		return err
	}
	return r.stat()
}

func (r *fsx) sync() error { return r.f.Sync() }

func (r *fsx) stat() error {
	open, err := r.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(r.Path)
	if err != nil {
		return err
	}
	if open.Size() != int64(len(r.want)) || named.Size() != int64(len(r.want)) {
		return fmt.Errorf("size is %d by the handle, %d by the name, must be %d", open.Size(), named.Size(), len(r.want))
	}
	return nil
}

func (r *fsx) punch() error {
	off, n := r.extent(r.Max)
	r.note("punch %d at %d (size %d)", n, off, len(r.want))
	err := unix.Fallocate(int(r.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		r.noHole = true
		return nil
	}
	if err != nil {
		return err
	}
	if off < len(r.want) {
		clear(r.want[off:min(off+n, len(r.want))])
	}
	return nil
}

// mapped reads or writes through a shared mapping of whole pages.
func (r *fsx) mapped(write bool) error {
	off, n := r.extent(len(r.want))
	start := off &^ 4095
	n = min(n, len(r.want)-off)
	r.note("mapped, write %v: %d at %d (size %d)", write, n, off, len(r.want))
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	m, err := unix.Mmap(int(r.f.Fd()), int64(start), off-start+n, prot, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer unix.Munmap(m)
	if err := r.compare("mapping", off, m[off-start:], n); err != nil || !write {
		return err
	}
	p := r.bytes(n)
	copy(m[off-start:], p)
	copy(r.want[off:], p)
	if r.rnd.IntN(2) == 0 {
		return unix.Msync(m, unix.MS_SYNC)
	}
	return nil
}
