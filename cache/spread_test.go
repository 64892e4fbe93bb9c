package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// pagesOf answers from sorted keys, and takes as long as a service that is 100 ms away.
type pagesOf struct {
	keys []string
	size int
	wait time.Duration
	fail int // the request that fails; 0: none

	mu                        sync.Mutex // guards what follows
	requests, flying, highest int
}

func (s *pagesOf) ask(ctx context.Context, after string) (p backends.Page, err error) {
	s.mu.Lock()
	s.requests++
	n := s.requests
	s.flying++
	s.highest = max(s.highest, s.flying)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.flying--; s.mu.Unlock() }()
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return p, ctx.Err()
	}
	if n == s.fail {
		return p, backends.ErrUnreachable
	}
	i, _ := slices.BinarySearch(s.keys, after+"\x00")
	rest := s.keys[i:]
	if p.More = len(rest) > s.size; p.More {
		rest = rest[:s.size]
		p.Last = rest[s.size-1]
	}
	for _, k := range rest {
		name, dir := strings.CutSuffix(k, "/")
		p.Entries = append(p.Entries, backends.Entry{Name: name, Dir: dir})
	}
	return p, nil
}

// fanOut lists all keys and compares. It returns how many answers had to be waited for in a row.
func fanOut(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *pagesOf, flat bool,
) (rounds int) {
	t.Helper()
	var got []string
	began := time.Now()
	f := &fan{split: newSplitter("", 0, flat), ask: s.ask, key: keyOf, take: func(_ string, p backends.Page) error {
		for _, e := range p.Entries {
			got = append(got, keyOf(e))
		}
		return nil
	}}
	if err := f.run(context.Background()); err != nil {
		t.Fatalf("%v", err)
	}
	slices.Sort(got)
	if !slices.Equal(got, s.keys) {
		t.Fatalf("%d keys, want %d: some are missing or came twice", len(got), len(s.keys))
	}
	return int(time.Since(began) / max(s.wait, 1))
}

func sortedKeys(n int, name func(i int, rnd *rand.Rand) string) []string {
	rnd := rand.New(rand.NewPCG(7, 8))
	keys := map[string]bool{}
	for i := range n {
		keys[name(i, rnd)] = true
	}
	return slices.SortedFunc(func(yield func(string) bool) {
		for k := range keys {
			if !yield(k) {
				return
			}
		}
	}, cmp.Compare)
}

// Whoever lists a folder of 100,000 files waits for a few answers in a row instead of a hundred, however the files are called, and the service
// is not asked for much more than the pages there are.
func TestLargeListingsTakeFewRounds(t *testing.T) {
	day := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		rounds int // at most, of 100 pages in a row
		key    func(i int, rnd *rand.Rand) string
	}{
		"counted":           {16, func(i int, _ *rand.Rand) string { return fmt.Sprintf("file-%06d.csv", i) }},
		"counted, no zeros": {16, func(i int, _ *rand.Rand) string { return fmt.Sprintf("IMG_%d.jpg", i) }},
		"random hex":        {16, func(_ int, rnd *rand.Rand) string { return fmt.Sprintf("%016x%016x", rnd.Uint64(), rnd.Uint64()) }},
		"minutes of a year": {16, func(i int, _ *rand.Rand) string {
			return day.Add(time.Duration(i) * 5 * time.Minute).Format(time.RFC3339)
		}},
		"base64": {16, func(_ int, rnd *rand.Rand) string {
			const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			b := make([]byte, 12)
			for i := range b {
				b[i] = all[rnd.IntN(64)]
			}
			return string(b)
		}},
		"one long prefix, few others": {16, func(i int, rnd *rand.Rand) string {
			if i%1000 == 0 {
				return fmt.Sprintf("%c%d", 'a'+rnd.IntN(26), i)
			}
			return fmt.Sprintf("participant-data-collected-at-the-main-site-%06d", i)
		}},
		"crowded at the end": {16, func(i int, _ *rand.Rand) string {
			if i < 5000 {
				return fmt.Sprintf("a%05d", i*19)
			}
			return fmt.Sprintf("a99%05d", i)
		}},
		"a thousand of each participant": {16, func(i int, _ *rand.Rand) string { return fmt.Sprintf("participant-%04d_%06d.csv", i/1000, i) }},
		"folders":                        {16, func(i int, _ *rand.Rand) string { return fmt.Sprintf("sub-%05d/", i) }},
		"a day and its second": {16, func(i int, _ *rand.Rand) string {
			at := day.Add(time.Duration(i) * 7 * time.Minute)
			return fmt.Sprintf("%s_%d.avro", at.Format(time.DateOnly), at.Unix())
		}},
		"hours of many people": {22, func(i int, _ *rand.Rand) string {
			return fmt.Sprintf("%c%c%d_gps_%s.csv", 'a'+i%26, 'a'+i%7, i%13, day.Add(time.Duration(i)*time.Hour).Format("2006-01-02 15_04_05-07_00"))
		}},
		"numbered by time": {16, func(i int, rnd *rand.Rand) string {
			return fmt.Sprintf("%012x-7%03x-%04x-%012x", 1704067200000+i*4321, rnd.IntN(4096), rnd.IntN(65536), rnd.Uint64()>>16)
		}},
		"twelve sites of all sizes": {26, func(i int, rnd *rand.Rand) string {
			site := min(int(rnd.ExpFloat64()*2), 11)
			return fmt.Sprintf("%s-%06d", []string{"aarhus", "basel", "berlin", "boston", "delft", "oslo", "oxford", "paris", "rome", "seoul", "tokyo", "umea"}[site], i)
		}},
		"not Latin": {16, func(i int, _ *rand.Rand) string { return fmt.Sprintf("測定_%06d.csv", i) }},
		"a tree": {16, func(i int, _ *rand.Rand) string {
			return fmt.Sprintf("site-%02d/sub-%02d/day-%02d/%d.csv", i/25000, i/500%50, i/10%50, i%10)
		}},
		"subjects, sessions and runs": {16, func(i int, _ *rand.Rand) string {
			return fmt.Sprintf("sub-%03d_ses-%02d_task-rest_run-%02d_bold.nii.gz", i/200, i/20%10, i%20)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &pagesOf{keys: sortedKeys(100_000, c.key), size: 1000, wait: 100 * time.Millisecond}
				rounds := fanOut(t, s, strings.Contains(strings.TrimSuffix(s.keys[0], "/"), "/"))
				pages := (len(s.keys) + s.size - 1) / s.size
				allowed := pages + splitsFree + (pages+s.requests)/pagesPerSplit
				t.Logf("%d pages: %d requests, %d at once, %d rounds", pages, s.requests, s.highest, rounds)
				if rounds > c.rounds || s.requests > allowed || s.highest > mostFlying {
					t.Errorf("allowed: %d rounds, %d requests, %d at once", c.rounds, allowed, mostFlying)
				}
			})
		})
	}
}

// Whatever the keys are, each comes once, and cuts cost no more requests than they may.
func TestSpreadFindsEveryKeyOnce(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune("019afzAZ-_. ~é漢")), 1, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		flat := rapid.Bool().Draw(t, "flat")
		prefix := rapid.SampledFrom([]string{"", "2026-11-", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sub-0"}).Draw(t, "prefix")
		keys := map[string]bool{}
		for range rapid.IntRange(0, 300).Draw(t, "keys") {
			k := part.Draw(t, "part")
			if rapid.IntRange(0, 3).Draw(t, "prefixed") > 0 {
				k = prefix + k
			}
			switch {
			case flat && rapid.Bool().Draw(t, "deep"):
				k += "/" + part.Draw(t, "below")
			case !flat && rapid.IntRange(0, 9).Draw(t, "folder") == 0:
				k += "/"
			}
			keys[k] = true
		}
		s := &pagesOf{size: rapid.IntRange(1, 9).Draw(t, "page")}
		for k := range keys {
			s.keys = append(s.keys, k)
		}
		slices.Sort(s.keys)
		fanOut(t, s, flat)
		pages := max(1, (len(s.keys)+s.size-1)/s.size)
		if s.requests > pages+splitsFree+(pages+s.requests)/pagesPerSplit {
			t.Fatalf("%d requests for %d pages", s.requests, pages)
		}
		if pages < pagesBefore && s.requests != pages {
			t.Fatalf("%d requests for %d pages: nothing was to be cut", s.requests, pages)
		}
	})
}

// A service that fails in the middle fails the listing, and nothing goes on behind it.
func TestSpreadEndsWithTheFirstError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pagesOf{keys: sortedKeys(50_000, func(i int, _ *rand.Rand) string { return fmt.Sprintf("%06d", i) }), size: 1000, wait: time.Second, fail: 20}
		f := &fan{split: newSplitter("", 0, false), ask: s.ask, key: keyOf, take: func(string, backends.Page) error { return nil }}
		if err := f.run(t.Context()); !errors.Is(err, backends.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		if s.flying != 0 || s.requests > 20+2*mostFlying {
			t.Errorf("%d requests under way, %d sent", s.flying, s.requests)
		}
	})
}

// seekingKeys is a keyStore with pages that begin anywhere, each of which takes its time.
type seekingKeys struct {
	*keyStore
	wait            time.Duration
	flatOnly        bool
	flying, highest int
}

func (s *seekingKeys) Seeks(flat bool) bool { return flat || !s.flatOnly }

func (s *seekingKeys) slowly(p func() (backends.Page, error)) (backends.Page, error) {
	s.mu.Lock()
	s.flying++
	s.highest = max(s.highest, s.flying)
	s.mu.Unlock()
	time.Sleep(s.wait)
	s.mu.Lock()
	s.flying--
	s.mu.Unlock()
	return p()
}

func (s *seekingKeys) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.slowly(func() (backends.Page, error) { return s.keyStore.WalkPage(ctx, dir, after) })
}

func (s *seekingKeys) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.slowly(func() (backends.Page, error) { return s.keyStore.ListPage(ctx, dir, after) })
}

// "ls" of a large folder is right and takes a few rounds, between folders that it is not to touch.
func TestListerListsALargeDirectoryAtOnce(t *testing.T) {
	for name, flatOnly := range map[string]bool{"from any key": false, "flat pages from any key": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := append(manyKeys("before/%d", 30), manyKeys("d/f%05d", 5000)...)
				if !flatOnly {
					keys = append(keys, manyKeys("d/s%[1]d/x", 40)...)
				}
				src := &seekingKeys{keyStore: newKeys(50, append(keys, manyKeys("e/%d", 30)...)...), wait: time.Second, flatOnly: flatOnly}
				l, _ := testLister(t, src, "", listerOptions{ttl: func(string, time.Time) time.Duration { return time.Hour }})
				defer l.close(t.Context())
				if _, err := l.lookup(t.Context(), "d"); err != nil {
					t.Fatal(err)
				}
				began, before := time.Now(), src.requests()
				got, err := l.list(t.Context(), "d")
				if err != nil || !slices.Equal(names(got), src.truth("d")) {
					t.Fatal(len(got), err)
				}
				pages, rounds := len(got)/50, time.Since(began)/time.Second
				if n := src.requests() - before; n > pages*6/5+splitsFree || rounds > 33 {
					t.Errorf("%d pages: %d requests in %d rounds, %d at once", pages, n, rounds, src.highest)
				}
			})
		})
	}
}

// A file that is put while a large folder is being listed is in it in the end.
func TestSpreadKeepsWhatIsPutMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &seekingKeys{keyStore: newKeys(50, manyKeys("d/f%05d", 3000)...), wait: time.Second}
		l, _ := testLister(t, src, "", listerOptions{ttl: func(string, time.Time) time.Duration { return time.Hour }})
		defer l.close(t.Context())
		listed := make(chan []backends.Entry)
		go func() { all, _ := l.list(t.Context(), "d"); listed <- all }()
		time.Sleep(6500 * time.Millisecond)
		l.put(backends.Entry{Name: "d/f00000a", Version: "2", Size: 1})
		l.put(backends.Entry{Name: "d/f02999a", Version: "2", Size: 1})
		l.gone("d/f01500")
		if n := len(<-listed); n != 3001 {
			t.Errorf("%d files", n)
		}
		for _, name := range []string{"d/f00000a", "d/f02999a"} {
			if _, err := l.lookup(t.Context(), name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A walk over all that lies below a folder hands out each file once, also where the source goes on only page by page.
func TestWalkHandsOutEachFileOnce(t *testing.T) {
	keys := append(manyKeys("d/a%03[1]d/f", 700), manyKeys("d/b/%04d", 900)...)
	for name, src := range map[string]backends.Pager{
		"from any key": &seekingKeys{keyStore: newKeys(20, append(manyKeys("e/%d", 99), keys...)...)},
		"page by page": newKeys(20, append(manyKeys("e/%d", 99), keys...)...),
	} {
		var got []string
		err := Walk(t.Context(), src, "d", func(entries []backends.Entry) error {
			for _, e := range entries {
				got = append(got, e.Name)
			}
			return nil
		})
		slices.Sort(got)
		slices.Sort(keys)
		if err != nil || !slices.Equal(got, keys) {
			t.Errorf("%s: %d of %d, %v", name, len(got), len(keys), err)
		}
	}
}
