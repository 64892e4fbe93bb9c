package beiwetest

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	access = "AccessKey+/AccessKeyAccessKeyAccessKeyAccessKeyAccessKeyAccessKe"
	secret = "SecretKey+/SecretKeySecretKeySecretKeySecretKeySecretKeySecretKe"
	sid    = "5f3a9c1e7b2d4c8f6a0e1b99"
	other  = "5f3a9c1e7b2d4c8f6a0e1b98"
	pid    = "abcdefg1"
)

type client struct {
	t   *testing.T
	s   *Server
	url string
}

func start(t *testing.T, o Options) *client {
	t.Helper()
	s := New(o)
	h := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); h.CloseClientConnections(); h.Close() })
	s.AddKey(access, secret, sid)
	s.AddStudy(Study{ID: sid, Name: "Demo Ünï"})
	s.AddStudy(Study{ID: other, Name: "Other"})
	s.AddParticipant(sid, pid, Participant{})
	return &client{t, s, h.URL}
}

// reply is an answer without its body.
type reply struct {
	StatusCode    int
	Header        http.Header
	ContentLength int64
}

// post sends fields after the keys, in the order of key, value, key, value…
func (c *client) post(path string, fields ...string) (reply, []byte, error) {
	c.t.Helper()
	form := url.Values{"access_key": {access}, "secret_key": {secret}, "study_id": {sid}}
	for i := 0; i < len(fields); i += 2 {
		if form[fields[i]] != nil && (fields[i] == "study_id" || strings.HasSuffix(fields[i], "_key")) {
			form.Del(fields[i])
		}
		form.Add(fields[i], fields[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(c.url+path, form)
	if err != nil {
		return reply{}, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, resp.ContentLength}, body, err
}

func (c *client) status(path string, fields ...string) int {
	c.t.Helper()
	resp, body, err := c.post(path, fields...)
	if err != nil {
		c.t.Fatal(err)
	}
	silent := resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusMethodNotAllowed
	if silent && len(body) > 0 && !strings.HasPrefix(path, "/get-summary") {
		c.t.Errorf("%s answered %d with words: %q", path, resp.StatusCode, body)
	}
	return resp.StatusCode
}

// zip reads an answer of get-data with the standard library, which looks at the table that our own reader does not need.
func (c *client) zip(path string, fields ...string) map[string]string {
	c.t.Helper()
	resp, body, err := c.post(path, fields...)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %v, %v", path, resp, err)
	}
	return unzip(c.t, body)
}

func unzip(t *testing.T, body []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range z.File {
		if f.Method != zip.Store || f.Flags != 0 {
			t.Errorf("%s: method %d, flags %#x", f.Name, f.Method, f.Flags)
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(f.Name, err)
		}
		files[f.Name] = string(all)
	}
	return files
}

var hour = time.Date(2026, 3, 8, 2, 0, 0, 0, time.UTC)

func (c *client) put(stream string, at time.Time, text string) {
	f := File{Time: at, Body: Bytes(text)}
	if strings.HasPrefix(stream, "survey") || stream == "audio_recordings" {
		f.Survey = SurveyID
	}
	c.s.Put(sid, pid, stream, f)
}

// The order of checks and their codes, which tell clients what to do.
func TestCodes(t *testing.T) {
	c := start(t, Options{})
	for _, x := range []struct {
		path   string
		want   int
		fields []string
	}{
		{"/get-studies/v1", 200, nil},
		{"/get-studies/v1/", 200, nil},
		{"/get-studies/v1", 400, []string{"access_key", "has=sign"}},
		{"/get-studies/v1", 400, []string{"secret_key", ""}},
		{"/get-studies/v1", 403, []string{"access_key", "unknown"}},
		{"/get-studies/v1", 403, []string{"secret_key", "wrong"}},
		{"/get-users/v1", 200, nil},
		{"/get-users/v1", 400, []string{"study_id", "short"}},
		{"/get-users/v1", 400, []string{"study_id", ""}},
		{"/get-users/v1", 404, []string{"study_id", strings.Repeat("a", 24)}},
		{"/get-users/v1", 404, []string{"study_id", strings.Repeat("a", 24), "access_key", "has=sign"}}, // the study is looked at first
		{"/get-users/v1", 403, []string{"study_id", other}},
		{"/get-data/v1", 200, nil},
		{"/get-data/v2", 404, nil},
		{"/get-data/v1", 404, []string{"data_streams", "accel"}},
		{"/get-data/v1", 404, []string{"data_streams", `["gps","accel"]`}},
		{"/get-data/v1", 404, []string{"user_ids", "nobody11"}},
		{"/get-data/v1", 404, []string{"user_ids", pid, "user_ids", pid}}, // twice
		{"/get-data/v1", 400, []string{"user_ids", "12345678"}},           // a number, to JSON
		{"/get-data/v1", 400, []string{"participant_ids", "12345e67"}},
		{"/get-data/v1", 404, []string{"user_ids", `["12345678"]`}},
		{"/get-data/v1", 404, []string{"data_streams", "[1]"}},
		{"/get-data/v1", 400, []string{"time_start", "2026-13-01T00:00:00"}},
		{"/get-data/v1", 400, []string{"time_start", "2026-01-01 00:00:00"}},
		{"/get-data/v1", 500, []string{"time_start", "2026-01-01T00:00:00Z"}},
		{"/get-data/v1", 200, []string{"time_start", "2026-1-1T0:0:0"}},
		{"/get-data/v1", 400, []string{"registry", "no json"}},
		{"/get-data/v1", 400, []string{"registry", "[]"}},
		{"/get-data/v1", 200, []string{"registry", "{}"}},
		{"/get-summary-statistics/v1?fields=nothing", 400, nil},
		{"/get-summary-statistics/v1?start_date=x", 400, nil},
		{"/get-participant-upload-history/v1", 400, nil},
		{"/get-participant-upload-history/v1", 404, []string{"participant_id", "nobody11"}},
		{"/get-participant-file-hashes/v1", 404, nil},
		{"/no-such-route", 404, nil},
	} {
		if got := c.status(x.path, x.fields...); got != x.want {
			t.Errorf("%s %q: %d, not %d", x.path, x.fields, got, x.want)
		}
	}
	c.s.DeleteStudy(sid)
	if got := c.status("/get-users/v1"); got != 404 {
		t.Errorf("a deleted study: %d", got)
	}
}

// What the bytes of a zip are, since clients read it front to back.
func TestZipBytes(t *testing.T) {
	c := start(t, Options{V2: true, Seed: 7})
	resp, body, err := c.post("/get-data/v1")
	if err != nil || len(body) != 116 || resp.ContentLength != -1 || resp.Header.Get("Content-Type") != "application/zip" ||
		resp.Header.Get("Content-Disposition") != `inline; filename="data.zip"` {
		t.Fatalf("nothing: %d bytes, %v, %v", len(body), resp.Header, err)
	}
	if files := unzip(t, body); files["registry"] != "{}" {
		t.Errorf("nothing: %v", files)
	}
	if _, body, _ := c.post("/get-data/v1", "web_form", "1"); len(body) != 22 {
		t.Errorf("nothing, for a browser: %d bytes", len(body))
	}
	for h := range 20 {
		c.put("gps", hour.Add(time.Duration(h)*time.Hour), fmt.Sprint("timestamp\n", h))
	}
	c.put("survey_answers", hour.Add(100*time.Millisecond), "first")
	c.put("survey_answers", hour.Add(900*time.Millisecond), "second")
	files := c.zip("/get-data/v1")
	first := pid + "/survey_answers/" + SurveyID + "/2026-03-08 02_00_00+00_00"
	if len(files) != 23 || files[pid+"/gps/2026-03-08 04_00_00+00_00.csv"] != "timestamp\n2" || files[first+".csv"] == files[first+"_2.csv"] {
		t.Errorf("%d files: %q and %q", len(files), files[first+".csv"], files[first+"_2.csv"])
	}
	if !strings.Contains(files["registry"], `.csv": "`) || strings.Count(files["registry"], ", ") != 21 {
		t.Errorf("registry %s", files["registry"])
	}
	_, one, _ := c.post("/get-data/v1")
	_, two, _ := c.post("/get-data/v1")
	if bytes.Equal(one, two) {
		t.Error("members come in the same order each time")
	}
	if bytes.LastIndex(one, []byte("PK\x03\x04")) != bytes.Index(one, []byte("registry"))-30 {
		t.Error("the registry is not the last member")
	}
	if packed := c.zip("/get-data/v2", "data_streams", `["gps"]`); len(packed) != 21 || packed[pid+"/gps/2026-03-08 04_00_00+00_00.csv.zst"] == "" {
		t.Errorf("version 2: %d files", len(packed))
	}
	c.s.Put(sid, pid, "gyro", File{Time: hour, Body: Bytes("x"), Zip64: true})
	if files := c.zip("/get-data/v1", "data_streams", "gyro"); files[pid+"/gyro/2026-03-08 02_00_00+00_00.csv"] != "x" {
		t.Error("sizes of 64 bits")
	}
	if n := len(c.zip("/get-data/v1", "time_start", "2026-03-08T02:00:00", "time_end", "2026-03-08T02:00:00")); n != 5 {
		t.Errorf("one hour, both ends included: %d members", n)
	}
	if n := len(c.zip("/get-data/v1", "time_start", "2026-03-08T02:30:00", "time_end", "2026-03-08T03:00:00")); n != 2 {
		t.Errorf("an hour begun before the start: %d members", n)
	}
	if n := len(c.zip("/get-data/v1", "time_start", "2026-03-09T00:00:00", "time_end", "2026-03-08T00:00:00")); n != 1 {
		t.Errorf("start after end: %d members", n)
	}
}

// What a registry keeps from being sent, as each generation of servers has it, mistakes included.
func TestRegistryOfGenerations(t *testing.T) {
	const full = "CHUNKED_DATA/" + sid + "/" + pid + "/gps/2026-03-08T02:00:00.csv"
	const short = sid + "/" + pid + "/gps/2026-03-08T02:00:00.csv"
	for _, x := range []struct {
		what, key, value string
		skipped          map[Generation]bool
	}{
		{"full, right md5", full, "MD5", map[Generation]bool{MD5: true, Current: true}},
		{"full, right sha1", full, "SHA1", map[Generation]bool{SHA1Full: true, Current: true}},
		{"full, wrong", full, "wrong", map[Generation]bool{Current: true}}, // changed or not
		{"full, empty", full, "", nil},
		{"short, right sha1", short, "SHA1", map[Generation]bool{SHA1Short: true, Current: true}},
		{"short, sha1 and newline", short, "SHA1\n", map[Generation]bool{SHA1Short: true, Current: true}},
		{"short, right md5", short, "MD5", map[Generation]bool{Current: true}},
		{"short, wrong", short, "wrong", nil},
		{"something else", "other", "SHA1", nil},
	} {
		for _, g := range []Generation{Current, SHA1Short, SHA1Full, MD5} {
			c := start(t, Options{Generation: g})
			c.put("gps", hour, "timestamp\n1")
			r := c.s.studies[sid].people[pid].files[full]
			r.digest()
			value := strings.NewReplacer("MD5", r.md5, "SHA1", r.sha1).Replace(x.value)
			registry, _ := json.Marshal(map[string]string{x.key: value})
			files := c.zip("/get-data/v1", "registry", string(registry))
			if skipped := len(files) == 1; skipped != x.skipped[g] {
				t.Errorf("generation %d, %s: skipped %v", g, x.what, skipped)
			}
			want := r.sha1
			if g == MD5 {
				want = r.md5
			}
			if len(files) == 2 && !strings.Contains(files["registry"], want) {
				t.Errorf("generation %d, %s: answers %s", g, x.what, files["registry"])
			}
		}
	}
	c := start(t, Options{MD5Newline: true})
	c.put("gps", hour, "timestamp\n1")
	if files := c.zip("/get-data/v1"); !strings.Contains(files["registry"], `==\n"}`) {
		t.Errorf("without a registry: %s", files["registry"])
	}
	if _, body, err := c.post("/get-data/v1", "registry", `{"a": null}`); err == nil {
		t.Errorf("a null in the registry: %d bytes and no error", len(body))
	}
}

// Days are the study's, also when clocks change; filters count in the address and nowhere else.
func TestSummary(t *testing.T) {
	c := start(t, Options{LagSurveys: true})                                                       // New York: clocks go forward on 2026-03-08, back on 2026-11-01
	c.put("gps", time.Date(2026, 3, 8, 4, 0, 0, 0, time.UTC), "12345")                             // the 7th, 23 h
	c.put("gps", time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC), "123")                               // the 8th, 0 h
	c.put("gps", time.Date(2026, 3, 9, 3, 0, 0, 0, time.UTC), "1234")                              // the 8th, 23 h of summer
	c.put("gps", time.Date(2026, 11, 2, 4, 0, 0, 0, time.UTC), "1")                                // the 1st, 23 h of winter
	c.put("survey_answers", time.Date(2026, 3, 8, 5, 0, 0, 0, time.UTC), "12")                     // lags behind
	_, body, err := c.post("/get-summary-statistics/v1", "limit", "1", "start_date", "2030-01-01") // in the body: ignored
	var rows []map[string]any
	if err := errors.Join(err, json.Unmarshal(body, &rows)); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, r := range rows {
		got += fmt.Sprint(r["date"], " ", r["timezone"], " ", r["beiwe_gps_bytes"], " ", r["beiwe_survey_answers_bytes"], "; ")
	}
	if want := "2026-11-01 EDT 1 <nil>; 2026-03-08 EST 7 <nil>; 2026-03-07 EST 5 <nil>; "; got != want {
		t.Errorf("%s", got)
	}
	if !bytes.HasSuffix(body, []byte(`"participant_id":"`+pid+`"}]`)) {
		t.Errorf("the last key: %s", body)
	}
	_, body, _ = c.post("/get-summary-statistics/v1?fields=date,participant_id,beiwe_gps_bytes&start_date=2026-03-08&end_date=2026-03-31&order_direction=ascending&participant_ids=x," + pid)
	if want := `[{"date":"2026-03-08","beiwe_gps_bytes":7,"participant_id":"` + pid + `"}]`; string(body) != want {
		t.Errorf("filtered: %s", body)
	}
	if _, body, _ := c.post("/get-summary-statistics/v1?participant_ids=nobody11"); string(body) != "[]" {
		t.Errorf("nobody: %s", body)
	}
}

// The sample is of realistic sizes, the same each time, and takes no memory for what is large.
func TestSample(t *testing.T) {
	end := time.Date(2026, 10, 5, 12, 0, 0, 0, time.UTC)
	fill := func() []Listed {
		s := New(Options{})
		Fill(s, FillOptions{Study: Study{ID: sid, Name: "x"}, Participants: 2, Days: 3, End: end})
		return s.Files(sid)
	}
	one, two := fill(), fill()
	streams := map[string]int{}
	for i, f := range one {
		streams[f.Stream]++
		if f.Stream == "accelerometer" && (f.Body.Size() < 1_200_000 || f.Body.Size() > 1_500_000) {
			t.Errorf("%s: %d bytes an hour", f.Path, f.Body.Size())
		}
		if f.Body.Size() != two[i].Body.Size() || f.Path != two[i].Path {
			t.Fatalf("%s: not the same twice", f.Path)
		}
		if streams[f.Stream] > 3 || streams[f.Stream] > 1 && f.Body.Size() > 100_000 { // these tell of all
			continue
		}
		all, err := io.ReadAll(f.Body.Open())
		if err != nil || int64(len(all)) != f.Body.Size() {
			t.Fatalf("%s: %d bytes of %d, %v", f.Path, len(all), f.Body.Size(), err)
		}
		if again, _ := io.ReadAll(two[i].Body.Open()); !bytes.Equal(all, again) {
			t.Fatalf("%s: not the same twice", f.Path)
		}
		if strings.HasSuffix(f.Path, ".csv") && (bytes.HasSuffix(all, []byte("\n")) || !bytes.Contains(all, []byte("\n"))) {
			t.Errorf("%s: rows end wrongly", f.Path)
		}
	}
	if len(streams) != len(Streams()) {
		t.Errorf("streams %v", streams)
	}
	if streams["gps"] != 144 {
		t.Errorf("%d hours of gps", streams["gps"])
	}
}

// A log that holds keys would end up in a bug report, also where a request was refused.
func TestLogHidesSecrets(t *testing.T) {
	c := start(t, Options{Now: func() time.Time { return hour }})
	c.put("gps", hour, "text")
	c.post("/get-studies/v1", "password", "planted")
	c.post("/get-data/v1", "data_streams", "gps", "data_streams", "calls")
	c.post("/get-users/v1", "access_key", "wrong", "secret_key", "guessed")
	c.post("/validate_login", "username", "somebody", "password", "planted")
	c.s.Fail(Fault{Kind: Broken})
	c.post("/get-users/v1/?fields=x")
	log := c.s.Log()
	text := fmt.Sprint(log)
	for _, hidden := range []string{access, secret, "planted", "wrong", "guessed"} {
		if strings.Contains(text, hidden) {
			t.Errorf("%q is in the log: %s", hidden, text)
		}
	}
	got := ""
	for _, r := range log {
		got += fmt.Sprint(r.Path, " ", r.Status, " ", r.Members, "; ")
		if !r.Time.Equal(hour) || r.Method != "POST" || (r.Status == 200 || r.Status == 500) != (r.Bytes > 0) {
			t.Errorf("%+v", r)
		}
	}
	if want := "/get-studies/v1 200 0; /get-data/v1 200 1; /get-users/v1 403 0; /validate_login 302 0; /get-users/v1 500 0; "; got != want {
		t.Errorf("%s", got)
	}
	if log[1].Form["data_streams"][1] != "calls" || log[4].Query.Get("fields") != "x" {
		t.Errorf("what was asked for: %v", log)
	}
	if c.s.ResetLog(); len(c.s.Log()) != 0 || len(log) != 5 {
		t.Errorf("after a reset: %v", c.s.Log())
	}
}

// Phones upload, studies change and servers are upgraded while others read: the race detector looks on.
func TestChangesWhileAnswering(t *testing.T) {
	c := start(t, Options{V2: true})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 30 {
			c.put("gps", hour.Add(time.Duration(n%5)*time.Hour), fmt.Sprint("version ", n))
			c.s.AddStudy(Study{ID: sid, Name: fmt.Sprint("name ", n), TimeZone: []string{"UTC", ""}[n%2]})
			c.s.AddParticipant(sid, fmt.Sprintf("person%02d", n), Participant{})
			c.s.AddKey(access, secret, sid)
			c.s.Configure(func(o *Options) { o.Generation, o.MD5Newline = Generation(n%4), n%2 == 0 })
			c.s.Remove(sid, pid, "CHUNKED_DATA/"+sid+"/"+pid+"/gps/2026-03-08T03:00:00.csv")
			c.s.Files(sid)
		}
		c.s.DeleteStudy(other)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, path := range append(studyPaths(), "/get-studies/v1") {
			if r, body, err := c.post(path, "data_format", "csv", "registry", `{"a":"b"}`); err != nil || r.StatusCode != 200 {
				t.Errorf("%s: %v %s, %v", path, r, body, err)
			}
		}
		c.post("/get-users/v1", "study_id", other)
	}
}
