package cache

import (
	"context"
	"errors"
	"strings"
	"time"

	"studyfs/backends"
)

// pageFunc asks for one page of a range of keys.
type pageFunc func(ctx context.Context, after string) (backends.Page, error)

// fan lists a range of keys with several requests at once.
type fan struct {
	split *splitter
	key   func(backends.Entry) string // relative to the listed directory, as the keys of the splitter are
	ask   pageFunc
	take  func(after string, p backends.Page) error // gets each page, in no order, one at a time; what two pages have is in one of them
}

// run returns when all has come, or with the first error, when nothing is under way any more.
func (f *fan) run(ctx context.Context) error {
	type answer struct {
		to    *segment
		after string
		page  backends.Page
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer)
	var failed error
	for flying := 0; ; flying-- {
		for failed == nil {
			g := f.split.next()
			if g == nil {
				break
			}
			flying++
			after := g.at
			go func() { // its answer is waited for
				page, err := f.ask(ctx, after)
				answers <- answer{g, after, page, err}
			}()
		}
		if flying == 0 {
			return failed
		}
		a := <-answers
		if a.err == nil && failed == nil {
			a.err = f.take(a.after, f.split.got(a.to, a.page, f.key))
		}
		if a.err != nil && failed == nil {
			failed = a.err
			cancel()
		}
	}
}

// Walk lists all files below dir of a source, with several requests at once where it can begin anywhere. take gets them page by page, one
// call at a time, each file once, in no order; its error ends the walk. Nothing of it is kept.
func Walk(ctx context.Context, src backends.Pager, dir string, take func([]backends.Entry) error) error {
	prefix := prefixOf(dir)
	ask := func(ctx context.Context, after string) (backends.Page, error) {
		if after != "" {
			after = prefix + after
		}
		p, err := src.WalkPage(ctx, dir, after)
		p.Last = strings.TrimPrefix(p.Last, prefix)
		return p, err
	}
	seeker, ok := src.(backends.Seeker)
	after := ""
	for pages := 0; ; pages++ {
		if ok && pages > 0 && seeker.Seeks(true) {
			f := &fan{
				split: newSplitter(after, pages, true), ask: ask,
				key:  func(e backends.Entry) string { return strings.TrimPrefix(keyOf(e), prefix) },
				take: func(_ string, p backends.Page) error { return take(p.Entries) },
			}
			return f.run(ctx)
		}
		p, err := ask(ctx, after)
		if err == nil {
			err = take(p.Entries)
		}
		if err != nil || !p.More {
			return err
		}
		after = p.Last
	}
}

// errDeep says that there are directories in a directory that was listed flat.
var errDeep = errors.New("a directory in between")

// spread lists what comes after the child key after of a directory that does not fit in a page. Not done: its source cannot begin anywhere,
// or not in this directory.
func (l *lister) spread(ctx context.Context, dir, after string) (done bool, err error) {
	src, ok := l.src.(backends.Seeker)
	if !ok {
		return false, nil
	}
	known, flat := l.childKeys(dir)
	prefix := prefixOf(dir)
	ask := func(ctx context.Context, after string) (p backends.Page, err error) {
		if after != "" {
			after = prefix + after
		}
		if p, err = src.ListPage(ctx, dir, after); err == nil {
			p.Last = strings.TrimPrefix(p.Last, prefix)
		}
		return p, err
	}
	switch {
	case src.Seeks(false):
	case flat && src.Seeks(true):
		ask = files(src, dir)
	default:
		return false, nil
	}
	since := l.begun()
	defer l.ended(since)
	f := &fan{
		split: newSplitter(after, 1, false), ask: ask,
		key: func(e backends.Entry) string { return strings.TrimPrefix(keyOf(e), prefix) },
		take: func(after string, p backends.Page) error {
			p.Last = prefix + p.Last
			from := after
			if after != "" {
				from = prefix + after
			}
			l.take(dir, func(now time.Time) diff {
				return l.index.applyList(dir, after, l.edits.amend(p, from, since, childOf(dir)), now, l.expired)
			})
			return nil
		},
	}
	for _, key := range known {
		f.split.note(key)
	}
	err = f.run(ctx)
	return !errors.Is(err, errDeep), err
}

// files asks for the children of dir with flat pages, which are the same as long as there is no directory among them.
func files(src backends.Pager, dir string) pageFunc {
	prefix := prefixOf(dir)
	return func(ctx context.Context, after string) (backends.Page, error) {
		if after != "" {
			after = prefix + after
		}
		p, err := src.WalkPage(ctx, dir, after)
		for _, e := range p.Entries {
			if e.Dir || strings.Contains(strings.TrimPrefix(e.Name, prefix), "/") {
				return p, errDeep
			}
		}
		p.Last = strings.TrimPrefix(p.Last, prefix)
		if strings.Contains(p.Last, "/") { // a hidden key
			return p, errDeep
		}
		return p, err
	}
}

// childKeys returns what is known of the children of dir, in key order, and whether all of them are files.
func (l *lister) childKeys(dir string) (keys []string, files bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files = true
	if d := l.index.dirs[dir]; d != nil {
		for k := range d.kids.all() {
			keys = append(keys, k.key)
			files = files && !k.dir()
		}
	}
	return keys, files
}
