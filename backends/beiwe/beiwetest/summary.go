package beiwetest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// summary is get-summary-statistics: filters count in the address only.
func (s *Server) summary(w *answer, r *http.Request, st *study) {
	q, err := parseFilters(r.URL.Query())
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, "application/json", map[string]any{"errors": []string{err.Error()}})
		return
	}
	s.mu.Lock()
	rows := slices.DeleteFunc(s.days(st), func(row dayRow) bool { return !q.wants(row) })
	zone := st.zone
	s.mu.Unlock()
	slices.SortFunc(rows, q.compare)
	if q.limit > 0 {
		rows = rows[:min(q.limit, len(rows))]
	}
	io.WriteString(w, "[") //nolint:errcheck // the client may be gone
	for i, row := range rows {
		if i > 0 {
			io.WriteString(w, ",") //nolint:errcheck // as above
		}
		day, err := time.ParseInLocation(time.DateOnly, row.date, zone)
		if err != nil {
			continue // made by ourselves: it is one
		}
		io.WriteString(w, row.json(st.ID, day.Format("MST"), q.fields)) //nolint:errcheck // as above
	}
	io.WriteString(w, "]") //nolint:errcheck // as above
}

type filters struct {
	from, to       string
	people, fields []string
	limit          int
	orderedBy      string
	descending     bool
}

// wants reports whether a row is one that was asked for.
func (q filters) wants(row dayRow) bool {
	return row.date >= q.from && (q.to == "" || row.date <= q.to) && (len(q.people) == 0 || slices.Contains(q.people, row.person))
}

// compare orders by one field, and where that is the same by date and person: no order, to the real server.
func (q filters) compare(a, b dayRow) int {
	order := cmp.Compare(a.date, b.date)
	if name, ok := strings.CutSuffix(strings.TrimPrefix(q.orderedBy, "beiwe_"), "_bytes"); ok {
		order = cmp.Compare(a.bytes[name], b.bytes[name])
	} else if q.orderedBy == "participant_id" {
		order = cmp.Compare(a.person, b.person)
	}
	if q.descending {
		order = -order
	}
	return cmp.Or(order, cmp.Compare(a.date, b.date), cmp.Compare(a.person, b.person))
}

// parseFilters reads what ApiQueryForm (libs/django_forms/forms.py) does. The first thing wrong is told in words.
func parseFilters(v url.Values) (q filters, err error) {
	if err := q.dates(v); err != nil {
		return q, err
	}
	list := func(key string) []string {
		if v.Get(key) == "" {
			return nil
		}
		return strings.Split(v.Get(key), ",")
	}
	q.people, q.fields, q.orderedBy = list("participant_ids"), list("fields"), v.Get("ordered_by")
	for _, name := range append(slices.Clone(q.fields), q.orderedBy) {
		if name != "" && !slices.Contains(summaryFields(), name) {
			return q, fmt.Errorf("%s is not a valid field", name)
		}
	}
	switch direction := v.Get("order_direction"); direction {
	case "":
		q.descending = q.orderedBy == "" || q.orderedBy == "date"
	case "ascending", "descending":
		q.descending = direction == "descending"
	default:
		return q, errors.New("if provided, the order_direction parameter should contain either the value 'ascending' or 'descending'")
	}
	if text := v.Get("limit"); text != "" {
		if q.limit, err = strconv.Atoi(text); err != nil {
			return q, errors.New("limit value could not be interpreted as an integer value")
		}
	}
	return q, nil
}

func (q *filters) dates(v url.Values) error {
	for key, into := range map[string]*string{"start_date": &q.from, "end_date": &q.to} {
		if *into = v.Get(key); *into != "" {
			if _, err := time.Parse(time.DateOnly, *into); err != nil {
				return fmt.Errorf("%s could not be interpreted as a date. Dates should be formatted as YYYY-MM-DD", strings.ReplaceAll(key, "_", " "))
			}
		}
	}
	return nil
}

// summaryFields are those that come if none are named: four of whom and when, bytes, and some of what Forest computed, which is
// nothing here.
func summaryFields() []string {
	all := []string{"date", "study_id", "timezone"}
	for _, name := range Streams() {
		all = append(all, "beiwe_"+name+"_bytes")
	}
	return append(all, "jasmine_distance_diameter", "jasmine_obs_day", "willow_incoming_text_count", "oak_steps", "participant_id")
}

type dayRow struct {
	date, person string
	bytes        map[string]int64
}

// json writes the row with participant_id last, as the server does.
func (d dayRow) json(study, zone string, fields []string) string {
	texts := map[string]string{"date": d.date, "study_id": study, "timezone": zone, "participant_id": d.person}
	var b strings.Builder
	for _, key := range summaryFields() {
		if fields != nil && !slices.Contains(fields, key) {
			continue
		}
		value := "null"
		if text, ok := texts[key]; ok {
			value = strconv.Quote(text)
		} else if n, ok := d.bytes[strings.TrimSuffix(strings.TrimPrefix(key, "beiwe_"), "_bytes")]; ok {
			value = strconv.FormatInt(n, 10)
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", key, value)
	}
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
			date := r.Time.In(st.zone).Format(time.DateOnly)
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
