package model

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// version is what a key held from some change on.
type version struct {
	there bool
	body  []byte
	ours  bool // it came from the mount
}

func (v version) String() string {
	who := "theirs"
	if v.ours {
		who = "ours"
	}
	if !v.there {
		return who + ": removed"
	}
	return who + ": " + brief(v.body)
}

// world is the server, and all that ever lay under its keys. Changes come one at a time, so that each is seen.
type world struct {
	srv *s3test.Server
	url string

	mu    sync.Mutex
	keys  map[string][]version
	etags map[string]string
	lands map[string]bool // bodies that some close has made safe, or that others stored: all that may ever lie here
	wrong []string

	ours, theirs int // changes
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{srv: s3test.New(s3test.Options{Seed: 3})}
	h := httptest.NewServer(w)
	t.Cleanup(func() { w.srv.Close(); h.Close() })
	w.url = h.URL
	w.srv.CreateBucket("study")
	w.srv.AddKey(s3test.AccessKey{ID: harness.ID, Secret: harness.Secret})
	w.reset()
	return w
}

// reset empties the bucket and forgets.
func (w *world) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range w.srv.Keys("study") {
		w.srv.Delete("study", key)
	}
	w.srv.Reset()
	w.keys, w.etags, w.lands, w.wrong = map[string][]version{}, map[string]string{}, map[string]bool{"": true}, nil
}

// ServeHTTP lets no two changes be made at once, and notes what each has changed.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	key, ok := strings.CutPrefix(r.URL.Path, "/study/")
	if !ok || key == "" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		w.srv.ServeHTTP(rw, r)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.note(key, true) // also where the connection is reset, which is a panic
	w.srv.ServeHTTP(rw, r)
}

// note looks whether a key has changed. The caller holds mu.
func (w *world) note(key string, ours bool) {
	o, there := w.srv.Object("study", key)
	mark := ""
	if there {
		mark = o.ETag + o.ModTime.String() + fmt.Sprint(o.Meta)
	}
	if w.etags[key] == mark {
		return
	}
	w.etags[key] = mark
	v := version{there: there, ours: ours}
	if there {
		v.body = make([]byte, o.Size)
		if _, err := io.ReadFull(io.NewSectionReader(o.Body, 0, o.Size), v.body); err != nil {
			panic(err) // it is in memory
		}
	}
	if !ours {
		w.theirs++
		w.lands[string(v.body)] = true
	} else {
		w.ours++
		if !w.lands[string(v.body)] && !strings.HasSuffix(key, ".rclonelink") {
			w.wrong = append(w.wrong, fmt.Sprintf("%s: what no close had sealed is stored: %s", key, brief(v.body)))
		}
	}
	w.keys[key] = append(w.keys[key], v)
}

// others change a key behind the back of the mount; nil removes it.
func (w *world) others(key string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if body == nil {
		w.srv.Delete("study", key)
	} else {
		w.srv.Put("study", key, s3test.Bytes(body))
	}
	w.note(key, false)
}

// may says that a body may lie at the server from now on.
func (w *world) may(body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lands[string(body)] = true
}

// versions are all that a key ever held.
func (w *world) versions(key string) []version {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key]
}

// now is what a key holds.
func (w *world) now(key string) ([]byte, bool) {
	all := w.versions(key)
	if len(all) == 0 || !all[len(all)-1].there {
		return nil, false
	}
	return all[len(all)-1].body, true
}

// below returns the keys below a prefix that hold something, or that ever did.
func (w *world) below(prefix string, ever bool) map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]bool{}
	for key, all := range w.keys {
		if rest, ok := strings.CutPrefix(key, prefix); ok && (ever || all[len(all)-1].there) {
			out[rest] = true
		}
	}
	return out
}

// landed reports whether a body of ours landed under a key at or after a place in its history, and where.
func landed(all []version, from int, body []byte) (at int, ok bool) {
	for i := from; i < len(all); i++ {
		if all[i].ours && all[i].there && bytes.Equal(all[i].body, body) {
			return i, true
		}
	}
	return 0, false
}

// faults makes the server misbehave until stop is called.
func (w *world) faults(how string) (stop func()) {
	var rules []s3test.Rule
	switch how {
	case "busy":
		rules = []s3test.Rule{{Fault: s3test.SlowDown, Share: 0.25}, {Fault: s3test.InternalError, Share: 0.1}}
	case "lost":
		for _, op := range []string{s3test.OpPut, s3test.OpCopy, s3test.OpDelete} {
			rules = append(rules, s3test.Rule{Op: op, Fault: s3test.Lost, Share: 0.3})
		}
	case "no uploads":
		rules = []s3test.Rule{{Op: s3test.OpPut, Fault: s3test.Refuse}}
	}
	var stops []func()
	for _, r := range rules {
		stops = append(stops, w.srv.Inject(r))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
