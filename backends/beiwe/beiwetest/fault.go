package beiwetest

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// Kind is what goes wrong.
type Kind uint8

// The faults. Those of the zip concern requests for data only.
const (
	NoFirstByte   Kind = iota + 1 // silence for Delay, then 504
	GatewayFailed                 // 502 at once
	Maintenance                   // 503 with a line of text
	Broken                        // 500 with a page
	Forbidden                     // 403
	Reset                         // the connection ends before an answer
	Garbage                       // 200, but not what was asked for
	RedirectHTTPS                 // 301 to https
	RedirectAway                  // 307 to another host
	Truncate                      // the body ends after After members
	Cut                           // the body ends in the middle of member After+1
	MissingObject                 // the server misses the file of member After+1: to a client the same as Truncate
	Drip                          // Delay between members
	Stall                         // silence for ever after After members
	WrongCRC                      // a member's checksum does not match
	WrongSize                     // each member is a byte shorter than its header says, and the next follows at once
	BadNames                      // members that would leave the folder
	Twice                         // a member comes twice
	Deflate                       // a member claims to be compressed
	Bomb                          // a member unpacks to much more than is sent (v2), or claims to be huge
	UnknownStream                 // a member of a stream that nobody knows
	Truncated404                  // 404 without a body, as for a deleted participant
)

// Fault makes requests fail.
type Fault struct {
	Path  string // the beginning of the path, "" for all
	Kind  Kind
	After int           // members
	Count int           // how many requests, 0 for all
	Every int           // only each so many-th request, 0 for each
	Delay time.Duration // for the kinds that wait
	Hook  func()        // called before the answer, instead of or beside Kind

	seen, hit int
}

// Fail adds a fault.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault picks the one that strikes a request.
func (s *Server) fault(path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if !strings.HasPrefix(path, f.Path) || f.Count > 0 && f.hit >= f.Count {
			continue
		}
		f.seen++
		if f.Every > 1 && f.seen%f.Every != 0 {
			continue
		}
		f.hit++
		return f
	}
	return nil
}

const html = "<!doctype html>\n<html lang=\"en\"><head><title>Error</title></head><body><h1>Error</h1></body></html>\n"

// before does what happens before an answer begins, and reports whether that was all.
func (s *Server) before(w http.ResponseWriter, r *http.Request, f *Fault) bool {
	if f.Hook != nil {
		f.Hook()
	}
	page := func(status int, text string) bool {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, text) //nolint:errcheck // the client may be gone
		return true
	}
	switch f.Kind { //nolint:exhaustive // the others strike later
	case NoFirstByte:
		s.wait(r, f.Delay)
		return page(http.StatusGatewayTimeout, html)
	case GatewayFailed:
		return page(http.StatusBadGateway, html)
	case Maintenance:
		return page(http.StatusServiceUnavailable, "Beiwe is undergoing maintenance.\n")
	case Broken:
		return page(http.StatusInternalServerError, html)
	case Forbidden:
		return page(http.StatusForbidden, "")
	case Truncated404:
		return page(http.StatusNotFound, "")
	case Garbage:
		return page(http.StatusOK, "<html>please log in to this network</html>")
	case RedirectHTTPS:
		w.Header().Set("Location", "https://"+r.Host+r.URL.Path)
		return page(http.StatusMovedPermanently, "")
	case RedirectAway:
		w.Header().Set("Location", "http://elsewhere.invalid"+r.URL.Path)
		return page(http.StatusTemporaryRedirect, "")
	case Reset:
		abort(w, false)
		return true
	}
	return false
}

// wait holds an answer back, at most until the client leaves or the server closes.
func (s *Server) wait(r *http.Request, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-s.stop:
	}
}

// abort ends the connection. What was written goes out first where begun says that something was.
func abort(w http.ResponseWriter, begun bool) {
	c := http.NewResponseController(w)
	if begun {
		c.Flush() //nolint:errcheck // then nothing more
	}
	if conn, _, err := c.Hijack(); err == nil {
		conn.Close() //nolint:errcheck // on purpose
	}
}
