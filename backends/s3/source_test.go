package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/backends/s3/s3test"
)

const (
	testID     = "AKIATESTTESTTESTTEST"
	testSecret = "secretsecretsecretsecretsecretsecretsecr"
)

// server starts s3test with a bucket "study" and keys limited to v2/001/.
func server(t testing.TB, o s3test.Options) (*s3test.Server, string) {
	t.Helper()
	srv := s3test.New(o)
	h := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("study")
	srv.AddKey(s3test.AccessKey{ID: testID, Secret: testSecret, Grants: []s3test.Grant{{Bucket: "study", Prefix: "v2/001/"}}})
	return srv, h.URL
}

// options are those of tests whose service answers in the end: their time is never over, however busy the machine.
func options(url string) Options {
	return Options{
		Bucket: "study", Prefix: "v2/001/", Endpoint: url,
		Credentials: Static(Keys{AccessKey: testID, SecretKey: backends.NewSecret(testSecret)}),
		Timeouts:    Timeouts{Dial: time.Minute, TLS: time.Minute, FirstByte: time.Minute, Progress: time.Minute, Retry: time.Minute},
	}
}

// hasty are the options of tests whose service does not answer.
func hasty(url string) Options {
	o := options(url)
	o.Timeouts.FirstByte, o.Timeouts.Progress, o.Timeouts.Retry = 500*time.Millisecond, 200*time.Millisecond, 2*time.Second
	o.Timeouts.Dial, o.Timeouts.TLS = 100*time.Millisecond, 100*time.Millisecond
	return o
}

func open(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(s *Source, e backends.Entry, off, n int64) ([]byte, error) {
	r, err := s.ReadRange(context.Background(), e, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestPrefixOnlyKeysNeedNothingElse(t *testing.T) {
	srv, url := server(t, s3test.Options{Region: "eu-central-1"})
	srv.Put("study", "v2/001/1/1/day/a b+c.csv", s3test.Bytes([]byte("hello")))
	srv.Put("study", "v2/002/secret", s3test.Bytes([]byte("no")))
	s := open(t, options(url))
	if s.Region() != "eu-central-1" {
		t.Errorf("region %q", s.Region())
	}
	e, err := s.Stat(t.Context(), "1/1/day/a b+c.csv")
	if err != nil || e.Size != 5 || e.Dir {
		t.Fatalf("%+v, %v", e, err)
	}
	if got, err := read(s, e, 1, 3); string(got) != "ell" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Stat(t.Context(), "1/1/none"); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for e, err := range s.List(t.Context(), "") {
		if err != nil || e.Name != "1" || !e.Dir {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for _, r := range srv.Requests() {
		switch {
		case r.Op == "HeadBucket" && r.AccessKey == "", r.Op == "GetObject":
		case r.Op == "ListObjectsV2" && strings.HasPrefix(r.Query.Get("prefix"), "v2/001/"):
		default:
			t.Errorf("asked for %s %q %v", r.Op, r.Key, r.Query)
		}
		if r.Status == http.StatusForbidden && r.Op != "HeadBucket" {
			t.Errorf("refused: %+v", r)
		}
	}
}

func TestGivenRegionCostsNoRequest(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	o := options(url)
	o.Region = "us-east-1"
	open(t, o)
	if n := srv.Count(""); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestWrongRegionIsCorrectedOnce(t *testing.T) {
	srv, url := server(t, s3test.Options{Region: "eu-west-1"})
	srv.Put("study", "v2/001/a", s3test.Bytes([]byte("a")))
	o := options(url)
	o.Region = "us-east-1"
	s := open(t, o)
	if _, err := s.Stat(t.Context(), "a"); err != nil || s.Region() != "eu-west-1" {
		t.Errorf("%v, region %s", err, s.Region())
	}
}

func TestListingOrderAndOddKeys(t *testing.T) {
	srv, url := server(t, s3test.Options{PageSize: 2})
	for _, k := range []string{
		"a-1", "a.txt", "a/b", "a/c", "a0", "b", "b/under", "c/", "d//x", "e/../x", "./f", "g\x00", "h\x01i", "j k+l%20", "\u00e9", "e\u0301", strings.Repeat("x", 300),
	} {
		srv.Put("study", "v2/001/"+k, s3test.Bytes([]byte(k)))
	}
	s := open(t, options(url))
	var got []string
	for e, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		name := e.Name
		if e.Dir {
			name += "/"
		}
		got = append(got, name)
	}
	want := []string{"a/", "a-1", "a.txt", "a0", "b/", "c/", "d/", "e/", "e\u0301", "h\x01i", "j k+l%20", "\u00e9"}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	var walked []string
	for after, more := "", true; more; {
		p, err := s.WalkPage(t.Context(), "", after)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Entries {
			walked = append(walked, e.Name)
		}
		after, more = p.Last, p.More
	}
	if want := []string{"a-1", "a.txt", "a/b", "a/c", "a0", "b", "b/under", "c", "e\u0301", "h\x01i", "j k+l%20", "\u00e9"}; fmt.Sprintf("%q", walked) != fmt.Sprintf("%q", want) {
		t.Errorf("walked %q\nwant   %q", walked, want)
	}
	if n := s.Counts().HiddenKeys; n != 7 { // "b" beside "b/under", five keys that are no names, and "./", which has nothing else below it
		t.Errorf("%d hidden keys", n)
	}
	if e, err := s.Stat(t.Context(), "b"); err != nil || !e.Dir {
		t.Errorf("a file beside a directory: %+v, %v", e, err)
	}
	if e, err := s.Stat(t.Context(), "a"); err != nil || !e.Dir {
		t.Errorf("a directory behind a-1 and a.txt: %+v, %v", e, err)
	}
}

func TestPinnedToTheVersion(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	srv.Put("study", "v2/001/a", s3test.Bytes([]byte("one")))
	s := open(t, options(url))
	e, err := s.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	srv.Put("study", "v2/001/a", s3test.Bytes([]byte("two")))
	if _, err := read(s, e, 0, 3); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("replaced: %v", err)
	}
	srv.Delete("study", "v2/001/a")
	if _, err := read(s, e, 0, 3); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
}

func TestArchivedObjects(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	put := func(key, class, restore string) {
		o := s3test.Bytes([]byte("x"))
		o.Class, o.Restore = class, restore
		srv.Put("study", "v2/001/"+key, o)
	}
	put("cold", "DEEP_ARCHIVE", "")
	put("coming", "GLACIER", `ongoing-request="true"`)
	put("restored", "GLACIER", `ongoing-request="false", expiry-date="Fri, 21 Dec 2030 00:00:00 GMT"`)
	put("instant", "GLACIER_IR", "")
	s := open(t, options(url))
	want := map[string]backends.Tier{"cold": backends.Archived, "coming": backends.Restoring, "restored": backends.Online, "instant": backends.Online}
	page, err := s.WalkPage(t.Context(), "", "")
	if err != nil || len(page.Entries) != 4 {
		t.Fatal(err, page)
	}
	for _, e := range page.Entries {
		if e.Tier != want[e.Name] {
			t.Errorf("%s: tier %d", e.Name, e.Tier)
		}
		if _, err := read(s, e, 0, 1); (err == nil) != (e.Tier == backends.Online) || err != nil && !errors.Is(err, backends.ErrArchived) {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}

func TestRefusedKeysAreOneTrouble(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	srv.Put("study", "v2/001/a", s3test.Bytes([]byte("one")))
	s := open(t, options(url))
	e, _ := s.Stat(t.Context(), "a")
	srv.Revoke(testID)
	if _, err := read(s, e, 0, 3); !errors.Is(err, backends.ErrAuth) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("%v", err)
	}
	if !errors.Is(s.Trouble(), backends.ErrAuth) {
		t.Errorf("trouble %v", s.Trouble())
	}
	srv.Restore(testID)
	if _, err := read(s, e, 0, 3); err != nil || s.Trouble() != nil {
		t.Errorf("%v, trouble %v", err, s.Trouble())
	}
}

// Every fault, on every request or on one in five: never a wrong byte, never a wrong listing.
func TestFaultsNeverGiveWrongBytes(t *testing.T) {
	body := make([]byte, 300_000)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	for _, fault := range s3test.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			srv, url := server(t, s3test.Options{Seed: 7})
			srv.Put("study", "v2/001/a", s3test.Bytes(body))
			o := options(url)
			if fault == s3test.Stall || fault == s3test.Delay {
				o = hasty(url)
				o.Timeouts.Retry = time.Minute
			}
			o.Region = "us-east-1"
			s := open(t, o)
			e, err := s.Stat(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			remove := srv.Inject(s3test.Rule{Fault: fault, Share: 0.2, Wait: time.Second})
			good := 0
			for i := range int64(40) {
				off, n := i*5003, 1+i*2500
				got, err := read(s, e, off, min(n, int64(len(body))-off))
				if err != nil {
					t.Log(err)
				} else {
					good++
					if !bytes.Equal(got, body[off:off+int64(len(got))]) || int64(len(got)) != min(n, int64(len(body))-off) {
						t.Fatal("wrong bytes without an error")
					}
				}
				if i%10 == 0 {
					if p, err := s.WalkPage(t.Context(), "", ""); err == nil && len(p.Entries) != 1 {
						t.Fatal("wrong listing without an error")
					}
				}
			}
			permanent := fault == s3test.AccessDenied || fault == s3test.ExpiredToken || fault == s3test.InvalidAccessKeyID
			if !permanent && good != 40 {
				t.Errorf("%d of 40 reads succeeded", good)
			}
			remove()
			o = hasty(url)
			o.Region = "us-east-1"
			s = open(t, o)
			srv.Inject(s3test.Rule{Fault: fault, Op: "GetObject", Wait: time.Minute})
			start := time.Now()
			if got, err := read(s, e, 10, 200_000); err == nil && !bytes.Equal(got, body[10:200_010]) {
				t.Error("wrong bytes without an error")
			} else if err == nil && fault != s3test.Truncate && fault != s3test.Reset && fault != s3test.Stall {
				t.Error("an answer that is always wrong was taken")
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestKilledReaderLeavesAtOnce(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	srv.Put("study", "v2/001/a", s3test.Bytes(make([]byte, 1000)))
	o := options(url)
	o.Timeouts = Timeouts{}
	s := open(t, o)
	e, _ := s.Stat(t.Context(), "a")
	srv.Inject(s3test.Rule{Op: "GetObject", Fault: s3test.Stall, Wait: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.ReadRange(ctx, e, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestEndpoints(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"": true, "https://s3.example.org": true, "http://127.0.0.1:9000": true, "http://localhost:9000": true, "http://[::1]:9000": true,
		"http://s3.example.org": false, "ftp://x": false, "s3.example.org": false, "https://user:pass@x": false,
	} {
		o := Options{Bucket: "b", Endpoint: endpoint}
		if err := o.check(); (err == nil) != ok {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	o := options("http://127.0.0.1:1")
	o.Timeouts.Retry = 100 * time.Millisecond
	if _, err := Open(t.Context(), o); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestGuessRegion(t *testing.T) {
	for bucket, want := range map[string]string{
		"empatica-us-east-1-prod-data": "us-east-1", "x-ap-southeast-2": "ap-southeast-2", "study": "us-east-1", "a-b-c-d-9": "us-east-1",
	} {
		if got := guessRegion(bucket); got != want {
			t.Errorf("%s: %s", bucket, got)
		}
	}
}

// A page that ended with the marker of the directory asked for made the next page begin behind all of its children: the directory
// was shown empty.
func TestPageEndingAtTheDirectorysOwnMarker(t *testing.T) {
	srv, url := server(t, s3test.Options{PageSize: 1})
	for _, k := range []string{"c/", "c/x", "c/y"} {
		srv.Put("study", "v2/001/"+k, s3test.Bytes([]byte(k)))
	}
	s := open(t, options(url))
	var got []string
	for e, err := range s.List(t.Context(), "c") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name)
	}
	if fmt.Sprint(got) != "[c/x c/y]" {
		t.Errorf("got %v", got)
	}
}

// With a wrong region in the profile, all but the first of several requests at once failed.
func TestWrongRegionIsCorrectedForRequestsUnderWay(t *testing.T) {
	srv, url := server(t, s3test.Options{Region: "eu-west-1", Latency: 20 * time.Millisecond})
	srv.Put("study", "v2/001/a", s3test.Bytes([]byte("a")))
	o := options(url)
	o.Region = "us-east-1"
	s := open(t, o)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() { _, err := s.Stat(t.Context(), "a"); errs <- err }()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// What the state shows of a source must not name a participant's file.
func TestTroubleHoldsNoNames(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	srv.Put("study", "v2/001/SURNAME.csv", s3test.Bytes([]byte("a")))
	s := open(t, options(url))
	e, err := s.Stat(t.Context(), "SURNAME.csv")
	if err != nil {
		t.Fatal(err)
	}
	srv.Revoke(testID)
	if _, err := read(s, e, 0, 1); err == nil {
		t.Fatal("read with revoked keys")
	}
	if err := s.Trouble(); err == nil || strings.Contains(err.Error(), "SURNAME") {
		t.Errorf("%v", err)
	}
}

// A body that stalls again and again may cost the time for trying again once, not once per break.
func TestStallingBodyEndsInTime(t *testing.T) {
	srv, url := server(t, s3test.Options{})
	srv.Put("study", "v2/001/a", s3test.Bytes(make([]byte, 10)))
	s := open(t, hasty(url))
	e, err := s.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	srv.Inject(s3test.Rule{Op: "GetObject", Fault: s3test.Delay, Wait: time.Minute})
	start := time.Now()
	if _, err := read(s, e, 0, 10); !errors.Is(err, backends.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if d := time.Since(start); d > 9*time.Second {
		t.Errorf("took %v with 2 s for trying again", d)
	}
}
