package fs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
)

// file is one version of one object in a tree that nobody may write to.
type file struct {
	fusefs.Inode
	readOnly
	counted
	version
}

// version is what a node of one version of one object needs in order to be read.
type version struct {
	t    *tree
	e    backends.Entry
	open flows
}

// flows counts the open handles of a node by the way in which their bytes flow. The kernel refuses an inode that mixes
// passthrough with its own pages (EIO to the user).
type flows struct {
	mu       sync.Mutex // guards the counts
	buffered int        // handles that use the kernel's pages
	direct   int        // handles that were offered to the kernel for passthrough
	asked    bool       // go-fuse has asked for the local file, to offer it

	gift sync.Mutex // held while the kernel is given the bytes; taken before mu
	had  bool       // guarded by gift: that has been tried
}

// flow is how the bytes of one handle flow.
type flow uint8

const (
	byPages  flow = iota // through the kernel's pages
	byFile               // from the local file, by the kernel itself
	byDemand             // every read and write is a request
)

// enter decides for one more handle: a file is offered only while no other handle uses pages, and while one is, who
// cannot offer does without pages.
func (f *flows) enter(offer bool) flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case offer && f.buffered == 0:
		f.direct++
		return byFile
	case f.direct > 0:
		return byDemand
	}
	f.buffered++
	return byPages
}

// ask notes that go-fuse asks for the local file. It does so for the first handle of a node, unless the kernel has
// refused a file before.
func (f *flows) ask() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = true
}

// refused reports whether go-fuse has stopped offering files. That a handle is read by requests does not tell: the kernel
// reads ahead that way if a program asks for it, from files that it reads itself otherwise.
func (f *flows) refused() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.asked
}

// leave ends what enter began.
func (f *flows) leave(was flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch was {
	case byPages:
		f.buffered--
	case byFile:
		f.direct--
	case byDemand:
	}
}

// Getattr shows the version that this node is, whatever became of the name.
func (f *file) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.t.fs.attr(f.t.name, f.e, &out.Attr)
	out.SetTimeout(attrTimeout(f.e, 0))
	return 0
}

// Open answers ESTALE where the name has another version by now: the kernel then looks it up again by itself.
func (f *file) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if writes(flags) {
		return nil, 0, syscall.EROFS
	}
	if no := f.t.fs.mayRead(ctx); no != 0 {
		return nil, 0, no
	}
	if f.ready(f.e) { //nolint:contextcheck // nobody waits for what is fetched ahead
		if err := f.t.fs.opened(ctx, f.t.name, f.e.Name, f.e.Size); err != nil {
			return nil, 0, f.t.fs.fail(ctx, "open", f.e.Name, err)
		}
		h, how := f.unopened()
		return h, how, 0
	}
	ctx, done := patient(ctx)
	defer done()
	r, err := f.read(ctx)
	if err == nil {
		err = f.told(ctx, f.e.Name, r)
	}
	if err != nil {
		return nil, 0, f.t.fs.fail(ctx, "open", f.e.Name, err)
	}
	h, how := f.answer(ctx, &f.Inode, r)
	return h, how, 0
}

// read opens a Reader of this version if it is still the newest.
func (f *version) read(ctx context.Context) (*cache.Reader, error) {
	now, err := f.t.store.Lookup(ctx, f.e.Name)
	if errors.Is(err, backends.ErrNotExist) || err == nil && !sameVersion(now, f.e) {
		return nil, backends.ErrChanged // if it is gone, looking it up again says so
	}
	if err != nil {
		return nil, err
	}
	return f.t.store.Open(ctx, now) // of now: its tier may have changed
}

// told tells of an opening, and closes what may not be read.
func (f *version) told(ctx context.Context, name string, r *cache.Reader) error {
	err := f.t.fs.opened(ctx, f.t.name, name, f.e.Size)
	if err != nil {
		err = errors.Join(err, r.Close())
	}
	return err
}

// answer makes the handle of an opening, and gives the kernel the bytes of a small file with it.
func (f *version) answer(ctx context.Context, n *fusefs.Inode, r *cache.Reader) (fusefs.FileHandle, uint32) {
	h, how := f.handle(r)
	if f.small() && how&fuse.FOPEN_KEEP_CACHE != 0 {
		f.give(ctx, n, r)
	}
	return h, how | fuse.FOPEN_NOFLUSH
}

// handle decides how the bytes will flow. One whose size no listing tells does without pages: through them the kernel
// reads no further than the size that it was told.
func (f *version) handle(r *cache.Reader) (fusefs.FileHandle, uint32) {
	local, pinned := r.Pin()
	offer := pinned && !f.small() && f.t.fs.pass.wanted()
	h := &handle{f: f, r: late{r: r}, flow: byDemand}
	if offer || f.e.Size != backends.SizeUnknown {
		h.flow = f.open.enter(offer)
	}
	switch h.flow {
	case byFile:
		return &passed{handle: h, fd: int(local.Fd())}, fuse.FOPEN_KEEP_CACHE
	case byPages:
		return h, fuse.FOPEN_KEEP_CACHE
	case byDemand:
	}
	return h, fuse.FOPEN_DIRECT_IO
}

// handle is one open file.
type handle struct {
	f    *version
	r    late
	flow flow
}

// Read fills dest with bytes of the handle's version.
func (h *handle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	r, err := h.r.get(ctx, h.f.again)
	var n int
	if err == nil {
		n, err = r.ReadAt(ctx, dest, off)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.f.t.fs.fail(ctx, "read", h.f.e.Name, err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Release lets go of the Reader. go-fuse lets the backing file go just after; the kernel holds it by itself until then.
func (h *handle) Release(ctx context.Context) syscall.Errno {
	h.f.open.leave(h.flow)
	if err := h.r.close(); err != nil {
		h.f.t.fs.log.WarnContext(ctx, "cannot close a cached object", slog.Any("err", err))
	}
	return 0
}

// passed is a handle whose file the kernel reads itself.
type passed struct {
	*handle
	fd int
}

// PassthroughFd offers the complete local file. The Reader keeps it open, whole and unchanged until Release.
func (p *passed) PassthroughFd() (int, bool) {
	p.f.open.ask()
	return p.fd, true
}

// Read is called if the kernel refused files, which go-fuse does not tell, or reads ahead for a program that asks for it.
func (p *passed) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if p.f.open.refused() {
		p.f.t.fs.pass.refused(ctx)
	}
	return p.handle.Read(ctx, dest, off)
}
