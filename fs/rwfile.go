package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// copyPart is how much of a stored file is copied at a time before it can be changed.
const copyPart = 1 << 20

// rwFile is one version of one object in a writable tree. Nobody writes to it: a copy is staged for that, which is another
// node. Where the object was renamed, too, the new name leads to another node as soon as the kernel looks it up.
type rwFile struct {
	fusefs.Inode
	spot
	named
	o *overlay
	version

	mu   sync.Mutex      // guards what follows
	now  *backends.Entry // what it is since it was renamed, with the same bytes; nil: it was not
	last *stage.Attr     // what programs that have it open have set since it has no name; nil: nothing
}

// become notes that the object has another name, and so is another one.
func (f *rwFile) become(it item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = &it.e
}

// entry is the object that the file is now.
func (f *rwFile) entry() backends.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now != nil {
		return *f.now
	}
	return f.e
}

// item is the file as it is shown now, if the name still leads to this version.
func (f *rwFile) item(ctx context.Context) (item, error) {
	it, err := f.o.lookup(ctx, f.path())
	if errors.Is(err, backends.ErrNotExist) || err == nil && (it.staged || !sameVersion(it.e, f.entry())) {
		return it, backends.ErrChanged // if it is gone, looking it up again says so
	}
	return it, err
}

// current reports whether the name certainly leads to this version. It asks nobody.
func (f *rwFile) current(ctx context.Context) bool {
	dir, _ := backends.Split(f.path())
	if f.o.t.store.Fresh(dir) <= 0 {
		return false
	}
	_, err := f.item(ctx)
	return err == nil
}

// Getattr shows the version that this node is, whatever became of the name.
func (f *rwFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.fill(storedItem(f.entry()), out)
	return 0
}

func (f *rwFile) fill(it item, out *fuse.AttrOut) {
	f.o.fill(it, &out.Attr)
	f.mu.Lock()
	if a := f.last; a != nil {
		out.Mode, out.Owner = out.Mode&syscall.S_IFMT|a.Mode, fuse.Owner{Uid: a.UID, Gid: a.GID}
		out.SetTimes(&a.ATime, &a.ModTime, nil)
	}
	f.mu.Unlock()
	out.Ino, out.Nlink = f.StableAttr().Ino, f.links()
	out.SetTimeout(f.o.attrTimeout(it))
}

// Open answers ESTALE for writing, when a copy is staged: the kernel looks the name up again by itself and opens that. So it does
// where the name has another version by now.
func (f *rwFile) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if no := f.t.fs.mayRead(ctx); no != 0 {
		return nil, 0, no
	}
	ctx, done := patient(ctx)
	defer done()
	if writes(flags) {
		return nil, 0, f.o.instead(ctx, "open", f.path(), flags&syscall.O_TRUNC != 0)
	}
	it, err := f.item(ctx)
	if err != nil {
		return nil, 0, f.o.fail(ctx, "open", f.e.Name, err)
	}
	if it.e.Name == f.e.Name && f.ready(it.e) { //nolint:contextcheck // nobody waits for what is fetched ahead
		if err := f.t.fs.opened(ctx, f.t.name, f.path(), f.e.Size); err != nil {
			return nil, 0, f.o.fail(ctx, "open", f.e.Name, err)
		}
		h, how := f.unopened()
		return h, how, 0
	}
	r, err := f.t.store.Open(ctx, it.e) // of the newest entry: its tier may have changed
	if err == nil {
		err = f.told(ctx, f.path(), r)
	}
	if err != nil {
		return nil, 0, f.o.fail(ctx, "open", f.e.Name, err)
	}
	h, how := f.answer(ctx, &f.Inode, r)
	return h, how, 0
}

// Setattr changes what is kept of the object; for another size a copy is staged, as in Open.
func (f *rwFile) Setattr(ctx context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	if size, ok := in.GetSize(); ok {
		return f.o.instead(ctx, "truncate", f.path(), size == 0)
	}
	it, err := f.change(ctx, in)
	if err != nil {
		return f.o.fail(ctx, "setattr", f.path(), err)
	}
	f.fill(it, out)
	return 0
}

// change does what setattr asks for, also for programs that have the file open when its name is gone, or leads to a copy that is
// being changed.
func (f *rwFile) change(ctx context.Context, in *fuse.SetAttrIn) (item, error) {
	it, err := f.item(ctx)
	if err == nil {
		return f.o.change(it, in)
	}
	was := storedItem(f.entry())
	if f.lost.Load() {
		f.forget(was, in)
		return was, nil
	}
	now, lerr := f.o.lookup(ctx, f.path())
	if !errors.Is(err, backends.ErrChanged) || lerr != nil || !now.staged || f.o.identity(now).Ino != f.StableAttr().Ino {
		return was, err
	}
	_, err = f.o.change(now, in)
	return was, err
}

// forget changes what only those see who have the file open.
func (f *rwFile) forget(was item, in *fuse.SetAttrIn) {
	set, ok := setter(in)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		a, _ := f.o.attrOf(was)
		if a.ATime.IsZero() {
			a.ATime = a.ModTime
		}
		f.last = &a
	}
	set(f.last)
}

// instead stages a copy of what is stored under a name and answers ESTALE.
func (o *overlay) instead(ctx context.Context, op, name string, empty bool) syscall.Errno {
	if err := o.writable(ctx, name, empty); err != nil {
		return o.fail(ctx, op, name, gone(err)) // where it has gone, looking it up again says so, or makes it anew
	}
	return syscall.ESTALE
}

// writable sees to it that the file of a name can be opened for writing: that it is staged. What is stored is copied, all
// of it unless the copy is to be empty. Where another version comes in between, that one is taken.
func (o *overlay) writable(ctx context.Context, name string, empty bool) error {
	for again := true; ; again = false {
		it, err := o.lookup(ctx, name)
		if err != nil || it.staged || it.kind != stage.Regular {
			return err
		}
		var fill func(context.Context, io.WriterAt) error
		if !empty {
			fill = func(ctx context.Context, w io.WriterAt) error { return o.copyOut(ctx, it.e, w) }
		}
		a, _ := o.attrOf(it)
		_, err = o.stage.Replace(ctx, it.e, a, fill, func(id stage.ID) { o.keepNumber(id, o.identity(it)) })
		if !again || !errors.Is(err, backends.ErrChanged) {
			return err
		}
	}
}

// copyOut writes a stored version to w.
func (o *overlay) copyOut(ctx context.Context, e backends.Entry, w io.WriterAt) error {
	r, err := o.t.store.Open(ctx, e)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	part := make([]byte, min(copyPart, max(e.Size, 0)))
	for off := int64(0); off < e.Size; {
		n, err := r.ReadAt(ctx, part[:min(int64(len(part)), e.Size-off)], off)
		if n == 0 {
			return fmt.Errorf("copy a stored file: %w", err)
		}
		if _, err := w.WriteAt(part[:n], off); err != nil {
			return fmt.Errorf("copy a stored file: %w", err)
		}
		off += int64(n)
	}
	return nil
}

// rwLink is a symbolic link of a writable tree. Like a file it is one version: another target is another node.
type rwLink struct {
	fusefs.Inode
	noMeta
	spot
	o *overlay

	mu   sync.Mutex // guards born
	born item       // as it was when the node was made, or renamed: where it leads never changes
}

// become notes that the link is another object.
func (l *rwLink) become(it item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.born = it
}

// known is the link as it was when something was last told of it.
func (l *rwLink) known() item {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.born
}

// item is the link as it is shown now, also when it has been stored, upon which it has the same number. One that has lost its name stays for whoever
// has found it just before.
func (l *rwLink) item(ctx context.Context) (item, error) {
	it, err := l.o.lookup(ctx, l.path())
	if errors.Is(err, backends.ErrNotExist) || err == nil && (it.kind != stage.Link || l.o.identity(it).Ino != l.StableAttr().Ino) {
		return l.known(), nil
	}
	return it, err
}

// Readlink tells where it leads. The kernel follows it.
func (l *rwLink) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	target, err := l.o.target(ctx, l.known())
	return []byte(target), l.o.fail(ctx, "readlink", l.path(), err)
}

// Getattr shows a link as everywhere: its size is the length of its target.
func (l *rwLink) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	it, err := l.item(ctx)
	if err != nil {
		return l.o.fail(ctx, "getattr", l.path(), err)
	}
	l.o.fill(it, &out.Attr)
	out.SetTimeout(l.o.attrTimeout(it))
	return 0
}

// Setattr changes owner and times, as cp -a and tar do.
func (l *rwLink) Setattr(ctx context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	it, err := l.item(ctx)
	if err == nil {
		it, err = l.o.change(it, in)
	}
	if err != nil {
		return l.o.fail(ctx, "setattr", l.path(), err)
	}
	l.o.fill(it, &out.Attr)
	out.SetTimeout(l.o.attrTimeout(it))
	return 0
}

// Setxattr is refused: links have no attributes that a target could keep.
func (*rwLink) Setxattr(context.Context, string, []byte, uint32) syscall.Errno {
	return syscall.EOPNOTSUPP
}

// Removexattr finds none.
func (*rwLink) Removexattr(context.Context, string) syscall.Errno { return errNoAttr }
