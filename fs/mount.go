package fs

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Times of an unmount: how long to hope that programs close their files, and how long to wait for what is under way.
const (
	unmountPatience = 2 * time.Second
	unmountRest     = time.Second
	unmountPause    = 100 * time.Millisecond
)

// attach mounts: by the mount call where root may, else through fusermount3.
func (f *FS) attach() (*fuse.Server, error) {
	if err := ready(); err != nil {
		return nil, err
	}
	var direct error
	if mountsDirectly() {
		server, err := f.newServer(true)
		if err == nil {
			return server, nil
		}
		direct = err
		if err := f.replant(); err != nil {
			return nil, err
		}
	}
	if _, err := helper(); err != nil {
		return nil, errors.Join(direct, err)
	}
	server, err := f.newServer(false)
	if err != nil {
		return nil, errors.Join(direct, fmt.Errorf("mount %s: %w", f.o.Dir, err))
	}
	return server, nil
}

func (f *FS) newServer(direct bool) (*fuse.Server, error) {
	o := f.nodeOptions(direct)
	return fuse.NewServer(fusefs.NewNodeFS(f.root, o), f.o.Dir, &o.MountOptions)
}

// replant makes new nodes: go-fuse binds a root to the first server that takes it.
func (f *FS) replant() error {
	f.trees = map[string]*tree{}
	return f.plant()
}

func (f *FS) nodeOptions(direct bool) *fusefs.Options {
	negative := negativeTimeout
	log := slog.NewLogLogger(f.log.Handler(), slog.LevelWarn)
	o := &fusefs.Options{
		NegativeTimeout: &negative,
		NullPermissions: true,
		Logger:          log,
		RootStableAttr:  &fusefs.StableAttr{Ino: inodeOf("", "")},
		MountOptions: fuse.MountOptions{
			Name: "studyfs", FsName: f.o.FsName, AllowOther: f.o.AllowOther,
			MaxWrite: maxRequest, MaxReadAhead: f.o.MaxReadAhead, MaxBackground: maxBackground,
			DisableSplice: true, // a request of 1 MiB and its header do not fit into a pipe of 1 MiB: every one is a failed try and a warning
			DisableXAttrs: !f.o.XAttrs && !f.writable(), MaxStackDepth: stackDepth(f.o.localDirs()),
			// No CAP_READDIRPLUS_AUTO: who had read all names of a folder of 100,000 and then wanted their sizes made a request for each.
			Options: []string{"default_permissions"}, // the kernel checks modes itself, without requests
			Logger:  log, PanicHandler: f.panicked,
		},
	}
	if f.o.trace != nil {
		o.Debug, o.MountOptions.Logger = true, slog.NewLogLogger(f.o.trace, slog.LevelDebug)
	}
	if f.writable() {
		o.ExtraCapabilities |= fuse.CAP_ATOMIC_O_TRUNC // what is to be emptied need not be fetched first
		o.ExtraCapabilities |= leavePrivileges
	}
	if direct {
		o.DirectMountStrict = true
		o.DirectMountFlags = directFlags(f.o.NoExec, !f.o.writableMount && !f.writable())
		return o
	}
	if !f.o.writableMount && !f.writable() {
		o.Options = append(o.Options, "ro")
	}
	if f.o.NoExec {
		o.Options = append(o.Options, "noexec")
	}
	return o
}

// writable reports whether any tree takes writes. Then the kernel may not refuse them itself.
func (f *FS) writable() bool {
	return slices.ContainsFunc(f.o.Trees, func(t Tree) bool { return t.Stage != nil })
}

// Unmount takes the mount away and returns when its requests have ended, within 10 s. If programs keep files open it
// is detached all the same and the error wraps ErrStillOpen. Without a mount it does nothing.
func (f *FS) Unmount() error {
	f.mu.Lock()
	mounted := f.server != nil
	f.mu.Unlock()
	if !mounted || f.gone(0) {
		return nil
	}
	for waited := time.Duration(0); waited < unmountPatience; waited += unmountPause {
		if f.umount(false) == nil || f.gone(unmountPause) {
			return f.ended()
		}
	}
	if err := f.umount(true); err != nil && !f.gone(0) {
		return err
	}
	return f.ended()
}

// ended waits for the end of serving, after the mount was taken away.
func (f *FS) ended() error {
	if f.gone(unmountRest) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", f.o.Dir, ErrStillOpen)
}

// gone waits for the end of serving, for at most d.
func (f *FS) gone(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.done:
		return true
	case <-t.C:
	}
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// umount takes the mount away, lazily even while files are open. Not go-fuse's Unmount: that one then waits without
// limit for requests, and a stalled source can hold one for a minute.
func (f *FS) umount(lazily bool) error {
	return unmount(f.o.Dir, lazily)
}

// ReadAhead tells how many bytes the kernel reads ahead on this mount, and why not as many as asked for, if so.
func (f *FS) ReadAhead() (bytes int, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readAhead, f.whyNot
}

// setReadAhead raises the kernel's readahead, which starts at 128 KiB whatever was negotiated. Only root may.
func (f *FS) setReadAhead() {
	got, why := 128<<10, ""
	dev, err := f.device()
	if err == nil {
		err = os.WriteFile(filepath.Join("/sys/class/bdi", dev, "read_ahead_kb"), []byte(strconv.Itoa(f.o.MaxReadAhead>>10)), 0)
	}
	if err == nil {
		got = f.o.MaxReadAhead
	} else {
		why = "the kernel's readahead stays at 128 KiB: " + err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readAhead, f.whyNot = got, why
}

// Connection is the number of the mount below /sys/fs/fuse/connections, where a hanging one can be aborted.
func (f *FS) Connection() (string, error) {
	dev, err := f.device()
	if err != nil {
		return "", err
	}
	_, minor, _ := strings.Cut(dev, ":")
	return minor, nil
}

// device is MAJOR:MINOR of the mount.
func (f *FS) device() (string, error) { return deviceAt(f.o.Dir) }

// findDevice returns the device of the topmost mount at dir.
func findDevice(lines *bufio.Scanner, dir string) (string, error) {
	dev := ""
	escape := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	dir = escape.Replace(dir)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[4] == dir {
			dev = fields[2]
		}
	}
	if dev == "" {
		return "", errors.Join(fmt.Errorf("find the mount: %w", os.ErrNotExist), lines.Err())
	}
	return dev, nil
}
