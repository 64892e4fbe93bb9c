package fs

import (
	"sync/atomic"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
)

// maxNodes is how many files the kernel is told of by readdirplus alone, without anybody having asked for one of them. A node is some 700 bytes, and
// the kernel forgets none while it has memory.
const maxNodes = 150_000

// dirNodes is as how many files a directory counts: it has a listing and its children too, and the kernel must be told of it by whoever walks on. A million
// files in 100,000 folders were 455 MiB.
const dirNodes = 4

// counted is a node that is counted for as long as the kernel knows it.
type counted struct{ in *atomic.Int64 }

// count counts a node that the kernel is about to be told of. By two requests for one name at the same time it is counted twice: the number is for
// a limit that need not be exact.
func (f *FS) count(n fusefs.InodeEmbedder) {
	var c *counted
	as := int64(1)
	switch n := n.(type) {
	case *file:
		c = &n.counted
	case *openless:
		c = &n.counted
	case *link:
		c = &n.counted
	case *dir:
		c, as = &n.counted, dirNodes
	default:
		return
	}
	c.in = &f.nodes
	f.nodes.Add(as)
}

// OnForget is called when the kernel knows the node no more.
func (c *counted) OnForget() { c.leave(1) }

// OnForget is called when the kernel knows the directory no more.
func (d *dir) OnForget() { d.leave(dirNodes) }

func (c *counted) leave(as int64) {
	if c.in != nil {
		c.in.Add(-as)
	}
}
