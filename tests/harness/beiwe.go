package harness

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
	"studyfs/backends/crypt/cryptease"
)

// The account and the study of every Beiwe server here. The keys hold what must be escaped in a form.
const (
	BeiweAccess  = "AccessKey+/AccessKeyAccessKeyAccessKeyAccessKeyAccessKeyAccessKe"
	BeiweSecret  = "SecretKey+/SecretKeySecretKeySecretKeySecretKeySecretKeySecretKe"
	BeiweStudyID = "5f3a9c1e7b2d4c8f6a0e1b99"
	BeiweStudy   = "Demo Study"
)

// Beiwe is a Beiwe server in this process with one study.
type Beiwe struct {
	*beiwetest.Server
	URL    string
	People []string
	End    time.Time // the hour that the sample data ends with; all later than it is of tests

	t testing.TB
}

// NewBeiwe starts a server with sample data that ended some hours ago: no hour of it is still under way.
func NewBeiwe(t testing.TB, o beiwetest.Options, fill beiwetest.FillOptions) *Beiwe {
	t.Helper()
	b := &Beiwe{Server: beiwetest.New(o), End: time.Now().UTC().Truncate(time.Hour).Add(-3 * time.Hour), t: t}
	h := httptest.NewServer(b.Server)
	t.Cleanup(func() { b.Close(); h.CloseClientConnections(); h.Close() })
	b.URL = h.URL
	b.AddKey(BeiweAccess, BeiweSecret)
	fill.Study = beiwetest.Study{ID: BeiweStudyID, Name: BeiweStudy}
	fill.End = b.End
	b.People = beiwetest.Fill(b.Server, fill)
	return b
}

// Env is a home whose variables hold the account. Requests are given up on early: a server in this process answers at once.
func (b *Beiwe) Env() *Env {
	b.t.Helper()
	e := New(b.t)
	e.Vars = append(e.Vars, "BEIWE_URL="+b.URL, "BEIWE_ACCESS_KEY="+BeiweAccess, "BEIWE_SECRET_KEY="+BeiweSecret)
	return e
}

// Requests returns the requests since the last call. An answer's end can reach the client before the entry reaches the log.
func (b *Beiwe) Requests() []beiwetest.Request {
	time.Sleep(50 * time.Millisecond)
	all := b.Log()
	b.ResetLog()
	return all
}

// AtMost fails the test if more was asked for since the last look than allowed.
func (b *Beiwe) AtMost(most int, what string) {
	b.t.Helper()
	all := b.Requests()
	var text strings.Builder
	for _, r := range all {
		fmt.Fprintf(&text, "\n%s %v %s..%s status %d, %d bytes, %d files", r.Path, r.Form["data_streams"], r.Form.Get("time_start"), r.Form.Get("time_end"), r.Status, r.Bytes, r.Members)
	}
	b.t.Logf("%s: %d requests%s", what, len(all), text.String())
	if len(all) > most {
		b.t.Errorf("%s: %d requests, allowed %d", what, len(all), most)
	}
}

// Truth is what the study holds, by the path below the mount. Several files of one second are not in it: the server tells no names of them.
func (b *Beiwe) Truth() map[string]beiwetest.Listed {
	files := map[string]beiwetest.Listed{}
	for _, f := range b.Files(BeiweStudyID) {
		files[BeiweStudy+"/"+f.Path] = f
	}
	return files
}

// Content is all of it.
func Content(c beiwetest.Content) []byte {
	all := make([]byte, c.Size())
	if _, err := io.ReadFull(c.Open(), all); err != nil {
		panic(err) // its own size does not fit
	}
	return all
}

// Hour is the name of an hourly file.
func Hour(at time.Time) string { return at.UTC().Format("2006-01-02 15_00_00+00_00.csv") }

// Compare reads the tree below dir and holds it against the server's study: names, kinds, modes, sizes and every byte.
func (b *Beiwe) Compare(dir string) {
	b.t.Helper()
	b.CompareBelow(dir, "")
}

// CompareBelow is Compare of what lies below a path, such as one stream's folder. All of it must be there.
func (b *Beiwe) CompareBelow(dir, below string) {
	b.t.Helper()
	truth := b.Truth()
	for name := range truth {
		if !strings.HasPrefix(name, below) {
			delete(truth, name)
		}
	}
	err := filepath.WalkDir(filepath.Join(dir, below), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := truth[name]
		if !ok {
			b.t.Errorf("%s: listed, but the server does not have it", name)
			return nil
		}
		delete(truth, name)
		b.same(path, name, f)
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
	for name := range truth {
		b.t.Errorf("%s: not in the mount", name)
	}
	if b.t.Failed() {
		b.t.FailNow()
	}
}

func (b *Beiwe) same(path, name string, f beiwetest.Listed) {
	b.t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		b.t.Errorf("%s: listed, but %v", name, err)
		return
	}
	if info.Mode() != 0o444 || info.Size() != f.Body.Size() {
		b.t.Errorf("%s: mode %v, %d bytes, want 0444, %d", name, info.Mode(), info.Size(), f.Body.Size())
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, Content(f.Body)) {
		b.t.Errorf("%s: bytes differ (%d of %d), %v", name, len(got), f.Body.Size(), err)
	}
}

// Keyring writes a keyring of mano's with this text and returns its path.
func (e *Env) Keyring(text, passphrase string) string {
	e.t.Helper()
	var sealed bytes.Buffer
	if err := cryptease.Encrypt(&sealed, strings.NewReader(text), []byte(passphrase), rand.Reader); err != nil {
		e.t.Fatal(err)
	}
	path := filepath.Join(e.Home, "keyring.enc")
	if err := os.WriteFile(path, sealed.Bytes(), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}
