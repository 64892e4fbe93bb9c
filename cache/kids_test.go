package cache

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// Whatever is put into the list of a directory's children and taken out of it comes back as it was, in order, and a list that somebody
// still reads stays as it is.
func TestKidListIsASortedSlice(t *testing.T) {
	name := rapid.StringOfN(rapid.SampledFrom([]rune("ab019-. é")), 1, 5, -1)
	version := rapid.SampledFrom([]string{"", "1", `"d41d8cd98f00b204e9800998ecf8427e"`, `"D41D8CD98F00B204E9800998ECF8427E"`, `"d41d8cd98f00b204e9800998ecf8427e-3"`, `"zzzz8cd98f00b204e9800998ecf8427e"`})
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "recording-2026-"}).Draw(t, "prefix")
		draw := func() kid {
			k := kid{key: prefix + name.Draw(t, "name")}
			if rapid.IntRange(0, 4).Draw(t, "dir") == 0 {
				k.key += "/"
				return k
			}
			k.size, k.version = rapid.Int64().Draw(t, "size"), version.Draw(t, "version")
			k.class = rapid.SampledFrom([]string{"", "STANDARD", "GLACIER"}).Draw(t, "class")
			k.tier, k.put = backends.Tier(rapid.IntRange(0, 2).Draw(t, "tier")), rapid.Bool().Draw(t, "put")
			if rapid.Bool().Draw(t, "dated") {
				k.mod = time.Unix(0, rapid.Int64().Draw(t, "mod")|1).UTC()
			}
			return k
		}
		byKey := func(a, b kid) int { return strings.Compare(a.key, b.key) }
		var list, older kidList
		var want, was []kid
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			lo, hi := draw().key, draw().key
			if lo > hi {
				lo, hi = hi, lo
			}
			var kids []kid
			for range rapid.SampledFrom([]int{0, 1, 2, 40, 600}).Draw(t, "kids") {
				if k := draw(); lo <= k.key && k.key < hi {
					kids = append(kids, k)
				}
			}
			slices.SortFunc(kids, byKey)
			kids = slices.CompactFunc(kids, func(a, b kid) bool { return a.key == b.key })
			from, _ := slices.BinarySearchFunc(want, kid{key: lo}, byKey)
			to, _ := slices.BinarySearchFunc(want, kid{key: hi}, byKey)
			if a, _ := list.search(lo); a != from {
				t.Fatalf("%q at %d, want %d", lo, a, from)
			}
			older, was = list, want
			list = list.replace(from, to, kids)
			want = slices.Concat(want[:from], kids, want[to:])
			if got := older.slice(0, older.len()); !slices.Equal(got, was) {
				t.Fatalf("a list that was replaced has changed: %v, was %v", got, was)
			}
			if got := slices.Collect(list.all()); !slices.Equal(got, want) || list.len() != len(want) {
				t.Fatalf("%d: %v\nwant %v", list.len(), got, want)
			}
			for i, k := range want {
				at, ok := list.search(k.key)
				if list.at(i) != k || at != i || !ok {
					t.Fatalf("%d: %v, found at %d, want %v", i, list.at(i), at, k)
				}
				p, place := list.find(i)
				if e := list.pages[p].entry(place, "d/"); e != k.entry("d") {
					t.Fatalf("%+v, want %+v", e, k.entry("d"))
				}
			}
		}
	})
}

// One who puts a hundred thousand files into a folder one after the other does not make a hundred thousand pages.
func TestKidListStaysInPages(t *testing.T) {
	var l kidList
	const n = 5000
	for i := range n {
		l = l.replace(i, i, []kid{{key: fmt.Sprintf("f%06d", i)}})
	}
	if len(l.pages) > 2*n/pageKids {
		t.Errorf("%d pages of %d names", len(l.pages), n)
	}
	for i := n - 1; i >= 0; i -= 2 {
		l = l.replace(i, i+1, nil)
	}
	if l.len() != n/2 {
		t.Errorf("%d names are left", l.len())
	}
}

// bytesPerName is what a listed name may take: of 22 letters, with an MD5 sum and the rest. A million of them, and half as much again until the
// garbage collector comes, leave room below 400 MiB for all else.
const bytesPerName = 80

// Somebody lists a folder of very many files: their names take little memory, however many there are, and no more of it while they are read.
func TestMemoryOfManyNames(t *testing.T) {
	const n = 100_000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	x := newIndex()
	never := func(string, *dirInfo) bool { return false }
	before := heap()
	for i := 0; i < n; i += 1000 {
		var p backends.Page
		for j := i; j < i+1000; j++ {
			p.Entries = append(p.Entries, backends.Entry{
				Name: fmt.Sprintf("d/recording-%07d.csv", j), Size: 1, Version: fmt.Sprintf("\"%032x\"", j), ModTime: time.Unix(1e9, 0), Class: "STANDARD",
			})
		}
		p.More, p.Last = i+1000 < n, fmt.Sprintf("d/recording-%07d.csv", i+999)
		after := ""
		if i > 0 {
			after = fmt.Sprintf("recording-%07d.csv", i-1)
		}
		x.applyList("d", after, p, time.Unix(1e9, 0), never)
	}
	listed := heap() - before
	all, whole, _ := x.children("d")
	if !whole || all.Len() != n {
		t.Fatal(all.Len(), whole)
	}
	read := heap() - before
	t.Logf("%d bytes per name, %d while somebody reads", listed/n, read/n)
	if read/n > bytesPerName {
		t.Errorf("allowed: %d", bytesPerName)
	}
	runtime.KeepAlive(x)
}
