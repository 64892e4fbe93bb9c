package work

import (
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// patient is how long a large file may take: less would cut off what a full line needs.
const patient = 30 * time.Second

// Large is a file read from front to end by one reader.
func Large(size Size) []Workload {
	set := data.Spec{Bucket: "large", Kind: data.Large, Count: 1, Size: pick[int64](size, 64*mib, 256*mib, gib)}
	row := func(shape store.Shape) Workload {
		w := Workload{Group: "Large files", Name: sizeText(set.Size) + " in sequence", Shape: shape, Bare: true, Soft: patient}
		return w.reading(&plan{set: set, reads: through, how: stream, first: true})
	}
	all := []Workload{row(store.Shape{Latency: usual, Rate: gigabit})}
	all[0].Steps, all[0].Native = []Step{Cold, Restart}, true
	if size == Full {
		all = append(all, row(store.Shape{Latency: 5 * usual, Rate: gigabit}))
		set := data.Spec{Bucket: "large-256", Kind: data.Large, Count: 1, Size: 256 * mib}
		other := Workload{Group: "Large files", Name: "256 MiB in sequence, versitygw", Store: store.Gateway, Shape: all[0].Shape, Soft: patient}
		all = append(all, other.reading(&plan{set: set, reads: through, how: stream, first: true}))
	}
	return all
}

// Random is pieces of one large file.
func Random(size Size) []Workload {
	set := data.Spec{Bucket: "large", Kind: data.Large, Count: 1, Size: pick[int64](size, 64*mib, 256*mib, gib)}
	row := func(pieces int, n int64) Workload {
		w := Workload{
			Group: "Random reads", Name: count(data.Spec{Count: pieces}) + " of " + sizeText(n) + " in " + sizeText(set.Size),
			Shape: store.Shape{Latency: usual, Rate: gigabit}, Bare: true,
			Soft: patient, // what fetches the whole file is slow at first, then quick: a part tells nothing of the rest
		}
		return w.reading(&plan{set: set, reads: scattered(pieces, n), how: pread})
	}
	return []Workload{row(pick(size, 50, 100, 100), 4*kib), row(pick(size, 50, 50, 100), 128*kib)}
}

// Readers is several who read at the same time, each a file of its own.
func Readers(size Size) []Workload {
	if size == Medium {
		return nil
	}
	set := data.Spec{Bucket: "four", Kind: data.Large, Count: 4, Size: pick[int64](size, 16*mib, 0, 128*mib)}
	w := Workload{
		Group: "Large files", Name: "4 readers at once, " + sizeText(set.Size) + " each", Shape: store.Shape{Latency: usual, Rate: gigabit}, Bare: true,
		Soft: patient,
	}
	return []Workload{w.reading(&plan{set: set, reads: through, how: stream, readers: 4})}
}
