package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/tests/bench/data"
	"studyfs/tests/bench/mounts"
	"studyfs/tests/bench/report"
	"studyfs/tests/bench/store"
	"studyfs/tests/bench/work"
)

// The references, as the table heads their columns.
const (
	bareGET = "bare GET"
	native  = "ext4"
)

// lab is one call: its stores, its programs and what came of it.
type lab struct {
	o        options
	store    *store.Client
	tmp      string
	subjects []mounts.Subject
	names    []string // of all columns, references last
	progress io.Writer
	deadline time.Time
	result   report.Run
	took     map[string]time.Duration // by a workload's key and the subject: its last session
	failed   map[string]string        // why a workload is not run any more, by its key and the subject
	copies   map[string]string        // folders of this machine that hold a set, by bucket
	dirs     int
}

func newLab(ctx context.Context, o options, all []work.Workload, progress io.Writer) (*lab, error) {
	tmp, err := os.MkdirTemp("", "studyfs-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{
		o: o, tmp: tmp, progress: progress, deadline: time.Now().Add(o.budget), took: map[string]time.Duration{}, failed: map[string]string{}, copies: map[string]string{},
		result: report.Run{Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Command: o.command},
	}
	if err := l.prepare(ctx, all); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	if l.store != nil {
		l.store.Close()
	}
	if l.o.keep {
		fmt.Fprintf(l.progress, "kept: %s\n", l.tmp)
		return
	}
	os.RemoveAll(l.tmp)
}

func (l *lab) prepare(ctx context.Context, all []work.Workload) error {
	program, err := l.build(ctx)
	if err != nil {
		return err
	}
	l.findSubjects(program)
	switch {
	case l.o.noDrop:
		l.result.Notes = append(l.result.Notes, "The kernel's caches were not dropped.")
	case !mounts.Drop():
		l.result.Notes = append(l.result.Notes, "The kernel's caches were not dropped, which only root can.")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	gateway := slices.ContainsFunc(all, func(w work.Workload) bool { return w.Store == store.Gateway })
	l.store, err = store.Start(ctx, self, gateway)
	return err
}

// build makes studyfs of the source as it is.
func (l *lab) build(ctx context.Context) (string, error) {
	if l.o.program != "" {
		return filepath.Abs(l.o.program)
	}
	path := filepath.Join(l.tmp, "studyfs")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/studyfs")
	cmd.Dir = root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
}

// findSubjects notes who takes part; who is not installed stands in the report with how to install it.
func (l *lab) findSubjects(program string) {
	rclone, s3fs := mounts.Find("STUDYFS_RCLONE", "rclone"), mounts.Find("STUDYFS_S3FS", "s3fs")
	candidates := []mounts.Subject{mounts.Study{Program: program}}
	if !l.o.noPeers {
		candidates = append(candidates, mounts.Clone{Program: rclone}, mounts.Clone{Program: rclone, Tuned: true}, mounts.Fuse{Program: s3fs})
	}
	for _, s := range candidates {
		version, err := s.Version()
		entry := report.Subject{Name: s.Name(), Version: version, Ours: s.Name() == mounts.Studyfs}
		if err != nil {
			entry.Version, entry.Missing = err.Error(), true
			fmt.Fprintf(l.progress, "%s: %v\n", s.Name(), err)
		} else {
			l.subjects = append(l.subjects, s)
			l.names = append(l.names, s.Name())
		}
		l.result.Subjects = append(l.result.Subjects, entry)
	}
	l.names = append(l.names, bareGET, native)
	l.result.Subjects = append(l.result.Subjects,
		report.Subject{Name: bareGET, Version: "the same bytes asked for by a Go client, one request after the other for each reader", Reference: true},
		report.Subject{Name: native, Version: "the same files in a folder of this machine", Reference: true})
}

// machine describes what this runs on, with the load that was there before.
func machine() string {
	var u unix.Utsname
	release := ""
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	load, _ := os.ReadFile("/proc/loadavg") // without it nothing is said
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d cores, Linux %s, %s, load %s before", runtime.NumCPU(), release, runtime.Version(), first)
}

// copyOf returns a folder of this machine that holds the set.
func (l *lab) copyOf(set data.Spec) (string, error) {
	if dir := l.copies[set.Bucket]; dir != "" {
		return dir, nil
	}
	dir := filepath.Join(l.tmp, "native", set.Bucket)
	listed := set.Kind == data.Flat || set.Kind == data.Deep
	made := map[string]bool{}
	for _, f := range set.Files() {
		path := filepath.Join(dir, f.Name)
		if parent := filepath.Dir(path); !made[parent] {
			if err := os.MkdirAll(parent, 0o755); err != nil {
				return "", err
			}
			made[parent] = true
		}
		out, err := os.Create(path)
		if err != nil {
			return "", err
		}
		if listed {
			err = out.Truncate(f.Size) // nobody reads it
		} else {
			_, err = io.Copy(out, io.NewSectionReader(f.Body(), 0, f.Size))
		}
		if cerr := out.Close(); err != nil || cerr != nil {
			return "", fmt.Errorf("%s: %w", path, cmpError(err, cerr))
		}
	}
	l.copies[set.Bucket] = dir
	return dir, nil
}

func cmpError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// folder makes a fresh one.
func (l *lab) folder(name string) (string, error) {
	l.dirs++
	dir := filepath.Join(l.tmp, fmt.Sprintf("%s-%d", name, l.dirs))
	return dir, os.MkdirAll(dir, 0o700)
}

func (l *lab) drop() {
	if !l.o.noDrop {
		mounts.Drop()
	}
}
