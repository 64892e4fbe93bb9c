package fs

import (
	"context"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
)

// link is a symbolic link. Like a file it is one version: another target is another node.
type link struct {
	fusefs.Inode
	readOnly
	counted
	noMeta
	t *tree
	e backends.Entry
}

// Readlink tells where it leads. The kernel follows it.
func (l *link) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.e.Link), 0 }

// Getattr shows a link as everywhere: its size is the length of its target.
func (l *link) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	l.t.fs.attr(l.t.name, l.e, &out.Attr)
	out.SetTimeout(fileAttrTimeout)
	return 0
}
