package budget

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"studyfs/tests/harness"
)

// bareMount is where the test program, started again, serves a file system that does nothing: what go-fuse and the kernel take by themselves.
const (
	bareMount  = "STUDYFS_BARE_MOUNT"
	bareNoOpen = "STUDYFS_BARE_NO_OPEN" // not "": the kernel is told not to ask before it opens
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(bareMount); dir != "" {
		serveBare(dir, os.Getenv(bareNoOpen) != "")
		return
	}
	harness.Main(m)
}

// bareFile is a file of zeros which the kernel keeps: opening it again is one request that is answered at once, and its release.
type bareFile struct {
	fusefs.Inode

	noOpen bool
}

func (f *bareFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if f.noOpen {
		return nil, 0, syscall.ENOSYS
	}
	return nil, fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH, 0
}

// Flush tells the kernel not to ask before it closes either.
func (*bareFile) Flush(context.Context, fusefs.FileHandle) syscall.Errno { return syscall.ENOSYS }

func (f *bareFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o444, smallSize
	return 0
}

func (f *bareFile) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultData(dest[:max(0, min(int64(len(dest)), smallSize-off))]), 0
}

// bareRoot has the files of smallNames.
type bareRoot struct {
	fusefs.Inode

	noOpen bool
}

func (r *bareRoot) OnAdd(ctx context.Context) {
	dirs := map[string]*fusefs.Inode{}
	for _, name := range smallNames() {
		dir, base := filepath.Split(name)
		if dirs[dir] == nil {
			dirs[dir] = r.NewPersistentInode(ctx, &fusefs.Inode{}, fusefs.StableAttr{Mode: fuse.S_IFDIR})
			r.AddChild(filepath.Clean(dir), dirs[dir], true)
		}
		dirs[dir].AddChild(base, r.NewPersistentInode(ctx, &bareFile{noOpen: r.noOpen}, fusefs.StableAttr{}), true)
	}
}

func serveBare(dir string, noOpen bool) {
	hour := time.Hour
	server, err := fusefs.Mount(dir, &bareRoot{noOpen: noOpen}, &fusefs.Options{
		EntryTimeout: &hour, AttrTimeout: &hour,
		MountOptions: fuse.MountOptions{MaxWrite: 1 << 20, DisableSplice: true, Options: []string{"default_permissions", "ro"}},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server.Wait()
}

// mountBare has a child serve it, and returns where.
func mountBare(b *testing.B, more ...string) string {
	b.Helper()
	dir := b.TempDir()
	child := exec.Command(os.Args[0])
	child.Env, child.Stderr = append(append(os.Environ(), bareMount+"="+dir), more...), os.Stderr
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		harness.Abort(dir)
		child.Wait()
	})
	for tries := 0; !harness.Mounted(dir); tries++ {
		if tries == 1000 {
			b.Fatal("the bare mount did not come up")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return dir
}
