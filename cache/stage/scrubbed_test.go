package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage/gate"
)

// A recording is scrubbed: only what was made of it is sent, becomes cache and stays; copied in again it costs nothing.
func TestOnlyTheScrubbedFileGoesOut(t *testing.T) {
	ruledRig(t, gate.Scrub, func(t *testing.T, r *rig) {
		var adopted []string
		r.start(func(o *UploaderOptions) {
			o.Stored = func(_ backends.Entry, local string) bool {
				b, err := os.ReadFile(local)
				adopted = append(adopted, string(b))
				return err == nil
			}
			o.StoredBytes = func(e backends.Entry, r io.ReaderAt) bool {
				b, err := io.ReadAll(io.NewSectionReader(r, 0, e.Size))
				adopted = append(adopted, string(b))
				return err == nil
			}
		})
		dirty := recording(true)
		r.must(r.close(r.write(good, dirty)))
		if r.content(good) != dirty {
			t.Error("before it is stored the mount shows another file than what was copied in")
		}
		r.settled()
		r.mustBeClean()
		stored, _ := r.src.Bytes(good)
		differ := 0
		for i := range stored {
			if stored[i] != dirty[i] {
				differ++
			}
		}
		if len(stored) != len(dirty) || differ == 0 || differ > 300 || len(adopted) != 1 || adopted[0] != string(stored) {
			t.Errorf("%d bytes differ; %d files adopted", differ, len(adopted))
		}
		r.dropSpares()
		if left := localFiles(t, r.dir); len(left) > 0 {
			t.Errorf("%v is left on the local disk", left)
		}
		sent := r.count("put") + r.count("part")
		e := r.entry(good)
		again, err := r.Create(good, Attr{Mode: 0o644}, e)
		r.must(err)
		_, err = again.WriteAt([]byte(dirty), 0)
		r.must(err)
		r.must(r.close(again))
		r.settled()
		if now := r.count("put") + r.count("part"); now != sent || len(adopted) != 1 {
			t.Errorf("the same file again: %d requests with bytes, %d files adopted", now-sent, len(adopted))
		}
		r.mustBeClean()
	})
}

func localFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, filesDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What was made to be sent counts as used, is used again after a restart, and goes with its item.
func TestTheScrubbedFileIsKeptForTheNextTry(t *testing.T) {
	rules := someRules(t, gate.Scrub)
	b := newBench(t, func(o *Options) { o.Rules = rules })
	b.must(b.close(b.write(good, recording(true))))
	before := b.used
	j := b.job()
	b.must(j.Checkpoint([]byte("state")))
	name := filepath.Join(b.dir, j.file.name)
	if got := b.used - before; got != j.Size {
		t.Errorf("%d bytes more are used", got)
	}
	b.must(j.Release())
	b.must(b.Close())
	b = openBench(t, b.dir, func(o *Options) { o.Rules = rules })
	j = b.job()
	if filepath.Base(filepath.Join(b.dir, j.file.name)) != filepath.Base(name) || string(j.Resume) != "state" {
		t.Errorf("%s instead of %s, state %q", filepath.Join(b.dir, j.file.name), name, j.Resume)
	}
	b.must(j.Release())
	b.must(b.edit(recording(false)))
	j = b.job()
	if len(j.Resume) > 0 || strings.HasSuffix(filepath.Join(b.dir, j.file.name), scrubExt) {
		t.Errorf("a clean file: %s, state %q", filepath.Join(b.dir, j.file.name), j.Resume)
	}
	b.must(j.Release())
	b.must(b.Drop(j.ID))
	if left := localFiles(t, b.dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// A power cut at any moment: what is handed out afterwards is never the file with the name in it, and the file is not lost.
func TestACrashNeverLetsTheOriginalOut(t *testing.T) {
	rules := someRules(t, gate.Scrub)
	dirty := recording(true)
	rec := &recorder{}
	opened := func(dir string, rec *recorder) *bench {
		return openBench(t, dir, func(o *Options) { o.Rules, o.hook, o.Quiet = rules, rec.hook, -time.Second })
	}
	b := opened(fastDir(t), rec)
	f := b.write(good, dirty)
	b.must(b.close(f))
	safe := rec.len()
	j := b.job()
	want, err := io.ReadAll(io.NewSectionReader(j.Body(), 0, 1<<20))
	b.must(err)
	b.must(j.Checkpoint([]byte("state")))
	b.must(j.Stored(backends.Entry{Name: good, Size: j.Size, Version: "v1"}, nil))
	ops, states, handed := rec.log(), 0, 0
	disk, seen := newSimDisk(), map[string]bool{}
	rng := rand.New(rand.NewPCG(5, 6))
	for n, o := range ops {
		disk.apply(o)
		for _, fate := range fates(rng, 2) {
			tree := disk.crash(fate)
			key := fmt.Sprintf("%x", signature(tree))
			if seen[key] {
				continue
			}
			seen[key] = true
			states++
			dir := layOut(t, tree)
			after := opened(dir, &recorder{})
			_, there := after.Lookup(good)
			m, known := after.Remember(backends.Entry{Name: good, Size: int64(len(dirty)), Version: "v1"})
			if n >= safe && !there && (!known || m.Scrubbed == "") {
				t.Fatalf("after call %d, %v (%s): the file is lost", n+1, o, fate.name)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if there {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
			}
			if j, err := after.Next(ctx); err == nil {
				handed++
				if got, err := io.ReadAll(io.NewSectionReader(j.Body(), 0, 1<<20)); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("after call %d, %v (%s): %d bytes are handed out, not what was scrubbed: %v", n+1, o, fate.name, len(got), err)
				}
				after.must(j.Release())
			} else if there {
				t.Fatalf("after call %d, %v (%s): it is not handed out: %v", n+1, o, fate.name, err)
			}
			cancel()
			after.must(after.Close())
			os.RemoveAll(dir)
		}
	}
	if handed == 0 {
		t.Error("nothing was ever handed out")
	}
	t.Logf("%d states, %d jobs", states, handed)
}
