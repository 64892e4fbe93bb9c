package fs

import (
	"context"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/backends"
)

const xattrPrefix = "user.studyfs."

// errNoAttr says that there is no attribute of that name.
const errNoAttr = syscall.Errno(fuse.ENOATTR)

// xattrs are the attributes of an entry that have a value, answered from what is on this machine.
func (t *tree) xattrs(e backends.Entry) map[string]string {
	all := map[string]string{
		"state": t.store.State(e).String(), "etag": e.Version, "version": e.Version,
		"error": trouble(e), "storage_class": e.Class,
	}
	for name, value := range all {
		if value == "" {
			delete(all, name)
		}
	}
	return all
}

// Getxattr answers user.studyfs.*; everything else is not there.
func (f *file) Getxattr(_ context.Context, attr string, dest []byte) (uint32, syscall.Errno) {
	name, ours := strings.CutPrefix(attr, xattrPrefix)
	if !ours {
		return 0, errNoAttr // ls -l asks for two others per file: no work for those
	}
	value, ok := f.t.xattrs(f.e)[name]
	if !ok {
		return 0, errNoAttr
	}
	return fill(dest, value)
}

// Listxattr names those that Getxattr has a value for.
func (f *file) Listxattr(_ context.Context, dest []byte) (uint32, syscall.Errno) {
	var list strings.Builder
	for _, name := range []string{"state", "etag", "version", "error", "storage_class"} {
		if _, ok := f.t.xattrs(f.e)[name]; ok {
			list.WriteString(xattrPrefix + name + "\x00")
		}
	}
	return fill(dest, list.String())
}

// fill copies, or tells the size that would be needed.
func fill(dest []byte, value string) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

// noMeta is for directories, which have no attributes of their own.
type noMeta struct{}

// Getxattr has nothing.
func (noMeta) Getxattr(context.Context, string, []byte) (uint32, syscall.Errno) {
	return 0, errNoAttr
}

// Listxattr has nothing.
func (noMeta) Listxattr(context.Context, []byte) (uint32, syscall.Errno) { return 0, 0 }
