package budget

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// bench is an empty bucket mounted for writing, its log empty.
type bench struct {
	t    *testing.T
	e    *harness.Env
	srv  *s3test.Server
	args []string
	dir  string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	harness.NeedWrites(t)
	e, srv, url := prepare(t, nil)
	b := &bench{t: t, e: e, srv: srv, args: harness.Writable(url, "--delete")}
	b.dir = e.Mount(b.args...)
	srv.Reset()
	return b
}

func (b *bench) save(name string, body []byte) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remount() {
	b.t.Helper()
	b.e.Unmount(b.dir)
	b.e.MountAt(b.dir, b.args...)
}

// since fails the test if the requests since the last look, when all is uploaded, are others than allowed: the most by operation, "" for all.
// It returns the bytes sent.
func (b *bench) since(what string, most map[string]int) (sent int64) {
	b.t.Helper()
	b.e.Drain(b.dir)
	counts := map[string]int{}
	for _, r := range b.srv.Requests() {
		counts[r.Op]++
		counts[""]++
		sent += r.BytesIn
	}
	b.srv.Reset()
	b.t.Logf("%s: %v, %d bytes sent", what, counts, sent)
	for op, n := range counts {
		if allowed, ok := most[op]; op != "" && !ok && most[""] == 0 || ok && n > allowed {
			b.t.Errorf("%s: %d requests %q, allowed %v", what, n, op, most)
		}
	}
	return sent
}

func TestHundredSmallFilesWritten(t *testing.T) {
	b := newBench(t)
	for i := range 100 {
		b.save(fmt.Sprintf("d/%03d", i), harness.Pattern(int64(i), 1024))
	}
	b.since("100 files", map[string]int{"": 101})
	if n := len(b.srv.Keys("study")); n != 100 {
		t.Errorf("%d objects", n)
	}
}

func TestTreeOf2000FilesCopiedIn(t *testing.T) {
	b := newBench(t)
	from := filepath.Join(b.e.Home, "tree")
	for i := range 2000 {
		path := filepath.Join(from, fmt.Sprintf("sub-%02d/ses-%d/%04d.csv", i%20, i%3, i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, harness.Pattern(int64(i), 100+i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	copyIn := func() {
		if r := b.e.Exec("cp", "-r", from, b.dir); r.Code != 0 {
			t.Fatalf("exit %d\n%s", r.Code, r.Err)
		}
	}
	begun := time.Now()
	copyIn()
	// A listing is believed for a minute, and a busy machine takes longer than that for all this.
	b.since("2,000 files", map[string]int{"": 2002 + int(time.Since(begun)/time.Minute)})
	if n := len(b.srv.Keys("study")); n != 2000 {
		t.Errorf("%d objects", n)
	}
	if r := b.e.Exec("diff", "-r", from, filepath.Join(b.dir, "tree")); r.Code != 0 {
		t.Fatalf("exit %d\n%s", r.Code, r.Out)
	}
	b.since("read back", map[string]int{"ListObjectsV2": 3 * (1 + int(time.Since(begun)/time.Minute))})
}

// What was just uploaded is here: reading it costs nothing, neither at once nor after a restart.
func TestReadingWhatWasStored(t *testing.T) {
	b := newBench(t)
	files := map[string][]byte{}
	for i := range 50 {
		files[fmt.Sprintf("d/%02d", i)] = harness.Pattern(int64(i), 10_000*i)
	}
	files["d/large"] = harness.Pattern(77, 20<<20)
	for name, body := range files {
		b.save(name, body)
	}
	b.since("written", map[string]int{"": len(files) + 10})
	for _, restarted := range []bool{false, true} {
		if restarted {
			b.remount()
		}
		for name, body := range files {
			if got, err := os.ReadFile(filepath.Join(b.dir, name)); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s: %d bytes, %v", name, len(got), err)
			}
		}
		b.since(fmt.Sprintf("read, restarted %v", restarted), map[string]int{"ListObjectsV2": 2})
	}
}

// The same files copied over themselves, as people do to be sure: nothing is sent again. Where the copies have other times, those are kept with
// a copy per file that sends nothing, after a look at what else is kept with the object.
func TestSameContentAgain(t *testing.T) {
	b := newBench(t)
	files := map[string][]byte{}
	for i := range 20 {
		files[fmt.Sprintf("d/%02d", i)] = harness.Pattern(int64(i), 1000*i)
	}
	from := filepath.Join(b.e.Home, "from")
	for name, body := range files {
		path := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Unix(1.5e9, 0), time.Unix(1.5e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	copyIn := func(flag string) {
		t.Helper()
		if r := b.e.Exec("cp", flag, from+"/.", b.dir); r.Code != 0 {
			t.Fatalf("exit %d\n%s", r.Code, r.Err)
		}
	}
	copyIn("-rp")
	b.since("first", map[string]int{"": len(files) + 2})
	copyIn("-rp")
	b.since("again with the same times", map[string]int{"ListObjectsV2": 2})
	b.remount()
	copyIn("-rp")
	b.since("again after a restart", map[string]int{"ListObjectsV2": 2})
	copyIn("-r")
	if sent := b.since("again with other times", map[string]int{s3test.OpCopy: len(files), "HeadObject": len(files), "ListObjectsV2": 2}); sent > 0 {
		t.Errorf("%d bytes were sent", sent)
	}
	stored := harness.Stored(b.srv, "")
	for name, body := range files {
		if !bytes.Equal(stored[name], body) {
			t.Errorf("%s: other bytes", name)
		}
	}
	if len(stored) != len(files) {
		t.Errorf("%d objects", len(stored))
	}
}

// A new time is one copy, sends nothing, and is there for everybody who mounts the bucket elsewhere and asks.
func TestTouchOfAStoredFile(t *testing.T) {
	b := newBench(t)
	b.save("f", harness.Pattern(1, 1<<20))
	b.since("written", map[string]int{"": 2})
	at := time.Unix(1.4e9, 0)
	if err := os.Chtimes(filepath.Join(b.dir, "f"), at, at); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(b.dir, "f")); err != nil || !info.ModTime().Equal(at) {
		t.Errorf("%v, %v", info.ModTime(), err)
	}
	if sent := b.since("touched", map[string]int{s3test.OpCopy: 1, "HeadObject": 1}); sent > 0 {
		t.Errorf("%d bytes were sent", sent)
	}
	o, _ := b.srv.Object("study", "f")
	if meta := maps.Clone(o.Meta); !strings.HasPrefix(meta["mtime"], "1400000000") {
		t.Errorf("metadata %v", meta)
	}
}
