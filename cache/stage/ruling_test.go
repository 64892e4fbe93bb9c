package stage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
	"studyfs/cache/stage/gate"
	"studyfs/cache/stage/gate/edf/edftest"
)

// planted is the name that must not get out. Nobody is called so.
const planted = "Quillfeather"

func someRules(t testing.TB, policy gate.Policy) *gate.Rules {
	t.Helper()
	var list bytes.Buffer
	if _, err := gate.WriteDenylist(&list, strings.NewReader(planted+"\n"), []byte("secret"), rand.NewChaCha8([32]byte{1})); err != nil {
		t.Fatal(err)
	}
	words, err := gate.ReadDenylist(&list, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	return &gate.Rules{Policy: policy, Words: words, Secret: []byte("shifts dates")}
}

// recording is one that may go out, or, with dirty, one that tells a name in each of the four places.
func recording(dirty bool) string {
	f := edftest.File{Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate X X X X", Date: "01.01.85", Lists: []string{edftest.List(0, "awake")}}
	if dirty {
		f.Patient, f.Recording, f.Date = "MRN M 02-MAY-1951 "+planted, "Startdate 04-MAR-2019 "+planted+" X X", "04.03.19"
		f.Lists, f.Transducer = []string{edftest.List(0, "talks to "+planted)}, "grid of "+planted
	}
	return string(f.Bytes())
}

// ruledRig is a rig whose stage has rules.
func ruledRig(t *testing.T, policy gate.Policy, test func(t *testing.T, r *rig)) {
	t.Helper()
	dir, rules := t.TempDir(), someRules(t, policy)
	synctest.Test(t, func(t *testing.T) {
		r := &rig{src: mem.New(0), log: &lines{}, end: func() {}}
		r.reopen(t, dir, rules)
		r.src.SetNow(time.Now)
		defer func() { r.end() }()
		test(t, r)
	})
}

func (r *rig) reopen(t *testing.T, dir string, rules *gate.Rules) {
	t.Helper()
	r.end()
	if r.bench != nil {
		r.must(r.Close())
	}
	r.bench = openBench(t, dir, func(o *Options) { o.Rules = rules })
}

// close ends writing to a file as a program does, and returns what close(2) says.
func (b *bench) close(f *File) error {
	b.t.Helper()
	err := f.Flush(b.t.Context())
	b.must(f.Close())
	return err
}

// edit gives the good file other bytes, in place.
func (b *bench) edit(text string) error {
	b.t.Helper()
	n, ok := b.Lookup(good)
	if !ok {
		b.t.Fatal("it is not staged")
	}
	f, err := b.OpenFile(b.t.Context(), n.ID, true)
	b.must(err)
	b.must(f.Truncate(0))
	_, err = f.WriteAt([]byte(text), 0)
	b.must(err)
	return b.close(f)
}

func (b *bench) state(name string) string {
	n, ok := b.Lookup(name)
	if !ok {
		return "gone"
	}
	return n.State.String()
}

// rest lets the uploader do all that it will do by itself.
func (r *rig) rest() {
	r.t.Helper()
	if err := r.Wait(r.t.Context(), ""); err != nil && !errors.Is(err, ErrUnfinished) {
		r.t.Fatal(err)
	}
	time.Sleep(time.Hour)
	synctest.Wait()
}

// mustBeClean looks through all that the target has.
func (r *rig) mustBeClean() {
	r.t.Helper()
	for _, o := range r.src.Log() {
		if strings.Contains(fmt.Sprintf("%+v", o), planted) {
			r.t.Errorf("a request tells the name: %+v", o)
		}
	}
	page, err := r.src.WalkPage(r.t.Context(), "", "")
	r.must(err)
	for _, e := range page.Entries {
		b, _ := r.src.Bytes(e.Name)
		now, _ := r.src.Examine(r.t.Context(), e.Name)
		if strings.Contains(e.Name+string(b)+fmt.Sprint(now.Meta), planted) {
			r.t.Errorf("%s tells the name", e.Name)
		}
	}
	if n := r.log.count(planted); n > 0 {
		r.t.Errorf("the log tells the name %d times", n)
	}
}

const (
	good  = "c0ffee12/c0ffee12_1.edf"
	other = "c0ffee12/c0ffee12_2.edf"
)

// What becomes of a file by policy and by the way it comes. A surname that is in a bucket cannot be taken back.
func TestRulesHoldWhateverWayAFileComes(t *testing.T) {
	dirty, clean := recording(true), recording(false)
	ways := []struct {
		name string
		do   func(t *testing.T, r *rig, again func(*gate.Rules)) (at string, err error)
	}{
		{"close", func(_ *testing.T, r *rig, _ func(*gate.Rules)) (string, error) {
			return good, r.close(r.write(good, dirty))
		}},
		{"rename into place", func(t *testing.T, r *rig, _ func(*gate.Rules)) (string, error) {
			temp := "c0ffee12/.c0ffee12_1.edf.aB3xYz"
			r.must(r.close(r.write(temp, dirty)))
			r.rest()
			if got := r.state(temp); got != "parked" {
				t.Errorf("before it has its name it is %s", got)
			}
			err := r.Rename(t.Context(), temp, good, backends.Entry{}, false)
			if err != nil {
				return temp, err
			}
			return good, nil
		}},
		{"change what is clean", func(_ *testing.T, r *rig, _ func(*gate.Rules)) (string, error) {
			r.must(r.close(r.write(good, clean)))
			return good, r.edit(dirty)
		}},
		{"write after close", func(_ *testing.T, r *rig, _ func(*gate.Rules)) (string, error) {
			f := r.write(good, clean)
			r.must(f.Flush(r.t.Context()))
			_, err := f.WriteAt([]byte(dirty), 0) // through a mapping, or another descriptor
			r.must(err)
			r.must(f.Close())
			return good, nil
		}},
		{"restart before it was judged", func(_ *testing.T, r *rig, again func(*gate.Rules)) (string, error) {
			f := r.write(good, dirty)
			r.must(f.Sync(r.t.Context()))
			r.must(f.Close())
			again(r.o.Rules)
			return good, nil
		}},
		{"restart without rules, then with them", func(_ *testing.T, r *rig, again func(*gate.Rules)) (string, error) {
			f, rules := r.write(good, dirty), r.o.Rules
			r.must(f.Sync(r.t.Context()))
			r.must(f.Close())
			again(nil)
			r.start(nil)
			r.rest()
			if r.state(good) != "parked" || len(r.src.Log()) > 0 {
				r.t.Errorf("without rules it is %s", r.state(good))
			}
			again(rules)
			return good, nil
		}},
		{"retry", func(_ *testing.T, r *rig, _ func(*gate.Rules)) (string, error) {
			err := r.close(r.write(good, dirty))
			if n, _ := r.Lookup(good); n.State == Parked {
				r.must(r.Retry(n.ID))
			}
			return good, err
		}},
	}
	for _, policy := range []gate.Policy{gate.Refuse, gate.Park, gate.Scrub} {
		for _, way := range ways {
			t.Run(policy.String()+"/"+way.name, func(t *testing.T) {
				ruledRig(t, policy, func(t *testing.T, r *rig) {
					at, err := way.do(t, r, func(rules *gate.Rules) { r.reopen(t, r.dir, rules) })
					if tells := policy == gate.Refuse && !strings.Contains(way.name, "restart") && way.name != "write after close"; errors.Is(err, ErrRefused) != tells {
						t.Errorf("the program is told %v", err)
					}
					r.start(nil)
					r.rest()
					r.mustBeClean()
					if policy == gate.Scrub {
						if b, ok := r.src.Bytes(good); !ok || len(b) != len(dirty) || r.state(good) != "gone" {
							t.Errorf("it is %s, and %d bytes are stored", r.state(good), len(b))
						}
						return
					}
					n, _ := r.Lookup(at)
					if n.State != Parked || n.Err == "" || len(n.Warnings) == 0 && at == good || r.content(at) != dirty {
						t.Errorf("%s: %+v", at, n)
					}
					if at != good {
						return
					}
					r.must(r.edit(clean)) // as EDFbrowser corrects a header
					r.settled()
					r.holds(good, clean)
				})
			})
		}
	}
}

// Whoever only wants to be warned is, and everything goes out as it is.
func TestWarnLetsEverythingPass(t *testing.T) {
	ruledRig(t, gate.Warn, func(t *testing.T, r *rig) {
		r.start(nil)
		r.must(r.close(r.write(good, recording(true))))
		n, _ := r.Lookup(good)
		r.settled()
		r.holds(good, recording(true))
		if len(n.Warnings) == 0 && len(r.Warned(time.Time{})[good]) == 0 {
			t.Error("nobody is warned")
		}
	})
}

// A folder, a link, a stray document: names are judged like bytes.
func TestNamesAreJudged(t *testing.T) {
	type try struct {
		what string
		do   func(r *rig) error
		at   string
	}
	tries := []try{
		{"folder", func(r *rig) error { _, err := r.Mkdir("J_"+planted, Attr{}); return err }, "J_" + planted},
		{"link", func(r *rig) error {
			_, err := r.Symlink(planted+".edf", "c0ffee12_1.edf", Attr{}, backends.Entry{})
			return err
		}, planted + ".edf"},
		{"where a link leads", func(r *rig) error {
			_, err := r.Symlink("c0ffee12_1.edf", "../"+planted+"/x.edf", Attr{}, backends.Entry{})
			return err
		}, "c0ffee12_1.edf"},
		{"stray document", func(r *rig) error { return r.close(r.write("c0ffee12/c0ffee12_1.doc", "letter")) }, "c0ffee12/c0ffee12_1.doc"},
		{"file in a folder of a name", func(r *rig) error { return r.close(r.write(planted+"/c0ffee12_1.edf", recording(false))) }, planted + "/c0ffee12_1.edf"},
	}
	for _, policy := range []gate.Policy{gate.Refuse, gate.Park, gate.Scrub} {
		for _, c := range tries {
			t.Run(policy.String()+"/"+c.what, func(t *testing.T) {
				ruledRig(t, policy, func(t *testing.T, r *rig) {
					r.start(nil)
					if err := c.do(r); errors.Is(err, ErrRefused) != (policy != gate.Park) {
						t.Errorf("the program is told %v", err)
					}
					r.rest()
					r.mustBeClean()
					if got := r.state(c.at); policy == gate.Park && got != "parked" {
						t.Errorf("it is %s", got)
					}
				})
			})
		}
	}
}

// Renaming must not be a way around: neither of files, nor of the directory that they lie in, nor of two for each other, nor of what is stored.
func TestRenamingIsNoWayAround(t *testing.T) {
	ruledRig(t, gate.Refuse, func(t *testing.T, r *rig) {
		r.start(nil)
		r.Pause("by hand")
		r.must(r.close(r.write(good, recording(false))))
		r.must(r.close(r.write(other, recording(false))))
		for _, to := range []string{planted + ".edf", "c0ffee12/c0ffee12_1.doc"} {
			if err := r.Rename(t.Context(), good, to, backends.Entry{}, false); !errors.Is(err, ErrRefused) || r.state(good) != "staged" {
				t.Errorf("%v; it is %s", err, r.state(good))
			}
		}
		if err := r.Rename(t.Context(), "c0ffee12", planted, backends.Entry{}, false); !errors.Is(err, ErrRefused) {
			t.Errorf("directory: %v", err)
		}
		if err := r.MayRename("deadbeef/deadbeef_1.edf", planted+".edf", Regular); !errors.Is(err, ErrRefused) {
			t.Errorf("stored file: %v", err)
		}
		if err := r.MayRename("deadbeef/deadbeef_1.edf", "deadbeef/deadbeef_2.edf", Regular); err != nil {
			t.Errorf("stored file: %v", err)
		}
		r.must(r.Rename(t.Context(), good, "c0ffee12/c0ffee12_1.edf~", backends.Entry{}, false)) // as an editor keeps the old version
		r.must(r.Rename(t.Context(), other, good, backends.Entry{}, false))
		r.must(r.Rename(t.Context(), "c0ffee12", "deadbeef", backends.Entry{}, false)) // then the files in it are another subject's
		r.Resume()
		r.rest()
		if len(r.src.Log()) > 0 || r.state("deadbeef/c0ffee12_1.edf") != "parked" || r.state("deadbeef/c0ffee12_1.edf~") != "parked" {
			t.Errorf("%v, %s", r.src.Log(), r.state("deadbeef/c0ffee12_1.edf"))
		}
		r.must(r.Rename(t.Context(), "deadbeef", "c0ffee12", backends.Entry{}, false))
		r.rest()
		r.holds(good, recording(false))
	})
}

// A conflict is no way around, either: neither for the version here, nor beside the other.
func TestResolvingIsNoWayAround(t *testing.T) {
	for _, how := range []Resolution{Mine, Both} {
		ruledRig(t, gate.Refuse, func(t *testing.T, r *rig) {
			r.src.PutBytes(good, []byte("somebody else's"))
			r.start(nil)
			r.must(r.close(r.write(good, recording(false))))
			r.rest()
			if got := r.state(good); got != "conflict" {
				t.Fatalf("it is %s", got)
			}
			if err := r.edit(recording(true)); !errors.Is(err, ErrRefused) {
				t.Errorf("the program is told %v", err)
			}
			n, _ := r.Lookup(good)
			r.must(r.Resolve(n.ID, how, r.entry(good)))
			r.rest()
			r.holds(good, "somebody else's")
			if left := r.Items(); len(left) != 1 || left[0].State != Parked {
				t.Errorf("%+v", left)
			}
		})
	}
}

// Names that programs give for a while, and names that are meant.
func TestTemporaryNames(t *testing.T) {
	for name, want := range map[string]bool{
		".c0ffee12_1.edf.aB3xYz": true, "c0ffee12/.c0ffee12.csv.swp": true, "4913": true, "c0ffee12.csv~": true, "#c0ffee12.csv#": true, "c0ffee12.edf.part": true,
		"c0ffee12.EDF.TMP": true, "sedaB3xYz": true, "tmpab12cd34": true, "tmp.aB3xYz1234": true, ".~tmp~/c0ffee12_1.edf": true, "~$c0ffee12.docx": true,
		"c0ffee12_1.edf": false, "c0ffee12/c0ffee12_3_0012.avi": false, "seder.edf": false, "c0ffee12.swf": false, "tmp": false, "part": false, "": false,
	} {
		if isTemporary(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// With close that waits for the target: a file that may not go is told of at once, and one that waits for its name keeps nobody waiting.
func TestRemoteDurabilityWithRules(t *testing.T) {
	ruledRig(t, gate.Refuse, func(t *testing.T, r *rig) {
		r.o.Durability = Remote
		r.start(nil)
		if err := r.close(r.write(good, recording(true))); !errors.Is(err, ErrRefused) {
			t.Errorf("refused: %v", err)
		}
		r.must(r.close(r.write(".c0ffee12_2.edf.aB3xYz", recording(false))))
		r.must(r.close(r.write(other, recording(false))))
		r.holds(other, recording(false))
	})
}
