package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/tests/harness"
)

// somebody is a user of the new machine, by a number that nobody has here.
const somebody = 54321

// person gives the new machine a user with some files in the home directory, in the place of the one before.
func (d *debian) person(files map[string]string) {
	d.t.Helper()
	if err := os.RemoveAll(d.path("home/me")); err != nil {
		d.t.Fatal(err)
	}
	d.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nme:x:54321:54321::/home/me:/bin/sh\n", 0o644)
	d.write("etc/group", "root:x:0:\nme:x:54321:\n", 0o644)
	for name, text := range files {
		d.write("home/me/"+name, text, 0o600)
	}
	d.write("home/me/.profile", "", 0o644) // makes it
	if err := filepath.WalkDir(d.path("home/me"), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, somebody, somebody)
	}); err != nil {
		d.t.Fatal(err)
	}
}

// atTerminal has the user type lines to a shell on the new machine: one of its own, with its own mounts and processes, which end with the shell.
// It returns what the shell's commands have printed, and how many lines were typed.
func (d *debian) atTerminal(e *harness.Env, lines []string, vars ...string) (harness.Result, int) {
	d.t.Helper()
	const enter = `mount -t proc proc "$0/proc" && exec chroot "$0" setpriv --reuid=54321 --regid=54321 --clear-groups env -C /home/me -i "$@" sh +m -i`
	args := []string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", enter, d.root}
	args = append(args, "HOME=/home/me", "USER=me", "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb", "PS1=me: ")
	return e.ExecAtTerminal(lines, "unshare", append(args, vars...)...)
}

// purge takes the package away again: the machine is as new for the next one.
func (d *debian) purge() {
	d.t.Helper()
	run(d.t, "chroot", d.root, "dpkg", "--purge", "studyfs")
	for _, dir := range []string{"usr", "etc", "var", "run"} {
		filepath.WalkDir(d.path(dir), func(path string, _ os.DirEntry, err error) error { // what is not there is as it should be
			if err == nil && strings.Contains(filepath.Base(path), "studyfs") {
				d.t.Errorf("the package is gone, and has left %s", strings.TrimPrefix(path, d.root))
			}
			return nil
		})
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// A machine with nothing but Debian's essential packages and fuse3, a user who is not root and has nothing but what the service has given out: the
// package is installed, three lines are typed at most, and the first ls shows the study, within a minute.
//
// debootstrap makes the same root from an archive, but takes a minute and a network for it: here the packages' files are those of this machine.
func TestFirstListingOnANewMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a machine's root directory")
	}
	if out, err := exec.Command("unshare", "--mount", "--pid", "--fork", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespaces here: %v %s", err, out)
	}
	pack := one(t, build(t, []string{"PROGRAM=" + harness.Program(t)}, "deb")+"/*.deb")
	checkControl(t, pack)
	d := newDebian(t, "fuse3", "dpkg")
	if err := copyFile(pack, d.path("tmp/studyfs.deb"), 0o644); err != nil {
		t.Fatal(err)
	}
	demo := harness.StartDemo(t)
	aws := "STUDYFS_ENDPOINT_URL=" + demo.S3.Endpoint // what stands for Amazon's own; nobody types that
	for name, c := range map[string]struct {
		home  map[string]string
		vars  []string
		lines []string
		dir   string
		has   string
	}{
		"empatica": {
			home: map[string]string{"keys.csv": readFile(t, demo.Empatica.KeysCSV)}, vars: []string{aws},
			lines: []string{"studyfs setup empatica keys.csv", ""}, dir: "Studies/empatica", has: "1",
		},
		"beiwe": {
			home:  map[string]string{".nrg-keyring.enc": readFile(t, demo.Beiwe.Keyring)},
			lines: []string{"studyfs setup beiwe", demo.Beiwe.Passphrase, ""}, dir: "Studies/beiwe", has: "Sleep and Mood",
		},
		"s3": {
			home:  map[string]string{".aws/credentials": "[lab]\naws_access_key_id = " + demo.S3.AccessKey + "\naws_secret_access_key = " + demo.S3.SecretKey + "\n"},
			vars:  []string{aws},
			lines: []string{"studyfs setup s3://bids-demo/", "lab", "yes"}, dir: "Studies/bids-demo", has: "dataset_description.json",
		},
	} {
		t.Run(name, func(t *testing.T) {
			d.person(c.home)
			begun := time.Now()
			run(t, "chroot", d.root, "dpkg", "-i", "/tmp/studyfs.deb") // with its dependencies
			if name == "s3" {
				checkRoot(t, d.root)
			}
			r, typed := d.atTerminal(harness.New(t), append(c.lines, "echo; echo =; ls "+c.dir, "studyfs umount "+c.dir, "exit"), c.vars...)
			took := time.Since(begun)
			t.Logf("%d lines typed to the first ls, %s from the package's installation to the end", len(c.lines), took.Round(10*time.Millisecond))
			_, listing, _ := strings.Cut(r.Out, "\n=\n")
			if r.Code != 0 || typed != len(c.lines)+3 || len(c.lines) > 3 || !strings.Contains("\n"+listing, "\n"+c.has+"\n") {
				t.Errorf("exit %d after %d lines; ls: %q\n%s\n%s", r.Code, typed, listing, r.Err, r.Out)
			}
			if took > time.Minute {
				t.Errorf("it took %s", took)
			}
			if strings.Contains(r.Err+r.Out, demo.Beiwe.Passphrase) {
				t.Error("the passphrase was shown")
			}
			d.purge()
		})
	}
}
