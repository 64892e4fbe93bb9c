// Package ecog is what a clinic's lab asked of sources of kind ecog, from the folder of a patient to what lies in its buckets, with the built
// program and the programs that people use beside it.
package ecog

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"studyfs/backends/crypt"
	"studyfs/backends/s3/s3test"
	"studyfs/cache/stage/gate/edf/edftest"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// A key pair of these tests, and the surname of a patient. Nobody is called so.
const (
	identity  = "AGE-SECRET-KEY-1MWV3WEZ0VL6SU9Q5RHCET4XL85U36A0JSPLSJAHG647JN4LZ4SAQC2EHTJ"
	recipient = "age1c562v08q5ywhklfxftxc0amfakrayvjnzy54jalwn3uc8pehv39qhw3gkp"
	surname   = "Quillfeather"
)

// lab is a clinic's lab: three buckets, a NAS, and an export with folders of patients.
type lab struct {
	*harness.Env

	t    *testing.T
	srv  *s3test.Server
	http *httptest.Server
	nas  string
	from string
	good map[string][]byte // what may go out, by its name in the mount
	bad  []string          // what must not
}

func buckets() []string { return []string{"lab-video", "lab-edf", "lab-archive"} }

// newLab sets a source up in the configuration, with more settings of it such as gate = "park".
func newLab(t *testing.T, settings string) *lab {
	t.Helper()
	l := &lab{Env: harness.New(t), t: t, srv: s3test.New(s3test.Options{}), good: map[string][]byte{}}
	l.Profile("lab")
	l.Vars = append(l.Vars, "STUDYFS_QUIET=20ms")
	l.http = httptest.NewServer(l.srv)
	t.Cleanup(func() { l.srv.Close(); l.http.Close() })
	for _, name := range buckets() {
		l.srv.CreateBucket(name)
	}
	l.srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret})
	away := t.TempDir() // what is not studyfs's is not in its home, which is searched for names
	l.nas, l.from = filepath.Join(away, "nas"), filepath.Join(away, "export")
	l.save(filepath.Join(l.nas, ".studyfs", "mark"), nil)
	l.save(l.key(), []byte(identity+"\n"))
	l.save(filepath.Join(away, "names.txt"), []byte("# made up\n"+surname+"\n"))
	words := filepath.Join(l.Home, "words.deny")
	if r := l.Run("deid", "words", filepath.Join(away, "names.txt"), "--out", words); r.Code != 0 {
		t.Fatalf("deid words: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	l.save(filepath.Join(l.Home, ".config", "studyfs", "config.toml"), fmt.Appendf(nil, `
[source.ecog]
kind = "ecog"
write = true
words = "file:%s"
endpoint-url = %q
profile = "lab"
region = "us-east-1"
%s
[source.ecog.video]
target = "s3://lab-video/ecog/"
encrypt-to = [%q]
identity = "file:%s"
[source.ecog.edf]
target = "s3://lab-edf/"
[source.ecog.archive]
target = "s3://lab-archive/all/"
storage-class = "DEEP_ARCHIVE"
[source.ecog.nas]
target = "dir:%s"
`, words, l.http.URL, settings, recipient, l.key(), l.nas))
	return l
}

func (l *lab) key() string { return filepath.Join(l.Home, "key.txt") }

func (l *lab) save(path string, body []byte) {
	l.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// recording is one that tells nothing of anybody, but for what change does to it.
func recording(change func(*edftest.File)) []byte {
	f := edftest.File{
		Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate 01-JAN-1985 X X X", Date: "01.01.85", Lists: []string{edftest.List(0, "awake"), edftest.List(1, "asleep")},
	}
	change(&f)
	return f.Bytes()
}

// patient makes the folder of one as it comes from the hospital: videos in pieces, recordings, and, at bad places, the name of the patient.
func (l *lab) patient(id string) {
	l.t.Helper()
	pieces, size := harness.Sized(2, 16), harness.Sized(9<<20+4321, 128<<20)
	if len(l.good) > 0 { // all of it, in all targets, lies in the memory of this test: 2 GiB of one patient are enough
		pieces, size = 2, 9<<20+4321
	}
	for i := range pieces {
		l.add(fmt.Sprintf("%s/%s_3/%s_3_%04d.avi", id, id, id, i+1), harness.Pattern(int64(i)+int64(id[0]), size))
	}
	l.add(id+"/"+id+"_1.edf", recording(func(*edftest.File) {}))
	l.add(id+"/"+id+"_1.csv", []byte("onset,label\n1.5,spike\n"))
	l.refused(id+"/"+id+"_2.edf", recording(func(f *edftest.File) { f.Patient = "MRN1 M 02-MAY-1951 " + surname }))
	l.refused(id+"/"+id+"_3.edf", recording(func(f *edftest.File) { f.Lists[1] = edftest.List(1, "talks to "+surname) }))
	l.refused(id+"/"+id+"_letter.doc", []byte("Dear "+surname))
}

func (l *lab) add(name string, body []byte) {
	l.good[name] = body
	l.save(filepath.Join(l.from, name), body)
}

func (l *lab) refused(name string, body []byte) {
	l.bad = append(l.bad, name)
	l.save(filepath.Join(l.from, name), body)
}

func (l *lab) original(name string) []byte {
	l.t.Helper()
	body, err := os.ReadFile(filepath.Join(l.from, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return body
}

// copyIn is cp -r of the whole export.
func (l *lab) copyIn(dir string) harness.Result {
	l.t.Helper()
	return l.Exec("cp", "-r", l.from+"/.", dir)
}

// bucket is what lies in one, by key.
func (l *lab) bucket(name string) map[string][]byte {
	l.t.Helper()
	all := map[string][]byte{}
	for _, key := range l.srv.Keys(name) {
		o, _ := l.srv.Object(name, key)
		body := make([]byte, o.Size) // not by io.ReadAll, whose garbage took all memory at full size
		if _, err := io.ReadFull(io.NewSectionReader(o.Body, 0, o.Size), body); err != nil {
			l.t.Fatal(err)
		}
		all[key] = body
	}
	return all
}

// opened is what an encrypted object holds.
func opened(t *testing.T, body []byte) []byte {
	t.Helper()
	ids, err := crypt.ReadIdentities(strings.NewReader(identity))
	if err != nil {
		t.Fatal(err)
	}
	r, err := crypt.Decrypt(t.Context(), bytes.NewReader(body), int64(len(body)), crypt.Options{Identities: ids})
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// bodies counts the requests that sent bytes of files.
func (l *lab) bodies() (n int) {
	for _, r := range l.srv.Requests() {
		if (r.Op == s3test.OpPut || r.Op == s3test.OpPart) && r.BytesIn > 0 {
			n++
		}
	}
	return n
}

// forms are the ways in which a text could hide.
func forms(text string) [][]byte {
	all := [][]byte{[]byte(text), []byte(hex.EncodeToString([]byte(text))), []byte(strings.ToUpper(hex.EncodeToString([]byte(text))))}
	for shift := range 3 { // what base64 makes of it depends on where it begins
		coded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + text))
		all = append(all, []byte(coded[4:len(coded)-4]))
	}
	return all
}

func holds(hay []byte, text string) bool {
	for _, form := range forms(text) {
		if bytes.Contains(hay, form) {
			return true
		}
	}
	return false
}

// kept is all that studyfs keeps on this machine: names, labels and bytes of the files of its cache, stages, logs and the rest.
func (l *lab) kept() []byte {
	l.t.Helper()
	var hay bytes.Buffer
	files := 0
	for _, dir := range []string{".cache", ".state", "run", ".config"} {
		err := filepath.WalkDir(filepath.Join(l.Home, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			hay.WriteString(path + "\n")
			if !d.Type().IsRegular() {
				return nil
			}
			label := make([]byte, 64<<10)
			if n, err := unix.Lgetxattr(path, "user.studyfs.item", label); err == nil {
				hay.Write(label[:n])
			}
			raw, err := os.ReadFile(path)
			hay.Write(bytes.ReplaceAll(raw, make([]byte, 4096), nil)) // room that is set aside is not searched
			files++
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
	}
	if files < 5 {
		l.t.Fatalf("%d files were looked at: this test looks in the wrong place", files)
	}
	return hay.Bytes()
}

// left tells whether a text is in anything that has left this machine: keys, metadata and bytes, those of encrypted objects opened, requests, and
// what lies on the NAS. It looks at one object after the other: all of them at once took more memory than there is.
func (l *lab) left(text string) bool {
	l.t.Helper()
	var names bytes.Buffer
	found := false
	for _, name := range buckets() {
		for key, body := range l.bucket(name) {
			o, _ := l.srv.Object(name, key)
			fmt.Fprintln(&names, key, o.Meta, o.ContentType)
			found = found || holds(body, text) || strings.HasSuffix(key, ".age") && holds(opened(l.t, body), text)
		}
	}
	for _, r := range l.srv.Requests() {
		fmt.Fprintln(&names, r.Op, r.Key, r.Query)
	}
	for name, body := range l.onNAS() {
		names.WriteString(name + "\n")
		found = found || holds(body, text)
	}
	return found || holds(names.Bytes(), text)
}

func (l *lab) onNAS() map[string][]byte {
	l.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(l.nas, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(l.nas, path)
		if err == nil {
			all[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}
