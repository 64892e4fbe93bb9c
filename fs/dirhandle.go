package fs

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sort"
	"sync"
	"syscall"
	"time"
	"weak"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
)

func byName(a, b backends.Entry) int { return cmp.Compare(a.Name, b.Name) }

func sortByName(entries []backends.Entry) { slices.SortFunc(entries, byName) }

// list is the children of a directory in an order of its own, at first perhaps only some of them.
type list interface {
	At(i int) backends.Entry
	// Find returns the place of a name among those that are there.
	Find(base string) (int, bool)
	// More waits until there is an entry i, and returns how many there are.
	More(ctx context.Context, i int) (int, error)
	// Close says that nobody reads on.
	Close()
}

// entryList is a list of few, by name.
type entryList []backends.Entry

func (l entryList) At(i int) backends.Entry                { return l[i] }
func (l entryList) More(context.Context, int) (int, error) { return len(l), nil }
func (l entryList) Close()                                 {}

func (l entryList) Find(base string) (int, bool) {
	return sort.Find(len(l), func(i int) int { return cmp.Compare(base, baseOf(l[i])) })
}

func baseOf(e backends.Entry) string {
	_, base := backends.Split(e.Name)
	return base
}

// shown remembers which listing the kernel has, so that it may answer readdir from its own pages.
type shown struct {
	mu   sync.Mutex                  // guards what follows
	last weak.Pointer[cache.Listing] // it may be long, and nobody else want it any more
	kept *cache.Listing              // instead, of sources whose listings are made anew each time around the same entries
	seen bool
}

// flags lets the kernel keep its copy of the directory while the listing is the one it was made from. On another
// listing the open goes without the flags, which makes the kernel drop its copy; the next one may keep again.
func (s *shown) flags(now *cache.Listing) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.kept
	if last == nil {
		last = s.last.Value()
	}
	first := !s.seen
	s.last, s.kept, s.seen = weak.Make(now), nil, true
	if !now.Owned() {
		s.kept = now
	}
	if !first && !now.Same(last) {
		return 0
	}
	return fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE
}

// dirHandle is one opendir: a snapshot, which may still be coming, and a place in it. Offsets are 1 for what follows ".", 2 for what follows
// "..", then one per entry; they mean the same at any time while the handle lives. go-fuse calls it under a lock.
type dirHandle struct {
	entries      list
	at           int
	self, parent uint64
	fresh        func() time.Duration // how long the listing will still be believed
	ino          func(e backends.Entry) uint64
	renew        func(ctx context.Context) (list, error) // for rewinddir; nil: what was listed stays
	fail         func(ctx context.Context, err error) syscall.Errno
	// child makes the node of an entry; nil: there is none any more, or nobody should have one.
	child func(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode
	de    fuse.DirEntry  // the one handed out last
	last  backends.Entry // which it is
	had   int            // so many entries are known to be there
}

// Readdirent returns the next entry, or nil at the end. It waits until it has come.
func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	h.de, h.last = fuse.DirEntry{Mode: syscall.S_IFDIR, Off: uint64(h.at + 1)}, backends.Entry{}
	switch h.at {
	case 0:
		h.de.Name, h.de.Ino = ".", h.self
	case 1:
		h.de.Name, h.de.Ino = "..", h.parent
	default:
		more, no := h.more(ctx, h.at-2)
		if no != 0 || !more {
			return nil, no
		}
		h.last = h.entries.At(h.at - 2)
		h.de.Name = baseOf(h.last)
		h.de.Ino = h.ino(h.last)
		switch {
		case h.last.Link != "":
			h.de.Mode = syscall.S_IFLNK
		case !h.last.Dir:
			h.de.Mode = syscall.S_IFREG
		}
	}
	h.at++
	return &h.de, 0
}

// more waits for an entry. What keeps it from coming is an error for the reader: a listing without its end would look whole.
func (h *dirHandle) more(ctx context.Context, i int) (bool, syscall.Errno) {
	if i < h.had {
		return true, 0
	}
	ctx, done := patient(ctx)
	defer done()
	have, err := h.entries.More(ctx, i)
	if err != nil {
		return false, h.fail(ctx, err)
	}
	h.had = have
	return i < have, 0
}

// Seekdir goes to an offset that Readdirent gave. From the beginning, a directory that can be written to is listed anew.
func (h *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 && h.renew != nil {
		entries, err := h.renew(ctx)
		if err != nil {
			return errno(err)
		}
		h.entries.Close()
		h.entries, h.had = entries, 0
	}
	if off > 2 {
		if off > math.MaxInt32 {
			return syscall.EINVAL
		}
		if more, no := h.more(ctx, int(off)-3); no != 0 || !more { // the entry that the offset is behind
			return cmp.Or(no, syscall.EINVAL)
		}
	}
	h.at = int(off) //nolint:gosec // looked at above
	return 0
}

// Lookup gives the node of an entry of the snapshot, for readdirplus, without asking the cache again.
func (h *dirHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	e := h.last // or, after an interrupted or full answer, an earlier one
	if baseOf(e) != name {
		i, ok := h.entries.Find(name)
		if !ok {
			return nil, syscall.ENOENT
		}
		e = h.entries.At(i)
	}
	n := h.child(ctx, e, max(h.fresh(), 0), out)
	if n == nil {
		return nil, syscall.ENOENT
	}
	return n, 0
}

// Releasedir lets the listing end, where nobody else reads it.
func (h *dirHandle) Releasedir(context.Context, uint32) { h.entries.Close() }

// Fsyncdir has nothing to do.
func (h *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno { return 0 }
