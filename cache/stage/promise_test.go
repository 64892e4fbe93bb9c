package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends"
)

// promised is what must be true of one staged thing after a crash.
type promised struct {
	id       ID
	name     string
	kind     Kind
	target   string
	modes    []uint32 // one of these
	sealed   bool     // close or fsync has returned since it was made
	local    bool     // it is junk
	versions [][]byte // the bytes that were sealed last, then what they have become since, one by one
}

func (p *promised) live() []byte { return p.versions[len(p.versions)-1] }
func (p *promised) dirty() bool  { return len(p.versions) > 1 }

// promises are what must be true of a stage after a crash at one moment.
type promises map[ID]promised

// found is what is there after a crash.
type found struct {
	Info
	bytes []byte
}

// judge says in what a stage breaks its promises when a call was under way, "" if in nothing: each thing is as it was before the call or as it
// is to be after. Those whose names the call changes are so together.
func judge(is map[ID]found, before, after promises) string {
	ids := maps.Clone(is)
	for _, p := range []promises{before, after} {
		for id := range p {
			if _, ok := ids[id]; !ok {
				ids[id] = found{}
			}
		}
	}
	var old, now []string // what speaks against all names being old, and against all being new
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		one, other := before.broken(id, is), after.broken(id, is)
		x, had := before[id]
		y, has := after[id]
		if had != has || x.name != y.name {
			old, now = append(old, one), append(now, other)
		} else if one != "" && other != "" {
			return one + "; or " + other
		}
	}
	one, other := strings.Trim(strings.Join(old, "; "), "; "), strings.Trim(strings.Join(now, "; "), "; ")
	if one != "" && other != "" {
		return one + "; or " + other
	}
	return ""
}

// broken says in what one thing is not as promised.
func (p promises) broken(id ID, is map[ID]found) string {
	want, due := p[id]
	have, there := is[id]
	if !due && !there {
		return ""
	}
	why := "should not be there"
	if due {
		why = want.broken(have, there)
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("item %d, %q (now %q, %v, %d bytes): %s", id, want.name, have.Name, have.State, len(have.bytes), why)
}

// all is judge where no call was under way.
func (p promises) all(is map[ID]found) string { return judge(is, p, p) }

func (p *promised) broken(is found, there bool) string {
	switch {
	case p.kind == Regular && !p.sealed:
		if there && is.State != Orphan && is.State != Quarantined && (!p.local || is.State != LocalOnly) {
			return "never sealed, but " + is.State.String()
		}
		return ""
	case !there && !p.sealed:
		return "" // a directory or a link that no sync has followed
	case !there:
		return "lost"
	case is.Kind != p.kind || is.Target != p.target:
		return "of another kind"
	case p.dirty() && is.State == Orphan:
		return p.mixed(is.bytes)
	case p.local != (is.State == LocalOnly):
		return fmt.Sprintf("%v, but junk: %v", is.State, p.local)
	case is.State != Staged && is.State != LocalOnly:
		return is.State.String() + ": " + is.Err
	case is.Name != p.name:
		return fmt.Sprintf("called %q", is.Name)
	case !slices.Contains(p.modes, is.Attr.Mode):
		return fmt.Sprintf("has mode %o, not one of %o", is.Attr.Mode, p.modes)
	case p.kind != Regular:
		return ""
	case p.dirty():
		return p.mixed(is.bytes)
	case !bytes.Equal(is.bytes, p.live()):
		return fmt.Sprintf("has other bytes: %d, want %d", len(is.bytes), len(p.live()))
	}
	return ""
}

// mixed minds bytes that the file never had at their place.
func (p *promised) mixed(is []byte) string {
	most := 0
	for _, v := range p.versions {
		most = max(most, len(v))
	}
	if len(is) > most {
		return "longer than it ever was"
	}
	for i, b := range is {
		if b != 0 && !slices.ContainsFunc(p.versions, func(v []byte) bool { return i < len(v) && v[i] == b }) {
			return fmt.Sprintf("has a byte at %d that was never there", i)
		}
		if b == 0 && !slices.ContainsFunc(p.versions, func(v []byte) bool { return i >= len(v) || v[i] != p.versions[0][i] }) && p.versions[0][i] != 0 {
			return fmt.Sprintf("has lost the byte at %d, which was sealed and not written to since", i)
		}
	}
	return ""
}

// world runs a workload on a stage and keeps account of what is promised.
type world struct {
	t       testing.TB
	s       *Stage
	rec     *recorder
	now     promises
	moments []moment
	open    []*File
	err     error    // the first error; nothing is done after it
	trying  promises // what would have been promised if it had not failed
	serial  int
}

// moment: once so many calls were made on the disk, this is promised.
type moment struct {
	at   int
	what promises
	op   string
}

func openWorld(t testing.TB, dir string, rec *recorder) (*world, error) {
	t.Helper()
	s, err := Open(testOptions(dir, rec))
	if err != nil {
		return nil, err
	}
	w := &world{t: t, s: s, rec: rec, now: promises{}}
	w.moments = []moment{{rec.len(), promises{}, "open"}}
	return w, nil
}

func testOptions(dir string, rec *recorder) Options {
	o := Options{Dir: dir, Target: "s3://bucket", Key: testKey(), Reserve: -1, Quiet: time.Nanosecond}
	if rec != nil {
		o.hook, o.spares = rec.hook, 2
	}
	return o
}

// step makes one call and, if it succeeds, what change does to the promises holds from then on.
func (w *world) step(op string, call func() error, change func(p promises)) {
	if w.err != nil {
		return
	}
	next := maps.Clone(w.now)
	err := call()
	change(next)
	if err != nil {
		w.err, w.trying = fmt.Errorf("%s: %w", op, err), next
		return
	}
	w.now = next
	w.moments = append(w.moments, moment{w.rec.len(), next, op})
}

// durable: the journal was synced with everything before.
func (p promises) durable() {
	for id, f := range p {
		if f.kind != Regular {
			f.sealed = true
		}
		f.modes = f.modes[len(f.modes)-1:]
		p[id] = f
	}
}

func (p promises) change(id ID, f func(*promised)) {
	if it, ok := p[id]; ok {
		f(&it)
		p[id] = it
	}
}

func (w *world) create(name string) *File {
	var f *File
	w.step("create "+name, func() (err error) {
		f, err = w.s.Create(name, Attr{Mode: 0o640}, backends.Entry{})
		return err
	}, func(p promises) {
		if f != nil {
			p[f.ID()] = promised{id: f.ID(), name: name, kind: Regular, modes: []uint32{0o640}, versions: [][]byte{nil}, local: strings.HasPrefix(name, "._")}
		}
	})
	if f != nil {
		w.open = append(w.open, f)
	}
	return f
}

func (w *world) edit(name string) *File {
	var f *File
	w.step("open "+name, func() (err error) {
		f, err = w.s.OpenFile(w.t.Context(), w.id(name), true)
		return err
	}, func(promises) {})
	if f != nil {
		w.open = append(w.open, f)
	}
	return f
}

// write changes bytes. They are in the state that a crash may leave from the moment of the call.
func (w *world) write(f *File, off, n int) {
	w.serial++
	data := bytes.Repeat([]byte{byte('A' + w.serial%50)}, n)
	w.change(f, fmt.Sprintf("write %d+%d", off, n), func() error {
		_, err := f.WriteAt(data, int64(off))
		return err
	}, func(b []byte) []byte { return writeInto(b, op{kind: opWrite, off: int64(off), data: data}, nil) })
}

func (w *world) truncate(f *File, size int) {
	w.change(f, fmt.Sprintf("truncate %d", size), func() error { return f.Truncate(int64(size)) },
		func(b []byte) []byte { return writeInto(b, op{kind: opTruncate, size: int64(size)}, nil) })
}

func (w *world) change(f *File, op string, call func() error, bytesOf func([]byte) []byte) {
	if w.err != nil {
		return
	}
	w.step(op, call, func(p promises) {
		p.change(f.ID(), func(it *promised) {
			it.versions = append(slices.Clone(it.versions), bytesOf(bytes.Clone(it.live())))
		})
	})
}

func (w *world) flush(f *File) { w.seal("flush", f, (*File).Flush, false) }
func (w *world) sync(f *File)  { w.seal("fsync", f, (*File).Sync, true) }

func (w *world) seal(op string, f *File, call func(*File, context.Context) error, durable bool) {
	if w.err != nil {
		return
	}
	w.step(op, func() error { return call(f, w.t.Context()) }, func(p promises) {
		p.change(f.ID(), func(it *promised) {
			it.sealed, it.versions = true, [][]byte{it.live()}
		})
		if durable {
			p.durable()
		}
	})
}

func (w *world) close(f *File) {
	if w.err == nil {
		w.step("close", f.Close, func(promises) {})
	}
}

func (w *world) rename(old, to string) {
	id, over := w.id(old), w.id(to)
	w.step("rename "+old+" "+to, func() error { return w.s.Rename(w.t.Context(), old, to, backends.Entry{}, false) }, func(p promises) {
		if over != id {
			delete(p, over)
		}
		p.change(id, func(it *promised) {
			it.name, it.local = to, strings.HasPrefix(to, "._") && (it.local || strings.HasPrefix(old, ".tmp"))
		})
		for id, it := range p {
			if rest, ok := strings.CutPrefix(it.name, old+"/"); ok {
				p.change(id, func(it *promised) { it.name = to + "/" + rest })
			}
		}
		p.durable()
	})
}

func (w *world) exchange(a, b string) {
	x, y := w.id(a), w.id(b)
	w.step("exchange "+a+" "+b, func() error { return w.s.Exchange(w.t.Context(), a, b) }, func(p promises) {
		p.change(x, func(it *promised) { it.name = b })
		p.change(y, func(it *promised) { it.name = a })
		p.durable()
	})
}

func (w *world) remove(name string) {
	id := w.id(name)
	w.step("remove "+name, func() error { return w.s.Remove(w.t.Context(), name) }, func(p promises) { delete(p, id) })
}

func (w *world) mkdir(name string) {
	w.make("mkdir "+name, promised{name: name, kind: Dir}, func() (Info, error) { return w.s.Mkdir(name, Attr{Mode: 0o750}) })
}

func (w *world) symlink(name string) {
	w.make("symlink "+name, promised{name: name, kind: Link, target: "over/there"},
		func() (Info, error) { return w.s.Symlink(name, "over/there", Attr{Mode: 0o750}, backends.Entry{}) })
}

func (w *world) make(op string, it promised, call func() (Info, error)) {
	w.step(op, func() error {
		n, err := call()
		it.id = n.ID
		return err
	}, func(p promises) {
		it.modes, it.versions = []uint32{0o750}, [][]byte{nil}
		if it.id != 0 {
			p[it.id] = it
		}
	})
}

func (w *world) chmod(name string, mode uint32) {
	id := w.id(name)
	w.step("chmod "+name, func() error {
		_, err := w.s.SetAttr(id, func(a *Attr) { a.Mode = mode })
		return err
	}, func(p promises) {
		p.change(id, func(it *promised) { it.modes = append(slices.Clone(it.modes), mode) })
	})
}

// id is what has a name now, 0 if nothing.
func (w *world) id(name string) ID {
	for id, it := range w.now {
		if it.name == name {
			return id
		}
	}
	return 0
}

// end lets go of everything without closing the stage properly: what a kill does to a process, as far as one process can.
func (w *world) end() {
	for _, f := range w.open {
		f.f.Close()
	}
	w.rec.mu.Lock()
	w.rec.fail = func(int, op) error { return errors.New("the process is dead") }
	w.rec.mu.Unlock()
	w.s.Close()
}

// before and after are what may hold when a crash comes after n calls on the disk.
func (w *world) around(n int) (before, after moment) {
	for i, m := range w.moments {
		if m.at > n {
			break
		}
		before, after = m, m
		if i+1 < len(w.moments) {
			after = w.moments[i+1]
		}
	}
	return before, after
}

// survey opens what a crash has left and tells what is there; files in the states that the uploader would be given are taken from it by
// way of it. The stage is closed again.
func survey(t testing.TB, dir string, rec *recorder) (map[ID]found, error) {
	t.Helper()
	s, err := Open(testOptions(dir, rec))
	if err != nil {
		return nil, fmt.Errorf("open after the crash: %w", err)
	}
	defer s.Close()
	out := map[ID]found{}
	for _, n := range everything(s) {
		f := found{Info: n}
		if n.Kind == Regular && n.State != Quarantined {
			if f.bytes, err = readStaged(filepath.Join(dir, fileName(n.ID))); err != nil {
				return nil, err
			}
		}
		if by, ok := s.Lookup(n.Name); (n.State == Staged || n.State == LocalOnly) && (!ok || by.ID != n.ID) {
			return nil, fmt.Errorf("item %d is not under its name %q", n.ID, n.Name)
		}
		out[n.ID] = f
	}
	f, err := s.Create("made after the crash", Attr{}, backends.Entry{})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, used := out[f.ID()]; used {
		return nil, fmt.Errorf("number %d is given twice", f.ID())
	}
	if err := s.Remove(t.Context(), "made after the crash"); err != nil {
		return nil, err
	}
	return out, handedOut(t, s, out)
}

// everything is what is in a stage, with the directories that do not wait by themselves.
func everything(s *Stage) (out []Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range sortedItems(s.items) {
		if !it.gone && !it.undo {
			out = append(out, it.info())
		}
	}
	return out
}

// handedOut lets the stage give away what is due and minds what must not go, and what does not.
func handedOut(t testing.TB, s *Stage, is map[ID]found) error {
	t.Helper()
	due := map[ID]bool{}
	for id, f := range is {
		if f.State == Staged && f.Kind != Dir {
			due[id] = true
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.Hasten()
	for len(due) > 0 {
		j, err := s.Next(ctx)
		if err != nil {
			return fmt.Errorf("%d things are never handed to the uploader: %w", len(due), err)
		}
		f := is[j.ID]
		var body []byte
		if j.Body() != nil {
			if body, err = io.ReadAll(io.NewSectionReader(j.Body(), 0, 1<<30)); err != nil {
				return err
			}
		}
		if f.Kind == Regular && (f.State != Staged || !bytes.Equal(body, f.bytes)) {
			return fmt.Errorf("item %d (%v) is handed to the uploader with %d bytes", j.ID, f.State, len(body))
		}
		delete(due, j.ID)
		if err := j.Stored(backends.Entry{Name: j.Name, Size: int64(len(body)), Version: "1"}, nil); err != nil {
			return err
		}
	}
	return nil
}
