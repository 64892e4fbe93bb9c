package s3test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Fault is a way to misbehave.
type Fault string

// The faults. Those that answer an error do so instead of the real answer; the others spoil it.
const (
	SlowDown           Fault = "SlowDown"           // 503, throttling
	InternalError      Fault = "InternalError"      // 500
	AccessDenied       Fault = "AccessDenied"       // 403
	ExpiredToken       Fault = "ExpiredToken"       // 400
	InvalidAccessKeyID Fault = "InvalidAccessKeyId" // 403
	Redirect           Fault = "Redirect"           // 307 to another host
	Garbage            Fault = "Garbage"            // 200 with a login page, as captive portals do
	Refuse             Fault = "Refuse"             // the connection is reset before any answer
	Truncate           Fault = "Truncate"           // the body ends early, against its Content-Length
	Reset              Fault = "Reset"              // the connection is reset in the middle of the body
	Stall              Fault = "Stall"              // silence in the middle of the body for Rule.Wait, then on
	Delay              Fault = "Delay"              // silence before the answer for Rule.Wait
	ShortRange         Fault = "ShortRange"         // 206 with fewer bytes than asked for, its headers consistent
	WrongRange         Fault = "WrongRange"         // 206 with the bytes of another place, its headers consistent
	LyingRange         Fault = "LyingRange"         // 206 whose Content-Range is not what was asked for
	FullBody           Fault = "FullBody"           // 200 with the whole object instead of 206
	WrongETag          Fault = "WrongETag"          // the ETag of another version
	NoETag             Fault = "NoETag"             // none at all
	WrongTotal         Fault = "WrongTotal"         // Content-Range names another total size
)

// The faults that are for writes. Of those above, Reset and Stall strike in the middle of the body that put and part send, so that
// nothing is stored by a Reset; all others that spoil an answer spoil that of a request that was carried out. Those of ranges
// leave writes alone.
const (
	Lost      Fault = "Lost"      // the request is carried out, then the connection is reset: the answer is lost
	Late      Fault = "Late"      // the request is carried out, then there is silence before the answer for Rule.Wait
	ErrorBody Fault = "ErrorBody" // 200 with an InternalError in the body for complete, copy and part-copy; 500 for others
	Conflict  Fault = "Conflict"  // 409 ConditionalRequestConflict; complete loses its upload, as AWS has it
	BitFlip   Fault = "BitFlip"   // one bit of the body of put and part changes on its way in
	WrongSum  Fault = "WrongSum"  // the answer names another checksum than the right one
	// NoCapacity is what an expedited restore is answered at busy times: 503 GlacierExpeditedRetrievalNotAvailable. No other request is struck.
	NoCapacity Fault = "NoCapacity"
)

// WriteFaults returns all faults that make a difference to writes.
func WriteFaults() []Fault {
	return []Fault{
		SlowDown, InternalError, AccessDenied, ExpiredToken, InvalidAccessKeyID, Redirect, Garbage, Refuse, Truncate, Reset,
		Stall, Delay, WrongETag, NoETag, Lost, Late, ErrorBody, Conflict, BitFlip, WrongSum,
	}
}

// Faults returns all faults that make a difference to reads.
func Faults() []Fault {
	return []Fault{
		SlowDown, InternalError, AccessDenied, ExpiredToken, InvalidAccessKeyID, Redirect, Garbage, Refuse, Truncate, Reset,
		Stall, Delay, ShortRange, WrongRange, LyingRange, FullBody, WrongETag, NoETag, WrongTotal,
	}
}

// Rule says when to misbehave and how.
type Rule struct {
	Op    string        // "" is any
	Key   string        // prefix of the key; "" is any
	Share float64       // of the requests that match, by the server's seed; 0 means all
	Times int           // how often at most; 0 means without end
	Skip  int           // how many that match go by unharmed first
	Wait  time.Duration // for Stall, Delay and Late; 0 means 50 ms
	Fault Fault
}

type rule struct {
	Rule
	seen, done int
}

// firing is a rule that has struck one request; nil is none.
type firing struct {
	fault  Fault
	wait   time.Duration
	struck bool // in the request's body already
}

// Inject adds a rule and returns what removes it. The first rule that matches a request decides.
func (s *Server) Inject(r Rule) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Wait == 0 {
		r.Wait = 50 * time.Millisecond
	}
	added := &rule{Rule: r}
	s.rules = append(s.rules, added)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, have := range s.rules {
			if have == added {
				s.rules = append(s.rules[:i:i], s.rules[i+1:]...)
				return
			}
		}
	}
}

// pick finds the rule that strikes a request. The caller holds mu.
func (s *Server) pick(r Request) *firing {
	for _, rule := range s.rules {
		if rule.Op != "" && rule.Op != r.Op || !strings.HasPrefix(r.Key, rule.Key) {
			continue
		}
		if rule.Times > 0 && rule.done >= rule.Times {
			continue
		}
		rule.seen++
		if rule.seen <= rule.Skip || rule.Share > 0 && s.rnd.Float64() >= rule.Share {
			continue
		}
		rule.done++
		return &firing{fault: rule.Fault, wait: rule.Wait}
	}
	return nil
}

// before answers in place of the real answer; false: there will be a real one.
func (f *firing) before(x *exchange) bool {
	if f == nil {
		return false
	}
	if e := f.refusal(x.log.Op); e != nil {
		if f.fault == Conflict && x.log.Op == OpComplete {
			x.s.DropUpload(x.log.Bucket, x.log.Query.Get("uploadId"))
		}
		x.fail(e)
		return true
	}
	switch f.fault {
	case Redirect:
		x.discard()
		x.w.Header().Set("Location", "http://127.0.0.1:9/elsewhere")
		x.whole(http.StatusTemporaryRedirect, nil)
		return true
	case Garbage:
		x.discard()
		x.w.Header().Set("Content-Type", "text/html")
		x.whole(http.StatusOK, []byte("<!doctype html><html><body>Please log in to use this network.</body></html>"))
		return true
	case Refuse:
		x.hangUp(true)
		return true
	case Lost:
		x.w.lost = true
	case Late:
		x.w.late = func() { x.s.pause(x.r, f.wait) }
	case Delay:
		x.s.pause(x.r, f.wait)
	default: // strikes later, when the answer is sent
	}
	return false
}

// refusal is the error that is answered instead of carrying a request out, nil for other faults.
func (f *firing) refusal(op string) *apiError {
	switch f.fault {
	case SlowDown:
		return &apiError{status: http.StatusServiceUnavailable, code: "SlowDown"}
	case InternalError:
		return &apiError{status: http.StatusInternalServerError, code: "InternalError"}
	case AccessDenied:
		return &apiError{status: http.StatusForbidden, code: "AccessDenied"}
	case ExpiredToken:
		return &apiError{status: http.StatusBadRequest, code: "ExpiredToken"}
	case InvalidAccessKeyID:
		return &apiError{status: http.StatusForbidden, code: "InvalidAccessKeyId"}
	case Conflict:
		return conflict()
	default:
		return f.refusalOf(op)
	}
}

// refusalOf is refusal for the faults that depend on the operation.
func (f *firing) refusalOf(op string) *apiError {
	switch {
	case f.fault == ErrorBody && (op == OpComplete || op == OpCopy || op == OpPartCopy):
		return &apiError{status: http.StatusOK, code: "InternalError"}
	case f.fault == ErrorBody:
		return &apiError{status: http.StatusInternalServerError, code: "InternalError"}
	case f.fault == NoCapacity && op == OpRestore:
		return &apiError{
			status: http.StatusServiceUnavailable, code: "GlacierExpeditedRetrievalNotAvailable",
			message: "Glacier expedited retrievals are currently not available, please try again later",
		}
	}
	return nil
}

// change spoils an answer that is about to be sent.
func (f *firing) change(x *exchange, a *answer) {
	if f == nil {
		return
	}
	f.spoil(x.w.Header())
	switch f.fault {
	case Truncate, Reset, Stall:
		if f.struck {
			return
		}
		a.cut = max(1, a.n/2)
		a.reset = f.fault == Reset
		if f.fault == Stall {
			a.stall = f.wait
		}
	default:
		if a.partial {
			f.changeRange(a)
		}
	}
}

// after ends the connection of a request whose answer was to be lost.
func (f *firing) after(x *exchange) {
	if f != nil && f.fault == Lost {
		x.hangUp(true)
	}
}

// inBody strikes in the middle of a body of size bytes that is about to be read; true: that was the end of the request.
func (f *firing) inBody(x *exchange, size int64) bool {
	if f == nil || f.fault != Reset && f.fault != Stall || size == 0 {
		return false
	}
	f.struck = true
	half := make([]byte, size/2)
	n, _ := io.ReadFull(x.body, half) // the rest will tell
	x.arrived()
	if f.fault == Reset {
		x.hangUp(true)
		return true
	}
	x.s.pause(x.r, f.wait)
	x.body.r = io.MultiReader(bytes.NewReader(half[:n]), x.body.r)
	x.body.n = 0 // what was read is read again
	return false
}

// flip changes a bit of a body that came in.
func (f *firing) flip(body []byte) {
	if f != nil && f.fault == BitFlip && len(body) > 0 {
		body[len(body)/2] ^= 1
	}
}

// etag is what the answer says instead of an ETag.
func (f *firing) etag(right string) string {
	switch {
	case f != nil && f.fault == WrongETag:
		return `"00000000000000000000000000000bad"`
	case f != nil && f.fault == NoETag:
		return ""
	}
	return right
}

// sum is what the answer says instead of a checksum.
func (f *firing) sum(right string) string {
	if f == nil || f.fault != WrongSum || right == "" {
		return right
	}
	wrong := []byte(right)
	wrong[0] = 'A' + (wrong[0]-'A'+1)%26
	return string(wrong)
}

// spoil changes the ETag in a head.
func (f *firing) spoil(h http.Header) {
	if had := h.Get("ETag"); had != "" {
		h.Del("ETag")
		if now := f.etag(had); now != "" {
			h.Set("ETag", now)
		}
	}
}

// changeRange spoils a 206.
func (f *firing) changeRange(a *answer) {
	switch f.fault {
	case ShortRange:
		a.n = max(1, a.n/2)
	case WrongRange:
		if a.off > 0 {
			a.off--
		} else if a.off+a.n < a.total {
			a.off++
		}
	case LyingRange:
		a.rangeShift = 1
	case WrongTotal:
		a.total++
	case FullBody:
		a.off, a.n, a.partial = 0, a.total, false
	default: // was struck before
	}
}

// hangUp ends the connection now, with a reset if asked for.
func (x *exchange) hangUp(reset bool) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return // HTTP/2: the handler's return will have to do
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0) //nolint:errcheck // then it is an orderly end, which is a fault too
	}
	conn.Close() //nolint:errcheck // that is the point
}
