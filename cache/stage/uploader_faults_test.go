package stage

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// 10 MiB at 1 MiB a second take 10 seconds, however many files go at once, and each of them moves all the time.
func TestUploadKeepsToTheBandwidth(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		for i := range 5 {
			r.file(fmt.Sprint("f", i), strings.Repeat("x", 2<<20))
		}
		begin := time.Now()
		r.start(func(o *UploaderOptions) { o.Bandwidth = 1 << 20 })
		for range 8 {
			time.Sleep(time.Second)
			r.u.tap.mu.Lock()
			free := time.Until(r.u.tap.free)
			r.u.tap.mu.Unlock()
			if free > time.Second {
				t.Errorf("%v ahead", free)
			}
		}
		r.settled()
		if took := time.Since(begin); took < 9900*time.Millisecond || took > 10500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// A file is opened again while it goes out, and gets other bytes: only those count in the end. What had arrived of the first ones
// stands in nobody's way.
func TestUploadOfAFileThatChangesOnTheWay(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		inBubble(t, func(t *testing.T, r *rig) {
			id := r.file("f", "first")
			inside, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			wait := func(mem.Op) (err error) {
				once.Do(func() {
					close(inside)
					<-goOn
					err = backends.ErrUnreachable
				})
				return err
			}
			if arrived {
				r.src.After(wait)
			} else {
				r.src.Before(wait)
			}
			r.start(nil)
			<-inside
			go func() {
				time.Sleep(time.Second)
				close(goOn)
			}()
			f, err := r.OpenFile(t.Context(), id, true)
			r.must(err)
			_, err = f.WriteAt([]byte("second"), 0)
			r.must(err)
			r.must(errors.Join(f.Flush(t.Context()), f.Close()))
			r.settled()
			r.holds("f", "second")
		})
	}
}

// A file is renamed while it goes out, and its bytes have arrived under the old name: they do not stay there.
func TestUploadOfAFileThatIsRenamedOnTheWay(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.file("f.tmp", "bytes")
		landed := r.unheard(time.Second)
		gone := ""
		r.start(func(o *UploaderOptions) { o.Gone = func(name string) { gone = name } })
		<-landed
		r.must(r.Rename(t.Context(), "f.tmp", "f", backends.Entry{}, false))
		r.settled()
		r.holds("f", "bytes")
		if _, ok := r.src.Bytes("f.tmp"); ok || gone != "f.tmp" {
			t.Errorf("under the old name: %v; gone %q", ok, gone)
		}
	})
}

// A file manager makes "untitled folder" and names it in the next moment, or it is removed again, while what stands for it at the target is on its
// way: it does not stay there under the old name. Where a directory of that name was made again meanwhile, it does.
func TestUploadOfADirectoryThatIsGivenUpOnTheWay(t *testing.T) {
	mkdir := func(r *rig, name string) {
		_, err := r.Mkdir(name, Attr{Mode: 0o755})
		r.must(err)
	}
	for _, row := range []struct {
		what string
		then func(*rig)
		want []string
	}{
		{"renamed", func(r *rig) { r.must(r.Rename(r.t.Context(), "new", "d", backends.Entry{}, false)) }, []string{"d/"}},
		{"removed", func(r *rig) { r.must(r.Remove(r.t.Context(), "new")) }, nil},
		{"removed and a file", func(r *rig) {
			r.must(r.Remove(r.t.Context(), "new"))
			r.file("new", "")
		}, []string{"new"}},
		{"removed and made again", func(r *rig) {
			r.must(r.Remove(r.t.Context(), "new"))
			mkdir(r, "new")
		}, []string{"new/"}},
		{"renamed, and a file below the old name", func(r *rig) {
			r.must(r.Rename(r.t.Context(), "new", "d", backends.Entry{}, false))
			mkdir(r, "new")
			r.file("new/f", "text")
		}, []string{"d/", "new/f"}},
	} {
		t.Run(row.what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				mkdir(r, "new")
				landed := r.unheard(0)
				r.start(nil)
				<-landed
				goOn := r.busy()
				row.then(r)
				goOn()
				r.settled()
				for _, key := range []string{"d/", "new", "new/", "new/f"} {
					if _, ok := r.src.Bytes(key); ok != slices.Contains(row.want, key) {
						t.Errorf("%s at the target: %v", key, ok)
					}
				}
			})
		})
	}
}

// tar makes an empty file where a link is to come, and replaces it at its end: where that file's upload was under way just then, and its answer not
// heard, the empty file stayed at the target beside the link, and was shown in its place as soon as the link was stored. So it is the other way around.
func TestUploadThatLandedUnheardGivesWayToAnotherKind(t *testing.T) {
	file := func(r *rig) { r.file("f", "") }
	link := func(r *rig) {
		_, err := r.Symlink("f", "../target", Attr{}, backends.Entry{})
		r.must(err)
	}
	for _, row := range []struct {
		first, then func(*rig)
		gone        string
		key, holds  string
	}{
		{file, link, "f", "f" + LinkSuffix, "../target"},
		{link, file, "f" + LinkSuffix, "f", ""},
	} {
		t.Run(row.key, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				row.first(r)
				landed := r.unheard(time.Second)
				r.start(nil)
				<-landed
				goOn := r.busy() // what is unwanted is not removed before the next thing is there
				r.must(r.Remove(t.Context(), "f"))
				row.then(r)
				goOn()
				r.settled()
				r.holds(row.key, row.holds)
				if _, ok := r.src.Bytes(row.gone); ok {
					t.Errorf("%s is still there", row.gone)
				}
			})
		})
	}
}

// The machine is shut down in the middle of a large file: the next start sends only what is missing.
func TestUploadGoesOnAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.SetPartSize(1 << 20)
		r.file("f", strings.Repeat("x", 10<<20))
		r.start(func(o *UploaderOptions) { o.Bandwidth = 1 << 20 })
		time.Sleep(5500 * time.Millisecond)
		r.end()
		if n, ok := r.Lookup("f"); !ok || n.State != Staged {
			t.Errorf("%+v", n)
		}
		r.must(r.Close())
		r.bench = openBench(t, r.dir, nil)
		r.start(nil)
		r.settled()
		if n := r.src.Counts().BytesOut; n > 11<<20 {
			t.Errorf("%d bytes sent of 10 MiB", n)
		}
		if got, _ := r.src.Bytes("f"); len(got) != 10<<20 {
			t.Errorf("%d bytes stored", len(got))
		}
	})
}

// A service that ignores conditions gets nothing unless people allow it; then others' files are safe as far as looking helps.
func TestUploadToAnUnsafeTarget(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.SetAbilities(backends.Abilities{Conditions: backends.Unable})
		r.src.PutBytes("theirs", []byte("theirs"))
		r.file("f", "mine")
		r.file("theirs", "mine")
		r.start(nil)
		time.Sleep(time.Hour)
		if r.Totals().Paused != unsafeText || r.count("put") != 0 {
			t.Errorf("paused %q, %d puts", r.Totals().Paused, r.count("put"))
		}
		r.end()
		r.Resume()
		r.start(func(o *UploaderOptions) { o.Unsafe = true })
		if err := r.Wait(t.Context(), ""); !errors.Is(err, ErrUnfinished) {
			t.Error(err)
		}
		r.holds("f", "mine")
		r.holds("theirs", "theirs")
	})
}

// One name is denied to these keys: the others go on, and it is tried again.
func TestUploadOfADeniedName(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var denied atomic.Bool
		denied.Store(true)
		r.src.Before(func(op mem.Op) error {
			if op.Object == "secret" && denied.Load() {
				return backends.ErrPermission
			}
			return nil
		})
		r.file("secret", "x")
		r.file("f", "x")
		r.start(nil)
		time.Sleep(time.Minute)
		if n := r.Totals(); n.Failed != 1 || n.Stored != 1 || n.Paused != "" {
			t.Errorf("%+v", n)
		}
		denied.Store(false)
		time.Sleep(6 * time.Minute)
		r.holds("secret", "x")
	})
}

// Whatever the service does, and however often, in the end all files are there, once and whole.
func TestUploadThroughAnything(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		rnd := rand.New(rand.NewPCG(1, 2))
		fail := func(mem.Op) error {
			mu.Lock()
			defer mu.Unlock()
			errs := []error{backends.ErrBusy, backends.ErrUnreachable, backends.ErrBadAnswer, backends.ErrAuth, errors.New("odd"), nil, nil, nil, nil, nil, nil, nil}
			return errs[rnd.IntN(len(errs))]
		}
		r.src.Before(fail)
		r.src.After(fail)
		r.src.SetPartSize(1000)
		for i := range 60 {
			r.file(fmt.Sprintf("d/f%d", i), strings.Repeat(fmt.Sprint(i), i*10))
		}
		r.start(func(o *UploaderOptions) { o.Rand = nil })
		r.settled()
		for i := range 60 {
			r.holds(fmt.Sprintf("d/f%d", i), strings.Repeat(fmt.Sprint(i), i*10))
		}
		synctest.Wait()
		if n := r.u.Stats(); n.Stored != 60 || n.Running != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// A file that replaces an older one goes out, and nobody hears that it has arrived: another is renamed over it, or it gets other bytes,
// be it after a crash. That is no conflict with somebody else; the last bytes are stored, also where they are those of before.
func TestUploadThatLandedUnheardIsNoConflict(t *testing.T) {
	for _, row := range []struct {
		what    string
		crash   bool
		succeed func(r *rig, base backends.Entry)
	}{
		{"left alone", false, func(*rig, backends.Entry) {}},
		{"renamed over", false, renameOver},
		{"renamed over after a crash", true, renameOver},
		{"renamed over again and again", true, func(r *rig, base backends.Entry) {
			r.src.Before(func(op mem.Op) error { return onlyWrites(op, backends.ErrUnreachable) })
			for i := range 2 * maxTried {
				r.file("f.tmp", fmt.Sprint("never sent ", i))
				r.must(r.Rename(r.t.Context(), "f.tmp", "f", base, false))
				r.start(nil)
				time.Sleep(time.Minute)
				r.end()
			}
			r.src.Before(func(mem.Op) error { return nil })
			renameOver(r, base)
		}},
		{"written to after a crash", true, func(r *rig, _ backends.Entry) { rewrite(r, "last") }},
		{"given its old bytes and time again", false, func(r *rig, base backends.Entry) {
			rewrite(r, "first")
			was, ok := r.Remember(base)
			info, staged := r.Lookup("f")
			if !ok || !staged {
				r.t.Fatal("nothing is known of it")
			}
			_, err := r.SetAttr(info.ID, func(a *Attr) { a.ModTime = was.Attr.ModTime })
			r.must(err)
		}},
	} {
		t.Run(row.what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				r.file("f", "first")
				r.start(nil)
				r.settled()
				base := r.entry("f")
				landed := r.unheard(0)
				g, err := r.Create("f", Attr{Mode: 0o644, ModTime: time.Now()}, base)
				r.must(err)
				_, err = g.WriteAt([]byte("second"), 0)
				r.must(err)
				r.must(errors.Join(g.Flush(t.Context()), g.Close()))
				<-landed
				r.end()
				asked := 0
				r.src.Before(func(op mem.Op) error { // nor is one when it cannot be found out at once
					if asked++; op.Name == "examine" && asked < 5 {
						return backends.ErrBusy
					}
					return nil
				})
				if row.crash {
					r.bench = r.crash()
				}
				row.succeed(r, base)
				listed := base
				r.start(func(o *UploaderOptions) { o.Listed = func(e backends.Entry) { listed = e } })
				want := r.content("f")
				r.settled()
				r.holds("f", want)
				if listed.Version != r.entry("f").Version {
					t.Error("it is not listed as what is stored")
				}
				if n := len(r.Items()); n > 0 {
					t.Errorf("%d are left: %+v", n, r.Items())
				}
			})
		})
	}
}

func rewrite(r *rig, text string) {
	info, ok := r.Lookup("f")
	if !ok {
		r.t.Fatal("it is not staged any more")
	}
	f, err := r.OpenFile(r.t.Context(), info.ID, true)
	r.must(err)
	r.must(f.Truncate(0))
	_, err = f.WriteAt([]byte(text), 0)
	r.must(err)
	r.must(errors.Join(f.Flush(r.t.Context()), f.Close()))
}

func renameOver(r *rig, base backends.Entry) {
	r.file("f.tmp", "last")
	r.must(r.Rename(r.t.Context(), "f.tmp", "f", base, false))
}

// A service told a wrong version when it took a file; the next save of it was called a conflict with somebody else, who was nobody.
func TestSameBytesUnderAnotherVersionAreNoConflict(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.file("f", "first")
		r.start(nil)
		r.settled()
		base := r.entry("f")
		r.src.PutBytes("f", []byte("first"))
		g, err := r.Create("f", Attr{Mode: 0o644, ModTime: time.Now()}, base)
		r.must(err)
		_, err = g.WriteAt([]byte("second"), 0)
		r.must(err)
		r.must(errors.Join(g.Flush(t.Context()), g.Close()))
		r.settled()
		if n := r.Totals(); n.Conflict != 0 || n.Left() != 0 {
			t.Errorf("%+v", n)
		}
		if got, _ := r.src.Bytes("f"); string(got) != "second" {
			t.Errorf("stored: %q", got)
		}
		r.end()
	})
}

// A changed copy of a stored file is renamed: what is stored under the old name is removed first. The mount was killed right after that, and
// the file, which had its old name still, was called a conflict with somebody who had removed it; nobody had, and it was not uploaded. Where
// somebody else has stored another version instead, it is one.
func TestKilledWhileWhatIsStoredIsRemovedIsNoConflict(t *testing.T) {
	for _, theirs := range []string{"", "theirs"} {
		inBubble(t, func(t *testing.T, r *rig) {
			r.file("f", "first")
			r.start(nil)
			r.settled()
			r.end()
			g, err := r.Create("f", Attr{Mode: 0o644, ModTime: time.Now()}, r.entry("f"))
			r.must(err)
			_, err = g.WriteAt([]byte("second"), 0)
			r.must(err)
			r.must(errors.Join(g.Flush(t.Context()), g.Close()))
			info, _ := r.Lookup("f")
			r.must(r.Leaving(info.ID))
			r.src.Delete("f")
			if theirs != "" {
				r.src.PutBytes("f", []byte(theirs))
			}
			r.bench = r.crash()
			r.start(nil)
			if err := r.Wait(t.Context(), ""); err != nil && theirs == "" {
				t.Error(err)
			}
			if n := r.Totals(); n.Conflict != len(theirs)/6 {
				t.Errorf("%+v", n)
			}
			r.holds("f", cmp.Or(theirs, "second"))
		})
	}
}
