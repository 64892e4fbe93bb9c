package fs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/cache"
)

func TestErrno(t *testing.T) {
	for _, row := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{backends.ErrNotExist, syscall.ENOENT},
		{backends.ErrPermission, syscall.EACCES},
		{backends.ErrAuth, syscall.EACCES},
		{backends.ErrExist, syscall.EEXIST},
		{backends.ErrReadOnly, syscall.EROFS},
		{backends.ErrChanged, syscall.ESTALE},
		{backends.ErrArchived, syscall.ENODATA},
		{backends.ErrBusy, syscall.EAGAIN},
		{backends.ErrUnreachable, syscall.EIO},
		{backends.ErrBadAnswer, syscall.EIO},
		{context.Canceled, syscall.EINTR},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{fmt.Errorf("%w: %w", backends.ErrUnreachable, syscall.ECONNREFUSED), syscall.EIO},
		{errors.Join(backends.ErrUnreachable, context.DeadlineExceeded), syscall.EIO},
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, syscall.ENOSPC},
		{io.ErrUnexpectedEOF, syscall.EIO},
		{errors.New("anything"), syscall.EIO},
	} {
		for _, err := range []error{row.err, fmt.Errorf("read x: %w", row.err)} {
			if row.err == nil {
				err = nil
			}
			if got := errno(err); got != row.want {
				t.Errorf("%v: %v, want %v", err, got, row.want)
			}
		}
	}
}

func TestFailuresAreLoggedOnceWithoutNames(t *testing.T) {
	var log bytes.Buffer
	f := newFS(t, Options{Trees: []Tree{{Store: &cache.Store{}}}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	const name = "org/participants/Mary Smith/day.csv"
	err := fmt.Errorf("get %s: https://host/org/participants/Mary%%20Smith/day.csv: Mary Smith: unexpected EOF", name)
	for range 3 {
		if got := f.fail(t.Context(), "read", name, err); got != syscall.EIO {
			t.Errorf("errno %v", got)
		}
	}
	f.fail(t.Context(), "read", name, backends.ErrNotExist)
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines, want 1:\n%s", n, &log)
	}
	if strings.Contains(log.String(), "Mary") || strings.Contains(log.String(), "day.csv") || !strings.Contains(log.String(), "unexpected EOF") ||
		!strings.Contains(log.String(), f.names.of(name)) {
		t.Errorf("log: %s", &log)
	}
}

func TestPanicsBecomeEIO(t *testing.T) {
	var log bytes.Buffer
	f := newFS(t, Options{Trees: []Tree{{Store: &cache.Store{}}}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got := f.panicked("Mary Smith"); syscall.Errno(got) != syscall.EIO || strings.Contains(log.String(), "Mary") || !strings.Contains(log.String(), "panicked") {
		t.Errorf("status %v, log %s", got, &log)
	}
}

func newFS(t *testing.T, o Options) *FS {
	t.Helper()
	o.Dir = t.TempDir()
	f, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNewRefusesWhatCannotBeShown(t *testing.T) {
	s := &cache.Store{}
	for _, trees := range [][]Tree{{{Name: "a", Store: s}, {Name: "a", Store: s}}, {{Store: s}, {Name: "a", Store: s}}, {{Name: "a"}}} {
		if _, err := New(Options{Trees: trees}); err == nil {
			t.Errorf("%+v was taken", trees)
		}
	}
}

func TestUnmountWithoutMount(t *testing.T) {
	f := newFS(t, Options{Trees: []Tree{{Store: &cache.Store{}}}})
	f.Changed("", backends.Change{Dir: "x", Names: []string{"x/y"}})
	if err := f.Unmount(); err != nil {
		t.Error(err)
	}
	if on, why := f.Passthrough(); on || why == "" {
		t.Errorf("passthrough %v, %q", on, why)
	}
}

func TestResolve(t *testing.T) {
	s := &cache.Store{}
	one := newFS(t, Options{Trees: []Tree{{Store: s}}})
	two := newFS(t, Options{Trees: []Tree{{Name: "a", Store: s}, {Name: "b", Store: s}}})
	for _, row := range []struct {
		f                *FS
		path, tree, name string
		none             bool
	}{
		{f: one, path: "x/y", name: "x/y"},
		{f: one, path: "/x/../y/", name: "y"},
		{f: one, path: "."},
		{f: two, path: "a/x/y", tree: "a", name: "x/y"},
		{f: two, path: "b", tree: "b"},
		{f: two, path: "c/x", none: true},
		{f: two, path: "", none: true},
	} {
		tree, name := row.f.resolve(row.path)
		if (tree == nil) != row.none || !row.none && (tree.name != row.tree || name != row.name) {
			t.Errorf("%q: %v, %q", row.path, tree, name)
		}
	}
}

func TestIdentity(t *testing.T) {
	e := backends.Entry{Name: "a/b", Size: 5, Version: "1", ModTime: time.Unix(5, 0)}
	same := identity("t", e)
	if again := identity("t", e); again != same {
		t.Error("the same entry is two nodes")
	}
	for what, change := range map[string]func(*backends.Entry){
		"version": func(e *backends.Entry) { e.Version = "2" },
		"size":    func(e *backends.Entry) { e.Size = 6 },
		"time":    func(e *backends.Entry) { e.ModTime = time.Unix(6, 0) },
	} {
		other := e
		change(&other)
		if got := identity("t", other); got.Gen == same.Gen || got.Ino != same.Ino {
			t.Errorf("another %s: %+v, was %+v", what, got, same)
		}
		if sameVersion(e, other) {
			t.Errorf("another %s is the same version", what)
		}
	}
	if identity("u", e).Ino == same.Ino || hash("ab", "c") == hash("a", "bc") {
		t.Error("trees or names are confused")
	}
	e.Tier = backends.Archived
	if identity("t", e) != same {
		t.Error("archiving makes another node")
	}
}

func TestFindDevice(t *testing.T) {
	const info = `22 1 254:0 / / rw - ext4 /dev/vda rw
40 22 0:50 / /mnt/a\040b rw,nosuid - fuse.studyfs x rw
41 22 0:51 / /mnt/c rw - fuse.studyfs x rw
42 41 0:52 / /mnt/c rw - fuse.studyfs x rw
`
	for dir, want := range map[string]string{"/mnt/a b": "0:50", "/mnt/c": "0:52", "/mnt/d": ""} {
		got, err := findDevice(bufio.NewScanner(strings.NewReader(info)), dir)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", dir, got, err)
		}
	}
}

func TestInvalidatorIsBounded(t *testing.T) {
	f := newFS(t, Options{Trees: []Tree{{Store: &cache.Store{}}}})
	v := f.inval
	for range 10 {
		v.add("", backends.Change{Dir: "d", Names: []string{"d/a", "d/b"}})
	}
	if len(v.pending) != 1 || len(v.pending[place{"", "d"}]) != 2 {
		t.Errorf("pending: %v", v.pending)
	}
	var many backends.Change
	for n := range maxNames + 1 {
		many.Names = append(many.Names, fmt.Sprint(n))
	}
	v.add("", many)
	v.add("", backends.Change{Names: []string{"one more"}})
	if names, known := v.pending[place{}]; !known || names != nil {
		t.Errorf("too many names in one directory: %d kept", len(names))
	}
	for n := range maxDirs + 1 {
		v.add("", backends.Change{Dir: fmt.Sprint(n)})
	}
	if !v.everything || len(v.pending) > maxDirs {
		t.Errorf("%d pending, everything %v", len(v.pending), v.everything)
	}
}

func TestWaitingSignals(t *testing.T) {
	const status = "Name:\tcat\nSigQ:\t0/31\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000400002\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000000000\n"
	if got := waiting([]byte(status)); got != 0x400100 {
		t.Errorf("%#x", got)
	}
	if waiting([]byte(status))&leaving == 0 {
		t.Error("a pending SIGKILL is not seen")
	}
	if waiting([]byte(strings.Replace(status, "0100", "0000", 1)))&leaving != 0 {
		t.Error("SIGURG, or a blocked SIGINT, makes a reader leave")
	}
}

func TestBelieved(t *testing.T) {
	for fresh, want := range map[time.Duration]time.Duration{-5: 0, 0: 0, time.Minute: time.Minute, math.MaxInt64: maxTimeout} {
		if got := believed(fresh); got != want {
			t.Errorf("%v: %v, want %v", fresh, got, want)
		}
	}
}
