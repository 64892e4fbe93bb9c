package host

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MountTable opens the table of what is mounted, in the words of proc(5)'s mountinfo. No mount is touched for it. The caller closes it.
//
// macFUSE keeps no subtype: all that it has mounted stands there as ours. Whether it is, the control socket tells.
func MountTable() (io.ReadCloser, error) {
	n, err := unix.Getfsstat(nil, unix.MNT_NOWAIT)
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	all := make([]unix.Statfs_t, n+8) // some may be added meanwhile
	if n, err = unix.Getfsstat(all, unix.MNT_NOWAIT); err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`)
	for i, m := range all[:min(n, len(all))] {
		kind := unix.ByteSliceToString(m.Fstypename[:])
		if strings.Contains(kind, "fuse") {
			kind = "fuse.studyfs"
		}
		dir, from := unix.ByteSliceToString(m.Mntonname[:]), unix.ByteSliceToString(m.Mntfromname[:])
		fmt.Fprintf(&b, "%d 0 0:%d / %s rw - %s %s rw,user_id=%d\n", i, i, escape.Replace(dir), kind, escape.Replace(from), m.Owner)
	}
	return io.NopCloser(strings.NewReader(b.String())), nil
}

// maxSocket is how long the path of a socket may be.
const maxSocket = 103

// WithShortPath gives use a path to a socket that fits into a socket address. It holds until use returns.
func WithShortPath(path string, use func(short string) error) error {
	if len(path) <= maxSocket {
		return use(path)
	}
	dir, err := os.MkdirTemp("/tmp", "studyfs-") // of mode 0700
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a link and nothing more
	link := filepath.Join(dir, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		return err
	}
	return use(filepath.Join(link, filepath.Base(path)))
}

// PeerUser is the user of the process at the other end of a socket.
func PeerUser(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Xucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("who asks: %w", err)
	}
	return int(cred.Uid), nil
}

// Shield keeps other processes of the user from attaching to this one and reading its memory.
func Shield() error { return unix.PtraceDenyAttach() }

// Program is the name that a process goes by, 16 bytes of it; "" where nothing is known.
func Program(pid int) string {
	if pid <= 0 {
		return ""
	}
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(p.Proc.P_comm[:])
}

// Arguments are what a process was started with, its own name first; nil where that is not known. Here only the name is.
func Arguments(pid int) []string {
	if name := Program(pid); name != "" {
		return []string{name}
	}
	return nil
}

// DiskOf tells what dir lies on.
func DiskOf(dir string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Disk{}, fmt.Errorf("look at the disk: %w", err)
	}
	return Disk{Name: unix.ByteSliceToString(s.Fstypename[:]), Remote: s.Flags&unix.MNT_LOCAL == 0, NoExec: s.Flags&unix.MNT_NOEXEC != 0}, nil
}

// QuotaLeft is how many bytes the user's quota leaves on the disk of dir; ok is false where there is none, or the system does not tell: this
// one has no call for it that does not need the disk's own device.
func QuotaLeft(string) (left int64, ok bool) { return 0, false }
