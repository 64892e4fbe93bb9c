package backends

import (
	"context"
	"io"
	"time"
)

// Need says what a name is wanted for.
type Need uint8

// The needs. Ahead is none yet: it asks what will likely be wanted after name.
const (
	ToList Need = iota // the children of a directory
	ToStat             // the entry of a name
	ToRead             // the bytes of a file
	Ahead              // the files that a reader of name will open next
)

// Bundler is a Source whose objects arrive only together, and whose names are known only once they have: a request
// brings all files of a stretch of time, in any order. It keeps an index of what has arrived, which List and Stat
// answer from without a request: List fails where a directory has never been complete, Stat says ErrNotExist where
// the index holds no such name. A Bundler is also [Indexed].
type Bundler interface {
	// Bundle names what has to be fetched next before need of name can be answered, or "" when nothing has. It never
	// blocks on a network. A bundle that is being fetched right now is named again, so that whoever asks can wait for it.
	// have tells whether the bytes of an entry of the index are still kept; it is cheap, and not called for ToList.
	Bundle(name string, need Need, have func(Entry) bool) string
	// Fetch brings a bundle that Bundle named, handing each object to put as it arrives. What was put before an error
	// stays good. It is safe to fetch several bundles at once, not one bundle twice.
	Fetch(ctx context.Context, bundle string, put Put) error
}

// Put takes one object of a bundle. It reads body to its end, whose length is size unless that is SizeUnknown, and
// then calls seal, which checks what was read and tells which entry the bytes are. An error of body or of seal is
// returned as it is, and nothing of the object is kept. That the bytes cannot be kept (a full disk) is no error: seal is
// called all the same.
type Put func(ctx context.Context, size int64, body io.Reader, seal func() (Entry, error)) error

// Indexed is a Source that keeps its own index and tells of changes to it, so that the cache keeps no listing of it.
type Indexed interface {
	// Fresh tells how long what List and Stat say of the children of dir may be believed without asking again.
	Fresh(dir string) time.Duration
	// Watch makes tell the one that is told of changes. It must not block. It is called once, before anything is fetched.
	Watch(tell func(Change))
	// Snapshot returns the index for a later Restore, and its generation; no bytes if that is still since. The index
	// holds names but neither contents nor secrets.
	Snapshot(since uint64) (index []byte, generation uint64)
	// Restore takes what an earlier Snapshot of the same source returned. It is checked: whatever is wrong with it
	// is an error, and then the index is empty. Called at most once, before anything is fetched.
	Restore(index []byte) error
}

// Change is a difference between what an index said before and what it says now.
type Change struct {
	Dir   string   // the directory whose children differ
	Names []string // full names of children that were added, removed or got another version
	All   bool     // any child may differ: what is known of each must be asked anew
	Gone  []Entry  // versions that are no more; their bytes should not be kept
}
