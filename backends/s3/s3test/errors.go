package s3test

import (
	"encoding/xml"
	"io"
	"net/http"
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
	if x.r.Header.Get("Expect") == "" {
		io.Copy(io.Discard, x.body) //nolint:errcheck // a client that is still sending may not hear an answer; what it sends is lost anyway
	}
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
	x.w.WriteHeader(e.status)
	x.w.Write(append([]byte(xml.Header), body...)) //nolint:errcheck // the client may have left
}
