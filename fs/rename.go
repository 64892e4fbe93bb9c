package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// Rename moves what is staged by a record of the journal. What is stored moves only where deleting was allowed, file by
// file: a directory with stored files answers EXDEV, upon which mv copies.
func (d *rwDir) Rename(ctx context.Context, name string, newParent fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*rwDir)
	switch {
	case !ok || to.o != d.o:
		return syscall.EXDEV
	case flags&^(renameNoReplace|renameExchange) != 0:
		return syscall.EINVAL
	case d.below(name) == to.below(newName):
		return 0 // the kernel takes them for two files, if the one was stored while it looked: copied onto itself it would then be deleted
	}
	ctx, done := patient(ctx)
	defer done()
	over := to.GetChild(newName)
	var err error
	if flags&renameExchange != 0 {
		err = d.exchange(ctx, name, to, newName)
	} else {
		var was item
		err = d.o.retried(func() (err error) {
			was, err = d.rename(ctx, name, to, newName, flags&renameNoReplace != 0)
			return err
		})
		if err == nil && over != d.GetChild(name) {
			lost(over)
			removed(over, was)
		}
	}
	if err == nil {
		d.touch()
		to.touch()
		err = d.o.keep(ctx, d.path())
	}
	return d.o.fail(ctx, "rename", d.below(name), err)
}

// exchange swaps two staged names.
func (d *rwDir) exchange(ctx context.Context, name string, to *rwDir, newName string) error {
	a, b := d.below(name), to.below(newName)
	if err := cmp.Or(d.o.stage.MayRename(a, b, stage.Regular), d.o.stage.MayRename(b, a, stage.Regular)); err != nil { // not under the lock: it reads
		return err
	}
	d.o.places.Lock()
	defer d.o.places.Unlock()
	a, b = d.below(name), to.below(newName)
	err := d.o.stage.Exchange(ctx, a, b)
	if errors.Is(err, backends.ErrNotExist) {
		err = stage.ErrStored // the kernel has found both
	}
	if err == nil {
		x, y := d.GetChild(name), to.GetChild(newName)
		moved(x, b)
		moved(y, a)
	}
	return err
}

// moved tells nodes where they stand from now on.
func moved(n *fusefs.Inode, to string) {
	if n == nil {
		return
	}
	if p, ok := n.Operations().(placed); ok {
		p.move(to)
	}
	for base, c := range n.Children() {
		moved(c, backends.Join(to, base))
	}
}

// move is a rename under way.
type move struct {
	from     item
	old, new string
	over     item // what stands under new, if replaces
	replaces bool
	node     *fusefs.Inode // of what moves; nil: nobody knows it
}

// rename returns what has stood under the new name.
func (d *rwDir) rename(ctx context.Context, name string, to *rwDir, newName string, noReplace bool) (over item, err error) {
	m := move{old: d.below(name), new: to.below(newName), node: d.GetChild(name)}
	if m.from, err = d.o.lookup(ctx, m.old); err != nil {
		return item{}, err
	}
	if err := d.o.mayHold(m.new, m.from.kind); err != nil {
		return item{}, err
	}
	m.over, err = d.o.lookup(ctx, m.new)
	if m.replaces = err == nil; !m.replaces && !errors.Is(err, backends.ErrNotExist) {
		return item{}, err
	}
	if err := d.o.mayReplace(ctx, m, noReplace); err != nil {
		return item{}, err
	}
	if err := d.o.stage.MayRename(m.old, m.new, m.from.kind); err != nil { // before anything is moved or removed at the source
		return item{}, err
	}
	switch {
	case m.from.kind == stage.Dir:
		return m.over, d.o.moveDir(ctx, m)
	case m.from.staged:
		return m.over, d.o.moveStaged(ctx, m)
	}
	return m.over, d.o.moveStored(ctx, m)
}

// mayReplace is what POSIX asks of the two ends. The kernel has looked, too, but at what it believed.
func (o *overlay) mayReplace(ctx context.Context, m move, noReplace bool) error {
	fromDir, overDir := m.from.kind == stage.Dir, m.over.kind == stage.Dir
	switch {
	case fromDir && strings.HasPrefix(m.new, m.old+"/"):
		return refuse("rename", syscall.EINVAL)
	case !m.replaces:
		return nil
	case noReplace:
		return refuse("rename", syscall.EEXIST)
	case fromDir && !overDir:
		return refuse("rename", syscall.ENOTDIR)
	case !fromDir && overDir:
		return refuse("rename", syscall.EISDIR)
	case fromDir:
		return o.mustBeEmpty(ctx, "rename", m.new)
	}
	return nil
}

// moveDir moves a directory of which the source has nothing.
func (o *overlay) moveDir(ctx context.Context, m move) error {
	_, err := o.entry(ctx, m.old)
	if err == nil {
		return o.moveMarker(ctx, m)
	}
	if !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	if m.replaces {
		if err := o.removeMarker(ctx, m.new); err != nil {
			return err
		}
	}
	o.places.Lock()
	defer o.places.Unlock()
	err = o.stage.Rename(ctx, m.old, m.new, backends.Entry{}, !m.replaces)
	if errors.Is(err, stage.ErrStored) {
		return refuse("rename a directory with stored files", syscall.EXDEV)
	}
	if err == nil {
		moved(m.node, m.new)
	}
	return meanwhile(err)
}

// moveMarker moves a directory that the source has, if it is empty: then there is nothing but what stands for it.
func (o *overlay) moveMarker(ctx context.Context, m move) error {
	empty, err := o.empty(ctx, m.old)
	if err != nil {
		return err
	}
	if !empty || o.dst == nil {
		return refuse("rename a stored directory", syscall.EXDEV)
	}
	if m.replaces {
		if err := o.rmdir(ctx, m.new); err != nil {
			return err
		}
	}
	id := o.identity(m.from)
	a, _ := o.attrOf(m.from)
	info, err := o.stage.Mkdir(m.new, a)
	if err != nil {
		return err
	}
	if err := o.rmdir(ctx, m.old); err != nil {
		return err
	}
	o.keepNumber(info.ID, id)
	moved(m.node, m.new)
	return o.stage.Forget(backends.Entry{Name: m.old, Dir: true})
}

// moveStaged moves a staged file or link.
func (o *overlay) moveStaged(ctx context.Context, m move) error {
	letGo, err := o.removeBase(ctx, m.from)
	if err != nil {
		return err
	}
	defer letGo()
	over, err := o.overwritten(ctx, m)
	if err != nil {
		return err
	}
	if m.replaces && m.over.staged { // and is stored at any moment
		err = o.stage.RenameOver(ctx, m.old, m.new, m.over.info.ID)
	} else {
		err = o.stage.Rename(ctx, m.old, m.new, over, false)
	}
	if err != nil {
		return meanwhile(err)
	}
	moved(m.node, m.new)
	return nil
}

// overwritten is what lies at the target under the new key and is to be replaced. A link in the place of a file, or the
// other way round, is another key: the old object has to be deleted.
func (o *overlay) overwritten(ctx context.Context, m move) (backends.Entry, error) {
	if !m.replaces {
		return backends.Entry{}, nil
	}
	e := m.over.e
	if m.over.staged {
		e = m.over.info.Base
	}
	if e == (backends.Entry{}) || e.Name == stage.Object(m.new, m.from.kind) {
		return e, nil
	}
	return backends.Entry{}, o.settled(ctx, m.over, o.removeStored(ctx, e))
}

// moveStored copies an object at the source to its new name and deletes the old one.
func (o *overlay) moveStored(ctx context.Context, m move) error {
	if !o.deletes || o.dst == nil {
		return refuse("rename what is stored", syscall.EPERM)
	}
	letGo, err := o.stage.Still(ctx, m.from.e.Name)
	if err != nil {
		return err
	}
	e, err := o.copyHeld(ctx, m)
	if err != nil {
		letGo()
		if !m.replaces || m.over.staged { // an upload there may just have landed: mv failed with ESTALE
			m.over.name = m.new
			return o.settled(ctx, m.over, err)
		}
		return o.settled(ctx, m.from, err)
	}
	defer letGo()
	was := o.identity(m.from)
	a, _ := o.attrOf(m.from)
	id, err := o.stage.Moved(m.from.e, e, a)
	if err == nil {
		err = o.removeAt(ctx, m.from.e)
	}
	if err != nil {
		return err
	}
	o.keepNumber(id, was)
	m.from.name, m.from.e = m.new, e
	became(m.node, m.from)
	o.tell(m.new) // the node is that of the old name
	return nil
}

// holdOver keeps a staged file that is to be replaced from being uploaded until letGo is called: it could take the place of what has
// just been copied there, or, having the same bytes, be found to be stored, and mv said that there is no such file.
func (o *overlay) holdOver(ctx context.Context, m *move) (letGo func(), err error) {
	if !m.replaces || !m.over.staged || m.over.kind != stage.Regular {
		return func() {}, nil
	}
	f, err := o.stage.OpenFile(ctx, m.over.info.ID, true)
	if err != nil {
		return nil, meanwhile(err)
	}
	m.over.info.Base = f.Info().Base
	return func() { f.Close() }, nil //nolint:errcheck // nothing was written to it
}

// copyHeld is copyStored while what is to be replaced is not uploaded, nor taken back.
func (o *overlay) copyHeld(ctx context.Context, m move) (backends.Entry, error) {
	free, err := o.stage.Still(ctx, stage.Object(m.new, m.from.kind))
	if err != nil {
		return backends.Entry{}, err
	}
	defer free()
	letGo, err := o.holdOver(ctx, &m)
	if err != nil {
		return backends.Entry{}, err
	}
	defer letGo()
	return o.copyStored(ctx, m)
}

// copyStored copies what is stored under the old name to the new one, if that has what is to be replaced, and takes what was staged
// there off the stage.
func (o *overlay) copyStored(ctx context.Context, m move) (backends.Entry, error) {
	over, err := o.overwritten(ctx, m)
	if err != nil {
		return backends.Entry{}, err
	}
	a, _ := o.attrOf(m.from)
	e, err := o.dst.Copy(ctx, m.from.e, backends.Upload{
		Name: stage.Object(m.new, m.from.kind), Size: m.from.e.Size, Old: over, Meta: stage.Meta(a), Class: m.from.e.Class,
	})
	if err != nil {
		return e, fmt.Errorf("rename what is stored: %w", err)
	}
	if e.Size != m.from.e.Size {
		return e, fmt.Errorf("rename what is stored: %w: the copy has %d bytes instead of %d", backends.ErrBadAnswer, e.Size, m.from.e.Size)
	}
	o.t.store.Put(e)
	return e, o.stage.Taken(ctx, m.new, m.from.kind)
}

// became tells the node of a stored file or link what it is now.
func became(n *fusefs.Inode, it item) {
	if n == nil {
		return
	}
	if f, ok := n.Operations().(interface{ become(it item) }); ok {
		f.become(it)
	}
	moved(n, it.name)
}

// tell has the kernel look a name up again.
func (o *overlay) tell(name string) {
	dir, _ := backends.Split(name)
	o.t.fs.Changed(o.t.name, backends.Change{Dir: dir, Names: []string{name}})
}
