package local

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
)

// open returns a marked directory as a source.
func open(t *testing.T) (*Source, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Reserved), 0o777); err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// noted leaves out what a disk without extended attributes cannot be held to.
type unnoted struct {
	backends.Source
	backends.Writer
	backends.Reporter
}

func harness(t *testing.T) backendtest.Harness {
	s, dir := open(t)
	h := backendtest.Harness{
		Source: s, Writes: true, Sizes: []int64{pieceSize - 1, pieceSize, pieceSize + 1, 3 * pieceSize},
		Put: func(key string, body []byte) {
			path := filepath.Join(dir, key)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Error(err)
			}
			if strings.HasSuffix(key, "/") {
				os.MkdirAll(path, 0o777)
				return
			}
			beside := filepath.Join(dir, Reserved, "beside")
			at := s.tick() // faster than the clock of some disks
			err := errors.Join(os.WriteFile(beside, body, 0o666), os.Chtimes(beside, at, at), os.Rename(beside, path))
			if err != nil {
				t.Error(err)
			}
		},
		Remove: func(key string) { os.Remove(filepath.Join(dir, key)) },
	}
	if !keepsAttrs(dir) {
		h.Source = unnoted{s, s, s}
	}
	return h
}

func keepsAttrs(dir string) bool {
	f, err := os.Create(filepath.Join(dir, Reserved, "try"))
	if err != nil {
		return false
	}
	defer f.Close()
	setNote(f, note{})
	_, ok := noteOf(f)
	return ok
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, harness)
}

// The folder is a mount point whose disk is not there: nothing is lost in it, and nothing seems to be gone.
func TestNoDisk(t *testing.T) {
	s, dir := open(t)
	body := []byte("body")
	e, err := s.Put(t.Context(), backendtest.Upload("a/f", body), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"no folder", "an empty one"} {
		if state == "an empty one" {
			if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		for err := range errorsOf(t.Context(), s, e, body) {
			if !errors.Is(err, backends.ErrUnreachable) {
				t.Errorf("%s: %v", state, err)
			}
		}
		if s.Trouble() == nil {
			t.Errorf("%s: no trouble", state)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v was written to the mount point", left)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"-away", dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a/f"); err != nil || s.Trouble() != nil {
		t.Errorf("the disk is back: %v, %v", err, s.Trouble())
	}
}

// errorsOf yields what every call says.
func errorsOf(ctx context.Context, s *Source, e backends.Entry, body []byte) func(yield func(error) bool) {
	return func(yield func(error) bool) {
		for _, err := range s.List(ctx, "") {
			yield(err)
		}
		_, err := s.Stat(ctx, e.Name)
		yield(err)
		_, err = s.ReadRange(ctx, e, 0, 1)
		yield(err)
		_, err = s.Put(ctx, backendtest.Upload("g", body), bytes.NewReader(body))
		yield(err)
		yield(s.Remove(ctx, e))
		_, err = s.Copy(ctx, e, backends.Upload{Name: "h"})
		yield(err)
		_, err = s.Examine(ctx, e.Name)
		yield(err)
	}
}

// A folder with files and without the mark is one to read, as a disk with data of others is; nothing is written to it.
func TestUnmarked(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f"), []byte("body"), 0o666)
	s, _ := New(Options{Dir: dir})
	if _, err := s.Stat(t.Context(), "f"); err != nil {
		t.Error(err)
	}
	_, err := s.Put(t.Context(), backendtest.Upload("g", nil), bytes.NewReader(nil))
	if !errors.Is(err, backends.ErrUnreachable) || !strings.Contains(err.Error(), "mkdir "+filepath.Join(dir, Reserved)) {
		t.Errorf("%v", err)
	}
}

// A link on the NAS leads to somebody's private files: no name of the mount reaches them.
func TestNothingOutside(t *testing.T) {
	s, dir := open(t)
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o666)
	os.Symlink(outside, filepath.Join(dir, "way"))
	os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "file"))
	for e, err := range s.List(t.Context(), "") {
		t.Errorf("listed %+v, %v", e, err)
	}
	if n := s.Counts().HiddenKeys; n != 2 {
		t.Errorf("%d hidden names", n)
	}
	for _, name := range []string{"way", "file", "way/secret", Reserved, Reserved + "/lock"} {
		if e, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("stat %s: %+v", name, e)
		}
		if r, err := s.ReadRange(t.Context(), backends.Entry{Name: name, Size: 6}, 0, 6); err == nil {
			r.Close()
			t.Errorf("read %s", name)
		}
		if e, err := s.Put(t.Context(), backendtest.Upload(name, []byte("x")), strings.NewReader("x")); err == nil {
			t.Errorf("put %s: %+v", name, e)
		}
	}
	if got, _ := os.ReadFile(filepath.Join(outside, "secret")); string(got) != "secret" {
		t.Errorf("it was overwritten: %q", got)
	}
}

// A video of which most had been copied when the machine stopped: what is there is not copied again, unless it is something else.
func TestResume(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		s, dir := open(t)
		body := backendtest.Noise(5*pieceSize+7, 1)
		u := backendtest.Upload("f", body)
		u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := s.Put(ctx, u, stopping{bytes.NewReader(body), 3 * pieceSize, cancel}); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		parts, _ := filepath.Glob(filepath.Join(dir, Reserved, "*"+partSuffix))
		if len(parts) != 1 {
			t.Fatalf("parts %q", parts)
		}
		if damaged {
			if err := os.WriteFile(parts[0], make([]byte, 3*pieceSize), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		before := s.Counts().BytesOut
		if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		sent := s.Counts().BytesOut - before
		if !damaged && sent != 2*pieceSize+7 {
			t.Errorf("%d bytes were written again", sent)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "f")); !bytes.Equal(got, body) {
			t.Errorf("damaged %v: %d other bytes", damaged, len(got))
		}
		if left, _ := filepath.Glob(filepath.Join(dir, Reserved, "*"+partSuffix)); len(left) != 0 {
			t.Errorf("%q are left", left)
		}
	}
}

type stopping struct {
	io.ReaderAt
	at   int64
	stop func()
}

func (s stopping) ReadAt(p []byte, off int64) (int, error) {
	if off >= s.at {
		s.stop()
	}
	return s.ReaderAt.ReadAt(p, off)
}

// Somebody edits a file on the NAS in place, and sets its time back: the checksum of before is not believed.
func TestEditedBehindOurBack(t *testing.T) {
	s, dir := open(t)
	body := []byte("ours")
	e, err := s.Put(t.Context(), backendtest.Upload("f", body), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("edit"), 0o666); err != nil {
		t.Fatal(err)
	}
	now, err := s.Examine(t.Context(), "f")
	if err != nil || now.Entry.Version == e.Version || now.CRC64NVME != backendtest.Upload("", []byte("edit")).CRC64NVME {
		t.Errorf("%+v, %v", now, err)
	}
	os.Chtimes(filepath.Join(dir, "f"), e.ModTime, e.ModTime)
	if now, err := s.Stat(t.Context(), "f"); err != nil || now.Version == e.Version {
		t.Errorf("%+v, %v", now, err)
	}
}
