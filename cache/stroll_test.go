package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// farKeys are keys that can be listed from anywhere, some way off.
type farKeys struct {
	backends.Source // is not asked

	sorted []string
	page   int

	mu       sync.Mutex // guards what follows
	requests int
	wait     time.Duration
	err      error
}

func newFar(page int, wait time.Duration, keys ...string) *farKeys {
	slices.Sort(keys)
	return &farKeys{sorted: slices.Compact(keys), page: page, wait: wait}
}

func (s *farKeys) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// answers sets what all requests from now on get, and after how long.
func (s *farKeys) answers(err error, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.wait = err, wait
}

func (s *farKeys) pageOf(ctx context.Context, dir, after string, flat bool) (p backends.Page, err error) {
	s.mu.Lock()
	s.requests++
	wait := s.wait
	err = s.err
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return p, ctx.Err()
	}
	if err != nil {
		return p, err
	}
	prefix := prefixOf(dir)
	i := sort.Search(len(s.sorted), func(i int) bool { return s.sorted[i] > max(after, prefix) })
	for i < len(s.sorted) && strings.HasPrefix(s.sorted[i], prefix) {
		key := s.sorted[i]
		if slash := strings.IndexByte(key[len(prefix):], '/'); slash >= 0 && !flat {
			key = key[:len(prefix)+slash+1]
			i += sort.Search(len(s.sorted)-i, func(n int) bool { return s.sorted[i+n] > key+top })
		} else {
			i++
		}
		if key <= after {
			continue
		}
		if len(p.Entries) == s.page {
			p.More, p.Last = true, keyOf(p.Entries[s.page-1])
			break
		}
		name, isDir := strings.CutSuffix(key, "/")
		e := backends.Entry{Name: name, Dir: isDir}
		if !isDir {
			e.Size, e.Version, e.ModTime = int64(len(key)), "1", time.Unix(1e9, 0).UTC()
		}
		p.Entries = append(p.Entries, e)
	}
	return p, nil
}

func (s *farKeys) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.pageOf(ctx, dir, after, true)
}

func (s *farKeys) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.pageOf(ctx, dir, after, false)
}

func (s *farKeys) Seeks(bool) bool { return true }

// stroller goes through a tree as find does, and returns all keys.
func stroller(l *lister, dir string) (keys []string, err error) {
	all, err := l.list(context.Background(), dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	for _, e := range all {
		if !e.Dir {
			keys = append(keys, e.Name)
			continue
		}
		below, err := stroller(l, e.Name)
		if err != nil {
			return nil, err
		}
		keys = append(keys, below...)
	}
	return keys, nil
}

// Somebody runs find over a tree of 100,000 files on a server 100 ms away. Each page was asked for when he came to it, and he waited for 105 answers one
// after the other.
func TestTreesTakeFewRounds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	some := func(n int) int { return 1 + rnd.IntN(n) }
	for name, c := range map[string]struct {
		rounds, requests int // at most
		key              func(add func(format string, args ...any))
	}{
		"four sites of fifty people, ten files a day": {55, 140, func(add func(string, ...any)) {
			for i := range 100_000 {
				add("site-%02d/sub-%02d/day-%02d/%d.csv", i/25000, i/500%50, i/10%50, i%10)
			}
		}},
		"people with two or three sessions": {42, 125, func(add func(string, ...any)) {
			for sub := range 2000 {
				for ses := range 1 + some(2) {
					for run := range 20 {
						add("sub-%04d/ses-%d/func/run-%02d.nii.gz", sub, ses, run)
					}
				}
			}
		}},
		"people with much or little": {42, 125, func(add func(string, ...any)) {
			for sub := range 200 {
				for day := range some(100) {
					for hour := range some(20) {
						add("sub-%03d/day-%03d/%02d.csv", sub, day, hour)
					}
				}
			}
		}},
		"people with more than a page each": {75, 195, func(add func(string, ...any)) {
			for sub := range 60 {
				for i := range 1150 {
					add("sub-%02d/%04d.csv", sub, i)
				}
				for i := range 650 {
					add("sub-%02d/extra/%02d/%02d.csv", sub, i/50, i%50)
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var keys []string
			c.key(func(format string, args ...any) { keys = append(keys, fmt.Sprintf(format, args...)) })
			var rounds, requests [2]int
			for i, off := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					src := newFar(1000, 100*time.Millisecond, slices.Clone(keys)...)
					l, _ := testLister(t, src, "", listerOptions{noAhead: off})
					defer l.close(t.Context())
					began := time.Now()
					if got, err := stroller(l, ""); err != nil || !slices.Equal(got, src.sorted) {
						slices.Sort(got)
						t.Fatalf("%v, %d keys of %d; as a set the same: %v", err, len(got), len(src.sorted), slices.Equal(got, src.sorted))
					}
					rounds[i] = int(time.Since(began) / src.wait)
					synctest.Wait()
					requests[i] = src.count()
				})
			}
			t.Logf("%d keys: %d answers in a row of %d requests; without listing ahead %d of %d", len(keys), rounds[1], requests[1], rounds[0], requests[0])
			if rounds[1] > c.rounds || requests[1] > c.requests {
				t.Errorf("%d answers in a row of %d requests, allowed %d of %d", rounds[1], requests[1], c.rounds, c.requests)
			}
		})
	}
}

// Whoever looks into folders here and there, or only into some, or so slowly that a listing is no longer believed when he comes to it, has nothing listed for
// him, or not more than he opened twice.
func TestStrollsThatEndCostLittle(t *testing.T) {
	var keys []string
	for i := range 200_000 {
		keys = append(keys, fmt.Sprintf("sub-%03d/%03d.csv", i/1000, i%1000)) // a page each
	}
	for name, c := range map[string]struct {
		opened int
		next   func(i int) int
		pause  time.Duration
		more   int // requests more than without, at most
	}{
		"one":                           {opened: 1, next: func(i int) int { return i }, more: 0},
		"three":                         {opened: 3, next: func(i int) int { return i }, more: 6},
		"ten":                           {opened: 10, next: func(i int) int { return i }, more: 20},
		"each tenth":                    {opened: 20, next: func(i int) int { return 10 * i }, more: 0},
		"backwards":                     {opened: 50, next: func(i int) int { return 100 - i }, more: 0},
		"in no order":                   {opened: 100, next: func(i int) int { return i * 77 % 200 }, more: 0},
		"in order, ten minutes between": {opened: 30, next: func(i int) int { return i }, pause: 10 * time.Minute, more: 60},
	} {
		t.Run(name, func(t *testing.T) {
			var requests [2]int
			for i, off := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					src := newFar(1000, 20*time.Millisecond, slices.Clone(keys)...)
					l, _ := testLister(t, src, "", listerOptions{noAhead: off})
					defer l.close(t.Context())
					for n := range c.opened {
						if got, err := l.list(t.Context(), fmt.Sprintf("sub-%03d", c.next(n))); err != nil || len(got) != 1000 {
							t.Fatal(len(got), err)
						}
						if n == 0 {
							_, err := l.list(t.Context(), "")
							check(t, err)
						}
						time.Sleep(c.pause)
					}
					time.Sleep(time.Minute)
					requests[i] = src.count()
				})
			}
			t.Logf("%d requests, without listing ahead %d", requests[1], requests[0])
			if requests[1] > requests[0]+c.more {
				t.Errorf("%d requests, without listing ahead %d, allowed %d more", requests[1], requests[0], c.more)
			}
		})
	}
}

// One folder of a study has 300,000 files, the others a few hundred. Whoever passes it over does not wait until all of it is listed, nor is it for nobody.
func TestLargeFolderIsNotListedAhead(t *testing.T) {
	var keys []string
	for i := range 40 {
		for n := range 600 {
			keys = append(keys, fmt.Sprintf("sub-%02d/%03d.csv", i, n))
		}
	}
	for i := range 300_000 {
		keys = append(keys, fmt.Sprintf("sub-12/raw-%06d.csv", i))
	}
	synctest.Test(t, func(t *testing.T) {
		src := newFar(1000, 100*time.Millisecond, keys...)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		_, err := l.list(t.Context(), "")
		check(t, err)
		for i := range 40 {
			if i == 12 {
				continue
			}
			began := time.Now()
			got, err := l.list(t.Context(), fmt.Sprintf("sub-%02d", i))
			if took := time.Since(began); err != nil || len(got) != 600 || took > 2*time.Second {
				t.Errorf("sub-%02d: %d files, %v, after %v", i, len(got), err, took)
			}
		}
		synctest.Wait()
		if n := src.count(); n > 100 {
			t.Errorf("%d requests", n)
		}
	})
}

// The server cannot be reached any more while somebody goes through a tree: he hears of it once, not after the time of each request that was on its way.
func TestOutageOfAStrollIsHeardOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newFar(100, 20*time.Millisecond)
		for i := range 10_000 {
			src.sorted = append(src.sorted, fmt.Sprintf("sub-%03d/%02d.csv", i/100, i%100))
		}
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		_, err := l.list(t.Context(), "")
		check(t, err)
		for i := range 5 {
			_, err := l.list(t.Context(), fmt.Sprintf("sub-%03d", i))
			check(t, err)
		}
		synctest.Wait()
		src.answers(fmt.Errorf("list: %w", backends.ErrUnreachable), 30*time.Second)
		began := time.Now()
		for i := 5; ; i++ {
			_, err = l.list(t.Context(), fmt.Sprintf("sub-%03d", i))
			if err != nil {
				break
			}
		}
		if took := time.Since(began); !errors.Is(err, backends.ErrUnreachable) || took > 31*time.Second {
			t.Errorf("%v after %v", err, took)
		}
		src.answers(nil, 20*time.Millisecond)
		if got, err := stroller(l, ""); err != nil || len(got) != 10_000 {
			t.Errorf("afterwards %d files, %v", len(got), err)
		}
	})
}

// Whatever tree it is, whatever a page holds and whoever else goes through it, all is found, and nothing else.
func TestStrollersFindWhatIsThere(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "a-1", "a.txt", "a0", "ab", "é", "z", "B", "a b", "~", "c", "d", "e", "f", "g", "h"})
	rapid.Check(t, func(t *rapid.T) {
		var keys []string
		for range rapid.IntRange(0, 120).Draw(t, "keys") {
			parts := rapid.SliceOfN(part, 1, 4).Draw(t, "key")
			keys = append(keys, strings.Join(parts, "/")+".x") // no file has a directory's name
		}
		src := newFar(rapid.IntRange(1, 9).Draw(t, "page"), 0, keys...)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(context.Background())
		var all sync.WaitGroup
		found := make([][]string, rapid.IntRange(1, 3).Draw(t, "walkers"))
		for i := range found {
			all.Go(func() {
				var err error
				if found[i], err = stroller(l, ""); err != nil {
					found[i] = append(found[i], err.Error())
				}
			})
		}
		all.Wait()
		for _, got := range found {
			slices.Sort(got)
			if !slices.Equal(got, src.sorted) {
				t.Fatalf("%q, want %q", got, src.sorted)
			}
		}
	})
}
