package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends"
)

// Copy has the service copy an object. It looks at both ends first: what a browser needs to know of the object (its Content-Type, say) would
// be lost otherwise, and not every service keeps the conditions of a copy.
func (s *Source) Copy(ctx context.Context, from backends.Entry, u backends.Upload) (backends.Entry, error) {
	u.Size, u.Checkpoint, u.Sent = 0, nil, nil
	err := checkUpload(u)
	if err == nil {
		err = s.usable()
	}
	if err != nil {
		return backends.Entry{}, fmt.Errorf("copy to %s: %w", u.Name, err)
	}
	c := &copying{s: s, u: u, from: from, src: s.keyOf(from.Name, from.Dir), key: s.keyOf(u.Name, u.Dir), old: u.Old.Version}
	if c.src == c.key && c.u.Class == "" {
		c.u.Class = from.Class // only metadata are to change
	}
	var e backends.Entry
	for retry := false; ; retry = true {
		e, err = c.run(ctx)
		if !retry && errors.Is(err, errAnew) {
			continue
		}
		if err != nil {
			return backends.Entry{}, err
		}
		return e, nil
	}
}

// copying is one copy on its way.
type copying struct {
	s        *Source
	u        backends.Upload
	from     backends.Entry
	src, key string // keys
	old      string // the ETag of what is to be replaced, "" for nothing
	head     *s3.HeadObjectOutput
	unsure   bool // a try got no answer: what it asked for may have happened
}

func (c *copying) run(ctx context.Context) (e backends.Entry, err error) {
	err = c.s.try(ctx, "copy", c.u.Name, func(ctx context.Context) error {
		e, err = c.once(ctx)
		return err
	})
	if err == nil && e.Name == "" {
		return c.inParts(ctx)
	}
	return e, err
}

// once is one try. It returns nothing for what has to be copied in parts.
func (c *copying) once(ctx context.Context) (e backends.Entry, err error) {
	done, err := c.look(ctx)
	if err != nil || done.Entry.Name != "" {
		return done.Entry, err
	}
	if c.from.Size > c.s.o.Write.CopyLimit {
		return e, nil
	}
	out, err := c.s.api().CopyObject(ctx, c.request())
	if err != nil {
		return e, c.refused(ctx, err)
	}
	r := out.CopyObjectResult
	if r == nil || aws.ToString(r.ETag) == "" || r.LastModified == nil {
		c.unsure = true
		return e, bad("a copy without ETag or time")
	}
	if c.u.Dir {
		return backends.Entry{Name: c.u.Name, Dir: true}, nil
	}
	return entryOf(c.u.Name, c.from.Size, *r.ETag, *r.LastModified, c.u.Class), nil
}

// look compares both ends with what the caller expects. If the destination is the copy already, it returns that.
func (c *copying) look(ctx context.Context) (done backends.Stored, err error) {
	if c.src != c.key || c.unsure {
		there, etag, err := c.s.look(ctx, c.key)
		switch {
		case err != nil:
			return done, err
		case c.unsure && c.ours(there):
			there.Entry.Name = c.u.Name
			return there, nil
		case !c.u.Old.Dir && !sameTag(etag, c.old):
			return done, broken()
		}
	}
	return done, c.lookAtSource(ctx)
}

func (c *copying) lookAtSource(ctx context.Context) (err error) {
	if c.head, err = c.s.head(ctx, c.src); err != nil {
		return err
	}
	st, err := storedOf(c.from.Name, c.head)
	switch {
	case err != nil:
		return err
	case !c.from.Dir && !sameTag(st.Entry.Version, c.from.Version):
		return broken()
	case st.Entry.Tier != backends.Online:
		return knownError{failure{kind: backends.ErrArchived, detail: "it must be restored before it can be copied"}}
	}
	return nil
}

// ours reports whether what lies at the destination is the copy that an earlier try made, its answer lost.
func (c *copying) ours(there backends.Stored) bool {
	if c.head == nil || there.Entry.Size != aws.ToInt64(c.head.ContentLength) || !maps.Equal(there.Meta, c.meta()) {
		return false
	}
	sum, told := decodeSum(c.head.ChecksumCRC64NVME)
	if told && there.HasCRC {
		return sum == there.CRC64NVME
	}
	return sameTag(there.Entry.Version, aws.ToString(c.head.ETag))
}

func (c *copying) meta() map[string]string {
	if c.u.Meta == nil {
		return map[string]string{}
	}
	return c.u.Meta
}

// source is the copied object as its header names it.
func (c *copying) source() *string {
	key := strings.ReplaceAll(url.QueryEscape(c.src), "+", "%20")
	return aws.String(c.s.o.Bucket + "/" + strings.ReplaceAll(key, "%2F", "/"))
}

func (c *copying) expires() *time.Time {
	at, err := http.ParseTime(aws.ToString(c.head.ExpiresString))
	if err != nil {
		return nil
	}
	return &at
}

// version is the condition on the source.
func (c *copying) version() *string {
	if c.from.Dir {
		return nil
	}
	return aws.String(c.from.Version)
}

func (c *copying) request() *s3.CopyObjectInput {
	in := &s3.CopyObjectInput{
		Bucket: aws.String(c.s.o.Bucket), Key: aws.String(c.key), CopySource: c.source(), CopySourceIfMatch: c.version(),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: c.u.Meta, StorageClass: types.StorageClass(c.u.Class),
		CacheControl: c.head.CacheControl, ContentDisposition: c.head.ContentDisposition, ContentEncoding: c.head.ContentEncoding,
		ContentLanguage: c.head.ContentLanguage, ContentType: c.head.ContentType, Expires: c.expires(),
		ExpectedBucketOwner: c.s.owner(), ExpectedSourceBucketOwner: c.s.owner(), RequestPayer: c.s.payer(),
	}
	if c.src != c.key && !c.u.Old.Dir {
		in.IfMatch, in.IfNoneMatch = c.s.conditions(c.old)
	}
	return in
}

// refused sorts the error of a request.
func (c *copying) refused(ctx context.Context, err error) error {
	status, code := statusOf(err), codeOf(err)
	f := understand(ctx, err)
	c.unsure = c.unsure || f != nil && (status == 0 || status < http.StatusBadRequest || status >= http.StatusInternalServerError)
	switch {
	case status == http.StatusPreconditionFailed && c.unsure:
		return knownError{failure{kind: errAnew, detail: code}} // the answer that was lost may have been a good one: look again
	case status == http.StatusPreconditionFailed:
		return broken()
	case status == http.StatusNotImplemented && c.s.Abilities().Conditions != backends.Unable:
		return knownError{failure{kind: backends.ErrUnsafe, detail: "it does not know the conditions of copies"}}
	}
	return err
}

// inParts copies what is too large for one request.
func (c *copying) inParts(ctx context.Context) (e backends.Entry, err error) {
	u := c.u
	u.Size = c.from.Size
	sum, told := decodeSum(c.head.ChecksumCRC64NVME)
	told = told && c.head.ChecksumType != types.ChecksumTypeComposite
	u.CRC64NVME = sum
	p := &putting{s: c.s, u: u, key: c.key, old: c.old}
	st := partState{Key: c.key, Part: max(c.s.o.Write.CopyLimit, (u.Size+maxParts-1)/maxParts), Size: u.Size, Sum: sum}
	err = c.s.try(ctx, "copy", u.Name, func(ctx context.Context) (err error) {
		st.Upload, st.Sums, err = p.create(ctx)
		return err
	})
	if err != nil {
		return e, err
	}
	st.Sums = st.Sums && told
	parts := make([]types.CompletedPart, (st.Size+st.Part-1)/st.Part)
	for i := range parts {
		if parts[i], err = c.copyPart(ctx, st, i+1); err != nil {
			break
		}
	}
	if err == nil {
		e, err = p.finish(ctx, st, parts)
	}
	if err != nil {
		p.abort(context.WithoutCancel(ctx), st) // nobody keeps what it takes to resume it
	}
	return e, err
}

func (c *copying) copyPart(ctx context.Context, st partState, n int) (done types.CompletedPart, err error) {
	off, size := st.span(n)
	err = c.s.try(ctx, "copy", c.u.Name, func(ctx context.Context) error {
		out, err := c.s.api().UploadPartCopy(ctx, &s3.UploadPartCopyInput{
			Bucket: aws.String(c.s.o.Bucket), Key: aws.String(c.key), UploadId: aws.String(st.Upload), PartNumber: aws.Int32(int32(n)), //nolint:gosec // at most 10,000
			CopySource: c.source(), CopySourceIfMatch: c.version(), CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+size-1)),
			ExpectedBucketOwner: c.s.owner(), ExpectedSourceBucketOwner: c.s.owner(), RequestPayer: c.s.payer(),
		})
		if err != nil {
			return c.refused(ctx, err)
		}
		if out.CopyPartResult == nil || aws.ToString(out.CopyPartResult.ETag) == "" {
			return bad("a copied part without ETag")
		}
		done = types.CompletedPart{
			PartNumber: aws.Int32(int32(n)), ETag: out.CopyPartResult.ETag, ChecksumCRC64NVME: out.CopyPartResult.ChecksumCRC64NVME, //nolint:gosec // at most 10,000
		}
		return nil
	})
	return done, err
}
