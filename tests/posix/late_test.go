package posix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Somebody changes the mode of a stored file, and deletes, renames or writes it in the next moment. The new metadata were just on their way: the answer,
// that the file is there as it was, came after that, and the file was shown again as it had been until the folder was next listed.
func TestLateMetadataShowNothingOld(t *testing.T) {
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount(harness.Writable(url, "--quiet", "50ms", "--delete")...)
	gone := func(path string) error {
		if err := unix.Access(path, 0); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("the old name: %w", errors.Join(err, os.ErrExist))
		}
		return nil
	}
	for name, c := range map[string]struct {
		do   func(path string) error
		look func(path string) error
	}{
		"unlink": {os.Remove, gone},
		"rename": {func(path string) error { return os.Rename(path, path+"2") }, gone},
		"rename over": {func(path string) error {
			return errors.Join(os.WriteFile(path+"2", nil, 0o600), os.Rename(path, path+"2"))
		}, gone},
		"write": {func(path string) error { return os.WriteFile(path, []byte("other bytes"), 0o600) }, func(path string) error {
			b, err := os.ReadFile(path)
			if s, serr := os.Stat(path); err != nil || serr != nil || string(b) != "other bytes" || s.Size() != int64(len(b)) {
				return fmt.Errorf("%q of %d bytes: %w", b, s.Size(), errors.Join(err, serr, os.ErrInvalid))
			}
			return nil
		}},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil { //nolint:gosec // as people have them
			t.Fatal(err)
		}
		e.Settle(dir)
		time.Sleep(1100 * time.Millisecond) // the answer tells another time then
		before := srv.Count(s3test.OpCopy)
		heal := srv.Inject(s3test.Rule{Op: s3test.OpCopy, Fault: s3test.Late, Wait: 500 * time.Millisecond, Times: 1})
		if err := os.Chmod(path, 0o640); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); srv.Count(s3test.OpCopy) == before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the metadata are not sent", name)
			}
		}
		if err := c.do(path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for range 10 {
			if err := c.look(path); err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		heal()
	}
}

// A file is being stored as somebody renames an older file to its name, or gives it another name and then renames the older file to the one that has
// become free. Whether that upload landed was not known, so it was taken back; where both had the same bytes, it was the older file that was deleted,
// the only one of its name, and where they had one length it was not shown for some time.
func TestUploadThatIsTakenBackSparesWhatHasItsName(t *testing.T) {
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	dir := e.Mount(harness.Writable(url, "--quiet", "50ms", "--delete")...)
	for name, c := range map[string]struct {
		fault s3test.Fault
		free  func(path string) error
	}{
		"over":             {s3test.Delay, func(string) error { return nil }},
		"over what landed": {s3test.Late, func(string) error { return nil }},
		"free":             {s3test.Delay, func(path string) error { return os.Rename(path, path+"2") }},
		"free of it":       {s3test.Late, func(path string) error { return os.Rename(path, path+"2") }},
	} {
		const text = "the same bytes"
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".old", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e.Settle(dir)
		before := srv.Count(s3test.OpPut)
		heal := srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: c.fault, Wait: 500 * time.Millisecond, Times: 1})
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(20 * time.Second); srv.Count(s3test.OpPut) == before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the file is not sent", name)
			}
		}
		if err := errors.Join(c.free(path), os.Rename(path+".old", path)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for range 10 {
			if b, err := os.ReadFile(path); err != nil || string(b) != text {
				t.Errorf("%s: %q, %v", name, b, err)
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		e.Settle(dir)
		if _, there := srv.Object("study", name); !there {
			t.Errorf("%s is lost; there are %q", name, srv.Keys("study"))
		}
		heal()
	}
}
