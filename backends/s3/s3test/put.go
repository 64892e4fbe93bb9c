package s3test

import (
	"bufio"
	"bytes"
	"crypto/md5" //nolint:gosec // Content-MD5 is what it is
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// put answers PutObject: conditions, checksums, aws-chunked bodies.
func (x *exchange) put() *apiError {
	body, trailer, err := x.readBody()
	if err != nil {
		return &apiError{status: http.StatusBadRequest, code: "IncompleteBody"}
	}
	if e := x.checkSums(body, trailer); e != nil {
		return e
	}
	o := Bytes(body)
	o.Class = x.r.Header.Get("X-Amz-Storage-Class")
	o.Meta = map[string]string{}
	for name := range x.r.Header {
		if k, ok := strings.CutPrefix(strings.ToLower(name), "x-amz-meta-"); ok {
			o.Meta[k] = x.r.Header.Get(name)
		}
	}
	old, had := x.s.Object(x.log.Bucket, x.log.Key)
	if e := writeCondition(x.r.Header, old, had); e != nil {
		return e
	}
	x.w.Header().Set("ETag", x.s.Put(x.log.Bucket, x.log.Key, o))
	x.w.WriteHeader(http.StatusOK)
	return nil
}

func writeCondition(h http.Header, old Object, had bool) *apiError {
	failed := &apiError{status: http.StatusPreconditionFailed, code: "PreconditionFailed"}
	if h.Get("If-None-Match") == "*" && had {
		return failed
	}
	if v := h.Get("If-Match"); v != "" {
		if !had {
			return &apiError{status: http.StatusNotFound, code: "NoSuchKey"}
		}
		if !sameETag(v, old.ETag) {
			return failed
		}
	}
	return nil
}

// remove answers DeleteObject.
func (x *exchange) remove() *apiError {
	old, had := x.s.Object(x.log.Bucket, x.log.Key)
	if v := x.r.Header.Get("If-Match"); v != "" && had && !sameETag(v, old.ETag) {
		return &apiError{status: http.StatusPreconditionFailed, code: "PreconditionFailed"}
	}
	x.s.Delete(x.log.Bucket, x.log.Key)
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// readBody returns the payload, unwrapped if it came in aws-chunked form, and the trailing headers.
func (x *exchange) readBody() ([]byte, http.Header, error) {
	if !strings.Contains(x.r.Header.Get("Content-Encoding"), "aws-chunked") &&
		!strings.HasPrefix(x.r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		body, err := io.ReadAll(x.r.Body)
		return body, nil, err
	}
	body, trailer, err := decodeChunked(x.r.Body)
	if err != nil {
		return nil, nil, err
	}
	if want := x.r.Header.Get("X-Amz-Decoded-Content-Length"); want != itoa(int64(len(body))) {
		return nil, nil, errors.New("decoded length differs")
	}
	return body, trailer, nil
}

// decodeChunked reads "size[;chunk-signature=…]\r\n data \r\n" until a chunk of size 0, then the trailer.
func decodeChunked(r io.Reader) ([]byte, http.Header, error) {
	br := bufio.NewReader(r)
	var body bytes.Buffer
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n < 0 {
			return nil, nil, errors.New("chunk size")
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, br, n); err != nil {
			return nil, nil, err
		}
		if _, err := br.Discard(2); err != nil {
			return nil, nil, err
		}
	}
	trailer, err := readTrailer(br)
	return body.Bytes(), trailer, err
}

func readTrailer(br *bufio.Reader) (http.Header, error) {
	trailer := http.Header{}
	for {
		line, err := br.ReadString('\n')
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok {
			trailer.Set(name, strings.TrimSpace(value))
		}
		if !ok || errors.Is(err, io.EOF) {
			return trailer, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// checkSums compares the body with whatever the client said about it.
func (x *exchange) checkSums(body []byte, trailer http.Header) *apiError {
	bad := &apiError{status: http.StatusBadRequest, code: "BadDigest"}
	get := func(name string) string {
		if v := x.r.Header.Get(name); v != "" {
			return v
		}
		return trailer.Get(name)
	}
	md := md5.Sum(body) //nolint:gosec // Content-MD5 is what it is
	sha := sha256.Sum256(body)
	for name, sum := range map[string][]byte{
		"Content-MD5":           md[:],
		"X-Amz-Checksum-Sha256": sha[:],
		"X-Amz-Checksum-Crc32":  be32(crc32.ChecksumIEEE(body)),
		"X-Amz-Checksum-Crc32c": be32(crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))),
	} {
		if v := get(name); v != "" && v != base64.StdEncoding.EncodeToString(sum) {
			return bad
		}
	}
	if v := x.r.Header.Get("X-Amz-Content-Sha256"); len(v) == 64 && v != hex.EncodeToString(sha[:]) {
		return &apiError{status: http.StatusBadRequest, code: "XAmzContentSHA256Mismatch"}
	}
	return nil
}

func be32(v uint32) []byte { return []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }
