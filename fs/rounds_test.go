package fs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// rounds counts the kernel's requests by what they ask for, from go-fuse's log of them.
type rounds struct {
	slog.Handler // the methods that nobody calls

	mu   sync.Mutex // guards seen
	seen map[string]int
}

// Enabled is true: all is wanted.
func (*rounds) Enabled(context.Context, slog.Level) bool { return true }

// Handle takes one line of the log.
func (r *rounds) Handle(_ context.Context, line slog.Record) error {
	if f := strings.Fields(line.Message); len(f) > 2 && f[0] == "rx" {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.seen == nil {
			r.seen = map[string]int{}
		}
		r.seen[f[2]]++
	}
	return nil
}

// take returns the counts since the last time.
func (r *rounds) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := json.Marshal(r.seen)
	if err != nil {
		return err.Error()
	}
	r.seen = nil
	return string(b)
}

// rounds are the requests of the kernel since the last time that a program waits for.
func (m *mounted) rounds() (all int, counts map[string]int) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.do("rounds")), &counts); err != nil {
		m.t.Fatal(err)
	}
	maps.DeleteFunc(counts, func(op string, _ int) bool {
		return strings.Contains(op, "FORGET") || op == "INTERRUPT" || op == "RELEASE" || op == "RELEASEDIR"
	})
	for _, n := range counts {
		all += n
	}
	return all, counts
}

// Each of these requests makes a program wait, and a tree of ten thousand files has them ten thousand times.
func TestRoundsPerFile(t *testing.T) {
	if testing.Short() {
		t.Skip("counts what programs ask for one after the other: the same under a race detector, where it takes ten times as long")
	}
	const count, folders = 100, 5
	from := filepath.Join(t.TempDir(), "tree")
	for i := range count {
		path := filepath.Join(from, fmt.Sprintf("d%d/%04d.csv", i%folders, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content("f", "1", 0, int64(100+i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		command string
		most    int // per file, with passthrough; without it, one more
	}{
		{"cp -r $FROM $TO/r", 5}, // LOOKUP, CREATE, GETXATTR, FLUSH; GETATTR of the directory
		{"cp -a $FROM $TO/a", 8}, // SETATTR times and mode, SETXATTR (its ACL) as well
		{"tar cf - -C $FROM . | (mkdir $TO/t && tar xf - -C $TO/t)", 9},
		{"rsync -a $FROM/ $TO/s/", 16}, // a temporary name, and a rename
		{"diff -r $FROM $TO/r", 1},
	}
	ways(t, setup{Counted: true}, func(t *testing.T, m *mounted) {
		for _, c := range cases {
			name, _, _ := strings.Cut(c.command, " ")
			if _, err := exec.LookPath(name); err != nil {
				t.Logf("no %s here", name)
				continue
			}
			m.rounds()
			cmd := exec.Command("sh", "-c", c.command)
			cmd.Env = append(os.Environ(), "FROM="+from, "TO="+m.dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", c.command, err, out)
			}
			all, counts := m.rounds()
			t.Logf("%s: %.1f per file, %v", c.command, float64(all)/count, counts)
			if allowed := c.most*count + counts["WRITE"] + counts["READ"] + count/2; all > allowed {
				t.Errorf("%s: %d requests, allowed %d", c.command, all, allowed)
			}
		}
	})
}

// The kernel asked before every single write whether the file has capabilities that it would lose: as many requests as writes, where the
// bytes themselves need none.
func TestRoundsOfALargeFile(t *testing.T) {
	m := mount(t, setup{Lab: true, Counted: true})
	if on := m.do("passthrough"); !strings.HasPrefix(on, "true") {
		t.Skip("no passthrough here: ", on)
	}
	f, err := os.Create(m.path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m.rounds()
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(zeros{}, 16<<20), make([]byte, 64<<10)); err != nil {
		t.Fatal(err)
	}
	if all, counts := m.rounds(); all > 4 {
		t.Errorf("256 writes made %d requests: %v", all, counts)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The kernel leaves it to the file system to take setuid and setgid from a file that is written to or given away: a program that
// anybody could change must not run as its owner.
func TestWritingTakesSetuidAway(t *testing.T) {
	ways(t, setup{}, func(t *testing.T, m *mounted) {
		path := m.path("f")
		if err := os.WriteFile(path, []byte("x"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what         string
			do           func() error
			before, want uint32
		}{
			{"write", func() error { return rewrite(path) }, 0o6755, 0o755},
			{"write, no group may run it", func() error { return rewrite(path) }, 0o6745, 0o2745},
			{"truncate", func() error { return os.Truncate(path, 100) }, 0o6755, 0o755},
			{"chown", func() error { return os.Chown(path, 7, 8) }, 0o6755, 0o755},
		} {
			if err := unix.Chmod(path, c.before); err != nil {
				t.Fatal(err)
			}
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil || uint32(st.Mode)&0o7777 != c.want { //nolint:unconvert // 16 bits on macOS
				t.Errorf("%s: mode %04o, want %04o, %v", c.what, st.Mode&0o7777, c.want, err)
			}
		}
	})
}

func rewrite(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("y")
	return errors.Join(err, f.Close())
}
