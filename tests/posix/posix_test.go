// Package posix asks of a writable mount what POSIX and Linux ask of a file system: each system call, its errors, and
// what it does to times, modes, owners and inode numbers. The same questions are put to a local directory, so that the
// answers that are expected are proven ones. What a mount does otherwise is declared, and nothing else may differ.
package posix

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// childVar makes a process of this binary do the checks: one that hangs or dies on a mount must not take the tests with it.
const childVar = "STUDYFS_TEST_POSIX_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childVar); raw != "" {
		os.Exit(child(raw))
	}
	harness.Main(m)
}

// order is what a child does.
type order struct {
	Dir     string
	Beside  string // a local directory, for what is done in both
	Stored  bool   // what is made is to be at the source before it is used
	Only    string // names of checks that begin so
	Workers int
}

// finding is one thing that was otherwise than expected.
type finding struct{ Label, Got, Want string }

type report struct {
	Asked    int
	Findings []finding
}

// check is a group of questions, asked in a directory of its own.
type check struct {
	name  string
	alone bool // it changes what all threads share
	ask   func(c *C)
}

func all() []check {
	return slices.Concat(openChecks(), nameChecks(), renameChecks(), attrChecks(), timeChecks(), dataChecks(), dirChecks(), userChecks(), storedChecks())
}

// child prints its report.
func child(raw string) int {
	var o order
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		panic(err)
	}
	unix.Umask(0)
	var mu sync.Mutex
	var r report
	run := func(k check) {
		c := &C{order: o, name: k.name, dir: filepath.Join(o.Dir, strings.ReplaceAll(k.name, " ", "-"))}
		c.run(k.ask)
		mu.Lock()
		defer mu.Unlock()
		r.Asked += c.asked
		r.Findings = append(r.Findings, c.findings...)
	}
	jobs := make(chan check)
	var wg sync.WaitGroup
	for range o.Workers {
		wg.Go(func() {
			for k := range jobs {
				run(k)
			}
		})
	}
	var alone []check
	for _, k := range all() {
		switch {
		case !strings.HasPrefix(k.name, o.Only):
		case k.alone:
			alone = append(alone, k)
		default:
			jobs <- k
		}
	}
	close(jobs)
	wg.Wait()
	for _, k := range alone {
		run(k)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
	return 0
}

// ask runs the checks in a child process.
func ask(t *testing.T, o order) report {
	t.Helper()
	o.Only, o.Workers = os.Getenv("STUDYFS_TEST_ONLY"), 16
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVar+"="+string(raw))
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	late := time.AfterFunc(3*time.Minute, func() { harness.Abort(o.Dir); cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%.8000s", err, stderr.String())
	}
	var r report
	if err := json.Unmarshal([]byte(stdout.String()), &r); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	return r
}

// compare holds findings against what is declared.
func compare(t *testing.T, r report, declared map[string]difference) {
	t.Helper()
	t.Logf("%d questions", r.Asked)
	met := map[string]bool{}
	for _, f := range r.Findings {
		d, ok := declared[f.Label]
		if !ok || d.got != f.Got {
			t.Errorf("%s: %s instead of %s", f.Label, f.Got, f.Want)
			continue
		}
		met[f.Label] = true
	}
	for _, label := range slices.Sorted(maps.Keys(declared)) {
		if !met[label] && strings.HasPrefix(label, os.Getenv("STUDYFS_TEST_ONLY")) {
			t.Errorf("%s is declared to be %s, and is not", label, declared[label].got)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("acts for several users: needs root")
	}
}

// open is a directory that all users can reach.
func open(t *testing.T, where string) string {
	t.Helper()
	dir, err := os.MkdirTemp(where, "studyfs-posix-") //nolint:usetesting // only its owner can enter that of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What is expected is what a local disk does.
func TestLocalDisk(t *testing.T) {
	needRoot(t)
	for _, where := range []string{os.TempDir(), "/dev/shm"} {
		t.Run(filepath.Base(where), func(t *testing.T) {
			var s unix.Statfs_t
			if err := unix.Statfs(where, &s); err != nil || s.Type != unix.EXT4_SUPER_MAGIC && s.Type != unix.TMPFS_MAGIC {
				t.Skip("neither ext4 nor tmpfs")
			}
			compare(t, ask(t, order{Dir: open(t, where), Beside: open(t, "")}), map[string]difference{})
		})
	}
}

// A mount does the same: with the kernel on the staged files and through requests, and also when all that lies still for a
// moment is uploaded and so becomes another thing below.
func TestMount(t *testing.T) {
	needRoot(t)
	harness.NeedWrites(t)
	for name, how := range map[string]struct {
		args   []string
		stored bool
	}{
		"passthrough":        {[]string{"--quiet", "5s"}, false},
		"requests":           {[]string{"--quiet", "5s", "--no-passthrough"}, false},
		"encrypted":          {[]string{"--quiet", "5s", "--encrypt-cache"}, false},
		"stored":             {[]string{"--quiet", "50ms"}, true},
		"stored by requests": {[]string{"--quiet", "50ms", "--no-passthrough"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := harness.Strict(t, "", s3test.Options{})
			e := harness.New(t)
			e.Profile("lab")
			dir := filepath.Join(open(t, ""), "mnt")
			e.MountAt(dir, harness.Writable(url, append(how.args, "--delete", "--allow-other")...)...)
			compare(t, ask(t, order{Dir: dir, Beside: open(t, ""), Stored: how.stored}), declared(how.stored))
			if logs, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*", "*.log")); strings.Contains(read(t, logs), "passthrough is off") {
				t.Error("something that a program may do has switched passthrough off for all")
			}
		})
	}
}

func read(t *testing.T, files []string) (text string) {
	t.Helper()
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += string(raw)
	}
	return text
}

// C is one check under way.
type C struct {
	order
	name     string
	dir      string
	asked    int
	findings []finding
}

// p is the path of a name in the check's directory.
func (c *C) p(name string) string { return c.dir + "/" + name }

// run asks; what cannot be made or reached, though nothing is asked about it, ends the check.
func (c *C) run(ask func(*C)) {
	defer func() {
		if e := recover(); e != nil {
			c.same("goes on", fmt.Sprintf("%v\n%s", e, debug.Stack()), "")
		}
	}()
	c.must(unix.Mkdir(c.dir, 0o755))
	ask(c)
}

func (c *C) must(err error) {
	if err != nil {
		panic(err.Error())
	}
}

// same asks whether got is want.
func (c *C) same(label string, got, want any) bool {
	c.asked++
	g, w := fmt.Sprint(got), fmt.Sprint(want)
	if g != w {
		c.findings = append(c.findings, finding{c.name + ": " + label, g, w})
	}
	return g == w
}

// is asks whether a call ended as expected; no errno stands for success.
func (c *C) is(label string, err error, want ...syscall.Errno) bool {
	if len(want) == 0 {
		want = []syscall.Errno{0}
	}
	var number syscall.Errno
	if err != nil && !errors.As(err, &number) {
		return c.same(label, err, want[0])
	}
	if slices.Contains(want, number) {
		return c.same(label, "", "")
	}
	return c.same(label, errnoName(number), errnoName(want[0]))
}

func errnoName(n syscall.Errno) string {
	if n == 0 {
		return "success"
	}
	if n == unix.EOPNOTSUPP { // which has two names
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(n)
}

// tick lets the clock of a file system go on.
func (c *C) tick() { time.Sleep(12 * time.Millisecond) }

// settle waits until things are stored, where they are to be.
func (c *C) settle(names ...string) {
	if !c.Stored {
		return
	}
	for _, name := range names {
		var s unix.Stat_t
		if unix.Lstat(c.p(name), &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		b := make([]byte, 20)
		for range 1000 {
			n, err := unix.Getxattr(c.p(name), "user.studyfs.state", b)
			if err != nil || string(b[:max(n, 0)]) == "stored" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// file makes a file with a body.
func (c *C) file(name, body string, mode uint32) {
	fd, err := unix.Open(c.p(name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
	c.must(err)
	_, err = unix.Write(fd, []byte(body))
	c.must(err)
	c.must(unix.Close(fd))
	c.settle(name)
}

func (c *C) mkdir(name string, mode uint32) {
	c.must(unix.Mkdir(c.p(name), mode))
	c.settle(name)
}

func (c *C) symlink(target, name string) {
	c.must(unix.Symlink(target, c.p(name)))
	c.settle(name)
}

// owned gives something to a user.
func (c *C) owned(name string, uid, gid int) { c.must(unix.Lchown(c.p(name), uid, gid)) }

// open opens; a failure ends the test.
func (c *C) open(name string, flags int) int {
	fd, err := unix.Open(c.p(name), flags|unix.O_CLOEXEC, 0o644)
	c.must(err)
	return fd
}

func (c *C) stat(name string) (s unix.Stat_t) {
	c.must(unix.Lstat(c.p(name), &s))
	return s
}

func (c *C) fstat(fd int) (s unix.Stat_t) {
	c.must(unix.Fstat(fd, &s))
	return s
}

// body asks for the bytes of a file.
func (c *C) body(label, name, want string) {
	got, err := os.ReadFile(c.p(name))
	if c.is(label, err) {
		c.same(label, string(got), want)
	}
}

// times asks which times a call moves. A rule is NAME:WHICH; of m and c those that must move are named, and those that
// are not must stay. With ? at the end nothing is asked of what is not named.
func (c *C) times(label string, call func() error, rules ...string) {
	before := map[string]unix.Stat_t{}
	for _, r := range rules {
		name, _, _ := strings.Cut(r, ":")
		before[name] = c.stat(name)
	}
	c.tick()
	c.is(label, call())
	for _, r := range rules {
		name, which, _ := strings.Cut(r, ":")
		var now unix.Stat_t
		if unix.Lstat(c.p(name), &now) != nil {
			c.same(label+", "+name, "gone", "there")
			continue
		}
		c.moved(label+", "+name, before[name], now, which)
	}
}

func (c *C) moved(label string, was, now unix.Stat_t, which string) {
	which, lax := strings.CutSuffix(which, "?")
	for _, k := range []struct {
		name string
		a, b unix.Timespec
	}{{"m", was.Mtim, now.Mtim}, {"c", was.Ctim, now.Ctim}} {
		if must := strings.Contains(which, k.name); must || !lax {
			c.same(label+", "+k.name+"time moves", k.a != k.b, must)
		}
		if k.b.Nano() < k.a.Nano() {
			c.same(label+", "+k.name+"time", "back", "on")
		}
	}
}
