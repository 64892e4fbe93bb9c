// Package view shows the files of a source once more, under the names that those who work with them know: Empatica's by participant
// ([Empatica]), HCP's as pyAFQ's fetch_hcp leaves them ([PyAFQ]).
//
// A view maps names and holds nothing: each file in it is a file of the source, of the same version, so that whoever opens it under either name
// uses the same cached bytes. It lists by the listings that the cache has of the source, and believes what it says for as long as those are
// believed. What it does not know is left out; the source's own tree, which stands beside it, has it all.
package view

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"studyfs/backends"
)

// Store is what a view stands on; cache.Store is one.
type Store interface {
	// Lookup returns the entry of a name, or backends.ErrNotExist.
	Lookup(ctx context.Context, name string) (backends.Entry, error)
	// List returns the children of a directory, by name: none of one that does not exist. The slice is shared.
	List(ctx context.Context, dir string) ([]backends.Entry, error)
	// Fresh tells how long what was said of a directory will be believed; 0 or less: not any more.
	Fresh(dir string) time.Duration
}

// Item is what a name of a view stands for: a file of the source if Of has a name, a file of its own if Made is not nil, else a directory.
type Item struct {
	Name string         // relative to the source's root, the view's own folder first
	Of   backends.Entry // under the name that the source has for it
	Made []byte         // never changed
}

// Dir reports whether it is a directory.
func (i Item) Dir() bool { return i.Of.Name == "" && i.Made == nil }

// View is one view of one source. It keeps nothing and is safe for concurrent use.
type View struct {
	store Store
	names layout
}

// layout is a scheme of names. Names come without a check whether there is such a thing.
type layout interface {
	mapping
	lookup(ctx context.Context, a *asked, name string) (Item, error)
	// list returns children in the order of their names. It may return none for what does not exist.
	list(ctx context.Context, a *asked, dir string) ([]Item, error)
}

// mapping is the part of a layout that asks nobody.
type mapping interface {
	// folders are the names that it takes at the source's root, in order.
	folders() []string
	// folder is what the source calls a directory of the view that shows all of it and nothing else.
	folder(name string) (key string, ok bool)
	// shown are all names under which a name of the source, of a file or a directory, may appear.
	shown(key string) []string
}

// Has reports whether a name of the tree is one of the view's. It then hides what the source has there.
func (v *View) Has(name string) bool {
	top, _ := cut(name)
	return slices.Contains(v.names.folders(), top)
}

// Folders are the names that the view takes at the source's root, in order. They are directories.
func (v *View) Folders() []string { return v.names.folders() }

// Lookup returns what a name is, and how long that may be believed; backends.ErrNotExist if there is no such thing.
func (v *View) Lookup(ctx context.Context, name string) (Item, time.Duration, error) {
	a := newAsked(v.store)
	it, err := v.names.lookup(ctx, a, name)
	if err != nil {
		return it, a.fresh, fmt.Errorf("lookup: %w", err)
	}
	return it, a.fresh, nil
}

// List returns the children of a directory of the view by name, and how long they may be believed.
func (v *View) List(ctx context.Context, dir string) ([]Item, time.Duration, error) {
	a := newAsked(v.store)
	all, err := v.names.list(ctx, a, dir)
	if err != nil {
		return nil, a.fresh, fmt.Errorf("list: %w", err)
	}
	return all, a.fresh, nil
}

// Plain returns names that the source has, of files and folders: all at and below them is what lies at and below a name of the view.
func (v *View) Plain(ctx context.Context, name string) ([]string, error) {
	it, _, err := v.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	return v.plain(ctx, it)
}

func (v *View) plain(ctx context.Context, it Item) ([]string, error) {
	switch key, whole := v.names.folder(it.Name); {
	case it.Of.Name != "":
		return []string{it.Of.Name}, nil
	case it.Made != nil:
		return nil, nil
	case whole:
		return []string{key}, nil
	}
	children, _, err := v.List(ctx, it.Name)
	var all []string
	for _, c := range children {
		below, err := v.plain(ctx, c)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, err
}

// Changed tells what a difference in the source may mean for the view. It asks nobody.
func (v *View) Changed(c backends.Change) []backends.Change {
	var out []backends.Change
	if c.All {
		for _, dir := range v.names.shown(c.Dir) {
			out = append(out, backends.Change{Dir: dir, All: true})
		}
	}
	for _, key := range c.Names {
		for _, name := range v.names.shown(key) {
			dir, _ := backends.Split(name)
			out = append(out, backends.Change{Dir: dir, Names: []string{name}})
		}
	}
	return out
}

// atOnce is how many directories are listed at a time.
const atOnce = 8

// forever is how long may be believed what follows from names alone.
const forever = 24 * time.Hour

// asked asks the store on behalf of one call.
type asked struct {
	store Store

	mu    sync.Mutex    // guards fresh
	fresh time.Duration // of the directory that will be believed for the shortest time
}

func newAsked(s Store) *asked { return &asked{store: s, fresh: forever} }

// note takes down how long what dir said will be believed.
func (a *asked) note(dir string) {
	fresh := a.store.Fresh(dir)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fresh = min(a.fresh, fresh)
}

func (a *asked) lookup(ctx context.Context, name string) (backends.Entry, error) {
	e, err := a.store.Lookup(ctx, name)
	dir, _ := backends.Split(name)
	a.note(dir)
	return e, err
}

// find looks up a name below a directory that exists. It goes down from there: to say that nothing lies below what does not exist, a store would have
// to ask, where the listing of what does exist mostly tells.
func (a *asked) find(ctx context.Context, dir, name string) (backends.Entry, error) {
	for below := name; ; {
		var part string
		part, below = cut(below)
		dir = backends.Join(dir, part)
		e, err := a.lookup(ctx, dir)
		switch {
		case err != nil || below == "":
			return e, err
		case !e.Dir:
			return e, backends.ErrNotExist
		}
	}
}

func (a *asked) list(ctx context.Context, dir string) ([]backends.Entry, error) {
	all, err := a.store.List(ctx, dir)
	a.note(dir)
	return all, err
}

// lists lists several directories, which come in the order of their names. A page of a small study's listing fills many days, so it goes from one to
// the next for as long as each answers for the next one, too; from where they do not, it asks for many at once.
func (a *asked) lists(ctx context.Context, dirs []string) ([][]backends.Entry, error) {
	all := make([][]backends.Entry, len(dirs))
	one := func(ctx context.Context, i int) (err error) {
		all[i], err = a.list(ctx, dirs[i])
		return err
	}
	next := 0
	for known := true; known && next < len(dirs); next++ {
		if err := one(ctx, next); err != nil {
			return nil, err
		}
		known = next+1 < len(dirs) && a.store.Fresh(dirs[next+1]) > 0
	}
	several, ctx := errgroup.WithContext(ctx)
	several.SetLimit(atOnce)
	for i := next; i < len(dirs); i++ {
		several.Go(func() error { return one(ctx, i) })
	}
	return all, several.Wait()
}
