package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
)

// Quiet is how long a file must have been left alone in these tests before it is uploaded.
const Quiet = 300 * time.Millisecond

// Writable returns the arguments that mount the bucket "study" for writing, with more of them at the end.
func Writable(url string, more ...string) []string {
	return append([]string{"s3://study/", "--endpoint-url", url, "--profile", "lab", "--region", "us-east-1", "--write", "--quiet", Quiet.String()}, more...)
}

// NeedWrites skips the test if the program cannot mount for writing.
func NeedWrites(t testing.TB) {
	t.Helper()
	if out, err := exec.Command(Program(t), "mount", "--help").CombinedOutput(); err != nil || !strings.Contains(string(out), "--write") {
		t.Skip("the program cannot mount for writing")
	}
}

// PID returns the process that serves a mount.
func (e *Env) PID(dir string) int {
	e.t.Helper()
	r := e.Run("status", "--json", dir)
	var report struct {
		Mounts []struct {
			PID int `json:"pid"`
		} `json:"mounts"`
	}
	if err := json.Unmarshal([]byte(r.Out), &report); r.Code != 0 || err != nil || len(report.Mounts) != 1 {
		e.t.Fatalf("status of %s: exit %d, %v\n%s%s", dir, r.Code, err, r.Out, r.Err)
	}
	return report.Mounts[0].PID
}

// Kill ends the process that serves a mount as a crash does, and returns when it is gone. What was mounted stays as a dead mount.
func (e *Env) Kill(dir string) {
	e.t.Helper()
	KillProcess(e.t, e.PID(dir))
}

// KillProcess sends SIGKILL to a process of another parent, and returns when its last thread is gone, or when one of them has not ended
// in two seconds: one that waits for a lock in the kernel does not.
func KillProcess(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Second); Alive(pid) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// Alive reports whether any thread of a process runs: those that have ended and that nobody has waited for yet do not count.
func Alive(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, stat := range threads {
		raw, err := os.ReadFile(stat)
		_, rest, _ := strings.Cut(string(raw), ") ")
		if err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X") {
			return true
		}
	}
	return err != nil
}

// Blocked describes the threads of all processes of a name that wait in the kernel and cannot be interrupted; where is from /proc, for root only.
func Blocked(name string) string {
	var text strings.Builder
	threads, err := filepath.Glob("/proc/[0-9]*/task/*/stat")
	if err != nil {
		return ""
	}
	for _, stat := range threads {
		raw, err := os.ReadFile(stat)
		if err != nil || !strings.Contains(string(raw), "("+name) {
			continue
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		if strings.HasPrefix(rest, "D") {
			where, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "stack"))
			fmt.Fprintf(&text, "%s\n%s", stat, where)
		}
	}
	return text.String()
}

// Drain returns when all that was closed below a mount is uploaded. Whatever waits for a person fails the test.
func (e *Env) Drain(dir string) {
	e.t.Helper()
	if r := e.Run("uploads", "wait", dir); r.Code != 0 {
		e.t.Fatalf("uploads wait: exit %d\n%s%s\n%.4000s", r.Code, r.Out, r.Err, e.Run("uploads", "ls").Out)
	}
}

// Item is one staged thing as `studyfs uploads ls --json` tells it.
type Item struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Error string `json:"error"`
}

// Uploads returns what is not stored of all stages of this home.
func (e *Env) Uploads() []Item {
	e.t.Helper()
	r := e.Run("uploads", "ls", "--json")
	var report struct {
		Stages []struct {
			Items []Item `json:"items"`
		} `json:"stages"`
	}
	if err := json.Unmarshal([]byte(r.Out), &report); err != nil {
		e.t.Fatalf("uploads ls: exit %d, %v\n%.4000s%s", r.Code, err, r.Out, r.Err)
	}
	var all []Item
	for _, s := range report.Stages {
		all = append(all, s.Items...)
	}
	return all
}

// Settle returns when nothing below a mount goes on by itself any more; others than that may wait for a person. They are counted by state.
func (e *Env) Settle(dir string) map[string]int {
	e.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; {
		r := e.Run("uploads", "wait", dir)
		states := map[string]int{}
		for _, item := range e.Uploads() {
			states[item.State]++
		}
		if states["staged"]+states["uploading"] == 0 {
			return states
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("uploads wait: exit %d, %v\n%s%s", r.Code, states, r.Out, r.Err)
		}
	}
}

// Stored returns what lies in the bucket "study" below a prefix, by the rest of the key.
func Stored(srv *s3test.Server, prefix string) map[string][]byte {
	all := map[string][]byte{}
	for _, key := range srv.Keys("study") {
		name, ok := strings.CutPrefix(key, prefix)
		o, there := srv.Object("study", key)
		if !ok || !there {
			continue
		}
		body := make([]byte, o.Size)
		if _, err := io.ReadFull(io.NewSectionReader(o.Body, 0, o.Size), body); err != nil {
			panic(err) // it is in memory
		}
		all[name] = body
	}
	return all
}

// Sum is the SHA-256 of a body in hexadecimal.
func Sum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// EmptyCache removes what this home has cached. Nothing may be mounted.
func (e *Env) EmptyCache() {
	e.t.Helper()
	if err := os.RemoveAll(filepath.Join(e.Home, ".cache")); err != nil {
		e.t.Fatal(err)
	}
}

// Abort ends the connection of a dead or hanging mount and detaches it; nothing if there is none.
func Abort(dir string) { abort(dir) }

// Mounted reports whether anything is mounted at exactly that directory.
func Mounted(dir string) bool { return mounted(dir) }
