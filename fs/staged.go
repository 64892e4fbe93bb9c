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
	"studyfs/cache/stage"
)

// staged is a file that waits for its upload, or is being written. All who have it open, be it for reading, use the same
// local file. When it has been stored its name leads to another node; handles that are open stay with the local file.
type staged struct {
	fusefs.Inode
	spot
	named
	o    *overlay
	id   stage.ID
	open flows

	mu      sync.Mutex // guards what follows
	handles map[*stage.File]bool
	last    *stage.Attr // what programs that have it open have set since it has no name; nil: nothing
}

func (o *overlay) stagedNode(info stage.Info) *staged {
	s := &staged{o: o, id: info.ID}
	s.move(info.Name)
	return s
}

// info is what is known of the file: by an open handle even when its name is gone. Where it was stored meanwhile, or was a copy that
// nobody changed, it is what its name shows now, and not ESTALE: the kernel asks for permissions in the course of an open, and looks a name up
// again only once.
func (s *staged) info(ctx context.Context, fh fusefs.FileHandle) (stage.Info, error) {
	if h, ok := fh.(interface{ opened() *stagedHandle }); ok {
		return h.opened().f.Info(), nil
	}
	if info, ok := s.o.stage.Lookup(s.path()); ok && info.ID == s.id {
		return info, nil
	}
	if f := s.anyOpen(); f != nil {
		return f.Info(), nil
	}
	ctx, done := patient(ctx)
	defer done()
	it, err := s.o.lookup(ctx, s.path())
	if s.lost.Load() || err == nil && it.kind != stage.Regular {
		return stage.Info{}, backends.ErrChanged
	}
	if err != nil {
		return stage.Info{}, gone(err)
	}
	now := stage.Info{ID: s.id, Name: it.name, Size: sizeOfItem(it)}
	now.Attr, now.Changed = s.o.attrOf(it)
	return now, nil
}

// anyOpen is one of the handles, nil if there is none.
func (s *staged) anyOpen() *stage.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.handles {
		return f
	}
	return nil
}

// hold and drop note who has it open.
func (s *staged) hold(f *stage.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handles == nil {
		s.handles = map[*stage.File]bool{}
	}
	s.handles[f] = true
}

func (s *staged) drop(f *stage.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handles, f)
}

// Getattr shows the file as it is now: the kernel writes to the local file without telling.
func (s *staged) Getattr(ctx context.Context, fh fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	info, err := s.info(ctx, fh)
	if err != nil {
		return s.stored(ctx, out)
	}
	s.fill(info, out)
	return 0
}

// stored shows what has become of a file that was stored meanwhile. The kernel asks for attributes on its way to opening; it looks up
// again after one ESTALE only, and Open may need that.
func (s *staged) stored(ctx context.Context, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	it, err := s.o.lookup(ctx, s.path())
	if err == nil && (it.staged || it.kind != stage.Regular || s.o.identity(it).Ino != s.StableAttr().Ino) {
		err = backends.ErrChanged
	}
	if err != nil {
		return s.o.fail(ctx, "getattr", s.path(), gone(err))
	}
	s.o.fill(it, &out.Attr)
	return 0
}

func (s *staged) fill(info stage.Info, out *fuse.AttrOut) {
	it := item{name: info.Name, kind: stage.Regular, staged: true, info: info}
	s.mu.Lock()
	if s.last != nil {
		it.info.Attr = *s.last
	}
	s.mu.Unlock()
	s.o.fill(it, &out.Attr)
	out.Nlink = s.links()
	out.SetTimeout(s.o.attrTimeout(it))
}

// Open answers ESTALE where the file was stored meanwhile: the kernel then looks the name up again by itself, and finds the
// stored version, or what was staged of it here in order to be changed.
func (s *staged) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	f, err := s.o.stage.OpenFile(ctx, s.id, writes(flags))
	if errors.Is(err, backends.ErrNotExist) && writes(flags) {
		err = errors.Join(s.o.writable(ctx, s.path(), flags&syscall.O_TRUNC != 0), backends.ErrChanged)
	}
	if err == nil && flags&syscall.O_TRUNC != 0 {
		err = emptied(f)
	}
	if err == nil && flags&syscall.O_ACCMODE != syscall.O_WRONLY && flags&syscall.O_TRUNC == 0 {
		err = s.told(ctx, f)
	}
	if err != nil {
		return nil, 0, s.o.fail(ctx, "open", s.path(), gone(err))
	}
	h, how := s.handle(f, writes(flags))
	return h, how, 0
}

// told tells of an opening for reading, and closes what may not be read.
func (s *staged) told(ctx context.Context, f *stage.File) error {
	err := s.o.t.fs.opened(ctx, s.o.t.name, s.path(), backends.SizeUnknown)
	if err != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}

// emptied truncates a file for O_TRUNC, or closes it again.
func emptied(f *stage.File) error {
	err := f.Truncate(0)
	if err != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}

// handle decides how the bytes will flow, as for a stored version.
func (s *staged) handle(f *stage.File, writable bool) (fusefs.FileHandle, uint32) {
	h := stagedHandle{s: s, f: f, flow: s.open.enter(s.o.t.fs.pass.wanted() && f.Local() != nil)}
	s.hold(f)
	how := uint32(0)
	if !writable {
		how = fuse.FOPEN_NOFLUSH
	}
	switch h.flow {
	case byFile:
		return &stagedPassed{h}, how | fuse.FOPEN_KEEP_CACHE
	case byDemand:
		return &h, how | fuse.FOPEN_DIRECT_IO
	default:
		return &h, how | fuse.FOPEN_KEEP_CACHE
	}
}

// Setattr changes the file: its size, or what is kept beside its bytes.
func (s *staged) Setattr(ctx context.Context, fh fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	info, err := s.info(ctx, fh)
	if size, ok := in.GetSize(); ok && err == nil {
		info, err = s.truncate(ctx, fh, int64(size))
		if errors.Is(err, backends.ErrNotExist) {
			return s.o.instead(ctx, "truncate", s.path(), size == 0)
		}
	}
	if err == nil {
		info, err = s.change(ctx, info, in)
	}
	if err != nil {
		return s.o.fail(ctx, "setattr", s.path(), gone(err))
	}
	s.fill(info, out)
	return 0
}

// change does what setattr asks for beside the size: to what is staged, to what became of it at the source, or, for
// programs that still have it open, to what has no name any more.
func (s *staged) change(ctx context.Context, info stage.Info, in *fuse.SetAttrIn) (stage.Info, error) {
	set, ok := setter(in)
	if !ok {
		return info, nil
	}
	now, err := s.o.stage.SetAttr(s.id, set)
	if !errors.Is(err, backends.ErrNotExist) {
		return now, err
	}
	if it, lerr := s.o.lookup(ctx, s.path()); lerr == nil && !it.staged && !s.lost.Load() {
		if m, known := s.o.stage.Remember(it.e); known && m.ID == s.id {
			it, err = s.o.alter(it, set)
			info.Attr, info.Changed = s.o.attrOf(it)
			return info, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.handles) == 0 {
		return info, err
	}
	if s.last == nil {
		s.last = &info.Attr
	}
	a := *s.last
	set(&a)
	s.last = &a
	return info, nil
}

// truncate sets the size, through the handle of the caller where there is one.
func (s *staged) truncate(ctx context.Context, fh fusefs.FileHandle, size int64) (stage.Info, error) {
	if h, ok := fh.(interface{ opened() *stagedHandle }); ok {
		f := h.opened().f
		err := f.Truncate(size)
		return f.Info(), err
	}
	f, err := s.o.stage.OpenFile(ctx, s.id, true)
	if err != nil {
		return stage.Info{}, err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Flush(ctx)
	}
	info := f.Info()
	return info, errors.Join(err, f.Close())
}

// stagedHandle is an open staged file.
type stagedHandle struct {
	s    *staged
	f    *stage.File
	flow flow
}

func (h *stagedHandle) opened() *stagedHandle { return h }

func (h *stagedHandle) fail(ctx context.Context, op string, err error) syscall.Errno {
	return h.s.o.fail(ctx, op, h.s.path(), err)
}

// Read reads the local file.
func (h *stagedHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.fail(ctx, "read", err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write writes to the local file.
func (h *stagedHandle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.f.WriteAt(data, off)
	if n > 0 {
		err = nil // what is missing is asked for again, and then says why it fails
	}
	return uint32(n), h.fail(ctx, "write", err)
}

// Flush is close(2): it returns when the file is safe.
func (h *stagedHandle) Flush(ctx context.Context) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	return h.fail(ctx, "close", h.f.Flush(ctx))
}

// Fsync returns when the file is safe.
func (h *stagedHandle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	return h.fail(ctx, "fsync", h.f.Sync(ctx))
}

// Allocate makes room, frees it, or zeroes it.
func (h *stagedHandle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	return h.fail(ctx, "fallocate", h.f.Allocate(int64(off), int64(size), mode))
}

// Lseek finds data and holes.
func (h *stagedHandle) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	at, err := h.f.Seek(int64(off), int(whence))
	return uint64(max(at, 0)), errno(err)
}

// Release lets go of the local file. What could fail was told by Flush.
func (h *stagedHandle) Release(ctx context.Context) syscall.Errno {
	h.s.open.leave(h.flow)
	h.s.drop(h.f)
	if err := h.f.Close(); err != nil {
		h.s.o.t.fs.log.WarnContext(ctx, "cannot close a staged file", slog.Any("err", errno(err)))
	}
	return 0
}

// stagedPassed is a handle whose local file the kernel reads and writes itself.
type stagedPassed struct{ stagedHandle }

// PassthroughFd offers the local file. It stays open until Release.
func (p *stagedPassed) PassthroughFd() (int, bool) {
	p.s.open.ask()
	return int(p.f.Local().Fd()), true
}

// Read is called for the same reasons as that of a stored file.
func (p *stagedPassed) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	p.refused(ctx)
	return p.stagedHandle.Read(ctx, dest, off)
}

// Write is called if the kernel refused files.
func (p *stagedPassed) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	p.refused(ctx)
	return p.stagedHandle.Write(ctx, data, off)
}

func (p *stagedPassed) refused(ctx context.Context) {
	if p.s.open.refused() {
		p.s.o.t.fs.pass.refused(ctx)
	}
}
