package beiwetest

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

func writeJSON(w http.ResponseWriter, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	e := json.NewEncoder(trimmed{w})
	e.SetEscapeHTML(false)
	e.Encode(v) //nolint:errcheck,errchkjson // the client may be gone
}

// trimmed leaves out the newline that the encoder adds.
type trimmed struct{ w io.Writer }

func (t trimmed) Write(p []byte) (int, error) {
	if n := len(p); n > 0 && p[n-1] == '\n' {
		_, err := t.w.Write(p[:n-1])
		return n, err
	}
	return t.w.Write(p)
}

func (s *Server) listStudies(w *answer, _ *http.Request, a *account) {
	s.mu.Lock()
	all := map[string]string{}
	for id, st := range s.studies {
		if !st.deleted && a.sees(id) {
			all[id] = st.Name
		}
	}
	s.mu.Unlock()
	writeJSON(w, "text/html; charset=utf-8", all)
}

func (s *Server) users(w *answer, _ *http.Request, st *study) {
	s.mu.Lock()
	ids := slices.AppendSeq([]string{}, maps.Keys(st.people)) // in no order
	s.mu.Unlock()
	writeJSON(w, "application/json", ids)
}

func (s *Server) quantities(w *answer, _ *http.Request, st *study) {
	s.mu.Lock()
	all := map[string]map[string]int64{}
	for id, p := range st.people {
		all[id] = map[string]int64{}
		for _, name := range Streams() {
			all[id][name+"_bytes"] = 0
		}
		for _, r := range p.files {
			all[id][r.Stream+"_bytes"] += r.Body.Size()
		}
	}
	s.mu.Unlock()
	writeJSON(w, "application/json", all)
}

// column is one of the participant table. A value is a text, a time, or nil where nothing is known.
type column struct {
	name  string
	value func(*person, *study) any
}

func columns() []column {
	text := func(v string) func(*person, *study) any { return func(*person, *study) any { return v } }
	unknown := func(*person, *study) any { return nil }
	upload := func(p *person, _ *study) any { return p.lastUpload() }
	created := func(_ *person, st *study) any { return st.created.In(st.zone).Format(time.DateOnly) }
	return []column{
		{"Created On", created},
		{"Patient ID", func(p *person, _ *study) any { return p.id }},
		{"Status", text("Active")},
		{"OS Type", func(p *person, _ *study) any { return map[bool]string{false: "ANDROID", true: "IOS"}[p.IOS] }},
		{"First Registration Date", created},
		{"Last Registration", unknown},
		{"Last Timezone", func(_ *person, st *study) any { return st.TimeZone }},
		{"Last Upload", upload},
		{"Last Survey Download", unknown},
		{"Last Set Password", unknown},
		{"Last Push Token Update", unknown},
		{"Last Device Settings Update", unknown},
		{"Last OS Version", unknown},
		{"App Version Code", unknown},
		{"App Version Name", unknown},
		{"Last Heartbeat", upload},
	}
}

// lastUpload is a time, or nil.
func (p *person) lastUpload() any {
	if len(p.uploads) == 0 {
		return nil
	}
	return slices.MaxFunc(p.uploads, func(a, b upload) int { return a.at.Compare(b.at) }).at
}

// table is get-participant-table-data. Deleted participants are not in it. Times are in the study's zone, in a form that each format has of its own.
func (s *Server) table(w *answer, r *http.Request, st *study) {
	var names []string
	rows := [][]any{}
	s.mu.Lock()
	for _, c := range columns() {
		names = append(names, c.name)
	}
	for _, id := range slices.Sorted(maps.Keys(st.people)) {
		if p := st.people[id]; !p.Deleted {
			rows = append(rows, p.row(st))
		}
	}
	s.mu.Unlock()
	switch last(r, "data_format") {
	case "json":
		all := []map[string]any{}
		for _, row := range rows {
			one := map[string]any{}
			for i, name := range names {
				one[name] = row[i]
			}
			all = append(all, one)
		}
		writeJSON(w, "application/json", all)
	case "json_table":
		all := []any{names}
		for _, row := range rows {
			all = append(all, row)
		}
		writeJSON(w, "application/json", all)
	case "csv":
		writeCSV(w, names, rows)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "data_format must be one of json, json_table, csv") //nolint:errcheck // the client may be gone
	}
}

// row has all columns of one participant. The caller holds the server's mu.
func (p *person) row(st *study) (row []any) {
	for _, c := range columns() {
		v := c.value(p, st)
		if at, ok := v.(time.Time); ok {
			v = at.In(st.zone)
		}
		row = append(row, v)
	}
	return row
}

func writeCSV(w http.ResponseWriter, names []string, rows [][]any) {
	w.Header().Set("Content-Type", "text/csv")
	c := csv.NewWriter(w)
	c.UseCRLF = true
	c.Write(names) //nolint:errcheck // the client may be gone, here and below
	for _, row := range rows {
		var texts []string
		for _, v := range row {
			switch v := v.(type) {
			case string:
				texts = append(texts, v)
			case time.Time:
				texts = append(texts, v.Format("2006-01-02 15:04:05 (MST)"))
			default:
				texts = append(texts, "")
			}
		}
		c.Write(texts) //nolint:errcheck // as above
	}
	c.Flush()
}

func (s *Server) interventions(w *answer, _ *http.Request, st *study) {
	s.mu.Lock()
	all := map[string]map[string]map[string]string{}
	for id := range st.people {
		all[id] = map[string]map[string]string{SurveyID: {"start of study": "2026-01-01"}}
	}
	s.mu.Unlock()
	writeJSON(w, "application/json", all)
}

// surveyHistory is sent in crumbs: the server streams a string, character by character.
func (s *Server) surveyHistory(w *answer, _ *http.Request, st *study) {
	w.Header().Set("Content-Type", "text/json")
	w.Header().Set("Content-Disposition", `attachment; filename="`+st.ID+`_surveys_history_data.json"`)
	text := `{"` + SurveyID + `":[{"archive_start":"2026-01-01T00:00:00Z","survey_json":{"content":[],"settings":{}}}]}`
	for part := range slices.Chunk([]byte(text), 1) {
		w.Write(part)                         //nolint:errcheck // the client may be gone
		http.NewResponseController(w).Flush() //nolint:errcheck // as above
	}
}

func (s *Server) settings(w *answer, _ *http.Request, st *study) {
	s.mu.Lock()
	zone, name := st.TimeZone, st.Name
	s.mu.Unlock()
	w.Header().Set("Content-Disposition", `attachment; filename="`+strings.ReplaceAll(name, " ", "_")+`_surveys_and_settings.json"`)
	writeJSON(w, "application/json", map[string]any{
		"surveys":         []map[string]any{{"_id": SurveyID, "survey_type": "tracking_survey", "content": []any{}}},
		"device_settings": map[string]any{"accelerometer": true, "gps": true}, "interventions": []string{"start of study"}, "study_time_zone": zone,
	})
}

// participantOf finds a participant on the routes that take no study, in the order of the server. The caller holds mu.
func (s *Server) participantOf(r *http.Request, a *account) (*person, int) {
	id := last(r, "participant_id")
	if id == "" {
		return nil, http.StatusBadRequest
	}
	for study, st := range s.studies {
		switch p := st.people[id]; {
		case p == nil:
		case !a.sees(study):
			return nil, http.StatusForbidden
		default:
			return p, 0
		}
	}
	return nil, http.StatusNotFound
}

// uploadHistory lists all that a phone ever sent, oldest first.
func (s *Server) uploadHistory(w *answer, r *http.Request, a *account) {
	s.mu.Lock()
	p, status := s.participantOf(r, a)
	rows := []any{}
	if p != nil {
		for _, u := range slices.SortedStableFunc(slices.Values(p.uploads), func(a, b upload) int { return a.at.Compare(b.at) }) {
			at := u.at.Format("2006-01-02T15:04:05Z")
			if last(r, "omit_keys") == "true" {
				rows = append(rows, []any{u.size, at, u.name})
				continue
			}
			rows = append(rows, map[string]any{"file_size": u.size, "timestamp": at, "file_name": u.name})
		}
	}
	s.mu.Unlock()
	if status != 0 {
		fail(w, status)
		return
	}
	writeJSON(w, "application/json", rows)
}

// fileHashes fails as it does on every server that has it, for every participant who has a file.
func (s *Server) fileHashes(w *answer, r *http.Request, a *account) {
	s.mu.Lock()
	p, status := s.participantOf(r, a)
	none := p != nil && len(p.files) == 0
	s.mu.Unlock()
	switch {
	case status != 0:
		fail(w, status)
	case none:
		writeJSON(w, "application/json", map[string]string{})
	default:
		page(w, http.StatusInternalServerError)
	}
}

// login is the website's, which mano's device_settings goes through.
func login(w *answer, r *http.Request) {
	if r.Method != http.MethodPost || last(r, "username") == "" {
		page(w, http.StatusOK)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "sessionid", Value: "demo", Path: "/", HttpOnly: true})
	w.Header().Set("Location", "/choose_study")
	w.WriteHeader(http.StatusFound)
}

func deviceSettings(w *answer, r *http.Request) {
	if _, err := r.Cookie("sessionid"); err != nil {
		w.Header().Set("Location", "/validate_login")
		w.WriteHeader(http.StatusFound)
		return
	}
	fmt.Fprint(w, `<html><body><div class="form-group"><div><input class="form-control" name="gps_on_duration_seconds" value="60"></div></div></body></html>`) //nolint:errcheck // may be gone
}
