package host

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A control socket lies deep in somebody's home: it can be made and reached all the same, and it is told who asks.
func TestSocketInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	var l *net.UnixListener
	if err := WithShortPath(path, func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	if err := WithShortPath(path, func(short string) error {
		c, err := net.Dial("unix", short)
		if err == nil {
			defer c.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if uid, err := PeerUser(conn); err != nil || uid != os.Geteuid() {
		t.Errorf("user %d, %v", uid, err)
	}
	if err := WithShortPath(filepath.Join(dir, "none", "s"), func(string) error { return nil }); err == nil {
		t.Error("a directory that is not there")
	}
}

// The audit log says which program has opened a file, and locks who holds them; of processes that are gone nothing is made up.
func TestProcesses(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := Program(os.Getpid()); got != exe {
		t.Errorf("this program is %q, not %q", exe, got)
	}
	if got := Arguments(os.Getpid()); !slices.Equal(got, os.Args) {
		t.Errorf("its arguments are %q, not %q", os.Args, got)
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if Program(pid) != "" || Arguments(pid) != nil {
			t.Errorf("process %d: %q %q", pid, Program(pid), Arguments(pid))
		}
	}
}

// What doctor says of disks: a network file system and one that loses all with the next boot are named.
func TestDisks(t *testing.T) {
	for magic, want := range map[int64]Disk{0x6969: {Name: "nfs", Remote: true}, 0xff534d42: {Name: "cifs", Remote: true}, 0x01021994: {Name: "tmpfs"}, 0xef53: {Name: "ext4"}, 1: {Name: "unknown"}} {
		if name, remote := fileSystem(magic); name != want.Name || remote != want.Remote {
			t.Errorf("%x: %s %v", magic, name, remote)
		}
	}
	if _, err := DiskOf(t.TempDir()); err != nil {
		t.Error(err)
	}
	if _, err := DiskOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("the disk of nothing")
	}
	table, err := MountTable()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if text, err := io.ReadAll(table); err != nil || !strings.Contains(string(text), " / / ") || !strings.Contains(string(text), " - ") {
		t.Errorf("%v: %.200s", err, text)
	}
}
