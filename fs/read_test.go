package fs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"studyfs/cache"
)

func TestReplacedWhileOpen(t *testing.T) {
	for _, how := range readings() {
		t.Run(how.name(), func(t *testing.T) {
			const size = 8 << 20
			how.TTL, how.Objects = time.Millisecond, []object{
				{Name: "large", Version: "1", Size: size}, {Name: "middle", Version: "1", Size: 500_000}, {Name: "small", Version: "1", Size: 50_000},
			}
			m := mount(t, how)
			for _, name := range []string{"large", "middle", "small"} {
				old, err := os.Open(m.path(name))
				if err != nil {
					t.Fatal(err)
				}
				defer old.Close()
				head := make([]byte, 10_000)
				if _, err := old.Read(head); err != nil || !same(name, "1", head) {
					t.Fatalf("%s: old head: %v", name, err)
				}
				before, _ := old.Stat()
				m.do("put", ".", name, "2", "60000")
				time.Sleep(50 * time.Millisecond) // the kernel counts in ticks of up to 10 ms
				got, err := os.ReadFile(m.path(name))
				if err != nil || len(got) != 60_000 || !same(name, "2", got) {
					t.Errorf("%s: a new open gives %d bytes of the new version %v, %v", name, len(got), same(name, "2", got), err)
				}
				after, _ := old.Stat()
				if before.Size() != after.Size() {
					t.Errorf("%s: the old handle changed its size from %d to %d", name, before.Size(), after.Size())
				}
				tail := make([]byte, 1000)
				off := before.Size() - 1000
				switch _, err := old.ReadAt(tail, off); {
				case errors.Is(err, syscall.ESTALE):
				case err != nil:
					t.Errorf("%s: the old handle: %v, want its own bytes or ESTALE", name, err)
				case !slices.Equal(tail, content(name, "1", off, 1000)):
					t.Errorf("%s: the old handle got foreign bytes", name)
				}
				newInfo, _ := os.Stat(m.path(name))
				if newInfo.Sys().(*syscall.Stat_t).Ino != before.Sys().(*syscall.Stat_t).Ino {
					t.Errorf("%s: the inode number changed", name)
				}
			}
		})
	}
}

// An inode may not mix passthrough with pages: the kernel answers EIO to the open(2) that would.
func TestPassthroughDoesNotMix(t *testing.T) {
	const size = 3 << 20 // above what is fetched at open
	m := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: size}}})
	if on := m.do("passthrough"); on != "true " {
		t.Skip("no passthrough here: ", on)
	}
	buffered, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(buffered); err != nil || !same("f", "1", got) || len(got) != size {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if got := m.do("stat", "f"); !strings.Contains(got, "cached") { // complete by now
		t.Fatalf("state: %s", got)
	}
	for _, when := range []string{"while buffered", "after", "again"} {
		if when == "after" {
			buffered.Close()
			time.Sleep(50 * time.Millisecond) // the release travels by itself
		}
		var open []*os.File
		for range 3 {
			f, err := os.Open(m.path("f"))
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			open = append(open, f)
		}
		for _, f := range open {
			if got, err := io.ReadAll(f); err != nil || !same("f", "1", got) || len(got) != size {
				t.Errorf("%s: %d bytes, %v", when, len(got), err)
			}
			f.Close()
		}
	}
	if on := m.do("passthrough"); on != "true " {
		t.Errorf("passthrough afterwards: %s", on)
	}
}

func TestKilledReaderIsGone(t *testing.T) {
	for _, noOpen := range []bool{false, true} {
		t.Run(fmt.Sprintf("open=%v", !noOpen), func(t *testing.T) { killReaders(t, noOpen) })
	}
}

func killReaders(t *testing.T, noOpen bool) {
	m := mount(t, setup{NoOpen: noOpen, Objects: []object{{Name: "small", Version: "1", Size: 1000}, {Name: "large", Version: "1", Size: 5 << 20}}})
	m.do("stall", ".", "on")
	for _, name := range []string{"small", "large"} { // waits in open(2), in read(2)
		reader := exec.Command("cat", m.path(name))
		if err := reader.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		reader.Process.Kill()
		reader.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: gone after %v", name, took)
		}
		for name == "small" && !noOpen && m.do("left", ".") == "0" { // nobody wants it any more: the fetch ends, too; nobody tells of who left a read(2)
			if time.Since(start) > time.Minute {
				t.Fatal("the fetch goes on")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	m.do("stall", ".", "off")
	if got, err := os.ReadFile(m.path("small")); err != nil || !same("small", "1", got) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestMmap(t *testing.T) {
	for _, how := range readings() {
		how.Objects = []object{{Name: "f", Version: "1", Size: 3<<20 + 5}, {Name: "s", Version: "1", Size: 123_456}}
		m := mount(t, how)
		for name, size := range map[string]int{"f": 3<<20 + 5, "s": 123_456} {
			f, err := os.Open(m.path(name))
			if err != nil {
				t.Fatal(err)
			}
			b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
			f.Close()
			if err != nil {
				t.Fatal(err)
			}
			if !same(name, "1", b) {
				t.Errorf("%s: %s has wrong bytes", how.name(), name)
			}
			unix.Munmap(b)
		}
	}
}

// Opens and releases overlap in any order; no mix of passthrough, pages and neither may show.
func TestManyReadersAtOnce(t *testing.T) {
	for _, how := range readings() {
		t.Run(how.name(), func(t *testing.T) { readAtOnce(t, how) })
	}
}

func readAtOnce(t *testing.T, how setup) {
	objects := []object{{Name: "a", Version: "1", Size: 3 << 20}, {Name: "b", Version: "1", Size: 100_000}, {Name: "c", Version: "1", Size: 900_000}}
	how.Objects = objects
	m := mount(t, how)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 25 {
				o := objects[(n+i)%len(objects)]
				f, err := os.Open(m.path(o.Name))
				if err != nil {
					t.Error(err)
					return
				}
				off, buf := int64(n)*5_000, make([]byte, 50_000)
				if _, err := f.ReadAt(buf, off); err != nil || !slices.Equal(buf, content(o.Name, "1", off, 50_000)) {
					t.Errorf("%s at %d: wrong bytes or %v", o.Name, off, err)
				}
				if i%5 == 0 {
					if got, err := io.ReadAll(f); err != nil || !same(o.Name, "1", got) || int64(len(got)) != o.Size {
						t.Errorf("%s: %d bytes, %v", o.Name, len(got), err)
					}
				}
				f.Close()
			}
		})
	}
	all.Wait()
}

// How a handle reads depends on the others of its node: pages and passthrough never at once.
func TestHandlesOfOneNode(t *testing.T) {
	src := newFakeSource()
	src.put("whole", "1", 100)
	src.put("part", "1", 9<<20)
	store, err := cache.New(cache.Options{}).Open(t.Context(), src, cache.SourceOptions{Dir: t.TempDir(), SmallFile: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	readers := map[string]*cache.Reader{}
	for _, name := range []string{"whole", "part"} {
		e, err := store.Lookup(t.Context(), name)
		if err == nil {
			readers[name], err = store.Open(t.Context(), e)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer readers[name].Close()
	}
	for _, row := range []struct {
		on               bool
		buffered, direct int
		object           string
		offered          bool
		flags            uint32
	}{
		{true, 0, 0, "whole", true, fuse.FOPEN_KEEP_CACHE},
		{true, 0, 1, "whole", true, fuse.FOPEN_KEEP_CACHE},
		{true, 1, 0, "whole", false, fuse.FOPEN_KEEP_CACHE},
		{true, 0, 0, "part", false, fuse.FOPEN_KEEP_CACHE},
		{true, 0, 1, "part", false, fuse.FOPEN_DIRECT_IO},
		{false, 0, 0, "whole", false, fuse.FOPEN_KEEP_CACHE},
	} {
		f := &file{version: version{t: &tree{fs: &FS{}}, open: flows{buffered: row.buffered, direct: row.direct}}}
		f.t.fs.pass.on = row.on
		h, flags := f.handle(readers[row.object])
		if _, offered := h.(fusefs.FilePassthroughFder); offered != row.offered || flags != row.flags {
			t.Errorf("%+v: offered %v, flags %#x", row, offered, flags)
		}
	}
}
