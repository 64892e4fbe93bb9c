package fs

import (
	"cmp"
	"context"
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

// list is the children of a directory, by name.
type list interface {
	Len() int
	At(i int) backends.Entry
}

// entryList is a list of few.
type entryList []backends.Entry

func (l entryList) Len() int                { return len(l) }
func (l entryList) At(i int) backends.Entry { return l[i] }

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

// dirHandle is one opendir: a snapshot and a place in it. Offsets are 1 for what follows ".", 2 for what follows
// "..", then one per entry; they mean the same at any time while the handle lives. go-fuse calls it under a lock.
type dirHandle struct {
	entries      list
	at           int
	self, parent uint64
	until        time.Time // the listing is believed until then
	clock        func() time.Time
	ino          func(e backends.Entry) uint64
	renew        func(ctx context.Context) ([]backends.Entry, error) // for rewinddir; nil: what was listed stays
	// child makes the node of an entry; nil: there is none any more.
	child func(ctx context.Context, e backends.Entry, timeout time.Duration, out *fuse.EntryOut) *fusefs.Inode
	de    fuse.DirEntry // the one handed out last
}

// Readdirent returns the next entry, or nil at the end.
func (h *dirHandle) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	h.de = fuse.DirEntry{Mode: syscall.S_IFDIR, Off: uint64(h.at + 1)}
	switch {
	case h.at == 0:
		h.de.Name, h.de.Ino = ".", h.self
	case h.at == 1:
		h.de.Name, h.de.Ino = "..", h.parent
	case h.at-2 >= h.entries.Len():
		return nil, 0
	default:
		e := h.entries.At(h.at - 2)
		_, h.de.Name = backends.Split(e.Name)
		h.de.Ino = h.ino(e)
		switch {
		case e.Link != "":
			h.de.Mode = syscall.S_IFLNK
		case !e.Dir:
			h.de.Mode = syscall.S_IFREG
		}
	}
	h.at++
	return &h.de, 0
}

// Seekdir goes to an offset that Readdirent gave. From the beginning, a directory that can be written to is listed anew.
func (h *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 && h.renew != nil {
		entries, err := h.renew(ctx)
		if err != nil {
			return errno(err)
		}
		h.entries = entryList(entries)
	}
	if off > uint64(h.entries.Len()+2) {
		return syscall.EINVAL
	}
	h.at = int(off)
	return 0
}

// Lookup gives the node of an entry of the snapshot, for readdirplus, without asking the cache again.
func (h *dirHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	e, ok := h.find(name)
	if !ok {
		return nil, syscall.ENOENT
	}
	n := h.child(ctx, e, max(h.until.Sub(h.clock()), 0), out)
	if n == nil {
		return nil, syscall.ENOENT
	}
	return n, 0
}

// find is usually the last entry handed out; after an interrupted or full answer it is an earlier one.
func (h *dirHandle) find(name string) (backends.Entry, bool) {
	base := func(i int) string {
		_, last := backends.Split(h.entries.At(i).Name)
		return last
	}
	n := h.entries.Len()
	if i := h.at - 3; i >= 0 && i < n && base(i) == name {
		return h.entries.At(i), true
	}
	i, ok := sort.Find(n, func(i int) int { return cmp.Compare(name, base(i)) })
	if !ok {
		return backends.Entry{}, false
	}
	return h.entries.At(i), true
}

// Fsyncdir has nothing to do.
func (h *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno { return 0 }
