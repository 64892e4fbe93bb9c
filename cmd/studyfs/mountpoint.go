package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

const fuseType = "fuse.studyfs"

// absolute returns dir as the kernel's mount table names it. It does not touch dir itself, since that may be a mount
// whose process is dead or hangs.
func absolute(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir == "/" {
		return dir, nil
	}
	if target, err := os.Readlink(dir); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(dir), target)
		}
		return absolute(target)
	}
	up, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return dir, nil //nolint:nilerr // prepare says what is wrong with it
	}
	return filepath.Join(up, filepath.Base(dir)), nil
}

// mountedAt returns the file system type of the topmost mount exactly at dir, "" if there is none.
func mountedAt(dir string) string {
	f, err := host.MountTable()
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	return findMount(f, dir)
}

func findMount(table io.Reader, dir string) string {
	found := ""
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() { // 36 35 98:0 /root /mount/point rw,noatime shared:1 - type source options
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || unescapeMount(fields[4]) != dir {
			continue
		}
		found, _, _ = strings.Cut(after, " ")
	}
	return found
}

// findConnection returns the number that the kernel has given the topmost FUSE mount at dir.
func findConnection(table io.Reader, dir string) (minor string) {
	lines := bufio.NewScanner(table)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && unescapeMount(fields[4]) == dir {
			_, minor, _ = strings.Cut(fields[2], ":")
		}
	}
	return minor
}

// unescapeMount undoes the kernel's \040 for blanks and the like.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// prepareMountPoint makes sure that dir can be mounted on: it clears what a dead process left, and creates a directory
// that is missing below an existing one.
func prepareMountPoint(p places, dir string, env environment) (created bool, notices []string, err error) {
	if err := fuseAvailable(); err != nil {
		return false, nil, err
	}
	if isStale(p, dir) {
		if err := detach(dir); err != nil {
			return false, nil, &failure{What: dir, Why: "cannot clear the mount of a process that has ended (" + lastCause(err) + ")", Do: "fusermount3 -uz " + quote(dir), Code: exitCannotCreate}
		}
		notices = append(notices, "cleared "+dir+": it was mounted by a process that has ended")
	}
	if mountedAt(dir) == fuseType {
		return false, nil, &failure{What: dir, Why: "studyfs is mounted there already", Do: "studyfs status " + quote(dir) + "\nstudyfs umount " + quote(dir), Code: exitCannotCreate}
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.Mkdir(dir, 0o700); err != nil {
			return false, nil, &failure{What: dir, Why: "cannot create it (" + lastCause(err) + ")", Do: "mkdir -p " + quote(dir), Code: exitCannotCreate}
		}
		return true, notices, nil
	case errors.Is(err, syscall.ENOTDIR):
		err = &failure{What: dir, Why: "not a directory", Do: "choose an empty directory, or a name that does not exist yet", Code: exitCannotCreate}
	case err != nil:
		err = &failure{What: dir, Why: lastCause(err), Do: "choose a directory of your own", Code: exitCannotCreate}
	case len(entries) > 0:
		err = &failure{What: dir, Why: "the directory is not empty: its files would be hidden", Do: "choose an empty directory, or a name that does not exist yet", Code: exitCannotCreate}
	case env.uid != 0 && unix.Access(dir, unix.W_OK) != nil:
		err = &failure{What: dir, Why: "no permission to mount there", Do: "choose a directory that you can write to", Code: exitCannotCreate}
	}
	return false, notices, err
}

// stalePatience is how long the root of a mount has to be opened before that is taken for a sign that it hangs.
const stalePatience = 3 * time.Second

// isStale reports whether dir is a FUSE mount whose process is gone. A stat would not tell: the kernel answers it
// from memory for as long as it was told to believe the root's attributes. One that was killed while it waited in the
// kernel for somebody who waits for it has not ended as far as the kernel knows; nobody can use the mount then.
func isStale(p places, dir string) bool {
	if !strings.HasPrefix(mountedAt(dir), "fuse") {
		return false
	}
	opened := make(chan error, 1)
	go func() { // ends when the mount answers or is detached
		f, err := os.Open(dir)
		if err == nil {
			f.Close() //nolint:errcheck // only opened
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		return errors.Is(err, unix.ENOTCONN)
	case <-time.After(stalePatience):
	}
	if mountedAt(dir) != fuseType {
		return false
	}
	_, err := ask(context.Background(), p.socketOf(dir), request{Op: "status"})
	return errors.Is(err, errNoMount)
}
