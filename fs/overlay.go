package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"studyfs/backends"
	"studyfs/cache/stage"
)

const (
	// maxTarget is how long a link's target may be: PATH_MAX without its NUL. A longer object is a file of that name.
	maxTarget = 4095
	// maxPart is the longest name in a directory, maxName the longest name of an object.
	maxPart = 255
	maxName = 1024
	// reserved is the directory at the root of a tree in which studyfs may show files of its own.
	reserved = ".studyfs"
)

// overlay is a writable tree: what is staged, over what the source has. Its methods are safe for concurrent use.
type overlay struct {
	t       *tree
	stage   *stage.Stage
	dst     backends.Writer
	deletes bool // what is stored may be deleted and moved
	maxName int

	// places is held for writing while a directory moves, and for reading from looking at a node's path until what was
	// done by that path is done. Nothing under it asks the network.
	places sync.RWMutex

	mu      sync.Mutex // guards numbers
	numbers map[stage.ID]fusefs.StableAttr
}

// item is what stands under one name of a writable tree.
type item struct {
	name   string // as shown
	kind   stage.Kind
	staged bool
	info   stage.Info     // where staged
	e      backends.Entry // where not: what the source has there. Of most links that is the object with stage.LinkSuffix
}

// newOverlay returns nil for a tree that nobody may write to.
func newOverlay(t *tree, o Tree) *overlay {
	if o.Stage == nil {
		return nil
	}
	limit := o.MaxName
	if limit <= 0 {
		limit = maxName
	}
	return &overlay{t: t, stage: o.Stage, dst: o.Writer, deletes: o.Delete, maxName: limit, numbers: map[stage.ID]fusefs.StableAttr{}}
}

// stagedItem is the item of what is staged. A directory that is there only because of what is staged below it has the
// attributes that the source's directory of that name has.
func stagedItem(info stage.Info) item {
	if info.ID == 0 {
		return item{name: info.Name, kind: stage.Dir, e: backends.Entry{Name: info.Name, Dir: true}}
	}
	return item{name: info.Name, kind: info.Kind, staged: true, info: info}
}

// storedItem is the item of what the source has under exactly its own name.
func storedItem(e backends.Entry) item {
	it := item{name: e.Name, kind: stage.Regular, e: e}
	switch {
	case e.Dir:
		it.kind = stage.Dir
	case e.Link != "":
		it.kind = stage.Link
	}
	return it
}

// linkName is the name of the link that an object stands for, if it does.
func linkName(e backends.Entry) (string, bool) {
	name, ok := strings.CutSuffix(e.Name, stage.LinkSuffix)
	_, base := backends.Split(name)
	return name, ok && base != "" && !e.Dir && e.Size > 0 && e.Size <= maxTarget
}

// lookup finds what stands under a name, or ErrNotExist.
func (o *overlay) lookup(ctx context.Context, name string) (item, error) {
	if info, ok := o.stage.Lookup(name); ok {
		return stagedItem(info), nil
	}
	return o.stored(ctx, name)
}

// stored finds what the source has under a name.
func (o *overlay) stored(ctx context.Context, name string) (item, error) {
	e, err := o.entry(ctx, name)
	if err == nil {
		if _, hidden := linkName(e); hidden {
			return item{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
		}
		return storedItem(e), nil
	}
	if !errors.Is(err, backends.ErrNotExist) {
		return item{}, err
	}
	e, lerr := o.entry(ctx, name+stage.LinkSuffix)
	if lerr != nil {
		return item{}, lerr
	}
	if _, ok := linkName(e); !ok {
		return item{}, err
	}
	return item{name: name, kind: stage.Link, e: e}, nil
}

// entry is what the source has under a key. Below a directory that is only staged it has nothing, which costs no request.
func (o *overlay) entry(ctx context.Context, key string) (backends.Entry, error) {
	if dir, _ := backends.Split(key); dir != "" {
		if _, staged := o.stage.Lookup(dir); staged {
			if d, err := o.entry(ctx, dir); err != nil || !d.Dir {
				return backends.Entry{}, cmp.Or(err, fmt.Errorf("lookup: %w", backends.ErrNotExist))
			}
		}
	}
	e, err := o.t.store.Lookup(ctx, key)
	if err == nil && o.stage.GivenUp(e) {
		return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
	}
	return e, err
}

// entries are what the source has in a directory; nothing, where there is none of that name.
func (o *overlay) entries(ctx context.Context, dir string) ([]backends.Entry, error) {
	if dir != "" {
		e, err := o.entry(ctx, dir)
		if errors.Is(err, backends.ErrNotExist) || err == nil && !e.Dir {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	entries, err := o.t.store.List(ctx, dir)
	if slices.ContainsFunc(entries, o.stage.GivenUp) { // the slice is the store's
		entries = slices.DeleteFunc(slices.Clone(entries), o.stage.GivenUp)
	}
	return entries, err
}

// list returns what stands in a directory, by name.
func (o *overlay) list(ctx context.Context, dir string) ([]item, error) {
	children := o.stage.Children(dir) // first: what is stored meanwhile is listed before it leaves the stage
	entries, err := o.entries(ctx, dir)
	if err != nil {
		return nil, err
	}
	items, taken := make([]item, 0, len(entries)+len(children)), make(map[string]bool, len(children))
	for _, info := range children {
		taken[info.Name] = true
		items = append(items, stagedItem(info))
	}
	for _, e := range entries {
		it := storedItem(e)
		if name, ok := linkName(e); ok {
			if _, plain := find(entries, name); plain {
				continue // the object without the suffix is what is shown
			}
			it.name, it.kind = name, stage.Link
		}
		if !taken[it.name] {
			items = append(items, it)
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.name, b.name) })
	return items, nil
}

func find(entries []backends.Entry, name string) (int, bool) {
	return slices.BinarySearchFunc(entries, name, func(e backends.Entry, name string) int { return cmp.Compare(e.Name, name) })
}

// empty reports whether nothing stands in a directory, but for junk that is not at the source.
func (o *overlay) empty(ctx context.Context, dir string) (bool, error) {
	if o.stage.Holds(dir) {
		return false, nil
	}
	entries, err := o.entries(ctx, dir)
	return len(entries) == 0, err
}

// target is where a link leads.
func (o *overlay) target(ctx context.Context, it item) (string, error) {
	switch {
	case it.staged:
		return it.info.Target, nil
	case it.e.Link != "":
		return it.e.Link, nil
	}
	if m, ok := o.stage.Remember(it.e); ok && m.Target != "" {
		return m.Target, nil
	}
	r, err := o.t.store.Open(ctx, it.e)
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // only read
	b := make([]byte, it.e.Size)
	n, err := r.ReadAt(ctx, b, 0)
	if n < len(b) {
		return "", fmt.Errorf("read a link: %w", err)
	}
	return string(b), nil
}

// status tells what is known of a name for FS.Stat.
func (o *overlay) status(ctx context.Context, name string) (Info, error) {
	it, err := o.lookup(ctx, name)
	switch {
	case err != nil:
		return Info{Tree: o.t.name}, err
	case !it.staged:
		return o.t.status(ctx, cmp.Or(it.e.Name, name))
	}
	e := backends.Entry{Name: name, Dir: it.kind == stage.Dir, Size: sizeOfItem(it), ModTime: it.info.Attr.ModTime, Link: it.info.Target}
	return Info{Tree: o.t.name, Entry: e, Staged: it.info, Trouble: it.info.Err}, nil
}
