package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// stagedMarkers writes files with a marker in the name, in the bytes, and in an attribute, by all the ways that leave something behind.
func stagedMarkers(t *testing.T, dir string, n int) (m markers, texts map[string]string) {
	t.Helper()
	texts = map[string]string{}
	for i := range n {
		name, text := fmt.Sprintf("PERSON-%03d-QJZX", i), fmt.Sprintf("SECRET-%03d-ZXQJ", i)
		m.names, m.texts = append(m.names, name), append(m.texts, text)
		path := filepath.Join(dir, "ward", name+".edf")
		body := strings.Repeat("filler,0.5\n", 30*i) + text + "\n"
		write(t, path, body)
		switch i % 5 {
		case 0: // changed after it was closed
			write(t, path, text)
			body = text
		case 1:
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			path += ".moved"
		case 2:
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		case 3:
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("more"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			body += "more"
		}
		texts[strings.TrimPrefix(path, dir+"/")] = body
	}
	return m, texts
}

// A laptop with files that wait for their upload is stolen, or its state directory is in a backup: nobody learns names or contents, whether the
// mount runs, was killed or has ended. The owner loses nothing by it, and uploads it all without a mount.
func TestNothingStagedLiesInClear(t *testing.T) {
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	mount := harness.Writable(url, "--encrypt-cache", "--quiet", "1h", "--log-level", "debug")
	dir := e.Mount(mount...)
	m, texts := stagedMarkers(t, dir, 100)
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 200 markers found while it is mounted", n)
	}
	st := status(t, e, dir)
	if st.Passthrough.On || !strings.Contains(st.Passthrough.Why, "encrypted") {
		t.Errorf("passthrough: %+v", st.Passthrough)
	}
	e.Kill(dir)
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 200 markers found after it was killed", n)
	}
	harness.Abort(dir)
	if items := e.Uploads(); len(items) != len(texts) {
		t.Errorf("%d of %d files are listed without a mount", len(items), len(texts))
	}
	withoutTheKey(t, e, append(mount, dir))
	if r := e.Run("uploads", "run"); r.Code != 0 {
		t.Fatalf("uploads run: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	stored := harness.Stored(srv, "")
	for name, text := range texts {
		if string(stored[name]) != text {
			t.Errorf("%s: %d bytes in the bucket, %d were written", name, len(stored[name]), len(text))
		}
	}
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 200 markers found in the end", n)
	}
}

// withoutTheKey moves the key away, and minds that it is said, and that nothing is lost by trying.
func withoutTheKey(t *testing.T, e *harness.Env, mount []string) {
	t.Helper()
	key := filepath.Join(e.Home, ".config", "studyfs", "stage.key")
	if info, err := os.Stat(key); err != nil || info.Mode() != 0o600 {
		t.Fatalf("the key: %v, %v", info, err)
	}
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, why string }{
		{"", "no key was given"},
		{"key " + base64.StdEncoding.EncodeToString(make([]byte, 32)), "encrypted with another key"},
	} {
		if c.key != "" {
			write(t, key, c.key+"\n")
			if err := os.Chmod(key, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if r := e.Run(append([]string{"mount"}, mount...)...); r.Code == 0 || !strings.Contains(r.Err, "stage.key") || !strings.Contains(r.Err, c.why) {
			t.Errorf("mount, %s: exit %d\n%s", c.why, r.Code, r.Err)
		}
		for _, command := range []string{"ls", "run"} {
			if r := e.Run("uploads", command); !strings.Contains(r.Out+r.Err, c.why) {
				t.Errorf("uploads %s, %s: exit %d\n%s%s", command, c.why, r.Code, r.Out, r.Err)
			}
		}
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
}

// Somebody switches encryption on while files wait: they are encrypted at the next mount, and stay so even if it is switched off again.
func TestWhatWaitsIsEncryptedAtTheNextMount(t *testing.T) {
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", s3test.Options{})
	e := harness.New(t)
	e.Profile("lab")
	mount := harness.Writable(url, "--quiet", "1h")
	dir := e.Mount(mount...)
	m, texts := stagedMarkers(t, dir, 10)
	e.Unmount(dir)
	if found(t, e, m.all()) == 0 {
		t.Fatal("this test finds nothing")
	}
	e.MountAt(dir, append(mount, "--encrypt-cache")...)
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 20 markers found", n)
	}
	e.Unmount(dir)
	e.MountAt(dir, mount...)
	for name, text := range texts {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if n := found(t, e, m.all()); n != 0 {
		t.Errorf("%d of 20 markers found after it was switched off", n)
	}
	e.Drain(dir)
	if stored := harness.Stored(srv, ""); len(stored) != len(texts) {
		t.Errorf("%d of %d files are in the bucket", len(stored), len(texts))
	}
}
