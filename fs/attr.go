package fs

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
)

const (
	fileMode = 0o444
	dirMode  = 0o555
	linkMode = 0o777
	// blockSize is what programs are told to read by: cp and cat follow it.
	blockSize = 128 << 10
	// fileAttrTimeout may be long: a node is a version, so what it shows never changes.
	fileAttrTimeout = time.Hour
)

// hash is 64 bits over parts, never one of the numbers that go-fuse keeps for itself.
func hash(parts ...string) uint64 {
	var room [512]byte // of the stack: three hashes are made for each entry of a listing
	text := room[:0]
	for _, p := range parts {
		text = append(binary.LittleEndian.AppendUint64(text, uint64(len(p))), p...)
	}
	sum := sha256.Sum256(text)
	n := binary.LittleEndian.Uint64(sum[:])
	if n+2 < 4 { // 0, 1, and the two highest
		return n + 4
	}
	return n
}

// inodeOf is the number that users see: it stays with the path, over versions and remounts.
func inodeOf(tree, path string) uint64 { return hash("inode", tree, path) }

// identity is what go-fuse and the kernel know a node by. The time belongs to it because it is shown: an object
// stored again with the same bytes keeps its version but not its time.
func identity(tree string, e backends.Entry) fusefs.StableAttr {
	if e.Dir {
		return fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: inodeOf(tree, e.Name), Gen: hash("dir", tree, e.Name)}
	}
	when := strconv.FormatInt(e.ModTime.UnixNano(), 10)
	if e.Link != "" {
		return fusefs.StableAttr{Mode: syscall.S_IFLNK, Ino: inodeOf(tree, e.Name), Gen: hash("link", tree, e.Name, e.Link, when)}
	}
	gen := hash("file", tree, e.Name, e.Version, strconv.FormatInt(e.Size, 10), when)
	return fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: inodeOf(tree, e.Name), Gen: gen}
}

// sameVersion reports whether two entries of a name are the same node.
func sameVersion(a, b backends.Entry) bool {
	return !a.Dir && !b.Dir && a.Link == b.Link && a.Version == b.Version && a.Size == b.Size && a.ModTime.Equal(b.ModTime)
}

// attr fills out with what stat shows of e.
func (f *FS) attr(tree string, e backends.Entry, out *fuse.Attr) {
	out.Ino = inodeOf(tree, e.Name)
	out.Owner = fuse.Owner{Uid: f.o.UID, Gid: f.o.GID}
	when := e.ModTime
	if when.IsZero() {
		when = f.born
	}
	out.SetTimes(&when, &when, &when)
	out.Blksize = blockSize
	if e.Dir {
		out.Mode, out.Nlink = syscall.S_IFDIR|dirMode, 2
		return
	}
	out.Mode, out.Nlink, out.Size = syscall.S_IFREG|fileMode, 1, uint64(max(e.Size, 0))
	if e.Link != "" {
		out.Mode, out.Size = syscall.S_IFLNK|linkMode, uint64(len(e.Link))
	}
	out.Blocks = (out.Size + 511) / 512
}

// attrTimeout is how long the kernel may keep what attr filled in.
func attrTimeout(e backends.Entry, entry time.Duration) time.Duration {
	switch {
	case e.Dir:
		return entry
	case e.Link == "" && e.Size == backends.SizeUnknown:
		return 0 // what is shown of it is not so
	}
	return fileAttrTimeout
}

// believed turns the rest of a listing's life into an entry timeout.
func believed(fresh time.Duration) time.Duration { return min(max(fresh, 0), maxTimeout) }
