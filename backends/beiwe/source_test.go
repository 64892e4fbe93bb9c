package beiwe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/backends/beiwe/beiwetest"
	"studyfs/cache"
)

const (
	access  = "AccessKey+/AccessKeyAccessKeyAccessKeyAccessKeyAccessKeyAccessKe"
	secret  = "SecretKey+/SecretKeySecretKeySecretKeySecretKeySecretKeySecretKe"
	studyID = "5f3a9c1e7b2d4c8f6a0e1b99"
)

// site is a server with one study, and a client's cache before it.
type site struct {
	t     testing.TB
	srv   *beiwetest.Server
	url   string
	dir   string
	o     beiwe.Options
	cache cache.SourceOptions
	src   *beiwe.Source
	store *cache.Store
	log   lockedBuffer
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newSite starts a server and fills it. The client is opened by open.
func newSite(t testing.TB, o beiwetest.Options, fill beiwetest.FillOptions) (*site, []string) {
	t.Helper()
	s := &site{t: t, srv: beiwetest.New(o), dir: t.TempDir()}
	h := httptest.NewServer(s.srv)
	t.Cleanup(func() { s.srv.Close(); h.CloseClientConnections(); h.Close() })
	s.url = h.URL
	s.srv.AddKey(access, secret)
	if fill.Study.ID == "" {
		fill.Study = beiwetest.Study{ID: studyID, Name: "Demo Study"}
	}
	if fill.End.IsZero() {
		fill.End = time.Now()
	}
	ids := beiwetest.Fill(s.srv, fill)
	s.o = beiwe.Options{
		URL: h.URL, AccessKey: backends.NewSecret(access), SecretKey: backends.NewSecret(secret), Refresh: time.Hour,
		Log:      slog.New(slog.NewTextHandler(&s.log, nil)),
		Timeouts: beiwe.Timeouts{FirstByte: time.Minute, Progress: time.Minute, Retry: time.Minute},
	}
	t.Cleanup(func() { s.close() })
	return s, ids
}

// open begins a run of the client.
func (s *site) open() {
	s.t.Helper()
	var err error
	if s.src, err = beiwe.Open(s.t.Context(), s.o); err != nil {
		s.t.Fatal(err)
	}
	o := s.cache
	o.Dir = s.dir
	s.store, err = cache.New(cache.Options{Log: s.o.Log}).Open(s.t.Context(), s.src, o)
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) close() {
	if s.store == nil {
		return
	}
	if err := s.store.Close(); err != nil {
		s.t.Error(err)
	}
	s.src.Close()
	s.store = nil
}

func (s *site) reopen() { s.close(); s.open() }

// list is the names in a directory.
func (s *site) list(dir string) []string {
	s.t.Helper()
	all, err := s.store.List(s.t.Context(), dir)
	if err != nil {
		s.t.Fatalf("list %s: %v", dir, err)
	}
	var names []string
	for _, e := range all {
		names = append(names, path.Base(e.Name))
	}
	return names
}

// read is a file's content.
func (s *site) read(name string) ([]byte, error) {
	ctx := s.t.Context()
	e, err := s.store.Lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := s.store.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	p := make([]byte, e.Size)
	n, err := r.ReadAt(ctx, p, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return p[:n], err
}

// walk lists all files below a directory.
func (s *site) walk(dir string) (files []string) {
	s.t.Helper()
	all, err := s.store.List(s.t.Context(), dir)
	if err != nil {
		s.t.Fatalf("list %s: %v", dir, err)
	}
	for _, e := range all {
		if e.Dir {
			files = append(files, s.walk(e.Name)...)
			continue
		}
		files = append(files, e.Name)
	}
	return files
}

// compare reads everything and compares it with what the server holds.
func (s *site) compare() {
	s.t.Helper()
	truth := map[string]beiwetest.Content{}
	for _, f := range s.srv.Files(studyID) {
		truth["Demo Study/"+f.Path] = f.Body
	}
	files := s.walk("Demo Study")
	for _, name := range files {
		want, ok := truth[name]
		if !ok {
			s.t.Errorf("%s is listed and does not exist", name)
			continue
		}
		delete(truth, name)
		got, err := s.read(name)
		if err != nil {
			s.t.Errorf("read %s: %v", name, err)
			continue
		}
		all, _ := io.ReadAll(want.Open())
		if !bytes.Equal(got, all) {
			s.t.Errorf("%s: %d bytes differ from the server's %d", name, len(got), len(all))
		}
	}
	for name := range truth {
		s.t.Errorf("%s is not listed", name)
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

// requests counts requests by path since the last call.
func (s *site) requests() (n int, text string) {
	counts := map[string]int{}
	var bytes int64
	for _, r := range s.srv.Log() {
		if testing.Verbose() {
			registry := len(r.Form.Get("registry"))
			s.t.Log(r.Path, r.Form["data_streams"], r.Form["time_start"], r.Form["time_end"], "registry", registry, "bytes", r.Bytes, "files", r.Members)
		}
		counts[r.Path]++
		bytes += r.Bytes
		n++
	}
	s.srv.ResetLog()
	return n, fmt.Sprintf("%v, %d bytes", counts, bytes)
}

func (s *site) atMost(most int, what string) {
	s.t.Helper()
	n, text := s.requests()
	s.t.Logf("%s: %d requests %s", what, n, text)
	if n > most {
		s.t.Errorf("%s took %d requests, not %d: %s", what, n, most, text)
	}
}

// A study through the client is the server's study, for every generation of servers, both versions of the route, cold, warm and after a restart, and
// after hours were added and rewritten.
func TestStudyIsTheServers(t *testing.T) {
	for _, g := range []beiwetest.Generation{beiwetest.Current, beiwetest.SHA1Short, beiwetest.SHA1Full, beiwetest.MD5} {
		for _, v2 := range []bool{false, true} {
			if testing.Short() && g != beiwetest.Current {
				continue // what the servers differ in runs no other goroutines
			}
			t.Run(fmt.Sprintf("generation %d v2 %v", g, v2), func(t *testing.T) {
				t.Parallel()
				streams := []string{"gps", "calls", "power_state", "gyro", "identifiers", "survey_answers", "survey_timings", "audio_recordings", "ambient_audio"}
				s, ids := newSite(t, beiwetest.Options{Generation: g, V2: v2, MD5Newline: true}, beiwetest.FillOptions{Participants: 2, Days: 2, Streams: streams})
				s.open()
				s.compare()
				s.requests()
				s.compare()
				s.atMost(0, "warm")
				s.reopen()
				s.compare()
				s.atMost(2, "after a restart")
				old := time.Now().Add(-72 * time.Hour).Truncate(time.Hour)
				beiwetest.AddHour(s.srv, studyID, ids[0], "gps", old, 1)
				beiwetest.AddHour(s.srv, studyID, ids[0], "power_state", time.Now().Add(-20*time.Hour), 1)
				beiwetest.AddHour(s.srv, studyID, ids[1], "gps", time.Now().Add(2*time.Hour), 2)
				s.reopen()
				s.compare()
				n, text := s.requests()
				t.Logf("after changes: %d requests %s", n, text)
			})
		}
	}
}

// The budgets that make a mount pleasant: what is known costs nothing, and what is fetched comes in few requests.
func TestRequestBudgets(t *testing.T) {
	if testing.Short() {
		t.Skip("one reader of some thousand files: the same under a race detector, and it takes a minute there")
	}
	s, ids := newSite(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 5, Days: 30, Streams: []string{"gps", "calls"}})
	s.open()
	s.list("")
	people := s.list("Demo Study")
	s.atMost(4, "studies and participants")
	if want := slices.Sorted(slices.Values(ids)); !slices.Equal(people, want) {
		t.Fatalf("participants %v, not %v", people, want)
	}
	hour := time.Now().UTC().Add(-300 * time.Hour).Truncate(time.Hour)
	gps := "Demo Study/" + ids[0] + "/gps/"
	if _, err := s.read(gps + hour.Format("2006-01-02 15_04_05+00_00.csv")); err != nil {
		t.Fatal(err)
	}
	s.atMost(1, "one known hour")
	names := s.list("Demo Study/" + ids[1] + "/gps")
	s.atMost(2, "a stream of 30 days")
	if len(names) != 720 {
		t.Fatalf("%d hours", len(names))
	}
	for _, n := range names {
		if _, err := s.read("Demo Study/" + ids[1] + "/gps/" + n); err != nil {
			t.Fatal(err)
		}
	}
	s.atMost(0, "720 hours that were listed")
	for h := range 720 { // without a listing before
		at := time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(719-h) * time.Hour)
		if _, err := s.read("Demo Study/" + ids[2] + "/gps/" + at.Format("2006-01-02 15_04_05+00_00.csv")); err != nil {
			t.Fatal(h, err)
		}
	}
	s.atMost(6, "720 hours in order, never listed") // five; one run in ten, the reader overtakes a window, and a part is sent twice
	s.walk("Demo Study")
	s.requests()
	s.walk("Demo Study")
	s.atMost(0, "a second walk")
}

// Nobody who mistypes a name should cost the server anything, nor see a folder that is not there.
func TestMissingNames(t *testing.T) {
	s, ids := newSite(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 1, Days: 3, Streams: []string{"gps"}})
	s.open()
	s.list("Demo Study/" + ids[0] + "/gps")
	s.requests()
	for _, name := range []string{
		"nothing", "Demo Study/.git", "Demo Study/" + ids[0] + "/nothing", "Demo Study/" + ids[0] + "/gps/x.csv",
		"Demo Study/" + ids[0] + "/gps/2020-01-01 00_00_00+00_00.csv", "Demo Study/" + ids[0] + "/gps/.hidden", ".studyfs/nothing",
	} {
		if e, err := s.store.Lookup(t.Context(), name); err == nil {
			t.Errorf("%s exists: %+v", name, e)
		}
	}
	s.atMost(0, "names that cannot be there")
	e, err := s.store.Lookup(t.Context(), "Demo Study/"+ids[0]+"/calls")
	if err != nil || !e.Dir {
		t.Errorf("a stream without data: %+v, %v", e, err)
	}
	if got := s.list("Demo Study/" + ids[0]); !slices.Equal(got, []string{"gps"}) {
		t.Errorf("streams %v", got)
	}
	if _, err := s.store.Lookup(context.Background(), "Demo Study/zzzzzzzz"); err == nil {
		t.Error("an unknown participant exists")
	}
}

func day(t *testing.T, at time.Time) beiwe.Day {
	t.Helper()
	zone, _ := time.LoadLocation("America/New_York")
	d, err := beiwe.ParseDay(at.In(zone).Format("2006-01-02"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
