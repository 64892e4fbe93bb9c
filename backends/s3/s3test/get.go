package s3test

import (
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// get answers GetObject and HeadObject.
func (x *exchange) get() *apiError {
	x.s.mu.Lock()
	o, ok := x.bucket.objects[x.log.Key]
	x.s.mu.Unlock()
	if !ok {
		return x.missing()
	}
	if err := x.readCondition(o); err != nil {
		return err
	}
	x.head(o)
	asked := x.r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED"
	if x.log.Op == "HeadObject" {
		x.fire.spoil(x.w.Header())
		if asked {
			x.tell(o.Checksum, true)
		}
		x.w.Header().Set("Content-Length", itoa(o.Size))
		x.w.WriteHeader(http.StatusOK)
		return nil
	}
	if o.archived(x.s.o.RestoreNow()) {
		return &apiError{status: http.StatusForbidden, code: "InvalidObjectState"}
	}
	off, n, partial, err := parseRange(x.log.Range, o.Size)
	if err != nil {
		x.w.Header().Set("Content-Range", "bytes */"+itoa(o.Size))
		return err
	}
	if asked && !partial {
		x.tell(o.Checksum, true) // of the whole, so not with a range
	}
	x.sendObject(o, answer{off: off, n: n, total: o.Size, partial: partial})
	return nil
}

// head sets the headers that tell of an object.
func (x *exchange) head(o Object) {
	h := x.w.Header()
	h.Set("ETag", o.ETag)
	h.Set("Last-Modified", o.ModTime.UTC().Truncate(time.Second).Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "binary/octet-stream")
	if o.ContentType != "" {
		h.Set("Content-Type", o.ContentType)
	}
	if o.Class != "" && o.Class != "STANDARD" {
		h.Set("x-amz-storage-class", o.Class)
	}
	now := x.s.o.RestoreNow()
	if header := o.restoring(now); header != "" {
		h.Set("x-amz-restore", header)
	}
	if cold := o.cold(now); cold != "" && cold != o.Class {
		h.Set("x-amz-archive-status", cold)
	}
	for k, v := range o.Meta {
		// In lower case, as AWS sends them, and encoded where not ASCII.
		h["x-amz-meta-"+k] = []string{mime.BEncoding.Encode("UTF-8", v)}
	}
}

// missing is 404 only to those who may list: keys without that right learn nothing (documentation of GetObject).
func (x *exchange) missing() *apiError {
	if x.key != nil && len(x.key.Grants) > 0 {
		may := false
		for _, g := range x.key.Grants {
			may = may || strings.HasPrefix(x.log.Key, g.Prefix)
		}
		if !may {
			return &apiError{status: http.StatusForbidden, code: "AccessDenied"}
		}
	}
	return &apiError{status: http.StatusNotFound, code: "NoSuchKey"}
}

// readCondition judges If-Match and its kin in the order of RFC 9110, 13.2.2.
func (x *exchange) readCondition(o Object) *apiError {
	h := x.r.Header
	if v := h.Get("If-Match"); v != "" && v != "*" && !sameETag(v, o.ETag) {
		return &apiError{status: http.StatusPreconditionFailed, code: "PreconditionFailed"}
	}
	mod := o.ModTime.Truncate(time.Second)
	if t, err := http.ParseTime(h.Get("If-Unmodified-Since")); err == nil && h.Get("If-Match") == "" && mod.After(t) {
		return &apiError{status: http.StatusPreconditionFailed, code: "PreconditionFailed"}
	}
	if v := h.Get("If-None-Match"); v != "" {
		if v == "*" || sameETag(v, o.ETag) {
			return &apiError{status: http.StatusNotModified}
		}
		return nil
	}
	if t, err := http.ParseTime(h.Get("If-Modified-Since")); err == nil && !mod.After(t) {
		return &apiError{status: http.StatusNotModified}
	}
	return nil
}

func sameETag(a, b string) bool { return strings.Trim(a, `"`) == strings.Trim(b, `"`) }

// parseRange reads one range; a header that is none is ignored, as RFC 9110 wants.
func parseRange(header string, size int64) (off, n int64, partial bool, err *apiError) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	from, to, found := strings.Cut(spec, "-")
	if !ok || !found || strings.Contains(spec, ",") {
		return 0, size, false, nil
	}
	bad := &apiError{status: http.StatusRequestedRangeNotSatisfiable, code: "InvalidRange"}
	if from == "" { // the last bytes
		k, perr := strconv.ParseInt(to, 10, 64)
		if k = min(k, size); perr != nil || k <= 0 {
			return 0, 0, false, bad
		}
		return size - k, k, true, nil
	}
	off, perr := strconv.ParseInt(from, 10, 64)
	if perr != nil || off >= size {
		return 0, 0, false, bad
	}
	if to == "" {
		return off, size - off, true, nil
	}
	last, perr := strconv.ParseInt(to, 10, 64)
	if perr != nil || last < off {
		return 0, size, false, nil
	}
	return off, min(last, size-1) - off + 1, true, nil
}

// answer is what of an object is sent; faults change it.
type answer struct {
	off, n, total int64
	partial       bool
	cut           int64         // stop after so many bytes if > 0
	reset         bool          // break the connection there rather than end it
	stall         time.Duration // be silent there before going on
	length        int64         // Content-Length to claim if > 0
	rangeShift    int64         // added to the offsets that Content-Range claims
}

// sendObject sends the head and the bytes.
func (x *exchange) sendObject(o Object, a answer) {
	x.fire.change(x, &a)
	h := x.w.Header()
	claim := a.n
	if a.length > 0 {
		claim = a.length
	}
	h.Set("Content-Length", itoa(claim))
	status := http.StatusOK
	if a.partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", a.off+a.rangeShift, a.off+a.rangeShift+a.n-1, a.total))
	}
	x.w.WriteHeader(status)
	r := io.NewSectionReader(o.Body, a.off, a.n)
	if a.cut > 0 {
		io.CopyN(x.w, r, min(a.cut, a.n)) //nolint:errcheck // the client may have left
		x.interrupt(a)
		if a.stall == 0 {
			return
		}
	}
	io.Copy(x.w, r) //nolint:errcheck // the client may have left
}

// interrupt stalls, or ends the connection before its time.
func (x *exchange) interrupt(a answer) {
	rc := http.NewResponseController(x.w)
	rc.Flush() //nolint:errcheck // the client may have left
	if a.stall > 0 {
		x.s.pause(x.r, a.stall)
		return
	}
	x.hangUp(a.reset)
}

// send writes a whole small answer, which faults may cut too.
func (x *exchange) send(status int, body []byte) {
	a := answer{n: int64(len(body)), total: int64(len(body))}
	x.fire.change(x, &a)
	if len(body) == 0 && a.cut > 0 {
		if x.cutHead(status, a) {
			return
		}
		a.cut = 0
	}
	x.w.Header().Set("Content-Length", itoa(max(a.length, int64(len(body)))))
	x.w.WriteHeader(status)
	if a.cut > 0 {
		x.w.Write(body[:min(a.cut, int64(len(body)))]) //nolint:errcheck // the client may have left
		x.interrupt(a)
		if a.stall == 0 {
			return
		}
		body = body[min(a.cut, int64(len(body))):]
	}
	x.w.Write(body) //nolint:errcheck // the client may have left
}

// cutHead is what becomes of an answer that has no body to be cut: the head ends early. It reports whether that was the end.
func (x *exchange) cutHead(status int, a answer) bool {
	switch {
	case a.stall > 0:
		x.s.pause(x.r, a.stall)
		return false
	case a.reset:
		x.hangUp(true)
		return true
	}
	x.began(status)
	conn, buf, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return true
	}
	fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nContent-Len", status, http.StatusText(status)) //nolint:errcheck // the client may have left
	buf.Flush()                                                                        //nolint:errcheck // the same
	conn.Close()                                                                       //nolint:errcheck // that is the point
	return true
}

// reply sends an XML document.
func (x *exchange) reply(document any) *apiError {
	body, err := xml.Marshal(document)
	if err != nil {
		return &apiError{status: http.StatusInternalServerError, code: "InternalError"}
	}
	x.w.Header().Set("Content-Type", "application/xml")
	x.send(http.StatusOK, append([]byte(xml.Header), body...))
	return nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
