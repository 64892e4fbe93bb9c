package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

const (
	littleRoom = 1 << 30  // a disk that has less is soon full
	noRoom     = 64 << 20 // and one with less as good as
)

func checkCacheDisk(_ context.Context, c *checkup) []finding {
	d := diskCheck{dir: c.places.cache, flag: "--cache-dir", wants: int64(c.l.Cache.Size)}
	return d.run()
}

func checkStateDisk(_ context.Context, c *checkup) []finding {
	d := diskCheck{dir: c.places.state, flag: "--state-dir", lasting: true}
	return d.run()
}

// diskCheck looks at the disk below a directory that studyfs keeps things in.
type diskCheck struct {
	dir, flag string
	wants     int64 // how much may come to lie there
	lasting   bool  // what lies there must survive a boot

	at string // what of dir exists already
}

func (d *diskCheck) run() []finding {
	if d.dir == "" {
		return []finding{skip("it is not known where to look")}
	}
	for d.at = d.dir; ; d.at = filepath.Dir(d.at) {
		info, err := os.Stat(d.at)
		if err == nil && !info.IsDir() {
			return []finding{fail("%s is not a directory", d.at).do("choose another place with " + d.flag)}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || d.at == filepath.Dir(d.at) {
			return []finding{fail("%s: %w", d.at, err).do("choose another place with " + d.flag)}
		}
	}
	all := []finding{d.room()}
	if f := d.writable(); f.State != stateOK {
		return append(all, f)
	}
	if f, has := d.quota(); has {
		all = append(all, f)
	}
	return append(all, d.kind()...)
}

func (d *diskCheck) room() finding {
	var s unix.Statfs_t
	if err := unix.Statfs(d.at, &s); err != nil {
		return fail("%s: %w", d.at, err).do("choose another place with " + d.flag)
	}
	free := int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // 32 bits on macOS
	switch advice := "free some space, or choose another place with " + d.flag; {
	case free < noRoom:
		return fail("%s has %s left", d.dir, public(humanBytes(free))).do(advice)
	case s.Files > 0 && s.Ffree < 1000:
		return fail("%s has room for %d more files only", d.dir, s.Ffree).do(advice)
	case free < littleRoom:
		return warn("%s has %s left", d.dir, public(humanBytes(free))).do(advice)
	case free < d.wants-dirBytes(d.dir, d.wants):
		return warn("%s has %s left, and up to %s may be kept there", d.dir, public(humanBytes(free)), public(humanBytes(d.wants))).
			do("let it keep less, for example --cache-size " + byteSize(free/2>>20<<20).String())
	}
	return fine("%s has %s left", d.dir, public(humanBytes(free)))
}

// dirBytes is what lies in the cache already; it is looked at only where it matters.
func dirBytes(dir string, wants int64) int64 {
	if wants == 0 {
		return 0
	}
	return diskUsage(dir)
}

// writable writes a little file, makes sure of it, and removes it: nothing else tells of quotas, read-only disks and missing rights alike.
func (d *diskCheck) writable() finding {
	f, err := os.CreateTemp(d.at, ".studyfs-doctor-*")
	if err == nil {
		_, err = f.Write(bytes.Repeat([]byte{1}, 4096))
		err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	}
	switch {
	case err == nil:
		return fine("%s can be written to", d.dir)
	case errors.Is(err, unix.EDQUOT):
		return fail("your quota on the disk of %s is used up", d.dir).do("quota -s shows it; choose another place with " + d.flag)
	case errors.Is(err, unix.EROFS):
		return fail("the disk of %s is mounted read-only", d.dir).do("choose another place with " + d.flag)
	case errors.Is(err, unix.ENOSPC):
		return fail("the disk of %s is full", d.dir).do("df " + quote(d.at) + "; free some space, or choose another place with " + d.flag)
	}
	return fail("%s cannot be written to: %w", d.dir, err).do("ls -ld " + quote(d.at) + "; choose another place with " + d.flag)
}

// quota tells of the user's quota, where the file system has one and the kernel tells it.
func (d *diskCheck) quota() (finding, bool) {
	left, has := host.QuotaLeft(d.at)
	if !has {
		return finding{}, false
	}
	f := fine("your quota on the disk of %s leaves %s", d.dir, public(humanBytes(left)))
	if left < littleRoom {
		f = warn("your quota on the disk of %s leaves %s", d.dir, public(humanBytes(left))).do("quota -s shows it; choose another place with " + d.flag)
	}
	return f, true
}

// kind tells what file system it is, and what that means for files that must survive.
func (d *diskCheck) kind() []finding {
	disk, err := host.DiskOf(d.at)
	if err != nil {
		return nil
	}
	advice := "choose a place on a local disk with " + d.flag
	switch {
	case disk.Remote && d.lasting:
		return []finding{warn("%s lies on a network file system (%s): locks and what was closed are as safe as its server makes them", d.dir, public(disk.Name)).do(advice)}
	case disk.Remote:
		return []finding{warn("%s lies on a network file system (%s): a cache there is hardly faster than the source", d.dir, public(disk.Name)).do(advice)}
	case disk.Name == "tmpfs" && d.lasting:
		return []finding{warn("%s lies in memory (tmpfs): what is not uploaded is lost with the next boot", d.dir).do(advice)}
	case !d.lasting:
		return nil
	}
	note := ""
	if disk.NoExec {
		note = ", noexec, which does no harm"
	}
	all := []finding{fine("%s lies on a local file system (%s%s)", d.dir, public(disk.Name), public(note))}
	if err := d.attributes(); err != nil {
		all = append(all, warn("its file system keeps no extended attributes (%w): each file that is copied in takes a second one", err).do(advice))
	}
	return all
}

// attributes tries whether files can be labelled.
func (d *diskCheck) attributes() error {
	f, err := os.CreateTemp(d.at, ".studyfs-doctor-*")
	if err != nil {
		return nil // said already
	}
	defer os.Remove(f.Name()) //nolint:errcheck // as good as it gets
	defer f.Close()           //nolint:errcheck // nothing was written
	return unix.Fsetxattr(int(f.Fd()), "user.studyfs.doctor", []byte("1"), 0)
}
