// Package backendtest holds every backend to the contract of package backends. A backend's own test calls [Run] with a way to fill
// it; whoever breaks a rule is told its name.
package backendtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"studyfs/backends"
)

// Harness is a backend under test, empty at first.
type Harness struct {
	Source backends.Source
	Put    func(key string, body []byte)
	Remove func(key string)
	// Odd tells that the store behind the backend takes keys that are no file names, and a key beside others below it.
	Odd bool
	// Writes tells that Source is a [backends.Writer] to be held to that contract too.
	Writes bool
	// Sizes are those of objects to write besides small ones: around the limits between which the source sends them in other ways.
	Sizes []int64
}

// T is what a check reports to: a [testing.T], or something that watches whether checks fail.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Context() context.Context
}

// Check is one rule.
type Check struct {
	Name string
	Run  func(t T, h Harness)
}

// Runner is the part of testing.T that runs checks as subtests.
type Runner[Sub T] interface {
	Run(name string, f func(t Sub)) bool
}

// Run runs every check as a subtest on a backend of its own.
func Run[Sub T](t Runner[Sub], open func(t Sub) Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t Sub) { c.Run(t, open(t)) })
	}
}

// Checks returns all rules. Those for writers pass where the harness does not speak of writes.
func Checks() []Check { return append(readChecks(), writeChecks()...) }

func readChecks() []Check {
	return []Check{
		{"an empty source lists nothing", emptySource},
		{"children come in name order, each once", nameOrder},
		{"a directory of nothing lists nothing", emptyDir},
		{"names of every kind come back as they went in", names},
		{"keys that are no file names are counted, not shown", hiddenKeys},
		{"a directory wins over a file of its name", dirWins},
		{"breaking off a listing is allowed", breakOff},
		{"stat tells files, directories and what is missing", stat},
		{"a range is exactly those bytes", ranges},
		{"a range beyond the object is an error", beyond},
		{"versions are pinned", pinned},
		{"a removed object cannot be read", removed},
		{"a new version differs from the old", versions},
		{"an ended context ends calls", cancelled},
		{"flat pages together are all files in key order", walkPages},
		{"a flat listing begins strictly after any key", walkAfter},
		{"pages of children together are the children", listPages},
		{"a listing of children begins strictly after any key", listAfter},
		{"a marker makes a directory, and is not shown in it", markers},
		{"counters only grow", counters},
	}
}

func traps() []string {
	return []string{"a-1", "a.txt", "a/b", "a/c/d", "a0", "b/x", "z"}
}

func fill(h Harness, keys ...string) {
	for _, k := range keys {
		h.Put(k, []byte("body of "+k))
	}
}

// list returns the names of dir's children, directories with "/" behind.
func list(t T, h Harness, dir string) (out []string) {
	t.Helper()
	for e, err := range h.Source.List(t.Context(), dir) {
		if err != nil {
			t.Errorf("list %q: %v", dir, err)
			return nil
		}
		out = append(out, shown(e))
	}
	return out
}

func shown(e backends.Entry) string {
	if e.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func equal(t T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func emptySource(t T, h Harness) {
	equal(t, "root", list(t, h, ""), nil)
	if e, err := h.Source.Stat(t.Context(), ""); err != nil || !e.Dir {
		t.Errorf("stat of the root: %+v, %v", e, err)
	}
}

func nameOrder(t T, h Harness) {
	fill(h, traps()...)
	equal(t, "root", list(t, h, ""), []string{"a/", "a-1", "a.txt", "a0", "b/", "z"})
	equal(t, "a", list(t, h, "a"), []string{"a/b", "a/c/"})
}

func emptyDir(t T, h Harness) {
	fill(h, "a/b")
	equal(t, "missing directory", list(t, h, "c"), nil)
	equal(t, "prefix of a name", list(t, h, "a/"[:1]), []string{"a/b"})
}

func names(t T, h Harness) {
	want := []string{
		"#hash", "&and;", "+plus", "50%", "a b", "a\\b", "e\u0301", strings.Repeat("n", 200), "q?mark", "tab\tinside", "~", "\u00e9", "日本",
	}
	slices.Sort(want)
	fill(h, want...)
	equal(t, "root", list(t, h, ""), want)
	for _, n := range want {
		e, err := h.Source.Stat(t.Context(), n)
		if err != nil || e.Name != n || e.Size != int64(len("body of "+n)) {
			t.Errorf("stat %q: %+v, %v", n, e, err)
			continue
		}
		if got, err := read(t.Context(), h, e, 0, e.Size); err != nil || string(got) != "body of "+n {
			t.Errorf("read %q: %q, %v", n, got, err)
		}
	}
}

func hiddenKeys(t T, h Harness) {
	if !h.Odd {
		return
	}
	fill(h, "ok", "a//b", "../up", "c/./d", strings.Repeat("n", 256))
	for _, n := range list(t, h, "") {
		if name := strings.TrimSuffix(n, "/"); !backends.ValidName(name) {
			t.Errorf("%q is shown", n)
		}
	}
	for e := range entries(t, h) {
		if !backends.ValidName(e.Name) {
			t.Errorf("%q is shown", e.Name)
		}
	}
	if r, ok := h.Source.(backends.Reporter); ok && r.Counts().HiddenKeys == 0 {
		t.Errorf("hidden keys are not counted")
	}
}

// entries yields a flat listing, if the source has one.
func entries(t T, h Harness) func(yield func(backends.Entry) bool) {
	return func(yield func(backends.Entry) bool) {
		p, ok := h.Source.(backends.Pager)
		if !ok {
			return
		}
		for after, more := "", true; more; {
			page, err := p.WalkPage(t.Context(), "", after)
			if err != nil {
				t.Errorf("walk: %v", err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e) {
					return
				}
			}
			after, more = page.Last, page.More
		}
	}
}

func dirWins(t T, h Harness) {
	if !h.Odd {
		return
	}
	fill(h, "a", "a/b")
	equal(t, "root", list(t, h, ""), []string{"a/"})
	if e, err := h.Source.Stat(t.Context(), "a"); err != nil || !e.Dir {
		t.Errorf("stat: %+v, %v", e, err)
	}
}

func breakOff(t T, h Harness) {
	fill(h, traps()...)
	for _, err := range h.Source.List(t.Context(), "") {
		if err != nil {
			t.Errorf("the first of a listing: %v", err)
		}
		break
	}
	equal(t, "afterwards", list(t, h, "a"), []string{"a/b", "a/c/"})
}

func stat(t T, h Harness) {
	fill(h, traps()...)
	for name, want := range map[string]string{"a.txt": "a.txt", "a": "a/", "a/c": "a/c/", "a/c/d": "a/c/d", "z": "z"} {
		if e, err := h.Source.Stat(t.Context(), name); err != nil || shown(e) != want {
			t.Errorf("stat %q: %+v, %v", name, e, err)
		}
	}
	for _, name := range []string{"a-", "a/c/d/e", "b/", "none", "a/x"} {
		if e, err := h.Source.Stat(t.Context(), name); !errors.Is(err, backends.ErrNotExist) {
			t.Errorf("stat %q: %+v, %v", name, e, err)
		}
	}
}

func read(ctx context.Context, h Harness, e backends.Entry, off, n int64) ([]byte, error) {
	r, err := h.Source.ReadRange(ctx, e, off, n)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

func ranges(t T, h Harness) {
	body := make([]byte, 300_000)
	for i := range body {
		body[i] = byte(i ^ i>>8)
	}
	h.Put("f", body)
	e, err := h.Source.Stat(t.Context(), "f")
	if err != nil || e.Size != int64(len(body)) {
		t.Errorf("stat: %+v, %v", e, err)
		return
	}
	for _, r := range [][2]int64{{0, 1}, {0, e.Size}, {e.Size - 1, 1}, {1, e.Size - 1}, {131_071, 2}, {200_000, 100_000}} {
		got, err := read(t.Context(), h, e, r[0], r[1])
		if err != nil || !bytes.Equal(got, body[r[0]:r[0]+r[1]]) {
			t.Errorf("range %d+%d: %d bytes, %v", r[0], r[1], len(got), err)
		}
	}
}

func beyond(t T, h Harness) {
	fill(h, "f")
	e, err := h.Source.Stat(t.Context(), "f")
	if err != nil {
		t.Errorf("stat: %v", err)
		return
	}
	for _, r := range [][2]int64{{0, e.Size + 1}, {e.Size, 1}, {-1, 1}, {0, 0}} {
		if got, err := read(t.Context(), h, e, r[0], r[1]); err == nil {
			t.Errorf("range %d+%d of %d: %q without an error", r[0], r[1], e.Size, got)
		}
	}
}

func pinned(t T, h Harness) {
	h.Put("f", []byte("one"))
	e, err := h.Source.Stat(t.Context(), "f")
	if err != nil {
		t.Errorf("stat: %v", err)
		return
	}
	h.Put("f", []byte("two"))
	if got, err := read(t.Context(), h, e, 0, 3); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("the old version after a replacement: %q, %v", got, err)
	}
}

func removed(t T, h Harness) {
	fill(h, "f")
	e, err := h.Source.Stat(t.Context(), "f")
	if err != nil {
		t.Errorf("stat: %v", err)
		return
	}
	h.Remove("f")
	if got, err := read(t.Context(), h, e, 0, 1); !errors.Is(err, backends.ErrNotExist) && !errors.Is(err, backends.ErrChanged) {
		t.Errorf("read: %q, %v", got, err)
	}
	if _, err := h.Source.Stat(t.Context(), "f"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
}

func versions(t T, h Harness) {
	seen := map[string]bool{}
	for i := range 3 {
		h.Put("f", fmt.Appendf(nil, "body %d", i))
		e, err := h.Source.Stat(t.Context(), "f")
		if err != nil || e.Version == "" || seen[e.Version] {
			t.Errorf("version %q, %v", e.Version, err)
		}
		seen[e.Version] = true
	}
}

func cancelled(t T, h Harness) {
	fill(h, "f")
	e, err := h.Source.Stat(t.Context(), "f")
	if err != nil {
		t.Errorf("stat: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read(ctx, h, e, 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	for _, err := range h.Source.List(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
		return
	}
	t.Errorf("list ended without an error")
}

func walkPages(t T, h Harness) {
	if _, ok := h.Source.(backends.Pager); !ok {
		return
	}
	fill(h, traps()...)
	var got []string
	for e := range entries(t, h) {
		if !e.Dir {
			got = append(got, e.Name)
		}
	}
	equal(t, "walk", got, traps())
}

func walkAfter(t T, h Harness) {
	p, ok := h.Source.(backends.Pager)
	if !ok {
		return
	}
	fill(h, traps()...)
	for after, want := range map[string]string{"": "a-1", "a-1": "a.txt", "a.": "a.txt", "a/": "a/b", "a/b": "a/c/d", "a/c/zz": "a0", "b": "b/x"} {
		page, err := p.WalkPage(t.Context(), "", after)
		if err != nil || len(page.Entries) == 0 || page.Entries[0].Name != want {
			t.Errorf("after %q: %+v, %v; want %q first", after, page, err, want)
		}
	}
}

func listPages(t T, h Harness) {
	p, ok := h.Source.(backends.Pager)
	if !ok {
		return
	}
	fill(h, traps()...)
	var got []string
	for after, more := "", true; more; {
		page, err := p.ListPage(t.Context(), "", after)
		if err != nil {
			t.Errorf("after %q: %v", after, err)
			return
		}
		for _, e := range page.Entries {
			got = append(got, shown(e))
		}
		after, more = page.Last, page.More
	}
	equal(t, "children", got, []string{"a-1", "a.txt", "a/", "a0", "b/", "z"})
}

func listAfter(t T, h Harness) {
	p, ok := h.Source.(backends.Pager)
	if !ok {
		return
	}
	fill(h, traps()...)
	for _, c := range []struct{ dir, after, first string }{
		{"", "", "a-1"},
		{"", "a.txt", "a/"},
		{"", "a/", "a0"},
		{"", "a", "a-1"},
		{"a", "", "a/b"},
		{"a", "a/", "a/b"},
		{"a", "a/b", "a/c/"},
		{"a/c", "a/", "a/c/d"},
		{"a/c", "a/c/", "a/c/d"},
		{"a", "a.txt", "a/b"},
	} {
		page, err := p.ListPage(t.Context(), c.dir, c.after)
		if err != nil || len(page.Entries) == 0 || shown(page.Entries[0]) != c.first {
			t.Errorf("children of %q after %q: %+v, %v; want %q first", c.dir, c.after, page, err, c.first)
		}
	}
}

func markers(t T, h Harness) {
	h.Put("d/", nil)
	h.Put("e/", nil)
	fill(h, "e/f")
	equal(t, "root", list(t, h, ""), []string{"d/", "e/"})
	equal(t, "empty directory", list(t, h, "d"), nil)
	equal(t, "directory", list(t, h, "e"), []string{"e/f"})
	if e, err := h.Source.Stat(t.Context(), "d"); err != nil || !e.Dir {
		t.Errorf("stat: %+v, %v", e, err)
	}
}

func counters(t T, h Harness) {
	r, ok := h.Source.(backends.Reporter)
	if !ok {
		return
	}
	fill(h, "f")
	before := r.Counts()
	e, err := h.Source.Stat(t.Context(), "f")
	if err == nil {
		_, err = read(t.Context(), h, e, 0, e.Size)
	}
	after := r.Counts()
	if err != nil || after.List+after.Head <= before.List+before.Head || after.Get != before.Get+1 || after.BytesIn < before.BytesIn+e.Size {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
	if r.Trouble() != nil {
		t.Errorf("trouble: %v", r.Trouble())
	}
}
