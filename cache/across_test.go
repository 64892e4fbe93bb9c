package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// Reading across files, as a story: testdata/across.txt. STUDYFS_UPDATE=1 writes it anew.
func TestOrderOfFiles(t *testing.T) {
	var out strings.Builder
	var r order
	open := func(what string, files ...int) {
		for _, at := range files {
			left := r.note(at)
			places, short := r.next(100, r.depth(32, false))
			fmt.Fprintf(&out, "%-24s file %2d: fetch %v", what, at, places)
			if short > 0 {
				fmt.Fprintf(&out, ", %d more if there were", short)
			}
			if left {
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
	open("one that was left out", 9)
	open("on", 11, 12)
	open("far away", 70)
	open("and on", 71, 72)
	open("back", 3)
	open("at random", 50, 20, 90)
	open("every third", 10, 13, 16, 19, 22, 25)
	open("now every second", 27, 29, 31, 33)
	open("backwards", 9, 8, 7, 6, 5, 4)
	open("in order, then a stride", 40, 41, 42, 44, 46, 48)
	open("near the end", 96, 97, 98, 99)
	golden(t, "testdata/across.txt", out.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("STUDYFS_UPDATE") != "" {
		os.WriteFile(file, []byte(got), 0o644)
	}
	if want, _ := os.ReadFile(file); string(want) != got {
		t.Errorf("it went:\n%s", got)
	}
}

// Whoever reads files by a step has each of his asked for once, none that was opened already, none that he leaves out, and never more ahead than allowed.
func TestOrderAsksForEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, most := rapid.IntRange(1, 300).Draw(t, "files"), rapid.IntRange(1, 64).Draw(t, "most")
		step, doubt := rapid.SampledFrom([]int{1, 1, 2, 3, 10, -1, -4}).Draw(t, "step"), rapid.Bool().Draw(t, "doubt")
		at := 0
		if step < 0 {
			at = n - 1
		}
		var r order
		asked := map[int]bool{}
		for ; at >= 0 && at < n; at += step {
			left := r.note(at)
			places, _ := r.next(n, r.depth(most, doubt))
			for _, p := range places {
				off := (p - at) / step
				if left || asked[p] || (p-at)%step != 0 || off < 1 || off > most || p < 0 || p >= n {
					t.Fatalf("at %d of %d by %d: fetch %v, left %v", at, n, step, places, left)
				}
				asked[p] = true
			}
		}
	})
}

// What is not opened later is counted as fetched for nothing; more than a tenth of what was read, and there is doubt.
func TestLedger(t *testing.T) {
	file := func(i int) backends.Entry { return backends.Entry{Name: fmt.Sprint(i), Size: 1 << 20} }
	l := newLedger()
	for i := range 10 {
		l.ahead(file(i))
	}
	if l.room(0) >= 0 || l.room(6<<20) != 0 {
		t.Errorf("%d bytes at risk of %d read", l.risk, l.read)
	}
	for i := range 6 {
		l.opened(file(i))
	}
	if l.room(0) < 0 {
		t.Errorf("%d bytes at risk of %d read", l.risk, l.read)
	}
}

// The depth follows what a link brings while an answer is awaited.
func TestLinkIsMeasured(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		rate float64 // bytes a second
		want int64
	}{
		{20 * time.Millisecond, 125e6, 5e6},
		{50 * time.Millisecond, 2.5e6, leastTarget},
		{200 * time.Millisecond, 1e9, defaultWindow},
	} {
		var l link
		if l.target() != firstTarget {
			t.Error("knows before it has seen anything")
		}
		for range 20 { // four at a time share the line
			for range 4 {
				l.answered(c.wait)
			}
			for i := range 4 {
				l.came(1<<20, time.Duration(float64(4-i)*(1<<20)/c.rate*1e9))
			}
		}
		if got := l.target(); got < c.want*8/10 || got > c.want*12/10 {
			t.Errorf("%v and %g B/s: %d bytes ahead, not %d", c.wait, c.rate, got, c.want)
		}
	}
}

// shelf is a source with 20 ms per request, and a reader of it. Its clock runs only while all wait.
type shelf struct {
	t    *testing.T
	src  *mem.Source
	s    *Store
	stop func()
	size int64
	read int64 // bytes
}

func newShelf(t *testing.T, size int64, names ...string) *shelf {
	r := &shelf{t: t, src: mem.New(100), size: size}
	for i := range 120 { // a page and more, so that nothing is listed by chance
		r.src.PutBytes(fmt.Sprintf("a/%04d", i), []byte("x"))
	}
	for _, name := range names {
		r.src.PutBytes(name, bytes.Repeat([]byte(name[len(name)-1:]), int(size)))
	}
	r.src.Before(func(mem.Op) error {
		time.Sleep(20 * time.Millisecond)
		return nil
	})
	r.s, r.stop = openStore(t, r.src, t.TempDir(), Options{}, SourceOptions{})
	return r
}

// open reads a file whole, as a program does through the mount.
func (r *shelf) open(name string) {
	r.t.Helper()
	e, err := r.s.Lookup(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(name, err)
	}
	f, err := r.s.Open(r.t.Context(), e)
	if err != nil {
		r.t.Fatal(name, err)
	}
	defer f.Close()
	p := make([]byte, r.size)
	if n, _ := f.ReadAt(r.t.Context(), p, 0); int64(n) != r.size || p[0] != name[len(name)-1] {
		r.t.Fatal(name, n)
	}
	r.read += int64(len(p))
}

func (r *shelf) list(dir string) {
	r.t.Helper()
	if _, err := r.s.List(r.t.Context(), dir); err != nil {
		r.t.Fatal(dir, err)
	}
}

// cost is what was asked of the source.
func (r *shelf) cost() (lists, gets int, fetched int64) {
	for _, op := range r.src.Log() {
		switch op.Name {
		case "read":
			gets++
			fetched += op.N
		default:
			lists++
		}
	}
	return lists, gets, fetched
}

func numbered(format string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return all
}

// people are directories of a few files each.
func people(dirs, files int) (all [][]string) {
	for d := range dirs {
		all = append(all, numbered(fmt.Sprintf("p/sub-%03d/f%%d", d), files))
	}
	return all
}

// Whoever reads small files in some order waits for a few round trips, not for one per file, whether he has listed the directory or makes the names up;
// and what is fetched is what is read.
func TestSmallFilesInOrderComeAhead(t *testing.T) {
	const size = 4 << 10
	flat := numbered("d/%04d", 160)
	every := func(step int) (names []string) {
		for i := 0; i < len(flat); i += step {
			names = append(names, flat[i])
		}
		return names
	}
	backwards := func() (names []string) {
		for _, name := range slices.Backward(flat) {
			names = append(names, name)
		}
		return names
	}
	walked := people(40, 4)
	var ofEach, whole, second []string
	for i, dir := range walked {
		ofEach = append(ofEach, dir[1])
		whole = append(whole, dir...)
		if i%2 == 0 {
			second = append(second, dir...)
		}
	}
	for _, c := range []struct {
		name      string
		files     []string // that there are
		read      []string
		listed    bool // as a program lists directories before it reads in them
		trips     int  // so many of 20 ms are waited for, at the most
		mostLists int
		waste     int // files
	}{
		{name: "in order, listed", files: flat, read: flat, listed: true, trips: 25, mostLists: 2},
		{name: "in order, names made up", files: flat, read: flat, trips: 25, mostLists: 2},
		{name: "in order, from the middle on, names made up", files: flat, read: flat[50:], trips: 15, mostLists: 2},
		{name: "every second", files: flat, read: every(2), listed: true, trips: 25, mostLists: 2},
		{name: "every third, names made up", files: flat, read: every(3), trips: 25, mostLists: 2},
		{name: "every tenth", files: flat, read: every(10), listed: true, trips: 25, mostLists: 2},
		{name: "backwards", files: flat, read: backwards(), listed: true, trips: 25, mostLists: 2},
		{name: "backwards, names made up", files: flat, read: backwards(), trips: 30, mostLists: 8},
		{name: "forty folders of four", files: whole, read: whole, listed: true, trips: 25, mostLists: 3},
		{name: "forty folders of four, names made up", files: whole, read: whole, trips: 25, mostLists: 3},
		{name: "one file of each of forty folders", files: whole, read: ofEach, listed: true, trips: 12, mostLists: 3},
		{name: "every second folder", files: whole, read: second, listed: true, trips: 25, mostLists: 3},
		{name: "a third, then no more", files: flat, read: flat[:70], listed: true, trips: 12, mostLists: 2, waste: 32},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newShelf(t, size, c.files...)
				defer r.stop()
				began, dir := time.Now(), ""
				for _, name := range c.read {
					if d, _ := backends.Split(name); c.listed && d != dir {
						r.list(d)
						dir = d
					}
					r.open(name)
				}
				trips := int(time.Since(began) / (20 * time.Millisecond))
				synctest.Wait()
				lists, gets, fetched := r.cost()
				t.Logf("%d files: %d trips, %d lists, %d gets, %d bytes for nothing", len(c.read), trips, lists, gets, fetched-r.read)
				if trips > c.trips || lists > c.mostLists || gets > len(c.read)+c.waste || fetched-r.read > int64(c.waste)*size {
					t.Errorf("allowed: %d trips, %d lists, %d files more", c.trips, c.mostLists, c.waste)
				}
			})
		})
	}
}

// Whoever reads in no order pays for little but what he reads, however long he goes on.
func TestNoOrderWastesLittle(t *testing.T) {
	const size = 512 << 10
	flat, walked := numbered("d/%04d", 120), people(30, 6)
	rnd := rand.New(rand.NewPCG(1, 2))
	var shuffled, some, heads []string
	for _, i := range rnd.Perm(len(flat)) {
		shuffled = append(shuffled, flat[i])
	}
	for i := 0; i < len(flat); i += 1 + rnd.IntN(3) {
		some = append(some, flat[i])
	}
	var all []string
	for _, dir := range walked {
		all = append(all, dir...)
		heads = append(heads, dir[:2]...)
	}
	for _, c := range []struct {
		name        string
		files, read []string
	}{
		{"shuffled", flat, shuffled},
		{"half of the shuffled", flat, shuffled[:60]},
		{"one of two, by chance", flat, some},
		{"the first two of six, in each of 30 folders", all, heads},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newShelf(t, size, c.files...)
				defer r.stop()
				dir := ""
				for _, name := range c.read {
					if d, _ := backends.Split(name); d != dir {
						r.list(d)
						dir = d
					}
					r.open(name)
				}
				synctest.Wait()
				_, gets, fetched := r.cost()
				t.Logf("%d gets for %d files, %d bytes for nothing of %d", gets, len(c.read), fetched-r.read, r.read)
				if fetched-r.read > r.read/10+spare+firstTarget {
					t.Error("too much")
				}
			})
		})
	}
}

// A reader who turns elsewhere has what is on its way for him cancelled.
func TestWhatIsAheadEndsWithTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newShelf(t, 1000, numbered("d/%04d", 300)...)
		defer r.stop()
		far := make(chan struct{})
		r.src.Before(func(op mem.Op) error {
			if op.Object >= "d/0010" && op.Object < "d/0200" {
				<-far
			}
			return nil
		})
		r.list("d")
		for i := range 10 {
			r.open(fmt.Sprintf("d/%04d", i))
		}
		synctest.Wait()
		_, before, _ := r.cost()
		r.open("d/0250")
		synctest.Wait()
		close(far)
		synctest.Wait()
		_, after, _ := r.cost()
		if before < 15 || after != before+1 {
			t.Errorf("%d requests before, %d after", before, after)
		}
		for i := 10; i < 30; i++ {
			if e, err := r.s.Lookup(t.Context(), fmt.Sprintf("d/%04d", i)); err != nil || r.s.State(e) != Remote {
				t.Errorf("file %d is %v, %v", i, r.s.State(e), err)
			}
		}
	})
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
