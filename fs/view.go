package fs

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"strconv"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/desktop"
	"studyfs/cache/view"
)

// viewed is the root of a tree that has a view. The folders of the view stand before what the source has under their names.
type viewed struct{ dir }

// Lookup finds a folder of the view, or a child of the source's root.
func (v *viewed) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if v.t.view.Has(name) {
		return v.t.viewChild(ctx, &v.Inode, view.Item{Name: name}, maxTimeout, out), 0
	}
	return v.dir.Lookup(ctx, name, out)
}

// OpendirHandle lists both.
func (v *viewed) OpendirHandle(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	fh, _, no := v.dir.OpendirHandle(ctx, flags)
	h, ok := fh.(*dirHandle)
	if !ok {
		return fh, 0, no
	}
	defer h.entries.Close()
	var both entryList
	for i := 0; ; i++ {
		more, no := h.more(ctx, i)
		if no != 0 {
			return nil, 0, no
		}
		if !more {
			break
		}
		if e := h.entries.At(i); !v.t.view.Has(e.Name) {
			both = append(both, e)
		}
	}
	for _, name := range v.t.view.Folders() {
		both = append(both, backends.Entry{Name: name, Dir: true})
	}
	sortByName(both)
	h.entries, h.had, h.child = both, 0, v.either
	return h, 0, no // without flags: there is more in it than what the listing is compared by
}

// either is the node of an entry of the root.
func (v *viewed) either(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	if v.t.view.Has(e.Name) {
		return v.t.viewChild(ctx, &v.Inode, view.Item{Name: e.Name}, maxTimeout, out)
	}
	return v.child(ctx, e, timeout, out)
}

// viewDir is a directory of a view.
type viewDir struct {
	fusefs.Inode
	readOnly
	noMeta
	t    *tree
	path string
}

// viewEntry is what a thing of a view is shown as. A file of the source is that file, the same node under a second name, so that it has one set of pages in the
// kernel and one cached object, whoever reads it under either name.
func viewEntry(it view.Item) backends.Entry {
	switch {
	case it.Dir():
		return backends.Entry{Name: it.Name, Dir: true}
	case it.Made != nil:
		return backends.Entry{Name: it.Name, Size: int64(len(it.Made)), Version: strconv.FormatUint(hash("made", string(it.Made)), 16)}
	}
	return it.Of
}

// viewChild is the node of a thing of a view, below its parent, with what the kernel is told of it.
func (t *tree) viewChild(ctx context.Context, parent *fusefs.Inode, it view.Item, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
	e := viewEntry(it)
	t.fs.attr(t.name, e, &out.Attr)
	out.SetEntryTimeout(timeout)
	out.SetAttrTimeout(attrTimeout(e, timeout))
	var node fusefs.InodeEmbedder
	switch {
	case it.Dir():
		node = &viewDir{t: t, path: it.Name}
	case it.Made != nil:
		node = &made{t: t, e: e, bytes: it.Made}
	default:
		node = t.node(e)
	}
	return parent.NewInode(ctx, node, identity(t.name, e))
}

// isOfView reports whether a name is one of the view's.
func (t *tree) isOfView(name string) bool { return t.view != nil && t.view.Has(name) }

// entry is what a name of the tree is, also if it is one of the view's: then that of the file which it stands for.
func (t *tree) entry(ctx context.Context, name string) (backends.Entry, error) {
	if !t.isOfView(name) {
		return t.store.Lookup(ctx, name)
	}
	it, _, err := t.view.Lookup(ctx, name)
	return viewEntry(it), err
}

// Lookup finds a child. What only file managers ask for is not looked for: a participant may be called anything, and listing all days for a
// name such as autorun.inf would be dear.
func (d *viewDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	if desktop.Asked(name) {
		return nil, syscall.ENOENT
	}
	ctx, done := patient(ctx)
	defer done()
	path := backends.Join(d.path, name)
	it, fresh, err := d.t.view.Lookup(ctx, path)
	if err != nil {
		if fresh < negativeTimeout {
			out.SetEntryTimeout(1) // see dir.Lookup
		}
		return nil, d.t.fs.fail(ctx, "lookup", path, err)
	}
	return d.t.viewChild(ctx, &d.Inode, it, believed(fresh), out), 0
}

// Getattr needs no request: nothing of a directory ever changes but whether there is one, which its name tells.
func (d *viewDir) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.t.fs.attr(d.t.name, backends.Entry{Name: d.path, Dir: true}, &out.Attr)
	out.SetTimeout(maxTimeout)
	return 0
}

// OpendirHandle takes one snapshot, as dir's does.
func (d *viewDir) OpendirHandle(ctx context.Context, _ uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if no := d.t.fs.mayWalk(ctx); no != 0 {
		return nil, 0, no
	}
	ctx, done := patient(ctx)
	defer done()
	items, fresh, err := d.t.view.List(ctx, d.path)
	if err != nil {
		return nil, 0, d.t.fs.fail(ctx, "opendir", d.path, err)
	}
	all := viewList(items)
	until := d.t.fs.o.Now().Add(believed(fresh))
	h := &dirHandle{entries: all.entries(), fresh: func() time.Duration { return until.Sub(d.t.fs.o.Now()) }}
	up, _ := backends.Split(d.path)
	h.self, h.parent = inodeOf(d.t.name, d.path), inodeOf(d.t.name, up)
	h.ino = func(e backends.Entry) uint64 {
		it, _ := all.find(e.Name)
		return inodeOf(d.t.name, viewEntry(it).Name)
	}
	h.child = func(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode {
		it, ok := all.find(e.Name)
		if !ok {
			return nil
		}
		return d.t.viewChild(ctx, &d.Inode, it, timeout, out)
	}
	return h, 0, 0
}

// Statfs answers df.
func (d *viewDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno { return statfs(out) }

// viewList is the children of a directory of a view, under its names.
type viewList []view.Item

func (l viewList) entries() entryList {
	all := make(entryList, len(l))
	for i, it := range l {
		all[i] = viewEntry(it)
		all[i].Name = it.Name
	}
	return all
}

func (l viewList) find(name string) (view.Item, bool) {
	i, ok := sort.Find(len(l), func(i int) int { return cmp.Compare(name, l[i].Name) })
	if !ok {
		return view.Item{}, false
	}
	return l[i], true
}

// made is a file that no object stands for.
type made struct {
	fusefs.Inode
	readOnly
	noMeta
	t     *tree
	e     backends.Entry
	bytes []byte
}

// Getattr shows what it is: other bytes are another node.
func (m *made) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	m.t.fs.attr(m.t.name, m.e, &out.Attr)
	out.SetTimeout(fileAttrTimeout)
	return 0
}

// Open is for reading only.
func (m *made) Open(_ context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if writes(flags) {
		return nil, 0, syscall.EROFS
	}
	return nil, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// Read gives of its bytes.
func (m *made) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	from := min(max(off, 0), int64(len(m.bytes)))
	rest := m.bytes[from:]
	return fuse.ReadResultData(slices.Clone(rest[:min(len(rest), len(dest))])), 0
}
