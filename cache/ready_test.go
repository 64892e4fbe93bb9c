package cache

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// warmShelf is a store with files of 4 KiB, all of them here: in folders of so many, in the order in which they are listed or from folder to folder.
func warmShelf(t testing.TB, folders, each int, inTurn bool) (*Store, []backends.Entry) {
	t.Helper()
	src, all := mem.New(1000), make([]backends.Entry, 0, each*folders)
	for i := range each * folders {
		src.PutBytes(fmt.Sprintf("d%02d/%04d", i/each, i%each), make([]byte, 4<<10))
	}
	ttl := func(string, time.Time) time.Duration { return time.Hour }
	s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{TTL: ttl})
	t.Cleanup(stop)
	byName := map[string]backends.Entry{}
	for dir := range folders {
		entries, err := s.List(t.Context(), fmt.Sprintf("d%02d", dir))
		check(t, err)
		for _, e := range entries {
			byName[e.Name] = e
		}
	}
	for i := range each * folders {
		dir, file := i/each, i%each
		if inTurn {
			dir, file = i%folders, i/folders
		}
		e := byName[fmt.Sprintf("d%02d/%04d", dir, file)]
		r, err := s.Open(t.Context(), e)
		check(t, err)
		check(t, r.Close())
		all = append(all, e)
	}
	return s, all
}

// What the cache does when a small file is opened that is here already. The rest of such an open is the kernel's.
func BenchmarkReady(b *testing.B) {
	for _, inTurn := range []bool{false, true} {
		b.Run(fmt.Sprintf("in turn %v", inTurn), func(b *testing.B) {
			s, all := warmShelf(b, 10, 500, inTurn)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !s.Ready(all[i%len(all)]) {
					b.Fatal(all[i%len(all)].Name, "is not ready")
				}
			}
		})
	}
}

// Whoever read 20,000 small files again that lay in folders of a thousand, one of each folder in turn, waited 0.7 ms for each: with each open all names
// of the folder that was left were unpacked, 160 KB.
func TestReadyCostsNoMoreInLargeFolders(t *testing.T) {
	s, all := warmShelf(t, 3, 300, true)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, e := range all {
		if !s.Ready(e) {
			t.Fatal(e.Name, "is not ready")
		}
	}
	runtime.ReadMemStats(&after)
	if each := int(after.TotalAlloc-before.TotalAlloc) / len(all); each > 4<<10 {
		t.Errorf("%d bytes are allocated for each", each)
	} else {
		t.Log(each, "bytes each")
	}
}
