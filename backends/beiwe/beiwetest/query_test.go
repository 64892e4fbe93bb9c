package beiwetest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"
)

// What the fields of a request for data may be, and what the server makes of all else.
func TestDataFields(t *testing.T) {
	const digits = "12345678"
	c := start(t, Options{})
	c.s.AddParticipant(sid, digits, Participant{})
	c.s.AddParticipant(other, "other111", Participant{})
	c.put("gps", hour, "gps")
	c.put("gps", hour.Add(time.Hour), "gps, an hour later")
	c.put("calls", hour, "calls")
	c.s.Put(other, "other111", "gps", File{Time: hour, Body: Bytes("of another study")})
	c.s.Put(sid, digits, "gps", File{Time: hour, Body: Bytes("of another participant")})
	for _, x := range []struct {
		want   string
		fields []string
	}{
		{"200 4", nil},
		{"200 3", []string{"user_ids", pid}},
		{"200 3", []string{"user_ids", `["` + pid + `"]`}},
		{"200 3", []string{"participant_ids", pid, "user_ids", digits}}, // the new name wins
		{"200 4", []string{"user_ids", digits, "user_ids", pid}},
		{"400", []string{"user_ids", pid, "user_ids", digits}}, // the last value is a number
		{"200 4", []string{"user_ids", `["` + pid + `","` + digits + `"]`}},
		{"200 3", []string{"user_ids", digits, "user_ids", `["` + pid + `"]`}}, // JSON in the last value
		{"200 4", []string{"user_ids", "[]"}},
		{"200 4", []string{"participant_ids", "[]", "user_ids", pid}},
		{"200 0", []string{"user_ids", `["other111"]`}},
		{"200 3", []string{"user_ids", `["` + pid + `","other111"]`}},
		{"200 1", []string{"user_ids", "[" + digits + "]"}},
		{"200 3", []string{"user_ids", `{"` + pid + `":1}`}},
		{"400", []string{"user_ids", digits}},
		{"400", []string{"user_ids", "12345e67"}},
		{"400", []string{"user_ids", "null"}},
		{"404", []string{"user_ids", ""}},
		{"404", []string{"user_ids", `""` + pid}},
		{"404", []string{"user_ids", `"` + pid + `"`}}, // letter by letter
		{"404", []string{"user_ids", "nobody11"}},
		{"404", []string{"user_ids", `["` + pid + `","` + pid + `"]`}},
		{"404", []string{"user_ids", pid, "user_ids", pid}},
		{"404", []string{"user_ids", "[null]"}},
		{"200 3", []string{"data_streams", "gps"}},
		{"200 1", []string{"data_streams", `["calls"]`}},
		{"200 4", []string{"data_streams", "gps", "data_streams", "calls"}},
		{"200 4", []string{"data_streams", `["calls","gps"]`}},
		{"200 4", []string{"data_streams", "[]"}},
		{"404", []string{"data_streams", ""}},
		{"404", []string{"data_streams", "accel"}},
		{"404", []string{"data_streams", `["gps","image_survey"]`}},
		{"404", []string{"data_streams", `"gps"`}},
		{"404", []string{"data_streams", "[1]"}},
		{"500", []string{"data_streams", "1"}},
		{"500", []string{"data_streams", "null"}},
		{"404", []string{"data_streams", "accel", "user_ids", digits}}, // streams before participants
		{"400", []string{"time_start", "x", "user_ids", digits}},
		{"404", []string{"time_start", "2026-01-01T00:00:00Z", "user_ids", "nobody11"}}, // participants before times
		{"500", []string{"time_start", "2026-01-01T00:00:00Z", "registry", "x"}},        // times before the registry
		{"400", []string{"registry", ""}},
		{"400", []string{"registry", "null"}},
		{"400", []string{"registry", "[]"}},
		{"400", []string{"registry", `"x"`}},
		{"400", []string{"registry", "{"}},
		{"200 4", []string{"registry", "{}"}},
		{"200 4", []string{"registry", `{"a":"b"}`}},
		{"200 died", []string{"registry", `{"a":null}`}},
		{"200 died", []string{"registry", `{"a":1}`}},
	} {
		if got := c.outcome(x.fields...); got != x.want {
			t.Errorf("%q: %s; want %s", x.fields, got, x.want)
		}
	}
}

// outcome is the status of an answer with data, and how many files came.
func (c *client) outcome(fields ...string) string {
	c.t.Helper()
	r, body, err := c.post("/get-data/v1", fields...)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprint(r.StatusCode, " died")
	case err != nil:
		c.t.Fatal(err)
	case r.StatusCode == http.StatusOK:
		return fmt.Sprint("200 ", len(unzip(c.t, body))-1)
	case r.StatusCode == http.StatusInternalServerError != (len(body) > 0):
		c.t.Errorf("%q: %d %s", fields, r.StatusCode, body)
	}
	return fmt.Sprint(r.StatusCode)
}

// Times are whole seconds of UTC in one form; each mistake has its own answer, and both ends of a stretch are in it.
func TestDataTimes(t *testing.T) {
	c := start(t, Options{})
	c.put("gps", hour, "gps")
	c.put("survey_answers", hour.Add(90*time.Second+900*time.Millisecond), "at 02:01:30, for the server")
	for text, want := range map[string]string{
		"2026-03-08T02:00:00": "200 2", "2026-03-08T02:00:01": "200 1", "2026-03-08T02:01:30": "200 1", "2026-03-08T02:01:31": "200 0", "2026-3-8T2:0:0": "200 2",
		"": "400", "x": "400", "2026-03-08": "400", "2026-03-08 02:00:00": "400", "2026-13-01T00:00:00": "400", "2026-03-32T00:00:00": "400", "26-03-08T02:00:00": "400",
		"2026-03-08T24:00:00": "400", "2026-03-08T02:60:00": "400", "2026-03-08T02:00:61": "500", "2026-02-31T00:00:00": "500", "0000-01-01T00:00:00": "500",
		"2026-03-08T02:00:00Z": "500", "2026-03-08T02:00:00.5": "500", "2026-03-08T02:00:00+00:00": "500", "2026-03-08T02:00:00 ": "500", "1772935200": "400",
	} {
		if got := c.outcome("time_start", text); got != want {
			t.Errorf("from %q: %s; want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"2026-03-08T01:59:59": "200 0", "2026-03-08T02:00:00": "200 1", "2026-03-08T02:01:29": "200 1", "2026-03-08T02:01:30": "200 2", "x": "400"} {
		if got := c.outcome("time_end", text); got != want {
			t.Errorf("until %q: %s; want %s", text, got, want)
		}
	}
	if got := c.outcome("time_start", "2026-03-08T02:30:00", "time_end", "2026-03-08T02:00:00"); got != "200 0" {
		t.Errorf("from after until: %s", got)
	}
	if got := c.outcome("time_start", "x", "time_start", "2026-03-08T02:00:01"); got != "200 1" {
		t.Errorf("the last value counts: %s", got)
	}
}

// What the server says of files it sends, and what it makes of hearing that again: files as they were uploaded have an entry of their own kind.
func TestRegistryOfUploads(t *testing.T) {
	uploads := map[string]string{"survey_answers": "surveyAnswers", "audio_recordings": "voiceRecording"}
	for _, g := range []Generation{Current, SHA1Short, SHA1Full, MD5} {
		for stream, raw := range uploads {
			c := start(t, Options{Generation: g})
			c.put(stream, hour.Add(5*time.Millisecond), "text")
			path := fmt.Sprintf("%s/%s/%s/%s/1772935200005.csv", sid, pid, raw, SurveyID)
			if got := c.zip("/get-data/v1")["registry"]; got != `{"`+path+`": ""}` {
				t.Errorf("generation %d: %s", g, got)
			}
			sha1 := c.s.studies[sid].people[pid].files[path].sha1
			if got := c.zip("/get-data/v1", "registry", `{"x":"y"}`)["registry"]; g != MD5 && got != `{"`+path+`": "`+sha1+`"}` {
				t.Errorf("generation %d, with a registry: %s", g, got)
			}
			sent := map[string]bool{}
			for what, registry := range map[string]string{
				"right": `{"` + path + `":"` + sha1 + `"}`, "wrong": `{"` + path + `":"wrong"}`, "empty": `{"` + path + `":""}`, "elsewhere": `{"x":"` + sha1 + `"}`,
			} {
				sent[what] = len(c.zip("/get-data/v1", "registry", registry)) == 2
			}
			audio := stream == "audio_recordings"
			want := map[Generation]map[string]bool{
				Current:   {"right": false, "wrong": false, "empty": true, "elsewhere": !audio},
				SHA1Short: {"right": !audio, "wrong": true, "empty": true, "elsewhere": !audio},
				SHA1Full:  {"right": false, "wrong": true, "empty": true, "elsewhere": true},
				MD5:       {"right": true, "wrong": true, "empty": true, "elsewhere": true},
			}[g]
			if !maps.Equal(sent, want) {
				t.Errorf("generation %d, %s: sent %v; want %v", g, stream, sent, want)
			}
		}
	}
}

// Hashes of old rows end in a newline: one generation compares it, later ones lose it on the way and never match.
func TestRegistryOfNewlines(t *testing.T) {
	const full, short = "CHUNKED_DATA/" + sid + "/" + pid + "/gps/2026-03-08T02:00:00.csv", sid + "/" + pid + "/gps/2026-03-08T02:00:00.csv"
	c := start(t, Options{Generation: MD5, MD5Newline: true, NaiveNames: true})
	c.put("gps", hour, "text")
	files := c.zip("/get-data/v1")
	if files[pid+"/gps/2026-03-08 02_00_00.csv"] != "text" {
		t.Errorf("names without a zone: %q", slices.Sorted(maps.Keys(files)))
	}
	md5 := c.s.studies[sid].people[pid].files[full].md5
	if files["registry"] != `{"`+full+`": "`+md5+`\n"}` {
		t.Errorf("%s", files["registry"])
	}
	for _, x := range []struct {
		g    Generation
		key  string
		end  string
		sent bool
	}{
		{MD5, full, `\n`, false}, {MD5, full, "", true}, {Current, full, "", false}, {Current, full, `\n`, false}, {Current, short, "", true}, {Current, short, `\n`, true},
	} {
		c.s.Configure(func(o *Options) { o.Generation = x.g })
		if sent := len(c.zip("/get-data/v1", "registry", `{"`+x.key+`":"`+md5+x.end+`"}`)) == 2; sent != x.sent {
			t.Errorf("generation %d, %s%s: sent %v", x.g, x.key, x.end, sent)
		}
	}
}
