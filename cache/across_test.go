package cache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// Reading across files, as a story: testdata/across.txt. STUDYFS_UPDATE=1 writes it anew.
func TestOrderOfFiles(t *testing.T) {
	var out strings.Builder
	r := &order{most: 32}
	open := func(what string, files ...int) {
		for _, at := range files {
			from, to, jumped := r.open(at, 100)
			fmt.Fprintf(&out, "%-24s file %2d: fetch %2d to %2d", what, at, from, to)
			if jumped {
				out.WriteString(", what was on its way is not wanted")
			}
			out.WriteString("\n")
		}
	}
	open("the first", 0)
	open("the next", 1)
	open("on", 2, 3, 4, 5, 6, 7, 8)
	open("leaving one out", 10)
	open("the same again", 10)
	open("far away", 70)
	open("and on", 71, 72)
	open("back", 3)
	open("at random", 50, 20, 90)
	open("near the end", 96, 97, 98, 99)
	const file = "testdata/across.txt"
	if os.Getenv("STUDYFS_UPDATE") != "" {
		os.WriteFile(file, []byte(out.String()), 0o644)
	}
	if want, _ := os.ReadFile(file); string(want) != out.String() {
		t.Errorf("it went:\n%s", out.String())
	}
}

// Whoever reads all files in order has each asked for once, never one that was opened already, and never more ahead than allowed.
func TestOrderAsksForEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, most := rapid.IntRange(1, 300).Draw(t, "files"), rapid.IntRange(1, 64).Draw(t, "most")
		r, asked := &order{most: most}, map[int]bool{}
		for at := 0; at < n; at += rapid.IntRange(1, nextFiles).Draw(t, "step") {
			from, to, jumped := r.open(at, n)
			if jumped || to > n || from < to && from <= at || to-at-1 > most {
				t.Fatalf("at %d of %d: %d to %d, jumped %v", at, n, from, to, jumped)
			}
			for i := from; i < to; i++ {
				if asked[i] {
					t.Fatalf("file %d is asked for twice", i)
				}
				asked[i] = true
			}
		}
	})
}

// traffic makes every answer of a source wait, and counts how many are on their way.
type traffic struct {
	mu              sync.Mutex
	now, most, gets int
	atOnce          int // so many are given half a second to come together: a busy machine needs it
}

func (w *traffic) wait(string, int64) error {
	w.mu.Lock()
	w.now++
	w.gets++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	for range 100 {
		time.Sleep(5 * time.Millisecond)
		w.mu.Lock()
		enough := w.most >= w.atOnce
		w.mu.Unlock()
		if enough {
			break
		}
	}
	w.mu.Lock()
	w.now--
	w.mu.Unlock()
	return nil
}

// A script that reads a directory of small files in order waits for a few round trips, not for one per file; one that reads them in any order
// costs nothing more than the files that it reads.
func TestSmallFilesInOrderComeAhead(t *testing.T) {
	for _, c := range []struct {
		name      string
		files     int
		shuffled  bool
		atOnce    int // at least so many requests at a time
		mostExtra int // requests beyond one per file that was read
		read      int
	}{
		{name: "all, in order", files: 200, read: 200, atOnce: 8},
		{name: "a third, in order", files: 300, read: 100, atOnce: 8, mostExtra: 32},
		{name: "in any order", files: 200, read: 60, shuffled: true, mostExtra: 12},
		{name: "the first only", files: 50, read: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, w := newFake(), &traffic{atOnce: c.atOnce}
			src.onGet = w.wait
			var all []backends.Entry
			for i := range c.files {
				all = append(all, src.put(fmt.Sprintf("d/%04d", i), 1, 64<<10))
			}
			s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
			defer stop()
			if _, err := s.List(t.Context(), "d"); err != nil {
				t.Fatal(err)
			}
			places := make([]int, c.read)
			for i := range places {
				places[i] = i
			}
			if c.shuffled {
				places = rand.New(rand.NewPCG(1, 2)).Perm(c.files)[:c.read]
			}
			for _, i := range places {
				mustRead(t, s, all[i], 1, 0, 64<<10)
			}
			time.Sleep(50 * time.Millisecond) // what is on its way ends
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.gets < c.read || w.gets > c.read+c.mostExtra {
				t.Errorf("%d requests for %d files", w.gets, c.read)
			}
			if w.most < c.atOnce || c.atOnce == 0 && !c.shuffled && w.most > 1 {
				t.Errorf("at most %d requests at a time", w.most)
			}
		})
	}
}

// With the option off, nothing is fetched that nobody opened.
func TestNothingAheadWhereItIsOff(t *testing.T) {
	src := newFake()
	var all []backends.Entry
	for i := range 30 {
		all = append(all, src.put(fmt.Sprintf("d/%04d", i), 1, 1000))
	}
	s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{Files: -1})
	defer stop()
	for _, e := range all[:10] {
		mustRead(t, s, e, 1, 0, 1000)
	}
	time.Sleep(20 * time.Millisecond)
	for _, e := range all[10:] {
		if s.State(e) != Remote {
			t.Errorf("%s is %s", e.Name, s.State(e))
		}
	}
}
