package fs

import (
	"strconv"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
	"studyfs/cache/stage"
)

const (
	// What is shown of things of which nothing is known but that the source has them.
	storedFileMode = 0o644
	storedDirMode  = 0o755
	// stagedTimeout is how long the kernel may believe the size and times of a staged file. What it writes itself, into
	// the local file too, it knows; but a mapping of the local file moves its time without telling.
	stagedTimeout = time.Second
)

// number is the inode number that users see of what is staged, or was before it was stored, and what tells its nodes
// apart. It stays when the thing is renamed, and something new under its old name has another.
func (o *overlay) number(id stage.ID) (ino, gen uint64) {
	own := hash("item", o.t.name, strconv.FormatUint(uint64(id), 10))
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.numbers[id]; ok {
		if s.Mode != syscall.S_IFDIR {
			return s.Ino, own
		}
		return s.Ino, s.Gen
	}
	return own, own
}

// keepNumber gives a thing of the stage the number of what it stands for, which had the identity s: a copy of a stored
// file that is to be changed, what was stored and has moved, or a directory that would vanish. That one stays the same
// node. It is kept for as long as the mount.
func (o *overlay) keepNumber(id stage.ID, s fusefs.StableAttr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.numbers[id]; !known {
		o.numbers[id] = s
	}
}

// identity is what go-fuse and the kernel know an item's node by. A directory stays the same one when it is stored; a
// file that is stored becomes another node with the same number: its bytes then come from elsewhere.
func (o *overlay) identity(it item) fusefs.StableAttr {
	id := it.info.ID
	if !it.staged {
		if m, ok := o.stage.Remember(it.e); ok && it.name != "" {
			id = m.ID
		}
	}
	var s fusefs.StableAttr
	if !it.staged {
		s = identity(o.t.name, it.e)
	}
	s.Mode = modeOf(it.kind)
	if id == 0 {
		return s
	}
	ino, gen := o.number(id)
	if s.Ino = ino; it.staged || it.kind == stage.Dir {
		s.Gen = gen
	}
	return s
}

func modeOf(k stage.Kind) uint32 {
	switch k {
	case stage.Dir:
		return syscall.S_IFDIR
	case stage.Link:
		return syscall.S_IFLNK
	default:
		return syscall.S_IFREG
	}
}

// attrOf is what is shown of an item beside its size, and when it last changed.
func (o *overlay) attrOf(it item) (a stage.Attr, changed time.Time) {
	if it.staged {
		return it.info.Attr, it.info.Changed
	}
	if m, ok := o.stage.Remember(it.e); ok {
		return m.Attr, m.Changed
	}
	a = stage.Attr{Mode: storedFileMode, UID: o.t.fs.o.UID, GID: o.t.fs.o.GID, ModTime: it.e.ModTime}
	switch it.kind {
	case stage.Dir:
		a.Mode = storedDirMode
	case stage.Link:
		a.Mode = linkMode
	case stage.Regular:
	}
	if a.ModTime.IsZero() {
		a.ModTime = o.t.fs.born
	}
	return a, a.ModTime
}

func sizeOfItem(it item) int64 {
	switch {
	case it.kind == stage.Dir:
		return 0
	case it.staged:
		return it.info.Size
	case it.e.Link != "":
		return int64(len(it.e.Link))
	}
	return max(it.e.Size, 0)
}

// fill tells what stat shows of an item.
func (o *overlay) fill(it item, out *fuse.Attr) {
	a, changed := o.attrOf(it)
	if changed.IsZero() {
		changed = a.ModTime
	}
	mode := a.Mode & 0o7777
	if it.kind == stage.Link {
		mode = linkMode
	}
	out.Ino, out.Mode, out.Nlink = o.identity(it).Ino, modeOf(it.kind)|mode, 1
	out.Owner = fuse.Owner{Uid: a.UID, Gid: a.GID}
	out.Size = uint64(sizeOfItem(it))
	out.Blocks, out.Blksize = (out.Size+511)/512, blockSize
	if it.kind == stage.Dir {
		out.Nlink = 2
	}
	read := a.ATime
	if read.IsZero() {
		read = a.ModTime
	}
	out.SetTimes(&read, &a.ModTime, &changed)
}

// attrTimeout is how long the kernel may keep what fill filled in.
func (o *overlay) attrTimeout(it item) time.Duration {
	switch {
	case it.kind == stage.Dir:
		return o.entryTimeout(it)
	case it.kind == stage.Link || !it.staged && it.e.Size != backends.SizeUnknown:
		return fileAttrTimeout
	case !it.staged:
		return 0
	}
	return stagedTimeout
}

// entryTimeout is how long the kernel may believe the name. What is staged changes only through this mount and through
// the stage, which tells of it.
func (o *overlay) entryTimeout(it item) time.Duration {
	if it.staged {
		return maxTimeout
	}
	parent, _ := backends.Split(it.name)
	return believed(o.t.store.Fresh(parent))
}

// setter turns what a program asked for into a change of attributes; ok is false where that is nothing. The kernel leaves it to
// us to take away setuid and setgid where owner or size change; where bytes do, the stage sees to it.
func setter(in *fuse.SetAttrIn) (change func(*stage.Attr), ok bool) {
	mode, hasMode := in.GetMode()
	uid, hasUID := in.GetUID()
	gid, hasGID := in.GetGID()
	when, hasTime := in.GetMTime()
	read, hasRead := in.GetATime()
	drop := in.Valid&fuse.FATTR_KILL_SUIDGID != 0
	return func(a *stage.Attr) {
		if drop {
			a.Mode = stage.Unprivileged(a.Mode)
		}
		if hasMode {
			a.Mode = mode & 0o7777
		}
		if hasUID {
			a.UID = uid
		}
		if hasGID {
			a.GID = gid
		}
		setTimes(a, read, hasRead, when, hasTime)
	}, hasMode || hasUID || hasGID || hasTime || hasRead || drop
}

// setTimes sets those of the two times that were asked for, and no other.
func setTimes(a *stage.Attr, read time.Time, hasRead bool, when time.Time, hasTime bool) {
	if hasTime {
		if a.ATime.IsZero() { // it was shown as the other
			a.ATime = a.ModTime
		}
		a.ModTime = when
	}
	if hasRead {
		a.ATime = read
	}
}
