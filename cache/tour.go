package cache

import (
	"context"

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

// habitOf tells which files of a directory were read. The caller holds mu.
func (a *across) habitOf(dir string, read []string) habit {
	w := a.s.lister.nearby(dir, read[0], false, lookForth, lookForth)
	if !w.start || !w.end {
		return habit{}
	}
	h, was, small := habit{of: len(w.kids)}, map[string]bool{}, 0
	for _, base := range read {
		was[base] = true
	}
	for i := range w.kids {
		e := w.entry(i)
		if a.small(e) {
			small++
		}
		if was[w.kids[i].base()] {
			h.places = append(h.places, i)
		}
	}
	h.whole = len(h.places) == small
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
		w := a.s.lister.nearby(dir, "", false, 0, lookForth)
		if n := len(w.kids); !w.end && !w.more && n < p.depth {
			after := ""
			if n > 0 {
				after = w.kids[n-1].key
			}
			if a.s.lister.more(ctx, dir, after) != nil {
				return // whoever opens a file meets the error himself
			}
			w = a.s.lister.nearby(dir, "", false, 0, lookForth)
		}
		if !w.end && !h.whole {
			continue
		}
		var files []backends.Entry
		for _, at := range h.wants(len(w.kids), p.depth) {
			files = append(files, w.entry(at))
		}
		a.mu.Lock()
		if ctx.Err() == nil {
			a.begin(&t.flow, files, p) //nolint:contextcheck // on the tour's
		}
		a.mu.Unlock()
	}
}
