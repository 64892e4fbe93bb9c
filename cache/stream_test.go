package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// failingKeys fails one request: the one of that number, counted from 1.
type failingKeys struct {
	*seekingKeys
	fail, asked atomic.Int64
}

func (s *failingKeys) next(p func() (backends.Page, error)) (backends.Page, error) {
	if n := s.asked.Add(1); n == s.fail.Load() {
		return backends.Page{}, backends.ErrUnreachable
	}
	return p()
}

func (s *failingKeys) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.next(func() (backends.Page, error) { return s.seekingKeys.WalkPage(ctx, dir, after) })
}

func (s *failingKeys) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.next(func() (backends.Page, error) { return s.seekingKeys.ListPage(ctx, dir, after) })
}

// read reads a directory as a program does, entry by entry.
func read(ctx context.Context, s *Stream) (got []backends.Entry, err error) {
	for i := 0; ; i++ {
		have, err := s.More(ctx, i)
		if err != nil || have <= i {
			return got, err
		}
		got = append(got, s.At(i))
	}
}

func sortedNames(entries []backends.Entry) []string {
	out := names(entries)
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/")) })
	return out
}

// Whoever reads a folder while it is being listed sees what a listing of the whole has, each name once; and where any one request of it
// fails, he gets the error, and what he has seen until then is true. Never does a part look like the whole. Afterwards he lists it again.
func TestStreamIsTheListingOrAnError(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "a-1", "a.txt", "a0", "ab", "é", "a b", "~", "a.", "a-"})
	rapid.Check(t, func(t *rapid.T) {
		keys := newKeys(rapid.IntRange(1, 5).Draw(t, "page"), "c", "e/f")
		for range rapid.IntRange(0, 60).Draw(t, "keys") {
			keys.keys["d/"+strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, "name"), rapid.SampledFrom([]string{"", "", "/"}).Draw(t, "between"))] = "1"
		}
		src := &failingKeys{seekingKeys: &seekingKeys{keyStore: keys, flatOnly: rapid.Bool().Draw(t, "flat")}}
		src.fail.Store(int64(rapid.IntRange(0, 20).Draw(t, "fail")))
		ttl := rapid.SampledFrom([]time.Duration{0, time.Nanosecond, time.Hour}).Draw(t, "ttl")
		l, _ := testLister(t, src, "", listerOptions{ttl: func(string, time.Time) time.Duration { return ttl }})
		defer l.close(context.Background())
		want := keys.truth("d")
		if rapid.Bool().Draw(t, "looked up before") {
			l.lookup(context.Background(), "d/"+part.Draw(t, "looked up"))
		}
		for round := range 3 {
			s, err := l.open(context.Background(), "d")
			var got []backends.Entry
			if err == nil {
				got, err = read(context.Background(), s)
				for i, e := range got {
					if _, base := backends.Split(e.Name); func() bool { at, ok := s.Find(base); return at != i || !ok }() {
						t.Fatalf("%q is not found at %d", base, i)
					}
				}
				s.Close()
			}
			seen := sortedNames(got)
			switch {
			case err == nil && !slices.Equal(seen, want):
				t.Fatalf("round %d: %q\nwant %q\nlog %s", round, seen, want, keys.log)
			case err != nil && !errors.Is(err, backends.ErrUnreachable):
				t.Fatal(err)
			case err != nil && (src.fail.Load() == 0 || src.asked.Load() < src.fail.Load()):
				t.Fatalf("nothing failed, and yet: %v", err)
			case len(slices.Compact(slices.Clone(seen))) != len(seen):
				t.Fatalf("a name twice: %q", seen)
			}
			for _, n := range seen {
				if !slices.Contains(want, n) {
					t.Fatalf("%q is not there: %q", n, want)
				}
			}
			if round > 0 && err != nil && src.asked.Load() > src.fail.Load()+mostFlying {
				t.Fatalf("the failure outlives its request: %v", err)
			}
		}
	})
}

// manyPages is a folder of 100 pages, 100 ms each, one after the other.
func manyPages() *seekingKeys {
	return &seekingKeys{keyStore: newKeys(20, manyKeys("d/f%05d", 2000)...), wait: 100 * time.Millisecond}
}

// Somebody lists a folder of so many files that it takes longer than any call may, and longer than a listing is believed. He has the first ones
// at once and all in the end, and nothing is asked for twice. Who comes meanwhile joins him; who wants one name of it does not wait for all.
func TestLongListingIsReadWhileItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := manyPages()
		l, _ := testLister(t, slowly{src}, "", listerOptions{
			ttl: func(string, time.Time) time.Duration { return 2 * time.Second }, timeout: time.Second,
		})
		defer l.close(t.Context())
		began := time.Now()
		s, err := l.open(t.Context(), "d")
		if took := time.Since(began); err != nil || took > 200*time.Millisecond {
			t.Fatalf("the first files came after %v: %v", took, err)
		}
		defer s.Close()
		time.Sleep(5 * time.Second)
		other, err := l.open(t.Context(), "d")
		if err != nil || other.Listing != s.Listing || other.Len() < 900 {
			t.Fatalf("who comes later has %d files, another listing %v, %v", other.Len(), other.Listing != s.Listing, err)
		}
		defer other.Close()
		before := time.Now()
		if _, err := l.lookup(t.Context(), "d/f01990"); err != nil || time.Since(before) > 200*time.Millisecond {
			t.Errorf("one name, after %v: %v", time.Since(before), err)
		}
		if _, err := l.lookup(t.Context(), "d/f00001"); err != nil || time.Since(before) > 200*time.Millisecond {
			t.Errorf("a name that was listed, after %v: %v", time.Since(before), err)
		}
		for _, s := range []*Stream{s, other} {
			if got, err := read(t.Context(), s); err != nil || !slices.Equal(names(got), src.truth("d")) {
				t.Errorf("%d files, %v", len(got), err)
			}
		}
		if n := src.requests(); n > 103 { // 100 pages, the first of them flat, and the one name
			t.Errorf("%d requests", n)
		}
		again, err := l.open(t.Context(), "d")
		if err != nil || again.Listing != s.Listing {
			t.Errorf("at once again: another listing, %v", err)
		}
		time.Sleep(3 * time.Second)
		later, err := l.open(t.Context(), "d")
		if err != nil || later.Listing == s.Listing {
			t.Errorf("an old listing is believed for ever, %v", err)
		}
		later.Close()
	})
}

// slowly answers page by page only.
type slowly struct{ *seekingKeys }

func (slowly) Seeks(bool) bool { return false }

// A service falls silent in the middle: the reader gets an error when as much time has gone as a call may take, not the end of the folder.
func TestSilenceEndsAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := manyPages()
		l, _ := testLister(t, slowly{src}, "", listerOptions{timeout: time.Minute})
		defer l.close(t.Context())
		s, err := l.open(t.Context(), "d")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		time.Sleep(time.Second)
		hold := make(chan struct{})
		src.mu.Lock()
		src.hold = hold
		src.mu.Unlock()
		began := time.Now()
		got, err := read(t.Context(), s)
		if !errors.Is(err, context.DeadlineExceeded) || len(got) == 0 || len(got) >= 2000 {
			t.Errorf("%d files, %v", len(got), err)
		}
		if took := time.Since(began); took > time.Minute+time.Second {
			t.Errorf("after %v", took)
		}
		if _, err := s.More(t.Context(), len(got)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asked again: %v", err)
		}
	})
}

// Somebody looks at the first files of a long folder and leaves: nothing more of it is asked for. Whoever comes back goes on from there.
func TestNobodyReadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := manyPages()
		l, _ := testLister(t, slowly{src}, "", listerOptions{ttl: func(string, time.Time) time.Duration { return time.Hour }})
		defer l.close(t.Context())
		s, err := l.open(t.Context(), "d")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.Close()
		asked := src.requests()
		time.Sleep(time.Minute)
		if n := src.requests(); n > asked+1 {
			t.Errorf("%d requests for nobody", n-asked)
		}
		s2, err := l.open(t.Context(), "d")
		if err != nil || s2.Listing != s.Listing {
			t.Fatalf("another listing, %v", err)
		}
		defer s2.Close()
		if got, err := read(t.Context(), s2); err != nil || !slices.Equal(names(got), src.truth("d")) {
			t.Errorf("%d files, %v", len(got), err)
		}
		if n := src.requests(); n > 104 {
			t.Errorf("%d requests in all", n)
		}
	})
}

// Files are put into a folder and taken out of it while somebody reads it: he sees each of the others once, and what is there afterwards is right.
func TestEditsWhileAFolderIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := manyPages()
		l, _ := testLister(t, src, "", listerOptions{ttl: func(string, time.Time) time.Duration { return time.Hour }})
		defer l.close(t.Context())
		s, err := l.open(t.Context(), "d")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		time.Sleep(550 * time.Millisecond)
		src.set("d/f00000a", "1")
		l.put(keyEntry("d/f00000a", "1"))
		src.set("d/f01000", "")
		l.gone("d/f01000")
		got, err := read(t.Context(), s)
		seen := sortedNames(got)
		if err != nil || len(slices.Compact(seen)) != len(got) || len(got) < 1999 || len(got) > 2001 {
			t.Errorf("%d names, %v", len(got), err)
		}
		all, err := l.list(t.Context(), "d")
		if err != nil || !slices.Equal(names(all), src.truth("d")) {
			t.Errorf("afterwards %d names, %v", len(all), err)
		}
	})
}

// A folder of many files is known after a restart; and if what lies on disk was cut off, or is of two times, nothing is.
func TestLongListingOutlivesTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "listing")
	src := newKeys(1000)
	all := &dirInfo{known: []interval{{"", top}}, at: time.Now()}
	var kids []kid
	for i := range 50_000 {
		kids = append(kids, kid{key: fmt.Sprintf("f%06d", i), version: fmt.Sprintf("\"%032x\"", i), size: int64(i), mod: time.Unix(1e9, 0).UTC()})
	}
	all.kids = all.kids.replace(0, 0, kids)
	l, _ := testLister(t, src, file, listerOptions{})
	l.index.dirs["d"], l.index.dirs["e"], l.index.kids, l.dirty = all, &dirInfo{known: all.known, at: all.at}, len(kids), true
	if err := l.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := loadIndex(file, clearCodec{})
	if got := slices.Collect(x.dirs["d"].kids.all()); !slices.Equal(got, kids) || len(x.dirs) != 2 || x.dirs["d"].reach() != top {
		t.Fatalf("%d files in %d folders", len(got), len(x.dirs))
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	first := 4 + int(uint32(raw[0])|uint32(raw[1])<<8|uint32(raw[2])<<16)
	for what, broken := range map[string][]byte{
		"cut off": raw[:first], "cut in a part": raw[:len(raw)-10], "without its first part": raw[first:], "a part twice": slices.Concat(raw[:first], raw),
	} {
		if err := os.WriteFile(file, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if x := loadIndex(file, clearCodec{}); len(x.dirs) != 0 {
			t.Errorf("%s: %d folders", what, len(x.dirs))
		}
	}
}
