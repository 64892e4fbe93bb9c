// Package mounts runs the programs that the laboratory compares: studyfs and its peers, each in a home of its own.
package mounts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"studyfs/tests/bench/store"
	"studyfs/tests/harness"
)

// Names of the subjects, as the table heads its columns.
const (
	Studyfs     = "studyfs"
	Rclone      = "rclone"
	RcloneTuned = "rclone, tuned"
	S3fs        = "s3fs"
)

// Place is what is mounted where. A second mount with the same Home finds what the first has kept.
type Place struct {
	Home   string // of cache and configuration
	Dir    string // where to mount, an empty folder
	Store  store.Name
	URL    string // of the store
	Bucket string
	Write  bool
}

// Subject is a program that can mount.
type Subject interface {
	Name() string
	// Version is what the program says of itself, or why it cannot be run.
	Version() (string, error)
	// Mount returns when the mount can be used.
	Mount(ctx context.Context, p Place) (*Mount, error)
}

// Mount is a mount and the process that serves it.
type Mount struct {
	Dir string
	PID int

	end func() error // in an orderly way
}

// Unmount ends the mount, by force if it does not end in a minute.
func (m *Mount) Unmount() error {
	late := time.AfterFunc(time.Minute, func() { harness.Abort(m.Dir) })
	defer late.Stop()
	err := m.end()
	harness.Abort(m.Dir) // nothing if it has ended
	return err
}

// Usage is what the serving process has used.
type Usage struct {
	Peak int64         // bytes of memory at most
	CPU  time.Duration // user and system
}

// Usage reads /proc.
func (m *Mount) Usage() (u Usage) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID))
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64) // the kernel writes a number
			u.Peak = kib << 10
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.PID))
	_, rest, ok := strings.Cut(string(stat), ") ")
	if f := strings.Fields(rest); err == nil && ok && len(f) > 12 {
		for _, ticks := range f[11:13] {
			n, _ := strconv.ParseInt(ticks, 10, 64)       // the kernel writes a number
			u.CPU += time.Duration(n) * time.Second / 100 // USER_HZ
		}
	}
	return u
}

// Load reads the program and its libraries into the kernel's cache, where they are on any machine on which they are in use: with that cache dropped, a first
// read took 8 ms of 30 for parts of the program to come from the disk.
func (m *Mount) Load() {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", m.PID))
	if err != nil {
		return // it has ended; whoever uses the mount will see
	}
	loaded := map[string]bool{}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.Contains(f[1], "x") || !filepath.IsAbs(f[5]) || loaded[f[5]] {
			continue
		}
		loaded[f[5]] = true
		if file, err := os.Open(f[5]); err == nil {
			io.Copy(io.Discard, file)
			file.Close()
		}
	}
}

// serve starts a program that stays in front and mounts at p.Dir.
func serve(ctx context.Context, p Place, env []string, name string, args ...string) (*Mount, error) {
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Dir = append(home(p), env...), p.Home
	log, err := os.Create(filepath.Join(p.Home, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		err := exec.Command("fusermount3", "-u", p.Dir).Run()
		if err != nil {
			harness.Abort(p.Dir)
		}
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-ended
			err = errors.New("did not end after its unmount")
		}
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); !harness.Mounted(p.Dir); time.Sleep(5 * time.Millisecond) {
		select {
		case <-ended:
			return nil, fmt.Errorf("cannot mount: %s", tail(log.Name()))
		default:
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			cmd.Process.Kill()
			<-ended
			harness.Abort(p.Dir)
			return nil, fmt.Errorf("does not mount: %s", tail(log.Name()))
		}
	}
	return &Mount{Dir: p.Dir, PID: cmd.Process.Pid, end: stop}, nil
}

// tail is what a program wrote of its end: its last line, or the first that tells of an error, behind which many print how they are used.
func tail(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	last := ""
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
		if lower := strings.ToLower(line); strings.Contains(lower, "error") || strings.Contains(lower, "fatal") || strings.Contains(lower, "critical") {
			return line
		}
	}
	return last
}

// home is the environment of a user of their own.
func home(p Place) []string {
	return []string{
		"HOME=" + p.Home, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + p.Home + "/.config", "XDG_CACHE_HOME=" + p.Home + "/.cache",
		"XDG_STATE_HOME=" + p.Home + "/.state", "XDG_RUNTIME_DIR=" + p.Home,
		"AWS_ACCESS_KEY_ID=" + harness.ID, "AWS_SECRET_ACCESS_KEY=" + harness.Secret,
	}
}

// say runs a program to its end and returns the first line that it prints.
func say(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}

// Drop empties the kernel's caches of files, which only root can; false: it could not.
func Drop() bool {
	syscall.Sync() // what is not written yet is not dropped
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) == nil
}
