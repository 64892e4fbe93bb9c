package beiwetest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query is a parsed request for data.
type query struct {
	people, streams []string
	from, to        time.Time
	registry        map[string]any
	webForm         bool
}

// status is an answer without a word.
type status int

func (s status) Error() string { return strconv.Itoa(int(s)) }

// list reads a field as Python does: what the last value holds as JSON, one by one, or else all values as they are. What is JSON and
// nothing that holds others, as a lone id of digits, is the error.
func list(r *http.Request, key string, otherwise status) ([]string, error) {
	text := []byte(last(r, key))
	if !json.Valid(text) {
		return r.PostForm[key], nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a participant's id may look like one
	var parsed any
	if err := d.Decode(&parsed); err != nil {
		return nil, err
	}
	var all []string
	switch parsed := parsed.(type) {
	case []any:
		for _, v := range parsed {
			all = append(all, fmt.Sprint(v))
		}
	case map[string]any:
		all = slices.Sorted(maps.Keys(parsed))
	case string:
		all = strings.Split(parsed, "")
	default:
		return nil, otherwise
	}
	return all, nil
}

// parse reads a request for data in the order of the server, which decides what it complains about.
func (s *Server) parse(r *http.Request) (q query, err error) {
	if err := s.parseScope(r, &q); err != nil {
		return q, err
	}
	for key, into := range map[string]*time.Time{"time_start": &q.from, "time_end": &q.to} {
		if text, ok := lookup(r, key); ok {
			if *into, err = parseTime(text); err != nil {
				return q, err
			}
		}
	}
	_, q.webForm = r.PostForm["web_form"]
	if text, ok := lookup(r, "registry"); ok && (json.Unmarshal([]byte(text), &q.registry) != nil || q.registry == nil) {
		return q, status(http.StatusBadRequest)
	}
	return q, nil
}

// parseScope reads streams and participants, of which one that does not exist fails the whole request.
func (s *Server) parseScope(r *http.Request, q *query) (err error) {
	if q.streams, err = list(r, "data_streams", http.StatusInternalServerError); err != nil {
		return err
	}
	o, key := s.options(), "user_ids"
	for _, name := range q.streams {
		if !slices.Contains(Streams(), name) || slices.Contains(o.Lacks, name) {
			return status(http.StatusNotFound)
		}
	}
	if _, ok := r.PostForm["participant_ids"]; ok && o.Generation != MD5 {
		key = "participant_ids"
	}
	if q.people, err = list(r, key, http.StatusBadRequest); err != nil {
		return err
	}
	if !s.know(q.people) {
		return status(http.StatusNotFound)
	}
	return nil
}

// know reports whether all participants exist, in whatever study, and each was named once: the server compares two counts.
func (s *Server) know(people []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[string]bool{}
	for _, st := range s.studies {
		for id := range st.people {
			known[id] = true
		}
	}
	for _, id := range people {
		if !known[id] {
			return false
		}
		known[id] = false
	}
	return true
}

// parseTime is Python's strptime, and what the server makes of its complaints: 400 where the form does not match, and a mistake of its own where something
// is left over or no such day exists.
func parseTime(text string) (time.Time, error) {
	form := regexp.MustCompile(`^(\d{4})-(1[0-2]|0[1-9]|[1-9])-(3[01]|[12]\d|0[1-9]|[1-9])T(2[0-3]|[01]\d|\d):([0-5]\d|\d):(6[01]|[0-5]\d|\d)`)
	match := form.FindString(text)
	if match == "" {
		return time.Time{}, status(http.StatusBadRequest)
	}
	t, err := time.Parse("2006-1-2T15:4:5", match)
	if err != nil || match != text || t.Year() == 0 {
		return time.Time{}, status(http.StatusInternalServerError)
	}
	return t, nil
}

// dataOptions tell the two routes for data apart, and what goes wrong with one answer.
type dataOptions struct {
	fault *Fault
	v2    bool
}

// data is get-data.
func (s *Server) data(w *answer, r *http.Request, st *study, d dataOptions) {
	q, err := s.parse(r)
	if code, ok := errors.AsType[status](err); ok {
		if code == http.StatusInternalServerError {
			page(w, int(code))
			return
		}
		fail(w, int(code))
		return
	}
	s.mu.Lock()
	s.asked++
	o := s.o
	files, order := s.selected(st, q), rand.New(rand.NewPCG(o.Seed, s.asked)) //nolint:gosec // an order, no secret
	s.mu.Unlock()
	slices.SortFunc(files, func(a, b *record) int { return cmp.Compare(a.ChunkPath, b.ChunkPath) })
	order.Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	w.Header().Set("Content-Type", "application/zip")
	disposition := `inline; filename="data.zip"`
	if q.webForm {
		disposition = strings.Replace(disposition, "inline", "attachment", 1)
	}
	w.Header().Set("Content-Disposition", disposition)
	for _, v := range q.registry {
		if _, ok := v.(string); !ok { // the generator fails on it, after the header
			w.WriteHeader(http.StatusOK)
			abort(w, true)
			return
		}
	}
	z := &zipWriter{w: w, r: r, s: s, dataOptions: d, now: o.Now().UTC(), names: map[string]int{}}
	z.send(files, q)
}

// selected are the files that match, less those that the registry suppresses. The caller holds mu.
func (s *Server) selected(st *study, q query) (all []*record) {
	for id, p := range st.people {
		if len(q.people) > 0 && !slices.Contains(q.people, id) {
			continue
		}
		for _, r := range p.files {
			if q.wants(r) && (len(q.registry) == 0 || !s.suppressed(r, q.registry)) {
				all = append(all, r)
			}
		}
	}
	return all
}

// wants reports whether a file lies in what was asked for, both ends of the time included.
func (q query) wants(r *record) bool {
	return (len(q.streams) == 0 || slices.Contains(q.streams, r.Stream)) &&
		(q.from.IsZero() || !r.Time.Before(q.from)) && (q.to.IsZero() || !r.Time.After(q.to))
}

// suppressed reports whether the registry of a request keeps a file from being sent. Each generation has its own mistakes.
func (s *Server) suppressed(r *record, registry map[string]any) bool {
	r.digest()
	full := said(registry, r.ChunkPath)
	if s.o.Generation == MD5 {
		return full != "" && full == s.md5(r) // to the letter, its newline included
	}
	full = strings.TrimSpace(full)
	short := strings.TrimSpace(said(registry, strings.TrimPrefix(r.ChunkPath, "CHUNKED_DATA/")))
	if s.o.Generation == SHA1Full {
		return full == r.sha1
	}
	if r.Stream == "audio_recordings" && anywhere(registry, r.sha1) {
		return true
	}
	if s.o.Generation == SHA1Short {
		return r.Stream != "survey_answers" && short == r.sha1
	}
	return full != "" || short == r.sha1 || short != "" && short == s.md5(r)
}

// said is what a registry says of a path, "" for nothing.
func said(registry map[string]any, path string) string {
	text, _ := registry[path].(string)
	return text
}

func anywhere(registry map[string]any, sha1 string) bool {
	for path := range registry {
		if strings.TrimSpace(said(registry, path)) == sha1 {
			return true
		}
	}
	return false
}

// md5 is what the database holds: nothing for files stored as they were uploaded.
func (s *Server) md5(r *record) string {
	if uploadName(r.Stream) != "" {
		return ""
	}
	r.digest()
	if s.o.MD5Newline {
		return r.md5 + "\n"
	}
	return r.md5
}
