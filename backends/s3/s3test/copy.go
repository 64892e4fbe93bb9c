package s3test

import (
	"cmp"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type copyObjectResult struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyObjectResult"`
	copyResult
	ChecksumType string `xml:",omitempty"`
}

type copyPartResult struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CopyPartResult"`
	copyResult
}

type copyResult struct {
	LastModified string
	ETag         string
	sumFields
}

// copyObject answers CopyObject.
func (x *exchange) copyObject() *apiError {
	from, err := x.source()
	if err != nil {
		return err
	}
	o, err := x.described()
	if err != nil {
		return err
	}
	if from.Size > x.s.o.MaxPut {
		return tooLargeToCopy(x.s.o.MaxPut)
	}
	if err := x.direct(&o, from); err != nil {
		return err
	}
	o.Body, o.Size, o.ModTime = from.Body, from.Size, x.s.o.Now()
	o.Checksum = from.Checksum
	if !x.s.o.NoChecksums {
		if err := x.resum(&o); err != nil {
			return err
		}
	}
	o.ETag = from.ETag
	if strings.Contains(o.ETag, "-") { // of parts: a copy is one piece
		o.ETag = etagOf(io.NewSectionReader(o.Body, 0, o.Size))
	}
	if err := x.store(o, nil); err != nil {
		return err
	}
	res := copyObjectResult{copyResult: x.copied(o.ETag, o.Checksum, o.ModTime)}
	if o.Checksum.Value != "" {
		res.ChecksumType = o.Checksum.kind()
	}
	return x.reply(res)
}

func tooLargeToCopy(most int64) *apiError {
	return invalid("InvalidRequest", fmt.Sprintf("The specified copy source is larger than the maximum allowable size for a copy source: %d", most))
}

// direct fills in whose metadata the copy has. A copy onto itself that changes nothing is refused.
func (x *exchange) direct(o *Object, from Object) *apiError {
	switch x.r.Header.Get("X-Amz-Metadata-Directive") {
	case "REPLACE":
		return nil
	case "", "COPY":
		o.Meta, o.ContentType = from.Meta, from.ContentType
	default:
		return invalid("InvalidArgument", "Unknown metadata directive.")
	}
	bucketName, key, _ := copySource(x.r.Header.Get("X-Amz-Copy-Source"))
	if bucketName == x.log.Bucket && key == x.log.Key && classOf(*o) == classOf(from) {
		return invalid("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing "+
			"the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	return nil
}

func classOf(o Object) string {
	if o.Class == "" {
		return "STANDARD"
	}
	return o.Class
}

// resum gives the copy the sum that was asked for, else one like the source's. What a test made up without a sum, and large, keeps
// none: its bytes may be endless work.
func (x *exchange) resum(o *Object) *apiError {
	asked := x.r.Header.Get("X-Amz-Checksum-Algorithm")
	if asked != "" && newHash(asked) == nil {
		return invalid("InvalidRequest", "Checksum algorithm provided is unsupported.")
	}
	had := o.Checksum
	want := cmp.Or(asked, had.Algorithm, crc64NVME)
	switch {
	case had.Value != "" && !had.Composite && had.Algorithm == want:
	case had.Value == "" && asked == "" && o.Size > summed:
	default:
		o.Checksum = sumOf(want, io.NewSectionReader(o.Body, 0, o.Size))
	}
	return nil
}

// etagOf is the ETag of bytes stored in one piece.
func etagOf(r io.Reader) string {
	var p payload
	h := md5.New() //nolint:gosec // what an ETag is
	io.Copy(h, r)  //nolint:errcheck // a hash takes everything
	h.Sum(p.md5[:0])
	return p.etag()
}

// copied is the result of a copy, spoiled if a fault strikes.
func (x *exchange) copied(etag string, sum Checksum, at time.Time) copyResult {
	sum.Value = x.fire.sum(sum.Value)
	return copyResult{LastModified: stamp(at), ETag: x.fire.etag(etag), sumFields: sum.fields()}
}

// copySource reads x-amz-copy-source: "/bucket/key" or "bucket/key", URL-encoded, where a plus is a space.
func copySource(header string) (bucketName, key string, ok bool) {
	path, query, _ := strings.Cut(header, "?")
	decoded, err := url.QueryUnescape(path)
	bucketName, key, found := strings.Cut(strings.TrimPrefix(decoded, "/"), "/")
	return bucketName, key, err == nil && found && key != "" && query == ""
}

// source finds what is to be copied and judges the caller's right to it and the conditions on it.
func (x *exchange) source() (o Object, err *apiError) {
	bucketName, key, ok := copySource(x.r.Header.Get("X-Amz-Copy-Source"))
	if !ok {
		return o, invalid("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	x.s.mu.Lock()
	b := x.s.buckets[bucketName]
	var had bool
	if b != nil {
		o, had = b.objects[key]
	}
	x.s.mu.Unlock()
	owner := x.r.Header.Get("X-Amz-Source-Expected-Bucket-Owner")
	switch {
	case b == nil:
		return o, &apiError{status: http.StatusNotFound, code: "NoSuchBucket"}
	case !x.mayRead(b, key), owner != "" && owner != b.owner:
		return o, &apiError{status: http.StatusForbidden, code: "AccessDenied"}
	case !had:
		return o, &apiError{status: http.StatusNotFound, code: "NoSuchKey"}
	case o.archived(x.s.o.RestoreNow()):
		return o, &apiError{status: http.StatusForbidden, code: "ObjectNotInActiveTierError"}
	}
	return o, x.sourceCondition(o)
}

// sourceCondition judges x-amz-copy-source-if-…; a match outranks a date (documentation of CopyObject).
func (x *exchange) sourceCondition(o Object) *apiError {
	if x.s.o.NoCopyConditions {
		return nil
	}
	get := func(name string) string { return x.r.Header.Get("X-Amz-Copy-Source-If-" + name) }
	match, none := get("Match"), get("None-Match")
	mod := o.ModTime.Truncate(time.Second)
	since, serr := http.ParseTime(get("Modified-Since"))
	until, uerr := http.ParseTime(get("Unmodified-Since"))
	switch {
	case match != "" && match != "*" && !sameETag(match, o.ETag),
		match == "" && uerr == nil && mod.After(until),
		none != "" && (none == "*" || sameETag(none, o.ETag)),
		none == "" && serr == nil && !mod.After(since):
		return failed()
	}
	return nil
}

// partCopy answers UploadPartCopy.
func (x *exchange) partCopy() *apiError {
	u, number, err := x.upload()
	if err != nil {
		return err
	}
	from, err := x.source()
	if err != nil {
		return err
	}
	off, n, err := sourceRange(x.r.Header.Get("X-Amz-Copy-Source-Range"), from.Size)
	switch {
	case err != nil:
		return err
	case number == 0:
		return invalid("InvalidArgument", "partNumber is missing")
	case n > x.s.o.MaxPut:
		return tooLargeToCopy(x.s.o.MaxPut)
	}
	p := part{number: number, body: io.NewSectionReader(from.Body, off, n), size: n}
	h := md5.New()                                //nolint:gosec // what an ETag is
	io.Copy(h, io.NewSectionReader(p.body, 0, n)) //nolint:errcheck // a hash takes everything
	h.Sum(p.md5[:0])
	if !x.s.o.NoChecksums {
		p.sum = sumOf(u.summing(), io.NewSectionReader(p.body, 0, n))
	}
	if err := x.add(u, p); err != nil {
		return err
	}
	told := p.sum
	if u.algorithm == "" {
		told = Checksum{}
	}
	return x.reply(copyPartResult{copyResult: x.copied(p.etag(), told, x.s.o.Now())})
}

// sourceRange reads "bytes=first-last", both ends given and within the object (documentation of UploadPartCopy).
func sourceRange(header string, size int64) (off, n int64, err *apiError) {
	if header == "" {
		return 0, size, nil
	}
	var last int64
	read, serr := fmt.Sscanf(header, "bytes=%d-%d", &off, &last)
	if serr != nil || read != 2 || header != fmt.Sprintf("bytes=%d-%d", off, last) {
		return 0, 0, invalid("InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last")
	}
	if off < 0 || last < off || last >= size {
		return 0, 0, invalid("InvalidArgument", fmt.Sprintf("Range specified is not valid for source object of size: %d", size))
	}
	return off, last - off + 1, nil
}
