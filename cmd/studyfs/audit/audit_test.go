package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const participant = "sub-4711/a1b2c3d4_Smith.edf"

// clock is moved by tests.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 10, 31, 23, 0, 0, 0, time.UTC)} }

func (c *clock) get() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func write(t testing.TB, l *Log, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := l.Write(Event{Op: OpRead, Source: "ecog", Name: name, UID: 1000, PID: 7, Exe: "/usr/bin/cat"}); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t testing.TB, dir string, seen ...Seen) Verdict {
	t.Helper()
	r, err := NewReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := r.Verify(append(seen, Seen{})[0])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func path(dir string) string { return filepath.Join(dir, current) }

func text(t testing.TB, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Who has the log alone learns that somebody read the same file twice, and no name. Who has the key learns which.
func TestNamesNeedTheKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	l := open(t, Options{Dir: dir})
	write(t, l, participant, "other", participant)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if raw := text(t, path(dir)); bytes.Contains(raw, []byte("Smith")) || bytes.Contains(raw, []byte("4711")) {
		t.Errorf("a name in clear:\n%s", raw)
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, current: 0o600, keyFile: 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v", name, info.Mode(), err)
		}
	}
	r, _ := NewReader(dir)
	var objects, names []string
	for line, err := range r.Lines() {
		name, nameErr := r.Name(line.Record)
		if err := errors.Join(err, line.Err, nameErr); err != nil {
			t.Fatal(err)
		}
		objects, names = append(objects, line.Record.Object), append(names, name)
	}
	if fmt.Sprint(names) != fmt.Sprint([]string{participant, "other", participant}) || objects[0] != objects[2] || objects[0] == objects[1] {
		t.Errorf("%v %v", names, objects)
	}
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	r, _ = NewReader(dir)
	for line := range r.Lines() {
		if name, err := r.Name(line.Record); err == nil {
			t.Errorf("opened without a key: %q", name)
		}
	}
	if v := verify(t, dir); v.Broken != "" || v.Lines != 3 {
		t.Errorf("without the key: %+v", v)
	}
}

// Somebody alters, removes, adds, swaps or forges a line: it is told where.
func TestTamperingBreaksTheChain(t *testing.T) {
	lines := func(raw []byte) [][]byte { return bytes.SplitAfter(raw, []byte("\n")) }
	for what, change := range map[string]func(raw []byte) []byte{
		"altered":       func(raw []byte) []byte { return bytes.Replace(raw, []byte(`"uid":1000`), []byte(`"uid":1001`), 1) },
		"removed":       func(raw []byte) []byte { l := lines(raw); return bytes.Join(append(l[:1:1], l[2:]...), nil) },
		"first removed": func(raw []byte) []byte { return bytes.Join(lines(raw)[1:], nil) },
		"doubled":       func(raw []byte) []byte { l := lines(raw); return bytes.Join(append(l[:2:2], l[1:]...), nil) },
		"swapped":       func(raw []byte) []byte { l := lines(raw); l[1], l[2] = l[2], l[1]; return bytes.Join(l, nil) },
		"garbage":       func(raw []byte) []byte { l := lines(raw); l[1] = []byte("garbage\n"); return bytes.Join(l, nil) },
		"cut in the middle": func(raw []byte) []byte {
			l := lines(raw)
			l[1] = append(l[1][:20:20], '\n')
			return bytes.Join(l, nil)
		},
		"hidden field": func(raw []byte) []byte { return bytes.Replace(raw, []byte(`{"seq":2,`), []byte(`{"seq":2,"x":1,`), 1) },
		"empty line": func(raw []byte) []byte {
			l := lines(raw)
			return bytes.Join(append(l[:2:2], append([][]byte{[]byte("\n")}, l[2:]...)...), nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, Options{Dir: dir})
			write(t, l, "a", "b", "c", "d")
			l.Close()
			if v := verify(t, dir); v.Broken != "" || v.Last != 4 {
				t.Fatalf("%+v", v)
			}
			if err := os.WriteFile(path(dir), change(text(t, path(dir))), 0o600); err != nil {
				t.Fatal(err)
			}
			before := verify(t, dir).Broken
			l = open(t, Options{Dir: dir})
			write(t, l, "e") // going on does not heal it
			l.Close()
			if after := verify(t, dir).Broken; before == "" || after == "" {
				t.Errorf("not noticed: %q, after another line %q", before, after)
			}
		})
	}
}

// What the chain alone cannot tell: lines cut off the end, or all written anew. A hash that was kept elsewhere does.
func TestSeenLines(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	write(t, l, "a", "b", "c")
	l.Close()
	v := verify(t, dir)
	seen := Seen{v.Last, v.Head}
	l = open(t, Options{Dir: dir})
	write(t, l, "d")
	l.Close()
	if v := verify(t, dir, seen); v.Broken != "" || !v.HasSeen {
		t.Errorf("%+v", v)
	}
	raw := text(t, path(dir))
	if err := os.WriteFile(path(dir), raw[:bytes.IndexByte(raw, '\n')+1], 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir, seen); v.Broken == "" {
		t.Error("lines missing at the end are not noticed")
	}
	l = open(t, Options{Dir: dir})
	write(t, l, "B", "C", "D")
	l.Close()
	if v := verify(t, dir, seen); !strings.Contains(v.Broken, "anew") {
		t.Errorf("%+v", v)
	}
}

// A crash or a full disk cuts a line off at any byte. The next process goes on, tells of it, and verifying knows it from tampering.
func TestTornLines(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	write(t, l, "a", "b")
	l.Close()
	raw := text(t, path(dir))
	last := bytes.IndexByte(raw, '\n') + 1
	for cut := last + 1; cut < len(raw); cut += 17 {
		if err := os.WriteFile(path(dir), raw[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if v := verify(t, dir); v.Broken != "" || !v.TornEnd || v.Last != 1 {
			t.Fatalf("cut at %d: %+v", cut, v)
		}
		l := open(t, Options{Dir: dir})
		write(t, l, "c")
		l.Close()
		if v := verify(t, dir); v.Broken != "" || v.Torn != 1 || v.TornEnd || v.Last != 3 {
			t.Fatalf("cut at %d, after the next: %+v", cut, v)
		}
	}
	now := text(t, path(dir))
	torn := bytes.SplitAfter(now, []byte("\n"))
	torn[1] = append([]byte(`{"seq":2,"op":"other"`), '\n')
	if err := os.WriteFile(path(dir), bytes.Join(torn, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, dir); v.Broken == "" {
		t.Error("a fragment that was altered is taken for torn")
	}
}

// The log is cut into files by size and by day, the chain goes through all of them, and what is too old is removed, which the chain shows
// to be right. A file that somebody removes is noticed.
func TestRotationAndKeeping(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	o := Options{Dir: dir, MaxBytes: 2000, Keep: 48 * time.Hour, Now: now.get}
	l := open(t, o)
	for day := range 6 {
		for i := range 12 {
			write(t, l, fmt.Sprint(day, i))
		}
		now.pass(24 * time.Hour)
	}
	l.Close()
	all, err := rotated(dir)
	if err != nil || len(all) < 4 {
		t.Fatal(all, err)
	}
	v := verify(t, dir)
	if v.Broken != "" || v.First <= 1 || v.Last < 72 {
		t.Errorf("%+v", v)
	}
	if all[0].day < "20261103" {
		t.Errorf("kept too long: %+v", all[0])
	}
	for _, o := range all {
		if info, err := os.Stat(filepath.Join(dir, o.name)); err != nil || info.Size() > 4000 {
			t.Errorf("%s: %d bytes, %v", o.name, info.Size(), err)
		}
	}
	for _, i := range []int{0, 1} {
		raw := text(t, filepath.Join(dir, all[i].name))
		if err := os.Remove(filepath.Join(dir, all[i].name)); err != nil {
			t.Fatal(err)
		}
		if v := verify(t, dir); v.Broken == "" {
			t.Errorf("a file is missing, and nobody notices: %+v", v)
		}
		if err := os.WriteFile(filepath.Join(dir, all[i].name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A line is torn, and the day changes before the next.
func TestTornBeforeRotation(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	l := open(t, Options{Dir: dir, Now: now.get})
	write(t, l, "a", "b")
	l.Close()
	raw := text(t, path(dir))
	if err := os.WriteFile(path(dir), raw[:len(raw)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	now.pass(24 * time.Hour)
	l = open(t, Options{Dir: dir, Now: now.get})
	write(t, l, "c")
	l.Close()
	if v := verify(t, dir); v.Broken != "" || v.Torn != 1 || v.Last != 3 {
		t.Errorf("%+v", v)
	}
}

// Several mounts and commands of one user write at once, each from several goroutines, over rotations: one chain, nothing lost, nothing twice.
func TestManyWriters(t *testing.T) {
	dir := t.TempDir()
	const logs, people, each = 4, 4, 50
	var all sync.WaitGroup
	for i := range logs {
		l := open(t, Options{Dir: dir, MaxBytes: 20_000})
		for k := range people {
			all.Go(func() {
				for n := range each {
					if err := l.Write(Event{Op: OpRead, Source: "ecog", Name: fmt.Sprint(i, k, n)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if v := verify(t, dir); v.Broken != "" || v.Lines != logs*people*each {
		t.Errorf("%+v", v)
	}
	r, _ := NewReader(dir)
	names := map[string]bool{}
	for line := range r.Lines() {
		name, _ := r.Name(line.Record)
		names[name] = true
	}
	if len(names) != logs*people*each {
		t.Errorf("%d names", len(names))
	}
}

// Opens come faster than the disk takes them: none waits, and the log itself tells how many are missing.
func TestLostEventsAreCounted(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir, Queue: 4})
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil { // as if the disk hung
		t.Fatal(err)
	}
	for range 100 {
		l.Note(Event{Op: OpRead})
	}
	lost := l.Stats().Lost
	if lost < 100-4-batchMost || lost == 0 {
		t.Errorf("%d lost", lost)
	}
	lock.Close()
	write(t, l, "after") // its line may come before the count: a batch is gathered first
	write(t, l, "then")
	l.Close()
	r, _ := NewReader(dir)
	var said, lines int64
	for line := range r.Lines() {
		if line.Record.Op == opLost {
			said += line.Record.Bytes
		} else if line.Record.Op == OpRead && line.Record.Source == "" {
			lines++
		}
	}
	if said != lost || lines+said != 100 {
		t.Errorf("%d lost, the log says %d, and has %d", lost, said, lines)
	}
}

// The disk is full: who must know is told, who must not wait is not kept, and when there is room again the chain goes on.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	write(t, l, "a")
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = uint64(len(text(t, path(dir)))) + 50 // the next line is cut off, as by a disk that fills up
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Skip(err)
	}
	err := l.Write(Event{Op: OpRead, Name: "b"})
	again := l.Write(Event{Op: OpRead, Name: "b"})
	l.Note(Event{Op: OpRead, Name: "c"})
	if rerr := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); rerr != nil {
		t.Fatal(rerr)
	}
	if !errors.Is(err, ErrUnwritten) || !errors.Is(again, ErrUnwritten) {
		t.Errorf("%v, %v", err, again)
	}
	write(t, l, "d")
	l.Close()
	if v := verify(t, dir); v.Broken != "" || v.Torn != 1 {
		t.Errorf("%+v\n%s", v, text(t, path(dir)))
	}
}

// A line's cost is what every open of a file pays.
func TestCostOfALine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Options{Dir: dir})
	e := Event{Op: OpRead, Source: "ecog", Mount: "/mnt/ecog", Name: participant, UID: 1000, PID: 4711, Exe: "/usr/bin/python3.12"}
	write(t, l, "a")
	start := len(text(t, path(dir)))
	const n = 200
	if allocs := testing.AllocsPerRun(n, func() { l.Note(e) }); allocs > 40 { // the writer's are among them
		t.Errorf("%.0f allocations per event", allocs)
	}
	l.Close()
	if per := (len(text(t, path(dir))) - start) / (n + 1); per > 500 {
		t.Errorf("%d bytes a line", per)
	} else {
		t.Logf("%d bytes a line", per)
	}
}

func BenchmarkNote(b *testing.B) {
	l := open(b, Options{Dir: b.TempDir()})
	e := Event{Op: OpRead, Source: "ecog", Mount: "/mnt/ecog", Name: participant, UID: 1000, PID: 4711, Exe: "/usr/bin/python3.12"}
	b.ReportAllocs()
	for b.Loop() {
		l.Note(e)
	}
}
