package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// errKilled is what a dead process gets from its disk and its target.
var errKilled = errors.New("the process is dead")

// machine is one computer with a stage, programs that use it, and an account of what must be true.
type machine struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	dst   *target
	s     *Stage
	rec   *recorder
	end   func()
	trace []string

	want   map[string]string // what was closed last under a name
	open   map[string]*File  // files left open, written to since
	fresh  map[string]bool   // of these, those that were never closed
	moved  map[string]bool   // names that others have changed since a program here has looked
	gone   map[string]bool   // names that were given up here before anything was stored under them
	junk   map[string]bool   // names of which nothing is to be stored
	serial int
}

func (m *machine) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(m.trace, "\n"))
	}
}

func (m *machine) start() {
	m.t.Helper()
	m.rec = &recorder{}
	s, err := Open(testOptions(m.dir, m.rec))
	m.must(err)
	s.o.Quiet = 5 * time.Second
	m.s = s
	m.dst.mu.Lock()
	m.dst.dead = false
	m.dst.mu.Unlock()
	u := NewUploader(UploaderOptions{Stage: s, Dst: m.dst, Rand: func() float64 { return 1 }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.Run(ctx)
	}()
	m.end = func() {
		cancel()
		<-done
	}
}

// kill ends the process as kill -9 does, and starts it again.
func (m *machine) kill() {
	m.note("kill")
	m.dst.mu.Lock() // first: nothing goes out of which the journal does not know
	m.dst.dead = true
	m.dst.mu.Unlock()
	m.rec.mu.Lock()
	m.rec.fail = func(int, op) error { return errKilled }
	m.rec.mu.Unlock()
	m.end()
	for _, f := range m.open {
		f.f.Close()
	}
	m.s.Close()
	m.restarted()
}

// stop unmounts, and mounts again.
func (m *machine) stop() {
	m.note("stop")
	m.end()
	m.must(m.s.Close())
	for _, f := range m.open {
		f.f.Close()
	}
	m.restarted()
}

// restarted starts the process again: files that were never closed are orphans now; of the others what was written last is there.
func (m *machine) restarted() {
	m.start()
	for name := range m.open {
		if m.fresh[name] {
			delete(m.want, name)
			continue
		}
		n, ok := m.s.Lookup(name)
		if !ok {
			m.t.Fatalf("%s is lost\n%s", name, strings.Join(m.trace, "\n"))
		}
		b, err := readStaged(filepath.Join(m.dir, fileName(n.ID)))
		m.must(err)
		m.sealed(name, string(b))
	}
	clear(m.open)
	clear(m.fresh)
}

// sealed: a close has returned.
func (m *machine) sealed(name, text string) {
	m.dst.mu.Lock()
	m.dst.lands[text] = true
	m.dst.mu.Unlock()
	m.want[name] = text
	if !m.junk[name] {
		delete(m.gone, name)
	}
}

// stat is what a program sees at the target before it writes there.
func (m *machine) stat(name string) backends.Entry {
	m.dst.mu.Lock()
	defer m.dst.mu.Unlock()
	if _, staged := m.s.Lookup(name); m.moved[name] && !staged { // from now on it counts what others have made of it
		if text, ok := m.want[name]; ok && !slices.Contains(m.dst.past[name], text) {
			m.t.Errorf("%q is lost", text)
		}
		delete(m.want, name)
		delete(m.moved, name)
	}
	e, err := m.dst.Stat(context.Background(), name)
	if err != nil {
		return backends.Entry{}
	}
	m.dst.seen[name+" "+e.Version] = true
	return e
}

// writable opens a name for writing, as the file system does, and returns what is in it.
func (m *machine) writable(name string, keep bool) (f *File, text string) {
	m.t.Helper()
	for range 10 {
		n, ok := m.s.Lookup(name)
		if !ok {
			e := m.stat(name)
			if e.Version == "" {
				f, err := m.s.Create(name, Attr{Mode: 0o644}, e)
				m.must(err)
				m.fresh[name] = true
				m.junk[name] = name == junkName
				return f, ""
			}
			body := m.dst.text(name)
			fill := func(_ context.Context, w io.WriterAt) error {
				_, err := w.WriteAt([]byte(body), 0)
				return err
			}
			if !keep {
				fill = nil
			}
			var err error
			n, err = m.s.Replace(context.Background(), e, Attr{Mode: 0o644}, fill, func(ID) {})
			m.must(err)
			m.fresh[name], m.junk[name] = true, false
		}
		f, err := m.s.OpenFile(context.Background(), n.ID, true)
		if errors.Is(err, backends.ErrNotExist) {
			continue // stored meanwhile
		}
		m.must(err)
		l, err := f.f.look()
		m.must(err)
		b := make([]byte, l.Size)
		_, err = f.ReadAt(b, 0)
		if l.Size > 0 {
			m.must(err)
		}
		return f, string(b)
	}
	m.t.Fatal("it is stored again and again")
	return nil, ""
}

// write changes a file: all of it, or a part; and closes it, or not.
func (m *machine) write(name string, whole, leave bool) {
	m.serial++
	f, had := m.open[name], ""
	if f == nil {
		f, had = m.writable(name, !whole)
	} else {
		l, err := f.f.look()
		m.must(err)
		b := make([]byte, l.Size)
		f.ReadAt(b, 0)
		had = string(b)
	}
	text := fmt.Sprintf("<%d>", m.serial)
	now := text + had[min(len(text), len(had)):]
	if whole {
		m.must(f.Truncate(0))
		now = strings.Repeat(text, 1+m.rng.IntN(4))
		text = now
	}
	m.note("write %s: %q (whole %v, left open %v, had %q)", name, now, whole, leave, had)
	_, err := f.WriteAt([]byte(text), 0)
	m.must(err)
	if m.open[name] = f; leave {
		return
	}
	m.close(name)
}

func (m *machine) close(name string) {
	f := m.open[name]
	if f == nil {
		return
	}
	l, err := f.f.look()
	m.must(err)
	b := make([]byte, l.Size)
	f.ReadAt(b, 0)
	m.note("close %s: %q", name, b)
	m.sealed(name, string(b)) // the uploader may have it before close returns
	m.must(f.Flush(context.Background()))
	m.must(f.Close())
	delete(m.open, name)
	delete(m.fresh, name)
}

// junkName is a name of junk for what begins under it.
const junkName = "._e"

// rename and remove are for what is only staged: the rest is the file system's.
func (m *machine) rename(from, to string) {
	if m.open[from] != nil || m.open[to] != nil || from == to {
		return
	}
	var err error
	if n, staged := m.s.Lookup(to); staged { // if it is stored meanwhile, as what a look would have to say
		err = m.s.RenameOver(context.Background(), from, to, n.ID)
	} else {
		err = m.s.Rename(context.Background(), from, to, m.stat(to), false)
	}
	m.note("rename %s %s: %v", from, to, err)
	if errors.Is(err, ErrStored) || errors.Is(err, backends.ErrNotExist) {
		return
	}
	m.must(err)
	text := m.want[from]
	delete(m.want, from)
	m.gone[from] = m.gone[from] || !m.moved[from]
	m.junk[from], m.junk[to] = false, false
	m.sealed(to, text)
}

func (m *machine) remove(name string) {
	if m.open[name] != nil {
		return
	}
	n, ok := m.s.Lookup(name)
	if !ok || n.Base.Version != "" {
		return
	}
	err := m.s.Remove(context.Background(), name)
	m.note("remove %s: %v", name, err)
	if !errors.Is(err, backends.ErrNotExist) {
		m.must(err)
		delete(m.want, name)
		m.gone[name] = m.gone[name] || !m.moved[name]
	}
}

func (m *machine) chmod(name string) {
	mode := uint32(0o600 + m.rng.IntN(8))
	if n, ok := m.s.Lookup(name); ok {
		_, err := m.s.SetAttr(n.ID, func(a *Attr) { a.Mode = mode })
		m.note("chmod %s, staged: %v", name, err)
		if !errors.Is(err, backends.ErrNotExist) {
			m.must(err)
		}
		return
	}
	if e := m.stat(name); e.Version != "" {
		_, err := m.s.Retouch(e, Attr{Mode: 0o644}, func(a *Attr) { a.Mode = mode })
		m.note("chmod %s, stored: %v", name, err)
		m.must(err)
	}
}

// others change what lies at the target.
func (m *machine) others(name string) {
	m.serial++
	text := fmt.Sprintf("[%d]", m.serial)
	if m.rng.IntN(4) == 0 {
		text = ""
	}
	m.note("others: %s becomes %q", name, text)
	m.dst.others(name, text)
	m.moved[name] = true
	delete(m.gone, name)
}

// step does anything.
func (m *machine) step() {
	names := []string{"a", "b", "d/c", junkName}
	name := names[m.rng.IntN(len(names))]
	switch n := m.rng.IntN(100); {
	case n < 25:
		m.write(name, true, false)
	case n < 40:
		m.write(name, false, false)
	case n < 47:
		m.write(name, m.rng.IntN(2) == 0, true)
	case n < 54:
		m.close(name)
	case n < 62:
		m.rename(name, names[m.rng.IntN(len(names))])
	case n < 67:
		m.remove(name)
	case n < 72:
		m.chmod(name)
	case n < 78:
		m.others(name)
	case n < 84:
		m.kill()
	case n < 86:
		m.stop()
	default:
		time.Sleep([]time.Duration{time.Millisecond, 5 * time.Second, 10 * time.Second, time.Minute, time.Hour}[m.rng.IntN(5)])
		m.note("some time passes: %v", m.states())
	}
	m.readBack()
}

func (m *machine) states() (out []string) {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	for _, it := range sortedItems(m.s.items) {
		n := it.info()
		out = append(out, fmt.Sprintf("%d %s %v touch=%v undo=%v gone=%v %.30s", n.ID, n.Name, n.State, it.touch, it.undo, it.gone, n.Err))
	}
	return out
}

// readBack: a program reads what it has closed, wherever that is by now, unless others have changed it.
func (m *machine) readBack() {
	m.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(m.want)) {
		if m.open[name] != nil {
			continue
		}
		if _, ok := m.s.Lookup(name); m.junk[name] && !ok { // a day has passed
			delete(m.want, name)
			continue
		}
		text := m.read(name)
		if text != m.want[name] && !m.moved[name] {
			m.t.Fatalf("%s reads %q, not %q\n%s", name, text, m.want[name], strings.Join(m.trace, "\n"))
		}
	}
}

func (m *machine) read(name string) string {
	m.t.Helper()
	n, ok := m.s.Lookup(name)
	if !ok {
		return m.dst.text(name)
	}
	f, err := m.s.OpenFile(context.Background(), n.ID, false)
	if errors.Is(err, backends.ErrNotExist) {
		return m.dst.text(name) // stored meanwhile
	}
	m.must(err)
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	m.must(err)
	return string(b)
}

// finish lets all go out that can, and looks whether anything is lost.
func (m *machine) finish() {
	m.t.Helper()
	for name := range maps.Clone(m.open) {
		m.close(name)
	}
	m.dst.mu.Lock()
	m.dst.faulty = 0
	m.dst.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	if err := m.s.Wait(ctx, ""); err != nil && !errors.Is(err, ErrUnfinished) {
		m.note("%v", m.states())
		m.must(err)
	}
	m.note("at the end: %v", m.states())
	for name, text := range m.want {
		now := m.dst.text(name)
		n, staged := m.s.Lookup(name)
		switch {
		case m.junk[name] && staged && n.State == LocalOnly && (now == "" || m.moved[name]):
		case m.junk[name] && !staged: // a day has passed
		case now == text && !staged:
		case staged && n.State == Conflict && m.moved[name]:
			b, err := readStaged(filepath.Join(m.dir, fileName(n.ID)))
			m.must(err)
			if !bytes.Equal(b, []byte(text)) {
				m.t.Errorf("%s: the conflict keeps %q, not %q", name, b, text)
			}
		case !staged && m.moved[name] && slices.Contains(m.dst.past[name], text): // stored, then others came
		default:
			m.t.Errorf("%s holds %q at the target, not %q; staged %v: %v, %s", name, now, text, staged, n.State, n.Err)
		}
	}
	for name, gone := range m.gone {
		if now := m.dst.text(name); gone && now != "" {
			m.t.Errorf("%s was given up here before it was stored, but is at the target: %q", name, now)
		}
	}
	for _, why := range m.dst.wrong {
		m.t.Error(why)
	}
	if m.t.Failed() {
		m.t.Log(strings.Join(m.trace, "\n"))
	}
}

// Programs write, rename and remove, others change the same files at the target, the network fails, answers are lost, and the process is
// killed, in any order. In the end every file that was closed is stored, or in conflict with all its bytes here; nothing of others was
// overwritten unseen; and nothing was stored that no close had sealed.
func TestHistoriesAgainstAModel(t *testing.T) {
	times, steps := 60, 40
	if os.Getenv("STUDYFS_FULL") != "" {
		times = 2000
	}
	for seed := range uint64(times) {
		dir := fastDir(t)
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			src := mem.New(0)
			src.SetNow(time.Now)
			m := &machine{
				t: t, rng: rng, dir: dir, want: map[string]string{}, open: map[string]*File{}, fresh: map[string]bool{}, moved: map[string]bool{}, gone: map[string]bool{}, junk: map[string]bool{},
				dst: &target{
					Source: src, rng: rand.New(rand.NewPCG(seed, 12)), faulty: rng.IntN(4) * 2, lands: map[string]bool{}, seen: map[string]bool{},
					ours: map[string]bool{}, past: map[string][]string{},
				},
			}
			m.note("seed %d, one fault in %d", seed, m.dst.faulty)
			m.start()
			defer func() {
				m.end()
				m.s.Close()
			}()
			for range steps {
				m.step()
			}
			m.finish()
		})
		os.RemoveAll(dir)
		if t.Failed() {
			return
		}
	}
}
