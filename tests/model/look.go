package model

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// look compares one thing with the model, as far as stat tells.
func (p *player) look(name string) {
	if name == "" {
		return
	}
	var s unix.Stat_t
	err := unix.Lstat(p.path(name), &s)
	_, _, n, want := p.t.walk(name)
	if want == nil && n == nil {
		want = unix.ENOENT
	}
	switch {
	case p.ended() && err != nil:
	case !errors.Is(err, want) || (err == nil) != (want == nil):
		p.fail("stat %s: %s instead of %s", name, outcome(err), outcome(want))
	case err == nil && n.kind == regular && s.Size != int64(len(n.data)):
		p.fail("stat %s: %d bytes instead of %d", name, s.Size, len(n.data))
	case err == nil && n.kind == regular && n.mode != 0 && s.Mode&0o7777 != n.mode:
		p.fail("stat %s: mode %o instead of %o", name, s.Mode&0o7777, n.mode)
	case err == nil && n.kind == regular && n.mtime != 0 && s.Mtim.Sec != n.mtime:
		p.fail("stat %s: time %d instead of %d", name, s.Mtim.Sec, n.mtime)
	}
}

func (p *player) read(name string) {
	_, _, n, want := p.t.walk(name)
	switch {
	case want != nil:
	case n == nil:
		want = unix.ENOENT
	case n.kind == directory:
		return
	case n.kind == link:
		want = unix.ELOOP
	}
	got, err := readFile(p.path(name))
	p.note("read %s: %s %s", name, brief(got), outcome(err))
	switch {
	case p.ended() && err != nil, p.faulty && transient(err):
	case want != nil && errors.Is(err, want):
	case want != nil || err != nil:
		p.fail("read %s: %s instead of %s", name, outcome(err), outcome(want))
	case !bytes.Equal(got, n.data):
		p.fail("read %s: %s instead of %s", name, brief(got), brief(n.data))
	}
}

func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readAll(fd)
}

func readAll(fd int) ([]byte, error) {
	out := []byte{} // which nil is not: that is nothing at all
	b := make([]byte, 128<<10)
	for {
		n, err := unix.Pread(fd, b, int64(len(out)))
		if err != nil || n == 0 {
			return out, err
		}
		out = append(out, b[:n]...)
	}
}

// pread reads through a handle. Who can write sees all that is written; who cannot sees the version that was opened, or, where that was
// not stored yet, what is written until it is. A version that was replaced may be out of reach.
func (p *player) pread(o Op, h *handle) {
	var got []byte
	var err error
	var s unix.Stat_t
	if o.Do == "fstat" {
		if err = unix.Fstat(p.fds[o.Slot], &s); err == nil {
			got = make([]byte, s.Size)
		}
	} else {
		got, err = readAll(p.fds[o.Slot])
	}
	p.note("%v: %s %s", o, brief(got), outcome(err))
	may := h.n.log[h.from:]
	if h.write {
		may = [][]byte{h.n.data}
	}
	fits := func(b []byte) bool {
		return bytes.Equal(b, got) || o.Do == "fstat" && len(b) == len(got)
	}
	switch {
	case p.ended() && err != nil:
	case errors.Is(err, unix.ESTALE) && !h.write && (h.n.gone || len(may) > 1):
	case err != nil && p.faulty && transient(err):
	case err != nil:
		p.fail("%v: %s", o, outcome(err))
	case !slices.ContainsFunc(may, fits):
		p.fail("%v: %s instead of %s", o, brief(got), brief(h.n.data))
	}
}

// list compares the names in a directory, the topmost where there is none of that name.
func (p *player) list(name string) {
	_, _, n, err := p.t.walk(name)
	if err != nil || n == nil || n.kind != directory {
		name, n = "", p.t.root
	}
	entries, err := os.ReadDir(p.path(name))
	var got []string
	for _, e := range entries {
		if name != "" || e.Name() != keeper && p.theirs[e.Name()] == nil {
			got = append(got, e.Name())
		}
	}
	p.note("list %s: %v %s", name, got, outcome(err))
	var want []string
	for base := range n.kids {
		want = append(want, base)
	}
	slices.Sort(want)
	switch {
	case p.ended() && err != nil, p.faulty && transient(err):
	case err != nil || !slices.Equal(got, want):
		p.fail("list %q: %v, %v instead of %v", name, err, got, want)
	}
}

// scan looks at all that is there.
func (p *player) scan() map[string]seen {
	found := map[string]seen{}
	err := filepath.WalkDir(p.dir, func(path string, _ fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, p.dir), "/")
		if err != nil {
			return err
		}
		if name == "" || name == keeper || p.theirs[name] != nil {
			return nil
		}
		s, err := lookAt(path)
		found[name] = s
		return err
	})
	if err != nil {
		p.fail("looking at all: %v", err)
	}
	return found
}

func lookAt(path string) (s seen, err error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return s, fmt.Errorf("stat %s: %w", path, err)
	}
	s.mode, s.mtime = st.Mode&0o7777, st.Mtim.Sec
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		s.kind = directory
	case unix.S_IFLNK:
		s.kind = link
		s.target, err = os.Readlink(path)
	default:
		s.data, err = readFile(path)
	}
	if err != nil {
		err = fmt.Errorf("read %s: %w", path, err)
	}
	return s, err
}

// settle finds out which of the outcomes that are possible is the case.
func (p *player) settle(found map[string]seen) {
	all := p.pending
	if all == nil {
		all = []*tree{p.t}
	}
	p.pending, p.torn = nil, nil
	var wrong []string
	for _, t := range all {
		why := t.match(found)
		if why == nil {
			p.t = t
			return
		}
		wrong = append(wrong, strings.Join(why, ", "))
	}
	p.fail("what is there is none of %d possible outcomes: %s", len(all), strings.Join(wrong, "; or "))
}
