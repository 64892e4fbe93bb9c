// Package s3test is a strict S3 server in the same process: an [http.Handler] that verifies signatures, knows keys limited to
// a prefix, answers as AWS documents where other test servers are lenient, and misbehaves on request. Tests assert on
// its request log; `studyfs demo` serves sample data with it.
//
// It is strict on purpose. What it does not implement is 501 and stands in the log, so a client that asks for more than it
// should is found out. Behaviour that is AWS's alone is marked with the page that says so.
//
// Writes are whole objects, copies, and uploads in parts, under conditions and with checksums. Not here: versions, encryption,
// tags, access control lists, object lock, and the signatures of single chunks.
package s3test

import (
	"cmp"
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
	PageSize int              // keys, parts or uploads per listing page at most; 0 means 1,000
	Owner    string           // account that new buckets belong to; "" means 111122223333
	MinPart  int64            // bytes of every part but the last; 0 means 5 MiB
	MaxPut   int64            // bytes of one PutObject, part or copy at most; 0 means 5 GiB
	Again    Again            // what a second CompleteMultipartUpload is answered

	// Lesser services, and an older one.
	NoConditions     bool // ignores If-Match and If-None-Match of writes and deletes
	NoCopyConditions bool // ignores x-amz-copy-source-if-…
	NoChecksums      bool // knows no x-amz-checksum-…; Content-MD5 and the signed payload hash are still verified
	LegacyCreate     bool // creating one's own bucket again succeeds, as in us-east-1
	NoRestoreStatus  bool // listings do not tell of restores

	// RestoreNow is the clock of restores alone, which tests let jump by hours (signatures would be too old by Now); nil means Now.
	RestoreNow func() time.Time
	// RestoreTime is how long a restore takes from an archive in a tier; nil means the package's RestoreTime.
	RestoreTime func(class, tier string) time.Duration
}

// Server holds buckets, keys, faults and the log. It is safe for concurrent use.
type Server struct {
	o      Options
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex // guards all below and the buckets; never held while a body is read, summed or sent
	rnd     *rand.Rand
	ids     int64 // of uploads, so far
	buckets map[string]*bucket
	keys    map[string]*accessKey
	rules   []*rule
	hooks   []func(Request)
	log     []*Request
}

// New returns a server without buckets and keys: nobody may do anything yet.
func New(o Options) *Server {
	o.Region, o.Owner = cmp.Or(o.Region, defaultRegion), cmp.Or(o.Owner, defaultOwner)
	o.MinPart, o.MaxPut = cmp.Or(o.MinPart, 5<<20), cmp.Or(o.MaxPut, 5<<30)
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default
	}
	if o.RestoreNow == nil {
		o.RestoreNow = o.Now
	}
	if o.RestoreTime == nil {
		o.RestoreTime = RestoreTime
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
	Op          string // GetObject, ListObjectsV2, HeadBucket, … or one of the Op constants
	Bucket      string
	Key         string
	Query       url.Values // of the URL: prefix, delimiter, start-after, partNumber, uploadId, …
	Range       string
	IfMatch     string
	IfNoneMatch string
	AccessKey   string // "" for a request without a signature
	Status      int    // of the answer; 0 while it is being made
	Fault       Fault  // the fault that struck it, "" for none
	BytesIn     int64  // of the request's body, as far as it was read before the answer; its framing included
	BytesOut    int64  // of the answer's body; complete only some time after the client has it
	Time        time.Time
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
	body   *countingReader // the request's
	log    Request
	line   *Request // in the server's log; guarded by its mu
	fire   *firing  // nil is none
	bucket *bucket
	seen   uint64 // the bucket's changes of the key when the request came in
	key    *accessKey
}

// ServeHTTP answers one request. Paths are taken as they were sent: "a//b" and "./x" are keys.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, r: r, body: &countingReader{r: r.Body}}
	x.w = &countingWriter{ResponseWriter: w, began: x.began}
	x.identify()
	line := x.log
	x.line = &line
	s.mu.Lock()
	x.fire = s.pick(x.log)
	if x.fire != nil {
		line.Fault = x.fire.fault
	}
	if x.bucket = s.buckets[x.log.Bucket]; x.bucket != nil {
		x.seen = x.bucket.changes[x.log.Key]
	}
	s.log = append(s.log, x.line)
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
		line.BytesIn, line.BytesOut = x.body.n, x.w.n
	}()
	w.Header().Set("x-amz-request-id", "0000000000000000")
	w.Header().Set("Server", "s3test")
	if !x.fire.before(x) {
		if err := x.dispatch(); err != nil {
			x.fail(err)
		}
		x.fire.after(x)
	}
	x.linger()
}

// began writes the status into the log before the client can have seen it.
func (x *exchange) began(status int) {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.line.Status = status
}

// identify fills in what the log says of a request.
func (x *exchange) identify() {
	name, key, _ := strings.Cut(strings.TrimPrefix(x.r.URL.EscapedPath(), "/"), "/")
	x.log = Request{
		Bucket: unescape(name), Key: unescape(key), Query: x.r.URL.Query(),
		Range: x.r.Header.Get("Range"), IfMatch: x.r.Header.Get("If-Match"), IfNoneMatch: x.r.Header.Get("If-None-Match"),
		Time: x.s.o.Now(),
	}
	x.log.AccessKey = credentialOf(x.r.Header.Get("Authorization"))
	x.log.Op = operation(x.r, x.log)
}

func unescape(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

func (x *exchange) dispatch() *apiError {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := x.authorize(); err != nil {
		return err
	}
	if handle := handlers()[x.log.Op]; handle != nil {
		return handle(x)
	}
	return &apiError{status: http.StatusNotImplemented, code: "NotImplemented"}
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
	began func(status int)
	lost  bool   // nothing is sent
	late  func() // waits before anything is sent, nil for not
	n     int64
}

func (w *countingWriter) WriteHeader(status int) {
	if w.late != nil {
		w.late()
	}
	w.began(status)
	if !w.lost {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write is always preceded by WriteHeader here.
func (w *countingWriter) Write(p []byte) (int, error) {
	if w.lost {
		return len(p), nil
	}
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
