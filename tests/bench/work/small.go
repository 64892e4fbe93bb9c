package work

import (
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// Small is whole small files in one folder, as signals by the hour or slices of images are. It is listed first, unless said otherwise.
func Small(size Size) []Workload {
	delayed := store.Shape{Latency: usual}
	few := data.Spec{Bucket: "many-64k", Kind: data.Many, Count: pick(size, 100, 300, 300), Size: 64 * kib}
	many := data.Spec{Bucket: "many-20k", Kind: data.Many, Count: pick(size, 200, 2000, 2000), Size: 20 * kib}
	far := store.Shape{Latency: 5 * usual}
	row := func(name string, set data.Spec, shape store.Shape, reads func([]data.File) []read) Workload {
		w := Workload{Group: "Small files", Name: name, Shape: shape, Bare: true}
		return w.reading(&plan{set: set, reads: reads, listed: true})
	}
	all := []Workload{row(count(few)+" of 64 KiB in order", few, delayed, inOrder)}
	if size != Quick {
		all = append(all,
			row(count(few)+" of 64 KiB shuffled", few, delayed, shuffled),
			row(count(many)+" of 20 KiB in order", many, delayed, inOrder))
		all[1].Rounds, all[2].Soft = pick(size, 0, 3, 0), 5*time.Second
	}
	all = append(all, row(count(many)+" of 20 KiB shuffled", many, delayed, shuffled))
	if size != Medium {
		all[0].Steps, all[0].Native = []Step{Cold, Again, Restart}, true
		all[0].Soft = pick(size, 0, 0, patient) // what has not been read once cannot be read again
		other := row(count(few)+" of 64 KiB in order, versitygw", few, delayed, inOrder)
		other.Store, other.Bare = store.Gateway, false
		all = append(all, other)
	}
	if size == Full {
		unlisted := Workload{Group: "Small files", Name: count(many) + " of 20 KiB in order, the folder not listed before", Shape: delayed}
		all = append(all, row(count(few)+" of 64 KiB in order", few, far, inOrder), unlisted.reading(&plan{set: many, reads: inOrder}))
	}
	return all
}
