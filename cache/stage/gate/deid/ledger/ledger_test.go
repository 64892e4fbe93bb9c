package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/deid/survey"
)

const code = "c0ffee12"

func testSecret() []byte { return bytes.Repeat([]byte("s3cret"), 4) }

// inodes returns what lies below a directory: contents by names, and how often each file's contents occur, one file under two names once.
func inodes(t *testing.T, dir string) (names map[string]string, contents map[string]int) {
	t.Helper()
	names, contents = map[string]string{}, map[string]int{}
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		body, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		names[name] = string(body)
		if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			contents[string(body)]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, contents
}

// patient makes a folder as hospitals send it, and what is to be done with it.
func patient(t *testing.T) (dir string, p *Person, b Batch, after deid.History) {
	t.Helper()
	dir = t.TempDir()
	var files []deid.File
	for i, name := range []string{"Quillfeather/b.edf", "Quillfeather/x/a.edf", "Quillfeather/x/y/v.avi", "Quillfeather/x/y/w.avi", "Quillfeather/s.snc"} {
		write(t, filepath.Join(dir, name), fmt.Sprint("contents ", i/2)) // some files are the same
		kind, _ := deid.KindOf(name)
		files = append(files, deid.File{Name: name, Kind: kind, Start: time.Date(2019, 3, 10-i, 8, 0, 0, 0, time.UTC)})
	}
	write(t, filepath.Join(dir, "Quillfeather/letter.doc"), "a letter")
	plan, err := deid.Continue(code, files, deid.History{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = Batch{Parent: dir, Folders: []string{"Quillfeather"}, Moves: plan.Moves}
	for _, d := range []string{"Quillfeather", "Quillfeather/x", "Quillfeather/x/y"} {
		b.Dirs = append(b.Dirs, survey.Folder{Name: d, Mode: 0o755})
	}
	return dir, &Person{Name: "Quillfeather", Code: code}, b, plan.After
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, state string, o Options) *Ledger {
	t.Helper()
	l, err := Open(state, testSecret(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) // closed before, as a rule
	return l
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

var errCrash = errors.New("crash")

// crashAt fails the nth step and all after it.
func crashAt(n int) (before func() error, happened func() bool) {
	steps := 0
	return func() error {
		if steps++; steps > n {
			return errCrash
		}
		return nil
	}, func() bool { return steps > n }
}

// The machine crashes at any step of a renaming, and somebody calls deid again: each file is there, once, and under its new name, and undone all
// is as it was, likewise through a crash at any step.
func TestCrashAtEachStep(t *testing.T) {
	for _, links := range []bool{false, true} {
		for n := 0; ; n++ {
			dir, p, b, after := patient(t)
			old, contents := inodes(t, dir)
			state, root := t.TempDir(), openRoot(t, dir)
			before, happened := crashAt(n)
			crashed := open(t, state, Options{Before: before, links: links})
			if batch, err := crashed.Begin(p, b, after); err == nil {
				_, err = crashed.Carry(t.Context(), p, batch, root)
				if happened() != errors.Is(err, errCrash) {
					t.Fatal(n, err)
				}
			}
			if _, now := inodes(t, dir); !maps.Equal(now, contents) {
				t.Fatalf("crash at %d: %v", n, now)
			}
			crashed.Close()
			l := open(t, state, Options{links: links})
			if len(l.People) == 0 { // it was not written down: nothing was done
				if now, _ := inodes(t, dir); !maps.Equal(now, old) {
					t.Fatalf("crash at %d: %v", n, now)
				}
				fresh := &Person{Name: p.Name, Code: code}
				if _, err := l.Begin(fresh, b, after); err != nil {
					t.Fatal(err)
				}
			}
			if who, batch := l.Unfinished(dir); batch != nil {
				if r, err := l.Carry(t.Context(), who, batch, root); err != nil || r.Renamed != 5 || r.Gone > 0 || r.Taken != nil {
					t.Fatalf("crash at %d: %+v, %v", n, r, err)
				}
			}
			checkRenamed(t, dir, b, contents)
			l.Close()
			undoneWithCrash(t, state, dir, n, old)
			if !happened() {
				break
			}
		}
	}
}

func checkRenamed(t *testing.T, dir string, b Batch, contents map[string]int) {
	t.Helper()
	names, now := inodes(t, dir)
	if !maps.Equal(now, contents) || len(names) != 6 || names["Quillfeather/letter.doc"] == "" {
		t.Fatal(names)
	}
	for _, m := range b.Moves {
		if names[m.To] == "" {
			t.Fatalf("%s is missing: %v", m.To, names)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "Quillfeather/x")); err == nil {
		t.Fatal("an empty folder with the patient's name was left")
	}
}

func undoneWithCrash(t *testing.T, state, dir string, n int, old map[string]string) {
	t.Helper()
	root := openRoot(t, dir)
	before, happened := crashAt(n)
	l := open(t, state, Options{Before: before})
	p := l.Owner(code)
	_, err := l.Undo(t.Context(), p, p.Newest(), root)
	if happened() != errors.Is(err, errCrash) {
		t.Fatal(n, err)
	}
	l.Close()
	l = open(t, state, Options{})
	p = l.Owner(code)
	if b := p.Newest(); b != nil {
		if r, err := l.Undo(t.Context(), p, b, root); err != nil || r.Renamed != 5 {
			t.Fatalf("undo, crash at %d: %+v, %v", n, r, err)
		}
	}
	if now, _ := inodes(t, dir); !maps.Equal(now, old) {
		t.Fatalf("undo, crash at %d: %v", n, now)
	}
	if left, err := filepath.Glob(filepath.Join(dir, code+"*")); err != nil || left != nil || p.History.Counts != nil {
		t.Fatal(left, err, p.History)
	}
	l.Close()
}

// While files are renamed somebody puts others under their new names, deletes one, and makes a link of a folder to be. None is overwritten.
func TestOthersAtWork(t *testing.T) {
	dir, p, b, after := patient(t)
	l := open(t, t.TempDir(), Options{})
	batch, err := l.Begin(p, b, after)
	if err != nil {
		t.Fatal(err)
	}
	taken, gone := b.Moves[0], b.Moves[1]
	write(t, filepath.Join(dir, taken.To), "somebody else's")
	if err := os.Remove(filepath.Join(dir, gone.From)); err != nil {
		t.Fatal(err)
	}
	r, err := l.Carry(t.Context(), p, batch, openRoot(t, dir))
	if err != nil || r.Renamed != 3 || r.Gone != 1 || !slices.Equal(r.Taken, []deid.Move{taken}) {
		t.Errorf("%+v, %v", r, err)
	}
	names, _ := inodes(t, dir)
	if names[taken.To] != "somebody else's" || names[taken.From] == "" {
		t.Error(names)
	}

	dir, p, b, after = patient(t)
	p.Code = "deadbeef" // another patient; names stay
	elsewhere := t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, code)); err != nil {
		t.Fatal(err)
	}
	if batch, err = l.Begin(p, b, after); err != nil {
		t.Fatal(err)
	}
	_, err = l.Carry(t.Context(), p, batch, openRoot(t, dir))
	if err == nil || strings.Contains(err.Error(), "Quill") {
		t.Error(err)
	}
	if got, _ := inodes(t, elsewhere); len(got) > 0 {
		t.Error("a link led out of the folder", got)
	}
}

// Somebody steals the disk, or runs deid twice at once.
func TestLedgerIsClosedToOthers(t *testing.T) {
	_, p, b, after := patient(t)
	b.Folders = append(b.Folders, "Quillf\xe4ther") // not UTF-8
	state := filepath.Join(t.TempDir(), "a", "b")
	l := open(t, state, Options{})
	if Exists(state) {
		t.Error("there is a ledger before anything was written down")
	}
	if _, err := l.Begin(p, b, after); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(state, testSecret(), Options{}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := l.Begin(&Person{Name: "Other", Code: code}, b, after); err == nil {
		t.Error("two patients have one code")
	}
	l.Close()
	if _, err := Open(state, append(testSecret(), 'x'), Options{}); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
	if _, err := Open(state, []byte("short"), Options{}); !errors.Is(err, deid.ErrSecret) {
		t.Error(err)
	}
	entries, err := os.ReadDir(state)
	if err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(state, e.Name()))
		if err != nil || bytes.Contains(text, []byte("Quill")) || bytes.Contains(text, []byte(code)) {
			t.Error(e.Name(), err)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info.Mode(), err)
		}
	}
	text, _ := os.ReadFile(filepath.Join(state, fileName))
	text[len(text)/2] ^= 1
	os.WriteFile(filepath.Join(state, fileName), text, 0o600)
	if _, err := Open(state, testSecret(), Options{}); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
	text[len(text)/2] ^= 1
	os.WriteFile(filepath.Join(state, fileName), text, 0o600)
	again := open(t, state, Options{}).Owner(code)
	if !again.Known("quillfeather") || !again.Known("Quillf\xe4ther") || again.Known("Quill") || len(again.Batches[0].Moves) != 5 {
		t.Errorf("%+v", again)
	}
}
