package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
	"studyfs/cache/stage/gate"
)

// keys are the objects at the target, markers included.
func (r *rig) keys() []string {
	r.t.Helper()
	page, err := r.src.WalkPage(r.t.Context(), "", "")
	r.must(err)
	var out []string
	for _, e := range page.Entries {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

func (r *rig) hasOnly(want ...string) {
	r.t.Helper()
	if got := r.keys(); !slices.Equal(got, want) {
		r.t.Errorf("the target holds %q, want %q", got, want)
	}
}

// again kills the process and starts it anew, with an uploader.
func (r *rig) again() {
	r.t.Helper()
	r.end()
	r.bench = r.crash()
	r.start(nil)
}

// A folder was copied from a Mac, and every other object of the bucket was a "._" of 4 KiB that nobody can use.
func TestJunkStaysHere(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(nil)
		junk := []string{"d/._a.csv", "d/.DS_Store", "Thumbs.db", "d/desktop.ini", "d/.~lock.a.csv#", ".fseventsd/0001"}
		for _, name := range junk {
			r.file(name, "junk")
		}
		r.file("d/a.csv", "data")
		r.settled()
		for _, when := range []string{"at once", "after a kill"} {
			r.hasOnly("d/a.csv")
			for _, name := range junk {
				if got := r.content(name); got != "junk" || r.state(name) != "local" {
					t.Errorf("%s: %s holds %q and is %s", when, name, got, r.state(name))
				}
			}
			if all, n := r.Items(), r.Totals(); len(all) != 0 || n.Left() != 0 || n.BytesLeft != 0 {
				t.Errorf("%s: people are told of %+v, %+v", when, all, n)
			}
			r.again()
			r.file("d/b.csv", "data") // what is real goes on
			r.settled()
			r.holds("d/b.csv", "data")
			r.must(r.src.Remove(t.Context(), r.entry("d/b.csv")))
		}
	})
}

// Programs write under one name and rename. What ends under a real name is data; what had one once is data for good, whatever it is called
// then: mv data.csv ._data.csv must not delete it a day later.
func TestJunkByRenaming(t *testing.T) {
	for _, tt := range []struct {
		name string
		path []string // the names that a file is given in turn
		want bool     // it is stored under the last one
	}{
		{"junk becomes data", []string{"._data.csv", "data.csv"}, true},
		{"temporary file of rsync for _data.csv", []string{"._data.csv.Ab12Cd", "_data.csv"}, true},
		{"temporary file of rsync for ._data.csv", []string{".._data.csv.Ab12Cd", "._data.csv"}, false},
		{"junk to junk", []string{".DS_Store", "._DS_Store"}, false},
		{"data hidden", []string{"data.csv", "._data.csv"}, true},
		{"there and back", []string{"._data.csv", "data.csv", "._data.csv"}, true},
		{"data by way of a temporary name", []string{"data.csv", ".data.csv.tmp", "._data.csv"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for at := range tt.path { // killed there; the last: after all
				inBubble(t, func(t *testing.T, r *rig) {
					r.file(tt.path[0], "data")
					for i, to := range tt.path[1:] {
						if i == at {
							r.again()
							r.end()
						}
						r.must(r.Rename(t.Context(), tt.path[i], to, backends.Entry{}, false))
					}
					r.again()
					r.settled()
					last := tt.path[len(tt.path)-1]
					if tt.want {
						r.hasOnly(last)
						r.holds(last, "data")
						return
					}
					r.hasOnly()
					if r.state(last) != "local" {
						t.Errorf("it is %s", r.state(last))
					}
				})
			}
		})
	}
}

// Renames that move more than what was named make no junk of data, nor does the replay of the journal.
func TestNothingBecomesJunkAlongTheWay(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.file("d/a.csv", "a")
		r.file("b.csv", "b")
		r.file(".DS_Store", "junk")
		r.must(r.Rename(t.Context(), "d", ".fseventsd", backends.Entry{}, false))
		r.must(r.Exchange(t.Context(), "b.csv", ".DS_Store"))
		r.again()
		r.settled()
		r.hasOnly(".DS_Store", ".fseventsd/a.csv", "b.csv")
		r.holds(".fseventsd/a.csv", "a")
		r.holds(".DS_Store", "b")
		r.holds("b.csv", "junk")
	})
}

// What the bucket has under such a name was put there by somebody: it is changed like any other file, and after its object was deleted, the
// bytes here may be the last.
func TestStoredJunkIsData(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.PutBytes("._a", []byte("old"))
		r.src.PutBytes("._b", []byte("bytes"))
		fill := func(text string) func(context.Context, io.WriterAt) error {
			return func(_ context.Context, w io.WriterAt) error {
				_, err := w.WriteAt([]byte(text), 0)
				return err
			}
		}
		n, err := r.Replace(t.Context(), r.entry("._a"), Attr{Mode: 0o644}, fill("old"), func(ID) {})
		r.must(err)
		f, err := r.OpenFile(t.Context(), n.ID, true)
		r.must(err)
		_, err = f.WriteAt([]byte("new"), 0)
		r.must(err)
		r.must(r.close(f))

		b := r.entry("._b") // as a rename to another name begins: fs deletes what is stored, and is killed
		n, err = r.Replace(t.Context(), b, Attr{Mode: 0o644}, fill("bytes"), func(ID) {})
		r.must(err)
		f, err = r.OpenFile(t.Context(), n.ID, true)
		r.must(err)
		_, err = r.SetAttr(n.ID, func(*Attr) {})
		r.must(err)
		r.must(f.Sync(t.Context()))
		r.must(r.Leaving(n.ID))
		r.must(r.src.Remove(t.Context(), b))
		r.must(r.Rebase(n.ID, backends.Entry{}))
		r.again()
		r.settled()
		r.holds("._a", "new")
		r.holds("._b", "bytes")

		r.end()
		r.file(".x.tmp", "newest") // an editor saves
		r.must(r.Rename(t.Context(), ".x.tmp", "._a", r.entry("._a"), false))
		r.again()
		r.settled()
		r.holds("._a", "newest")
	})
}

// A temporary file was stored while it was still open. Then it got its name, upon which fs deletes what is stored under the old one.
func TestStoredTemporaryFileIsData(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(nil)
		f := r.write(".x.tmp", "data")
		r.mu.Lock()
		f.it.express = true // as with durability remote
		r.enqueue(f.it)
		r.signal()
		r.mu.Unlock()
		synctest.Wait()
		r.hasOnly(".x.tmp")
		e := r.entry(".x.tmp")
		_, err := f.WriteAt([]byte("more"), 4)
		r.must(err)
		r.must(r.close(f))
		r.end()
		r.must(r.Leaving(f.ID()))
		r.must(r.src.Remove(t.Context(), e))
		r.must(r.Rebase(f.ID(), backends.Entry{}))
		r.must(r.Rename(t.Context(), ".x.tmp", "._x", backends.Entry{}, false))
		r.again()
		r.settled()
		r.hasOnly("._x")
		r.holds("._x", "datamore")
	})
}

// Data under such a name was on its way when it was removed, and landed. Junk that takes the name does not take its place at the target.
func TestJunkWhereAnUploadLanded(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.file("data.csv", "data")
		r.must(r.Rename(t.Context(), "data.csv", "._data.csv", backends.Entry{}, false))
		j := r.job()
		_, err := r.src.Put(t.Context(), backends.Upload{Name: j.Name, Size: j.Size, CRC64NVME: j.CRC64NVME}, j.Body())
		r.must(err)
		r.must(j.Release()) // its answer was lost
		r.must(r.Remove(t.Context(), "._data.csv"))
		r.file("._data.csv", "junk")
		r.start(nil)
		r.settled()
		r.hasOnly()
		if got := r.content("._data.csv"); got != "junk" {
			t.Errorf("here it holds %q", got)
		}
	})
}

// The disk lost the journal, and a label still has the name of junk that a file was written under: it is not given up for that.
func TestJunkOfALostJournalIsKept(t *testing.T) {
	b := newBench(t, nil)
	b.file("._data.csv.Ab12Cd", "data")
	b.must(b.Rename(t.Context(), "._data.csv.Ab12Cd", "data.csv", backends.Entry{}, false))
	b.must(b.Close())
	b.must(os.Remove(filepath.Join(b.dir, journalName)))
	b = openBench(t, b.dir, nil)
	j := b.job()
	if j.Name != "._data.csv.Ab12Cd" {
		t.Errorf("%s is handed out", j.Name)
	}
	b.must(j.Release())
}

// A file was on its way under its name when it got one of junk: what has landed is removed, so the bytes here are the last.
func TestWhatWasSentIsData(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.file(".part", "data") // a temporary name
		j := r.job()
		r.must(j.Release())
		r.must(r.Rename(t.Context(), ".part", "._data", backends.Entry{}, false))
		r.again()
		r.settled()
		r.hasOnly("._data")
	})
}

// Junk takes no room for ever, and is not taken from who has it open.
func TestJunkGoesAfterADay(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(nil)
		r.file("d/.DS_Store", "junk")
		_, err := r.Mkdir(".fseventsd", Attr{Mode: 0o755})
		r.must(err)
		r.file(".fseventsd/a/b", "junk")
		id := r.file("._read", "junk")
		reader, err := r.OpenFile(t.Context(), id, false)
		r.must(err)
		writer := r.write("._written", "junk")
		time.Sleep(23 * time.Hour)
		r.file("._later", "junk")
		synctest.Wait()
		for _, name := range []string{"d/.DS_Store", ".fseventsd", ".fseventsd/a/b", "._read"} {
			if r.state(name) != "local" {
				t.Errorf("%s is %s after 23 hours", name, r.state(name))
			}
		}
		time.Sleep(2 * time.Hour)
		for _, name := range []string{"d/.DS_Store", ".fseventsd", ".fseventsd/a/b"} {
			if r.state(name) != "gone" {
				t.Errorf("%s is %s after 25 hours", name, r.state(name))
			}
		}
		for _, name := range []string{"._read", "._written", "._later"} {
			if r.state(name) != "local" {
				t.Errorf("%s is %s", name, r.state(name))
			}
		}
		r.must(reader.Close())
		r.must(writer.Close())
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		r.mu.Lock()
		left, used := len(r.items), r.used
		r.mu.Unlock()
		if left != 0 || used != 0 {
			t.Errorf("%d items and %d bytes are left", left, used)
		}
		r.hasOnly()
	})
}

// A folder in which Finder has been is as empty as before: it is stored, renamed, replaced and removed as such.
func TestFolderOfJunkIsEmpty(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(nil)
		mkdir := func(name string) {
			_, err := r.Mkdir(name, Attr{Mode: 0o755})
			r.must(err)
			r.file(name+"/.DS_Store", name)
		}
		mkdir("stored")
		r.settled()
		r.hasOnly("stored")
		if _, ok := r.Lookup("stored"); ok {
			t.Error("junk keeps a stored folder on the stage")
		}
		r.end()
		mkdir("d")
		mkdir("over")
		if r.Holds("d") {
			t.Error("junk fills a folder")
		}
		r.must(r.Rename(t.Context(), "d", "over", backends.Entry{}, false))
		if got := r.content("over/.DS_Store"); got != "d" {
			t.Errorf("the junk of %q came along", got)
		}
		r.again()
		if err := r.Remove(t.Context(), "over"); err == nil || !errors.Is(err, ErrNotEmpty) {
			t.Errorf("removed with what is in it: %v", err)
		}
		r.must(r.DropJunk("over"))
		r.must(r.Remove(t.Context(), "over"))
		r.file("e/a", "data")
		r.file("e/._a", "junk")
		r.must(r.DropJunk("e")) // it has data
		if r.state("e/._a") != "local" {
			t.Error("junk was taken from a folder with data")
		}
		r.settled()
		r.hasOnly("e/a", "stored")
	})
}

// The rules that keep patients in judge what is to leave, and nothing else: a "._" was held back and waited for people.
func TestJunkIsNotJudged(t *testing.T) {
	for _, policy := range []gate.Policy{gate.Refuse, gate.Park} {
		ruledRig(t, policy, func(t *testing.T, r *rig) {
			r.start(nil)
			name := "._" + planted + ".edf"
			if err := r.close(r.write(name, "AppleDouble of "+planted)); err != nil {
				t.Error(err)
			}
			if _, err := r.Mkdir(".fseventsd", Attr{}); err != nil {
				t.Error(err)
			}
			r.must(r.close(r.write(".._x.Ab12Cd", planted)))
			r.must(r.Rename(t.Context(), ".._x.Ab12Cd", "._x", backends.Entry{}, false))
			r.settled()
			for _, name := range []string{name, "._x", ".fseventsd"} {
				if r.state(name) != "local" {
					t.Errorf("%s is %s", name, r.state(name))
				}
			}
			err := r.Rename(t.Context(), name, planted+".edf", backends.Entry{}, false) // that would leave
			if refused := errors.Is(err, ErrRefused); refused != (policy == gate.Refuse) {
				t.Errorf("renamed: %v", err)
			}
			r.rest()
			r.hasOnly()
			r.mustBeClean()
		})
	}
}

// Who backs a Mac up wants all of it.
func TestJunkIsUploadedWhereAskedFor(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{bench: openBench(t, dir, nil), src: mem.New(0), log: &lines{}, end: func() {}}
		r.src.SetNow(time.Now)
		r.file("._a", "junk")
		r.start(nil)
		r.settled()
		r.hasOnly()
		r.end()
		r.must(r.Close())
		r.bench = openBench(t, dir, func(o *Options) { o.UploadJunk = true })
		defer func() { r.end() }()
		r.file("._b", "junk")
		_, err := r.Mkdir(".Trash-1000", Attr{})
		r.must(err)
		r.start(nil)
		r.settled()
		r.hasOnly(".Trash-1000", "._a", "._b")
	})
}

// A trash would keep what people delete, at the source or here: file managers are told that there is none.
func TestNoTrash(t *testing.T) {
	b := newBench(t, nil)
	for _, name := range []string{".Trash", ".Trash-1000", ".Trashes"} {
		if _, err := b.Mkdir(name, Attr{}); !errors.Is(err, ErrTrash) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.Mkdir("disk/"+name, Attr{}); err != nil { // of a disk that was copied: data
			t.Errorf("disk/%s: %v", name, err)
		}
		b.file("disk/"+name+"/files/data.csv", "data")
	}
	if n := b.Totals(); n.Staged != 3 {
		t.Errorf("%+v", n)
	}
}

// Whoever closes junk with durability remote does not wait for what never comes.
func TestJunkIsNotWaitedFor(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Durability = Remote })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f := b.write("._a", "junk")
	b.must(f.Flush(ctx))
	b.must(f.Sync(ctx))
	b.must(f.Close())
	b.must(b.Wait(ctx, ""))
	b.nothingDue()
}

// Nobody is asked what becomes of junk that was open when the power failed.
func TestOpenJunkAfterACrash(t *testing.T) {
	b := newBench(t, nil)
	b.write("d/._a.swp", "of vim, for _a")
	b = b.crash()
	if got := b.content("d/._a.swp"); got != "of vim, for _a" {
		t.Errorf("it holds %q", got)
	}
	if all := b.Items(); len(all) != 0 {
		t.Errorf("people are told of %+v", all)
	}
	b.must(b.Rename(t.Context(), "d/._a.swp", "d/saved", backends.Entry{}, false))
	j := b.job()
	if body, err := io.ReadAll(io.NewSectionReader(j.Body(), 0, 100)); j.Name != "d/saved" || string(body) != "of vim, for _a" {
		t.Errorf("%s is handed out with %q, %v", j.Name, body, err)
	}
	b.must(j.Release())
}

// Items, folders and journals of any history agree on what is junk: the counts of what is real in a folder are those of its items.
func TestCountsOfJunk(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quiet = time.Hour })
	for i := range 6 {
		b.file(fmt.Sprintf("d/e/._%d", i), "junk")
		b.file(fmt.Sprintf("d/e/%d", i), "data")
	}
	for i := range 3 {
		b.must(b.Rename(t.Context(), fmt.Sprintf("d/e/._%d", i), fmt.Sprintf("d/f/%d", i), backends.Entry{}, false))
		b.must(b.Rename(t.Context(), fmt.Sprintf("d/e/%d", i), fmt.Sprintf("d/f/._%d", i), backends.Entry{}, false))
		b.must(b.Remove(t.Context(), fmt.Sprintf("d/e/%d", i+3)))
	}
	for range 2 {
		b.mu.Lock()
		for dir, want := range map[string]int{"": 6, "d": 6, "d/e": 0, "d/f": 6} {
			if got := b.names.folders[dir].real; got != want {
				t.Errorf("%q holds %d real items, want %d", dir, got, want)
			}
		}
		b.mu.Unlock()
		if _, ok := b.Lookup("d/e"); ok {
			t.Error("a folder is there because of junk")
		}
		if all := b.Children("d"); len(all) != 1 || !strings.HasSuffix(all[0].Name, "d/f") {
			t.Errorf("%+v", all)
		}
		b = b.crash()
	}
}
