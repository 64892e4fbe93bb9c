package cache

import (
	"context"
	"slices"

	"studyfs/backends"
)

// tour follows who goes from directory to directory below one parent and reads small files in each.
type tour struct {
	flow
	track          // of the directories
	dir   string   // the one that is being read
	read  []string // its files that were opened
	habit habit    // of the directory before
	clear bool     // what to read of the next one is known
	busy  bool     // some are being looked at
}

// walk fetches ahead in the directories that follow the one of a file. The caller holds mu.
func (a *across) walk(dir, base string, p pace) {
	parent, name := backends.Split(dir)
	t, known := a.tours.Get(parent)
	if !known {
		t = &tour{}
		a.tours.Add(parent, t)
	}
	if t.dir != name {
		a.enter(t, parent, name, p.depth)
	}
	if n := len(t.read); n < lookForth && (n == 0 || t.read[n-1] != base) {
		t.read = append(t.read, base)
	}
	each := len(t.habit.places)
	missing := p.depth - max(0, each-len(t.read))
	if t.busy || !t.clear || missing <= 0 {
		return
	}
	places, _ := t.order.next(len(t.list.kids), t.order.depth((missing+each-1)/each, p.doubt))
	if len(places) == 0 {
		return
	}
	dirs := make([]string, len(places))
	for i, at := range places {
		dirs[i] = t.list.entry(at).Name
	}
	t.busy = true
	ctx, h := t.flow.begin(a.s.ctx), t.habit
	a.s.flying.Go(func() { a.visit(ctx, t, dirs, h, p) })
}

// enter notes that the directory of this name is read from now on. The caller holds mu.
func (a *across) enter(t *tour, parent, name string, depth int) {
	if t.dir != "" {
		h := a.habitOf(backends.Join(parent, t.dir), t.read)
		t.clear = len(h.places) > 0 && (h.whole || h.same(t.habit))
		t.habit = h
	}
	t.dir, t.read = name, nil
	if left := t.note(a.s.lister, parent, name, true, depth); left || !t.clear {
		t.end()
	}
}

// habitOf tells which files of a directory were read. It is asked each time that somebody changes directories, maybe with each file: it looks at
// as many children as were read, not at all of them. The caller holds mu.
func (a *across) habitOf(dir string, read []string) habit {
	kids, iv, ok := a.s.lister.knownAround(dir, read[0])
	if !ok || iv.lo != "" || iv.hi != top {
		return habit{}
	}
	h := habit{of: kids.len()}
	for _, base := range read {
		if at, ok := kids.search(base); ok {
			h.places = append(h.places, at)
		}
	}
	slices.Sort(h.places)
	h.places = slices.Compact(h.places)
	h.whole = kids.countSmall(a.s.o.SmallFile, len(h.places)) == len(h.places)
	return h
}

// visit begins to fetch what will be read in directories. One that is not listed costs a page, which lists those behind as well.
func (a *across) visit(ctx context.Context, t *tour, dirs []string, h habit, p pace) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		t.busy = false
	}()
	for _, dir := range dirs {
		files, err := a.habitual(ctx, dir, h, p.depth)
		if err != nil {
			return // whoever opens a file meets the error himself
		}
		a.mu.Lock()
		if ctx.Err() == nil {
			a.begin(&t.flow, files, p) //nolint:contextcheck // on the tour's
		}
		a.mu.Unlock()
	}
}

// habitual returns the files of a directory that will be read, most of them at the most.
func (a *across) habitual(ctx context.Context, dir string, h habit, most int) (files []backends.Entry, err error) {
	kids, n, all := a.s.lister.beginning(dir)
	if !all && n < most {
		after := ""
		if n > 0 {
			after = kids.at(n - 1).key
		}
		if err := a.s.lister.more(ctx, dir, after); err != nil {
			return nil, err
		}
		kids, n, all = a.s.lister.beginning(dir)
	}
	if !all && !h.whole {
		return nil, nil
	}
	for _, at := range h.wants(n, most) {
		if k := kids.at(at); !k.dir() {
			files = append(files, k.entry(dir))
		}
	}
	return files, nil
}
