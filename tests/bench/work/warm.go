package work

import (
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// Warm is what has been read before, from a mount that is left as it is, beside a folder of this machine.
func Warm(size Size) []Workload {
	large := data.Spec{Bucket: "large", Kind: data.Large, Count: 1, Size: pick[int64](size, 64*mib, 256*mib, gib)}
	small := data.Spec{Bucket: "many-4k", Kind: data.Many, Count: pick(size, 1000, 20_000, 20_000), Size: 4 * kib}
	pieces := pick(size, 500, 2000, 10_000)
	row := func(name string, set data.Spec, p, warm *plan) Workload {
		p.set, warm.set = set, set
		w := Workload{Group: "Warm", Name: name, Steps: []Step{Hot}, Native: true, Warm: warm.op(), Soft: pick(size, 0, 3*time.Second, 10*time.Second)}
		return w.reading(p)
	}
	inTurn := func() *plan { return &plan{reads: through, how: pread} }
	rows := []Workload{
		row(sizeText(large.Size)+" in sequence", large, inTurn(), inTurn()),
		row(count(data.Spec{Count: pieces})+" random reads of 4 KiB", large, &plan{reads: scattered(pieces, 4*kib), how: pread}, inTurn()),
		row(count(data.Spec{Count: pieces})+" random reads of 4 KiB, mapped", large, &plan{reads: scattered(pieces, 4*kib), how: mapped}, inTurn()),
		row("open, read, close "+count(small)+" files of 4 KiB", small, &plan{reads: inOrder}, &plan{reads: inOrder, readers: 16}),
	}
	if size == Medium {
		return append(rows[:2], rows[3])
	}
	return append(rows, again(size))
}

// again is a listing that was made before.
func again(size Size) Workload {
	n := pick(size, 1000, 0, 100_000)
	name := pick(size, "flat-1000", "", "flat-100000")
	w := listing(data.Spec{Bucket: name, Kind: data.Flat, Count: n, Size: 1000}, "ls -lR", store.Shape{})
	w.Group, w.Steps = "Warm", []Step{Hot}
	return w
}
