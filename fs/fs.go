// Package fs presents trees of cached objects as a FUSE file system. It is the only place that knows go-fuse and errno.
//
// One [FS] is one mount: either one [Tree] at its root, or a fixed root directory with a folder per Tree. A tree with a
// Stage can be written to; in all others every change is refused (EROFS). A directory is a node by its path. A file is a
// node per version: the inode number that users see stays with the path, but another version is another node with its
// own kernel pages, so pages are never invalidated and an open handle never sees another version's bytes. Opening a node
// whose version is outdated answers ESTALE, upon which the kernel looks the name up again by itself and opens the new
// one. So does asking a directory that is gone for its attributes. A symbolic link is a node per target.
//
// A writable tree shows what is staged over what the source has ([overlay]). A staged file is a node of its own, and all
// who have it open, for reading too, use its local file, directly where the kernel can (passthrough). Nobody writes to a
// stored version: opening one for writing stages a copy and answers ESTALE, and the kernel finds the copy by itself. When
// the copy is stored, its name leads to a node of the new version, and handles that are still open keep the local file.
// All of these show one inode number: that of the thing, which a rename takes along.
//
// Names and directories are believed by the kernel for as long as the listing behind them is; [FS.Changed] takes
// back what it believes too long. Bytes come from the kernel's own pages, from the cache file directly (passthrough,
// where the object is complete and the process privileged), or through [cache.Reader].
//
// Nothing in here asks the network but through the cache, and no lock is held while it does.
package fs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cache/stage"
	"studyfs/cache/view"
)

// ErrUnavailable says that this machine or user cannot mount at all; the text says what to install or change.
var ErrUnavailable = errors.New("FUSE is not available")

// ErrStillOpen says that files were still open when the mount was taken away: it is gone from the tree of names, but
// their programs keep it alive until they close them or this process ends.
var ErrStillOpen = errors.New("files are still open")

// Tree is one source in a mount.
type Tree struct {
	// Name is the folder it appears as; "" makes it the root of the mount, and then it must be the only one.
	Name  string
	Store *cache.Store
	// Stage takes what is written; nil makes the tree read-only. It is the caller's, and must stay open until Wait returns.
	Stage *stage.Stage
	// Writer is the source that Stage is uploaded to, for deleting and renaming what is stored. It may be nil.
	Writer backends.Writer
	// Delete allows that what is stored is deleted and renamed. Without it both answer EPERM before anything happens.
	Delete bool
	// MaxName is how many bytes the name of a file may have, with all its directories; 0 means 1,024. S3 allows that
	// many for a whole key, the prefix of the source included.
	MaxName int
	// StageDir is where the files of Stage lie, for Passthrough.
	StageDir string
	// View shows files of the tree once more under other names, in folders at its root. Not with a Stage; nil: there is none.
	View *view.View
}

// Access is who opens which file.
type Access struct {
	Tree, Name string // the tree's name, and the file's in it
	Size       int64  // of the version that is opened; backends.SizeUnknown
	UID        uint32
	PID        int // 0 where the kernel does not tell, for processes of another PID namespace
}

// Options say what is mounted, where and how.
type Options struct {
	Dir     string // the mount point, an existing directory
	FsName  string // what df and /proc/mounts show as the device, such as "s3:bucket/prefix"
	Trees   []Tree
	NoIndex bool // refuse files and listings to indexers, EAGAIN
	NoExec  bool // run no programs that lie in the mount
	// NoOpen has the kernel open files by itself: what it has in its pages is read without any request, and there is no passthrough. A file that was
	// replaced unnoticed is ESTALE when it is read, not found out when it is opened. Not with a Stage, a View, nor with Opened.
	NoOpen       bool
	AllowOther   bool   // let other users in; without root it needs user_allow_other in /etc/fuse.conf
	XAttrs       bool   // answer user.studyfs.*; costs ls -l two requests per file
	Passthrough  bool   // let the kernel read complete cache files itself, where it may
	CacheDir     string // where the Stores keep their files, for Passthrough; "" means the system's place for temporary files
	UID, GID     uint32 // who owns every file
	MaxReadAhead int    // of the kernel, in bytes; 0 means 1 MiB
	Log          *slog.Logger
	Now          func() time.Time
	// Opened is told of every opening of a file for reading, stored or staged, before its program has it, also where the kernel then reads
	// by itself. An error refuses it: EIO, unless errno knows the error. It is called by many goroutines at once. Nil: nobody wants to know.
	Opened func(Access) error

	// writableMount leaves "ro" away, so that tests meet the nodes' own refusals and not the kernel's.
	writableMount bool
	// trace is told of every request; tests only.
	trace slog.Handler
	// maxNodes is other than the constant in tests only.
	maxNodes int64
}

const (
	defaultReadAhead = 1 << 20
	// maxRequest is what one READ may ask for: 1 MiB is 1.5 to 2 times as fast as the default 128 KiB.
	maxRequest = 1 << 20
	// maxBackground is how many readahead requests may be under way at once; go-fuse's 12 starves parallel readers.
	maxBackground = 64
	// negativeTimeout is how long the kernel believes that a name is missing without asking again.
	negativeTimeout = 5 * time.Second
	// maxTimeout bounds how long the kernel believes an entry, however long its listing is believed.
	maxTimeout = time.Hour
)

// FS is one mount. Its methods are safe for concurrent use; Mount is called once.
type FS struct {
	o       Options
	log     *slog.Logger
	born    time.Time // what directories without a time of their own show
	names   pseudonyms
	told    told
	pass    passthrough
	inval   *invalidator
	index   indexers
	gifts   buffers
	readers *readers
	root    fusefs.InodeEmbedder
	trees   map[string]*tree
	nodes   atomic.Int64 // of files in trees that nobody may write to

	mu        sync.Mutex // guards what follows
	server    *fuse.Server
	readAhead int
	whyNot    string // readAhead is less than asked for

	done chan struct{} // closed when serving and its goroutines have ended
}

// New checks o and prepares a mount. Nothing is visible before Mount.
func New(o Options) (*FS, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("mount point: %w", err)
	}
	o.Dir = dir
	if o.MaxReadAhead == 0 {
		o.MaxReadAhead = defaultReadAhead
	}
	if o.maxNodes == 0 {
		o.maxNodes = maxNodes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.CacheDir == "" {
		o.CacheDir = os.TempDir()
	}
	f := &FS{o: o, log: o.Log, born: o.Now(), trees: map[string]*tree{}, done: make(chan struct{})}
	if f.names, err = newPseudonyms(); err != nil {
		return nil, err
	}
	if err := o.fitsOpenless(); err != nil {
		return nil, err
	}
	f.pass.log = o.Log
	f.readers = newReaders(o.Now, o.Log)
	f.index.now = o.Now
	if err := f.plant(); err != nil {
		return nil, err
	}
	f.inval = newInvalidator(f)
	return f, nil
}

// plant makes the root node of the trees.
func (f *FS) plant() error {
	for _, t := range f.o.Trees {
		if f.trees[t.Name] != nil || t.Store == nil || t.View != nil && t.Stage != nil {
			return fmt.Errorf("tree %q: %w", t.Name, os.ErrInvalid)
		}
		nodes := &tree{fs: f, name: t.Name, store: t.Store, view: t.View}
		nodes.over = newOverlay(nodes, t)
		f.trees[t.Name] = nodes
	}
	single := f.trees[""]
	if single != nil && len(f.trees) > 1 {
		return fmt.Errorf("a tree at the root beside others: %w", os.ErrInvalid)
	}
	if single != nil {
		f.root = single.root()
		return nil
	}
	f.root = newShelf(f)
	return nil
}

// Mount makes the trees visible. It returns when the kernel's first request has been answered; from then on any
// access works. The error wraps ErrUnavailable where no mount is possible for this user on this machine.
func (f *FS) Mount() error {
	server, err := f.attach()
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	stop := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { f.inval.run(stop) })
	if f.o.NoOpen {
		helpers.Go(func() { f.readers.run(stop) })
	}
	go func() { // ends when the mount does; Wait waits for it
		server.Serve()
		close(stop)
		helpers.Wait()
		close(f.done)
	}()
	if err := server.WaitMount(); err != nil {
		return errors.Join(fmt.Errorf("mount: %w", err), f.Unmount())
	}
	if f.noOpen() {
		f.pass.set(errors.New("files are not opened here: no-open"))
	} else {
		f.pass.probe(f.o, server)
	}
	f.setReadAhead()
	return nil
}

// opened tells whoever wants to know that a file is about to be read.
func (f *FS) opened(ctx context.Context, tree, name string, size int64) error {
	if f.o.Opened == nil {
		return nil
	}
	uid, pid := Caller(ctx)
	return f.o.Opened(Access{Tree: tree, Name: name, Size: size, UID: uid, PID: pid})
}

// Caller tells on whose behalf a call is made, from the context that it gets from this package: the user, and the process, which is 0 where
// nobody knows.
func Caller(ctx context.Context) (uid uint32, pid int) {
	if c, ok := fuse.FromContext(ctx); ok {
		return c.Uid, int(c.Pid)
	}
	return 0, 0
}

// Wait returns when the mount is gone, whoever took it away.
func (f *FS) Wait() { <-f.done }

// Passthrough tells whether the kernel reads complete cache files itself, and if not, why.
func (f *FS) Passthrough() (on bool, why string) { return f.pass.state() }

// Changed takes back what the kernel believes of a directory of a tree. It only notes it down: safe from any
// goroutine, never blocks, and does nothing while there is no mount.
func (f *FS) Changed(tree string, c backends.Change) {
	f.inval.add(tree, c)
	if t := f.trees[tree]; t != nil && t.view != nil {
		for _, more := range t.view.Changed(c) {
			f.inval.add(tree, more)
		}
	}
}

// Info is what is known of one path without asking its source, beyond a listing that is no longer believed.
type Info struct {
	Tree    string // the name of its tree
	Entry   backends.Entry
	State   cache.State // meaningless for directories, links, and what is staged
	Staged  stage.Info  // what waits for its upload under that name; ID 0: nothing
	Trouble string      // why it cannot be read now, "" if it can
}

// Stat tells what is known of a path relative to the mount point. With an error, too, Info has the tree, if any.
func (f *FS) Stat(ctx context.Context, path string) (Info, error) {
	t, name := f.resolve(path)
	switch {
	case t == nil && name == "": // the folder of folders
		return Info{Entry: backends.Entry{Dir: true}}, nil
	case t == nil:
		return Info{}, fmt.Errorf("status: %w", backends.ErrNotExist)
	}
	if t.over != nil {
		return t.over.status(ctx, name)
	}
	return t.status(ctx, name)
}

func (t *tree) status(ctx context.Context, name string) (Info, error) {
	e, err := t.entry(ctx, name)
	if err != nil {
		return Info{Tree: t.name}, err
	}
	info := Info{Tree: t.name, Entry: e, Trouble: trouble(e)}
	if !e.Dir && !t.isOfView(e.Name) {
		info.State = t.store.State(e)
	}
	return info, nil
}

// resolve finds the tree that a path lies in, and its name there; without one, the path itself, cleaned.
func (f *FS) resolve(path string) (*tree, string) {
	path = filepath.ToSlash(filepath.Clean("/" + path))[1:]
	if t := f.trees[""]; t != nil {
		return t, path
	}
	first, rest := cutFirst(path)
	if t := f.trees[first]; t != nil {
		return t, rest
	}
	return nil, path
}
