// Package beiwetest is a Beiwe server in this process: the data-access API of onnela-lab/beiwe-backend as a strict http.Handler over made-up data, with faults
// to order and a log of all requests. Tests use it, and the program's own demonstration.
//
// It follows what was read of, and tried with, the server's code: codes and their order, empty error bodies, member order by
// chance, the registry's rules of four generations of servers, with their mistakes. Its data is in memory, or made when asked for.
package beiwetest

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Generation tells how a server treats a registry.
type Generation uint8

// The generations, newest first.
const (
	Current   Generation = iota // since 2026-01-16: a full path with any value suppresses a file, changed or not
	SHA1Short                   // 2026-01-08 to 01-15
	SHA1Full                    // December 2025
	MD5                         // before
)

// Options of a Server.
type Options struct {
	Now        func() time.Time
	Seed       uint64 // of the order of members
	Generation Generation
	V2         bool     // get-data/v2 exists
	FileHashes int      // what get-participant-file-hashes answers for who has files: 500, or 404 if 0
	NoSummary  bool     // older than summary statistics
	NoSettings bool     // older than get-study-settings
	NaiveNames bool     // names without +00_00
	MD5Newline bool     // stored md5 values end in a newline
	Lacks      []string // streams that it does not know
	LagSurveys bool     // bytes of unchunked streams are not in the summary
}

// Server is the handler. It is safe for concurrent use.
type Server struct {
	o    Options
	stop chan struct{}
	once sync.Once

	mu      sync.Mutex // guards all below
	keys    map[string]*account
	studies map[string]*study
	faults  []*Fault
	log     []Request
	asked   uint64 // requests for data, for the order of members
}

type account struct {
	secret  string
	studies []string // nil: all of them
}

// New returns a server without studies and keys.
func New(o Options) *Server {
	o.clock()
	return &Server{o: o, stop: make(chan struct{}), keys: map[string]*account{}, studies: map[string]*study{}}
}

func (o *Options) clock() {
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
}

// Close ends answers that are held back.
func (s *Server) Close() { s.once.Do(func() { close(s.stop) }) }

// Configure changes the options of a running server: it is upgraded, or set back.
func (s *Server) Configure(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.o)
	s.o.clock()
}

// AddKey lets a pair of keys in, to these studies, or to all if none is given (a site administrator).
func (s *Server) AddKey(access, secret string, studies ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[access] = &account{secret, studies}
}

// RevokeKey ends a pair of keys.
func (s *Server) RevokeKey(access string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, access)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counted := &answer{ResponseWriter: w}
	entry := Request{Time: s.options().Now(), Method: r.Method, Path: strings.TrimSuffix(r.URL.Path, "/"), Query: r.URL.Query()}
	defer func() { s.finish(entry, counted) }()
	w.Header().Set("X-Frame-Options", "DENY")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := readForm(w, r); err != nil {
		fail(counted, http.StatusBadRequest)
		return
	}
	entry.Form = redact(r.PostForm)
	f := s.fault(entry.Path)
	if f != nil && s.before(counted, r, f) {
		return
	}
	s.route(counted, r, entry.Path, f)
}

// readForm reads the fields of a body in either form that a browser would send; other bodies hold none.
func readForm(w http.ResponseWriter, r *http.Request) error {
	const most = 128 << 20 // as the server's own limit
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		return err
	}
	if err := r.ParseMultipartForm(most); !errors.Is(err, http.ErrNotMultipart) {
		return err
	}
	return nil
}

// options are those of now: they change while requests are answered.
func (s *Server) options() Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o
}

// Request is one entry of the log.
type Request struct {
	Time    time.Time
	Method  string
	Path    string // without a slash at its end
	Query   url.Values
	Form    url.Values // secrets replaced
	Status  int
	Bytes   int64 // of the body
	Members int   // files sent, for data
}

// Log returns the requests so far.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// ResetLog forgets them.
func (s *Server) ResetLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

func (s *Server) finish(r Request, a *answer) {
	r.Status, r.Bytes, r.Members = a.status, a.bytes, a.members
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, r)
}

func redact(form url.Values) url.Values {
	out := url.Values{}
	for k, v := range form {
		if k == "secret_key" || k == "access_key" || k == "password" {
			v = []string{"…"}
		}
		out[k] = v
	}
	return out
}

// answer counts what goes out.
type answer struct {
	http.ResponseWriter
	status  int
	bytes   int64
	members int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.ResponseWriter.WriteHeader(status)
	}
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
