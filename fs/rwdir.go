package fs

import (
	"context"
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/stage"
)

// spot is where a node of a writable tree stands. A rename changes it, together with those of all nodes below.
type spot struct{ name atomic.Pointer[string] }

func (p *spot) path() string          { return *p.name.Load() }
func (p *spot) move(to string)        { p.name.Store(&to) }
func (p *spot) below(n string) string { return backends.Join(p.path(), n) }

// placed is a node that has a spot.
type placed interface {
	path() string
	move(to string)
}

// named is a file whose name can be taken from it while it is open.
type named struct{ lost atomic.Bool }

// lose notes that the file has no name any more.
func (n *named) lose() { n.lost.Store(true) }

// links is how many names it has.
func (n *named) links() uint32 {
	if n.lost.Load() {
		return 0
	}
	return 1
}

// rwDir is a directory of a writable tree.
type rwDir struct {
	fusefs.Inode
	spot
	o       *overlay
	changed atomic.Int64 // when a name in it last came or went, in Unix nanoseconds; 0: not in this mount

	mu   sync.Mutex // guards last
	last *item      // what it was when it was removed; nil: it was not
}

func (o *overlay) dir(path string) *rwDir {
	d := &rwDir{o: o}
	d.move(path)
	return d
}

// node makes the node of an item; go-fuse drops it again if it has one of the same identity.
func (o *overlay) node(it item) fusefs.InodeEmbedder {
	switch {
	case it.kind == stage.Dir:
		return o.dir(it.name)
	case it.kind == stage.Link:
		l := &rwLink{o: o, born: it}
		l.move(it.name)
		return l
	case it.staged:
		return o.stagedNode(it.info)
	}
	f := &rwFile{o: o, version: version{t: o.t, e: it.e}}
	f.move(it.name)
	return f
}

// removed tells a directory that it has no name any more. Who has it open may still ask and change it.
func removed(n *fusefs.Inode, was item) {
	if n == nil {
		return
	}
	if d, ok := n.Operations().(*rwDir); ok {
		a, changed := d.o.attrOf(was)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.last = &item{name: was.name, kind: stage.Dir, staged: true, info: stage.Info{ID: was.info.ID, Kind: stage.Dir, Attr: a, Changed: changed}}
	}
}

// former is what the directory was when it was removed.
func (d *rwDir) former() (item, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return item{}, false
	}
	return *d.last, true
}

// child is the node of an item below a directory, with what the kernel is told of it.
func (o *overlay) child(ctx context.Context, parent *fusefs.Inode, it item, out *fuse.EntryOut) *fusefs.Inode {
	id := o.identity(it)
	_, base := backends.Split(it.name)
	if known := parent.GetChild(base); known != nil && known.StableAttr() == id && it.kind == stage.Dir {
		known.Operations().(*rwDir).fill(it, &out.Attr)
	} else {
		o.fill(it, &out.Attr)
	}
	out.SetEntryTimeout(o.entryTimeout(it))
	out.SetAttrTimeout(o.attrTimeout(it))
	return parent.NewInode(ctx, o.node(it), id)
}

func (o *overlay) fail(ctx context.Context, op, name string, err error) syscall.Errno {
	return o.t.fs.fail(ctx, op, name, err)
}

// Lookup finds a child: staged, or by the listing cache.
func (d *rwDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if len(name) > maxPart {
		return nil, syscall.ENAMETOOLONG
	}
	ctx, done := patient(ctx)
	defer done()
	it, err := d.o.lookup(ctx, d.below(name))
	if err != nil {
		out.SetEntryTimeout(1) // any time of our own keeps go-fuse from letting the kernel remember the miss: it need not be told then of what appears
		return nil, d.o.fail(ctx, "lookup", d.below(name), err)
	}
	return d.o.child(ctx, &d.Inode, it, out), 0
}

// item is the directory itself; ErrChanged where there is none of its name any more, upon which the kernel looks the name
// up again.
func (d *rwDir) item(ctx context.Context) (item, error) {
	if was, ok := d.former(); ok {
		return was, nil
	}
	name := d.path()
	if name == "" { // "df" and "stat" of the root cost nothing
		return storedItem(backends.Entry{Dir: true}), nil
	}
	it, err := d.o.lookup(ctx, name)
	if errors.Is(err, backends.ErrNotExist) || err == nil && it.kind != stage.Dir {
		return it, backends.ErrChanged
	}
	return it, err
}

// Getattr shows what is known of the directory, and when names in it last came or went.
func (d *rwDir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	it, err := d.item(ctx)
	if err != nil {
		return d.o.fail(ctx, "getattr", d.path(), err)
	}
	d.fill(it, &out.Attr)
	out.SetTimeout(d.o.attrTimeout(it))
	return 0
}

// fill is that of the overlay, with the times that this mount knows.
func (d *rwDir) fill(it item, out *fuse.Attr) {
	d.o.fill(it, out)
	if _, gone := d.former(); gone {
		out.Ino, out.Nlink = d.StableAttr().Ino, 0
	}
	when := time.Unix(0, d.changed.Load())
	if n := d.changed.Load(); n != 0 && when.After(time.Unix(int64(out.Mtime), int64(out.Mtimensec))) {
		out.SetTimes(&when, &when, nil)
	}
	if n := d.changed.Load(); n != 0 && when.After(time.Unix(int64(out.Ctime), int64(out.Ctimensec))) {
		out.SetTimes(nil, nil, &when)
	}
}

// touch notes that a name in the directory came or went.
func (d *rwDir) touch() { d.changed.Store(d.o.t.fs.o.Now().UnixNano()) }

// Setattr changes what is kept of the directory.
func (d *rwDir) Setattr(ctx context.Context, _ fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	it, err := d.item(ctx)
	if err == nil {
		it, err = d.change(it, in)
	}
	if err != nil {
		return d.o.fail(ctx, "setattr", d.path(), err)
	}
	if _, ok := in.GetMTime(); ok {
		d.changed.Store(0)
	}
	d.fill(it, &out.Attr)
	out.SetTimeout(d.o.attrTimeout(it))
	return 0
}

// change does what setattr asks for.
func (d *rwDir) change(it item, in *fuse.SetAttrIn) (item, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return d.o.change(it, in)
	}
	if set, ok := setter(in); ok {
		set(&d.last.info.Attr)
		d.last.info.Changed = d.o.t.fs.o.Now()
	}
	return *d.last, nil
}

// change does what setattr asks for beside the size.
func (o *overlay) change(it item, in *fuse.SetAttrIn) (item, error) {
	set, ok := setter(in)
	if !ok {
		return it, nil
	}
	return o.alter(it, set)
}

// alter changes the attributes of an item, staged or stored.
func (o *overlay) alter(it item, set func(*stage.Attr)) (item, error) {
	var err error
	if it.staged {
		it.info, err = o.stage.SetAttr(it.info.ID, set)
		return it, gone(err)
	}
	was, _ := o.attrOf(it)
	_, err = o.stage.Retouch(it.e, was, set)
	return it, err
}

// gone is the error of something that is not staged any more: it was stored meanwhile, or given up. The kernel then looks
// its name up again.
func gone(err error) error {
	if errors.Is(err, backends.ErrNotExist) {
		return backends.ErrChanged
	}
	return err
}

// OpendirHandle takes one snapshot, so that readdir, telldir and seekdir agree until closedir.
func (d *rwDir) OpendirHandle(ctx context.Context, _ uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if no := d.o.t.fs.mayWalk(ctx); no != 0 {
		return nil, 0, no
	}
	ctx, done := patient(ctx)
	defer done()
	items, err := d.o.list(ctx, d.path())
	if err != nil {
		return nil, 0, d.o.fail(ctx, "opendir", d.path(), err)
	}
	return d.handle(items), 0, 0
}

func (d *rwDir) handle(items []item) *dirHandle {
	h := &dirHandle{entries: kinds(items), fresh: func() time.Duration { return 0 }}
	of := func(e backends.Entry) item {
		i := sort.Search(len(items), func(i int) bool { return items[i].name >= e.Name })
		return items[i]
	}
	h.ino = func(e backends.Entry) uint64 { return d.o.identity(of(e)).Ino }
	h.child = func(ctx context.Context, e backends.Entry, _ time.Duration, out *fuse.EntryOut) *fusefs.Inode {
		return d.plus(ctx, of(e), out)
	}
	h.self, h.parent = d.numbers()
	h.renew = func(ctx context.Context) (_ list, err error) {
		ctx, done := patient(ctx)
		defer done()
		if items, err = d.o.list(ctx, d.path()); err != nil {
			return nil, d.o.fail(ctx, "rewinddir", d.path(), err)
		}
		return kinds(items), nil
	}
	return h
}

// kinds are entries that tell no more of items than their names and what they are.
func kinds(items []item) entryList {
	entries := make(entryList, len(items))
	for i, it := range items {
		entries[i] = backends.Entry{Name: it.name, Dir: it.kind == stage.Dir}
		if it.kind == stage.Link {
			entries[i].Link = "?" // any
		}
	}
	return entries
}

// plus is child for readdirplus: of what stands under the name now. A name of the snapshot that has gone meanwhile must not come back to
// the kernel's knowledge.
func (d *rwDir) plus(ctx context.Context, it item, out *fuse.EntryOut) *fusefs.Inode {
	ctx, done := patient(ctx)
	defer done()
	now, err := d.o.lookup(ctx, it.name)
	if err != nil || now.kind != it.kind {
		return nil
	}
	return d.o.child(ctx, &d.Inode, now, out)
}

// numbers are the inode numbers of "." and "..".
func (d *rwDir) numbers() (self, parent uint64) {
	self = d.StableAttr().Ino
	if d.path() == "" {
		return self, inodeOf("", "")
	}
	if _, up := d.Parent(); up != nil {
		return self, up.StableAttr().Ino
	}
	return self, self
}

// Statfs shows the room that is left for files which wait for their upload, as a disk of that size without anything on
// it: a bucket has no end, and what is on the staging disk is not what is in the mount.
func (d *rwDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	number := statfs(out)
	free, _ := d.o.stage.Room()
	out.Blocks = uint64(free) / uint64(out.Bsize)
	out.Bfree, out.Bavail = out.Blocks, out.Blocks
	return number
}
