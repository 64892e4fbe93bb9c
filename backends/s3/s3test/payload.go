package s3test

import (
	"bufio"
	"bytes"
	"crypto/md5" //nolint:gosec // what an ETag is
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// payload is a body that arrived whole and is what the client said it was.
type payload struct {
	body []byte
	md5  [md5.Size]byte
	sum  Checksum
}

// etag is the ETag of bytes stored in one piece.
func (p payload) etag() string { return `"` + hex.EncodeToString(p.md5[:]) + `"` }

// receive reads and checks the body of PutObject and UploadPart. Nothing of one that was cut short, or that differs from its
// sums, is ever stored.
func (x *exchange) receive(algorithm string) (p payload, err *apiError) {
	size := x.r.ContentLength
	if x.chunked() {
		n, perr := strconv.ParseInt(x.r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		if perr != nil || n < 0 {
			size = -1
		} else {
			size = n
		}
	}
	switch {
	case size < 0:
		return p, &apiError{status: http.StatusLengthRequired, code: "MissingContentLength"}
	case size > x.s.o.MaxPut:
		return p, invalid("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	if x.fire.inBody(x, size) {
		return p, &apiError{}
	}
	body, trailer, rerr := x.readBody(size)
	x.arrived()
	if rerr != nil || int64(len(body)) != size {
		return p, invalid("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	x.fire.flip(body)
	p.body = body
	p.md5, p.sum, err = x.checked(body, trailer, algorithm)
	return p, err
}

// chunked reports whether the body has the aws-chunked form.
func (x *exchange) chunked() bool {
	return strings.Contains(x.r.Header.Get("Content-Encoding"), "aws-chunked") ||
		strings.HasPrefix(x.r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-")
}

// readBody returns the payload, unwrapped if it came in aws-chunked form, and the trailing headers. The signatures of single
// chunks are not verified.
func (x *exchange) readBody(size int64) ([]byte, http.Header, error) {
	if x.chunked() {
		return decodeChunked(x.body, size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(x.body, body)
	return body, nil, err
}

// decodeChunked reads "size[;chunk-signature=…]\r\n data \r\n" until a chunk of size 0, then the trailer. More than size bytes
// are an error.
func decodeChunked(r io.Reader, size int64) ([]byte, http.Header, error) {
	br := bufio.NewReader(r)
	body := bytes.NewBuffer(make([]byte, 0, size))
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return nil, nil, err
		}
		hexed, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(hexed, 16, 64)
		if err != nil || n < 0 || int64(body.Len())+n > size {
			return nil, nil, errors.New("chunk size")
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(body, br, n); err != nil {
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

// document reads a small XML body, such as CompleteMultipartUpload's; signed in full, as every client signs them.
func (x *exchange) document() ([]byte, *apiError) {
	const most = 8 << 20
	body, err := io.ReadAll(io.LimitReader(x.body, most))
	x.arrived()
	if err != nil {
		return nil, invalid("IncompleteBody", "")
	}
	sum := sha256.Sum256(body)
	switch v := x.r.Header.Get("X-Amz-Content-Sha256"); {
	case len(body) == most:
		return nil, invalid("MaxMessageLengthExceeded", "")
	case len(v) == 2*sha256.Size && v != hex.EncodeToString(sum[:]):
		return nil, invalid("XAmzContentSHA256Mismatch", "")
	}
	return body, nil
}

// arrived writes into the log how much came, before the answer goes out.
func (x *exchange) arrived() {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	x.line.BytesIn = x.body.n
}

// countingReader counts what of the body was read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
