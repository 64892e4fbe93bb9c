// Package s3test is a strict S3 server in the same process: an [http.Handler] that verifies signatures, knows keys limited to
// a prefix, answers as AWS documents where other test servers are lenient, and misbehaves on request. Tests assert on
// its request log; `studyfs demo` serves sample data with it.
//
// It is strict on purpose. What it does not implement is 501 and stands in the log, so a client that asks for more than it
// should is found out. Behaviour that is AWS's alone is marked with the page that says so.
package s3test

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what kind of service to be.
type Options struct {
	Region   string           // of new buckets; "" means us-east-1
	Now      func() time.Time // for Last-Modified of new objects and the age of signatures; nil means the system's clock
	Seed     uint64           // of the faults that come by chance
	Latency  time.Duration    // added before every answer
	PageSize int              // keys per listing page at most; 0 means 1,000
}

// Server holds buckets, keys, faults and the log. It is safe for concurrent use.
type Server struct {
	o      Options
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex // guards all below; never held while a body is sent
	rnd     *rand.Rand
	buckets map[string]*bucket
	keys    map[string]*accessKey
	rules   []*rule
	hooks   []func(Request)
	log     []*Request
}

// New returns a server without buckets and keys: nobody may do anything yet.
func New(o Options) *Server {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default
	}
	if o.PageSize <= 0 || o.PageSize > maxKeys {
		o.PageSize = maxKeys
	}
	return &Server{
		o: o, closed: make(chan struct{}), rnd: rand.New(rand.NewPCG(o.Seed, 1)),
		buckets: map[string]*bucket{}, keys: map[string]*accessKey{},
	}
}

// Close ends answers that stall. Call it before the HTTP server's own Close, which waits for them.
func (s *Server) Close() { s.once.Do(func() { close(s.closed) }) }

// Request is one line of the log.
type Request struct {
	Op        string // GetObject, ListObjectsV2, HeadBucket, …
	Bucket    string
	Key       string
	Query     url.Values // of the URL: prefix, delimiter, start-after, …
	Range     string
	IfMatch   string
	AccessKey string // "" for a request without a signature
	Status    int    // of the answer; 0 while it is being made
	Fault     Fault  // the fault that struck it, "" for none
	BytesOut  int64  // of the body
	Time      time.Time
}

// Requests returns the log so far, in the order in which the requests came in.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Request, len(s.log))
	for i, r := range s.log {
		out[i] = *r
	}
	return out
}

// Count tells how many requests of an operation came in; "" counts all.
func (s *Server) Count(op string) (n int) {
	for _, r := range s.Requests() {
		if op == "" || r.Op == op {
			n++
		}
	}
	return n
}

// Reset empties the log.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

// OnRequest calls f for every request before it is answered, from the goroutine that answers it: the place to replace an object at
// an exact point.
func (s *Server) OnRequest(f func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, f)
}

// exchange is one request and its answer.
type exchange struct {
	s      *Server
	w      *countingWriter
	r      *http.Request
	log    Request
	bucket *bucket
	key    *accessKey
}

// ServeHTTP answers one request. Paths are taken as they were sent: "a//b" and "./x" are keys.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: &countingWriter{ResponseWriter: w}, r: r}
	x.identify()
	line := x.log
	s.mu.Lock()
	f := s.pick(x.log)
	if f != nil {
		line.Fault = f.fault
	}
	s.log = append(s.log, &line)
	hooks := slices.Clone(s.hooks)
	s.mu.Unlock()
	for _, hook := range hooks {
		hook(x.log)
	}
	if s.o.Latency > 0 {
		s.pause(r, s.o.Latency)
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		line.Status, line.BytesOut = x.w.status, x.w.n
	}()
	w.Header().Set("x-amz-request-id", "0000000000000000")
	w.Header().Set("Server", "s3test")
	if f.before(x) {
		return
	}
	if err := x.authenticate(); err != nil {
		x.fail(err)
		return
	}
	x.dispatch(f)
}

// identify fills in what the log says of a request.
func (x *exchange) identify() {
	name, key, _ := strings.Cut(strings.TrimPrefix(x.r.URL.EscapedPath(), "/"), "/")
	x.log = Request{
		Bucket: unescape(name), Key: unescape(key), Query: x.r.URL.Query(),
		Range: x.r.Header.Get("Range"), IfMatch: x.r.Header.Get("If-Match"), Time: x.s.o.Now(),
	}
	x.log.AccessKey = credentialOf(x.r.Header.Get("Authorization"))
	x.log.Op = operation(x.r.Method, x.log)
}

func unescape(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

// operation names a request as AWS does, those that are not implemented here too, so that tests can assert that nobody
// asks for them.
func operation(method string, r Request) string {
	switch {
	case r.Bucket == "":
		return "ListBuckets"
	case r.Key != "":
		return objectOperation(method, r.Query)
	case method == http.MethodHead:
		return "HeadBucket"
	case r.Query.Get("list-type") == "2":
		return "ListObjectsV2"
	}
	for query, op := range map[string]string{
		"location": "GetBucketLocation", "versioning": "GetBucketVersioning", "acl": "GetBucketAcl", "policy": "GetBucketPolicy",
		"uploads": "ListMultipartUploads", "versions": "ListObjectVersions",
	} {
		if r.Query.Has(query) {
			return op
		}
	}
	return map[string]string{
		http.MethodGet: "ListObjects", http.MethodPut: "CreateBucket", http.MethodDelete: "DeleteBucket",
	}[method]
}

func objectOperation(method string, q url.Values) string {
	switch {
	case q.Has("uploadId") || q.Has("uploads"):
		return "Multipart"
	case q.Has("restore"):
		return "RestoreObject"
	}
	return map[string]string{
		http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodPut: "PutObject", http.MethodDelete: "DeleteObject",
	}[method]
}

func (x *exchange) dispatch(f *firing) {
	err := x.authorize()
	if err == nil {
		switch x.log.Op {
		case "HeadBucket":
			x.w.WriteHeader(http.StatusOK)
		case "ListObjectsV2":
			err = x.list(f)
		case "GetObject", "HeadObject":
			err = x.get(f)
		case "PutObject":
			err = x.put()
		case "DeleteObject":
			err = x.remove()
		default:
			err = &apiError{status: http.StatusNotImplemented, code: "NotImplemented"}
		}
	}
	if err != nil {
		x.fail(err)
	}
}

// pause waits, or until the client leaves or the server closes.
func (s *Server) pause(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-s.closed:
	}
}

type countingWriter struct {
	http.ResponseWriter
	status int
	n      int64
}

func (w *countingWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
