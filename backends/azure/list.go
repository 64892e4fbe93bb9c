package azure

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"studyfs/backends"
)

// question is one request for a page of a listing.
type question struct {
	prefix    string
	delimiter string // "" or "/"
	marker    string // where an earlier page ended
	start     string // first key wanted; "" is the beginning
	most      int
}

// line is one line of a listing: a blob, or a common prefix where item is nil.
type line struct {
	key    string
	item   *container.BlobItem
	folder bool // stands for a directory that its own key, without slash, names
	nested bool // of an account with a hierarchical namespace, which alone tell a ResourceType
}

// ask sends a question until it is answered. next is the marker of the page behind, "" behind the last.
func (s *Source) ask(ctx context.Context, op, name string, q question) (lines []line, next string, err error) {
	err = s.try(ctx, op, name, func(ctx context.Context) error {
		if q.delimiter == "" {
			lines, next, err = s.flat(ctx, q)
		} else {
			lines, next, err = s.children(ctx, q)
		}
		if err != nil {
			return err
		}
		for i := range lines {
			if err := lines[i].check(q.prefix); err != nil {
				return err
			}
		}
		return nil
	})
	return lines, next, err
}

func (s *Source) flat(ctx context.Context, q question) ([]line, string, error) {
	most := int32(q.most) //nolint:gosec // at most 5,000
	out, err := s.api().NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Include: container.ListBlobsInclude{Metadata: true}, MaxResults: &most,
		Prefix: given(q.prefix), Marker: given(q.marker), StartFrom: given(q.start),
	}).NextPage(ctx)
	if err != nil {
		return nil, "", err
	}
	if value(out.ContainerName) != s.o.Container || out.Segment == nil {
		// A login page parses as XML with nothing in it. Taken for a listing it would say that all data is gone.
		return nil, "", bad("not a listing")
	}
	return linesOf(out.Segment.BlobItems, nil), value(out.NextMarker), nil
}

func (s *Source) children(ctx context.Context, q question) ([]line, string, error) {
	most := int32(q.most) //nolint:gosec // at most 5,000
	out, err := s.api().NewListBlobsHierarchyPager(q.delimiter, &container.ListBlobsHierarchyOptions{
		Include: container.ListBlobsInclude{Metadata: true}, MaxResults: &most,
		Prefix: given(q.prefix), Marker: given(q.marker),
	}).NextPage(ctx)
	if err != nil {
		return nil, "", err
	}
	if value(out.ContainerName) != s.o.Container || out.Segment == nil {
		return nil, "", bad("not a listing")
	}
	return linesOf(out.Segment.BlobItems, out.Segment.BlobPrefixes), value(out.NextMarker), nil
}

func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// linesOf puts blobs and prefixes into one, blobs first where the service has them apart.
func linesOf(items []*container.BlobItem, prefixes []*container.BlobPrefix) []line {
	lines := make([]line, 0, len(items)+len(prefixes))
	for _, item := range items {
		lines = append(lines, line{value(item.Name), item, isFolder(item), isNested(item.Properties)})
	}
	for _, p := range prefixes {
		lines = append(lines, line{key: value(p.Name), nested: isNested(p.Properties)})
	}
	return lines
}

func isNested(p *container.BlobProperties) bool { return p != nil && p.ResourceType != nil }

// isFolder reports whether a blob stands for a directory without saying so in its name: in accounts with a hierarchical namespace, and
// where Hadoop's or Microsoft's own tools have written.
func isFolder(item *container.BlobItem) bool {
	if item.Properties != nil && value(item.Properties.ResourceType) == "directory" {
		return true
	}
	for name, v := range item.Metadata {
		if strings.EqualFold(name, "hdi_isfolder") && strings.EqualFold(value(v), "true") {
			return item.Properties != nil && value(item.Properties.ContentLength) == 0
		}
	}
	return false
}

// check refuses a line that cannot be of the listing asked for.
func (l line) check(prefix string) error {
	switch {
	case l.key == "" || !strings.HasPrefix(l.key, prefix):
		return bad("a key is not below the prefix")
	case l.item == nil && !strings.HasSuffix(l.key, "/"):
		return bad("a common prefix without a slash at its end")
	case l.item == nil || l.folder:
		return nil
	case l.item.Properties == nil || value(l.item.Properties.ETag) == "" || l.item.Properties.ContentLength == nil || *l.item.Properties.ContentLength < 0:
		return bad("a blob without size or ETag")
	}
	return nil
}

// entry is what is shown of a line; false: nothing.
func (s *Source) entry(l line, prefix string) (backends.Entry, bool) {
	if l.key == prefix {
		return backends.Entry{}, false // the marker of the directory itself
	}
	name, isDir := strings.CutSuffix(l.key[len(s.o.Prefix):], "/")
	if !backends.ValidName(name) || name == "" {
		s.hidden.add(l.key)
		return backends.Entry{}, false
	}
	e := backends.Entry{Name: name, Dir: isDir || l.folder}
	if l.item == nil || l.item.Properties == nil {
		return e, true
	}
	p := l.item.Properties
	if p.LastModified != nil {
		e.ModTime = p.LastModified.UTC()
	}
	if e.Dir {
		return e, true
	}
	e.Size, e.Version, e.Class = value(p.ContentLength), string(value(p.ETag)), string(value(p.AccessTier))
	e.Tier = tierOf(p)
	return e, true
}

// tierOf tells whether a blob can be read ("Blob rehydration from the archive tier"): it stays archived until it is copied back.
func tierOf(p *container.BlobProperties) backends.Tier {
	switch {
	case !strings.EqualFold(string(value(p.AccessTier)), "Archive"):
		return backends.Online
	case strings.HasPrefix(string(value(p.ArchiveStatus)), "rehydrate-pending"):
		return backends.Restoring
	}
	return backends.Archived
}

// keyOf is the place of an entry in key order.
func keyOf(e backends.Entry) string {
	if e.Dir {
		return e.Name + "/"
	}
	return e.Name
}

// whole lists all children of dir, whatever order the service has them in, and returns them in key order. found tells whether there is
// anything, be it only the marker of dir itself.
func (s *Source) whole(ctx context.Context, dir string) (all []backends.Entry, found bool, err error) {
	q := question{prefix: s.prefix(dir), delimiter: "/", most: s.o.PageSize}
	for {
		lines, next, err := s.ask(ctx, "list", dir, q)
		if err != nil {
			return nil, false, err
		}
		for _, l := range lines {
			if e, ok := s.entry(l, q.prefix); ok {
				all = append(all, e)
			}
		}
		found = found || len(lines) > 0
		if next == "" {
			break
		}
		q.marker = next
	}
	slices.SortStableFunc(all, func(a, b backends.Entry) int { return cmp.Compare(keyOf(a), keyOf(b)) })
	return slices.CompactFunc(all, func(a, b backends.Entry) bool { return keyOf(a) == keyOf(b) }), found, nil
}

// List yields the children of dir in name order. The service lists in another order, where directory "a" stands behind "a.txt" as "a/",
// so the whole directory is read before the first entry is yielded.
func (s *Source) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		all, _, err := s.whole(ctx, dir)
		if err != nil {
			yield(backends.Entry{}, err)
			return
		}
		slices.SortStableFunc(all, func(a, b backends.Entry) int {
			if c := cmp.Compare(a.Name, b.Name); c != 0 || a.Dir == b.Dir {
				return c
			}
			if a.Dir { // a file beside a directory of the same name gives way
				return -1
			}
			return 1
		})
		for i, e := range all {
			if i > 0 && all[i-1].Name == e.Name {
				s.hidden.add(s.key(e.Name))
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Stat looks a name up with one or two listings of a single key: below it, then at it.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	if !backends.ValidName(name) {
		return backends.Entry{}, fmt.Errorf("stat: %w", backends.ErrNotExist)
	}
	for _, prefix := range []string{s.key(name) + "/", s.key(name)} {
		lines, err := s.first(ctx, "stat", name, question{prefix: prefix, most: 1})
		switch {
		case err != nil:
			return backends.Entry{}, err
		case len(lines) == 0:
		case prefix != s.key(name):
			return backends.Entry{Name: name, Dir: true}, nil
		case lines[0].key == prefix:
			if e, ok := s.entry(lines[0], ""); ok {
				return e, nil
			}
		}
	}
	return backends.Entry{}, fmt.Errorf("stat %s: %w", name, backends.ErrNotExist)
}

// first returns as many lines as q asks for, fewer only at the end of the listing: a page may hold fewer, even none, and go on.
func (s *Source) first(ctx context.Context, op, name string, q question) ([]line, error) {
	var all []line
	for {
		lines, next, err := s.ask(ctx, op, name, q)
		if err != nil {
			return nil, err
		}
		if all = append(all, lines...); len(all) >= q.most || next == "" {
			return all[:min(len(all), q.most)], nil
		}
		q.marker = next
	}
}

// hiddenKeys counts keys that cannot be shown, each once as long as there are not too many to remember. It keeps hashes only.
type hiddenKeys struct {
	mu   sync.Mutex // guards the fields below; a leaf
	seed maphash.Seed
	seen map[uint64]bool
}

const maxHidden = 100_000

func (h *hiddenKeys) add(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seed, h.seen = maphash.MakeSeed(), map[uint64]bool{}
	}
	if len(h.seen) < maxHidden {
		h.seen[maphash.String(h.seed, key)] = true
	}
}

func (h *hiddenKeys) count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.seen))
}
