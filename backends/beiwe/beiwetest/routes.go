package beiwetest

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// handler answers a request that may be answered.
type handler func(*answer, *http.Request)

// route finds the handler of a path. Every route exists with and without a slash at its end.
func (s *Server) route(w *answer, r *http.Request, path string, f *Fault) {
	all := s.studyRoutes(f)
	maps.Copy(all, s.keyRoutes())
	s.without(all)
	if h := all[path]; h != nil {
		h(w, r)
		return
	}
	website(w, r, path)
}

// studyRoutes are the routes about one study. Those for data let GET through to the next check, which misses the study (authentication/data_access_authentication.py
// reads bodies only).
func (s *Server) studyRoutes(f *Fault) map[string]handler {
	post := []string{http.MethodPost}
	about := func(next func(*answer, *http.Request, *study)) handler {
		return methods(post, func(w *answer, r *http.Request) { s.withStudy(w, r, next) })
	}
	data := func(v2 bool) handler {
		return methods([]string{http.MethodPost, http.MethodGet}, func(w *answer, r *http.Request) {
			s.withStudy(w, r, func(w *answer, r *http.Request, st *study) { s.data(w, r, st, dataOptions{fault: f, v2: v2}) })
		})
	}
	return map[string]handler{
		"/get-users/v1":                       about(s.users),
		"/get-participant-ids/v1":             about(s.users),
		"/get-participant-data-quantities/v1": about(s.quantities),
		"/get-participant-table-data/v1":      about(s.table),
		"/get-interventions/v1":               about(s.interventions),
		"/get-survey-history/v1":              about(s.surveyHistory),
		"/get-summary-statistics/v1":          about(s.summary),
		"/get-study-settings/v1":              about(s.settings),
		"/get-data/v1":                        data(false),
		"/get-data/v2":                        data(true),
	}
}

// keyRoutes are those that need keys and no study, and the one that needs neither.
func (s *Server) keyRoutes() map[string]handler {
	with := func(next func(*answer, *http.Request, *account)) handler {
		return methods([]string{http.MethodPost}, func(w *answer, r *http.Request) { s.withKeys(w, r, next) })
	}
	return map[string]handler{
		"/get-studies/v1":                    with(s.listStudies),
		"/check-my-credentials/v1":           with(func(w *answer, _ *http.Request, _ *account) { io.WriteString(w, "OK") }), //nolint:errcheck // may be gone
		"/get-participant-upload-history/v1": with(s.uploadHistory),
		"/get-participant-file-hashes/v1":    with(s.fileHashes),
		"/background_processing_status":      func(w *answer, _ *http.Request) { w.WriteHeader(http.StatusOK) },
	}
}

// without takes away what a server of these options lacks.
func (s *Server) without(all map[string]handler) {
	o := s.options()
	for path, lacks := range map[string]bool{
		"/get-summary-statistics/v1":          o.NoSummary,
		"/get-participant-ids/v1":             o.NoSummary,
		"/get-participant-data-quantities/v1": o.NoSummary,
		"/get-study-settings/v1":              o.NoSettings,
		"/get-data/v2":                        !o.V2,
		"/get-participant-file-hashes/v1":     o.FileHashes < http.StatusInternalServerError,
		"/check-my-credentials/v1":            o.Generation != Current, // since 2026-02-18
	} {
		if lacks {
			delete(all, path)
		}
	}
}

// website are the pages for people.
func website(w *answer, r *http.Request, path string) {
	switch {
	case strings.HasPrefix(path, "/device_settings/"):
		deviceSettings(w, r)
	case path == "/validate_login":
		login(w, r)
	case path == "" || path == "/choose_study": // where a login leads
		page(w, http.StatusOK)
	default:
		page(w, http.StatusNotFound)
	}
}

// methods refuses the others before anything else is looked at.
func methods(allowed []string, next handler) handler {
	return func(w *answer, r *http.Request) {
		if slices.Contains(allowed, r.Method) {
			next(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fail(w, http.StatusMethodNotAllowed)
	}
}

// fail answers as the server does: without a word.
func fail(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", "0")
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
	text, _ := lookup(r, key)
	return text
}

// lookup tells a field that is empty from one that did not come.
func lookup(r *http.Request, key string) (text string, came bool) {
	v := r.PostForm[key]
	if len(v) == 0 {
		return "", false
	}
	return v[len(v)-1], true
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
	a, status := s.keysOf(r)
	if status != 0 {
		fail(w, status)
		return
	}
	next(w, r, a)
}

// withStudy checks in the order of the server: the study's form, the study, the keys, the relation of both.
func (s *Server) withStudy(w *answer, r *http.Request, next func(*answer, *http.Request, *study)) {
	st, status := s.studyOf(r)
	if status == 0 {
		var a *account
		if a, status = s.keysOf(r); status == 0 && !a.sees(st.ID) {
			status = http.StatusForbidden
		}
	}
	if status != 0 {
		fail(w, status)
		return
	}
	next(w, r, st)
}

// sees reports whether keys are related to a study.
func (a *account) sees(study string) bool {
	return a.studies == nil || slices.Contains(a.studies, study)
}

// studyOf finds the study by its id, or by the number of its row in the database where no id came.
func (s *Server) studyOf(r *http.Request) (*study, int) {
	id, came := lookup(r, "study_id")
	number, numbered := lookup(r, "study_pk")
	pk, err := strconv.Atoi(number)
	switch {
	case came && (len(id) != 24 || !charset(id, "")), !came && !numbered, !came && err != nil:
		return nil, http.StatusBadRequest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.studies[id]
	if !came {
		for _, other := range s.studies {
			if other.pk == pk {
				st = other
			}
		}
	}
	if st == nil || st.deleted {
		return nil, http.StatusNotFound
	}
	return st, 0
}
