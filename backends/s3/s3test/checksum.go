package s3test

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // what an ETag and Content-MD5 are
	"crypto/sha1" //nolint:gosec // one of the sums that clients may choose
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
)

// Checksum is what the server keeps of an object's or a part's bytes beside the ETag.
type Checksum struct {
	Algorithm string // CRC64NVME, CRC32, CRC32C, SHA1, SHA256; "" means that there is none
	Value     string // base64; of a composite one with "-" and the number of parts behind it
	Composite bool   // the sum of the sums of the parts rather than of the bytes
}

const (
	crc64NVME = "CRC64NVME"
	// nvmePolynomial is the reflected form, which is what hash/crc64 wants.
	nvmePolynomial = 0x9a6c9329ac4bc9b5
	fullObject     = "FULL_OBJECT"
	composite      = "COMPOSITE"
)

func algorithms() []string { return []string{crc64NVME, "CRC32", "CRC32C", "SHA1", "SHA256"} }

// header is the header of the sum's value.
func (c Checksum) header() string { return "x-amz-checksum-" + strings.ToLower(c.Algorithm) }

func (c Checksum) kind() string {
	if c.Composite {
		return composite
	}
	return fullObject
}

// newHash returns nil for an algorithm that is not known.
func newHash(name string) hash.Hash {
	switch name {
	case crc64NVME:
		return crc64.New(crc64.MakeTable(nvmePolynomial))
	case "CRC32":
		return crc32.NewIEEE()
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "SHA1":
		return sha1.New() //nolint:gosec // see the import
	case "SHA256":
		return sha256.New()
	}
	return nil
}

// sumOf reads r to its end. The caller holds no lock.
func sumOf(name string, r io.Reader) Checksum {
	h := newHash(name)
	io.Copy(h, r) //nolint:errcheck // a hash takes everything
	return Checksum{Algorithm: name, Value: base64.StdEncoding.EncodeToString(h.Sum(nil))}
}

// compositeOf is the sum of the parts' sums.
func compositeOf(name string, parts []part) Checksum {
	h := newHash(name)
	for _, p := range parts {
		raw, err := base64.StdEncoding.DecodeString(p.sum.Value)
		if err == nil {
			h.Write(raw)
		}
	}
	value := base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + itoa(int64(len(parts)))
	return Checksum{Algorithm: name, Value: value, Composite: true}
}

// declared returns the sum that the client sent with its request, in a header or behind the body.
func (x *exchange) declared(trailer http.Header) (c Checksum, err *apiError) {
	if x.s.o.NoChecksums {
		return c, nil
	}
	for _, name := range algorithms() {
		got := Checksum{Algorithm: name}
		got.Value = x.r.Header.Get(got.header())
		if got.Value == "" {
			got.Value = trailer.Get(got.header())
		}
		if got.Value == "" {
			continue
		}
		if c.Value != "" {
			return c, invalid("InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
		}
		c = got
	}
	if err := x.announced(c); err != nil {
		return c, err
	}
	return c, c.wellFormed()
}

// announced refuses sums that were promised and did not come.
func (x *exchange) announced(c Checksum) *apiError {
	if name := x.r.Header.Get("X-Amz-Trailer"); name != "" && !strings.EqualFold(name, c.header()) {
		return invalid("MalformedTrailerError", "the trailer does not hold what x-amz-trailer announced")
	}
	name := x.r.Header.Get("X-Amz-Sdk-Checksum-Algorithm")
	if name == "" {
		return nil
	}
	if newHash(strings.ToUpper(name)) == nil || c.Value != "" && !strings.EqualFold(name, c.Algorithm) {
		return invalid("InvalidRequest", "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	if c.Value == "" {
		return invalid("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	}
	return nil
}

// wellFormed checks the length of a value that the client sent.
func (c Checksum) wellFormed() *apiError {
	if c.Value == "" {
		return nil
	}
	value, _, _ := strings.Cut(c.Value, "-")
	raw, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(raw) != newHash(c.Algorithm).Size() {
		return invalid("InvalidRequest", "Value for "+c.header()+" header is invalid.")
	}
	return nil
}

// checked compares a body with whatever the client said about it, and returns its MD5 and the sum to keep: of the declared
// algorithm, else of the given one.
func (x *exchange) checked(body []byte, trailer http.Header, algorithm string) (md [md5.Size]byte, c Checksum, err *apiError) {
	want, err := x.declared(trailer)
	if err != nil {
		return md, c, err
	}
	md = md5.Sum(body) //nolint:gosec // see the import
	if v := x.r.Header.Get("Content-Md5"); v != "" {
		raw, derr := base64.StdEncoding.DecodeString(v)
		if derr != nil || len(raw) != md5.Size {
			return md, c, invalid("InvalidDigest", "The Content-MD5 you specified is not valid.")
		}
		if !bytes.Equal(raw, md[:]) {
			return md, c, invalid("BadDigest", "The Content-MD5 you specified did not match what we received.")
		}
	}
	if v := x.r.Header.Get("X-Amz-Content-Sha256"); len(v) == 2*sha256.Size {
		if sha := sha256.Sum256(body); v != hex.EncodeToString(sha[:]) {
			return md, c, invalid("XAmzContentSHA256Mismatch", "")
		}
	}
	if x.s.o.NoChecksums {
		return md, c, nil
	}
	if want.Algorithm != "" {
		algorithm = want.Algorithm
	}
	c = sumOf(algorithm, bytes.NewReader(body))
	if want.Value != "" && want.Value != c.Value {
		return md, c, invalid("BadDigest", "The "+c.Algorithm+" you specified did not match the calculated checksum.")
	}
	return md, c, nil
}

// tell sets the header of a sum; with its type for whole objects.
func (x *exchange) tell(c Checksum, withKind bool) {
	if c.Value == "" {
		return
	}
	x.w.Header().Set(c.header(), x.fire.sum(c.Value))
	if withKind {
		x.w.Header().Set("x-amz-checksum-type", c.kind())
	}
}

// sumFields are the elements that hold a sum in answers and requests.
type sumFields struct {
	CRC32     string `xml:"ChecksumCRC32,omitempty"`
	CRC32C    string `xml:"ChecksumCRC32C,omitempty"`
	CRC64NVME string `xml:"ChecksumCRC64NVME,omitempty"`
	SHA1      string `xml:"ChecksumSHA1,omitempty"`
	SHA256    string `xml:"ChecksumSHA256,omitempty"`
}

// field points at the element of an algorithm, nil for one that is not known.
func (f *sumFields) field(algorithm string) *string {
	return map[string]*string{
		"CRC32": &f.CRC32, "CRC32C": &f.CRC32C, crc64NVME: &f.CRC64NVME, "SHA1": &f.SHA1, "SHA256": &f.SHA256,
	}[algorithm]
}

func (c Checksum) fields() (f sumFields) {
	if p := f.field(c.Algorithm); p != nil {
		*p = c.Value
	}
	return f
}
