// Package backends is the contract between studyfs and the places where study data lives.
//
// A backend is anything that implements [Source]: a tree of whole, immutable-per-version objects that is listed,
// asked for one entry, and read by ranges. Everything else a place can do (answer a flat listing in pages, take
// uploads, deliver objects only in bundles, restore archived ones) is a small interface of its own, asserted by
// whoever needs it. Backends keep no bytes and no listings; package cache does.
//
// Names are slash-separated, relative to the source's root, without leading or trailing slash; the root is "".
// Every name that leaves a backend satisfies [ValidName]; keys that do not are counted, not shown.
//
// Errors wrap exactly one of the sentinels below where one fits, once, with the operation and the object; an error
// that wraps none is an I/O error. No error text holds a secret. It may hold an object's name, so loggers must
// replace names before they write one (see the design's rule on participants' names).
package backends

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"time"
)

// The sentinels that callers may test for with errors.Is.
var (
	ErrNotExist   = fs.ErrNotExist
	ErrPermission = fs.ErrPermission
	ErrExist      = fs.ErrExist
	ErrReadOnly   = errors.New("source is read-only")
	ErrArchived   = errors.New("object is archived and must be restored first")
	ErrChanged    = errors.New("object changed since it was listed")
	ErrBusy       = errors.New("service is throttling")
	// ErrAuth says that the credentials themselves were refused (revoked, expired, mistyped); ErrPermission that
	// good credentials may not do this. The first concerns every call, the second one object.
	ErrAuth = errors.New("credentials were refused")
	// ErrUnreachable says that no answer came: no route, no name, no connection, nothing within the time allowed.
	ErrUnreachable = errors.New("service cannot be reached")
	// ErrBadAnswer says that an answer came and was refused: wrong range, wrong length, wrong version, not the protocol.
	ErrBadAnswer = errors.New("service gave a wrong answer")
)

// SizeUnknown is the Size of an entry whose size only Stat or a fetch can tell.
const SizeUnknown = -1

// Tier tells whether an object's bytes can be read now.
type Tier uint8

// The tiers: readable, archived (a restore must be asked for), and asked for but not there yet.
const (
	Online Tier = iota
	Archived
	Restoring
)

// Entry is what a listing knows of one object or directory. It is a value: copies are independent, and a backend
// never changes one that it handed out.
type Entry struct {
	Name    string    // slash-separated, relative to the source's root
	Dir     bool      // a directory; Size, Version and Tier are then zero, ModTime may be
	Size    int64     // bytes, or SizeUnknown
	ModTime time.Time // UTC; for S3 the service's LastModified, in whole seconds
	Version string    // opaque; differs whenever the bytes differ (S3: ETag, with its quotes)
	Tier    Tier
	Class   string // the storage class as the service names it, "" where there is none
	Link    string // where a symbolic link leads, relative to its own directory; "" for all that is none. Size is its length
}

// Source is a tree of objects that can be listed and read. Implementations are safe for concurrent use.
type Source interface {
	// List yields the children of dir in byte order of their names, each name once. A directory that nothing lies
	// below yields nothing and no error: only the parent's listing can tell that it does not exist. The first error
	// ends the sequence. Breaking off is allowed at any point and costs no further request.
	List(ctx context.Context, dir string) iter.Seq2[Entry, error]
	// Stat returns one entry with its exact Size, or ErrNotExist. Implementations over object stores answer it from a
	// listing, never from a HEAD: keys limited to a prefix get 403 for what is merely absent.
	Stat(ctx context.Context, name string) (Entry, error)
	// ReadRange streams the n bytes at off of exactly this version of e, or fails with ErrChanged; it never mixes
	// versions. The caller keeps 0 <= off, 0 < n, off+n <= e.Size. The reader yields exactly n bytes before io.EOF;
	// anything less is an error from Read, never a short success. The caller closes it. Cancelling ctx ends the read.
	ReadRange(ctx context.Context, e Entry, off, n int64) (io.ReadCloser, error)
}

// Page is one answer of a flat or a delimited listing: all that lies between the name it was asked to begin after
// and Last.
type Page struct {
	// Entries are in key order: the order of their full names as bytes, where a directory counts as its name plus
	// "/". So "a.txt" comes before directory "a" with its "a/b", which List's order would put the other way round.
	Entries []Entry
	// More tells that entries may follow; the next page is asked for with after = Last.
	More bool
	// Last is the last key that the service looked at, as a name relative to the root; with "/" at its end where that is a
	// directory as a whole. It can lie after the last of Entries (hidden keys). Meaningless unless More.
	Last string
}

// Pager is a Source whose listings come in pages, each of which is exactly one request. What an object store can do.
type Pager interface {
	// WalkPage lists the files of the whole subtree below dir, in key order, that come strictly after the key after
	// ("" begins at the beginning). Directories appear only where the store has an object for one ("dir/").
	// after is any string, not only a name: it need not exist.
	WalkPage(ctx context.Context, dir, after string) (Page, error)
	// ListPage lists the children of dir, files and directories, that come strictly after the key after.
	ListPage(ctx context.Context, dir, after string) (Page, error)
}

// Seeker is a Pager that can begin some of its pages after any key for the price of that one request, so that several can be asked for at
// once.
type Seeker interface {
	Pager
	// Seeks reports whether it can: with flat those of WalkPage, else those of ListPage. It asks nobody, and may find out more as pages
	// come.
	Seeks(flat bool) bool
}

// Counts is what a source has done so far. Counters only grow.
type Counts struct {
	List, Get, Head, Put, Delete, Other int64 // requests sent, retries counted each
	BytesIn, BytesOut                   int64 // body bytes
	Retries                             int64 // of the requests above, those that were tries after the first
	HiddenKeys                          int64 // distinct keys seen that no file name can stand for
}

// Reporter is a Source that counts.
type Reporter interface {
	Counts() Counts
	// Trouble is the standing error that concerns the whole source (refused keys, no answer), nil when the last
	// answer was a good one. It wraps ErrAuth, ErrUnreachable or ErrBusy.
	Trouble() error
}
