package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cache/stage"
	"studyfs/cache/view"
)

// requests are all of the kernel's since the last time, those that nobody waits for too, but not when it forgets something.
func (m *mounted) requests() map[string]int {
	m.t.Helper()
	var counts map[string]int
	if err := json.Unmarshal([]byte(m.do("rounds")), &counts); err != nil {
		m.t.Fatal(err)
	}
	maps.DeleteFunc(counts, func(op string, _ int) bool { return strings.Contains(op, "FORGET") })
	return counts
}

// readMany reads all of setup.Many's files and returns what the kernel asked for meanwhile.
func readMany(t *testing.T, m *mounted, count int) map[string]int {
	t.Helper()
	m.requests()
	for n := range count {
		name := fmt.Sprintf("many/%08d", n)
		if got, err := os.ReadFile(m.path(name)); err != nil || len(got) != 10 || !same(name, "1", got) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	return m.requests()
}

// Thousands of small files that were read before: nobody is asked for anything, but for what the kernel had no memory for.
func TestWarmReadsWithoutOpenAskForNothing(t *testing.T) {
	const count = 300
	m := mount(t, setup{NoOpen: true, Counted: true, Many: count})
	cold := readMany(t, m, count)
	if cold["OPEN"] != 1 || cold["FLUSH"] != 1 || cold["READ"] != count {
		t.Errorf("the first time: %v", cold)
	}
	warm := readMany(t, m, count)
	reads := warm["READ"]
	delete(warm, "READ")
	if len(warm) != 0 || reads > count/20 {
		t.Errorf("the second time: %d reads and %v, want nothing", reads, warm)
	}
	if got := m.do("passthrough"); !strings.Contains(got, "no-open") {
		t.Errorf("passthrough: %s", got)
	}
}

// Small files of any other mount: their bytes come with the first open, and later ones cost an open and its end. The kernel may drop
// some that it has no memory for.
func TestSmallFilesComeWithTheirOpen(t *testing.T) {
	const count = 100
	var objects []object
	for n := range count {
		objects = append(objects, object{Name: fmt.Sprintf("many/%08d", n), Version: "1", Size: 10})
	}
	for _, lab := range []bool{false, true} {
		m := mount(t, setup{Lab: lab, Counted: true, Objects: objects})
		for _, when := range []string{"first", "second", "third"} {
			got := readMany(t, m, count)
			if got["OPEN"] != count || got["READ"] > count/20 || got["FLUSH"] != 0 || when != "first" && (got["LOOKUP"] != 0 || got["GETATTR"] != 0) {
				t.Errorf("lab %v, the %s time: %v", lab, when, got)
			}
		}
	}
}

// The kernel needs its memory for other things: what it drops is read again, from the local disk.
func TestDroppedPagesComeAgain(t *testing.T) {
	for _, noOpen := range []bool{false, true} {
		m := mount(t, setup{NoOpen: noOpen, Counted: true, Objects: []object{{Name: "f", Version: "1", Size: 100_000}}})
		for round := range 3 {
			m.requests()
			f, err := os.Open(m.path("f"))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 100_000)
			if _, err := f.ReadAt(got, 0); err != nil || !same("f", "1", got) {
				t.Errorf("round %d: %v", round, err)
			}
			if asked := m.requests(); round > 0 && asked["READ"] == 0 {
				t.Errorf("round %d: the pages were still there: %v", round, asked)
			}
			if err := fadvise(int(f.Fd()), 0, 0, dontNeed); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		m.do("stall", ".", "on") // none of it came from the source again
		if got, err := os.ReadFile(m.path("f")); err != nil || !same("f", "1", got) {
			t.Errorf("while the source does not answer: %v", err)
		}
		m.do("stall", ".", "off")
	}
}

// Without opens nobody notices that a file was replaced: what the kernel has of it is the old version, what it has not is an error once, and the
// name leads to the new one right after it.
func TestReplacedUnnoticedWithoutOpen(t *testing.T) {
	m := mount(t, setup{NoOpen: true, Deaf: true, Objects: []object{
		{Name: "d/seen", Version: "1", Size: 100}, {Name: "d/unseen", Version: "1", Size: 100}, {Name: "d/large", Version: "1", Size: 8 << 20},
	}})
	for _, name := range []string{"d/seen", "d/unseen", "d/large"} {
		if _, err := os.Stat(m.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(m.path("d/seen")); err != nil || !same("d/seen", "1", got) {
		t.Fatal(err)
	}
	large, err := os.Open(m.path("d/large"))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	head := make([]byte, 1000)
	if _, err := large.ReadAt(head, 0); err != nil || !same("d/large", "1", head) {
		t.Fatal(err)
	}
	for _, name := range []string{"d/seen", "d/unseen", "d/large"} {
		m.do("put", ".", name, "2", "200")
	}
	if got, err := os.ReadFile(m.path("d/seen")); err != nil || len(got) != 100 || !same("d/seen", "1", got) {
		t.Errorf("what the kernel has: %d bytes, %v", len(got), err)
	}
	if _, err := os.ReadFile(m.path("d/unseen")); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("what nobody has: %v, want ESTALE", err)
	}
	for _, name := range []string{"d/unseen", "d/large"} {
		within(t, "the new version of "+name, func() bool {
			got, err := os.ReadFile(m.path(name))
			if err != nil && !errors.Is(err, syscall.ESTALE) {
				t.Errorf("%s: %v", name, err)
			}
			return err == nil && len(got) == 200 && same(name, "2", got)
		})
	}
	if _, err := large.ReadAt(head, 8<<20-1000); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("the end of the version that is open: %v, want ESTALE", err)
	}
	if _, err := large.ReadAt(head, 0); err != nil || !same("d/large", "1", head) {
		t.Errorf("its beginning: %v", err)
	}
}

// Files are replaced all the time while they are read: nobody gets bytes of two versions.
func TestNoMixWithoutOpen(t *testing.T) {
	const versions = 40
	sizes := func(v int) int { return 300_000 + 1000*v }
	m := mount(t, setup{NoOpen: true, TTL: time.Millisecond, Objects: []object{{Name: "f", Version: "0", Size: int64(sizes(0))}}})
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := os.ReadFile(m.path("f"))
				if errors.Is(err, syscall.ESTALE) {
					continue
				}
				v := (len(got) - 300_000) / 1000
				if err != nil || v < 0 || sizes(v) != len(got) || !same("f", fmt.Sprint(v), got) {
					t.Errorf("%d bytes that are of no version: %v", len(got), err)
					return
				}
			}
		})
	}
	for v := range versions {
		m.do("put", ".", "f", fmt.Sprint(v), fmt.Sprint(sizes(v)))
		time.Sleep(2 * time.Millisecond)
	}
	close(stop)
	all.Wait()
	within(t, "the last version", func() bool { return sizeOf(m.path("f")) == int64(sizes(versions-1)) })
}

// A file whose size nobody knows would look empty: it is an error instead, and the rest of its folder is there.
func TestUnknownSizesWithoutOpen(t *testing.T) {
	m := mount(t, setup{NoOpen: true, Objects: []object{{Name: "d/f", Version: "1", Size: 100, Unsized: true}, {Name: "d/g", Version: "1", Size: 100}}})
	if got := dirNames(t, m.path("d")); !slices.Equal(got, []string{"f", "g"}) {
		t.Errorf("listed: %v", got)
	}
	if _, err := os.ReadFile(m.path("d/f")); !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Errorf("the one without a size: %v", err)
	}
	if got, err := os.ReadFile(m.path("d/g")); err != nil || !same("d/g", "1", got) {
		t.Error(err)
	}
}

// An archived object is found out when it is read.
func TestArchivedWithoutOpen(t *testing.T) {
	m := mount(t, setup{NoOpen: true, Objects: []object{{Name: "f", Version: "1", Size: 100, Archived: true}}})
	f, err := os.Open(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(make([]byte, 10)); !errors.Is(err, syscall.ENODATA) {
		t.Errorf("%v, want ENODATA", err)
	}
}

// Nobody is told of opens that nobody sees, and writing needs them.
func TestNoOpenIsRefused(t *testing.T) {
	store := storeOf(t, 0)
	for what, o := range map[string]Options{
		"audited":  {Opened: func(Access) error { return nil }, Trees: []Tree{{Store: store}}},
		"viewed":   {Trees: []Tree{{Store: store, View: new(view.View)}}},
		"writable": {Trees: []Tree{{Store: store, Stage: new(stage.Stage)}}},
	} {
		o.NoOpen = true
		if _, err := New(o); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// storeOf is a cache of a source with files 000 … of 10,000 bytes, and larger ones called large/000 ….
func storeOf(t *testing.T, files int) *cache.Store {
	t.Helper()
	src := newFakeSource()
	for n := range files {
		src.put(fmt.Sprintf("%03d", n), "1", 10_000)
		src.put(fmt.Sprintf("large/%03d", n), "1", 2<<20)
	}
	store, err := cache.New(cache.Options{}).Open(t.Context(), src, cache.SourceOptions{Dir: t.TempDir(), SmallFile: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func nodeOf(t *testing.T, f *FS, name string) *openless {
	t.Helper()
	e, err := f.trees[""].store.Lookup(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return &openless{file{version: version{t: f.trees[""], e: e}}}
}

// Hundreds of files are read without being opened: few of them are kept open here, and none that nobody reads any more.
func TestReadersWithoutHandlesAreFew(t *testing.T) {
	const files = 2 * maxReaders
	f, err := New(Options{NoOpen: true, Dir: t.TempDir(), Trees: []Tree{{Store: storeOf(t, files)}}})
	if err != nil {
		t.Fatal(err)
	}
	read := func(n *openless, want int) {
		t.Helper()
		got := make([]byte, want)
		if k, err := f.readers.read(t.Context(), n, got, 0); k != want || !same(n.e.Name, "1", got) {
			t.Errorf("%s: %d bytes, %v", n.e.Name, k, err)
		}
	}
	for i := range files {
		read(nodeOf(t, f, fmt.Sprintf("%03d", i)), 10_000)
	}
	if n := f.readers.all.Len(); n != 0 {
		t.Errorf("%d small files stay open after they were read whole", n)
	}
	var nodes []*openless
	for i := range files {
		nodes = append(nodes, nodeOf(t, f, fmt.Sprintf("large/%03d", i)))
		read(nodes[i], 5000)
	}
	if n := f.readers.all.Len(); n != maxReaders {
		t.Errorf("%d large files stay open, want %d", n, maxReaders)
	}
	within(t, "that no more files are open than are kept", func() bool { return openFiles(t) == maxReaders })
	f.readers.drop(nodes[files-1]) // the kernel forgot it
	f.readers.drop(nodes[0])       // closed long ago
	f.readers.sweep(time.Now().Add(-time.Hour))
	if n := f.readers.all.Len(); n != maxReaders-1 {
		t.Errorf("%d files in the books, want %d", n, maxReaders-1)
	}
	within(t, "that one less is open", func() bool { return openFiles(t) == maxReaders-1 })
	stop := make(chan struct{})
	close(stop)
	f.readers.run(stop)
	if n := f.readers.all.Len(); n != 0 {
		t.Errorf("at the end %d files are in the books", n)
	}
	within(t, "that none is open", func() bool { return openFiles(t) == 0 })
}

func openFiles(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.HasSuffix(to, ".data") {
			n++
		}
	}
	return n
}

// A program opens what the kernel has in its pages: no file is opened here for it, and hardly anything allocated.
func TestWarmOpenOpensNothing(t *testing.T) {
	f, err := New(Options{Dir: t.TempDir(), Trees: []Tree{{Store: storeOf(t, 2)}}})
	if err != nil {
		t.Fatal(err)
	}
	n := &nodeOf(t, f, "000").file
	if n.ready(n.e) {
		t.Error("ready before anybody opened it")
	}
	r, err := n.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n.ready(n.e) {
		t.Error("ready before the kernel was given anything")
	}
	n.open.had = true
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "that the books of the cache are complete", func() bool { return n.ready(n.e) })
	within(t, "that all is closed", func() bool { return openFiles(t) == 0 })
	allocs := testing.AllocsPerRun(100, func() {
		h, how, no := n.Open(t.Context(), 0)
		if no != 0 || how != fuse.FOPEN_KEEP_CACHE|fuse.FOPEN_NOFLUSH || h.(*handle).r.r != nil {
			t.Fatalf("%v, %#x", no, how)
		}
		h.(*handle).Release(t.Context())
	})
	t.Logf("%.0f allocations per open", allocs)
	if allocs > 25 {
		t.Errorf("%.0f allocations for a warm open, allowed 25", allocs)
	}
	h, _, _ := n.Open(t.Context(), 0)
	got, no := h.(*handle).Read(t.Context(), make([]byte, 20_000), 0)
	if no != 0 {
		t.Fatal(no)
	}
	if b, _ := got.Bytes(nil); !same("000", "1", b) || len(b) != 10_000 {
		t.Errorf("%d bytes, right %v", len(b), same("000", "1", b))
	}
	h.(*handle).Release(t.Context())
	within(t, "that all is closed again", func() bool { return openFiles(t) == 0 })
	replaced := n.e
	replaced.Version = "2"
	if n.ready(replaced) || n.ready(backends.Entry{Name: "none", Size: 10}) {
		t.Error("ready for what is not there")
	}
}

// Many wait for one file to be opened: it is opened once, and when that fails the next one tries.
func TestLateOpensOnce(t *testing.T) {
	store := storeOf(t, 1)
	f, err := New(Options{Dir: t.TempDir(), Trees: []Tree{{Store: store}}})
	if err != nil {
		t.Fatal(err)
	}
	n := nodeOf(t, f, "000")
	var l late
	var mu sync.Mutex
	tried := 0
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r, err := l.get(t.Context(), func(ctx context.Context) (*cache.Reader, error) {
				mu.Lock()
				tried++
				first := tried == 1
				mu.Unlock()
				if first {
					return nil, backends.ErrUnreachable
				}
				return n.again(ctx)
			})
			if (r == nil) != (err != nil) {
				t.Errorf("%v, %v", r, err)
			}
		})
	}
	all.Wait()
	if tried != 2 {
		t.Errorf("tried %d times, want 2", tried)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}
