package fs

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"syscall"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/stage"
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

	mu         sync.Mutex                // guards what follows
	pending    map[place]map[string]bool // nil for a place: all its children
	everything bool
}

func newInvalidator(f *FS) *invalidator {
	return &invalidator{fs: f, wake: make(chan struct{}, 1), pending: map[place]map[string]bool{}}
}

// add notes a change. The same change many times is one.
func (v *invalidator) add(tree string, c backends.Change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.everything {
		return
	}
	at := place{tree, c.Dir}
	names, known := v.pending[at]
	if !known {
		names = map[string]bool{}
	}
	for _, n := range c.Names {
		if names != nil {
			names[n] = true
		}
	}
	if c.All || len(names) > maxNames {
		names = nil
	}
	v.pending[at] = names
	if len(v.pending) > maxDirs {
		v.everything, v.pending = true, map[place]map[string]bool{}
	}
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// run tells the kernel until stop.
func (v *invalidator) run(stop <-chan struct{}) {
	ctx := &fuse.Context{Cancel: stop}
	for {
		select {
		case <-stop:
			return
		case <-v.wake:
		}
		v.tell(ctx)
	}
}

func (v *invalidator) tell(ctx context.Context) {
	v.mu.Lock()
	pending, everything := v.pending, v.everything
	v.pending, v.everything = map[place]map[string]bool{}, false
	v.mu.Unlock()
	if everything {
		v.forget(v.fs.root.EmbeddedInode())
		return
	}
	for at, names := range pending {
		d := v.find(at)
		if d == nil {
			continue // the kernel does not know it
		}
		v.answered(d.NotifyContent(0, 0)) // its readdir cache
		v.takeBack(ctx, d, names)
	}
}

// takeBack forgets names of d's children, all that the kernel knows of if names is nil.
func (v *invalidator) takeBack(ctx context.Context, d *fusefs.Inode, names map[string]bool) {
	if names == nil {
		for base, child := range d.Children() {
			if child.IsDir() {
				v.answered(child.NotifyContent(-1, 0))
				continue
			}
			v.takeBackName(ctx, d, base)
		}
	}
	for n := range names {
		_, base := backends.Split(n)
		v.takeBackName(ctx, d, base)
		if link, ok := strings.CutSuffix(base, stage.LinkSuffix); ok && isWritable(d) {
			v.takeBackName(ctx, d, link)
		}
	}
}

// takeBackName forgets one name. For that the kernel waits until nobody creates, renames or looks up anything in the
// directory. A process that is killed in this wait never ends: the kernel waits for an answer that nobody will give, and
// everybody who uses the mount waits with it. So where files are made all the time a name is taken back only if
// nothing else will do.
func (v *invalidator) takeBackName(ctx context.Context, d *fusefs.Inode, base string) {
	if !isWritable(d) || !v.asksAgain(ctx, d.GetChild(base)) {
		v.answered(d.NotifyEntry(base))
	}
}

func isWritable(d *fusefs.Inode) bool {
	_, ok := d.Operations().(*rwDir)
	return ok
}

// asksAgain has the kernel ask for a node's attributes again, where that is enough: the node then finds out by itself
// that its name leads to something else. For directories it is better, too: programs that work in one would lose their
// current directory with its name, for as long as nobody looks it up.
func (v *invalidator) asksAgain(ctx context.Context, child *fusefs.Inode) bool {
	if child == nil {
		return true // a name without a node is asked for each time, see rwDir.Lookup
	}
	switch n := child.Operations().(type) {
	case *rwDir:
		v.answered(child.NotifyContent(-1, 0)) // it may only have been stored
	case *rwLink:
		v.answered(child.NotifyContent(0, 0)) // its target as well
	case *staged:
		if n.anyOpen() != nil { // a handle would answer for the file that it has open
			return false
		}
		v.answered(child.NotifyContent(-1, 0))
	case *rwFile:
		if !n.current(ctx) {
			return false
		}
		v.answered(child.NotifyContent(-1, 0)) // it was looked up again before this process came to tell of it
	default:
		return false
	}
	return true
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

// forget takes back everything below d.
func (v *invalidator) forget(d *fusefs.Inode) {
	v.answered(d.NotifyContent(0, 0))
	for name, child := range d.Children() {
		if child.IsDir() {
			v.forget(child)
			continue
		}
		v.answered(d.NotifyEntry(name))
	}
}

// answered looks at what the kernel said. ENOENT only means that it never knew, or has forgotten.
func (v *invalidator) answered(number syscall.Errno) {
	if number != 0 && number != syscall.ENOENT {
		v.fs.log.Debug("the kernel did not take a notification", slog.Any("err", number))
	}
}
