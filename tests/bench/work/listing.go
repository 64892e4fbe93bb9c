package work

import (
	"context"
	"fmt"
	"time"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/store"
)

// Listing is names and sizes alone: flat in one folder, and deep, ten to a folder.
func Listing(size Size) []Workload {
	var all []Workload
	delayed := store.Shape{Latency: usual}
	for _, n := range pick(size, []int{1000}, []int{10_000, 100_000}, []int{1000, 10_000, 100_000, 1_000_000}) {
		for _, kind := range []data.Kind{data.Flat, data.Deep} {
			if size == Medium && (n == 100_000) != (kind == data.Flat) { // 10,000 deep and 100,000 flat must do
				continue
			}
			set := data.Spec{Bucket: fmt.Sprintf("%s-%d", kind, n), Kind: kind, Count: n, Size: 1000}
			for _, c := range commands(size, n) {
				w := listing(set, c, delayed)
				smaller := set
				smaller.Count /= 10
				w.After = listing(smaller, c, delayed).Name
				if n == 1_000_000 {
					w.Native, w.Rounds = false, 1
				}
				all = append(all, w)
			}
		}
	}
	if size == Full {
		far := store.Shape{Latency: 5 * usual}
		all = append(all, listing(data.Spec{Bucket: "flat-100000", Kind: data.Flat, Count: 100_000, Size: 1000}, "ls -lR", far))
	}
	return all
}

// commands are those that are run on n keys: all where they are quick.
func commands(size Size, n int) []string {
	if size == Full && n < 1_000_000 {
		return []string{"ls -lR", "find", "du"}
	}
	if n == 1_000_000 {
		return []string{"find"}
	}
	return []string{"ls -lR"}
}

func listing(set data.Spec, command string, shape store.Shape) Workload {
	w := Workload{
		Group: "Listings", Name: fmt.Sprintf("`%s` of %s keys, %s", command, count(set), set.Kind), Set: set, Shape: shape,
		Proof: Listed, Keys: set.Count, Native: true,
	}
	if command == "ls -lR" {
		w.Steps = []Step{Cold, Again}
	}
	switch {
	case set.Count >= 1_000_000:
		w.Limit = 4 * time.Minute
	case set.Count >= 100_000:
		w.Limit = 30 * time.Second
	}
	w.Op = func(ctx context.Context, t Target) (Done, error) {
		switch command {
		case "ls -lR":
			return allNamed(set)(execute(ctx, t.Dir, "ls", "-lR"))
		case "du":
			return summedUp(set)(execute(ctx, t.Dir, "du", "-s", "--apparent-size", "-B1", "."))
		}
		return counted(set)(execute(ctx, t.Dir, "find", ".", "-type", "f"))
	}
	return w
}

func allNamed(set data.Spec) func(tally, error) (Done, error) {
	return func(t tally, err error) (Done, error) {
		if want := int64(set.Count) * set.Size; err == nil && (t.files != set.Count || t.sizes != want) {
			err = fmt.Errorf("%d files of %d bytes together, want %d of %d", t.files, t.sizes, set.Count, want)
		}
		return Done{}, err
	}
}

func counted(set data.Spec) func(tally, error) (Done, error) {
	return func(t tally, err error) (Done, error) {
		if err == nil && t.lines != set.Count {
			err = fmt.Errorf("%d files, want %d", t.lines, set.Count)
		}
		return Done{}, err
	}
}

// summedUp takes what folders count for on top: each program has its own idea of it.
func summedUp(set data.Spec) func(tally, error) (Done, error) {
	return func(t tally, err error) (Done, error) {
		if want := int64(set.Count) * set.Size; err == nil && t.largest < want {
			err = fmt.Errorf("%d bytes, want %d at least", t.largest, want)
		}
		return Done{}, err
	}
}
