package cache

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"studyfs/backends"
)

const person = "participant-4711"

// listed is a fakeSource that counts how often it is asked for a listing.
type listed struct {
	*fakeSource
	lists atomic.Int64
}

func (s *listed) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	s.lists.Add(1)
	return s.fakeSource.List(ctx, dir)
}

// findText looks for text in file names and in files below dir, in the forms in which it could hide.
func findText(t *testing.T, dir, text string) (where string) {
	t.Helper()
	forms := []string{text, hex.EncodeToString([]byte(text))}
	for shift := range 3 { // base64 of it depends on where it begins
		inner := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + text))
		forms = append(forms, inner[4:len(inner)-4])
	}
	check(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		raw := []byte(filepath.Base(path))
		if !info.IsDir() {
			more, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			raw = append(raw, more...)
		}
		for _, form := range forms {
			if bytes.Contains(raw, []byte(form)) {
				where = path
			}
		}
		return nil
	}))
	return where
}

// openListed opens a store and lists the participant's folder.
func openListed(t *testing.T, src *listed, dir string, seal *Seal) (*Store, func()) {
	t.Helper()
	ttl := func(string, time.Time) time.Duration { return time.Hour }
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{Seal: seal, TTL: ttl})
	all, err := s.List(t.Context(), person)
	check(t, err)
	if len(all) != 1 {
		t.Fatalf("%d entries", len(all))
	}
	return s, stop
}

// Whoever takes the disk of a laptop learns nothing of who took part; and the user waits for nothing anew unless the key has gone. Each
// row is a run of the program over what the one before left.
func TestAllIsSealedUnderOneKey(t *testing.T) {
	dir := t.TempDir()
	src := &listed{fakeSource: newFake()}
	e := src.put(person+"/eda.csv", 1, 300_000)
	key := func(k string) *Seal { return &Seal{Key: []byte(k)} }
	some := &Seal{Key: []byte("a"), Covers: func(string) bool { return true }, Label: "all"}
	for _, row := range []struct {
		name  string
		seal  *Seal
		state State
		clear bool // names can be found
	}{
		{"clear", nil, Remote, true},
		{"sealed from now on", key("a"), Remote, false},
		{"the same key", key("a"), Cached, false},
		{"another key", key("b"), Remote, false},
		{"another key again", key("a"), Remote, false},
		{"in clear from now on", nil, Remote, true},
		{"still", nil, Cached, true},
		{"blocks only", some, Remote, true},
		{"all", key("a"), Remote, false},
		{"blocks only, from all", some, Remote, true},
	} {
		lists, gets := src.lists.Load(), src.count()
		opened := New(Options{})
		s, err := opened.Open(t.Context(), src, SourceOptions{Dir: dir, Seal: row.seal})
		check(t, err)
		if got := s.State(e); got != row.state {
			t.Errorf("%s: %v", row.name, got)
		}
		if !row.clear && (findText(t, dir, person) != "" || findContent(t, dir, 1, e.Size) != "") {
			t.Errorf("%s: what lay in clear is still there when the store is open", row.name)
		}
		check(t, s.Close())
		s, stop := openListed(t, src, dir, row.seal)
		mustRead(t, s, e, 1, 0, e.Size)
		if n := s.Stats().Corrupt; n != 0 {
			t.Errorf("%s: %d blocks were read as if they were of this key", row.name, n)
		}
		stop()
		fresh := row.state == Cached
		if asked := src.count() - gets; fresh != (asked == 0) {
			t.Errorf("%s: %d reads", row.name, asked)
		}
		if asked := src.lists.Load() - lists; !fresh && !row.clear && asked == 0 {
			t.Errorf("%s: an old listing was believed", row.name)
		}
		if where := findText(t, dir, person); (where != "") != row.clear {
			t.Errorf("%s: the participant's name is found in %q", row.name, where)
		}
		if row.seal != nil {
			mustLackContent(t, dir, 1, e.Size)
		} else if findContent(t, dir, 1, e.Size) == "" {
			t.Errorf("%s: no plain bytes: this test looks in the wrong place", row.name)
		}
	}
}

// A source that keeps an index of its own, full of participants' names, as Beiwe's does, gets it back sealed.
func TestIndexIsSealed(t *testing.T) {
	dir := t.TempDir()
	src := newBundles(t)
	e := src.add("1/"+person, 1, 300_000)
	for _, seal := range []*Seal{nil, {Key: []byte("a")}} {
		src = src.again()
		_, stop := openList(t, src, dir, SourceOptions{Seal: seal})
		stop()
		if found := findText(t, dir, person) != ""; found != (seal == nil) {
			t.Errorf("sealed: %v; name found: %v", seal != nil, found)
		}
		src = src.again()
		s, stop := openList(t, src, dir, SourceOptions{Seal: seal})
		mustRead(t, s, e, 1, 0, e.Size)
		if len(src.asked()) != 0 {
			t.Errorf("sealed: %v; after a restart %q was fetched again", seal != nil, src.asked())
		}
		stop()
	}
}

// Somebody writes to the listing on disk: it is not believed, and the user sees the folder as it is.
func TestTamperedListingIsAMiss(t *testing.T) {
	dir := t.TempDir()
	src := &listed{fakeSource: newFake()}
	src.put(person+"/eda.csv", 1, 1000)
	seal := &Seal{Key: []byte("a")}
	_, stop := openListed(t, src, dir, seal)
	stop()
	before := src.lists.Load()
	flipAt(t, filepath.Join(dir, "listing"), 40)
	_, stop = openListed(t, src, dir, seal)
	stop()
	if src.lists.Load() == before {
		t.Error("a listing that was changed on disk is believed")
	}
}

// Two listings under one nonce would give away both: each writing has another one.
func TestListingsNeverShareANonce(t *testing.T) {
	c, err := newSealedCodec(make([]byte, 32))
	check(t, err)
	seen := map[string]bool{}
	for range 1000 {
		sealed := c.seal(nil, []byte("the same"))
		seen[string(sealed[:12])] = true
		if plain, err := c.open(nil, sealed); err != nil || string(plain) != "the same" {
			t.Fatal(err)
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d nonces for 1000 listings", len(seen))
	}
}

// The names of cache files tell nobody whose data lies there: even who knows the directory's own key and guesses the name finds no file.
func TestFileNamesNeedTheKey(t *testing.T) {
	dir := t.TempDir()
	src := &listed{fakeSource: newFake()}
	e := src.put(person+"/eda.csv", 1, 1000)
	s, stop := openListed(t, src, dir, &Seal{Key: []byte("a")})
	mustRead(t, s, e, 1, 0, e.Size)
	guess := home{dir: s.home.dir, names: &keyed{key: s.home.salt}}
	if s.home.block(s.idOf(e)) == guess.block(guess.id(e.Name, e.Version, true)) {
		t.Error("the name follows from what lies on the same disk")
	}
	if _, err := os.Stat(s.dataPath(s.idOf(e))); err != nil {
		t.Error(err)
	}
	stop()
}
