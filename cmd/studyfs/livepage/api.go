package livepage

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
)

// state is what the page asks for again and again. It grows with the number of sources, not with that of files.
type state struct {
	View    View   `json:"view"`
	History recent `json:"history"`
	Queue   page   `json:"queue"`
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/state", s.state)
	mux.HandleFunc("POST /api/act", s.act)
	mux.Handle("GET /metrics", s.metrics)
	return mux
}

// state answers with how things are, or that they are as the browser knows them.
func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	ask := r.URL.Query()
	number := func(name string) int {
		n, err := strconv.Atoi(ask.Get(name))
		if err != nil {
			return 0
		}
		return n
	}
	q := query{Show: ask.Get("show"), Find: ask.Get("find"), From: number("from"), Rows: number("rows")}
	body, err := json.Marshal(state{View: s.o.Mount.View(), History: s.history.since(number("since")), Queue: q.of(s.o.Mount.Items())})
	if err != nil {
		http.Error(w, "the state cannot be told", http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	answer(w, http.StatusOK, body)
}

// act does what somebody has clicked.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "JSON is expected", http.StatusUnsupportedMediaType)
		return
	}
	var a Action
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || !a.known() {
		http.Error(w, "this is not something that can be asked for", http.StatusBadRequest)
		return
	}
	var done struct {
		Problem *Problem `json:"problem,omitempty"`
	}
	status := http.StatusOK
	if done.Problem = s.o.Mount.Act(r.Context(), a); done.Problem != nil {
		status = http.StatusConflict
	}
	body, err := json.Marshal(done)
	if err != nil {
		http.Error(w, "the answer cannot be told", http.StatusInternalServerError)
		return
	}
	answer(w, status, body)
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	bytes.NewReader(body).WriteTo(w) //nolint:errcheck // the browser may be gone
}
