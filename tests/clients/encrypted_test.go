package clients

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// A key pair of these tests.
const (
	identity  = "AGE-SECRET-KEY-1MWV3WEZ0VL6SU9Q5RHCET4XL85U36A0JSPLSJAHG647JN4LZ4SAQC2EHTJ"
	recipient = "age1c562v08q5ywhklfxftxc0amfakrayvjnzy54jalwn3uc8pehv39qhw3gkp"
)

func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed", name)
		}
	}
}

// sealed is a source that is encrypted.
type sealed struct {
	e    *harness.Env
	srv  *s3test.Server
	url  string
	keys string // a file with the identity
}

func newSealed(t *testing.T) *sealed {
	t.Helper()
	s := &sealed{e: harness.New(t)}
	s.srv, s.url = harness.Strict(t, "", s3test.Options{})
	s.e.Profile("lab")
	s.keys = filepath.Join(s.e.Home, "key.txt")
	if err := os.WriteFile(s.keys, []byte(identity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// copyIn copies a directory into the encrypted source, and returns when all is stored and nothing of it is cached.
func (s *sealed) copyIn(t *testing.T, dir string) {
	t.Helper()
	mount := s.e.Mount(harness.Writable(s.url, "--encrypt-to", recipient, "--identity", "file:"+s.keys)...)
	if r := s.e.Exec("cp", "-r", dir, mount); r.Code != 0 {
		t.Fatal(r.Err)
	}
	s.e.Drain(mount)
	s.e.Unmount(mount)
	s.e.EmptyCache()
}

func (s *sealed) mount(more ...string) string {
	return s.e.Mount(append([]string{"s3://study/", "--endpoint-url", s.url, "--profile", "lab"}, more...)...)
}

// traffic returns what was fetched since the last Reset.
func (s *sealed) traffic() (gets int, sent int64) {
	for _, r := range s.srv.Requests() {
		if r.Op == "GetObject" {
			gets, sent = gets+1, sent+r.BytesOut
		}
	}
	return gets, sent
}

// Ten years from now nobody has studyfs any more: with the key, age alone gets the files back out of the bucket.
func TestAgeOpensWhatWasUploaded(t *testing.T) {
	need(t, "age")
	s := newSealed(t)
	files := map[string][]byte{"empty": nil, "chunk": harness.Pattern(1, 65536), "more": harness.Pattern(2, 65537), "large": harness.Pattern(3, 9_000_001)}
	dir := filepath.Join(s.e.Home, "p1")
	for name, body := range files {
		os.MkdirAll(dir, 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.copyIn(t, dir)
	stored := harness.Stored(s.srv, "p1/")
	for name, body := range files {
		path := filepath.Join(s.e.Home, "object.age")
		if err := os.WriteFile(path, stored[name+".age"], 0o600); err != nil {
			t.Fatal(err)
		}
		if r := s.e.Exec("sh", "-c", "age -d -i "+s.keys+" "+path+" > "+path+".clear"); r.Code != 0 {
			t.Fatalf("%s: %s", name, r.Err)
		}
		if got, err := os.ReadFile(path + ".clear"); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// The lab's old videos, of either digest, are read by ranges; of those that openssl failed to make, somebody is told.
func TestOpenSSLFilesByRange(t *testing.T) {
	need(t, "openssl")
	s := newSealed(t)
	const size = 24_000_003
	body := harness.Pattern(4, size)
	plain, pass := filepath.Join(s.e.Home, "plain"), filepath.Join(s.e.Home, "pass")
	if err := os.WriteFile(plain, body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pass, []byte("lab secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := map[string]harness.File{"v/gone.avi.enc": {Body: []byte("Salted__8bytes!!")}}
	for _, digest := range []string{"md5", "sha256"} {
		out := plain + ".enc"
		if r := s.e.Exec("openssl", "enc", "-e", "-des", "-md", digest, "-provider", "legacy", "-provider", "default", "-pass", "file:"+pass, "-in", plain, "-out", out); r.Code != 0 {
			t.Skipf("this openssl has no DES: %s", r.Err)
		}
		made, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		files["v/"+digest+".avi.enc"] = harness.File{Body: made}
	}
	harness.Fill(s.srv, "", files)
	dir := filepath.Join(s.mount("--password", "file:"+pass), "v")
	for _, digest := range []string{"md5", "sha256"} {
		name := filepath.Join(dir, digest+".avi")
		if info, err := os.Stat(name); err != nil || info.Size() != size {
			t.Fatalf("%s: %v, %v", digest, info, err)
		}
		s.srv.Reset()
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4097)
		for _, at := range []int64{11_999_999, size - 4097, 3} {
			if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, body[at:at+4097]) {
				t.Errorf("%s at %d: %v", digest, at, err)
			}
		}
		f.Close()
		if gets, sent := s.traffic(); gets > 8 || sent > size/4 {
			t.Errorf("%s: three reads of 4 KiB took %d GETs and %d bytes", digest, gets, sent)
		}
		if r := s.e.Exec("cmp", name, plain); r.Code != 0 {
			t.Errorf("%s: %s%s", digest, r.Out, r.Err)
		}
	}
	if _, err := os.ReadFile(filepath.Join(dir, "gone.avi")); err == nil {
		t.Error("a file that was lost could be read")
	}
	var report struct {
		Mounts []struct {
			Sources []struct {
				Listing struct {
					Lost int `json:"lost_files"`
				}
			}
		}
	}
	r := s.e.Run("status", "--json")
	if err := json.Unmarshal([]byte(r.Out), &report); err != nil || report.Mounts[0].Sources[0].Listing.Lost != 1 {
		t.Errorf("%v\n%s", err, r.Out)
	}
	if r := s.e.Run("status"); !strings.Contains(r.Out, "1 .enc files of which only the salt") {
		t.Error(r.Out)
	}
}

// A scientist looks at the end of a night's video: what comes is those frames, not the night.
func TestSeekInAnEncryptedVideo(t *testing.T) {
	need(t, "ffmpeg", "ffprobe")
	s := newSealed(t)
	dir := filepath.Join(s.e.Home, "c0ffee12")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "c0ffee12_0_0000.avi")
	if r := s.e.Exec("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x480:rate=30:duration=30", "-c:v", "mpeg4", "-b:v", "6M", "-g", "30", plain); r.Code != 0 {
		t.Skipf("ffmpeg cannot make a video: %s", r.Err)
	}
	s.copyIn(t, dir)
	info, err := os.Stat(plain)
	if err != nil {
		t.Fatal(err)
	}
	video := filepath.Join(s.mount("--identity", "file:"+s.keys), "c0ffee12", "c0ffee12_0_0000.avi")
	probe := func(path string) string {
		return s.e.Exec("ffprobe", "-v", "error", "-show_entries", "format=duration,size:stream=width,codec_name,nb_frames", "-of", "csv", path).Out
	}
	frames := func(path string) string {
		return s.e.Exec("ffmpeg", "-v", "error", "-ss", "28", "-i", path, "-frames:v", "10", "-f", "framemd5", "-").Out
	}
	s.srv.Reset()
	if got, want := probe(video), probe(plain); got != want || got == "" {
		t.Errorf("ffprobe: got %q, want %q", got, want)
	}
	if got, want := frames(video), frames(plain); got != want || strings.Count(got, "\n") < 10 {
		t.Errorf("frames near the end:\n%s\nwant\n%s", got, want)
	}
	gets, sent := s.traffic()
	t.Logf("%d GETs, %d of %d bytes", gets, sent, info.Size())
	if gets > 20 || sent > info.Size()/2 {
		t.Errorf("%d GETs and %d bytes for ten frames of a video of %d", gets, sent, info.Size())
	}
	if r := s.e.Exec("cmp", video, plain); r.Code != 0 {
		t.Error(r.Out, r.Err)
	}
}
