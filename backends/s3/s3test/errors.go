package s3test

import (
	"encoding/xml"
	"net/http"
)

// apiError is an S3 error answer.
type apiError struct {
	status int
	code   string
	region string
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
	h := x.w.Header()
	for _, name := range []string{"ETag", "Last-Modified", "Accept-Ranges", "Content-Length"} {
		if e.status != http.StatusNotModified {
			h.Del(name)
		}
	}
	if x.r.Method == http.MethodHead || e.status == http.StatusNotModified {
		x.w.WriteHeader(e.status)
		return
	}
	body, err := xml.Marshal(errorBody{Code: e.code, Message: e.code, Region: e.region, RequestID: "0000000000000000"})
	if err != nil {
		body = nil
	}
	h.Set("Content-Type", "application/xml")
	x.w.WriteHeader(e.status)
	x.w.Write(append([]byte(xml.Header), body...)) //nolint:errcheck // the client may have left
}
