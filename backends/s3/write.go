package s3

import (
	"context"
	"crypto/md5" //nolint:gosec // what ETags and Content-MD5 are
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"studyfs/backends"
)

var _ backends.Writer = (*Source)(nil)

const (
	maxMeta    = 2048 // of metadata: "Object metadata", user guide
	maxParts   = 10_000
	maxDigests = 3 // tries of one object that arrived as other bytes than were sent
	standard   = "STANDARD"
)

// Put stores the Size bytes of r: small objects with one request, larger ones in parts. The ModTime of the returned entry is when
// the service answered, in whole seconds. A listing may show a second less, so another ModTime with the same Version is no
// change. The first create of all costs one more request, which finds out whether the service refuses a second one.
func (s *Source) Put(ctx context.Context, u backends.Upload, r io.ReaderAt) (backends.Entry, error) {
	err := checkUpload(u)
	if err == nil {
		err = s.usable()
	}
	if err != nil {
		return backends.Entry{}, fmt.Errorf("put %s: %w", u.Name, err)
	}
	p := &putting{s: s, u: u, r: r, key: s.keyOf(u.Name, u.Dir), old: u.Old.Version}
	if u.Old.Dir {
		p.old = anyMarker
	}
	var e backends.Entry
	if u.Size > s.o.Write.Threshold {
		e, err = p.inParts(ctx)
	} else {
		e, err = p.whole(ctx)
	}
	if err != nil {
		return backends.Entry{}, err
	}
	p.tell(u.Size - p.sent.Load())
	return e, nil
}

// tell passes on how much of the body has gone out.
func (p *putting) tell(n int64) {
	if p.u.Sent != nil && n != 0 {
		p.sent.Add(n)
		p.u.Sent(n)
	}
}

// anyMarker stands for the version of a directory's marker, which listings do not tell.
const anyMarker = "*"

func checkUpload(u backends.Upload) error {
	if u.Name == "" || !backends.ValidName(u.Name) {
		return backends.ErrName
	}
	if u.Size < 0 || u.Dir && u.Size != 0 {
		return fmt.Errorf("size %d", u.Size)
	}
	n := 0
	for k, v := range u.Meta {
		n += len(k) + len(v)
	}
	if n > maxMeta {
		return fmt.Errorf("%w: %d bytes of metadata", backends.ErrTooLarge, n)
	}
	return nil
}

func (s *Source) keyOf(name string, dir bool) string {
	if dir {
		name += "/"
	}
	return s.key(name)
}

func (s *Source) owner() *string {
	if s.o.Write.Owner == "" {
		return nil
	}
	return aws.String(s.o.Write.Owner)
}

// unsigned leaves the body out of the signature where TLS and the checksum guard it: so it is read once less.
func (s *Source) unsigned(o *s3.Options) {
	if s.o.Endpoint == "" || strings.HasPrefix(s.o.Endpoint, "https:") {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware(stack)
		})
	}
}

// putting is one object on its way.
type putting struct {
	s   *Source
	u   backends.Upload
	r   io.ReaderAt
	key string
	old string // the ETag of what is to be replaced, "" for nothing, anyMarker for a marker

	sent    atomic.Int64 // as told to u.Sent
	unsure  bool         // the last try got no answer: what it asked for may have happened
	dropped bool         // the header with the checksum was left out on suspicion
	digests int          // tries that arrived as other bytes
}

// whole stores the object with one request.
func (p *putting) whole(ctx context.Context) (e backends.Entry, err error) {
	err = p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) error {
		if p.unsure {
			var settled bool
			if e, settled, err = p.settled(ctx); settled || err != nil {
				return err
			}
		}
		e, err = p.once(ctx)
		return err
	})
	if errors.Is(err, backends.ErrChanged) {
		return p.mine(ctx, err)
	}
	if err != nil {
		p.keepSums()
		return backends.Entry{}, err
	}
	p.probe(ctx)
	return e, nil
}

// request is the PutObject for the object, with a fresh body.
func (p *putting) request(ctx context.Context) (*s3.PutObjectInput, error) {
	in := &s3.PutObjectInput{
		Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), Body: p.body(ctx, 0, p.u.Size), ContentLength: aws.Int64(p.u.Size),
		Metadata: p.u.Meta, StorageClass: types.StorageClass(p.u.Class), ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
	}
	if p.old != anyMarker {
		in.IfMatch, in.IfNoneMatch = p.s.conditions(p.old)
	}
	sums := p.s.Abilities().Checksums
	if sums != backends.Unable {
		in.ChecksumCRC64NVME = aws.String(encodeSum(p.u.CRC64NVME))
	}
	if sums != backends.Able { // so that the bytes are checked in any case
		sum, err := p.checked()
		if err != nil {
			return nil, err
		}
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum))
	}
	return in, nil
}

// once is one try.
func (p *putting) once(ctx context.Context) (backends.Entry, error) {
	if err := p.guard(ctx); err != nil {
		return backends.Entry{}, err
	}
	in, err := p.request(ctx)
	if err != nil {
		return backends.Entry{}, unreadable(err)
	}
	ctx, m := metered(ctx, p.tell)
	out, err := p.s.api().PutObject(ctx, in, p.s.unsigned)
	if err == nil {
		err = p.accept(in, out)
	}
	if err != nil {
		m.end(0)
		return backends.Entry{}, p.refused(ctx, in.Body, err)
	}
	m.end(p.u.Size)
	return p.entry(aws.ToString(out.ETag), answeredAt(out.ResultMetadata, p.s.o.Now())), nil
}

// guard compares what lies there with what the caller expects, where the service cannot be trusted to do so: whether it keeps an If-Match
// is not known before it has refused anything.
func (p *putting) guard(ctx context.Context) error {
	able := p.s.Abilities().Conditions
	if able == backends.Able || able == backends.Untried && p.old == "" || p.old == anyMarker {
		return nil
	}
	return p.compare(ctx)
}

// compare is the condition of a write, looked at from here.
func (p *putting) compare(ctx context.Context) error {
	_, there, err := p.s.look(ctx, p.key)
	if err != nil {
		return err
	}
	if !sameTag(there, p.old) {
		return broken()
	}
	return nil
}

func broken() error {
	return knownError{failure{kind: backends.ErrChanged, detail: "something else lies there"}}
}

func unreadable(err error) error {
	return knownError{failure{kind: err, detail: "the body cannot be read"}}
}

// refused sorts the error of one request of an upload.
func (p *putting) refused(ctx context.Context, sent io.Reader, err error) error {
	if b, ok := sent.(*body); ok && b.err() != nil {
		return unreadable(b.err())
	}
	status, f := statusOf(err), understand(ctx, err)
	if f == nil {
		return err
	}
	p.unsure = status < http.StatusBadRequest
	switch {
	case status == http.StatusPreconditionFailed:
		if p.old == "" {
			p.s.able.conditions(backends.Able)
		}
		return broken()
	case status == http.StatusNotFound && p.old != "" && f.detail != "NoSuchBucket":
		return broken() // what was to be replaced is gone
	case isDigest(f.detail):
		p.digests++
		f.again = p.digests < maxDigests
		return knownError{*f}
	}
	return p.without(err)
}

// accept checks what the service says that it has stored.
func (p *putting) accept(in *s3.PutObjectInput, out *s3.PutObjectOutput) error {
	if aws.ToString(out.ETag) == "" {
		return bad("no ETag")
	}
	sum, told := decodeSum(out.ChecksumCRC64NVME)
	switch {
	case told && sum == p.u.CRC64NVME:
		p.s.able.checksums(backends.Able)
		return nil
	case told:
	case in.ContentMD5 == nil:
		return bad("no checksum")
	default:
		if p.s.Abilities().Checksums == backends.Untried {
			p.s.able.checksums(backends.Unable)
		}
		if confirmed(in, out) {
			return nil
		}
	}
	p.old = *out.ETag // what lies there now is this, and no good
	p.digests++
	return knownError{failure{kind: backends.ErrBadAnswer, detail: "other bytes were stored than sent", again: p.digests < maxDigests}}
}

// confirmed reports whether the ETag is the MD5 that was sent. Where it can be none, the service has at least compared the header.
func confirmed(in *s3.PutObjectInput, out *s3.PutObjectOutput) bool {
	want, err := base64.StdEncoding.DecodeString(*in.ContentMD5)
	got := strings.Trim(*out.ETag, `"`)
	plain := out.ServerSideEncryption == "" || out.ServerSideEncryption == types.ServerSideEncryptionAes256
	return err == nil && (!plain || len(got) != hex.EncodedLen(md5.Size) || got == hex.EncodeToString(want))
}

// settled finds out what became of a try without an answer. Only if what the caller expects still lies there, there is more to do.
func (p *putting) settled(ctx context.Context) (e backends.Entry, done bool, err error) {
	st, there, err := p.s.look(ctx, p.key)
	if err != nil {
		if f := understand(ctx, err); f != nil && !f.again {
			return e, false, nil // may not look; the condition tells
		}
		return e, false, err
	}
	p.unsure = false
	if sameTag(there, p.old) || p.old == anyMarker {
		return e, false, nil
	}
	if ok, err := p.ours(st); err != nil || !ok {
		return e, true, errors.Join(err, broken())
	}
	return p.found(st), true, nil
}

// mine looks whether what lies there, against the condition, is the object itself: then an answer was lost.
func (p *putting) mine(ctx context.Context, refusal error) (backends.Entry, error) {
	var st backends.Stored
	var there string
	err := p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) (err error) {
		st, there, err = p.s.look(ctx, p.key)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return backends.Entry{}, err
		}
		return backends.Entry{}, refusal
	}
	if ok, err := p.ours(st); there == "" || err != nil || !ok {
		return backends.Entry{}, errors.Join(refusal, err)
	}
	return p.found(st), nil
}

// found is the entry of the object as a look showed it.
func (p *putting) found(st backends.Stored) backends.Entry {
	if p.u.Dir {
		return backends.Entry{Name: p.u.Name, Dir: true}
	}
	st.Entry.Name = p.u.Name
	return st.Entry
}

// entry is what a listing shows of the object once it is stored.
func (p *putting) entry(etag string, at time.Time) backends.Entry {
	if p.u.Dir {
		return backends.Entry{Name: p.u.Name, Dir: true}
	}
	return entryOf(p.u.Name, p.u.Size, etag, at, p.u.Class)
}

func entryOf(name string, size int64, etag string, at time.Time, class string) backends.Entry {
	if class == "" {
		class = standard
	}
	return backends.Entry{
		Name: name, Size: size, ModTime: at.UTC().Truncate(time.Second), Version: quoted(etag), Class: class,
		Tier: tierOf(&types.Object{StorageClass: types.ObjectStorageClass(class)}),
	}
}

// quoted is an ETag as listings have it.
func quoted(etag string) string {
	if strings.HasPrefix(etag, `"`) || strings.HasPrefix(etag, "W/") {
		return etag
	}
	return `"` + etag + `"`
}

func sameTag(a, b string) bool { return strings.Trim(a, `"`) == strings.Trim(b, `"`) }

// answeredAt is when the service says that it answered.
func answeredAt(m middleware.Metadata, now time.Time) time.Time {
	if raw, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response); ok {
		if at, err := http.ParseTime(raw.Header.Get("Date")); err == nil {
			return at
		}
	}
	return now
}

func encodeSum(sum uint64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, sum))
}

// decodeSum reads the checksum of a whole object; that of an object made of parts may be one of sums, which is none.
func decodeSum(text *string) (sum uint64, ok bool) {
	b, err := base64.StdEncoding.DecodeString(aws.ToString(text))
	if err != nil || len(b) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}
