package kill

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/tests/harness"
)

// Subject is a program that mounts the bucket "study" writable.
type Subject interface {
	// Mount serves it at Dir; what an earlier run left to be uploaded is taken up.
	Mount(t testing.TB)
	// Kill sends SIGKILL to the process that serves it, and returns when that is gone.
	Kill(t testing.TB)
	// Drain returns when all is uploaded that can be.
	Drain(t testing.TB, arrived func() bool)
	// Dir is where it is mounted.
	Dir() string
}

// Studyfs is the program under test.
type Studyfs struct {
	Env  *harness.Env
	URL  string
	Args []string // of mount, beside those that every mount gets

	used bool
}

// Dir is part of Subject.
func (s *Studyfs) Dir() string { return filepath.Join(s.Env.Home, "mnt") }

// Mount is part of Subject. What is still mounted from before is left for the program to clear.
func (s *Studyfs) Mount(t testing.TB) {
	t.Helper()
	if !s.used {
		s.used = true
		t.Cleanup(func() {
			if harness.Mounted(s.Dir()) {
				s.Env.Run("umount", s.Dir()) // fails where it was killed
			}
			harness.Abort(s.Dir())
		})
	}
	if r := s.Env.Run(append(append([]string{"mount"}, harness.Writable(s.URL, s.Args...)...), s.Dir())...); r.Code != 0 {
		t.Fatalf("mount: exit %d\n%s", r.Code, r.Err)
	}
}

// Kill is part of Subject.
func (s *Studyfs) Kill(t testing.TB) {
	t.Helper()
	s.Env.Kill(s.Dir())
}

// Drain is part of Subject.
func (s *Studyfs) Drain(t testing.TB, _ func() bool) {
	t.Helper()
	s.Env.Settle(s.Dir()) // files that were open are orphans now, and wait for somebody
}

// Rclone is `rclone mount --vfs-cache-mode writes`, what people use today: the same campaign tells how it compares.
type Rclone struct {
	Program string
	URL     string
	Home    string

	cmd   *exec.Cmd
	ended chan struct{}
}

// Dir is part of Subject.
func (s *Rclone) Dir() string { return filepath.Join(s.Home, "rclone") }

// Mount is part of Subject.
func (s *Rclone) Mount(t testing.TB) {
	t.Helper()
	harness.Abort(s.Dir())
	if err := os.MkdirAll(s.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(s.Program, "mount", "--vfs-cache-mode", "writes", "--vfs-write-back", "300ms", "--cache-dir", filepath.Join(s.Home, "rclone-cache"),
		"--config", filepath.Join(s.Home, "rclone.conf"), "--transfers", "8", "--log-file", filepath.Join(s.Home, "rclone.log"), "-v", "s3:study", s.Dir())
	config := fmt.Sprintf("[s3]\ntype = s3\nprovider = Other\naccess_key_id = %s\nsecret_access_key = %s\nendpoint = %s\nregion = us-east-1\nno_check_bucket = true\nlist_version = 2\n", harness.ID, harness.Secret, s.URL)
	if err := os.WriteFile(filepath.Join(s.Home, "rclone.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := s.cmd, make(chan struct{})
	s.ended = ended
	go func() { cmd.Wait(); close(ended) }()
	for deadline := time.Now().Add(2 * time.Minute); !harness.Mounted(s.Dir()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("rclone does not mount")
		}
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		harness.Abort(s.Dir())
		<-ended
	})
}

// Kill is part of Subject.
func (s *Rclone) Kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(2 * time.Second):
		// A thread that tells the kernel to forget a name can wait for a lock that a rename holds, whose answer will never come: SIGKILL
		// does not end that.
		harness.Abort(s.Dir())
		<-s.ended
	}
}

// Drain is part of Subject. rclone cannot be asked: it has 25 seconds after the last arrival.
func (s *Rclone) Drain(t testing.TB, arrived func() bool) {
	t.Helper()
	for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline) && !arrived(); {
		time.Sleep(200 * time.Millisecond)
	}
}

// RcloneProgram returns the path of rclone, from STUDYFS_RCLONE or the path, and skips the test without one.
func RcloneProgram(t testing.TB) string {
	t.Helper()
	name := os.Getenv("STUDYFS_RCLONE")
	if name == "" {
		t.Skip("STUDYFS_RCLONE names no rclone to compare with")
	}
	path, err := exec.LookPath(strings.TrimSpace(name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
