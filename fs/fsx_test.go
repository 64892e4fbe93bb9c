//go:build linux

package fs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// fsx does random things to one file and compares it with a copy in memory after each.
type fsx struct {
	t    *testing.T
	m    *mounted
	path string
	rnd  *rand.Rand
	f    *os.File
	want []byte
	done []string // what was done so far
}

const fsxSize = 300_000

// A file that is written, mapped, cut, closed, stored and opened again in any order has the bytes that were put into it.
func TestFsx(t *testing.T) {
	if testing.Short() {
		t.Skip("one program after the other: nothing that a race detector could find, and it takes minutes under one")
	}
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			ways(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 100_000}}, Eager: seed%2 == 1}, func(t *testing.T, m *mounted) {
				x := &fsx{t: t, m: m, path: m.path("f"), rnd: rand.New(rand.NewPCG(seed, 1)), want: content("f", "1", 0, 100_000)}
				x.reopen()
				for range 300 {
					x.step()
					if t.Failed() {
						t.Fatal(x.done[max(0, len(x.done)-20):])
					}
				}
				x.f.Close()
			})
		})
	}
}

func (x *fsx) step() {
	off := x.rnd.IntN(fsxSize)
	n := x.rnd.IntN(min(fsxSize-off, 70_000)) + 1
	switch x.rnd.IntN(10) {
	case 0, 1, 2:
		x.note("write", off, n)
		b := x.bytes(n)
		_, err := x.f.WriteAt(b, int64(off))
		x.ok(err)
		x.grow(off + n)
		copy(x.want[off:], b)
	case 3:
		x.note("truncate", off, 0)
		if x.rnd.IntN(2) == 0 {
			x.ok(x.f.Truncate(int64(off)))
		} else {
			x.ok(os.Truncate(x.path, int64(off)))
		}
		x.grow(off)
		x.want = x.want[:off]
	case 4:
		x.mapped(off, n)
	case 5:
		x.note("reopen", 0, 0)
		x.ok(x.f.Close())
		x.reopen()
	case 6:
		x.note("upload", 0, 0)
		x.ok(x.f.Close())
		if x.rnd.IntN(2) == 0 {
			x.m.store()
		}
		x.reopen()
	case 7:
		x.note("append", 0, n)
		if len(x.want)+n > fsxSize {
			return
		}
		f, err := os.OpenFile(x.path, os.O_WRONLY|os.O_APPEND, 0)
		x.ok(err)
		b := x.bytes(n)
		_, err = f.Write(b)
		x.ok(err)
		x.ok(f.Close())
		x.want = append(x.want, b...)
	case 8:
		x.note("punch", off, n)
		err := unix.Fallocate(int(x.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(off), int64(n))
		x.ok(err)
		for i := off; i < min(off+n, len(x.want)); i++ {
			x.want[i] = 0
		}
	case 9:
		x.note("fsync", 0, 0)
		x.ok(x.f.Sync())
	}
	x.check()
}

// mapped writes through a mapping.
func (x *fsx) mapped(off, n int) {
	if off+n > len(x.want) {
		return
	}
	x.note("map", off, n)
	m, err := unix.Mmap(int(x.f.Fd()), 0, len(x.want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if x.ok(err); err != nil {
		return
	}
	if !bytes.Equal(m, x.want) {
		x.t.Errorf("the mapping differs")
	}
	b := x.bytes(n)
	copy(m[off:], b)
	copy(x.want[off:], b)
	if x.rnd.IntN(2) == 0 {
		x.ok(unix.Msync(m, unix.MS_SYNC))
	}
	x.ok(unix.Munmap(m))
}

func (x *fsx) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(x.rnd.Uint32())
	}
	return b
}

func (x *fsx) grow(to int) {
	if to > len(x.want) {
		x.want = append(x.want, make([]byte, to-len(x.want))...)
	}
}

func (x *fsx) reopen() {
	var err error
	x.f, err = os.OpenFile(x.path, os.O_RDWR, 0)
	x.ok(err)
}

// check compares the size, and all bytes, by the handle and by the name.
func (x *fsx) check() {
	st, err := os.Stat(x.path)
	x.ok(err)
	if err == nil && st.Size() != int64(len(x.want)) {
		x.t.Errorf("size %d, want %d", st.Size(), len(x.want))
	}
	b := make([]byte, len(x.want))
	if n, err := x.f.ReadAt(b, 0); n != len(b) || !bytes.Equal(b, x.want) {
		x.t.Errorf("the handle reads %d bytes of %d, %v", n, len(b), err)
	}
	if b, err = os.ReadFile(x.path); err != nil || !bytes.Equal(b, x.want) {
		x.t.Errorf("the name reads %d bytes of %d, %v", len(b), len(x.want), err)
	}
}

func (x *fsx) note(what string, off, n int) {
	x.done = append(x.done, fmt.Sprintf("%s %d+%d", what, off, n))
}

func (x *fsx) ok(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Errorf("%s: %v", x.done[max(0, len(x.done)-1):], err)
	}
}
