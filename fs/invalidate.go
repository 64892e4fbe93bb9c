package fs

import (
	"sync"

	fusefs "github.com/hanwen/go-fuse/v2/fs"

	"studyfs/backends"
	"studyfs/cache"
)

// Bounds of what waits to be told to the kernel; beyond them it is told to look at everything again.
const (
	maxDirs  = 4096
	maxNames = 4096
)

type place struct{ tree, dir string }

// invalidator takes back what the kernel believes of names and directories. It has one goroutine of its own: a
// notification sent while answering a request can wait for that very request.
type invalidator struct {
	fs   *FS
	wake chan struct{} // holds one token while there is work

	mu         sync.Mutex // guards what follows
	pending    map[place]map[string]bool
	everything bool
}

func newInvalidator(f *FS) *invalidator {
	return &invalidator{fs: f, wake: make(chan struct{}, 1), pending: map[place]map[string]bool{}}
}

// add notes a change. The same change many times is one.
func (v *invalidator) add(tree string, c cache.Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.everything {
		return
	}
	at := place{tree, c.Dir}
	names := v.pending[at]
	if names == nil {
		names = map[string]bool{}
		v.pending[at] = names
	}
	for _, n := range c.Names {
		names[n] = true
	}
	if len(v.pending) > maxDirs || len(names) > maxNames {
		v.everything, v.pending = true, map[place]map[string]bool{}
	}
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run tells the kernel until stop.
func (v *invalidator) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-v.wake:
		}
		v.tell()
	}
}

func (v *invalidator) tell() {
	v.mu.Lock()
	pending, everything := v.pending, v.everything
	v.pending, v.everything = map[place]map[string]bool{}, false
	v.mu.Unlock()
	if everything {
		forgetAll(v.fs.root.EmbeddedInode())
		return
	}
	for at, names := range pending {
		d := v.find(at)
		if d == nil {
			continue // the kernel does not know it
		}
		d.NotifyContent(0, 0) // its readdir cache; answers ENOENT if there is none
		for n := range names {
			_, base := backends.Split(n)
			d.NotifyEntry(base)
		}
	}
}

// find returns the node of a directory, if there is one.
func (v *invalidator) find(at place) *fusefs.Inode {
	n := v.fs.root.EmbeddedInode()
	if at.tree != "" {
		n = n.GetChild(at.tree)
	}
	for rest := at.dir; rest != "" && n != nil; {
		var part string
		part, rest = cutFirst(rest)
		n = n.GetChild(part)
	}
	return n
}

// forgetAll takes back everything below d.
func forgetAll(d *fusefs.Inode) {
	d.NotifyContent(0, 0)
	for name, child := range d.Children() {
		if child.IsDir() {
			forgetAll(child)
			continue
		}
		d.NotifyEntry(name)
	}
}
