package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// A service that does not keep two writers apart is found out by the first upload, and refused from then on.
func TestUnsafeServiceIsRefused(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{NoConditions: true})
	e := writable(t)
	dir := e.Mount(lab("study", url)...)
	write(t, filepath.Join(dir, "f"), "text")
	if r := e.Run("umount", "--flush=30s", dir); r.Code != 0 && r.Code != 75 {
		t.Errorf("umount: exit %d\n%s", r.Code, r.Err)
	}
	r := e.Run(append(append([]string{"mount"}, lab("study", url)...), dir)...)
	if r.Code != 1 || !strings.Contains(r.Err, "--unsafe-overwrite") {
		t.Errorf("mount: exit %d\n%s", r.Code, r.Err)
	}
	e.MountAt(dir, append(lab("study", url), "--unsafe-overwrite")...)
	if r := e.Run("uploads", "wait"); r.Code != 0 || stored(t, srv, "lab/f") != "text" {
		t.Errorf("wait: exit %d, stored %q\n%s", r.Code, stored(t, srv, "lab/f"), r.Err)
	}
}

// The bucket's name was mistyped, and somebody else has a bucket of that name, open to everybody.
func TestNothingGoesIntoABucketOfSomebodyElse(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.SetOwner("study", "999999999999")
	e := writable(t)
	dir := e.Mount(append(lab("study", url), "--owner", "111122223333")...)
	write(t, filepath.Join(dir, "f"), "text")
	if r := e.Run("uploads", "wait"); r.Code != 75 {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	if keys := srv.Keys("study"); len(keys) > 0 {
		t.Errorf("stored %q", keys)
	}
}

func TestMakeBucket(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	srv.CreateBucket("taken")
	srv.SetOwner("taken", "999999999999")
	e := writable(t)
	mb := func(args ...string) harness.Result {
		return e.Run(append([]string{"mb", "--endpoint-url", url, "--profile", "lab"}, args...)...)
	}
	r := mb("s3://smithlab-reading", "reading")
	if r.Code != 0 || !strings.Contains(r.Out, "[source.reading]") || !strings.Contains(r.Err, "made the bucket") {
		t.Errorf("new: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	config := filepath.Join(e.Home, ".config", "studyfs", "config.toml")
	write(t, config, r.Out)
	dir := e.Mount("reading")
	write(t, filepath.Join(dir, "README"), "text")
	if r := e.Run("umount", "--flush", dir); r.Code != 0 || !slices.Equal(srv.Keys("smithlab-reading"), []string{"README"}) {
		t.Errorf("umount: exit %d, stored %q\n%s", r.Code, srv.Keys("smithlab-reading"), r.Err)
	}
	if r := mb("s3://smithlab-reading"); r.Code != 0 || !strings.Contains(r.Err, "yours already") {
		t.Errorf("again: exit %d\n%s", r.Code, r.Err)
	}
	if r := mb("s3://taken"); r.Code != 77 || !strings.Contains(r.Err, "somebody else's") {
		t.Errorf("somebody else's: exit %d\n%s", r.Code, r.Err)
	}
}

// The keys are revoked while files are copied in. Nothing is lost, the reason is told, and new keys in the place of the old ones are enough.
func TestNewKeysWithoutANewMount(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	dir := e.Mount(lab("study", url)...)
	srv.Revoke(harness.ID)
	write(t, filepath.Join(dir, "f"), "text")
	if r := e.Run("uploads", "wait"); r.Code != 75 || !strings.Contains(r.Err, "keys") {
		t.Errorf("wait: exit %d\n%s", r.Code, r.Err)
	}
	const other = "AKIAOTHEROTHEROTHERX"
	srv.AddKey(s3test.AccessKey{ID: other, Secret: harness.Secret})
	path := filepath.Join(e.Home, ".aws", "credentials")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.ReplaceAll(string(old), harness.ID, other))
	for begun := time.Now(); ; { // the file is looked at every two seconds
		if r := e.Run("uploads", "resume"); r.Code != 0 {
			t.Fatalf("resume: exit %d\n%s", r.Code, r.Err)
		}
		r := e.Run("uploads", "wait")
		if r.Code == 0 {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("wait: exit %d\n%s", r.Code, r.Err)
		}
	}
	if got := stored(t, srv, "lab/f"); got != "text" {
		t.Errorf("stored %q", got)
	}
}

// With --durability=remote, a program that has closed its file need not wait for anything.
func TestRemoteDurability(t *testing.T) {
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
	dir := e.Mount(append(lab("study", url), "--durability", "remote")...)
	for _, text := range []string{"first\n", "second\n"} {
		r := e.Exec("sh", "-c", "echo "+strings.TrimSpace(text)+" > "+filepath.Join(dir, "f"))
		if got := stored(t, srv, "lab/f"); r.Code != 0 || got != text {
			t.Errorf("exit %d, stored %q\n%s", r.Code, got, r.Err)
		}
	}
}

// A name of a file that waits is completed by the shell.
func TestCompletionOfStagedFiles(t *testing.T) {
	_, url := harness.Strict(t, "", s3test.Options{})
	e := writable(t)
	e.Vars = append(e.Vars, "STUDYFS_QUIET=1h")
	dir := e.Mount(lab("study", url)...)
	write(t, filepath.Join(dir, "d/first"), "1")
	write(t, filepath.Join(dir, "second"), "2")
	r := e.Run("__complete", "uploads", "drop", "d/")
	if r.Code != 0 || !strings.Contains(r.Out, "d/first\n") || strings.Contains(r.Out, "second") {
		t.Errorf("exit %d\n%s", r.Code, r.Out)
	}
	if r := e.Run("__complete", "uploads", "verify", ""); !strings.Contains(r.Out, "lab\n") {
		t.Errorf("exit %d\n%s", r.Code, r.Out)
	}
}
