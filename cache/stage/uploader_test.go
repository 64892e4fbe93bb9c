package stage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"studyfs/backends"
	"studyfs/backends/mem"
)

// A file, a directory, a link: each becomes what others read.
func TestUploadOfEachKind(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var listed []string
		adopted := ""
		r.start(func(o *UploaderOptions) {
			o.Class = "ARCHIVE"
			o.Listed = func(e backends.Entry) { listed = append(listed, e.Name) }
			o.Parallel = 1
			o.Stored = func(e backends.Entry, local string) bool {
				b, err := os.ReadFile(local)
				adopted = e.Name + "=" + string(b)
				return err == nil && os.Remove(local) == nil
			}
			o.StoredBytes = func(e backends.Entry, r io.ReaderAt) bool {
				b, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size))
				adopted = e.Name + "=" + string(b)
				return err == nil
			}
		})
		r.file("d/a.csv", "bytes")
		r.settled()
		_, err := r.Mkdir("empty", Attr{Mode: 0o755})
		r.must(err)
		_, err = r.Symlink("link", "d/a.csv", Attr{Mode: 0o777}, backends.Entry{})
		r.must(err)
		r.settled()
		r.holds("d/a.csv", "bytes")
		r.holds("empty/", "")
		r.holds("link.rclonelink", "d/a.csv")
		slices.Sort(listed)
		if adopted != "d/a.csv=bytes" || fmt.Sprint(listed) != "[d/a.csv empty link.rclonelink]" {
			t.Errorf("adopted %s, listed %v", adopted, listed)
		}
		now, err := r.src.Examine(t.Context(), "d/a.csv")
		r.must(err)
		if now.Entry.Class != "ARCHIVE" || now.Meta["mode"] != "0644" || now.Meta["mtime"] == "" {
			t.Errorf("%+v", now)
		}
		synctest.Wait()
		if s := r.u.Stats(); s.Stored != 3 || s.Running != 0 || s.Trouble != nil || s.Bytes != 12 {
			t.Errorf("%+v", s)
		}
	})
}

// The service fails three times: the file arrives after half a second, one and two more. All but the first try begin with a look, since nobody knows
// what has become of the one before.
func TestUploadTriesAgainLaterAndLater(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var tries []time.Time
		r.src.Before(func(mem.Op) error {
			if now := time.Now(); len(tries) == 0 || now.After(tries[len(tries)-1]) {
				tries = append(tries, now)
			}
			if len(tries) <= 3 {
				return backends.ErrBadAnswer
			}
			return nil
		})
		r.file("f", "x")
		r.start(nil)
		r.settled()
		if len(tries) != 4 {
			t.Fatalf("%d tries", len(tries))
		}
		for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second} {
			if got := tries[i+1].Sub(tries[i]); got != want {
				t.Errorf("wait %d: %v", i, got)
			}
		}
		r.holds("f", "x")
	})
}

// A weekend without network: every 5 minutes at least somebody looks, and people are told once.
func TestUploadWaitsForTheNetwork(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		back := time.Now().Add(48 * time.Hour)
		r.src.Before(func(mem.Op) error {
			if time.Now().Before(back) {
				return backends.ErrUnreachable
			}
			return nil
		})
		for i := range 20 {
			r.file(fmt.Sprint("f", i), "x")
		}
		r.start(nil)
		r.settled()
		if late := time.Since(back); late > lastBackoff+longestHold {
			t.Errorf("%v after the network was back", late)
		}
		if n := r.log.count("nothing has been stored for an hour"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		if n, most := r.count("put"), 48*3600/30+200; n > most {
			t.Errorf("%d tries", n)
		}
	})
}

// The lab's keys are revoked over night. Nobody is bothered twice, the service is not hammered, and new keys are enough.
func TestUploadPausesWithoutKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		renewed := time.Now().Add(10 * time.Hour)
		r.src.Before(func(op mem.Op) error {
			time.Sleep(time.Second)
			if time.Now().Before(renewed) {
				return onlyWrites(op, backends.ErrAuth)
			}
			return nil
		})
		for i := range 30 {
			r.file(fmt.Sprint("f", i), "x")
		}
		r.start(nil)
		time.Sleep(time.Minute)
		if why := r.Totals().Paused; why != authText || !errors.Is(r.u.Stats().Trouble, backends.ErrAuth) {
			t.Errorf("paused: %q", why)
		}
		time.Sleep(9 * time.Hour)
		if n := r.count("put"); n > 8+9*12+1 {
			t.Errorf("%d tries", n)
		}
		r.settled()
		if late := time.Since(renewed); late > probeEvery+time.Minute {
			t.Errorf("%v after the keys were renewed", late)
		}
		if n := r.log.count("uploads pause"); n != 1 {
			t.Errorf("%d notices", n)
		}
		if n := r.u.Stats().Parallel; n != 8 {
			t.Errorf("%d at once in the end", n)
		}
	})
}

// Somebody pauses uploads for a video call: the probing of keys does not end that.
func TestUploadStaysPausedByPeople(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.Before(func(op mem.Op) error { return onlyWrites(op, backends.ErrAuth) })
		r.file("f", "x")
		r.start(nil)
		time.Sleep(time.Minute)
		r.Pause("a call")
		time.Sleep(time.Hour)
		if n := r.count("put"); n != 1 {
			t.Errorf("%d tries", n)
		}
		r.src.Before(nil)
		r.Resume()
		r.settled()
	})
}

// The service takes three uploads at once and refuses more.
func TestUploadFindsThePaceOfTheTarget(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		var running, refused atomic.Int32
		r.src.Before(func(mem.Op) error {
			defer running.Add(-1)
			n := running.Add(1)
			time.Sleep(time.Second)
			if n > 3 {
				refused.Add(1)
				return backends.ErrBusy
			}
			return nil
		})
		for i := range 120 {
			r.file(fmt.Sprint("f", i), "x")
		}
		r.start(nil)
		r.settled()
		if n := refused.Load(); n > 40 {
			t.Errorf("%d refused", n)
		}
		if s := r.u.Stats(); s.Throttled != int64(refused.Load()) || s.Parallel > 5 || s.Stored != 120 {
			t.Errorf("%+v", s)
		}
	})
}

func TestPace(t *testing.T) {
	p := newPace(8)
	for _, tt := range []struct {
		v    verdict
		cuts uint64
		want int
	}{
		{verdict{busy: true}, 0, 4},
		{verdict{busy: true}, 0, 4}, // refused together with the one before
		{verdict{busy: true}, 1, 2},
		{verdict{busy: true}, 2, 1},
		{verdict{busy: true}, 3, 1},
		{verdict{how: endStored}, 4, 2},
		{verdict{how: endStored}, 4, 2},
		{verdict{how: endAgain}, 4, 2},
		{verdict{how: endStored}, 4, 3},
		{verdict{how: endStored}, 3, 3}, // begun before the last cut
		{verdict{how: endPaused}, 4, 1},
		{verdict{how: endStored}, 4, 3},
		{verdict{down: true}, 4, 1},
		{verdict{how: endStored}, 4, 3},
		{verdict{how: endStored}, 4, 4},
	} {
		p.running++
		if p.leave(tt.cuts, tt.v); p.parallel() != tt.want {
			t.Fatalf("%+v: %d, want %d", tt, p.parallel(), tt.want)
		}
	}
}

// Somebody else stored a file of the same name. It is not touched until people have decided.
func TestUploadNeverOverwritesOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.PutBytes("new", []byte("theirs"))
		r.src.PutBytes("old", []byte("before"))
		base := r.entry("old")
		r.src.PutBytes("old", []byte("theirs"))
		id := r.file("new", "mine")
		f, err := r.Create("old", Attr{}, base)
		r.must(err)
		_, err = f.WriteAt([]byte("mine"), 0)
		r.must(err)
		r.must(errors.Join(f.Flush(t.Context()), f.Close()))
		r.start(nil)
		if err := r.Wait(t.Context(), ""); !errors.Is(err, ErrUnfinished) {
			t.Fatal(err)
		}
		for _, name := range []string{"new", "old"} {
			r.holds(name, "theirs")
			if n, ok := r.Lookup(name); !ok || n.State != Conflict || !strings.Contains(n.Err, "nothing was overwritten") {
				t.Errorf("%+v", n)
			}
		}
		r.must(r.Resolve(id, Mine, r.entry("new")))
		r.must(r.Resolve(f.ID(), Both, r.entry("old")))
		r.settled()
		r.holds("new", "mine")
		r.holds("old", "theirs")
	})
}

// Copying a study over itself, as rsync and careful people do, sends no byte again.
func TestUploadSendsNothingTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		when := time.Unix(1.6e9, 0)
		again := func(text string, mtime time.Time, base backends.Entry) {
			f, err := r.Create("f", Attr{Mode: 0o644, ModTime: mtime}, base)
			r.must(err)
			_, err = f.WriteAt([]byte(text), 0)
			r.must(err)
			r.must(errors.Join(f.Flush(t.Context()), f.Close()))
			_, err = r.SetAttr(f.ID(), func(a *Attr) { a.ModTime = mtime })
			r.must(err)
			r.settled()
		}
		r.start(nil)
		for i, step := range []struct {
			text                string
			mtime               time.Time
			puts, copies, looks int
		}{
			{"bytes", when, 1, 0, 0},
			{"bytes", when, 1, 0, 0},
			{"bytes", when.Add(time.Hour), 1, 1, 0},
			{"bytez", when, 2, 1, 0},
		} {
			base := backends.Entry{}
			if i > 0 {
				base = r.entry("f")
			}
			again(step.text, step.mtime, base)
			if p, c, e := r.count("put"), r.count("copy"), r.count("examine")-i; p != step.puts || c != step.copies || e != step.looks {
				t.Errorf("step %d: %d puts, %d copies, %d looks", i, p, c, e)
			}
			now, err := r.src.Examine(t.Context(), "f")
			r.must(err)
			if got := AttrOf(now.Meta, Attr{}); !got.ModTime.Equal(step.mtime) {
				t.Errorf("step %d: %v", i, got.ModTime)
			}
		}
	})
}

// The same, of files that somebody else stored: looking at them is enough.
func TestUploadAsksForWhatItDoesNotKnow(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.PutBytes("f", []byte("bytes"))
		f, err := r.Create("f", Attr{Mode: 0o644}, r.entry("f"))
		r.must(err)
		_, err = f.WriteAt([]byte("bytes"), 0)
		r.must(err)
		r.must(errors.Join(f.Flush(t.Context()), f.Close()))
		r.start(nil)
		r.settled()
		if p, c, e := r.count("put"), r.count("copy"), r.count("examine"); p != 0 || c != 1 || e != 1 {
			t.Errorf("%d puts, %d copies, %d looks", p, c, e)
		}
	})
}

// touch and chmod of stored files change their metadata; of one that somebody else replaced since, nothing is left to do.
func TestUploadOfMetadata(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.src.PutBytes("f", []byte("bytes"))
		r.src.PutBytes("g", []byte("bytes"))
		r.src.PutBytes("h", []byte("bytes"))
		r.src.PutBytes("l.rclonelink", []byte("f"))
		for _, name := range []string{"f", "g", "h", "l.rclonelink"} {
			_, err := r.Retouch(r.entry(name), Attr{Mode: 0o644}, func(a *Attr) { a.Mode = 0o400 })
			r.must(err)
		}
		r.src.PutBytes("g", []byte("theirs"))
		r.src.Delete("h")
		var listed []string
		r.start(func(o *UploaderOptions) {
			o.Parallel = 1
			o.Listed = func(e backends.Entry) { listed = append(listed, e.Name) }
		})
		r.settled()
		for _, name := range []string{"f", "l.rclonelink"} {
			if now, err := r.src.Examine(t.Context(), name); err != nil || now.Meta["mode"] != "0400" {
				t.Errorf("%s: %v, %v", name, now.Meta, err)
			}
		}
		if slices.Sort(listed); r.count("put") != 0 || fmt.Sprint(listed) != "[f l.rclonelink]" {
			t.Errorf("%d puts, listed %v", r.count("put"), listed)
		}
		if now, err := r.src.Examine(t.Context(), "g"); err != nil || now.Meta["mode"] != "" {
			t.Errorf("%+v, %v", now, err)
		}
		if left := r.Items(); len(left) != 0 {
			t.Errorf("%+v", left)
		}
	})
}

// Somebody changes the mode of a file that was stored yesterday. The metadata were sent only when something else was written, or at the end of the mount.
func TestNewMetadataAreSentThoughNothingElseHappens(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		r.start(nil)
		r.file("f", "x")
		r.settled()
		time.Sleep(24 * time.Hour)
		_, err := r.Retouch(r.entry("f"), Attr{Mode: 0o644}, func(a *Attr) { a.Mode = 0o400 })
		r.must(err)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.count("copy"); n != 1 {
			t.Errorf("%d copies, and %+v", n, r.Totals())
		}
	})
}
