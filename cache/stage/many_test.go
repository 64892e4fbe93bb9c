package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"studyfs/backends"
)

// counter counts calls on the disk.
type counter struct {
	mu    sync.Mutex // guards calls
	calls map[opKind]int
	metas int // labels that were read
}

func (c *counter) hook(o op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[opKind]int{}
	}
	c.calls[o.kind]++
	if o.kind == opRead && strings.HasPrefix(o.path, filesDir+"/") {
		c.metas++
	}
	return nil
}

func (c *counter) take() (calls map[opKind]int, metas int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, metas = c.calls, c.metas
	c.calls, c.metas = nil, 0
	return calls, metas
}

// What a close costs is what it waits for: the bytes with the label, and one sync of directory and journal, which many closes share. Who
// writes again waits for bytes and label one after the other, as he does for what is large or encrypted, but not for a directory with no new names.
func TestSyncsPerClose(t *testing.T) {
	c := &counter{}
	s, err := Open(Options{Dir: filepath.Join(t.TempDir(), "stage"), Quiet: time.Hour, Reserve: -1, Key: testKey(), hook: c.hook})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c.take()
	f, err := s.Create("f", Attr{Mode: 0o644}, backends.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	if calls, _ := c.take(); calls[opSync]+calls[opSyncAll]+calls[opSyncDir] > 0 {
		t.Errorf("create waits for the disk: %v", calls)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	first := 3
	if testKey() != nil {
		first = 4
	}
	for i, want := range []int{first, 0, 3} { // a second close of the same has nothing to do
		if i == 2 {
			if _, err := f.WriteAt([]byte("xy"), 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if calls, _ := c.take(); calls[opSync]+calls[opSyncAll]+calls[opSyncDir] != want {
			t.Errorf("close %d syncs %d files and %d directories, want %d in all", i, calls[opSync], calls[opSyncDir], want)
		}
	}
	if _, err := s.SetAttr(f.ID(), func(a *Attr) { a.Mode = 0o600 }); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if calls, _ := c.take(); calls[opSync]+calls[opSyncAll]+calls[opSyncDir] > 0 {
		t.Errorf("chmod waits for the disk: %v", calls)
	}
}

// After a good end nothing is looked at but the journal and the directory: a stage of 100,000 files is open in a second or two. After a crash,
// each label is read.
func TestOpenAfterGoodEnd(t *testing.T) {
	const count = 100
	for _, crash := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "stage")
		s := fillStage(t, dir, count)
		if crash {
			s.journal.wait(s.journal.newest(), true)
			s.lock.release()
		} else if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c := &counter{}
		again, err := Open(Options{Dir: dir, Quiet: time.Hour, Reserve: -1, Key: testKey(), hook: c.hook})
		if err != nil {
			t.Fatal(err)
		}
		if calls, metas := c.take(); (metas > 0) != crash {
			t.Errorf("crash %v: %d labels are read, %v", crash, metas, calls)
		}
		if n := len(again.Items()); n != count {
			t.Errorf("crash %v: %d items of %d", crash, n, count)
		}
		again.Close()
		if crash {
			s.cancel()
			s.journal.stop()
			s.work.Wait()
		}
	}
}

// BenchmarkMany is a stage that a laptop without network has filled: what a restart takes, and what each operation costs then.
//
//	go test ./cache/stage -run xxx -bench Many -benchtime 10x
func BenchmarkMany(b *testing.B) {
	const count = 100_000
	dir := filepath.Join(b.TempDir(), "stage")
	s := fillStage(b, dir, count)
	s.journal.wait(s.journal.newest(), true)
	killed, err := os.ReadFile(filepath.Join(dir, journalName))
	if err := errors.Join(err, s.Close()); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"Open", "OpenKilled"} {
		b.Run(name, func(b *testing.B) { openMany(b, dir, map[string][]byte{"OpenKilled": killed}[name]) })
	}
	s, err = Open(Options{Dir: dir, Quiet: time.Hour, Reserve: -1, Key: testKey()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		name string
		do   func(i int)
	}{
		{"Lookup", func(i int) { s.Lookup(fmt.Sprintf("d%d/file%d", i%100, i%count)) }},
		{"Children", func(i int) { s.Children(fmt.Sprintf("d%d", i%100)) }},
		{"EachSecond", func(int) { s.room.look(); s.dropUnwanted() }},
		{"Totals", func(int) { s.Totals() }},
		{"Items", func(int) { s.Items() }},
		{"SetAttr", func(i int) { s.SetAttr(ID(i%count+1), func(a *Attr) { a.Mode ^= 1 }) }},
		{"snapshot", func(int) { s.snapshot() }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				c.do(i)
			}
		})
	}
}

// openMany opens a stage as it was left, with that journal unless it is nil.
func openMany(b *testing.B, dir string, journal []byte) {
	b.Helper()
	before := cpu()
	for b.Loop() {
		if journal != nil {
			b.StopTimer()
			if err := os.WriteFile(filepath.Join(dir, journalName), journal, 0o600); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		s, err := Open(Options{Dir: dir, Quiet: time.Hour, Reserve: -1, Key: testKey()})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op")
}

// cpu is the time that this process has had a processor.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fillStage makes a stage of closed files without the syncs, which here would only take time.
func fillStage(tb testing.TB, dir string, count int) *Stage {
	tb.Helper()
	s, err := Open(Options{Dir: dir, Quiet: time.Hour, Reserve: -1, Key: testKey(), Durability: Relaxed})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range count {
		f, err := s.Create(fmt.Sprintf("d%d/file%d", i%100, i), Attr{Mode: 0o644}, backends.Entry{})
		if err != nil {
			tb.Fatal(err)
		}
		f.WriteAt([]byte("x"), 0)
		l, _ := f.f.look()
		s.mu.Lock()
		s.saw(f.it, l)
		f.it.sealed, f.it.state = &l.mark, Staged
		r := f.it.record()
		s.put(f.it)
		s.mu.Unlock()
		raw, _ := s.sidecar(r, 0)
		if err := s.disk.label(fileName(f.it.id), f.f.f, raw); err != nil {
			tb.Fatal(err)
		}
		f.Close()
	}
	return s
}
