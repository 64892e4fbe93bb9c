//go:build linux

package fs

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A harmless signal during open(2) must not fail it, as it would on no other file system.
func TestHarmlessSignalsDoNotInterrupt(t *testing.T) {
	m := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 1000}}})
	if _, err := os.Stat(m.path("f")); err != nil {
		t.Fatal(err)
	}
	m.do("stall", ".", "on")
	tid, result := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid <- unix.Gettid()
		result <- opened(unix.Open(m.path("f"), unix.O_RDONLY, 0)) // unlike os.Open, this does not try again on EINTR
	}()
	thread := <-tid
	for range 3 {
		time.Sleep(50 * time.Millisecond)
		if err := unix.Tgkill(os.Getpid(), thread, unix.SIGURG); err != nil {
			t.Fatal(err)
		}
	}
	m.do("stall", ".", "off")
	if err := <-result; err != nil {
		t.Errorf("open: %v", err)
	}
}

// Ctrl-C works for a program that handles it, and so does a deadly signal after a harmless one.
func TestInterruptIsAnswered(t *testing.T) {
	m := mount(t, setup{Objects: []object{{Name: "f", Version: "1", Size: 1000}}})
	m.do("stall", ".", "on")
	for _, signals := range [][]os.Signal{{syscall.SIGINT}, {syscall.SIGCHLD, syscall.SIGTERM}} {
		// python handles SIGINT, and SIGCHLD here; the open is tried again by it unless the handler raises
		reader := exec.Command("python3", "-c", "import signal,sys; signal.signal(signal.SIGCHLD, lambda *_: None); open(sys.argv[1])", m.path("f"))
		if err := reader.Start(); err != nil {
			t.Skip(err)
		}
		time.Sleep(400 * time.Millisecond)
		var start time.Time
		for _, s := range signals {
			start = time.Now()
			reader.Process.Signal(s)
			time.Sleep(50 * time.Millisecond)
		}
		reader.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%v: gone after %v", signals, took)
		}
	}
}

// The whole of it for a user without privileges: mounted through fusermount3, no passthrough.
func TestUnprivilegedMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	if _, err := helper(); err != nil {
		t.Skip(err)
	}
	if info, err := os.Stat("/dev/fuse"); err != nil || info.Mode()&0o006 != 0o006 {
		t.Skip("only root may open /dev/fuse here")
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	m := mount(t, setup{User: 65534, Objects: []object{{Name: "d/f", Version: "1", Size: 3 << 20}}})
	as := func(name string, arg ...string) ([]byte, error) {
		cmd := exec.Command(name, arg...)
		cmd.SysProcAttr = nobody
		return cmd.CombinedOutput()
	}
	for range 2 {
		if got, err := as("cat", m.path("d/f")); err != nil || len(got) != 3<<20 || !same("d/f", "1", got) {
			t.Errorf("cat: %d bytes, %v", len(got), err)
		}
	}
	if out, err := as("rm", "-f", m.path("d/f")); err == nil || !strings.Contains(string(out), "Read-only file system") {
		t.Errorf("rm: %s, %v", out, err)
	}
	if got := m.do("passthrough"); got != fmt.Sprintf("false needs root (CAP_SYS_ADMIN): %v", syscall.EPERM) {
		t.Errorf("passthrough: %s", got)
	}
	if got := m.do("readahead"); !strings.HasPrefix(got, "131072 ") || !strings.Contains(got, "permission denied") {
		t.Errorf("readahead: %s", got)
	}
}
