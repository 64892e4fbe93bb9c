package s3test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const maxParts = 10_000

// Upload is an upload in parts that was begun and neither completed nor aborted.
type Upload struct {
	Key, ID   string
	Initiated time.Time
	Parts     []Part // by number
}

// Part is one part of an Upload.
type Part struct {
	Number int
	Size   int64
	ETag   string // with quotes
}

type upload struct {
	id, key   string
	object    Object // without bytes: what CreateMultipartUpload said
	algorithm string // "" when the client named none; then it is CRC64NVME of the whole object
	composite bool
	initiated time.Time
	parts     map[int]part
}

type part struct {
	number  int
	body    io.ReaderAt
	size    int64
	md5     [md5.Size]byte
	sum     Checksum
	modTime time.Time
}

func (p part) etag() string { return `"` + hex.EncodeToString(p.md5[:]) + `"` }

// summing is the algorithm that the server itself uses for the upload.
func (u *upload) summing() string {
	if u.algorithm == "" {
		return crc64NVME
	}
	return u.algorithm
}

func (u *upload) kind() string { return Checksum{Composite: u.composite}.kind() }

// Uploads returns the unfinished uploads of a bucket by key, then age.
func (s *Server) Uploads(bucketName string) []Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil
	}
	var out []Upload
	for _, u := range b.unfinished() {
		described := Upload{Key: u.key, ID: u.id, Initiated: u.initiated}
		for _, p := range u.sorted() {
			described.Parts = append(described.Parts, Part{Number: p.number, Size: p.size, ETag: p.etag()})
		}
		out = append(out, described)
	}
	return out
}

// DropUpload forgets an unfinished upload, as a lifecycle rule does.
func (s *Server) DropUpload(bucketName, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil {
		delete(b.uploads, id)
	}
}

// unfinished returns the uploads by key, then by age. The caller holds the server's mu.
func (b *bucket) unfinished() []*upload {
	all := make([]*upload, 0, len(b.uploads))
	for _, u := range b.uploads {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *upload) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return all
}

// sorted returns the parts by number. The caller holds the server's mu.
func (u *upload) sorted() []part {
	all := make([]part, 0, len(u.parts))
	for _, p := range u.parts {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b part) int { return a.number - b.number })
	return all
}

type initiateResult struct {
	XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ InitiateMultipartUploadResult"`
	Bucket   string
	Key      string
	UploadID string `xml:"UploadId"`
}

// createMultipart answers CreateMultipartUpload.
func (x *exchange) createMultipart() *apiError {
	o, err := x.described()
	if err != nil {
		return err
	}
	u := &upload{key: x.log.Key, object: o, initiated: x.s.o.Now(), parts: map[int]part{}}
	if err := x.choose(u); err != nil {
		return err
	}
	x.s.mu.Lock()
	x.s.ids++
	u.id = fmt.Sprintf("%09d.%x_-", x.s.ids, md5.Sum([]byte(u.key))) //nolint:gosec // only to be opaque; a marker orders by it
	x.bucket.uploads[u.id] = u
	x.s.mu.Unlock()
	if u.algorithm != "" {
		x.w.Header().Set("x-amz-checksum-algorithm", u.algorithm)
		x.w.Header().Set("x-amz-checksum-type", u.kind())
	}
	return x.reply(initiateResult{Bucket: x.log.Bucket, Key: u.key, UploadID: u.id})
}

// choose reads which sums the upload shall have; which algorithms allow which type is in the user guide, "checking object integrity".
func (x *exchange) choose(u *upload) *apiError {
	if x.s.o.NoChecksums {
		return nil
	}
	algorithm, kind := x.r.Header.Get("X-Amz-Checksum-Algorithm"), x.r.Header.Get("X-Amz-Checksum-Type")
	switch {
	case algorithm == "" && kind != "":
		return invalid("InvalidRequest", "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.")
	case algorithm == "":
		return nil
	case newHash(algorithm) == nil:
		return invalid("InvalidRequest", "Checksum algorithm provided is unsupported.")
	case !allowed(algorithm, kind):
		return invalid("InvalidRequest", "The "+kind+" checksum type cannot be used with the "+algorithm+" checksum algorithm.")
	}
	u.algorithm = algorithm
	u.composite = kind == composite || kind == "" && algorithm != crc64NVME
	return nil
}

// allowed reports whether an algorithm can make sums of a type.
func allowed(algorithm, kind string) bool {
	switch kind {
	case "":
		return true
	case composite:
		return algorithm != crc64NVME
	case fullObject:
		return !strings.HasPrefix(algorithm, "SHA")
	}
	return false
}

// upload finds the upload and the part that the request is for; number is 0 where it names none.
func (x *exchange) upload() (u *upload, number int, err *apiError) {
	if v := x.log.Query.Get("partNumber"); v != "" {
		n, perr := strconv.Atoi(v)
		if perr != nil || n < 1 || n > maxParts {
			return nil, 0, invalid("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
		}
		number = n
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	u = x.bucket.uploads[x.log.Query.Get("uploadId")]
	if u == nil || u.key != x.log.Key {
		return nil, 0, noSuchUpload()
	}
	return u, number, nil
}

func noSuchUpload() *apiError {
	return &apiError{
		status: http.StatusNotFound, code: "NoSuchUpload",
		message: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
	}
}

// part answers UploadPart.
func (x *exchange) part() *apiError {
	u, number, err := x.upload()
	if err != nil {
		return err
	}
	if number == 0 {
		return invalid("InvalidArgument", "partNumber is missing")
	}
	p, err := x.receive(u.summing())
	if err != nil {
		return err
	}
	if err := x.fits(u, p.sum); err != nil {
		return err
	}
	added := part{number: number, body: bytes.NewReader(p.body), size: int64(len(p.body)), md5: p.md5, sum: p.sum}
	if err := x.add(u, added); err != nil {
		return err
	}
	x.w.Header().Set("ETag", added.etag())
	if x.saidSum() {
		x.tell(p.sum, false)
	}
	x.send(http.StatusOK, nil)
	return nil
}

// saidSum reports whether the client gave a sum with the body.
func (x *exchange) saidSum() bool {
	if x.r.Header.Get("X-Amz-Trailer") != "" {
		return true
	}
	return slices.ContainsFunc(algorithms(), func(name string) bool { return x.r.Header.Get(Checksum{Algorithm: name}.header()) != "" })
}

// fits refuses a part with other sums than its upload has, and one without where the upload's sum is made of them.
func (x *exchange) fits(u *upload, sum Checksum) *apiError {
	if x.s.o.NoChecksums {
		return nil
	}
	want, got := u.algorithm, "null"
	if want == "" {
		want = "null"
	}
	if x.saidSum() {
		got = sum.Algorithm
	}
	if sum.Algorithm != u.summing() || got == "null" && u.composite {
		return invalid("InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: "+strings.ToLower(want)+
			", actual checksum Type: "+strings.ToLower(got))
	}
	return nil
}

// add puts a part in its place, if the upload is still there.
func (x *exchange) add(u *upload, p part) *apiError {
	p.modTime = x.s.o.Now()
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	if x.bucket.uploads[u.id] != u {
		return noSuchUpload()
	}
	u.parts[p.number] = p
	return nil
}

// abort answers AbortMultipartUpload.
func (x *exchange) abort() *apiError {
	u, _, err := x.upload()
	if err != nil {
		return err
	}
	x.s.DropUpload(x.log.Bucket, u.id)
	x.send(http.StatusNoContent, nil)
	return nil
}
