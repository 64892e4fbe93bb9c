// Package work is what the laboratory measures: tables of workloads, a file for each group, and the few functions that they are made of.
package work

import (
	"cmp"
	"context"
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// Target is where a workload is run.
type Target struct {
	Dir    string // a mount, or a folder of this machine that holds the same
	Native string // a folder that holds the same, "" unless the workload asks for one
	URL    string // of the bucket; "" for a folder of this machine
	Soft   time.Duration
	Store  *store.Client
	Bucket string
}

// Done is what came of it.
type Done struct {
	Bytes int64 // read, or written
	All   int64 // that would have been; more than Bytes if the time ran out
	Also  []Also
}

// Also is another time that a workload measures on its way.
type Also struct {
	Name string
	Took time.Duration
}

// Op does the work and checks what it gets; an error fails the run. It ends soon after t.Soft with what it has done, if it can.
type Op func(ctx context.Context, t Target) (Done, error)

// Step says in which state a mount is.
type Step string

// The steps of one mount, in this order.
const (
	Cold    Step = "cold"                // just mounted, nothing kept anywhere
	Again   Step = "again"               // the same once more
	Restart Step = "after a restart"     // unmounted, the kernel's caches dropped, mounted again
	Hot     Step = "everything in place" // done before, the kernel's caches as they are; one mount for all runs
)

// Proof says how it is known that a cold run was one.
type Proof int

// The proofs.
const (
	Fetched Proof = iota // as many bytes left the store as were read
	Listed               // as many keys were listed as there are, 1,000 with each request at most
	Stored               // as many bytes came to the store as were written
	Asked                // anything was asked for
)

// Workload is one thing to measure.
type Workload struct {
	Group, Name string
	Set         data.Spec
	Store       store.Name
	Shape       store.Shape
	Steps       []Step
	Prepare     func(ctx context.Context, t Target) error // before any clock runs, with no Dir; nil is nothing
	Op          Op
	Warm        Op // what brings a mount into the state of Hot; nil is Op
	Proof       Proof
	Keys        int // for Listed

	Write  bool     // into an empty bucket
	Bare   bool     // also without a file system
	Native bool     // also on a folder of this machine
	Beside []string // subjects; nil is all
	Rounds int      // runs at most; 0 is as many as are asked for
	After  string   // the name of a workload: who failed in it is not asked to do this one
	Soft   time.Duration
	Limit  time.Duration // after which a run has failed
}

// Size is how much is measured.
type Size string

// The sizes: a look whether all works, what matters most, everything.
const (
	Quick  Size = "quick"
	Medium Size = "medium"
	Full   Size = "full"
)

// All returns the table for a size. What it holds is made when it is needed.
func All(size Size) []Workload {
	var all []Workload
	for _, group := range []func(Size) []Workload{Small, Large, Random, Readers, Listing, Programs, Warm, CopyIn, Beiwe} {
		all = append(all, group(size)...)
	}
	for i := range all {
		fill(&all[i], size)
	}
	return all
}

// fill sets what a row left out.
func fill(w *Workload, size Size) {
	if w.Store == "" {
		w.Store = store.Strict
	}
	if w.Steps == nil {
		w.Steps = []Step{Cold}
	}
	w.Soft = cmp.Or(w.Soft, pick(size, 2*time.Second, 1500*time.Millisecond, 5*time.Second))
	w.Limit = cmp.Or(w.Limit, pick(size, 8*time.Second, 15*time.Second, time.Minute))
}

// pick returns the value for a size.
func pick[T any](size Size, quick, medium, full T) T {
	switch size {
	case Quick:
		return quick
	case Medium:
		return medium
	case Full:
	}
	return full
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30

	gigabit = 125_000_000 // bytes per second
	usual   = 20 * time.Millisecond
)
