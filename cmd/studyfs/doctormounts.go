package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

// waitsTooLong is when a file that still waits for its upload is worth a word.
const waitsTooLong = time.Hour

// lookPath finds a program as a shell would.
func lookPath(env environment, name string) (string, error) {
	for _, dir := range filepath.SplitList(env.get("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

// ourMounts lists the directories where this user's studyfs is mounted.
func ourMounts(table io.Reader, uid int) []string {
	var dirs []string
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(rest) < 3 || rest[0] != fuseType {
			continue
		}
		if !slices.Contains(strings.Split(rest[2], ","), "user_id="+strconv.Itoa(uid)) {
			continue
		}
		if dir := unescapeMount(fields[4]); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// checkMounts looks for mounts that nobody serves any more: whoever touches them gets errors, or hangs.
func checkMounts(ctx context.Context, c *checkup) []finding {
	f, err := host.MountTable()
	if err != nil {
		return []finding{skip("the mounts cannot be listed: %w", err)}
	}
	defer f.Close() //nolint:errcheck // only read
	dirs := ourMounts(f, c.l.env.uid)
	found := make([]finding, len(dirs))
	var all sync.WaitGroup
	for i, dir := range dirs {
		all.Go(func() { found[i] = c.checkMount(ctx, dir) })
	}
	all.Wait()
	if len(dirs) == 0 {
		return []finding{fine("nothing is mounted")}
	}
	return found
}

func (c *checkup) checkMount(ctx context.Context, dir string) finding {
	r, err := ask(ctx, c.places.socketOf(dir), request{Op: "status"})
	switch answered := err == nil && r.Mount != nil; {
	case !answered && isStale(c.places, dir): //nolint:contextcheck // it has a limit of its own
		return fail("%s was mounted by a process that has ended", dir).do("studyfs umount " + quote(dir) + "\nor: fusermount3 -uz " + quote(dir))
	case !answered:
		return warn("%s is mounted, but its process does not answer here", dir).
			do("set XDG_RUNTIME_DIR and --state-dir as they were when it was mounted, or: fusermount3 -u " + quote(dir))
	}
	for _, s := range r.Mount.Sources {
		if len(s.Errors) > 0 {
			return warn("%s is mounted, with trouble: %s", dir, s.Errors[0].Why).do(s.Errors[0].Do)
		}
	}
	return fine("%s is mounted (process %d)", dir, r.Mount.PID)
}

// checkUploads looks for files that no longer move by themselves, and for those that wait for long.
func checkUploads(ctx context.Context, c *checkup) []finding {
	if c.trouble != nil && c.places.state == "" {
		return []finding{skip("it is not known where to look")}
	}
	stages, err := c.app.findStages(ctx, c.l, uploadsRequest{})
	if err != nil {
		return []finding{failed(err)}
	}
	var all []finding
	for _, r := range stages {
		all = append(all, r.report.findings()...)
	}
	if len(all) == 0 {
		return []finding{fine("nothing waits")}
	}
	return all
}

// findings tells what is stuck in one stage.
func (s stageReport) findings() []finding {
	subject := s.Source
	if subject == "" {
		subject = s.ID
	}
	if s.Error != "" {
		return []finding{warn("what waits cannot be told: %s", s.Error).do("studyfs uploads ls").of("uploads", subject)}
	}
	u := s.Uploads
	var all []finding
	if n := u.stalled(); n > 0 {
		all = append(all, fail("%s %s for a decision of yours (%s)", public(countFiles(n)), public(pick(n, "waits", "wait")), public(u.stalledWords())).
			do("studyfs uploads ls "+quote(subject)+" shows them\nstudyfs uploads retry, resolve or drop settles them"))
	}
	if u.moving() > 0 {
		oldest := 0.0
		for _, i := range s.Items {
			if i.State == "staged" || i.State == "uploading" {
				oldest = max(oldest, i.AgeS)
			}
		}
		f := fine("%s on the way, the oldest for %s", public(countFiles(u.moving())), public(humanAge(oldest)))
		if oldest > waitsTooLong.Seconds() {
			f = warn("%s on the way, the oldest for %s", public(countFiles(u.moving())), public(humanAge(oldest))).do(s.moveOn(subject))
		}
		all = append(all, f)
	}
	for i := range all {
		all[i].Check, all[i].Subject = "uploads", subject
	}
	return all
}

func (s stageReport) moveOn(subject string) string {
	switch {
	case s.Uploads.Paused != "":
		return "studyfs uploads resume " + quote(subject)
	case s.Dir == "":
		return "studyfs uploads run " + quote(subject)
	}
	return "studyfs uploads watch " + quote(subject)
}

func (u uploadStatus) stalledWords() string {
	return uploadStatus{Conflict: u.Conflict, Parked: u.Parked, Failed: u.Failed, Orphan: u.Orphan, Quarantined: u.Quarantined}.summary()
}

// checkLocks tells which processes hold what other processes of this user may want.
func checkLocks(_ context.Context, c *checkup) []finding {
	var all []finding
	stages, err := filepath.Glob(c.places.stageOf("*"))
	if err != nil || c.places.state == "" {
		return []finding{skip("the locks cannot be listed")}
	}
	for _, dir := range stages {
		if !locked(filepath.Join(dir, "lock")) {
			continue
		}
		pid, name := lockHolder(dir)
		all = append(all, fine("%s is written to by process %d (%s)", c.places.recall(filepath.Base(filepath.Dir(dir))).URL, pid, name))
	}
	if len(all) == 0 {
		return []finding{fine("no process holds one")}
	}
	return all
}

// locked reports whether somebody holds the lock. It takes and gives it back where nobody does.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing is written; gives the lock back, too
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// sourceNames are the sources of the configuration, in order.
func (l *loaded) sourceNames() []string {
	names := make([]string, 0, len(l.Source))
	for name := range l.Source {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
