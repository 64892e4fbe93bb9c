package fs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// settleTimeout is how long to wait for an upload that is in the way.
const settleTimeout = 20 * time.Second

// mayHold says whether the target can hold something of a name.
func (o *overlay) mayHold(name string, k stage.Kind) error {
	key := name
	switch k {
	case stage.Dir:
		key += "/"
	case stage.Link:
		key += stage.LinkSuffix
	case stage.Regular:
	}
	_, base := backends.Split(strings.TrimSuffix(key, "/"))
	switch {
	case len(base) > maxPart, len(key) > o.maxName:
		return refuse("name", syscall.ENAMETOOLONG)
	case !backends.ValidName(name), name == reserved, strings.HasSuffix(name, stage.LinkSuffix):
		return refuse("name", syscall.EINVAL)
	}
	return nil
}

// mayMake says whether something new can be made under a name: it can be held there, and there is nothing.
func (o *overlay) mayMake(ctx context.Context, name string, k stage.Kind) error {
	if err := o.mayHold(name, k); err != nil {
		return err
	}
	_, err := o.lookup(ctx, name)
	if err == nil {
		return fmt.Errorf("make: %w", backends.ErrExist)
	}
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

// attrFor is what a new thing in the directory begins with: it belongs to who makes it, and to the group of a setgid directory.
func (d *rwDir) attrFor(ctx context.Context, mode uint32, k stage.Kind) stage.Attr {
	a := stage.Attr{Mode: mode & 0o7777, UID: d.o.t.fs.o.UID, GID: d.o.t.fs.o.GID, ModTime: d.o.t.fs.o.Now()}
	if caller, ok := fuse.FromContext(ctx); ok {
		a.UID, a.GID = caller.Uid, caller.Gid
	}
	it := storedItem(backends.Entry{Name: d.path(), Dir: true})
	if info, ok := d.o.stage.Lookup(d.path()); ok && d.path() != "" {
		it = stagedItem(info)
	}
	if of, _ := d.o.attrOf(it); of.Mode&syscall.S_ISGID != 0 {
		a.GID = of.GID
		if k == stage.Dir {
			a.Mode |= syscall.S_ISGID
		}
	}
	return a
}

// make runs f for a name in the directory that nothing stands under. No directory above it moves meanwhile.
func (d *rwDir) make(ctx context.Context, name string, k stage.Kind, f func(full string) error) error {
	for {
		full := d.below(name)
		if err := d.o.mayMake(ctx, full, k); err != nil {
			return err
		}
		d.o.places.RLock()
		if d.below(name) != full {
			d.o.places.RUnlock()
			continue
		}
		err := f(full)
		d.o.places.RUnlock()
		if err == nil {
			d.touch()
		}
		return err
	}
}

// Create makes a file and opens it. The kernel asks only for names that it believes to be free: where another program has
// made one meanwhile it gets ESTALE, and looks it up again.
func (d *rwDir) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	caller := ctx
	ctx, done := patient(ctx)
	defer done()
	f, err := d.create(ctx, name, d.attrFor(caller, mode, stage.Regular))
	if errors.Is(err, backends.ErrExist) && flags&syscall.O_EXCL == 0 {
		return nil, nil, 0, d.o.instead(ctx, "create", d.below(name), flags&syscall.O_TRUNC != 0)
	}
	if err != nil {
		return nil, nil, 0, d.o.fail(ctx, "create", d.below(name), err)
	}
	n := d.made(ctx, f.Info(), out)
	h, how := n.Operations().(*staged).handle(f, true)
	return n, h, how, 0
}

func (d *rwDir) create(ctx context.Context, name string, a stage.Attr) (f *stage.File, err error) {
	err = d.make(ctx, name, stage.Regular, func(full string) error {
		f, err = d.o.stage.Create(full, a, backends.Entry{})
		return err
	})
	return f, err
}

// made is the node of what was just staged.
func (d *rwDir) made(ctx context.Context, info stage.Info, out *fuse.EntryOut) *fusefs.Inode {
	return d.o.child(ctx, &d.Inode, stagedItem(info), out)
}

// Mknod makes a regular file; there is nothing else that an object could stand for.
func (d *rwDir) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if mode&syscall.S_IFMT != syscall.S_IFREG && mode&syscall.S_IFMT != 0 {
		return nil, syscall.EPERM
	}
	caller := ctx
	ctx, done := patient(ctx)
	defer done()
	f, err := d.create(ctx, name, d.attrFor(caller, mode, stage.Regular))
	if err != nil {
		return nil, d.o.fail(ctx, "mknod", d.below(name), err)
	}
	err = f.Flush(ctx)
	info := f.Info()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, d.o.fail(ctx, "mknod", d.below(name), err)
	}
	info.Open = 0
	return d.made(ctx, info, out), 0
}

// Mkdir makes a directory.
func (d *rwDir) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	a := d.attrFor(ctx, mode, stage.Dir)
	ctx, done := patient(ctx)
	defer done()
	var info stage.Info
	err := d.make(ctx, name, stage.Dir, func(full string) (err error) {
		info, err = d.o.stage.Mkdir(full, a)
		return err
	})
	if err != nil {
		return nil, d.o.fail(ctx, "mkdir", d.below(name), err)
	}
	return d.made(ctx, info, out), 0
}

// Symlink makes a symbolic link.
func (d *rwDir) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	a := d.attrFor(ctx, linkMode, stage.Link)
	ctx, done := patient(ctx)
	defer done()
	if len(target) > maxTarget {
		return nil, syscall.ENAMETOOLONG
	}
	var info stage.Info
	err := d.make(ctx, name, stage.Link, func(full string) (err error) {
		info, err = d.o.stage.Symlink(full, target, a, backends.Entry{})
		return err
	})
	if err != nil {
		return nil, d.o.fail(ctx, "symlink", d.below(name), err)
	}
	return d.made(ctx, info, out), 0
}

// Link is refused: two names of one object there are not.
func (*rwDir) Link(context.Context, fusefs.InodeEmbedder, string, *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, syscall.EPERM
}

// Tmpfile is refused: programs then make a file with a name.
func (*rwDir) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// Unlink removes a file or link. What is stored goes only where deleting was allowed.
func (d *rwDir) Unlink(ctx context.Context, name string) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	node := d.GetChild(name)
	was, staged := d.o.stage.Lookup(d.below(name))
	err := d.o.retried(func() error { return d.o.unlink(ctx, d.below(name)) })
	if err == nil {
		lost(node)
		d.touch()
	}
	if junk := staged && was.State == stage.LocalOnly; err == nil && !junk { // no directory stands or falls with that
		err = d.o.keep(ctx, d.path())
	}
	return d.o.fail(ctx, "unlink", d.below(name), err)
}

// lost tells a node that it has no name any more.
func lost(n *fusefs.Inode) {
	if n == nil {
		return
	}
	if f, ok := n.Operations().(interface{ lose() }); ok {
		f.lose()
	}
}

// Rmdir removes an empty directory. What stands for an empty one at the source may always go.
func (d *rwDir) Rmdir(ctx context.Context, name string) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	node := d.GetChild(name)
	was, _ := d.o.lookup(ctx, d.below(name)) // only shown to those who have it open
	err := d.o.retried(func() error { return d.o.rmdir(ctx, d.below(name)) })
	if err == nil {
		removed(node, was)
		d.touch()
		err = d.o.keep(ctx, d.path())
	}
	return d.o.fail(ctx, "rmdir", d.below(name), err)
}

// retried does f again where something was stored while it was looked at: what was staged is then at the source, or there in
// another version.
func (o *overlay) retried(f func() error) error {
	err := f()
	for again := 0; again < 2 && errors.Is(err, errMoved); again++ {
		err = f()
	}
	return err
}

// errMoved says that something was stored while it was looked at.
var errMoved = errors.New("stored meanwhile")

// meanwhile marks the errors of the stage that say so.
func meanwhile(err error) error {
	if errors.Is(err, backends.ErrNotExist) || errors.Is(err, stage.ErrStored) {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	return err
}

func (o *overlay) unlink(ctx context.Context, name string) error {
	it, err := o.lookup(ctx, name)
	switch {
	case err != nil:
		return err
	case it.kind == stage.Dir:
		return refuse("unlink", syscall.EISDIR)
	case !it.staged:
		return o.settled(ctx, it, o.removeStored(ctx, it.e))
	}
	letGo, err := o.removeBase(ctx, it)
	if err != nil {
		return err
	}
	defer letGo()
	return meanwhile(o.stage.Remove(ctx, name))
}

// removeBase deletes what lies at the target under the name of something staged, which may be the last place of those bytes afterwards: a
// copy that nobody has changed would go away by itself, now or after a crash, so it is kept and made safe first. Nobody uploads or gives it
// up before letGo is called.
func (o *overlay) removeBase(ctx context.Context, it item) (letGo func(), err error) {
	if it.info.Base == (backends.Entry{}) {
		return func() {}, nil
	}
	if !o.deletes || o.dst == nil {
		return nil, refuse("delete what is stored", syscall.EPERM)
	}
	base := it.info.Base
	letGo = func() {}
	if it.kind == stage.Regular {
		f, err := o.secure(ctx, it.info.ID)
		if err != nil {
			return nil, meanwhile(err)
		}
		base = f.Info().Base
		letGo = func() { f.Close() } //nolint:errcheck // it is sealed; who wrote to it was told of failures by its own close
	}
	if base == (backends.Entry{}) {
		return letGo, nil
	}
	if err := o.stage.Leaving(it.info.ID); err != nil {
		letGo()
		return nil, meanwhile(err)
	}
	if err := o.removeStored(ctx, base); err != nil {
		letGo()
		return nil, o.settled(ctx, it, err)
	}
	if err := o.stage.Rebase(it.info.ID, backends.Entry{}); err != nil {
		letGo()
		return nil, meanwhile(err)
	}
	return letGo, nil
}

// secure opens a staged file, keeps it from being given up, and makes it safe.
func (o *overlay) secure(ctx context.Context, id stage.ID) (*stage.File, error) {
	f, err := o.stage.OpenFile(ctx, id, true)
	if err != nil {
		return nil, err
	}
	_, err = o.stage.SetAttr(id, func(*stage.Attr) {})
	if err == nil {
		err = f.Sync(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// settled is for a version that was not there any more: if an upload of ours is the reason, it waits for its end, so that what is there
// can be looked at again.
func (o *overlay) settled(ctx context.Context, it item, err error) error {
	if !errors.Is(err, backends.ErrChanged) || it.info.Open > 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if werr := o.stage.Wait(ctx, it.name); werr != nil {
		return errors.Join(err, werr)
	}
	return fmt.Errorf("%w: %w", errMoved, err)
}

// removeStored deletes exactly this version at the source.
func (o *overlay) removeStored(ctx context.Context, e backends.Entry) error {
	if !o.deletes || o.dst == nil {
		return refuse("delete what is stored", syscall.EPERM)
	}
	return o.removeAt(ctx, e)
}

// removeAt deletes at the source, and sees to it that nobody is shown it any more.
func (o *overlay) removeAt(ctx context.Context, e backends.Entry) error {
	letGo, err := o.stage.Still(ctx, e.Name)
	if err != nil {
		return err
	}
	defer letGo()
	if err := o.dst.Remove(ctx, e); err != nil {
		return fmt.Errorf("delete what is stored: %w", err)
	}
	o.t.store.Gone(e.Name)
	return nil
}

func (o *overlay) rmdir(ctx context.Context, name string) error {
	it, err := o.lookup(ctx, name)
	if err != nil {
		return err
	}
	if it.kind != stage.Dir {
		return refuse("rmdir", syscall.ENOTDIR)
	}
	if err := o.mustBeEmpty(ctx, "rmdir", name); err != nil {
		return err
	}
	if err := o.stage.DropJunk(name); err != nil {
		return err
	}
	if it.staged {
		if err := o.stage.Remove(ctx, name); err != nil {
			return meanwhile(err)
		}
	}
	return o.removeMarker(ctx, name)
}

// mustBeEmpty refuses what may only be done to an empty directory.
func (o *overlay) mustBeEmpty(ctx context.Context, op, dir string) error {
	empty, err := o.empty(ctx, dir)
	if err == nil && !empty {
		return refuse(op, syscall.ENOTEMPTY)
	}
	return err
}

// removeMarker deletes what stands for an empty directory at the source, if it has that directory.
func (o *overlay) removeMarker(ctx context.Context, name string) error {
	e, err := o.entry(ctx, name)
	if errors.Is(err, backends.ErrNotExist) || err == nil && !e.Dir {
		return nil
	}
	if err != nil {
		return err
	}
	if o.dst == nil {
		return refuse("remove a directory", syscall.EPERM)
	}
	return o.removeAt(ctx, backends.Entry{Name: name, Dir: true})
}

// keep sees to it that a directory stays when the last thing in it has gone: at the source it was only the beginning of a
// name.
func (o *overlay) keep(ctx context.Context, dir string) error {
	if dir == "" {
		return nil
	}
	if _, ok := o.stage.Lookup(dir); ok {
		return nil
	}
	empty, err := o.empty(ctx, dir)
	if err != nil || !empty {
		return err
	}
	was := storedItem(backends.Entry{Name: dir, Dir: true})
	a, _ := o.attrOf(was)
	info, err := o.stage.Keep(dir, a)
	if errors.Is(err, backends.ErrExist) {
		return nil
	}
	if err == nil {
		o.keepNumber(info.ID, o.identity(was))
	}
	return err
}
