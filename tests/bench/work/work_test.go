package work

import (
	"slices"
	"strings"
	"testing"

	"studyfs/tests/bench/data"
)

// Random reads that overlap would be read from a cache, and the run refused.
func TestScatteredReadsDoNotOverlap(t *testing.T) {
	files := data.Spec{Kind: data.Large, Count: 1, Size: 64 * mib}.Files()
	for _, n := range []int64{4 * kib, 128 * kib} {
		all := scattered(50, n)(files)
		if len(all) != 50 || slices.IsSortedFunc(all, func(a, b read) int { return int(a.off - b.off) }) {
			t.Errorf("%d reads, in order", len(all))
		}
		slices.SortFunc(all, func(a, b read) int { return int(a.off - b.off) })
		end := int64(0)
		for _, r := range all {
			if r.off < end || r.off%(4*kib) != 0 || r.off+r.n > files[0].Size || r.n != n {
				t.Errorf("%+v after %d", r, end)
			}
			end = r.off + r.n
		}
	}
}

func TestPlansReadEveryByteOnce(t *testing.T) {
	files := data.Spec{Kind: data.Large, Count: 3, Size: 40 * mib}.Files()
	for name, plan := range map[string]func([]data.File) []read{"in order": inOrder, "shuffled": shuffled, "through": through} {
		sum := int64(0)
		for _, r := range plan(files) {
			sum += r.n
		}
		if sum != data.Bytes(files) {
			t.Errorf("%s: %d bytes of %d", name, sum, data.Bytes(files))
		}
	}
}

// What ls and find print is held against what is there; a program that leaves out a file must not win.
func TestTally(t *testing.T) {
	printed := "./d:\ntotal 2\n-r--r--r-- 1 root root 1000 Jan  2 03:04 a.csv\n-r--r--r-- 1 root root 1000 Jan  2 03:04 -b.csv\nlast line has no end"
	got, err := collect(strings.NewReader(printed))
	if err != nil || got.lines != 5 || got.files != 2 || got.sizes != 2000 {
		t.Errorf("%+v, %v", got, err)
	}
	set := data.Spec{Kind: data.Flat, Count: 3, Size: 1000}
	if _, err := allNamed(set)(got, nil); err == nil {
		t.Error("a file less is taken")
	}
	set.Count = 2
	if _, err := allNamed(set)(got, nil); err != nil {
		t.Error(err)
	}
}
