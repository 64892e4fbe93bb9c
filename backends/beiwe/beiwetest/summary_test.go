package beiwetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// rowsOfSummary asks and decodes.
func (c *client) rowsOfSummary(query string, fields ...string) []map[string]any {
	c.t.Helper()
	r, body, err := c.post("/get-summary-statistics/v1"+query, fields...)
	var rows []map[string]any
	if err == nil {
		err = json.Unmarshal(body, &rows)
	}
	if err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" {
		c.t.Fatalf("%s: %v %s, %v", query, r, body, err)
	}
	return rows
}

// A view trusts that a day's sum is that of the files that the day's request brings: also where clocks change, in zones of half hours, and west of the date line.
func TestSummaryIsWhatDataHolds(t *testing.T) {
	for _, zone := range []string{"", "Asia/Kolkata", "Pacific/Auckland", "America/St_Johns"} {
		c := start(t, Options{})
		c.s.AddStudy(Study{ID: sid, Name: "Demo", TimeZone: zone})
		for _, from := range []time.Time{time.Date(2026, 3, 6, 0, 0, 0, 0, time.UTC), time.Date(2026, 10, 30, 0, 0, 0, 0, time.UTC)} {
			for h := range 24 * 5 {
				c.put("gps", from.Add(time.Duration(h)*time.Hour), strings.Repeat("x", 1+h*h%101))
				c.put("survey_answers", from.Add(time.Duration(h)*(time.Hour+time.Second)), strings.Repeat("y", 1+h))
			}
		}
		place, err := time.LoadLocation(cmp.Or(zone, "America/New_York"))
		if err != nil {
			t.Fatal(err)
		}
		rows := c.rowsOfSummary("")
		if len(rows) < 10 || len(rows) > 13 {
			t.Errorf("%s: %d days", zone, len(rows))
		}
		for _, row := range rows {
			day, _ := time.ParseInLocation(time.DateOnly, row["date"].(string), place)
			next := time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, place)
			const form = "2006-01-02T15:04:05"
			files := c.zip("/get-data/v1", "time_start", day.UTC().Format(form), "time_end", next.Add(-time.Second).UTC().Format(form))
			sums := map[string]int{}
			for name, text := range files {
				if parts := strings.Split(name, "/"); len(parts) > 1 {
					sums[parts[1]] += len(text)
				}
			}
			if got := fmt.Sprint(row["beiwe_gps_bytes"], row["beiwe_survey_answers_bytes"]); got != fmt.Sprint(sums["gps"], sums["survey_answers"]) {
				t.Errorf("%s %s: the summary says %s, the files hold %v", zone, row["date"], got, sums)
			}
			if zone == "" && row["date"] == "2026-11-01" && (next.Sub(day) != 25*time.Hour || row["timezone"] != "EDT") {
				t.Errorf("the day of 25 hours: %v", row)
			}
		}
	}
}

// Filters count in the address and nowhere else; each has its default.
func TestSummaryFilters(t *testing.T) {
	c := start(t, Options{})
	c.s.AddParticipant(sid, "second11", Participant{})
	for d := range 4 {
		at := time.Date(2026, 5, 1+d, 12, 0, 0, 0, time.UTC)
		c.put("gps", at, strings.Repeat("x", 10-d))
		c.s.Put(sid, "second11", "wifi", File{Time: at, Body: Bytes("12")})
	}
	brief := func(rows []map[string]any) (out string) {
		for _, r := range rows {
			out += fmt.Sprint(r["date"].(string)[8:], r["participant_id"].(string)[:1], " ")
		}
		return out
	}
	const everything = "04a 04s 03a 03s 02a 02s 01a 01s "
	for query, want := range map[string]string{
		"":                       everything,
		"?start_date=2026-05-03": "04a 04s 03a 03s ",
		"?end_date=2026-05-01":   "01a 01s ",
		"?start_date=2026-05-02&end_date=2026-05-02": "02a 02s ",
		"?start_date=2026-05-03&end_date=2026-05-02": "",
		"?limit=3":                          "04a 04s 03a ",
		"?limit=0":                          everything,
		"?limit=99":                         everything,
		"?limit=2&participant_ids=second11": "04s 03s ",
		"?participant_ids=second11,abcdefg1&start_date=2026-05-04":       "04a 04s ",
		"?participant_ids=nobody11":                                      "",
		"?order_direction=ascending&limit=3":                             "01a 01s 02a ",
		"?order_direction=descending&limit=1":                            "04a ",
		"?ordered_by=date&limit=1":                                       "04a ",
		"?ordered_by=participant_id&limit=5":                             "01a 02a 03a 04a 01s ",
		"?ordered_by=participant_id&order_direction=descending&limit=1":  "01s ",
		"?ordered_by=beiwe_gps_bytes&order_direction=descending&limit=2": "01a 02a ",
		"?unknown=filter":                                                everything,
	} {
		if got := brief(c.rowsOfSummary(query)); got != want {
			t.Errorf("%s: %s; want %s", query, got, want)
		}
	}
	rows := c.rowsOfSummary("", "start_date", "2026-05-04", "limit", "1", "fields", "date", "participant_ids", "nobody11", "order_direction", "ascending")
	if got := brief(rows); got != everything {
		t.Errorf("filters in the body: %s", got)
	}
	for query, words := range map[string]string{
		"?start_date=1.5.2026": "YYYY-MM-DD", "?end_date=2026-02-31": "YYYY-MM-DD", "?limit=x": "limit", "?limit=1.5": "limit", "?order_direction=up": "order_direction",
		"?fields=date,nothing": "nothing", "?ordered_by=nothing": "nothing",
	} {
		r, body, err := c.post("/get-summary-statistics/v1" + query)
		var answer struct{ Errors []string }
		if json.Unmarshal(body, &answer); err != nil || r.StatusCode != 400 || len(answer.Errors) != 1 || !strings.Contains(answer.Errors[0], words) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %s, %v", query, r, body, err)
		}
	}
}

// All fields come if none are named, also those of other programs, and the participant is the last.
func TestSummaryFields(t *testing.T) {
	c := start(t, Options{})
	c.put("gps", hour, "12345")
	_, body, _ := c.post("/get-summary-statistics/v1?fields=participant_id,beiwe_gps_bytes,beiwe_wifi_bytes,date,study_id,timezone")
	if want := `[{"date":"2026-03-07","study_id":"` + sid + `","timezone":"EST","beiwe_gps_bytes":5,"beiwe_wifi_bytes":null,"participant_id":"` + pid + `"}]`; string(body) != want {
		t.Errorf("%s; want %s", body, want)
	}
	row := c.rowsOfSummary("")[0]
	for _, name := range Streams() {
		if v, ok := row["beiwe_"+name+"_bytes"]; !ok || (v == nil) != (name != "gps") {
			t.Errorf("%s: %v", name, v)
		}
	}
	if v, ok := row["jasmine_obs_day"]; !ok || v != nil || len(row) != len(summaryFields()) || slices.Contains(summaryFields(), "") {
		t.Errorf("%v", row)
	}
	_, body, _ = c.post("/get-summary-statistics/v1", "study_id", sid)
	if !strings.HasSuffix(string(body), `"participant_id":"`+pid+`"}]`) {
		t.Errorf("%s", body)
	}
	if _, body, _ := c.post("/get-summary-statistics/v1?start_date=2030-01-01"); string(body) != "[]" {
		t.Errorf("nothing: %s", body)
	}
}
