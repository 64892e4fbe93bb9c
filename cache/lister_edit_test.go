package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// slowKeys is a keyStore in which things happen while a request is on its way, and while its answer is.
type slowKeys struct {
	*keyStore
	before, after func()
}

func (s *slowKeys) around(ask func() (backends.Page, error)) (backends.Page, error) {
	if s.before != nil {
		s.before()
	}
	p, err := ask()
	if s.after != nil {
		s.after()
	}
	return p, err
}

func (s *slowKeys) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.around(func() (backends.Page, error) { return s.keyStore.WalkPage(ctx, dir, after) })
}

func (s *slowKeys) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.around(func() (backends.Page, error) { return s.keyStore.ListPage(ctx, dir, after) })
}

func keyEntry(key, version string) backends.Entry {
	name, isDir := strings.CutSuffix(key, "/")
	if isDir {
		return backends.Entry{Name: name, Dir: true}
	}
	return backends.Entry{Name: name, Size: int64(len(key)), Version: version, ModTime: time.Unix(1e9, 0).UTC()}
}

// What is put and deleted from here is what is shown, whenever it happens: before a listing, between its pages, while one is
// on its way back with older news, after others changed what lies beside it.
func TestListerShowsWhatWasPutAndDeletedHere(t *testing.T) {
	parts := []string{"a", "b", "a-1", "a.txt", "a0", "é"}
	rapid.Check(t, func(t *rapid.T) {
		src := &slowKeys{keyStore: newKeys(rapid.IntRange(1, 5).Draw(t, "page"))}
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) // rapid's own may not be drawn from by the lister's goroutines
		anyKey := func() string {
			key := parts[rnd.IntN(len(parts))]
			for range rnd.IntN(3) {
				key += "/" + parts[rnd.IntN(len(parts))]
			}
			if rnd.IntN(6) == 0 {
				key += "/"
			}
			return key
		}
		for range rapid.IntRange(0, 12).Draw(t, "keys") {
			if key := anyKey(); src.fits(key) {
				src.set(key, "1")
			}
		}
		l, _ := testLister(t, src, "", listerOptions{})
		defer l.close(context.Background())
		edit := func() {
			for range rnd.IntN(3) {
				key := anyKey()
				if !src.fits(key) || l.inTheWay(key) {
					continue
				}
				empty := !strings.HasSuffix(key, "/") || src.version(key) != "" && len(src.truth(key[:len(key)-1])) == 0
				if !empty || rnd.IntN(3) > 0 {
					src.set(key, "2")
					l.put(keyEntry(key, "2"))
				} else {
					src.set(key, "")
					l.gone(strings.TrimSuffix(key, "/"))
				}
			}
		}
		src.before, src.after = edit, edit
		dirs := []string{""}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				edit()
			case 1: // somebody else does something, and it is time to look again
				if key := anyKey(); src.fits(key) {
					src.set(key, []string{"", "3"}[rnd.IntN(2)])
				}
				for dir := range l.index.dirs {
					l.expire(dir)
				}
			default:
				dir := rapid.SampledFrom(dirs).Draw(t, "dir")
				got, err := l.list(context.Background(), dir)
				if err != nil {
					t.Fatalf("list %q: %v (keys %v)\nlog %s", dir, err, src.keys, src.log)
				}
				agree(t, src.keyStore, dir, got)
				for _, e := range got {
					if e.Dir && !slices.Contains(dirs, e.Name) {
						dirs = append(dirs, e.Name)
					}
					now, err := l.lookup(context.Background(), e.Name)
					if err != nil && !errors.Is(err, backends.ErrNotExist) || err == nil && !now.Dir && src.version(now.Name) != now.Version {
						t.Fatalf("lookup %q: %+v, %v; keys %v", e.Name, now, err, src.keys)
					}
				}
			}
		}
	})
}

// fits reports whether a key can be put beside the others on a file system: no name is a file and a directory.
func (s *keyStore) fits(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.keys {
		if k != key && (strings.HasPrefix(k, strings.TrimSuffix(key, "/")+"/") && !strings.HasSuffix(key, "/") ||
			!strings.HasSuffix(k, "/") && strings.HasPrefix(key, k+"/")) {
			return false
		}
	}
	return true
}

// inTheWay reports whether a file system that shows this listing would refuse to make key: it has a directory there, or
// a file above it.
func (l *lister) inTheWay(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	has := func(name, suffix string) bool {
		dir, base := backends.Split(name)
		d := l.index.dirs[dir]
		if d == nil {
			return false
		}
		_, ok := d.search(base + suffix)
		return ok
	}
	name, isDir := strings.CutSuffix(key, "/")
	if !isDir && has(name, "/") || isDir && has(name, "") {
		return true
	}
	for dir, _ := backends.Split(name); dir != ""; dir, _ = backends.Split(dir) {
		if has(dir, "") {
			return true
		}
	}
	return false
}

func (s *keyStore) version(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[key]
}

// agree compares a listing with the keys. Directories may be left that are empty now.
func agree(t *rapid.T, src *keyStore, dir string, got []backends.Entry) {
	want := src.truth(dir)
	have := names(got)
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Fatalf("list %q lacks %q: %q (keys %v)\nlog %s", dir, name, have, src.keys, src.log)
		}
	}
	for _, e := range got {
		if !e.Dir && (src.version(e.Name) != e.Version) {
			t.Fatalf("list %q has %+v (keys %v)\nlog %s", dir, e, src.keys, src.log)
		}
		if e.Dir && !slices.Contains(want, strings.TrimPrefix(e.Name, prefixOf(dir))+"/") && len(src.truth(e.Name)) > 0 {
			t.Fatalf("list %q has %+v", dir, e)
		}
	}
}

// A lab uploads 1,000 files into a new directory and works with them: nothing of that needs a listing.
func TestListerPutCostsNoRequest(t *testing.T) {
	src := newKeys(1000, "old/x")
	l, seen := testLister(t, src, "", listerOptions{})
	defer l.close(t.Context())
	l.list(t.Context(), "")
	before := src.requests()
	for _, key := range manyKeys("new/sub-%04d/anat/T1w.nii", 1000) {
		l.put(keyEntry(key, "1"))
	}
	l.put(keyEntry("new/empty/", ""))
	if got, err := l.list(t.Context(), "new"); err != nil || len(got) != 1001 {
		t.Errorf("%d, %v", len(got), err)
	}
	if got, err := l.list(t.Context(), "new/empty"); err != nil || len(got) != 0 {
		t.Errorf("%d, %v", len(got), err)
	}
	walk(t, l, "new")
	l.gone("new/sub-0007/anat/T1w.nii")
	l.gone("new/empty")
	for _, name := range []string{"new/sub-0007/anat/T1w.nii", "new/empty", "new/sub-0008/anat/T2w.nii"} {
		if _, err := l.lookup(t.Context(), name); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := src.requests() - before; n != 0 {
		t.Errorf("%d requests: %s", n, src.log)
	}
	if len(seen.changes) != 0 || len(seen.removed) != 1 {
		t.Errorf("told %v, removed %v", seen.changes, seen.removed)
	}
}

// Into a directory that nobody has listed yet, put files are found without a request, the others with one.
func TestListerPutIntoTheUnknown(t *testing.T) {
	src := newKeys(1000, "d/b")
	l, _ := testLister(t, src, "", listerOptions{})
	defer l.close(t.Context())
	src.set("d/a", "1")
	l.put(keyEntry("d/a", "1"))
	for _, name := range []string{"d", "d/a"} {
		if _, err := l.lookup(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if n := src.requests(); n != 0 {
		t.Errorf("%d requests", n)
	}
	if got, err := l.list(t.Context(), "d"); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// The service lists what was uploaded with its own idea of when; nobody's open file is outdated by that.
func TestListerKeepsTheTimeOfAnUpload(t *testing.T) {
	for _, tt := range []struct {
		name    string
		off     time.Duration
		version string
		changes int
	}{
		{"rounded", 700 * time.Millisecond, "1", 0},
		{"when its first part came, hours before", -5 * time.Hour, "1", 0},
		{"replaced by the same bytes an hour later", time.Hour, "1", 1},
		{"replaced by others", time.Second, "2", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "listing")
				src := newKeys(1000, "d/b")
				l, _ := testLister(t, src, file, listerOptions{})
				l.list(t.Context(), "d")
				e := keyEntry("d/a", "1")
				e.ModTime = e.ModTime.Add(-tt.off)
				src.set("d/a", tt.version)
				l.put(e)
				if err := l.close(t.Context()); err != nil {
					t.Fatal(err)
				}
				l, seen := testLister(t, src, file, listerOptions{}) // after a restart too
				defer l.close(t.Context())
				l.expire("d")
				got, err := l.lookup(t.Context(), "d/a")
				if err != nil || (got == e) != (tt.changes == 0) {
					t.Errorf("%+v, %v; put %+v", got, err, e)
				}
				if len(seen.changes) != tt.changes {
					t.Errorf("changes %v", seen.changes)
				}
			})
		})
	}
}

// The machine loses power just after an upload: the listing that a minute ago was saved without it must not hide it at the next start.
func TestListerPutAndThenKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "listing")
	src := newKeys(1000, "d/b")
	l, _ := testLister(t, src, file, listerOptions{})
	l.list(t.Context(), "d")
	if err := l.save(); err != nil {
		t.Fatal(err)
	}
	src.set("d/a", "1")
	l.put(keyEntry("d/a", "1"))
	killed, _ := testLister(t, src, file, listerOptions{}) // what the next process would see
	if _, err := killed.lookup(t.Context(), "d/a"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(killed.close(t.Context()), l.close(t.Context())); err != nil {
		t.Error(err)
	}
}
