package faults

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// exitUnreachable is what mount ends with when a service cannot be reached.
const exitUnreachable = 69

// writable mounts an empty bucket for writing, with little patience for one request: a server in this process answers at once.
func writable(t *testing.T, o s3test.Options, args ...string) (*harness.Env, *s3test.Server, string, []string) {
	t.Helper()
	harness.NeedWrites(t)
	srv, url := harness.Strict(t, "", o)
	e := harness.New(t)
	e.Profile("lab")
	e.Vars = append(e.Vars, "STUDYFS_TIMEOUT_ANSWER=500ms", "STUDYFS_TIMEOUT_PROGRESS=500ms", "STUDYFS_TIMEOUT_RETRY=2s")
	args = harness.Writable(url, args...)
	return e, srv, e.Mount(args...), args
}

// complete fails the test unless the bucket holds exactly these files, and no upload is left half done.
func complete(t *testing.T, srv *s3test.Server, want map[string][]byte) {
	t.Helper()
	got := harness.Stored(srv, "")
	for _, name := range slices.Sorted(maps.Keys(want)) {
		body, there := got[name]
		if !there || !bytes.Equal(body, want[name]) {
			t.Errorf("%s: stored %v, %d bytes of %d", name, there, len(body), len(want[name]))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok && !strings.HasSuffix(name, "/") {
			t.Errorf("%s: nobody wrote it", name)
		}
	}
	unheard := map[string]bool{} // nobody can end an upload whose number never arrived; it holds nothing
	for _, r := range srv.Requests() {
		unheard[r.Key] = unheard[r.Key] || r.Op == s3test.OpCreateMultipart && r.Fault != ""
	}
	for _, u := range srv.Uploads("study") {
		if len(u.Parts) > 0 || !unheard[u.Key] {
			t.Errorf("%s: an upload is left with %d parts", u.Key, len(u.Parts))
		}
	}
}

// One request in five goes wrong, each time in another way, over thousands of requests: every file is stored in the end, once, and right.
// A file of 20 MiB goes in parts.
func TestUploadsUnderFaults(t *testing.T) {
	passing := slices.DeleteFunc(s3test.WriteFaults(), func(f s3test.Fault) bool { // those that end all uploads until somebody acts
		return f == s3test.AccessDenied || f == s3test.ExpiredToken || f == s3test.InvalidAccessKeyID
	})
	requests := harness.Sized(800, 10_000)
	e, srv, dir, _ := writable(t, s3test.Options{Seed: 5}, "--delete")
	for _, fault := range passing {
		srv.Inject(s3test.Rule{Fault: fault, Share: 0.2 / float64(len(passing)) * 1.1, Wait: 700 * time.Millisecond}) // a bit more: the first that strikes hides the others
	}
	want := map[string][]byte{}
	for round := 0; srv.Count("") < requests; round++ {
		for i := range 100 {
			name := fmt.Sprintf("r%02d/f-%d", round, i)
			want[name] = harness.Pattern(int64(round*1000+i), []int{0, 17, 4096, 65536, 300_000}[i%5])
			save(t, dir, name, want[name])
		}
		name := fmt.Sprintf("r%02d/large", round)
		want[name] = harness.Pattern(int64(round), 20<<20+round)
		save(t, dir, name, want[name])
		over := fmt.Sprintf("r%02d/f-%d", round/2, round%100) // one that is stored already, or is on its way
		want[over] = harness.Pattern(int64(-1-round), 5000)
		save(t, dir, over, want[over])
		e.Settle(dir)
		if round > requests {
			t.Fatal("the uploads need no requests")
		}
	}
	struck := 0
	kinds := map[s3test.Fault]int{}
	for _, r := range srv.Requests() {
		if r.Fault != "" {
			struck++
			kinds[r.Fault]++
		}
	}
	t.Logf("%d files, %d requests, %d of them struck: %v", len(want), srv.Count(""), struck, kinds)
	if struck*100 < srv.Count("")*15 {
		t.Error("too few faults: the test proves less than it should")
	}
	if states := e.Settle(dir); len(states) > 0 {
		t.Errorf("not stored: %v\n%.3000s", states, e.Run("uploads", "ls").Out)
	}
	complete(t, srv, want)
}

func save(t *testing.T, dir, name string, body []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Somebody else stores another file of the same name at the worst moment, right before ours arrives: new names and overwritten ones, small
// and in parts. Theirs stays; ours is kept here, and is a conflict.
func TestForeignChangesAreConflicts(t *testing.T) {
	count := harness.Sized(60, 1000)
	e, srv, dir, args := writable(t, s3test.Options{})
	ours, theirs := map[string][]byte{}, map[string][]byte{}
	for i := range count {
		name := fmt.Sprintf("d%d/f-%04d", i%7, i)
		size := 1000 + i
		if i%100 == 50 {
			size = 20 << 20
		}
		ours[name], theirs[name] = harness.Pattern(int64(i), size), []byte("theirs "+name)
		if i%2 == 0 {
			save(t, dir, name, []byte("the first version of "+name))
		}
	}
	e.Drain(dir)
	var mu sync.Mutex
	planted := map[string]bool{}
	srv.OnRequest(func(r s3test.Request) {
		mu.Lock()
		defer mu.Unlock()
		if (r.Op == s3test.OpPut || r.Op == s3test.OpComplete) && !planted[r.Key] && theirs[r.Key] != nil {
			planted[r.Key] = true
			srv.Put("study", r.Key, s3test.Bytes(theirs[r.Key]))
		}
	})
	for name, body := range ours {
		save(t, dir, name, body)
	}
	states := e.Settle(dir)
	if states["conflict"] != count || len(states) != 1 {
		t.Errorf("%v of %d", states, count)
	}
	complete(t, srv, theirs)
	for _, restarted := range []bool{false, true} {
		if restarted {
			e.Kill(dir)
			if r := e.Run(append(append([]string{"mount"}, args...), dir)...); r.Code != 0 {
				t.Fatalf("mount after a kill: exit %d\n%s", r.Code, r.Err)
			}
		}
		for name, body := range ours {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("restarted %v: %s: ours is gone: %d bytes, %v", restarted, name, len(got), err)
			}
		}
	}
	complete(t, srv, theirs)
}

// The network is away before the first file is written and until after a crash and a reboot: everything arrives, nobody has to do anything.
func TestStoreDownAllTheWhile(t *testing.T) {
	e, srv, dir, args := writable(t, s3test.Options{})
	if _, err := os.ReadDir(dir); err != nil {
		t.Fatal(err)
	}
	up := srv.Inject(s3test.Rule{Fault: s3test.Refuse})
	want := map[string][]byte{}
	for i := range 60 {
		name := fmt.Sprintf("new/%d/f-%d", i%3, i)
		want[name] = harness.Pattern(int64(i), i*10_000)
		save(t, dir, name, want[name])
	}
	want["new/large"] = harness.Pattern(99, 20<<20)
	save(t, dir, "new/large", want["new/large"])
	time.Sleep(2 * harness.Quiet) // it has been tried
	e.Kill(dir)
	again := append(append([]string{"mount"}, args...), dir)
	if r := e.Run(again...); r.Code == 0 { // where a listing of the bucket was kept: it can be worked on meanwhile
		for name, body := range want {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%s without network: %d bytes, %v", name, len(got), err)
			}
		}
		want["new/later"] = []byte("written without network, after the crash")
		save(t, dir, "new/later", want["new/later"])
	} else if r.Code != exitUnreachable {
		t.Fatalf("mount without network: exit %d\n%s", r.Code, r.Err)
	}
	if len(harness.Stored(srv, "")) > 0 {
		t.Fatal("the network was not away")
	}
	up()
	if !harness.Mounted(dir) {
		if r := e.Run(again...); r.Code != 0 {
			t.Fatalf("mount with the network back: exit %d\n%s", r.Code, r.Err)
		}
	}
	for name, body := range want { // before it is uploaded, or after
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	e.Drain(dir)
	complete(t, srv, want)
}
