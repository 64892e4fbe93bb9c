package model

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ownSlot is the handle of calls that open, write and close.
const ownSlot = 4

// keeper is a file that no call concerns: the directory of a history must not go.
const keeper = "keep"

// player plays one history on a mount and holds what it sees against the model.
type player struct {
	w      *world
	dir    string // on the mount
	prefix string // in the bucket: its name and a slash
	ended  func() bool
	faulty bool // errors of the network may be told

	t       *tree
	fds     [5]int
	theirs  map[string]*contest
	serial  int
	steps   int
	pending []*tree // the kill came into a call: what may have become of it
	torn    map[*node][][]byte
	log     []string
	wrong   []string
}

func newPlayer(w *world, mount, name string) *player {
	p := &player{w: w, dir: filepath.Join(mount, name), prefix: name + "/", t: newTree(), theirs: map[string]*contest{}}
	for i := range p.fds {
		p.fds[i] = -1
	}
	for _, name := range contested() {
		p.theirs[name] = &contest{key: p.prefix + name, floor: -1}
	}
	return p
}

func (p *player) path(name string) string { return p.dir + "/" + name }

func (p *player) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	p.log = append(p.log, "WRONG: "+text)
	p.wrong = append(p.wrong, text)
}

func (p *player) note(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// play makes the calls of a phase until one ends with the mount, or shows something wrong.
func (p *player) play(ops []Op, counted func()) {
	for _, o := range ops {
		for _, o := range expand(o) {
			if p.ended() || len(p.wrong) > 0 || p.pending != nil {
				return
			}
			p.step(o)
		}
		p.steps++
		counted()
	}
}

// expand makes single calls of what programs do in one go.
func expand(o Op) []Op {
	flag := openWrite | openCreate | openTrunc
	switch o.Do {
	case "append":
		flag = openWrite | openAppend
	case "save":
	default:
		return []Op{o}
	}
	return []Op{{Do: "open", A: o.A, Slot: ownSlot, Flag: flag}, {Do: "pwrite", Slot: ownSlot, Size: o.Size}, {Do: "close", Slot: ownSlot}}
}

func (p *player) step(o Op) {
	h := p.t.handles[o.Slot]
	switch o.Do {
	case "theirs-save", "theirs-append", "theirs-read", "theirs-unlink", "others-put", "others-delete":
		p.contested(o)
	case "read":
		p.read(o.A)
	case "list":
		p.list(o.A)
	case "pread", "fstat":
		if h != nil {
			p.pread(o, h)
		}
	case "open":
		_, _, n, err := p.t.walk(o.A)
		list := err == nil && n != nil && n.kind == directory && o.Flag == 0 // which works, and is no file
		if h == nil && !list {
			p.change(o)
		}
	case "close":
		if h != nil {
			p.change(o)
		}
	case "pwrite", "ftruncate", "fsync":
		if h != nil && h.write {
			p.change(o)
		}
	default:
		p.change(o)
	}
}

// body makes up bytes that no other call writes.
func (p *player) body(size int) []byte {
	p.serial++
	tag := fmt.Sprintf("%03d<%s%d>", p.serial, p.prefix, p.serial) // whatever is cut off
	return []byte(strings.Repeat(tag, size/len(tag)+1)[:size])
}

// change makes a call that changes something, here and in the model.
func (p *player) change(o Op) {
	after := p.t.clone()
	body := p.body(o.Size)
	want := after.apply(o, body)
	p.announce(o, after)
	err := p.call(o, body)
	p.note("%v: %s", o, outcome(err))
	switch {
	case p.ended() && err != nil: // it was under way, or came too late
		p.interrupted(o, body, after)
	case err == nil && want == nil, errors.Is(err, want) && want != nil:
		p.t = after
		p.look(o.A)
		p.look(o.B)
	case errors.Is(err, unix.EXDEV) && p.maySayEXDEV(o):
	case p.faulty && transient(err):
		p.pending = p.outcomes(o, after)
		p.settle(p.scan())
	default:
		p.fail("%v: %s instead of %s", o, outcome(err), outcome(want))
	}
}

// transient errors tell of a service that does not do what it is asked for in time, or that somebody else was faster: the call may have been done.
func transient(err error) bool {
	return slices.ContainsFunc([]error{unix.EIO, unix.EAGAIN, unix.ETIMEDOUT, unix.ESTALE}, func(e error) bool { return errors.Is(err, e) })
}

func outcome(err error) string {
	var number unix.Errno
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &number):
		return unix.ErrnoName(number)
	}
	return err.Error()
}

// maySayEXDEV: a directory is not renamed where something is stored below it, or ever was since the source may show that for a while.
func (p *player) maySayEXDEV(o Op) bool {
	_, _, n, err := p.t.walk(o.A)
	return o.Do == "rename" && err == nil && n != nil && n.kind == directory && len(p.w.below(p.prefix+o.A+"/", true)) > 0
}

// apply is what a call does to the model.
func (t *tree) apply(o Op, body []byte) error {
	h := t.handles[o.Slot]
	switch o.Do {
	case "open":
		return t.open(o)
	case "close":
		t.close(o.Slot)
	case "fsync":
		h.n.seal()
	case "pwrite":
		off := o.Off
		if h.append {
			off = len(h.n.data)
		}
		if len(body) > 0 {
			h.n.set(put(h.n.data, off, body))
		}
	case "ftruncate":
		h.n.set(resized(h.n.data, o.Size))
	case "rename":
		return t.rename(o.A, o.B)
	case "unlink":
		return t.unlink(o.A)
	case "mkdir":
		return t.mkdir(o.A)
	case "rmdir":
		return t.rmdir(o.A)
	case "symlink":
		return t.symlink(nowhere(o), o.A)
	default:
		return t.attr(o)
	}
	return nil
}

// attr is truncate(2), chmod(2) and utimensat(2).
func (t *tree) attr(o Op) error {
	_, _, n, err := t.walk(o.A)
	switch {
	case err != nil:
		return err
	case n == nil, n.kind == link && o.Do != "times":
		return unix.ENOENT
	case o.Do == "truncate" && n.kind == directory:
		return unix.EISDIR
	case o.Do == "truncate":
		n.set(resized(n.data, o.Size))
		n.seal()
	case o.Do == "chmod":
		n.mode = o.Mode
	case o.Do == "times":
		n.mtime = when(o)
	}
	return nil
}

func nowhere(o Op) string { return fmt.Sprintf("nowhere/%d", o.Size) }

func when(o Op) int64 { return 1_500_000_000 + int64(o.Flag)*1000 }

// call makes the call.
func (p *player) call(o Op, body []byte) (err error) {
	a, fd := p.path(o.A), p.fds[o.Slot]
	switch o.Do {
	case "open":
		fd, err = unix.Open(a, openFlags(o), 0o644)
		if err == nil {
			p.fds[o.Slot] = fd
		}
	case "close":
		p.fds[o.Slot] = -1
		err = unix.Close(fd)
	case "fsync":
		err = unix.Fsync(fd)
	case "pwrite":
		_, err = unix.Pwrite(fd, body, int64(o.Off)) // at the end, where the file was opened for that
	case "ftruncate":
		err = unix.Ftruncate(fd, int64(o.Size))
	case "truncate":
		err = unix.Truncate(a, int64(o.Size))
	case "rename":
		err = unix.Rename(a, p.path(o.B))
	case "unlink":
		err = unix.Unlink(a)
	case "mkdir":
		err = unix.Mkdir(a, 0o755)
	case "rmdir":
		err = unix.Rmdir(a)
	case "symlink":
		err = unix.Symlink(nowhere(o), a)
	case "chmod":
		err = unix.Chmod(a, o.Mode)
	case "times":
		t := unix.NsecToTimespec(when(o) * 1e9)
		err = unix.UtimesNanoAt(unix.AT_FDCWD, a, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	default:
		panic("no such call: " + o.Do)
	}
	return err
}

func openFlags(o Op) int {
	flags := unix.O_RDONLY
	for i, f := range []int{unix.O_RDWR, unix.O_CREAT, unix.O_EXCL, unix.O_TRUNC, unix.O_APPEND} {
		if o.Flag&(1<<i) != 0 {
			flags |= f
		}
	}
	return flags | unix.O_NOFOLLOW | unix.O_CLOEXEC
}

// announce tells the world what may be stored as soon as the call is under way.
func (p *player) announce(o Op, after *tree) {
	switch o.Do {
	case "close", "fsync":
		p.w.may(p.t.handles[o.Slot].n.data)
	case "truncate":
		if _, _, n, err := after.walk(o.A); err == nil && n != nil {
			p.w.may(n.data)
		}
	case "rename": // a copy of something stored is made safe before that is removed under its old name
		if _, _, n, err := p.t.walk(o.A); err == nil && n != nil && n.safe != nil {
			p.w.may(n.data)
		}
	}
}

// outcomes are what may have become of a call that nobody heard the end of: it was not done, or it was. What was stored is renamed by a
// copy and a removal: both names may be there. What stands for an empty directory at the server is removed there before another takes its name.
func (p *player) outcomes(o Op, after *tree) []*tree {
	all := []*tree{p.t, after}
	_, _, n, err := p.t.walk(o.A)
	if o.Do == "rename" && err == nil && n != nil {
		if _, _, over, err := p.t.walk(o.B); err == nil && over != nil && over != n && n.kind == directory && over.kind == directory && len(over.kids) == 0 {
			between := p.t.clone()
			between.remove(o.B)
			all = append(all, between)
		}
		all = append(all, left(o, after, n.mode), left(o, after, 0))
	}
	return slices.DeleteFunc(all, func(t *tree) bool { return t == nil })
}

// left is after a rename whose old name is still there; what was known of that alone, as a mode that was never stored, may be forgotten.
func left(o Op, after *tree, mode uint32) *tree {
	both := after.clone()
	dir, base, now, err := both.walk(o.A)
	if err != nil || now != nil {
		return nil
	}
	_, _, moved, _ := both.walk(o.B)
	copied := *moved
	copied.mode = mode
	dir.kids[base] = &copied
	return both
}

// interrupted notes what may have become of the call that the kill came into.
func (p *player) interrupted(o Op, body []byte, after *tree) {
	p.pending = p.outcomes(o, after)
	p.torn = map[*node][][]byte{}
	if o.Do != "pwrite" {
		return
	}
	h, off := p.t.handles[o.Slot], o.Off
	if h.append {
		off = len(h.n.data)
	}
	for _, t := range p.pending {
		p.torn[t.handles[o.Slot].n] = torn(h.n.data, off, body)
	}
}

// torn is what a write that was interrupted may have left: the kernel writes page by page.
func torn(data []byte, off int, body []byte) (all [][]byte) {
	for k := 4096 - off%4096; k < len(body); k += 4096 {
		all = append(all, put(data, off, body[:k]))
	}
	return all
}
