package beiwetest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func studyPaths() []string {
	return []string{
		"/get-users/v1", "/get-participant-ids/v1", "/get-participant-data-quantities/v1", "/get-participant-table-data/v1", "/get-interventions/v1",
		"/get-survey-history/v1", "/get-summary-statistics/v1", "/get-study-settings/v1", "/get-data/v1", "/get-data/v2",
	}
}

func participantPaths() []string {
	return []string{"/get-participant-upload-history/v1", "/get-participant-file-hashes/v1"}
}

func keyPaths() []string { return []string{"/get-studies/v1", "/check-my-credentials/v1"} }

// all is a server that has everything.
func all() Options { return Options{V2: true, FileHashes: 500} }

// send makes a request of any kind.
func (c *client) send(method, path, contentType, body string) (reply, string) {
	c.t.Helper()
	q, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	q.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, resp.ContentLength}, string(text)
}

const formType = "application/x-www-form-urlencoded"

// A redirect that a client followed turns POST into GET, which the server refuses; each route has a twin with a slash.
func TestMethods(t *testing.T) {
	c := start(t, all())
	for _, path := range slices.Concat(studyPaths(), participantPaths(), keyPaths()) {
		for _, slash := range []string{"", "/"} {
			for _, method := range []string{"GET", "PUT", "DELETE", "PATCH"} {
				status, allow := 405, "POST"
				if strings.HasPrefix(path, "/get-data/") {
					allow = "POST, GET"
					if method == "GET" {
						status, allow = 400, ""
					}
				}
				query := "?" + url.Values{"access_key": {access}, "secret_key": {secret}, "study_id": {sid}}.Encode() // which nobody reads
				if r, body := c.send(method, path+slash+query, formType, ""); r.StatusCode != status || r.Header.Get("Allow") != allow || body != "" || r.ContentLength != 0 {
					t.Errorf("%s %s: %v %q", method, path+slash, r, body)
				}
			}
			if r, _, err := c.post(path+slash, "participant_id", pid, "data_format", "json"); err != nil || r.StatusCode != 200 {
				t.Errorf("%s: %v, %v", path+slash, r, err)
			}
		}
	}
}

// Each check comes in its turn: what a request lacks first is what it is told.
func TestOrderOfChecks(t *testing.T) {
	type fields = []string
	c := start(t, all())
	badKey, noKey := fields{"access_key", "has=sign"}, fields{"access_key", "unknown"}
	check := func(path string, want int, parts ...fields) {
		t.Helper()
		r, body, err := c.post(path, slices.Concat(parts...)...)
		if err != nil || r.StatusCode != want || len(body) > 0 || r.ContentLength != 0 || r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s %q: %v %q, %v; want %d", path, parts, r, body, err, want)
		}
	}
	for _, path := range studyPaths() {
		for _, id := range []string{"", "short", strings.Repeat("-", 24), strings.Repeat("a", 25)} {
			check(path, 400, fields{"study_id", id}, badKey)
		}
		check(path, 404, fields{"study_id", strings.Repeat("a", 24)}, badKey)
		for _, key := range []string{"", "has=sign", "has-sign", "has_sign", "has space"} {
			check(path, 400, fields{"study_id", other, "access_key", key})
			check(path, 400, fields{"study_id", other, "secret_key", key}, noKey)
		}
		check(path, 403, fields{"study_id", other}, noKey)
		check(path, 403, fields{"study_id", other, "secret_key", "wrong"})
		check(path, 403, fields{"study_id", other})
	}
	c.s.AddParticipant(other, "other111", Participant{})
	for _, path := range participantPaths() {
		check(path, 400, badKey)
		check(path, 403, noKey)
		check(path, 400)
		check(path, 404, fields{"participant_id", "nobody11"})
		check(path, 403, fields{"participant_id", "other111"})
	}
	for _, path := range keyPaths() {
		check(path, 400, badKey)
		check(path, 400, fields{"secret_key", ""})
		check(path, 403, noKey)
		check(path, 403, fields{"secret_key", "wrong"})
	}
	c.s.DeleteStudy(sid)
	check("/get-users/v1", 404, badKey)
}

// Site administrators see all studies but deleted ones, others their own.
func TestStudies(t *testing.T) {
	c := start(t, all())
	c.s.AddStudy(Study{ID: strings.Repeat("d", 24), Name: "Deleted"})
	c.s.DeleteStudy(strings.Repeat("d", 24))
	r, body, err := c.post("/get-studies/v1")
	if want := `{"` + sid + `":"Demo Ünï"}`; err != nil || string(body) != want || r.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%v %s, %v; want %s", r, body, err, want)
	}
	c.s.AddKey(access, secret)
	if _, body, _ := c.post("/get-studies/v1"); string(body) != `{"`+other+`":"Other","`+sid+`":"Demo Ünï"}` {
		t.Errorf("an administrator: %s", body)
	}
	if got := c.status("/get-users/v1", "study_id", other); got != 200 {
		t.Errorf("an administrator: %d", got)
	}
	for _, header := range []string{"X-Frame-Options", "X-Content-Type-Options"} {
		if r.Header.Get(header) == "" {
			t.Errorf("no header %s", header)
		}
	}
}

// The website's scripts name a study by its number; the id wins.
func TestStudyByNumber(t *testing.T) {
	c := start(t, all())
	c.s.AddParticipant(other, "other111", Participant{})
	c.s.AddKey(access, secret)
	keys := url.Values{"access_key": {access}, "secret_key": {secret}}.Encode()
	for fields, want := range map[string]string{
		"&study_pk=1":                     `200 ["` + pid + `"]`,
		"&study_pk=2":                     `200 ["other111"]`,
		"&study_pk=1&study_id=" + other:   `200 ["other111"]`,
		"&study_pk=3":                     "404 ",
		"&study_pk=x":                     "400 ",
		"&study_pk=":                      "400 ",
		"&study_pk=1&study_id=short":      "400 ",
		"":                                "400 ",
		"&study_id=short&study_id=" + sid: `200 ["` + pid + `"]`, // the last value counts
	} {
		if r, body := c.send("POST", "/get-users/v1", formType, keys+fields); fmt.Sprint(r.StatusCode, " ", body) != want {
			t.Errorf("%s: %d %s; want %s", fields, r.StatusCode, body, want)
		}
	}
}

// Both encodings of forms are read, JSON is not; keys need their signs encoded.
func TestEncodings(t *testing.T) {
	c := start(t, all())
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	fields := map[string]string{"access_key": access, "secret_key": secret, "study_id": sid}
	for k, v := range fields {
		m.WriteField(k, v)
	}
	m.Close()
	if r, body := c.send("POST", "/get-users/v1", m.FormDataContentType(), b.String()); r.StatusCode != 200 || body != `["`+pid+`"]` {
		t.Errorf("multipart: %v %s", r, body)
	}
	text, _ := json.Marshal(fields)
	for contentType, body := range map[string]string{
		"application/json":                string(text),
		formType:                          "access_key=" + access + "&secret_key=" + secret + "&study_id=" + sid, // each + is a space
		"text/plain":                      url.Values{"access_key": {access}, "secret_key": {secret}, "study_id": {sid}}.Encode(),
		"multipart/form-data; boundary=x": "--y",
	} {
		if r, body := c.send("POST", "/get-users/v1", contentType, body); r.StatusCode != 400 || body != "" {
			t.Errorf("%s: %v %s", contentType, r, body)
		}
	}
}

// Deleted and retired participants are among the users and not in the table; the table has three forms.
func TestParticipants(t *testing.T) {
	c := start(t, all())
	c.s.AddParticipant(sid, "deleted1", Participant{Deleted: true})
	c.s.AddParticipant(sid, "iphone11", Participant{IOS: true})
	c.put("gps", time.Date(2026, 3, 8, 12, 0, 0, 0, time.UTC), "late")
	c.put("gps", time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC), "early")
	for _, path := range []string{"/get-users/v1", "/get-participant-ids/v1"} {
		var ids []string
		r, body, _ := c.post(path)
		if json.Unmarshal(body, &ids); r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", path, r)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, []string{pid, "deleted1", "iphone11"}) {
			t.Errorf("%s: %s", path, body)
		}
	}
	var objects []map[string]any
	_, body, _ := c.post("/get-participant-table-data/v1", "data_format", "json")
	if err := json.Unmarshal(body, &objects); err != nil || len(objects) != 2 || objects[0]["Last Upload"] != "2026-03-08T08:00:00-04:00" ||
		objects[1]["OS Type"] != "IOS" || objects[1]["Last Upload"] != nil {
		t.Errorf("json: %s, %v", body, err)
	}
	var lists [][]any
	_, body, _ = c.post("/get-participant-table-data/v1", "data_format", "json_table")
	if err := json.Unmarshal(body, &lists); err != nil || len(lists) != 3 || lists[0][1] != "Patient ID" || lists[1][1] != pid {
		t.Errorf("json_table: %s, %v", body, err)
	}
	_, body, _ = c.post("/get-participant-table-data/v1", "data_format", "csv")
	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][7] != "2026-03-08 08:00:00 (EDT)" || rows[2][7] != "" || bytes.Count(body, []byte("\r\n")) != 3 {
		t.Errorf("csv: %s, %v", body, err)
	}
	for _, form := range []string{"", "xml"} {
		if r, body, _ := c.post("/get-participant-table-data/v1", "data_format", form); r.StatusCode != 400 || !strings.Contains(string(body), "json_table") {
			t.Errorf("form %q: %v %s", form, r, body)
		}
	}
}

// Documents about a study that the view shows as files.
func TestStudyDocuments(t *testing.T) {
	c := start(t, all())
	c.put("gps", hour, "12345")
	c.put("gps", hour.Add(time.Hour), "12")
	c.s.AddParticipant(sid, "empty111", Participant{})
	var sums map[string]map[string]int64
	_, body, _ := c.post("/get-participant-data-quantities/v1")
	if err := json.Unmarshal(body, &sums); err != nil || len(sums["empty111"]) != 19 || sums[pid]["gps_bytes"] != 7 || sums[pid]["wifi_bytes"] != 0 {
		t.Errorf("quantities: %s, %v", body, err)
	}
	var settings struct {
		Zone     string `json:"study_time_zone"`
		Surveys  []any
		Settings map[string]any `json:"device_settings"`
	}
	r, body, _ := c.post("/get-study-settings/v1")
	if err := json.Unmarshal(body, &settings); err != nil || settings.Zone != "America/New_York" || settings.Surveys == nil || settings.Settings == nil ||
		!strings.HasSuffix(r.Header.Get("Content-Disposition"), `_surveys_and_settings.json"`) {
		t.Errorf("settings: %v %s, %v", r, body, err)
	}
	r, body, err := c.post("/get-survey-history/v1")
	if err != nil || !json.Valid(body) || r.Header.Get("Content-Type") != "text/json" || !strings.Contains(r.Header.Get("Content-Disposition"), sid+"_surveys_history_data.json") {
		t.Errorf("history: %v %s, %v", r, body, err)
	}
	if _, body, _ := c.post("/get-interventions/v1"); !json.Valid(body) {
		t.Errorf("interventions: %s", body)
	}
}

// What phones sent, oldest first, under the names that phones use; identifiers are not told.
func TestUploadHistory(t *testing.T) {
	c := start(t, all())
	c.put("survey_answers", hour.Add(90*time.Second+5*time.Millisecond), "answer")
	c.put("accelerometer", hour, "12345")
	c.put("identifiers", hour, "1")
	_, body, _ := c.post("/get-participant-upload-history/v1", "participant_id", pid, "omit_keys", "true")
	want := `[[5,"2026-03-08T02:00:00Z","accel/1772935200000.csv"],[6,"2026-03-08T02:01:30Z","surveyAnswers/` + SurveyID + `/1772935290005.csv"]]`
	if string(body) != want {
		t.Errorf("%s; want %s", body, want)
	}
	_, body, _ = c.post("/get-participant-upload-history/v1", "participant_id", pid)
	var rows []struct {
		Size int       `json:"file_size"`
		Name string    `json:"file_name"`
		Time time.Time `json:"timestamp"`
	}
	if err := json.Unmarshal(body, &rows); err != nil || len(rows) != 2 || rows[0].Size != 5 || rows[0].Name == "" || !rows[0].Time.Equal(hour) {
		t.Errorf("%s, %v", body, err)
	}
	c.s.AddParticipant(sid, "empty111", Participant{})
	if _, body, _ := c.post("/get-participant-upload-history/v1", "participant_id", "empty111"); string(body) != "[]" {
		t.Errorf("nothing: %s", body)
	}
}

// File hashes are there for those who have no files; nothing else works, on any server.
func TestFileHashes(t *testing.T) {
	c := start(t, all())
	const path = "/get-participant-file-hashes/v1"
	if _, body, _ := c.post(path, "participant_id", pid); string(body) != "{}" {
		t.Errorf("no files: %s", body)
	}
	c.put("gps", hour, "x")
	if r, body, _ := c.post(path, "participant_id", pid); r.StatusCode != 500 || !bytes.Contains(body, []byte("<html")) {
		t.Errorf("files: %v %s", r, body)
	}
}

// Servers that are older lack routes, which they tell by a page; an upgrade brings them without a restart.
func TestOlderServers(t *testing.T) {
	c := start(t, Options{NoSummary: true, NoSettings: true, Generation: MD5, Lacks: []string{"proximity"}})
	c.put("gps", hour, "text")
	lacks := []string{
		"/get-summary-statistics/v1", "/get-participant-ids/v1", "/get-participant-data-quantities/v1", "/get-study-settings/v1", "/get-data/v2",
		"/get-participant-file-hashes/v1", "/check-my-credentials/v1", "/nothing",
	}
	for _, path := range lacks {
		for _, method := range []string{"POST", "GET"} {
			if r, body := c.send(method, path, formType, ""); r.StatusCode != 404 || !strings.Contains(body, "<html") || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
				t.Errorf("%s %s: %v %q", method, path, r, body)
			}
		}
	}
	if got := c.status("/get-data/v1", "data_streams", `["gps","proximity"]`); got != 404 {
		t.Errorf("a stream that it does not know: %d", got)
	}
	if files := c.zip("/get-data/v1", "user_ids", pid, "participant_ids", `["nobody11"]`); len(files) != 2 { // a field that it does not know
		t.Errorf("user_ids: %v", files)
	}
	c.s.Configure(func(o *Options) { *o = all() })
	if got := c.status("/get-data/v1", "user_ids", pid, "participant_ids", `["nobody11"]`); got != 404 {
		t.Errorf("participant_ids: %d", got)
	}
	for _, path := range lacks[:7] {
		if r, _ := c.send("POST", path, formType, ""); r.StatusCode != 400 {
			t.Errorf("%s after an upgrade: %v", path, r)
		}
	}
	if r, body := c.send("GET", "/background_processing_status", formType, ""); r.StatusCode != 200 || body != "" {
		t.Errorf("status: %v %s", r, body)
	}
}

// mano's device_settings logs in as a person would, and reads a page.
func TestDeviceSettingsPage(t *testing.T) {
	c := start(t, all())
	jar, _ := cookiejar.New(nil)
	person := &http.Client{Jar: jar}
	page := func(method, path, form string) string {
		q, err := http.NewRequest(method, c.url+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", formType)
		resp, err := person.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, resp.Request.URL.Path, string(text))
	}
	if got := page("GET", "/device_settings/1", ""); strings.Contains(got, "form-control") || !strings.HasPrefix(got, "200/validate_login") {
		t.Errorf("not logged in: %s", got)
	}
	if got := page("POST", "/validate_login", "username=a&password=planted"); !strings.HasPrefix(got, "200/choose_study") {
		t.Errorf("login: %s", got)
	}
	if got := page("GET", "/device_settings/1", ""); !strings.Contains(got, `<div class="form-group"><div><input class="form-control" name="`) {
		t.Errorf("settings: %s", got)
	}
}
