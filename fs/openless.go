package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
)

// openless is one version of one object in a mount where the kernel opens files without asking. All that it asks for are bytes
// that it does not have in its pages, by the node.
type openless struct{ file }

// fitsOpenless says why a mount cannot do without being asked, nil if it can.
func (o Options) fitsOpenless() error {
	switch {
	case !o.NoOpen:
	case o.Opened != nil:
		return fmt.Errorf("a mount without opens, of which somebody is to be told: %w", os.ErrInvalid)
	default:
		for _, t := range o.Trees {
			if t.Stage != nil || t.View != nil {
				return fmt.Errorf("a mount without opens that can be written to, or has files under two names: %w", os.ErrInvalid)
			}
		}
	}
	return nil
}

// noOpen reports whether the kernel opens files by itself. An old kernel cannot, and programs would see the answer that tells it to.
func (f *FS) noOpen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.o.NoOpen && f.server != nil && f.server.KernelSettings().Flags64()&fuse.CAP_NO_OPEN_SUPPORT != 0
}

// Open tells the kernel, once in the life of the mount, that it need not ask.
func (f *openless) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	switch {
	case writes(flags):
		return nil, 0, syscall.EROFS
	case f.t.fs.noOpen():
		return nil, 0, syscall.ENOSYS
	}
	return f.file.Open(ctx, flags)
}

// Flush tells the kernel, once, that it need not say when a file is closed either.
func (f *openless) Flush(context.Context, fusefs.FileHandle) syscall.Errno { return syscall.ENOSYS }

// Read fills dest with bytes of the node's version, or answers ESTALE where they are nowhere any more. Then the kernel is told to look the name up
// again, since it did not have to ask when the file was opened.
func (f *openless) Read(ctx context.Context, h fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if r, ok := h.(fusefs.FileReader); ok {
		return r.Read(ctx, dest, off)
	}
	if no := f.t.fs.mayRead(ctx); no != 0 {
		return nil, no
	}
	ctx, done := patient(ctx)
	defer done()
	n, err := f.t.fs.readers.read(ctx, f, dest, off)
	if err == nil || errors.Is(err, io.EOF) {
		return fuse.ReadResultData(dest[:n]), 0
	}
	if errors.Is(err, backends.ErrChanged) {
		dir, _ := backends.Split(f.e.Name)
		f.t.fs.Changed(f.t.name, backends.Change{Dir: dir, Names: []string{f.e.Name}})
	}
	return nil, f.t.fs.fail(ctx, "read", f.e.Name, err)
}

// OnForget lets go of what is kept open for a node that the kernel does not know any more.
func (f *openless) OnForget() {
	f.counted.OnForget()
	f.t.fs.readers.drop(f)
}

// shows reports whether a file can be shown at all. Where its size is not known beforehand, the kernel has to be told at open to read it past its
// pages; through them it would look empty.
func (f *FS) shows(e backends.Entry) bool {
	return !f.o.NoOpen || e.Dir || e.Link != "" || e.Size != backends.SizeUnknown
}
