package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// walkPage asks on behalf of dir for one flat page of the whole source after the key after, and takes it in. What lies
// before the wanted key costs nothing, what lies behind it answers the next questions.
func (l *lister) walkPage(ctx context.Context, dir, after string) error {
	pager, ok := l.src.(backends.Pager)
	if !ok {
		return l.listWhole(ctx, dir)
	}
	since := l.begun()
	defer l.ended(since)
	page, err := pager.WalkPage(ctx, "", after)
	if err != nil {
		return err
	}
	l.take(dir, func(now time.Time) diff {
		if page.More {
			l.edges = append(l.edges[max(0, len(l.edges)+1-maxEdges):], stretch{after: after, to: page.Last})
		}
		return l.index.applyWalk(after, l.edits.amend(page, after, since, asItIs), now, l.expired)
	})
	return nil
}

// listPage asks for one page of the children of dir after the child key after.
func (l *lister) listPage(ctx context.Context, dir, after string) error {
	pager, ok := l.src.(backends.Pager)
	if !ok {
		return l.listWhole(ctx, dir)
	}
	from := after
	if after != "" {
		from = prefixOf(dir) + after
	}
	since := l.begun()
	defer l.ended(since)
	page, err := pager.ListPage(ctx, dir, from)
	if err != nil {
		return err
	}
	l.take(dir, func(now time.Time) diff {
		return l.index.applyList(dir, after, l.edits.amend(page, from, since, childOf(dir)), now, l.expired)
	})
	return nil
}

// listWhole lists a directory of a source that does not answer in pages.
func (l *lister) listWhole(ctx context.Context, dir string) error {
	since := l.begun()
	defer l.ended(since)
	var page backends.Page
	for e, err := range l.src.List(ctx, dir) {
		if err != nil {
			return err
		}
		page.Entries = append(page.Entries, e)
	}
	sortByKey(page.Entries)
	l.take(dir, func(now time.Time) diff {
		return l.index.applyList(dir, "", l.edits.amend(page, "", since, childOf(dir)), now, l.expired)
	})
	return nil
}

// take applies an answer to what was asked on behalf of dir, and tells of what it changed, from the goroutine of the request.
func (l *lister) take(dir string, apply func(now time.Time) diff) {
	l.mu.Lock()
	since := l.index.clock
	now := l.o.now()
	out := apply(now)
	l.came(dir, now)
	l.index.trim(l.o.maxEntries, since)
	l.dirty = true
	l.mu.Unlock()
	if len(out.removed) > 0 {
		l.o.removed(out.removed)
	}
	for _, c := range out.changes {
		l.o.changed(c)
	}
}

// fetchDir asks until all children of dir are known: one flat page, which fills what lies below too, and then, if the directory
// does not fit in it, delimited pages, which skip what lies below.
func (l *lister) fetchDir(ctx context.Context, dir string) error {
	after, whole := l.resume(dir)
	if start, flat := l.flatFrom(dir, after); flat && !whole {
		if err := l.walkPage(ctx, dir, start); err != nil {
			return err
		}
		if after, whole = l.resume(dir); !whole {
			l.markBig(dir)
		}
	}
	if whole {
		return nil
	}
	if done, err := l.spread(ctx, dir, after); done {
		return err
	}
	return l.listOn(ctx, dir, after)
}

// flatFrom returns the key after which a flat page is asked for in order to list dir, of which all before the child key after is known; not ok:
// none is. Where one ended among the children of dir, and was not filled by the first of them, the next goes on from there: it most likely
// has the rest of dir, and what a walk comes to then. Each page of a tree of small folders was followed by two others before, one for each directory
// that it had only the beginning of.
func (l *lister) flatFrom(dir, after string) (start string, ok bool) {
	if l.inBig(dir) {
		return "", false
	}
	prefix := prefixOf(dir)
	if after == "" {
		if dir != "" {
			start = before(prefix)
		}
		return start, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	edge := edgeIn(l.edges, prefix, after)
	d := l.index.dirs[dir]
	return edge.to, edge.to != "" && d != nil && (edge.after < prefix || d.kids.len() > 1)
}

// maxEdges is how many flat pages can be gone on from: of all who go through trees at the same time, and of what is listed ahead of them.
const maxEdges = 64

// edgeIn returns that of some pages which ended last in the first child, of those from after on, in which one ended; none if none did.
func edgeIn(pages []stretch, prefix, after string) (best stretch) {
	first := top
	for _, page := range pages {
		rest, within := strings.CutPrefix(page.to, prefix)
		if !within || rest < after {
			continue
		}
		child := rest
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			child = rest[:i+1]
		}
		if child < first || child == first && page.to > best.to {
			first, best = child, page
		}
	}
	return best
}

// listOn lists the children of dir after the child key after, one page after the other.
func (l *lister) listOn(ctx context.Context, dir, after string) error {
	for whole := false; !whole; {
		err := ctx.Err()
		if err == nil {
			err = l.listPage(ctx, dir, after)
		}
		if err != nil {
			return err
		}
		was := after
		if after, whole = l.resume(dir); !whole && after <= was {
			return nil // no way forward; the caller finds it incomplete
		}
	}
	return nil
}

// resume returns the child key after which dir is unknown or no longer believed.
func (l *lister) resume(dir string) (after string, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.index.dirs[dir]; d == nil || l.expired(dir, d) {
		return "", false
	}
	if _, whole, after = l.index.children(dir); after != "" && l.lists(dir) {
		l.index.dirs[dir].busy = true // or it could end to be believed before the rest comes
	}
	return after, whole
}

// markBig remembers that a flat page did not get beyond the first child of dir: then it will not in dir's other children
// either. In HCP every subject has 13,000 objects; asking flat and then again with a delimiter would double the requests.
func (l *lister) markBig(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.index.dirs[dir]; d == nil || d.kids.len() <= 1 {
		l.big[dir] = true
	}
}

func (l *lister) inBig(dir string) bool {
	if dir == "" {
		return false
	}
	parent, _ := backends.Split(dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.big[parent]
}

// background revalidates what was served from disk, and saves now and then, until close.
func (l *lister) background() {
	defer l.work.Done()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-save.C:
			if err := l.save(); err != nil {
				l.o.log.WarnContext(l.ctx, "cannot save the listing", "err", err)
			}
		case <-l.wake:
			l.revalidate()
		}
	}
}

// revalidate asks again for directories that were served from disk. The first page of the first one usually serves
// them all.
func (l *lister) revalidate() {
	pause := time.NewTimer(revalidateAfter)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-l.ctx.Done():
		return
	}
	l.mu.Lock()
	todo := slices.Sorted(maps.Keys(l.todo)) // parents first: their page serves what lies below
	clear(l.todo)
	l.mu.Unlock()
	for _, dir := range todo {
		l.mu.Lock()
		d := l.index.dirs[dir]
		due := d != nil && d.disk
		l.mu.Unlock()
		if !due {
			continue
		}
		if err := l.again(l.ctx, dir); err != nil {
			l.o.log.InfoContext(l.ctx, "cannot revalidate a listing", "err", errClass(err))
			l.giveUp(dir, err)
			if outage(err) {
				return // the others would wait as long for the same; whoever asks puts them back
			}
		}
	}
}

// again lists a directory that is served from disk.
func (l *lister) again(ctx context.Context, dir string) error {
	l.mu.Lock()
	s := l.join(dir) //nolint:contextcheck // as in share
	l.mu.Unlock()
	defer s.Close()
	if s.Listing == nil { // a page is being asked for
		return l.await(ctx, s.call, nil)
	}
	return s.whole(ctx)
}

// giveUp ends the service of a directory from disk if the source refused us; after an outage it goes on.
func (l *lister) giveUp(dir string, err error) {
	switch {
	case l.ctx.Err() != nil:
	case outage(err):
		l.mu.Lock()
		l.failed[dir] = l.o.now()
		l.mu.Unlock()
	default:
		l.expire(dir)
	}
}

// errClass is what may be logged of an error that can hold names: which of the sentinels it is.
func errClass(err error) string {
	for _, known := range []error{
		backends.ErrAuth, backends.ErrPermission, backends.ErrUnreachable, backends.ErrBusy, backends.ErrBadAnswer,
		backends.ErrNotExist, context.DeadlineExceeded, context.Canceled,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "other"
}
