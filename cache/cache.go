// Package cache keeps listings and blocks of remote objects on local disk and decides what to fetch next.
//
// A [Cache] holds the limits of the process, a [Store] what is known of one source, a [Reader] one version of one
// object. The listing cache (index, lister) answers names and directories; the block cache (object, flight) answers
// bytes. Every object version has a sparse data file and a block map beside it. Nothing read from the local disk is
// believed unchecked: a map or a block that fails a test is a miss, never an error and never a wrong byte.
//
// Where a source's objects arrive only together (bundled), the source keeps the listing: the cache fetches the bundles that
// it names, once for all who wait, and takes in every object as it comes.
//
// One block is fetched once however many readers wait for it; a reader that leaves takes nothing from the others.
// The bytes of a Reader are of one version, or it fails with backends.ErrChanged.
package cache

import (
	"log/slog"
	"time"
)

const (
	defaultMaxBytes  = 10 << 30
	defaultMemory    = 256 << 20
	defaultSmallFile = 4 << 20
	defaultWindow    = 32 << 20
	defaultParallel  = 32
	defaultFiles     = 32
	defaultTimeout   = 60 * time.Second
	defaultTTL       = 60 * time.Second
)

// Options are the limits that all sources of one process share.
type Options struct {
	MaxBytes int64            // on disk, all stores together; 0 means 10 GiB
	Memory   int64            // of all buffers for bytes on their way from a source; 0 means 256 MiB
	Now      func() time.Time // 0 means the system's clock
	Log      *slog.Logger     // nil discards
}

// Cache owns the limits and the order of eviction. It is safe for concurrent use.
type Cache struct {
	now    func() time.Time
	log    *slog.Logger
	memory *budget
	usage  *usage
}

// New returns a Cache that holds nothing.
func New(o Options) *Cache {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Cache{now: o.Now, log: o.Log, memory: newBudget(o.Memory), usage: newUsage(o.MaxBytes)}
}

// Memory tells how many bytes of buffers are in use now, and the limit. In use is 0 when nothing is being fetched.
func (c *Cache) Memory() (inUse, limit int64) { return c.memory.used.Load(), c.memory.limit }
