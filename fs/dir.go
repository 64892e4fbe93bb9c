package fs

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cache/view"
)

// tree is what the nodes of one source share.
type tree struct {
	fs    *FS
	name  string
	store *cache.Store
	over  *overlay   // nil: nobody may write to it
	view  *view.View // nil: all is shown under its own name only
}

func (t *tree) dir(path string) *dir { return &dir{t: t, path: path} }

// root makes the node of its uppermost directory.
func (t *tree) root() fusefs.InodeEmbedder {
	if t.over != nil {
		return t.over.dir("")
	}
	if t.view != nil {
		return &viewed{dir: dir{t: t}}
	}
	return t.dir("")
}

// node makes the node of an entry; go-fuse drops it again if it has one of the same identity.
func (t *tree) node(e backends.Entry) fusefs.InodeEmbedder {
	if e.Dir {
		return t.dir(e.Name)
	}
	if e.Link != "" {
		return &link{t: t, e: e}
	}
	if t.fs.o.NoOpen {
		return &openless{file{version: version{t: t, e: e}}}
	}
	return &file{version: version{t: t, e: e}}
}

// dir is a directory of a source.
type dir struct {
	fusefs.Inode
	readOnly
	noMeta
	counted
	t     *tree
	path  string
	shown shown
}

// Lookup finds a child by the listing cache.
func (d *dir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	e, err := d.t.store.Lookup(ctx, backends.Join(d.path, name))
	if err != nil {
		if d.t.store.Fresh(d.path) < negativeTimeout {
			out.SetEntryTimeout(1) // any time of our own keeps go-fuse from letting the kernel remember the miss
		}
		return nil, d.t.fs.fail(ctx, "lookup", backends.Join(d.path, name), err)
	}
	n := d.child(ctx, e, believed(d.t.store.Fresh(d.path)), out)
	if n == nil {
		return nil, syscall.EOPNOTSUPP
	}
	return n, 0
}

// child is the node of e, with what the kernel is told of it; nil if it cannot be shown.
func (d *dir) child(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	if !d.t.fs.shows(e) {
		return nil
	}
	d.t.fs.attr(d.t.name, e, &out.Attr)
	out.SetEntryTimeout(timeout)
	out.SetAttrTimeout(attrTimeout(e, timeout))
	n, id := d.t.node(e), identity(d.t.name, e)
	if known := d.GetChild(baseOf(e)); known == nil || known.StableAttr() != id {
		d.t.fs.count(n)
	}
	return d.NewInode(ctx, n, id)
}

// plus is child for readdirplus. Where the kernel knows very many files already, it is told of no more of them than their names: it asks for those
// that somebody wants. Without a million nodes there is nothing in memory that somebody who finds a million files does not need.
func (d *dir) plus(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	if !e.Dir && d.t.fs.nodes.Load() >= d.t.fs.o.maxNodes {
		return nil
	}
	return d.child(ctx, e, timeout, out)
}

// Getattr needs no request for what stays: a directory shows when it was mounted, or what its parent's listing said. Where
// there is none of that name any more it answers ESTALE, as Open of a file does: the kernel may still believe the name,
// and looks it up again upon that.
func (d *dir) Getattr(ctx context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	e := backends.Entry{Name: d.path, Dir: true}
	if d.path != "" { // "df" and "stat" of the root cost nothing
		ctx, done := patient(ctx)
		defer done()
		var err error
		e, err = d.t.store.Lookup(ctx, d.path)
		if errors.Is(err, backends.ErrNotExist) || err == nil && !e.Dir {
			err = backends.ErrChanged
		}
		if err != nil {
			return d.t.fs.fail(ctx, "getattr", d.path, err)
		}
	}
	d.t.fs.attr(d.t.name, e, &out.Attr)
	parent, _ := backends.Split(d.path)
	out.SetTimeout(believed(d.t.store.Fresh(parent)))
	return 0
}

// OpendirHandle takes one snapshot of the listing, so that readdir, telldir and seekdir agree until closedir. It returns when the first entries
// have come.
func (d *dir) OpendirHandle(ctx context.Context, _ uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if no := d.t.fs.mayWalk(ctx); no != 0 {
		return nil, 0, no
	}
	ctx, done := patient(ctx)
	defer done()
	entries, err := d.t.store.Stream(ctx, d.path)
	if err != nil {
		return nil, 0, d.t.fs.fail(ctx, "opendir", d.path, err)
	}
	h := &dirHandle{entries: entries, child: d.plus}
	h.fresh = func() time.Duration { return believed(d.t.store.Fresh(d.path)) }
	h.fail = func(ctx context.Context, err error) syscall.Errno { return d.t.fs.fail(ctx, "readdir", d.path, err) }
	h.self, h.parent = d.numbers()
	h.ino = func(e backends.Entry) uint64 { return inodeOf(d.t.name, e.Name) }
	return h, d.shown.flags(entries.Listing), 0
}

// numbers are the inode numbers of "." and "..".
func (d *dir) numbers() (self, parent uint64) {
	self = inodeOf(d.t.name, d.path)
	if d.path == "" {
		return self, inodeOf("", "")
	}
	up, _ := backends.Split(d.path)
	return self, inodeOf(d.t.name, up)
}

// Statfs answers df: there is no meaningful size of a bucket, and "full" would alarm every monitor.
func (d *dir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno { return statfs(out) }

func statfs(out *fuse.StatfsOut) syscall.Errno {
	const pebibyte = 1 << 50
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks = pebibyte / 4096
	out.Bfree, out.Bavail = out.Blocks, out.Blocks
	out.Files, out.Ffree = 1<<40, 1<<40
	return 0
}

// shelf is the root of a mount with several trees: one folder each, and nothing else ever.
type shelf struct {
	fusefs.Inode
	readOnly
	noMeta
	fs      *FS
	entries []backends.Entry
}

func newShelf(f *FS) *shelf {
	s := &shelf{fs: f}
	for name := range f.trees {
		s.entries = append(s.entries, backends.Entry{Name: name, Dir: true})
	}
	sortByName(s.entries)
	return s
}

// Lookup finds a tree by its name.
func (s *shelf) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if s.fs.trees[name] == nil || name == "" {
		return nil, syscall.ENOENT
	}
	return s.child(ctx, backends.Entry{Name: name, Dir: true}, maxTimeout, out), 0
}

func (s *shelf) child(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	t := s.fs.trees[e.Name]
	root := backends.Entry{Dir: true}
	s.fs.attr(t.name, root, &out.Attr)
	if t.over != nil {
		t.over.fill(storedItem(root), &out.Attr)
	}
	out.SetEntryTimeout(timeout)
	out.SetAttrTimeout(timeout)
	return s.NewInode(ctx, t.root(), identity(t.name, root))
}

// Getattr shows the root of the mount.
func (s *shelf) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	s.fs.attr("", backends.Entry{Dir: true}, &out.Attr)
	out.SetTimeout(maxTimeout)
	return 0
}

// OpendirHandle lists the trees.
func (s *shelf) OpendirHandle(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	root := inodeOf("", "")
	h := &dirHandle{
		entries: entryList(s.entries), fresh: func() time.Duration { return maxTimeout }, child: s.child, self: root, parent: root,
		ino: func(e backends.Entry) uint64 { return inodeOf(e.Name, "") },
	}
	return h, fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

// Statfs answers df.
func (s *shelf) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno { return statfs(out) }

// cutFirst splits a path behind its first part.
func cutFirst(path string) (first, rest string) {
	first, rest, _ = strings.Cut(path, "/")
	return first, rest
}
