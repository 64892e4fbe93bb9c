package azure

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"studyfs/backends"
)

// begins is what is known of how the service's listings begin and go on.
type begins uint8

const (
	unproven    begins = iota
	anywhere           // keys come in byte order, and a flat listing begins where startFrom says
	byDirectory        // only whole directories can be relied on
)

// errOrder says that a listing's order, or where it began, is not what pages after a key need.
var errOrder = errors.New("listing is not in key order")

// WalkPage is one flat page. The service goes on after the marker of an earlier page, which is remembered for the last thousand pages: so
// reading on costs one request. To begin anywhere else there is startFrom (service version 2026-02-06), which emulators and older
// services ignore and whose documentation is contradictory; so it is tried once per source on a key that is known, with two requests
// for one or two keys, and believed only if that key comes first.
//
// Where it is not, and where the service's order is not that of the keys' bytes (accounts with a hierarchical namespace, or whose
// directories are blobs without a slash at the end of their names), a page is made of whole directories: it is then the files of one
// directory up to the first directory in it, and costs one listing of the directory that the key after lies in and one for each
// level that has to be gone up or down, each of one request per 5,000 children.
func (s *Source) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	page, err := s.walk(ctx, dir, after)
	if errors.Is(err, errOrder) {
		s.learn(byDirectory)
		return s.walkDirs(ctx, dir, after)
	}
	return page, err
}

func (s *Source) walk(ctx context.Context, dir, after string) (backends.Page, error) {
	q := question{prefix: s.prefix(dir), most: s.o.PageSize}
	mark, marked := s.marks.get(q.prefix, "", after)
	switch {
	case s.know() == byDirectory:
		return backends.Page{}, errOrder
	case marked:
		q.marker, q.start = mark.marker, mark.start
	case s.key(after) > q.prefix:
		proven, err := s.prove(ctx)
		if err != nil {
			return backends.Page{}, err
		}
		if proven {
			q.start = s.key(successor(after))
		}
	}
	return s.page(ctx, dir, after, q)
}

// ListPage is one page of children. It goes on after a page as WalkPage does. Anywhere else it begins at the first child and skips what
// is not wanted, one request per 5,000 children: of startFrom in such listings the documentation says less still.
func (s *Source) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	page, err := backends.Page{}, errOrder
	if s.know() != byDirectory {
		q := question{prefix: s.prefix(dir), delimiter: "/", most: s.o.PageSize}
		if mark, marked := s.marks.get(q.prefix, "/", after); marked {
			q.marker = mark.marker
		}
		page, err = s.page(ctx, dir, after, q)
	}
	if !errors.Is(err, errOrder) {
		return page, err
	}
	s.learn(byDirectory)
	all, _, err := s.whole(ctx, dir)
	return backends.Page{Entries: behind(all, after)}, err
}

// Seeks is true of flat pages once that was proven.
func (s *Source) Seeks(flat bool) bool { return flat && s.know() == anywhere }

func (s *Source) know() begins {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begins
}

func (s *Source) learn(b begins) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begins = max(s.begins, b)
}

// prove reports whether startFrom does what is said of it. While there are fewer than two keys there is nothing to begin behind, and
// nothing to tell it by.
func (s *Source) prove(ctx context.Context) (bool, error) {
	switch s.know() {
	case anywhere:
		return true, nil
	case byDirectory:
		return false, errOrder
	case unproven:
	}
	lines, err := s.first(ctx, "list", "", question{prefix: s.o.Prefix, most: 2})
	if err != nil || len(lines) < 2 {
		return false, err
	}
	second := lines[1].key
	if lines, err = s.first(ctx, "list", "", question{prefix: s.o.Prefix, start: second, most: 1}); err != nil {
		return false, err
	}
	if len(lines) == 0 || lines[0].key != second {
		return false, errOrder
	}
	s.learn(anywhere)
	return true, nil
}

// page asks for pages until one holds something behind the key after, and returns it.
func (s *Source) page(ctx context.Context, dir, after string, q question) (backends.Page, error) {
	from := s.key(after)
	lines, next, err := s.reach(ctx, dir, from, q)
	if q.marker != "" && errors.Is(err, backends.ErrBadAnswer) { // it may have grown old
		s.marks.drop(q, after)
		q.marker = ""
		lines, next, err = s.reach(ctx, dir, from, q)
	}
	if err != nil {
		return backends.Page{}, err
	}
	page := backends.Page{More: next.marker != ""}
	for _, l := range lines {
		if after != "" && l.key <= from {
			continue
		}
		if e, ok := s.entry(l, q.prefix); ok {
			page.Entries = append(page.Entries, e)
		}
	}
	if page.More {
		page.Last = strings.TrimPrefix(lines[len(lines)-1].key, s.o.Prefix)
		s.marks.put(next, page.Last)
	}
	return page, nil
}

// reach asks q, and for the pages behind, until one ends behind from or is the last. next is the question for the page behind, without a
// marker where there is none.
func (s *Source) reach(ctx context.Context, dir, from string, q question) (lines []line, next question, err error) {
	floor := q.start
	if q.marker != "" {
		floor = from
	}
	for {
		lines, marker, err := s.ask(ctx, "list", dir, q)
		if err == nil {
			lines, err = ordered(lines, floor)
		}
		if err != nil {
			return nil, q, err
		}
		q.marker = marker
		if n := len(lines); n > 0 {
			floor = lines[n-1].key
		}
		if marker == "" || len(lines) > 0 && floor > from {
			return lines, q, nil
		}
	}
}

// ordered returns lines in key order. It refuses blobs or prefixes that are not in that order among themselves, keys before floor, and
// accounts and directories that are known to be ordered in another way: of such listings, "all before the last key" says nothing.
func ordered(lines []line, floor string) ([]line, error) {
	var last [2]string
	for _, l := range lines {
		kind := 0
		if l.item == nil {
			kind = 1
		}
		if l.folder || l.nested || l.key < floor || l.key <= last[kind] {
			return nil, errOrder
		}
		last[kind] = l.key
	}
	slices.SortStableFunc(lines, func(a, b line) int { return strings.Compare(a.key, b.key) })
	return lines, nil
}

// top is behind every name.
const top = "\U0010ffff"

// successor is the first key behind after, where that ends in the highest character there is: callers say "from d/ on" as
// "after d." and that character. Else it is after itself.
func successor(after string) string {
	head, high := strings.CutSuffix(after, top)
	r := []rune(head)
	if !high || len(r) == 0 {
		return after
	}
	switch r[len(r)-1] {
	case 0xd7ff, 0x10ffff: // the next is none
		return head
	}
	r[len(r)-1]++
	return string(r)
}

// behind returns what lies behind the key after. all is in key order.
func behind(all []backends.Entry, after string) []backends.Entry {
	for i, e := range all {
		if keyOf(e) > after {
			return all[i:]
		}
	}
	return nil
}

// walkDirs is WalkPage made of listings of whole directories, beginning in the one that the first key wanted lies in.
func (s *Source) walkDirs(ctx context.Context, root, after string) (backends.Page, error) {
	dir, direct := startDir(root, after)
	var page backends.Page
	var entered *backends.Entry // the directory that was gone down to, while nothing says that an object stands for it
	for ; ; direct = false {
		all, found, err := s.whole(ctx, dir)
		if err != nil {
			return backends.Page{}, err
		}
		rest := behind(all, after)
		switch {
		case direct && !found: // only what holds it can tell whether it exists
			dir = up(dir)
		case len(rest) > 0 && !rest[0].Dir:
			return filesOf(page, dir, root, rest), nil
		case len(rest) > 0:
			dir, entered = rest[0].Name, &rest[0]
			if !entered.ModTime.IsZero() {
				page.Entries, entered = append(page.Entries, *entered), nil
			}
		case dir == root:
			return page, nil
		default:
			after = dir + "/" + top
			if page = left(page, entered, after); page.More {
				return page, nil
			}
			dir = up(dir)
		}
	}
}

// left completes a page that ends behind a directory in which nothing was found. If it was gone down to, an object stands for it.
func left(page backends.Page, entered *backends.Entry, last string) backends.Page {
	if entered != nil {
		page.Entries = append(page.Entries, *entered)
	}
	if len(page.Entries) > 0 {
		page.More, page.Last = true, last
	}
	return page
}

// filesOf completes a page with the files that rest, of dir, begins with.
func filesOf(page backends.Page, dir, root string, rest []backends.Entry) backends.Page {
	n := slices.IndexFunc(rest, func(e backends.Entry) bool { return e.Dir })
	switch {
	case n >= 0:
		page.More, page.Last = true, rest[n-1].Name
		rest = rest[:n]
	case dir != root:
		page.More, page.Last = true, dir+"/"+top
	}
	page.Entries = append(page.Entries, rest...)
	return page
}

// startDir is the directory below root that the first key behind after lies in. direct tells that this key would be its own.
func startDir(root, after string) (dir string, direct bool) {
	key := successor(after)
	i := strings.LastIndexByte(key, '/')
	if i < 0 || root != "" && !strings.HasPrefix(key, root+"/") || i <= len(root) {
		return root, false
	}
	return key[:i], i == len(key)-1 && key != after
}

func up(dir string) string {
	parent, _ := backends.Split(dir)
	return parent
}

// maxMarks bounds what is remembered of pages.
const maxMarks = 1000

type markKey struct{ prefix, delimiter, last string }

type mark struct{ marker, start string }

// marks remembers the marker behind a page by the last key of the page.
type marks struct {
	mu    sync.Mutex // guards the fields below; a leaf
	known map[markKey]mark
}

func (m *marks) get(prefix, delimiter, last string) (mark, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.known[markKey{prefix, delimiter, last}]
	return found, ok
}

func (m *marks) put(q question, last string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxMarks {
		m.known = map[markKey]mark{}
	}
	m.known[markKey{q.prefix, q.delimiter, last}] = mark{q.marker, q.start}
}

// drop forgets the marker behind the page that ended with last.
func (m *marks) drop(q question, last string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, markKey{q.prefix, q.delimiter, last})
}
