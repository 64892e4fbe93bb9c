package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"studyfs/backends/crypt"
	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// noGate is for files that hold no recordings.
const noGate = `gate = "off"`

// clinic is a lab with two buckets, an archive and a NAS, and folders of patients to copy in.
type clinic struct {
	*harness.Env

	t    *testing.T
	srv  *s3test.Server
	nas  string
	from string
	want map[string][]byte // by name in the mount
}

func newClinic(t *testing.T, settings string) *clinic {
	t.Helper()
	c := &clinic{Env: writable(t), t: t, srv: s3test.New(s3test.Options{}), want: map[string][]byte{}}
	h := httptest.NewServer(c.srv)
	t.Cleanup(func() { c.srv.Close(); h.Close() })
	for _, bucket := range []string{"lab-video", "lab-edf", "lab-archive"} {
		c.srv.CreateBucket(bucket)
	}
	c.srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret})
	c.nas, c.from = filepath.Join(c.Home, "nas"), filepath.Join(c.Home, "export")
	c.write(filepath.Join(c.Home, "key.txt"), []byte(testIdentity+"\n"))
	if err := os.MkdirAll(filepath.Join(c.nas, ".studyfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.write(filepath.Join(c.Home, ".config", "studyfs", "config.toml"), fmt.Appendf(nil, `
[source.ecog]
kind = "ecog"
write = true
delete = true
%s
endpoint-url = %q
profile = "lab"
region = "us-east-1"
[source.ecog.video]
target = "s3://lab-video/ecog/"
encrypt-to = [%q]
identity = "file:%s/key.txt"
[source.ecog.edf]
target = "s3://lab-edf/"
[source.ecog.archive]
target = "s3://lab-archive/all/"
storage-class = "DEEP_ARCHIVE"
[source.ecog.nas]
target = "dir:%s"
`, settings, h.URL, testRecipient, c.Home, c.nas))
	return c
}

func (c *clinic) write(path string, body []byte) {
	c.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// export makes a patient's folder. Its first video has that size.
func (c *clinic) export(id string, first int) {
	for i, size := range []int{first, 300_000, 70_000, 1000} {
		c.add(fmt.Sprintf("%s/%s_3/%s_3_%04d.avi", id, id, id, i+1), harness.Pattern(int64(i)+int64(len(id)), size))
	}
	for i := range 6 {
		c.add(fmt.Sprintf("%s/%s_edf/%s_%d.edf", id, id, id, i+1), harness.Pattern(int64(100+i), 20_000+i))
	}
}

func (c *clinic) add(name string, body []byte) {
	c.want[name] = body
	c.write(filepath.Join(c.from, name), body)
}

func (c *clinic) copyIn(dir string) {
	c.t.Helper()
	if r := c.Exec("cp", "-r", c.from+"/.", dir); r.Code != 0 {
		c.t.Fatalf("cp -r: exit %d\n%s", r.Code, r.Err)
	}
}

// stored is what a bucket holds below a prefix.
func (c *clinic) stored(bucket, prefix string) map[string][]byte {
	all := map[string][]byte{}
	for _, key := range c.srv.Keys(bucket) {
		o, _ := c.srv.Object(bucket, key)
		body := make([]byte, o.Size)
		o.Body.ReadAt(body, 0)
		all[strings.TrimPrefix(key, prefix)] = body
	}
	return all
}

// everywhere checks that every target holds exactly its files, and the manifests say so.
func (c *clinic) everywhere() {
	c.t.Helper()
	ids, err := crypt.ReadIdentities(strings.NewReader(testIdentity))
	if err != nil {
		c.t.Fatal(err)
	}
	video, edf, archive := c.stored("lab-video", "ecog/"), c.stored("lab-edf", ""), c.stored("lab-archive", "all/")
	nas := map[string][]byte{}
	err = filepath.WalkDir(c.nas, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(c.nas, path)
		if err != nil || d.IsDir() || strings.HasPrefix(name, ".studyfs/") {
			return err
		}
		nas[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for name, body := range c.want {
		primary, key := edf, name
		if strings.HasSuffix(name, ".avi") {
			primary, key = video, name+".age"
			plain, err := crypt.Decrypt(c.t.Context(), bytes.NewReader(video[key]), int64(len(video[key])), crypt.Options{Identities: ids})
			if err != nil {
				c.t.Errorf("%s: %v", key, err)
				continue
			}
			var opened bytes.Buffer
			if _, err := opened.ReadFrom(plain); err != nil || bytes.Contains(video[key], body[:min(len(body), 100)]) {
				c.t.Errorf("%s: %v, or it lies there in clear", key, err)
			}
			video[key] = opened.Bytes()
		}
		for where, all := range map[string]map[string][]byte{"primary": primary, "archive": archive, "nas": nas} {
			got := name
			if where == "primary" {
				got = key
			}
			if !bytes.Equal(all[got], body) {
				c.t.Errorf("%s: %d bytes of %d at the %s, or others", got, len(all[got]), len(body), where)
			}
			delete(all, got)
		}
	}
	c.manifests(archive)
	c.manifests(nas)
	for where, left := range map[string]map[string][]byte{"video": video, "edf": edf, "archive": archive, "nas": nas} {
		for name := range left {
			if strings.HasSuffix(name, "/") && len(left[name]) == 0 {
				continue // a folder that had nothing in it for a moment
			}
			c.t.Errorf("%s holds %s", where, name)
		}
	}
}

// manifests takes the manifests out of a target and holds them against what was copied in.
func (c *clinic) manifests(target map[string][]byte) {
	c.t.Helper()
	lines := map[string]string{}
	for name, text := range target {
		if !strings.HasSuffix(name, ".manifest.jsonl") {
			continue
		}
		delete(target, name)
		for dec := json.NewDecoder(bytes.NewReader(text)); dec.More(); {
			var one struct {
				Name, SHA256 string
				Targets      []string
				Removed      bool
			}
			if err := dec.Decode(&one); err != nil {
				c.t.Fatal(err)
			}
			if !one.Removed {
				lines[one.Name] = one.SHA256
			}
			if !one.Removed && len(one.Targets) != 3 {
				c.t.Errorf("%s lies at %q, says the manifest", one.Name, one.Targets)
			}
		}
	}
	for name, body := range c.want {
		if lines[name] != harness.Sum(body) {
			c.t.Errorf("the manifest has %q for %s", lines[name], name)
		}
		delete(lines, name)
	}
	for name := range lines {
		c.t.Errorf("the manifest has %s", name)
	}
}

// bodies counts the requests that sent bytes of files.
func (c *clinic) bodies() (n int) {
	for _, r := range c.srv.Requests() {
		if (r.Op == s3test.OpPut || r.Op == s3test.OpPart) && r.BytesIn > 0 {
			n++
		}
	}
	return n
}

// Folders of two patients are copied in. The mount is killed while their files are on their way to four places, twice. In the end each place
// has every file, byte for byte, nothing else lies there, and copying the folders in again sends nothing.
func TestEcogKilledOnTheWay(t *testing.T) {
	c := newClinic(t, noGate)
	dir := c.Mount("ecog")
	t.Cleanup(func() { harness.Abort(dir) })
	for id, first := range map[string]int{"a1b2c3d4": 17 << 20, "b5c6d7e8": 2 << 20} { // one goes in parts
		pid := c.PID(dir)
		reached, gone := make(chan struct{}), make(chan struct{})
		var n atomic.Int64
		c.srv.OnRequest(func(r s3test.Request) {
			if r.Op != s3test.OpPut && r.Op != s3test.OpPart {
				return
			}
			switch k := n.Add(1); {
			case k == 9:
				close(reached)
				fallthrough
			case k > 9: // nothing more is stored before the process is gone
				<-gone
			}
		})
		c.export(id, first)
		c.copyIn(dir)
		<-reached
		harness.KillProcess(t, pid)
		close(gone)
		harness.Abort(dir)
		c.MountAt(dir, "ecog")
	}
	c.Drain(dir)
	c.everywhere()
	for name, body := range c.want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s in the mount: %d bytes, %v", name, len(got), err)
		}
	}
	if c.bodies() < 2*len(c.want) {
		t.Errorf("only %d bodies were seen of those that were sent", c.bodies())
	}
	c.srv.Reset()
	c.copyIn(dir)
	c.Drain(dir)
	if n := c.bodies(); n != 0 {
		t.Errorf("copying all in again sent %d bodies", n)
	}
	c.everywhere()
	c.Unmount(dir)
}

// The NAS is away: the buckets get the files, people are told which target lacks them, and it gets them when it is back. Renaming and
// deleting reach every target.
func TestEcogNASAway(t *testing.T) {
	c := newClinic(t, noGate)
	if err := os.Rename(c.nas, c.nas+"-away"); err != nil {
		t.Fatal(err)
	}
	c.add("a1b2c3d4/a1b2c3d4_edf/a1b2c3d4_1.edf", []byte("one"))
	c.add("a1b2c3d4/a1b2c3d4_edf/a1b2c3d4_2.edf", []byte("two"))
	dir := c.Mount("ecog")
	c.copyIn(dir)
	if r := c.Run("uploads", "wait", "--timeout", "1s", dir); r.Code == 0 {
		t.Errorf("it is called stored\n%s%s", r.Out, r.Err)
	}
	items := c.Uploads()
	if len(items) != 2 || !slices.ContainsFunc(items, func(i harness.Item) bool { return strings.HasPrefix(i.Error, "nas: ") }) {
		t.Errorf("%+v", items)
	}
	there := c.stored("lab-edf", "")
	maps.DeleteFunc(there, func(key string, _ []byte) bool { return strings.HasSuffix(key, "/") }) // a folder that had nothing in it for a moment
	if len(there) != 2 {
		t.Errorf("the bucket has %q", slices.Collect(maps.Keys(there)))
	}
	if err := os.Rename(c.nas+"-away", c.nas); err != nil {
		t.Fatal(err)
	}
	c.Drain(dir)
	c.everywhere()

	one, two := filepath.Join(dir, "a1b2c3d4/a1b2c3d4_edf/a1b2c3d4_1.edf"), filepath.Join(dir, "a1b2c3d4/a1b2c3d4_edf/a1b2c3d4_2.edf")
	if err := os.Rename(one, strings.Replace(one, "_1.edf", "_7.edf", 1)); err != nil {
		t.Error(err)
	}
	if err := os.Remove(two); err != nil {
		t.Error(err)
	}
	c.want = map[string][]byte{"a1b2c3d4/a1b2c3d4_edf/a1b2c3d4_7.edf": []byte("one")}
	c.Drain(dir)
	c.everywhere()
	c.Unmount(dir)
}

// Nobody has said how files are judged: what may hold a name is refused when it is closed, and reaches none of the targets.
func TestEcogRefusesNames(t *testing.T) {
	c := newClinic(t, "")
	dir := c.Mount("ecog")
	if err := os.MkdirAll(filepath.Join(dir, "a1b2c3d4", "a1b2c3d4_3"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a1b2c3d4", "a1b2c3d4_3", "Surname~ Name.avi"), []byte("video"), 0o644); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v", err)
	}
	c.add("a1b2c3d4/a1b2c3d4_3/a1b2c3d4_3_0001.avi", []byte("another video"))
	c.copyIn(dir)
	c.Run("uploads", "wait", dir)
	c.everywhere()
	c.Unmount(dir)
}

// A directory is a source like any other: it can be read as it is, and be written to once it is marked.
func TestDirectoryAsSource(t *testing.T) {
	e := writable(t)
	nas := filepath.Join(e.Home, "nas")
	if err := errors.Join(os.MkdirAll(filepath.Join(nas, "sub-01"), 0o755), os.WriteFile(filepath.Join(nas, "sub-01", "x.txt"), []byte("read me"), 0o644)); err != nil {
		t.Fatal(err)
	}
	dir := e.Mount("dir:" + nas)
	if got, err := os.ReadFile(filepath.Join(dir, "sub-01", "x.txt")); err != nil || string(got) != "read me" {
		t.Errorf("%q, %v", got, err)
	}
	e.Unmount(dir)
	r := e.Run("mount", "dir:"+nas, filepath.Join(e.Home, "mnt2"), "--write")
	if r.Code != 69 || !strings.Contains(r.Err, "mkdir "+filepath.Join(nas, ".studyfs")) {
		t.Errorf("exit %d\n%s", r.Code, r.Err)
	}
	if err := os.Mkdir(filepath.Join(nas, ".studyfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir = e.Mount("dir:"+nas, "--write", "--delete")
	if err := os.WriteFile(filepath.Join(dir, "sub-01", "y.txt"), []byte("written"), 0o644); err != nil {
		t.Fatal(err)
	}
	e.Drain(dir)
	if err := os.Rename(filepath.Join(dir, "sub-01", "y.txt"), filepath.Join(dir, "sub-01", "z.txt")); err != nil {
		t.Error(err)
	}
	e.Drain(dir)
	e.Unmount(dir)
	names, _ := filepath.Glob(filepath.Join(nas, "sub-01", "*"))
	if got, err := os.ReadFile(filepath.Join(nas, "sub-01", "z.txt")); err != nil || string(got) != "written" || len(names) != 2 {
		t.Errorf("%q, %v; %q", got, err, names)
	}
}
