// Package harness starts what the end-to-end tests need: the built program as a child process in a home of its own,
// servers, sample data; and compares what a mount shows with what the source holds.
//
// No mount is served from a test's own process: one that leaves a file open there hangs unkillably at exit.
package harness

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Full tells that tests are to run at the sizes that the project promises, not at those that are quick.
func Full() bool { return os.Getenv("STUDYFS_FULL") != "" }

// Sized returns the full size if asked for, else the quick one.
func Sized(quick, full int) int {
	if Full() {
		return full
	}
	return quick
}

type built struct {
	once sync.Once
	path string
	err  error
}

var program built // one build per test process

// Main builds the program once for all tests of a package and removes it at the end, when it also calls ends.
func Main(m *testing.M, ends ...func()) {
	dir, err := os.MkdirTemp("", "studyfs-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program.path = filepath.Join(dir, "studyfs")
	code := m.Run()
	stopGateway()
	for _, end := range ends {
		end()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// Program returns the path of the built program; with STUDYFS_TEST_RACE set, built with the race detector. STUDYFS_TEST_PROGRAM names one
// that was built before: linking takes seconds, in every package anew.
func Program(t testing.TB) string {
	t.Helper()
	if built := os.Getenv("STUDYFS_TEST_PROGRAM"); built != "" {
		return built
	}
	program.once.Do(func() {
		args := []string{"build", "-o", program.path}
		if os.Getenv("STUDYFS_TEST_RACE") != "" {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "./cmd/studyfs")...)
		_, file, _, _ := runtime.Caller(0)
		cmd.Dir = filepath.Dir(filepath.Dir(filepath.Dir(file)))
		if out, err := cmd.CombinedOutput(); err != nil {
			program.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// Env is a home directory of its own: configuration, cache, state and keys of one imagined user.
type Env struct {
	t    testing.TB
	Home string
	Vars []string

	program string // instead of Program
	user    *syscall.Credential
}

// AsNobody has everything run from now on as a user who is not root, whose home this is. Whoever is not root is that already.
func (e *Env) AsNobody() {
	e.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	own := filepath.Join(e.Home, "studyfs")
	raw, err := os.ReadFile(Program(e.t)) // the directory that it lies in is root's
	if err == nil {
		err = os.WriteFile(own, raw, 0o755)
	}
	if err == nil {
		err = os.Chmod(filepath.Dir(e.Home), 0o711) // of the test's own
	}
	if err == nil {
		err = filepath.WalkDir(e.Home, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, nobody))
		})
	}
	if err != nil {
		e.t.Fatal(err)
	}
	e.program, e.user = own, &syscall.Credential{Uid: nobody, Gid: nobody}
}

// New returns an empty home.
func New(t testing.TB) *Env {
	t.Helper()
	home := t.TempDir()
	for _, d := range []string{"run", ".aws"} {
		if err := os.Mkdir(filepath.Join(home, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(home, "cache.key")
	if err := os.WriteFile(key, []byte(rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := &Env{t: t, Home: home, Vars: []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + home + "/.config", "XDG_CACHE_HOME=" + home + "/.cache",
		"XDG_STATE_HOME=" + home + "/.state", "XDG_RUNTIME_DIR=" + home + "/run",
		"STUDYFS_TIMEOUT_ANSWER=2s", "STUDYFS_TIMEOUT_PROGRESS=2s", "STUDYFS_TIMEOUT_RETRY=10s",
		"GOTRACEBACK=all", "GORACE=halt_on_error=1",
		"STUDYFS_CACHE_KEY=file:" + key,      // not the kernel's keyring: all tests of one user would meet in it, and containers have none
		"DBUS_SESSION_BUS_ADDRESS=disabled:", // nor the desktop's
	}}
	t.Cleanup(e.checkLogs)
	return e
}

// checkLogs fails the test if a server of this home panicked or raced.
func (e *Env) checkLogs() {
	logs, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*", "*.log"))
	more, _ := filepath.Glob(filepath.Join(e.Home, ".state", "studyfs", "*.log"))
	for _, log := range append(logs, more...) {
		raw, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		if bytes.Contains(raw, []byte("panic")) || bytes.Contains(raw, []byte("DATA RACE")) || e.t.Failed() {
			e.t.Errorf("log of the server:\n%s", raw)
		}
	}
}

// Result is what a finished program left.
type Result struct {
	Out, Err string
	Code     int
}

// Run runs studyfs to its end, within two minutes.
func (e *Env) Run(args ...string) Result {
	e.t.Helper()
	if e.program != "" {
		return e.Exec(e.program, args...)
	}
	return e.Exec(Program(e.t), args...)
}

// Exec runs any program in this home, within two minutes.
func (e *Env) Exec(name string, args ...string) Result {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Dir = e.Vars, e.Home
	if e.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: e.user}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, errs.String())
	}
	return Result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// Mount mounts with the given arguments, DIR left out, at a fresh directory and returns it. It is unmounted at the end
// of the test, and given up on by force if it answers no more.
func (e *Env) Mount(args ...string) string {
	e.t.Helper()
	dir := filepath.Join(e.Home, "mnt")
	e.MountAt(dir, args...)
	return dir
}

// MountAt is Mount at a directory of the caller's choice.
func (e *Env) MountAt(dir string, args ...string) {
	e.t.Helper()
	if r := e.Run(append(append([]string{"mount"}, args...), dir)...); r.Code != 0 {
		e.t.Fatalf("mount: exit %d\n%s", r.Code, r.Err)
	}
	e.UnmountAtEnd(dir)
}

// UnmountAtEnd sees to it that nothing is mounted at dir when the test has ended.
func (e *Env) UnmountAtEnd(dir string) {
	e.t.Helper()
	watchdog := time.AfterFunc(8*time.Minute, func() { abort(dir) })
	e.t.Cleanup(func() {
		watchdog.Stop()
		if mounted(dir) {
			e.Unmount(dir)
		}
		abort(dir)
	})
}

// Unmount unmounts and checks that it went well.
func (e *Env) Unmount(dir string) {
	e.t.Helper()
	if r := e.Run("umount", dir); r.Code != 0 {
		e.t.Errorf("umount: exit %d\n%s", r.Code, r.Err)
	}
}

func mounted(dir string) bool {
	raw, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(raw), " "+dir+" ")
}

// abort ends the connection of a mount that is left, so that nobody waits for it for ever.
func abort(dir string) {
	if !mounted(dir) {
		return
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) > 4 && f[4] == dir {
			_, minor, _ := strings.Cut(f[2], ":")
			os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0) // the unmount below is next
		}
	}
	syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH) // by force: it ends the connection even where there is no such file
}
