package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
)

// smallFile is up to which size a file's bytes are given to the kernel when the file is opened for the first time. From then on opening and
// reading it is one request, for the kernel's own pages are at hand; passthrough costs two more calls of the kernel each time, which pays from a few
// hundred KiB on only.
const smallFile = 256 << 10

// small reports whether the version's bytes are kept in the kernel's pages, and not read by passthrough.
func (f *version) small() bool { return 0 < f.e.Size && f.e.Size <= smallFile }

// give puts all bytes of a small file into the kernel's pages, once per node, before the first open is answered. Nobody
// can have it open before: with a handle, reads would be waiting for these pages, and this for them. So others who open it meanwhile wait. It
// is quick, for all is on the local disk. The kernel may drop what it was given: then it reads by requests.
func (f *version) give(ctx context.Context, n *fusefs.Inode, r *cache.Reader) {
	f.open.gift.Lock()
	defer f.open.gift.Unlock()
	if f.open.had {
		return
	}
	f.open.had = true
	if !r.Whole() {
		return
	}
	buf := f.t.fs.gifts.get()
	defer f.t.fs.gifts.put(buf)
	data := (*buf)[:f.e.Size]
	if got, err := r.ReadAt(ctx, data, 0); got == len(data) && (err == nil || errors.Is(err, io.EOF)) {
		n.WriteCache(0, data) //nolint:errcheck // a refusal costs the reader a request, as without
	}
}

// ready reports whether a program may open the version, which the listing has as now, without anything being opened for it: the kernel was
// given the bytes, and what it may have dropped is on the local disk.
func (f *version) ready(now backends.Entry) bool {
	if !f.small() {
		return false
	}
	f.open.gift.Lock()
	had := f.open.had
	f.open.gift.Unlock()
	return had && f.t.store.Ready(now)
}

// unopened makes a handle whose Reader is opened when the kernel asks for bytes.
func (f *version) unopened() (fusefs.FileHandle, uint32) {
	h := &handle{f: f, flow: f.open.enter(false)}
	if h.flow == byDemand {
		return h, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	}
	return h, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
}

// again opens a Reader for somebody who has the version open already. He gets its bytes where they can still be had, whatever became of the
// name.
func (f *version) again(ctx context.Context) (*cache.Reader, error) {
	e := f.e
	if now, err := f.t.store.Lookup(ctx, e.Name); err == nil && sameVersion(now, e) {
		e = now // its tier may have changed
	}
	r, err := f.t.store.Open(ctx, e)
	if errors.Is(err, backends.ErrNotExist) {
		return nil, fmt.Errorf("read: %w", backends.ErrChanged)
	}
	return r, err
}

// buffers lends memory for a whole small file.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *[]byte {
	if buf, ok := b.pool.Get().(*[]byte); ok {
		return buf
	}
	buf := make([]byte, smallFile)
	return &buf
}

func (b *buffers) put(buf *[]byte) { b.pool.Put(buf) }
