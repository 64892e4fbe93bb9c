package beiwetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route finds the handler of a path. Every route exists with and without a slash at its end.
func (s *Server) route(w *answer, r *http.Request, path string, f *Fault) {
	s.mu.Lock()
	o := s.o
	s.mu.Unlock()
	if h := s.studyRoutes(o, f)[path]; h != nil {
		if r.Method == http.MethodGet && strings.HasPrefix(path, "/get-data/") {
			fail(w, http.StatusBadRequest)
			return
		}
		s.withStudy(w, r, h)
		return
	}
	switch path {
	case "/get-studies/v1":
		s.withKeys(w, r, s.listStudies)
	case "/check-my-credentials/v1":
		s.withKeys(w, r, func(w *answer, _ *http.Request, _ *account) { io.WriteString(w, "OK") }) //nolint:errcheck // may be gone
	case "/get-participant-upload-history/v1":
		s.withKeys(w, r, s.uploadHistory)
	case "/background_processing_status":
		w.WriteHeader(http.StatusOK)
	case "/validate_login":
		login(w, r)
	case "/get-participant-file-hashes/v1":
		page(w, max(o.FileHashes, http.StatusNotFound))
	default:
		website(w, r, path)
	}
}

// website are the pages for people.
func website(w *answer, r *http.Request, path string) {
	switch {
	case strings.HasPrefix(path, "/device_settings/"):
		deviceSettings(w, r)
	case path == "" || path == "/choose_study": // where a login leads
		page(w, http.StatusOK)
	default:
		page(w, http.StatusNotFound)
	}
}

type studyHandler func(*answer, *http.Request, *study)

// studyRoutes are the routes about one study that a server of these options has.
func (s *Server) studyRoutes(o Options, f *Fault) map[string]studyHandler {
	all := map[string]studyHandler{
		"/get-users/v1":                       s.users,
		"/get-participant-ids/v1":             s.users,
		"/get-participant-data-quantities/v1": s.quantities,
		"/get-participant-table-data/v1":      s.table,
		"/get-interventions/v1":               s.interventions,
		"/get-survey-history/v1":              s.surveyHistory,
		"/get-summary-statistics/v1":          s.summary,
		"/get-study-settings/v1":              s.settings,
		"/get-data/v1":                        func(w *answer, r *http.Request, st *study) { s.data(w, r, st, f, false) },
		"/get-data/v2":                        func(w *answer, r *http.Request, st *study) { s.data(w, r, st, f, true) },
	}
	if o.NoSummary {
		delete(all, "/get-summary-statistics/v1")
		delete(all, "/get-participant-ids/v1")
	}
	if o.NoSettings {
		delete(all, "/get-study-settings/v1")
	}
	if !o.V2 {
		delete(all, "/get-data/v2")
	}
	return all
}

// fail answers as the server does: without a word.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", "0")
	if status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(status)
}

func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, html) //nolint:errcheck // the client may be gone
}

func charset(text, more string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	})
}

// last is how Django reads a field that came several times.
func last(r *http.Request, key string) string {
	if v := r.PostForm[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// keysOf checks the keys: 400 for what cannot be any, 403 for what is none.
func (s *Server) keysOf(r *http.Request) (*account, int) {
	access, secret := last(r, "access_key"), last(r, "secret_key")
	if !charset(access, "+/") || !charset(secret, "+/") {
		return nil, http.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.keys[access]
	if a == nil || a.secret != secret {
		return nil, http.StatusForbidden
	}
	return a, 0
}

func (s *Server) withKeys(w *answer, r *http.Request, next func(*answer, *http.Request, *account)) {
	if r.Method != http.MethodPost {
		fail(w, http.StatusMethodNotAllowed)
		return
	}
	a, status := s.keysOf(r)
	if status != 0 {
		fail(w, status)
		return
	}
	next(w, r, a)
}

// withStudy checks in the order of the server: method, the study's form, the study, the keys, the relation of both.
func (s *Server) withStudy(w *answer, r *http.Request, next func(*answer, *http.Request, *study)) {
	id := last(r, "study_id")
	switch {
	case r.Method != http.MethodPost:
		fail(w, http.StatusMethodNotAllowed)
		return
	case len(id) != 24 || !charset(id, ""):
		fail(w, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	st := s.studies[id]
	s.mu.Unlock()
	if st == nil || st.deleted {
		fail(w, http.StatusNotFound)
		return
	}
	a, status := s.keysOf(r)
	if status == 0 && a.studies != nil && !slices.Contains(a.studies, id) {
		status = http.StatusForbidden
	}
	if status != 0 {
		fail(w, status)
		return
	}
	next(w, r, st)
}

func writeJSON(w http.ResponseWriter, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Frame-Options", "DENY")
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
		if !st.deleted && (a.studies == nil || slices.Contains(a.studies, id)) {
			all[id] = st.Name
		}
	}
	s.mu.Unlock()
	writeJSON(w, "text/html; charset=utf-8", all)
}

func (s *Server) users(w *answer, _ *http.Request, st *study) {
	s.mu.Lock()
	ids := slices.Sorted(maps.Keys(st.people))
	s.mu.Unlock()
	if ids == nil {
		ids = []string{}
	}
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

func (s *Server) table(w *answer, r *http.Request, st *study) {
	columns := []string{"Created On", "Patient ID", "Status", "OS Type", "Last Upload"}
	rows := [][]string{}
	s.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(st.people)) {
		p := st.people[id]
		if p.Deleted {
			continue
		}
		kind, lastUpload := "ANDROID", ""
		if p.IOS {
			kind = "IOS"
		}
		for _, u := range p.uploads {
			lastUpload = max(lastUpload, u.at.In(st.zone).Format("2006-01-02 15:04:05 (MST)"))
		}
		rows = append(rows, []string{st.created.In(st.zone).Format("2006-01-02"), id, "Active", kind, lastUpload})
	}
	s.mu.Unlock()
	switch last(r, "data_format") {
	case "json":
		all := []map[string]string{}
		for _, row := range rows {
			one := map[string]string{}
			for i, c := range columns {
				one[c] = row[i]
			}
			all = append(all, one)
		}
		writeJSON(w, "application/json", all)
	case "json_table":
		writeJSON(w, "application/json", append([][]string{columns}, rows...))
	case "csv":
		w.Header().Set("Content-Type", "text/csv")
		for _, row := range append([][]string{columns}, rows...) {
			io.WriteString(w, strings.Join(row, ",")+"\r\n") //nolint:errcheck // the client may be gone
		}
	default:
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, "data_format must be one of json, json_table, csv") //nolint:errcheck // as above
	}
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
func (s *Server) surveyHistory(w *answer, _ *http.Request, _ *study) {
	w.Header().Set("Content-Type", "text/json")
	text := `{"` + SurveyID + `":[{"archive_start":"2026-01-01T00:00:00Z","survey_json":{"content":[],"settings":{}}}]}`
	for part := range slices.Chunk([]byte(text), 16) {
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

func (s *Server) uploadHistory(w *answer, r *http.Request, a *account) {
	id := last(r, "participant_id")
	if id == "" {
		fail(w, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	var found *person
	allowed := false
	for sid, st := range s.studies {
		if p := st.people[id]; p != nil {
			found, allowed = p, a.studies == nil || slices.Contains(a.studies, sid)
		}
	}
	var rows []any
	if found != nil {
		for _, u := range found.uploads {
			at := u.at.Format("2006-01-02T15:04:05Z")
			if last(r, "omit_keys") == "true" {
				rows = append(rows, []any{u.size, at, u.name})
				continue
			}
			rows = append(rows, map[string]any{"file_size": u.size, "timestamp": at, "file_name": u.name})
		}
	}
	s.mu.Unlock()
	switch {
	case found == nil:
		fail(w, http.StatusNotFound)
	case !allowed:
		fail(w, http.StatusForbidden)
	case rows == nil:
		writeJSON(w, "application/json", []any{})
	default:
		writeJSON(w, "application/json", rows)
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

// summary is get-summary-statistics: filters count in the address only.
func (s *Server) summary(w *answer, r *http.Request, st *study) {
	q, err := parseFilters(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, "application/json", map[string]any{"errors": []string{err.Error()}})
		return
	}
	s.mu.Lock()
	rows := s.days(st)
	zone := st.zone
	s.mu.Unlock()
	slices.SortFunc(rows, func(a, b dayRow) int {
		newer := strings.Compare(b.date, a.date)
		if q.ascending {
			newer = -newer
		}
		return cmp.Or(newer, strings.Compare(a.person, b.person))
	})
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, "[") //nolint:errcheck // the client may be gone
	n := 0
	for _, row := range rows {
		if !q.wants(row) || q.limit > 0 && n == q.limit {
			continue
		}
		if n > 0 {
			io.WriteString(w, ",") //nolint:errcheck // as above
		}
		n++
		day, err := time.ParseInLocation("2006-01-02", row.date, zone)
		if err != nil {
			continue // made by ourselves: it is one
		}
		io.WriteString(w, row.json(st.ID, day.Format("MST"), q.fields)) //nolint:errcheck // as above
	}
	io.WriteString(w, "]") //nolint:errcheck // as above
}

// wants reports whether a row is one that was asked for.
func (q filters) wants(row dayRow) bool {
	return row.date >= q.from && (q.to == "" || row.date <= q.to) && (len(q.people) == 0 || slices.Contains(q.people, row.person))
}

type filters struct {
	from, to       string
	people, fields []string
	limit          int
	ascending      bool
}

func parseFilters(r *http.Request) (q filters, err error) {
	v := r.URL.Query()
	for key, into := range map[string]*string{"start_date": &q.from, "end_date": &q.to} {
		if *into = v.Get(key); *into != "" {
			if _, err := time.Parse("2006-01-02", *into); err != nil {
				return q, fmt.Errorf("%s: not a date", key)
			}
		}
	}
	list := func(key string) []string {
		if v.Get(key) == "" {
			return nil
		}
		return strings.Split(v.Get(key), ",")
	}
	q.people, q.fields, q.ascending = list("participant_ids"), list("fields"), v.Get("order_direction") == "ascending"
	known := []string{"date", "participant_id", "study_id", "timezone"}
	for _, name := range Streams() {
		known = append(known, "beiwe_"+name+"_bytes")
	}
	for _, f := range q.fields {
		if !slices.Contains(known, f) {
			return q, fmt.Errorf("fields: %s is not one", f)
		}
	}
	if text := v.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil {
			return q, fmt.Errorf("limit: %w", err)
		}
	}
	return q, nil
}

type dayRow struct {
	date, person string
	bytes        map[string]int64
}

// json writes the row with participant_id last, as the server does.
func (d dayRow) json(study, zone string, fields []string) string {
	var b strings.Builder
	put := func(key, value string) {
		if fields != nil && !slices.Contains(fields, key) {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", key, value)
	}
	put("date", strconv.Quote(d.date))
	put("study_id", strconv.Quote(study))
	put("timezone", strconv.Quote(zone))
	for _, name := range Streams() {
		value := "null"
		if n, ok := d.bytes[name]; ok {
			value = strconv.FormatInt(n, 10)
		}
		put("beiwe_"+name+"_bytes", value)
	}
	put("participant_id", strconv.Quote(d.person))
	return "{" + b.String() + "}"
}

// days sums up what lies on each day of the study's zone. The caller holds mu.
func (s *Server) days(st *study) []dayRow {
	var rows []dayRow
	for id, p := range st.people {
		byDay := map[string]map[string]int64{}
		for _, r := range p.files {
			if s.o.LagSurveys && uploadName(r.Stream) != "" {
				continue
			}
			date := r.Time.In(st.zone).Format("2006-01-02")
			if byDay[date] == nil {
				byDay[date] = map[string]int64{}
			}
			byDay[date][r.Stream] += r.Body.Size()
		}
		for date, bytes := range byDay {
			rows = append(rows, dayRow{date, id, bytes})
		}
	}
	return rows
}
