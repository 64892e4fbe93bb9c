package s3test

import (
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"time"
)

// apiError is an S3 error answer.
type apiError struct {
	status  int // 0: the connection is gone, there is nobody to tell
	code    string
	message string // "" is the code again
	region  string
}

// invalid is an answer 400.
func invalid(code, message string) *apiError {
	return &apiError{status: http.StatusBadRequest, code: code, message: message}
}

type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Region    string `xml:",omitempty"`
	RequestID string `xml:"RequestId"`
}

// fail sends an error: to HEAD without a body, as AWS does, so that clients must live with the status alone.
func (x *exchange) fail(e *apiError) {
	if e.status == 0 {
		return
	}
	x.discard()
	h := x.w.Header()
	for _, name := range []string{"ETag", "Last-Modified", "Accept-Ranges", "Content-Length", "x-amz-checksum-type"} {
		if e.status != http.StatusNotModified {
			h.Del(name)
		}
	}
	if x.r.Method == http.MethodHead || e.status == http.StatusNotModified {
		x.w.WriteHeader(e.status)
		return
	}
	if e.message == "" {
		e.message = e.code
	}
	body, err := xml.Marshal(errorBody{Code: e.code, Message: e.message, Region: e.region, RequestID: "0000000000000000"})
	if err != nil {
		body = nil
	}
	h.Set("Content-Type", "application/xml")
	x.whole(e.status, append([]byte(xml.Header), body...))
}

// whole sends an answer that is all there, with its length, so that a client knows where it ends while the server still listens.
func (x *exchange) whole(status int, body []byte) {
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.w.WriteHeader(status)
	x.w.Write(body) //nolint:errcheck // the client may have left
}

// discard reads what a client sends without being asked, before the answer: one that is still sending may not hear it.
func (x *exchange) discard() {
	if x.r.Header.Get("Expect") == "" {
		io.Copy(io.Discard, x.body) //nolint:errcheck // what it sends is lost anyway
	}
}

// linger listens on after an answer that came before the end of a body whose client was to wait for leave to send it: one that lost
// its patience (Go's after a second) is sending, and closing the connection on what it sends would be a reset that takes the answer with it.
// What comes is not in the log. A client that heard the answer hangs up, which ends this; so does the deadline.
func (x *exchange) linger() {
	const (
		most     = 64 << 20
		patience = 5 * time.Second
	)
	if x.r.Header.Get("Expect") == "" || x.r.ContentLength == 0 {
		return
	}
	c := http.NewResponseController(x.w)
	until := time.Now().Add(patience) //nolint:forbidigo // a connection's deadline is in the system's time, whatever the objects' is
	if c.Flush() != nil || c.SetReadDeadline(until) != nil {
		return
	}
	io.CopyN(io.Discard, x.r.Body, most) //nolint:errcheck // how it ended makes no difference
}
