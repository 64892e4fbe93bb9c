package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"studyfs/backends/crypt"
	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// A key pair of these tests.
const (
	testIdentity  = "AGE-SECRET-KEY-1MWV3WEZ0VL6SU9Q5RHCET4XL85U36A0JSPLSJAHG647JN4LZ4SAQC2EHTJ"
	testRecipient = "age1c562v08q5ywhklfxftxc0amfakrayvjnzy54jalwn3uc8pehv39qhw3gkp"
)

// A lab copies videos into a mount. In the bucket nobody can read them; with the key, everybody sees them as they were, sizes included.
func TestEncryptedSource(t *testing.T) {
	e := writable(t)
	srv, url := harness.Strict(t, "lab/", s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "lab/", Write: true}}})
	key := filepath.Join(e.Home, "key.txt")
	if err := os.WriteFile(key, []byte(testIdentity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount(append(lab("study", url), "--encrypt-to", testRecipient, "--identity", "file:"+key, "--delete")...)
	video := bytes.Repeat([]byte("frame of participant 4711 "), 50_000)
	for name, body := range map[string][]byte{"sub-01/video.avi": video, "note.txt": []byte("first"), "empty": nil} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	e.Drain(dir)
	if err := os.WriteFile(filepath.Join(dir, "note.txt"), []byte("second"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "empty"), filepath.Join(dir, "nothing")); err != nil {
		t.Fatal(err)
	}
	e.Drain(dir)
	e.Unmount(dir)
	stored := harness.Stored(srv, "lab/")
	var names []string
	for name, body := range stored {
		names = append(names, name)
		if bytes.Contains(body, []byte("participant")) || bytes.Contains(body, []byte("second")) {
			t.Errorf("%s lies there in clear", name)
		}
	}
	if slices.Sort(names); strings.Join(names, " ") != "note.txt.age nothing.age sub-01/video.avi.age" {
		t.Errorf("stored: %q", names)
	}
	ids, err := crypt.ReadIdentities(strings.NewReader(testIdentity))
	if err != nil {
		t.Fatal(err)
	}
	file := stored["sub-01/video.avi.age"]
	r, err := crypt.Decrypt(t.Context(), bytes.NewReader(file), int64(len(file)), crypt.Options{Identities: ids})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, video) {
		t.Errorf("%d bytes, %v", len(got), err)
	}

	e.EmptyCache()
	dir = e.Mount("s3://study/lab/", "--endpoint-url", url, "--profile", "lab", "--identity", "file:"+key)
	for name, body := range map[string][]byte{"sub-01/video.avi": video, "note.txt": []byte("second"), "nothing": nil} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Size() != int64(len(body)) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	e.Unmount(dir)
}
