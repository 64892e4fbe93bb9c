package s3test

import (
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/hex"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Again is what a second CompleteMultipartUpload of the same upload is answered.
type Again uint8

// The answers to a second CompleteMultipartUpload.
const (
	AgainDone   Again = iota // 200 and the same result for an hour, as AWS does
	AgainGone                // NoSuchUpload, as MinIO and others do
	AgainJudged              // its conditions are judged anew: If-None-Match fails on the upload's own object
)

// replayed is for how long AgainDone answers.
const replayed = time.Hour

// completed is what a completed upload was answered.
type completed struct {
	key    string
	result completeResult
	at     time.Time
}

type completeRequest struct {
	XMLName xml.Name        `xml:"CompleteMultipartUpload"`
	Parts   []completedPart `xml:"Part"`
}

type completedPart struct {
	PartNumber int
	ETag       string
	sumFields
}

type completeResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUploadResult"`
	Location string
	Bucket   string
	Key      string
	ETag     string
	sumFields
	ChecksumType string `xml:",omitempty"`
}

// complete answers CompleteMultipartUpload: the one moment at which the object appears.
func (x *exchange) complete() *apiError {
	body, err := x.document()
	if err != nil {
		return err
	}
	var req completeRequest
	if xml.Unmarshal(body, &req) != nil || len(req.Parts) == 0 {
		return invalid("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	u, _, err := x.upload()
	if err != nil {
		return x.again(err)
	}
	x.s.mu.Lock()
	have := maps.Clone(u.parts)
	x.s.mu.Unlock()
	parts, err := x.chosen(u, have, req.Parts)
	if err != nil {
		return err
	}
	o := x.assemble(u, parts)
	if err := x.asDeclared(u, o); err != nil {
		return err
	}
	result := completeResult{
		Location: "http://" + x.r.Host + x.r.URL.EscapedPath(), Bucket: x.log.Bucket, Key: x.log.Key, ETag: o.ETag, sumFields: o.Checksum.fields(),
	}
	if o.Checksum.Value != "" {
		result.ChecksumType = o.Checksum.kind()
	}
	if err := x.finish(u, o, result); err != nil {
		return x.again(err)
	}
	return x.completion(result)
}

func (x *exchange) completion(r completeResult) *apiError {
	r.ETag = x.fire.etag(r.ETag)
	for _, name := range algorithms() {
		p := r.field(name)
		*p = x.fire.sum(*p)
	}
	return x.reply(r)
}

// finish makes the object out of the upload, unless that is gone by now or the condition does not hold.
func (x *exchange) finish(u *upload, o Object, result completeResult) *apiError {
	return x.store(o, func(err *apiError) *apiError {
		b := x.bucket
		switch {
		case b.uploads[u.id] != u:
			return noSuchUpload()
		case err != nil && err.status == http.StatusConflict:
			// "re-initiate the multipart upload and re-upload each part" (documentation of CompleteMultipartUpload).
			delete(b.uploads, u.id)
			return err
		case err != nil:
			return err
		}
		delete(b.uploads, u.id)
		b.done[u.id] = completed{u.key, result, x.s.o.Now()}
		return nil
	})
}

// again answers a request for an upload that is not there: err, unless it was completed before.
func (x *exchange) again(err *apiError) *apiError {
	x.s.mu.Lock()
	c, ok := x.bucket.done[x.log.Query.Get("uploadId")]
	old, had := x.bucket.objects[x.log.Key]
	judged := x.condition(old, had, false)
	x.s.mu.Unlock()
	late := x.s.o.Now().Sub(c.at) > replayed
	switch {
	case err.code != "NoSuchUpload", !ok, c.key != x.log.Key, late, x.s.o.Again == AgainGone:
		return err
	case x.s.o.Again == AgainJudged && judged != nil:
		return judged
	}
	return x.completion(c.result)
}

// chosen returns the parts that the request lists, or what is wrong with them.
func (x *exchange) chosen(u *upload, have map[int]part, listed []completedPart) ([]part, *apiError) {
	parts := make([]part, 0, len(listed))
	gap := false
	for i, l := range listed {
		if i > 0 && l.PartNumber <= listed[i-1].PartNumber {
			return nil, invalid("InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
		p, ok := have[l.PartNumber]
		if !ok || !sameETag(l.ETag, p.etag()) {
			return nil, invalid("InvalidPart", "One or more of the specified parts could not be found.")
		}
		if err := x.partSum(u, p, l); err != nil {
			return nil, err
		}
		gap = gap || l.PartNumber != i+1
		parts = append(parts, p)
	}
	for _, p := range parts[:len(parts)-1] {
		if p.size < x.s.o.MinPart {
			return nil, invalid("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
		}
	}
	if gap && u.algorithm != "" {
		// With sums the numbers must be consecutive from 1 on; else it is 500 (user guide, "checking object integrity for uploads").
		return nil, &apiError{status: http.StatusInternalServerError, code: "InternalError"}
	}
	return parts, nil
}

// partSum compares the sum that the request gives for a part.
func (x *exchange) partSum(u *upload, p part, l completedPart) *apiError {
	if x.s.o.NoChecksums {
		return nil
	}
	for _, name := range algorithms() {
		v := *l.field(name)
		if v != "" && (name != p.sum.Algorithm || v != p.sum.Value) {
			return invalid("InvalidPart", "One or more of the specified parts could not be found. The part's checksum did not match.")
		}
	}
	if u.composite && *l.field(u.algorithm) == "" {
		return invalid("InvalidRequest", "The upload was created using a "+strings.ToLower(u.algorithm)+
			" checksum. The complete request must include the checksum for each part. It was missing for part "+itoa(int64(p.number))+" in the request.")
	}
	return nil
}

// assemble joins the parts without copying them. The caller holds no lock: all bytes are summed.
func (x *exchange) assemble(u *upload, parts []part) Object {
	o := u.object
	o.ModTime = u.initiated // the object's date is that of CreateMultipartUpload (user guide, "mpuoverview")
	all := &joined{parts: parts}
	tags := md5.New() //nolint:gosec // what an ETag is
	for _, p := range parts {
		tags.Write(p.md5[:])
		o.Size += p.size
		all.ends = append(all.ends, o.Size)
	}
	o.Body = all
	o.ETag = `"` + hex.EncodeToString(tags.Sum(nil)) + "-" + itoa(int64(len(parts))) + `"`
	switch {
	case x.s.o.NoChecksums:
	case u.composite:
		o.Checksum = compositeOf(u.algorithm, parts)
	default:
		o.Checksum = sumOf(u.summing(), io.NewSectionReader(all, 0, o.Size))
	}
	return o
}

// asDeclared compares the object with what the request said of it.
func (x *exchange) asDeclared(u *upload, o Object) *apiError {
	h := x.r.Header
	if v := h.Get("X-Amz-Mp-Object-Size"); v != "" && v != itoa(o.Size) {
		return invalid("InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match what was computed.")
	}
	if x.s.o.NoChecksums {
		return nil
	}
	if v := h.Get("X-Amz-Checksum-Type"); v != "" && v != u.kind() {
		return invalid("InvalidRequest", "The upload was created using the "+u.kind()+" checksum mode. The complete request must use the same checksum mode.")
	}
	want, err := x.declared(nil)
	switch {
	case err != nil:
		return err
	case want.Value == "":
		return nil
	case want.Algorithm != u.summing():
		return invalid("InvalidRequest", "The checksum is of another algorithm than the upload was created with.")
	case want.Value != o.Checksum.Value && want.Value != strings.Split(o.Checksum.Value, "-")[0]:
		return invalid("BadDigest", "The "+want.Algorithm+" you specified did not match the calculated checksum.")
	}
	return nil
}

// joined reads parts as one.
type joined struct {
	parts []part
	ends  []int64 // where each part ends
}

// ReadAt implements [io.ReaderAt].
func (j *joined) ReadAt(p []byte, off int64) (n int, err error) {
	i, found := slices.BinarySearch(j.ends, off)
	if found {
		i++ // off is where part i ends
	}
	for n < len(p) {
		for i < len(j.parts) && j.parts[i].size == 0 {
			i++
		}
		if i == len(j.parts) {
			return n, io.EOF
		}
		in := off + int64(n) - (j.ends[i] - j.parts[i].size)
		want := min(int64(len(p)-n), j.parts[i].size-in)
		k, err := j.parts[i].body.ReadAt(p[n:int64(n)+want], in)
		n += k
		if int64(k) < want {
			return n, err
		}
		i++
	}
	return n, nil
}
