package suites

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// Variables of a process of this binary that works on the mount: one that hangs or dies there must not take the tests with it.
const (
	fsxVar   = "STUDYFS_TEST_FSX"
	posixVar = "STUDYFS_TEST_POSIX" // a directory
)

func TestMain(m *testing.M) {
	if raw := os.Getenv(fsxVar); raw != "" {
		os.Exit(runFsx(raw))
	}
	harness.Main(m)
}

// runFsx prints the sum of the bytes that the file must have.
func runFsx(raw string) int {
	var x Fsx
	if err := json.Unmarshal([]byte(raw), &x); err != nil {
		panic(err)
	}
	body, counts, err := x.Run()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, counts)
	fmt.Println(harness.Sum(body))
	return 0
}

// mount mounts an empty bucket for writing.
func mount(t *testing.T, args ...string) (*harness.Env, *s3test.Server, string) {
	t.Helper()
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	return e, srv, e.Mount(harness.Writable(url, append([]string{"--delete"}, args...)...)...)
}

// child runs this binary again; one that does not end in time is freed from the mount and fails the test.
func child(t *testing.T, dir, variable, value string, args ...string) (out string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), variable+"="+value)
	return run(t, cmd, dir)
}

func run(t *testing.T, cmd *exec.Cmd, dir string) (out string) {
	t.Helper()
	out, err := try(t, cmd, dir)
	if err != nil {
		t.Fatalf("%s: %v\n%.8000s", filepath.Base(cmd.Path), err, out)
	}
	return out
}

func try(t *testing.T, cmd *exec.Cmd, dir string) (out string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	late := time.AfterFunc(time.Duration(harness.Sized(3, 30))*time.Minute, func() { harness.Abort(dir); cmd.Process.Kill() })
	defer late.Stop()
	err = cmd.Run()
	if stderr.Len() > 0 {
		t.Logf("%.6000s", stderr.String())
	}
	return stdout.String(), err
}

// Random writes, truncations, mappings and closes on files of many sizes, in and out of the kernel's passthrough: every byte is
// where it was put, on the mount and in the bucket.
func TestFsx(t *testing.T) {
	sizes := []int{64 << 10, 1 << 20, 16 << 20}
	ops := harness.Sized(1200, 100_000) / (4 * len(sizes))
	for name, args := range map[string][]string{"passthrough": nil, "requests": {"--no-passthrough"}, "encrypted": {"--encrypt-cache"}} {
		t.Run(name, func(t *testing.T) {
			e, srv, dir := mount(t, args...)
			sums := map[string]string{}
			for i, size := range sizes {
				for _, mmap := range []bool{false, true} {
					name := fmt.Sprintf("fsx-%d-mmap-%v", size, mmap)
					x := Fsx{Path: filepath.Join(dir, name), Seed: uint64(10 + i), Ops: ops, Max: size, Mmap: mmap, Pause: 2 * harness.Quiet}
					raw, err := json.Marshal(x)
					if err != nil {
						t.Fatal(err)
					}
					sums[name] = strings.TrimSpace(child(t, dir, fsxVar, string(raw)))
				}
			}
			e.Drain(dir)
			stored := harness.Stored(srv, "")
			for name, sum := range sums {
				if harness.Sum(stored[name]) != sum {
					t.Errorf("%s: the bucket has other bytes (%d)", name, len(stored[name]))
				}
			}
			if len(stored) != len(sums) {
				t.Errorf("%d objects for %d files", len(stored), len(sums))
			}
		})
	}
}

// The tester itself, where all is well and where one byte is not.
func TestFsxOnADisk(t *testing.T) {
	x := Fsx{Path: filepath.Join(t.TempDir(), "f"), Seed: 3, Ops: 3000, Max: 300_000, Mmap: true}
	body, counts, err := x.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(counts, len(body))
	if got, err := os.ReadFile(x.Path); err != nil || !bytes.Equal(got, body) {
		t.Errorf("what it returns is not what the file has, %v", err)
	}
	x.Path += "2"
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // someone else writes into the file
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if f, err := os.OpenFile(x.Path, os.O_WRONLY, 0); err == nil {
				f.WriteAt([]byte("!"), 777)
				f.Close()
			}
		}
	}()
	if _, _, err := x.Run(); err == nil {
		t.Error("a foreign byte went unnoticed")
	}
	close(stop)
	<-done
}

// declared are the checks of posixtest that do not hold on a bucket, and what happens instead.
func declared() map[string]string {
	return map[string]string{
		"OpenSymlinkRace":     "TestOpenWhileReplaced has it: it knows no ESTALE",
		"Link":                "objects have one name: link(2) is refused",
		"LinkUnlinkRename":    "objects have one name: link(2) is refused",
		"FcntlFlockLocksFile": "expects flock and fcntl of one process to get into each other's way: no local disk does that",
	}
}

// The checks of go-fuse, each in a directory of its own, with staged files in clear and encrypted.
func TestPosix(t *testing.T) {
	for name, args := range map[string][]string{"clear": nil, "encrypted": {"--encrypt-cache"}} {
		t.Run(name, func(t *testing.T) { posix(t, args...) })
	}
}

func posix(t *testing.T, args ...string) {
	t.Helper()
	_, _, dir := mount(t, args...)
	names := make([]string, 0, len(posixtest.All))
	for name := range posixtest.All {
		if declared()[name] == "" {
			names = append(names, name)
		}
	}
	out := child(t, dir, posixVar, dir, "-test.run", "^TestPosixChild$/^("+strings.Join(names, "|")+")$", "-test.v")
	if n := strings.Count(out, "    --- PASS"); n+strings.Count(out, "    --- SKIP") != len(names) {
		t.Errorf("%d of %d checks passed\n%s", n, len(names), out)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "--- SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// A name that is replaced as fast as can be, by a file and a link in turn, is opened a thousand times meanwhile: that never leads astray.
// Who opens it gets one of the files, or, where it was replaced twice between being looked up and being opened (once more after the kernel
// looked again by itself), ESTALE: the bytes of a file that was replaced before it was stored are gone. Only a busy machine is slow enough.
func TestOpenWhileReplaced(t *testing.T) {
	_, _, dir := mount(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPosixChild$/^OpenSymlinkRace$", "-test.v")
	cmd.Env = append(os.Environ(), posixVar+"="+dir)
	out, err := try(t, cmd, dir)
	if err == nil && strings.Contains(out, "    --- PASS") {
		return
	}
	complaints := regexp.MustCompile(`\b(opener|shuffler): .*`).FindAllString(out, -1)
	if len(complaints) != 1 || complaints[0] != "opener: Open: "+syscall.ESTALE.Error() {
		t.Errorf("%v\n%s", err, out)
	}
	t.Log(complaints)
}

func TestPosixChild(t *testing.T) {
	dir := os.Getenv(posixVar)
	if dir == "" {
		t.Skip("runs below TestPosix")
	}
	for name, check := range posixtest.All {
		t.Run(name, func(t *testing.T) {
			below := filepath.Join(dir, name)
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			check(t, below)
		})
	}
}

func program(t *testing.T, name, variable string) string {
	t.Helper()
	if v := os.Getenv(variable); variable != "" && v != "" {
		name = v
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// fio writes at random and reads back what it wrote, with and without passthrough.
func TestFioVerify(t *testing.T) {
	fio := program(t, "fio", "")
	for _, args := range [][]string{nil, {"--no-passthrough"}} {
		e, srv, dir := mount(t, args...)
		for _, engine := range []string{"psync", "mmap"} {
			run(t, exec.Command(fio, "--name="+engine, "--directory="+dir, "--rw=randwrite", "--bs=4k-128k", "--size="+fmt.Sprint(harness.Sized(16, 64))+"m",
				"--ioengine="+engine, "--verify=crc32c", "--do_verify=1", "--verify_state_save=0", "--randseed=7", "--fsync_on_close=1", "--output=/dev/null"), dir)
		}
		e.Drain(dir)
		if n := len(harness.Stored(srv, "")); n != 2 {
			t.Errorf("%d objects", n)
		}
	}
}

// stress-ng checks what it does itself. Its class "filesystem" as a whole is not for this.
func TestStress(t *testing.T) {
	stress := program(t, "stress-ng", "")
	_, _, dir := mount(t)
	below := filepath.Join(dir, "s")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(stress, "--temp-path", below, "--hdd", "1", "--hdd-bytes", "32M", "--dentry", "1", "--dentries", "500", "--rename", "1", "--symlink", "1",
		"--dir", "1", "--seek", "1", "--utime", "1", "--chmod", "1", "--fstat", "1", "--verify", "-t", fmt.Sprint(harness.Sized(5, 30))), dir)
}

// rclone's own tester of mounts: random operations by several threads, each on files of its own. It prints only what goes wrong.
func TestRcloneVFS(t *testing.T) {
	vfs := program(t, "test_vfs", "STUDYFS_TEST_VFS")
	_, _, dir := mount(t)
	below := filepath.Join(dir, "v")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(vfs, "-n", "4", "-i", fmt.Sprint(harness.Sized(60, 1000)), "-timeout", "20s", below)
	var out bytes.Buffer
	cmd.Stderr = &out
	err := cmd.Run()
	if err != nil || strings.Contains(out.String(), "ERROR") {
		t.Errorf("%v\n%.8000s", err, out.String())
	}
}
