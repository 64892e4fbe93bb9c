package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/azure/azuretest"
)

// quick are bounds that a test can wait for.
func quick(o *Options) {
	o.Timeouts = Timeouts{Dial: time.Second, TLS: time.Second, FirstByte: 500 * time.Millisecond, Progress: 200 * time.Millisecond, Retry: 2 * time.Second}
}

func read(s *Source, e backends.Entry, off, n int64) ([]byte, error) {
	r, err := s.ReadRange(context.Background(), e, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func stat(t *testing.T, s *Source, name string) backends.Entry {
	t.Helper()
	e, err := s.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// names lists pages to their end, each asked for after the last key of the one before.
func names(t *testing.T, page func(ctx context.Context, dir, after string) (backends.Page, error), dir, after string) (all []string) {
	t.Helper()
	for more := true; more; {
		p, err := page(t.Context(), dir, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Entries {
			all = append(all, keyOf(e))
		}
		if p.More && p.Last <= after {
			t.Fatalf("the page after %q ends at %q", after, p.Last)
		}
		after, more = p.Last, p.More
	}
	return all
}

// An archived copy must be told from one that can be read before a program waits for its bytes.
func TestArchivedBlobs(t *testing.T) {
	srv, src := serve(t, azuretest.Options{})
	srv.Put("v2/001/cold", azuretest.Blob{Body: []byte("x"), Tier: "Archive"})
	srv.Put("v2/001/coming", azuretest.Blob{Body: []byte("x"), Tier: "Archive", Archive: "rehydrate-pending-to-hot"})
	srv.Put("v2/001/cool", azuretest.Blob{Body: []byte("x"), Tier: "Cool"})
	want := map[string]backends.Tier{"cold": backends.Archived, "coming": backends.Restoring, "cool": backends.Online}
	page, err := src.WalkPage(t.Context(), "", "")
	if err != nil || len(page.Entries) != len(want) {
		t.Fatal(err, page)
	}
	for _, e := range page.Entries {
		if e.Tier != want[e.Name] || e.Class == "" {
			t.Errorf("%s: tier %d, class %q", e.Name, e.Tier, e.Class)
		}
		if _, err := read(src, e, 0, 1); (err == nil) != (e.Tier == backends.Online) || err != nil && !errors.Is(err, backends.ErrArchived) {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}

// Folders that Hadoop or Microsoft's own tools made are empty blobs without a slash: shown as files, nobody could enter them.
func TestFolderBlobs(t *testing.T) {
	for name, size := range map[string]int{"small pages": 1, "one page": 0} {
		t.Run(name, func(t *testing.T) {
			srv, src := serve(t, azuretest.Options{PageSize: size})
			folder := map[string]string{"Hdi_isfolder": "true"}
			srv.Put("v2/001/sub-01", azuretest.Blob{Metadata: folder})
			srv.Put("v2/001/sub-01/eeg", azuretest.Blob{Metadata: folder})
			srv.Put("v2/001/sub-01/eeg/a.edf", azuretest.Blob{Body: []byte("edf")})
			srv.Put("v2/001/sub-01.json", azuretest.Blob{Body: []byte("{}")})
			srv.Put("v2/001/sub-02", azuretest.Blob{Metadata: folder})
			srv.Put("v2/001/sub-02-note", azuretest.Blob{Body: []byte("empty folder before")})
			srv.Put("v2/001/zz", azuretest.Blob{Body: []byte("full"), Metadata: folder})
			var got []string
			for e, err := range src.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, keyOf(e))
			}
			if want := []string{"sub-01/", "sub-01.json", "sub-02/", "sub-02-note", "zz"}; !slices.Equal(got, want) {
				t.Errorf("list: %q, want %q", got, want)
			}
			if e := stat(t, src, "sub-02"); !e.Dir {
				t.Errorf("stat: %+v", e)
			}
			children := []string{"sub-01.json", "sub-01/", "sub-02-note", "sub-02/", "zz"}
			if got := names(t, src.ListPage, "", ""); !slices.Equal(got, children) {
				t.Errorf("children: %q, want %q", got, children)
			}
			all := []string{"sub-01.json", "sub-01/", "sub-01/eeg/", "sub-01/eeg/a.edf", "sub-02-note", "sub-02/", "zz"}
			if got := names(t, src.WalkPage, "", ""); !slices.Equal(got, all) {
				t.Errorf("walk: %q, want %q", got, all)
			}
			for after, want := range map[string]string{"sub-01.json": "sub-01/", "sub-01.\U0010ffff": "sub-01/eeg/", "sub-02-note": "sub-02/", "sub-02.\U0010ffff": "sub-02/", "sub-01/zzz": "sub-02-note"} {
				if p, err := src.WalkPage(t.Context(), "", after); err != nil || len(p.Entries) == 0 || keyOf(p.Entries[0]) != want {
					t.Errorf("after %q: %+v, %v; want %q first", after, p, err, want)
				}
			}
		})
	}
}

// Reading on in a long listing must not begin again at its first page each time.
func TestReadingOnCostsOneRequestPerPage(t *testing.T) {
	for name, o := range map[string]azuretest.Options{"plain": {PageSize: 10}, "without startFrom": {PageSize: 10, IgnoreStart: true}} {
		t.Run(name, func(t *testing.T) {
			srv, src := serve(t, o)
			for i := range 95 {
				srv.Put(fmt.Sprintf("v2/001/d/%03d", i), azuretest.Blob{})
			}
			if got := names(t, src.WalkPage, "", ""); len(got) != 95 {
				t.Fatalf("%d names", len(got))
			}
			if got := names(t, src.ListPage, "d", ""); len(got) != 95 {
				t.Fatalf("%d names", len(got))
			}
			if n := src.Counts().List; n != 20 {
				t.Errorf("%d requests for 10 pages twice", n)
			}
		})
	}
}

// A lookup deep in a container must not read all that lies before it, where the service can begin there.
func TestBeginningInTheMiddle(t *testing.T) {
	srv, src := serve(t, azuretest.Options{PageSize: 10})
	for i := range 1000 {
		srv.Put(fmt.Sprintf("v2/001/sub-%03d/f", i), azuretest.Blob{})
	}
	for _, c := range []struct {
		after, want string
		requests    int64
	}{
		{"sub-500.\U0010ffff", "sub-500/f", 3}, // two of them to find out that it can
		{"sub-700/f", "sub-701/f", 1},
		{"sub-300/zzz", "sub-301/f", 1},
	} {
		before := src.Counts().List
		p, err := src.WalkPage(t.Context(), "", c.after)
		if err != nil || len(p.Entries) == 0 || p.Entries[0].Name != c.want {
			t.Errorf("after %q: %+v, %v", c.after, p, err)
		}
		if n := src.Counts().List - before; n != c.requests {
			t.Errorf("after %q: %d requests, want %d", c.after, n, c.requests)
		}
	}
	for _, q := range srv.Requests() {
		if strings.Contains(q, "%F4%8F%BF%BF") {
			t.Errorf("a character that is none was sent: %s", q)
		}
	}
}

// Where it cannot, a directory costs one listing of it, not one of the container.
func TestBeginningInTheMiddleWithoutStartFrom(t *testing.T) {
	srv, src := serve(t, azuretest.Options{PageSize: 10, IgnoreStart: true})
	for i := range 1000 {
		srv.Put(fmt.Sprintf("v2/001/sub-%03d/f", i), azuretest.Blob{})
	}
	if _, err := src.WalkPage(t.Context(), "", "sub-001.\U0010ffff"); err != nil { // finds out
		t.Fatal(err)
	}
	before := src.Counts().List
	p, err := src.WalkPage(t.Context(), "", "sub-500.\U0010ffff")
	if err != nil || len(p.Entries) != 1 || p.Entries[0].Name != "sub-500/f" || !p.More {
		t.Errorf("%+v, %v", p, err)
	}
	if n := src.Counts().List - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A marker that the service no longer takes must not end a listing.
func TestOldMarker(t *testing.T) {
	var old atomic.Bool
	srv, src := serve(t, azuretest.Options{PageSize: 2, Hook: func(w http.ResponseWriter, r *http.Request) bool {
		if !old.Load() || r.URL.Query().Get("marker") == "" {
			return false
		}
		old.Store(false)
		w.Header().Set("X-Ms-Error-Code", "InvalidQueryParameterValue")
		w.WriteHeader(http.StatusBadRequest)
		return true
	}})
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		srv.Put("v2/001/"+k, azuretest.Blob{})
	}
	p, err := src.WalkPage(t.Context(), "", "")
	if err != nil || p.Last != "b" {
		t.Fatal(p, err)
	}
	old.Store(true)
	if got := names(t, src.WalkPage, "", "b"); !slices.Equal(got, []string{"c", "d", "e"}) {
		t.Errorf("%q", got)
	}
}

// A broken, wrong or foreign answer is tried again, and is never taken for data.
func TestFaultsNeverGiveWrongBytes(t *testing.T) {
	body := make([]byte, 300_000)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	answer := func(w http.ResponseWriter, status int, header map[string]string, text []byte) {
		for k, v := range header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		w.Write(text)
	}
	faults := map[string]func(w http.ResponseWriter, r *http.Request, etag string){
		"login page": func(w http.ResponseWriter, _ *http.Request, _ string) {
			answer(w, 200, map[string]string{"Content-Type": "text/html"}, []byte("<html><body>log in</body></html>"))
		},
		"redirect": func(w http.ResponseWriter, _ *http.Request, _ string) {
			answer(w, 307, map[string]string{"Location": "http://127.0.0.1:1/"}, nil)
		},
		"busy": func(w http.ResponseWriter, _ *http.Request, _ string) {
			answer(w, 503, map[string]string{"X-Ms-Error-Code": "ServerBusy"}, nil)
		},
		"broken service": func(w http.ResponseWriter, _ *http.Request, _ string) { answer(w, 500, nil, nil) },
		"whole body": func(w http.ResponseWriter, _ *http.Request, etag string) {
			answer(w, 200, map[string]string{"ETag": etag}, body)
		},
		"another range": func(w http.ResponseWriter, _ *http.Request, etag string) {
			answer(w, 206, map[string]string{"ETag": etag, "Content-Range": "bytes 0-99/300000"}, body[:100])
		},
		"another version": func(w http.ResponseWriter, _ *http.Request, _ string) {
			answer(w, 206, map[string]string{"ETag": `"0x1"`, "Content-Range": "bytes 100-199/300000"}, make([]byte, 100))
		},
		"no ETag": func(w http.ResponseWriter, _ *http.Request, _ string) {
			answer(w, 206, map[string]string{"Content-Range": "bytes 100-199/300000"}, make([]byte, 100))
		},
		"short body": func(w http.ResponseWriter, _ *http.Request, etag string) {
			w.Header().Set("Content-Length", "100")
			answer(w, 206, map[string]string{"ETag": etag, "Content-Range": "bytes 100-199/300000"}, body[100:150])
			panic(http.ErrAbortHandler)
		},
		"cut connection": func(http.ResponseWriter, *http.Request, string) { panic(http.ErrAbortHandler) },
		"silence":        func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() },
		"stall": func(w http.ResponseWriter, r *http.Request, etag string) {
			w.Header().Set("Content-Length", "100")
			answer(w, 206, map[string]string{"ETag": etag, "Content-Range": "bytes 100-199/300000"}, body[100:150])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var left atomic.Int64
			var etag string
			srv, src := serve(t, azuretest.Options{Hook: func(w http.ResponseWriter, r *http.Request) bool {
				if left.Add(-1) < 0 {
					return false
				}
				fault(w, r, etag)
				return true
			}}, quick)
			srv.Put("v2/001/a", azuretest.Blob{Body: body})
			e := stat(t, src, "a")
			etag = quoted(e.Version)
			left.Store(1)
			hasty := src.o.Timeouts.Retry
			src.o.Timeouts.Retry = time.Minute // busy machines are slow, too
			if got, err := read(src, e, 100, 100); err != nil || !bytes.Equal(got, body[100:200]) {
				t.Errorf("once: %d bytes, %v", len(got), err)
			}
			if left.Load() > 0 {
				t.Error("the fault did not come through")
			}
			src.o.Timeouts.Retry = hasty
			left.Store(1 << 40)
			if got, err := read(src, e, 100, 100); err == nil && !bytes.Equal(got, body[100:200]) {
				t.Error("wrong bytes without an error")
			}
			if p, err := src.WalkPage(t.Context(), "", ""); err == nil {
				t.Errorf("taken for a listing: %+v", p)
			}
		})
	}
}

// Refused keys concern the whole source, and what the state says of it must name neither the key nor a participant's file.
func TestRefusedKeysAreOneTrouble(t *testing.T) {
	var refuse atomic.Bool
	const token = "sv=2024-11-04&sp=rl&sig=c2VjcmV0c2VjcmV0"
	var log bytes.Buffer
	srv, src := serve(t, azuretest.Options{Signature: "c2VjcmV0c2VjcmV0", Hook: func(w http.ResponseWriter, _ *http.Request) bool {
		if refuse.Load() {
			w.Header().Set("X-Ms-Error-Code", "AuthenticationFailed")
			w.WriteHeader(http.StatusForbidden)
		}
		return refuse.Load()
	}}, func(o *Options) {
		key, err := ParseKey("https://lab.blob.core.windows.net/study?" + token)
		if err != nil {
			t.Fatal(err)
		}
		o.Credentials, o.Log = Static(key), slog.New(slog.NewTextHandler(&log, nil))
	})
	srv.Put("v2/001/SURNAME.csv", azuretest.Blob{Body: []byte("one")})
	e := stat(t, src, "SURNAME.csv")
	refuse.Store(true)
	_, err := read(src, e, 0, 3)
	trouble := src.Trouble()
	if !errors.Is(err, backends.ErrAuth) || !errors.Is(trouble, backends.ErrAuth) {
		t.Errorf("%v, trouble %v", err, trouble)
	}
	for _, text := range []string{fmt.Sprint(err), fmt.Sprint(trouble), log.String(), fmt.Sprintf("%+v %#v", src.o.Credentials, src.o.Credentials)} {
		if strings.Contains(text, "c2VjcmV0") {
			t.Errorf("the key is shown: %s", text)
		}
	}
	if strings.Contains(fmt.Sprint(trouble)+log.String(), "SURNAME") {
		t.Error("the state names a file")
	}
	refuse.Store(false)
	if _, err := read(src, e, 0, 3); err != nil || src.Trouble() != nil {
		t.Errorf("%v, trouble %v", err, src.Trouble())
	}
}

// A connection that breaks must not put a SAS into the error: Go's own names the whole address.
func TestUnreachableShowsNoSignature(t *testing.T) {
	_, src := serve(t, azuretest.Options{}, quick, func(o *Options) {
		key, err := ParseKey("sv=2024-11-04&sp=rl&sig=c2VjcmV0c2VjcmV0")
		if err != nil {
			t.Fatal(err)
		}
		o.Endpoint, o.Credentials, o.Timeouts.Retry = "http://127.0.0.1:1", Static(key), 100*time.Millisecond
	})
	_, err := src.WalkPage(t.Context(), "", "")
	if !errors.Is(err, backends.ErrUnreachable) || strings.Contains(err.Error(), "c2VjcmV0") || !errors.Is(src.Trouble(), backends.ErrUnreachable) {
		t.Errorf("%v, trouble %v", err, src.Trouble())
	}
}

func TestErrorCodes(t *testing.T) {
	for code, c := range map[string]struct {
		status int
		want   error
	}{
		"AuthorizationFailure":               {403, backends.ErrPermission},
		"AuthorizationPermissionMismatch":    {403, backends.ErrPermission},
		"KeyBasedAuthenticationNotPermitted": {403, backends.ErrAuth},
		"NoAuthenticationInformation":        {401, backends.ErrAuth},
		"PublicAccessNotPermitted":           {409, backends.ErrPermission},
		"ContainerNotFound":                  {404, backends.ErrNotExist},
		"BlobBeingRehydrated":                {409, backends.ErrArchived},
		"ConditionNotMet":                    {412, backends.ErrChanged},
		"ServerBusy":                         {503, backends.ErrBusy},
		"OperationTimedOut":                  {500, backends.ErrBusy},
		"SomethingNew":                       {404, backends.ErrNotExist},
		"SomethingElse":                      {400, backends.ErrBadAnswer},
		"":                                   {500, backends.ErrBadAnswer},
	} {
		if f := answered(code, c.status); !errors.Is(f.kind, c.want) || f.detail == "" {
			t.Errorf("%s: %+v, want %v", code, f, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o  Options
		ok bool
	}{
		"plain":        {Options{Account: "lab", Container: "study"}, true},
		"root":         {Options{Account: "lab", Container: "$root"}, true},
		"emulator":     {Options{Account: "lab", Container: "study", Endpoint: "http://127.0.0.1:10000/lab"}, true},
		"in clear":     {Options{Account: "lab", Container: "study", Endpoint: "http://blobs.example.org"}, false},
		"with a key":   {Options{Account: "lab", Container: "study", Endpoint: "https://blobs.example.org?sig=x"}, false},
		"no slash":     {Options{Account: "lab", Container: "study", Prefix: "a"}, false},
		"no account":   {Options{Container: "study"}, false},
		"no container": {Options{Account: "lab"}, false},
		"up":           {Options{Account: "lab", Container: "a--b"}, false},
	} {
		if err := c.o.check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContentRange(t *testing.T) {
	for header, ok := range map[string]bool{"bytes 0-9/10": true, "bytes 0-9/*": false, "bytes 5-4/10": false, "bytes 0-10/10": false, "": false, "0-9/10": false} {
		if _, _, _, got := parseContentRange(header); got != ok {
			t.Errorf("%q: %v", header, got)
		}
	}
}
