package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

type listerLog struct {
	mu      sync.Mutex
	changes []backends.Change
	removed []backends.Entry
}

func testLister(t interface {
	Helper()
	Fatal(args ...any)
}, src backends.Source, file string, o listerOptions,
) (*lister, *listerLog) {
	t.Helper()
	seen := &listerLog{}
	o.file, o.codec, o.log = file, clearCodec{}, slog.New(slog.DiscardHandler)
	if o.now == nil {
		o.now = time.Now
	}
	if o.ttl == nil {
		o.ttl = func(string, time.Time) time.Duration { return time.Minute }
	}
	if o.timeout == 0 {
		o.timeout = time.Minute
	}
	o.changed = func(c backends.Change) { seen.mu.Lock(); seen.changes = append(seen.changes, c); seen.mu.Unlock() }
	o.removed = func(e []backends.Entry) { seen.mu.Lock(); seen.removed = append(seen.removed, e...); seen.mu.Unlock() }
	l, err := newLister(src, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, seen
}

func names(entries []backends.Entry) (out []string) {
	for _, e := range entries {
		_, base := backends.Split(e.Name)
		if e.Dir {
			base += "/"
		}
		out = append(out, base)
	}
	return out
}

// Whatever is asked in whatever order, with whatever page size, the answers are those of the keys themselves.
func TestListerAnswersAsTheKeysDo(t *testing.T) {
	part := rapid.SampledFrom([]string{"a", "b", "a-1", "a.txt", "a0", "ab", "é", "z", "B", "a b", "~"})
	rapid.Check(t, func(t *rapid.T) {
		src := newKeys(rapid.IntRange(1, 7).Draw(t, "page"))
		for range rapid.IntRange(0, 25).Draw(t, "keys") {
			key := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "key"), "/")
			switch rapid.IntRange(0, 19).Draw(t, "odd") {
			case 0:
				key += "/" // a marker
			case 1:
				src.keys[key+"/x"] = "1" // so that a directory is there whatever becomes of the hidden key
				key += "//x"
			}
			src.keys[key] = "1"
		}
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(context.Background())
		known := map[string]bool{"": true} // directories that a walker would have met
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			dirs := slices.Sorted(func(yield func(string) bool) {
				for d := range known {
					if !yield(d) {
						return
					}
				}
			})
			dir := rapid.SampledFrom(dirs).Draw(t, "dir")
			want := src.truth(dir)
			if rapid.Bool().Draw(t, "list") {
				got, err := l.list(context.Background(), dir)
				if err != nil || !slices.Equal(names(got), want) {
					t.Fatalf("list %q: %q, %v; want %q (keys %v)\nlog %s", dir, names(got), err, want, src.keys, src.log)
				}
				for _, n := range want {
					if d, ok := strings.CutSuffix(n, "/"); ok {
						known[backends.Join(dir, d)] = true
					}
				}
				continue
			}
			base := part.Draw(t, "base")
			e, err := l.lookup(context.Background(), backends.Join(dir, base))
			isDir, isFile := slices.Contains(want, base+"/"), slices.Contains(want, base)
			if (err == nil) != (isDir || isFile) || err == nil && isFile == e.Dir && isDir != e.Dir {
				t.Fatalf("lookup %q in %q: %+v, %v; want %q\nlog %s", base, dir, e, err, want, src.log)
			}
			if err != nil && !errors.Is(err, backends.ErrNotExist) {
				t.Fatal(err)
			}
		}
	})
}

func manyKeys(format string, n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf(format, i))
	}
	return keys
}

func TestListerRequestBudgets(t *testing.T) {
	ctx := t.Context()
	t.Run("2,000 files in one directory", func(t *testing.T) {
		src := newKeys(1000, manyKeys("d/f%05d", 2000)...)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		l.lookup(ctx, "d")
		got, err := l.list(ctx, "d")
		if err != nil || len(got) != 2000 {
			t.Fatal(len(got), err)
		}
		for _, e := range got {
			if _, err := l.lookup(ctx, e.Name); err != nil {
				t.Fatal(err)
			}
		}
		if n := src.requests(); n > 3 {
			t.Errorf("%d requests: %s", n, src.log)
		}
	})
	t.Run("a tree within one page", func(t *testing.T) {
		src := newKeys(1000, manyKeys("sub-%02[1]d/ses-1/func/run-1.nii", 100)...)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		walk(t, l, "") //nolint:contextcheck // the test's own
		if n := src.requests(); n != 1 {
			t.Errorf("%d requests: %s", n, src.log)
		}
	})
	for _, each := range []int{10, 7} { // a page ends with a folder, or in the middle of one
		t.Run(fmt.Sprintf("a tree of folders of %d", each), func(t *testing.T) {
			var keys []string
			for day := range 3000 {
				keys = append(keys, manyKeys(fmt.Sprintf("site-%d/sub-%02d/day-%02d/%%d.csv", day/1000, day/50%20, day%50), each)...)
			}
			src := newKeys(1000, keys...)
			l, _ := testLister(t, src, "", listerOptions{})
			defer l.close(ctx)
			walk(t, l, "") //nolint:contextcheck // the test's own
			if n, pages := src.requests(), len(keys)/1000; n > pages+pages/5+3 {
				t.Errorf("%d requests for %d pages: %s", n, pages, src.log)
			} else {
				t.Logf("%d requests for %d pages", n, pages)
			}
		})
	}
	t.Run("six levels down", func(t *testing.T) {
		src := newKeys(1000, append(manyKeys("a/b/c/d/e/f%d", 20), manyKeys("zz/%05d", 5000)...)...)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		for _, name := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e", "a/b/c/d/e/f7"} {
			if _, err := l.lookup(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		if n := src.requests(); n != 1 {
			t.Errorf("%d requests: %s", n, src.log)
		}
	})
	t.Run("missing names in a listed directory", func(t *testing.T) {
		src := newKeys(1000, "d/b", "d/d")
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		l.list(ctx, "d")
		before := src.requests()
		for i := range 20 {
			if _, err := l.lookup(ctx, fmt.Sprintf("d/missing%d", i)); !errors.Is(err, backends.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if n := src.requests() - before; n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("file managers' probes", func(t *testing.T) {
		src := newKeys(1000, "d/b")
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		for _, name := range []string{".Trash", ".Trash-0", ".hidden", "autorun.inf", "Thumbs.db", "._b", ".DS_Store"} {
			if _, err := l.lookup(ctx, name); !errors.Is(err, backends.ErrNotExist) {
				t.Fatal(name, err)
			}
		}
		if n := src.requests(); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("subjects with thousands of objects each", func(t *testing.T) {
		var keys []string
		for s := range 1200 {
			keys = append(keys, manyKeys(fmt.Sprintf("%06d/T1w/%%04d", 100000+s), 20)...)
		}
		src := newKeys(1000, keys...)
		src.page = 15 // a page ends within the first subject, as it does with 13,000 objects and pages of 1,000
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(ctx)
		if got, err := l.list(ctx, ""); err != nil || len(got) != 1200 {
			t.Fatal(len(got), err)
		}
		if n := src.requests(); n > 1+1200/15+1 {
			t.Errorf("%d requests for the top", n)
		}
		before := src.requests()
		l.list(ctx, "100500")
		if n := src.requests() - before; n != 1 {
			t.Errorf("%d requests for a subject", n)
		}
	})
}

func walk(t *testing.T, l *lister, dir string) {
	t.Helper()
	all, err := l.list(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if _, err := l.lookup(t.Context(), e.Name); err != nil {
			t.Fatal(err)
		}
		if e.Dir {
			walk(t, l, e.Name)
		}
	}
}

func TestListerSeesChangesAfterTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newKeys(1000, "d/a", "d/b", "d/gone/x")
		l, seen := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		walk(t, l, "")
		src.set("d/a", "2")
		src.set("d/gone/x", "")
		src.set("d/new", "1")
		if e, err := l.lookup(t.Context(), "d/a"); err != nil || e.Version != "1" {
			t.Errorf("within the TTL: %+v, %v", e, err)
		}
		time.Sleep(61 * time.Second)
		if e, err := l.lookup(t.Context(), "d/a"); err != nil || e.Version != "2" {
			t.Errorf("after the TTL: %+v, %v", e, err)
		}
		if _, err := l.lookup(t.Context(), "d/gone"); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("removed directory: %v", err)
		}
		if _, err := l.lookup(t.Context(), "d/new"); err != nil {
			t.Errorf("new file: %v", err)
		}
		if n := src.requests(); n != 2 {
			t.Errorf("%d requests: %s", n, src.log)
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if want := []backends.Change{{Dir: "d", Names: []string{"d/a", "d/gone", "d/new"}}}; fmt.Sprint(seen.changes) != fmt.Sprint(want) {
			t.Errorf("changes %v, want %v", seen.changes, want)
		}
		var removed []string
		for _, e := range seen.removed {
			removed = append(removed, e.Name+"@"+e.Version)
		}
		slices.Sort(removed)
		if want := []string{"d/a@1", "d/gone/x@1"}; !slices.Equal(removed, want) {
			t.Errorf("removed %v, want %v", removed, want)
		}
	})
}

// Whoever listed a folder of 100,000 files had the kernel throw its copy of the listing away page by page, for each page was told as a change, and
// the second "ls" took as long as the first. What is new on a later page, when all is listed again, is a change.
func TestAFirstListingChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newKeys(100, numbered("d/%04d", 500)...)
		l, seen := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		list := func() {
			t.Helper()
			_, err := l.list(t.Context(), "d")
			check(t, err)
		}
		list()
		if len(seen.changes) != 0 {
			t.Errorf("a first listing changed %v", seen.changes)
		}
		src.set("d/0450a", "1")
		time.Sleep(61 * time.Second)
		list()
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if want := []backends.Change{{Dir: "d", Names: []string{"d/0450a"}}}; fmt.Sprint(seen.changes) != fmt.Sprint(want) {
			t.Errorf("changes %v, want %v", seen.changes, want)
		}
	})
}

func TestListerErrorsAreNoAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newKeys(1000, "d/a")
		src.err = fmt.Errorf("list: %w", backends.ErrUnreachable)
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		if _, err := l.lookup(t.Context(), "d"); !errors.Is(err, backends.ErrUnreachable) {
			t.Errorf("nothing known: %v", err)
		}
		src.err = nil
		walk(t, l, "")
		time.Sleep(2 * time.Minute)
		src.err = fmt.Errorf("list: %w", backends.ErrUnreachable)
		if _, err := l.lookup(t.Context(), "d/a"); err != nil {
			t.Errorf("offline, listed two minutes ago: %v", err)
		}
		if got, err := l.list(t.Context(), "d"); err != nil || len(got) != 1 {
			t.Errorf("offline, listed two minutes ago: %v, %v", got, err)
		}
		src.err = fmt.Errorf("list: %w", backends.ErrAuth)
		time.Sleep(time.Minute)
		if _, err := l.lookup(t.Context(), "d/a"); !errors.Is(err, backends.ErrAuth) {
			t.Errorf("refused keys: %v", err)
		}
		src.err = fmt.Errorf("list: %w", backends.ErrUnreachable)
		time.Sleep(25 * time.Hour)
		if _, err := l.lookup(t.Context(), "d/a"); !errors.Is(err, backends.ErrUnreachable) {
			t.Errorf("offline for a day: %v", err)
		}
	})
}

func TestListerAfterARestartAsksOnceInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "listing")
		src := newKeys(1000, manyKeys("sub-%02d/ses-1/func/run-1.nii", 100)...)
		l, _ := testLister(t, src, file, listerOptions{})
		walk(t, l, "")
		if err := l.close(t.Context()); err != nil {
			t.Fatal(err)
		}
		src.set("sub-00/ses-1/func/late.nii", "1")
		before := src.requests()
		l, seen := testLister(t, src, file, listerOptions{})
		defer l.close(t.Context())
		walk(t, l, "")
		time.Sleep(time.Second)
		if n := src.requests() - before; n != 1 {
			t.Errorf("%d requests: %s", n, src.log)
		}
		if _, err := l.lookup(t.Context(), "sub-00/ses-1/func/late.nii"); err != nil {
			t.Errorf("late file: %v", err)
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		if len(seen.changes) != 1 {
			t.Errorf("changes: %v", seen.changes)
		}
	})
}

func TestListerSharesOneRequestAndWaitersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newKeys(1000, "d/a")
		src.hold = make(chan struct{})
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(t.Context())
		ctx, leave := context.WithCancel(t.Context())
		errs := make(chan error, 11)
		go func() { _, err := l.list(ctx, "d"); errs <- err }()
		for range 10 {
			go func() { _, err := l.lookup(t.Context(), "d/a"); errs <- err }()
		}
		synctest.Wait()
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		close(src.hold)
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := src.requests(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestListerForgetsBeyondItsLimit(t *testing.T) {
	src := newKeys(50, manyKeys("d%03[1]d/f", 500)...)
	l, _ := testLister(t, src, "", listerOptions{maxEntries: 100})
	defer l.close(t.Context())
	walk(t, l, "")
	if n := l.entries(); n > 650 {
		t.Errorf("%d entries kept", n)
	}
}

func FuzzDecodeIndex(f *testing.F) {
	x := newIndex()
	src := newKeys(100, "a", "b/c", "d/e/f")
	p, _ := src.WalkPage(f.Context(), "", "")
	x.applyWalk("", p, time.Unix(1e9, 0), func(string, *dirInfo) bool { return false })
	for part := range encodeParts(x.snapshot(), 1) {
		f.Add(slices.Clone(part))
	}
	f.Add([]byte(listMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &indexReader{x: newIndex()}
		if !r.take(raw) {
			return
		}
		x := r.x
		for dir := range x.dirs {
			all, _, _ := x.children(dir)
			for _, e := range all.entries() {
				if !backends.ValidName(e.Name) && backends.ValidName(dir) {
					t.Errorf("name %q from a stored listing", e.Name)
				}
			}
		}
	})
}
