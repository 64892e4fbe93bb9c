package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// as returns a link to the program with another name.
func as(t *testing.T, name string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(harness.Program(t), link); err != nil {
		t.Fatal(err)
	}
	return link
}

// mount(8) calls the program by another name, with options of fstab: they are ours, others', or a mistake that is told.
func TestFstabHelper(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/f", s3test.Bytes([]byte("text")))
	e := writable(t)
	dir := filepath.Join(e.Home, "mnt")
	mount, umount := as(t, "mount.studyfs"), as(t, "umount.fuse.studyfs")
	ours := "profile=lab,region=us-east-1,endpoint_url=" + url
	r := e.Exec(mount, "s3://study/lab/", dir, "-o", "rw,noauto,nofail,_netdev,noexec,x-systemd.automount,user=me,"+ours)
	t.Cleanup(func() { e.Exec(umount, dir, "-l") })
	if r.Code != 0 {
		t.Fatalf("mount: exit %d\n%s", r.Code, r.Err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || string(text) != "text" {
		t.Errorf("read %q, %v", text, err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || !strings.Contains(string(mounts), dir+" fuse.studyfs ro,nosuid,nodev,noexec") {
		t.Errorf("rw is no leave to write, and noexec holds: %v\n%s", err, mounts)
	}
	if r := e.Exec(mount, "s3://study/lab/", dir, "-o", ours); r.Code != 32 || !strings.Contains(r.Err, "mounted there already") {
		t.Errorf("mounted twice: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec(umount, dir, "-n"); r.Code != 0 {
		t.Errorf("umount: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec(mount, "s3://study/lab/", dir, "-o", "cache-sise=1GiB,"+ours); r.Code != 1 || !strings.Contains(r.Err, "cache-size") {
		t.Errorf("a mistyped option: exit %d\n%s", r.Code, r.Err)
	}
	if r := e.Exec(mount, "s3://study/lab/", dir, "-f", "-o", ours); r.Code != 0 || mounted(dir) {
		t.Errorf("mount -f: exit %d\n%s", r.Code, r.Err)
	}
}

func mounted(dir string) bool {
	text, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(text), " "+dir+" ")
}

// The real mount(8) and umount(8), with the helper where packages put it. In a mount namespace of its own: nothing of it stays.
func TestRealMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace is root's")
	}
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/f", s3test.Bytes([]byte("text")))
	e := writable(t)
	e.Vars = append(e.Vars, "AWS_SHARED_CREDENTIALS_FILE="+e.Home+"/.aws/credentials") // mount(8) takes HOME away
	script := `set -e
mkdir o mnt
mount -t tmpfs none o && mkdir o/up o/work
mount -t overlay none -o lowerdir=/usr/sbin,upperdir=o/up,workdir=o/work /usr/sbin || exit 99
ln -s "$1" /usr/sbin/mount.studyfs
ln -s "$1" /usr/sbin/umount.fuse.studyfs
echo "s3://study/lab/ $PWD/mnt studyfs ro,noauto,_netdev,x-gvfs-show,profile=lab,region=us-east-1,endpoint-url=$2 0 0" > fstab
mount -T fstab "$PWD/mnt"
cat mnt/f
umount "$PWD/mnt"
! grep -q " $PWD/mnt " /proc/self/mounts`
	r := e.Exec("unshare", "-m", "sh", "-c", script, "sh", harness.Program(t), url)
	if r.Code == 99 {
		t.Skip("no overlay file systems here")
	}
	if r.Code != 0 || r.Out != "text" {
		t.Errorf("exit %d, read %q\n%s", r.Code, r.Out, r.Err)
	}
}

// systemd is told when ls works, that the mount still answers, when it does not, and that it ends.
func TestServiceManagerIsTold(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.Put("study", "lab/f", s3test.Bytes([]byte("text")))
	e := writable(t)
	path := filepath.Join(e.Home, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	dir := filepath.Join(e.Home, "mnt")
	cmd := exec.Command(harness.Program(t), append(append([]string{"mount", "-f"}, lab("study", url)...), dir)...)
	cmd.Env = append(e.Vars, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=400000")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); exec.Command("fusermount3", "-uzq", dir).Run() })
	buf := make([]byte, 4096)
	until := func(what string) {
		t.Helper()
		for {
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("not told %s: %v\n%s", what, err, errs.String())
			}
			if strings.Contains("\n"+string(buf[:n]), "\n"+what) {
				return
			}
		}
	}
	until("READY=1\nSTATUS=mounted 1 source at " + dir)
	if _, err := os.ReadFile(filepath.Join(dir, "f")); err != nil {
		t.Errorf("told that it is ready: %v", err)
	}
	until("WATCHDOG=1")
	pid := e.PID(dir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until("STATUS=the mount does not answer")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until("WATCHDOG=1\nSTATUS=mounted")
	cmd.Process.Signal(syscall.SIGTERM)
	until("STOPPING=1")
	if err := cmd.Wait(); err != nil || mounted(dir) {
		t.Errorf("ended with %v, mounted: %v\n%s", err, mounted(dir), errs.String())
	}
}

// slurmScript is the recipe of docs/boot.md, with the test's bucket.
func slurmScript(t *testing.T, path string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/boot.md")
	if err != nil {
		t.Fatal(err)
	}
	_, script, _ := strings.Cut(string(doc), "```sh\n")
	script, _, ok := strings.Cut(script, "```")
	if !ok || !strings.Contains(script, "s3://lab-data/study1/") {
		t.Fatal("docs/boot.md has no recipe")
	}
	write(t, path, strings.ReplaceAll(script, "s3://lab-data/study1/", "s3://study/lab/"))
}

// A job is told that its time is up. What it has written by then is stored before it ends; if that cannot be, it fails, whatever its
// command says, so that nobody takes the results that vanish with its disk for stored.
func TestSlurmRecipe(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	bin, work := filepath.Join(e.Home, "bin"), filepath.Join(e.Home, "work")
	for _, dir := range []string{bin, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(harness.Program(t), filepath.Join(bin, "studyfs")); err != nil {
		t.Fatal(err)
	}
	slurmScript(t, filepath.Join(work, "job.sh"))
	write(t, filepath.Join(work, "fit-models"), "#!/bin/sh\ntrap 'echo half of $SLURM_JOB_ID > result; exit 0' TERM\necho begun > \"$SLURM_SUBMIT_DIR/begun\"\nwhile :; do sleep 0.1; done\n")
	if err := os.Chmod(filepath.Join(work, "fit-models"), 0o755); err != nil {
		t.Fatal(err)
	}
	job := func(id string, end func(p *os.Process)) (int, string) {
		disk := t.TempDir() // the job's own
		cmd := exec.Command("bash", filepath.Join(work, "job.sh"))
		cmd.Dir = disk
		cmd.Env = append(e.Vars, "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+disk, "SLURM_SUBMIT_DIR="+work, "SLURM_JOB_ID="+id, "STUDYFS_ENDPOINT_URL="+url, "STUDYFS_REGION=us-east-1", "STUDYFS_QUIET=1h")
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &errs, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun := filepath.Join(work, "begun")
		for i := 0; ; i++ {
			if _, err := os.Stat(begun); err == nil {
				break
			}
			if i == 1200 {
				cmd.Process.Kill()
				t.Fatalf("the job does not begin\n%s", errs.String())
			}
			time.Sleep(50 * time.Millisecond)
		}
		os.Remove(begun)
		end(cmd.Process)
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(disk, "studyfs-run-*")); err != nil || len(left) > 0 {
			t.Errorf("the job leaves %q", left)
		}
		return cmd.ProcessState.ExitCode(), errs.String()
	}
	if code, text := job("17", func(p *os.Process) { p.Signal(syscall.SIGTERM) }); code != 0 || stored(t, srv, "lab/result") != "half of 17\n" {
		t.Errorf("exit %d, stored %q\n%s", code, stored(t, srv, "lab/result"), text)
	}
	srv.Reset()
	heal := srv.Inject(s3test.Rule{Op: s3test.OpPut, Fault: s3test.Delay, Wait: time.Hour})
	defer heal()
	code, text := job("18", func(p *os.Process) {
		p.Signal(syscall.SIGTERM)
		for i := 0; i < 1200 && srv.Count(s3test.OpPut) == 0; i++ { // it is storing
			time.Sleep(50 * time.Millisecond)
		}
		p.Signal(syscall.SIGTERM)
	})
	if code != 75 || !strings.Contains(text, "interrupted before all was stored") {
		t.Errorf("a second signal while the service is silent: exit %d\n%s", code, text)
	}
}
