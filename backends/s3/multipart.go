package s3

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"studyfs/backends"
)

const (
	mib = 1 << 20
	// maxBegins is how often one Put begins an upload: services may demand a second (another write came in between) or lose the first.
	maxBegins = 3
)

// errAnew says that an upload in parts cannot be completed any more, but another can.
var errAnew = errors.New("the upload must be begun anew")

// partState is what a later try needs. What has arrived, the service tells.
type partState struct {
	Upload string `json:"upload"`
	Key    string `json:"key"`
	Part   int64  `json:"part"`
	Size   int64  `json:"size"`
	Sum    uint64 `json:"crc64nvme"`
	Sums   bool   `json:"sums"` // the service checks CRC64NVME
}

// partSize is the least that needs no more parts than services take, in whole MiB where it is more than the usual.
func (p *putting) partSize() int64 {
	least := (p.u.Size + maxParts - 1) / maxParts
	if usual := p.s.o.Write.PartSize; least <= usual {
		return usual
	}
	return (least + mib - 1) / mib * mib
}

// inParts stores an object in parts, going on where an earlier try ended.
func (p *putting) inParts(ctx context.Context) (e backends.Entry, err error) {
	state, resumed := p.resumed()
	for range maxBegins {
		if !resumed {
			if state, err = p.begin(ctx); err != nil {
				return e, err
			}
		}
		e, err = p.goOn(ctx, state, resumed)
		if !errors.Is(err, errAnew) {
			break
		}
		resumed = false
		p.tell(-p.sent.Load())
		if found, mine := p.mine(ctx, err); mine == nil {
			return found, nil
		}
		p.abort(ctx, state)
	}
	if errors.Is(err, errAnew) {
		return e, fmt.Errorf("put %s: %w: other writes came in between again and again", p.u.Name, backends.ErrBusy)
	}
	return e, err
}

// resumed reads the state of an earlier try, if it is of this object.
func (p *putting) resumed() (st partState, ok bool) {
	if p.u.Resume == nil || json.Unmarshal(p.u.Resume, &st) != nil {
		return st, false
	}
	return st, st.Upload != "" && st.Key == p.key && st.Size == p.u.Size && st.Sum == p.u.CRC64NVME && st.Part > 0
}

// begin makes an upload, and has the caller note it down before anything is sent.
func (p *putting) begin(ctx context.Context) (partState, error) {
	st := partState{Key: p.key, Part: p.partSize(), Size: p.u.Size, Sum: p.u.CRC64NVME}
	err := p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) (err error) {
		st.Upload, st.Sums, err = p.create(ctx)
		return err
	})
	if err != nil {
		p.keepSums()
		return st, err
	}
	if p.u.Checkpoint == nil {
		return st, nil
	}
	state, err := json.Marshal(st)
	if err == nil {
		err = p.u.Checkpoint(state)
	}
	if err != nil {
		p.abort(ctx, st)
		return st, fmt.Errorf("put %s: checkpoint: %w", p.u.Name, err)
	}
	return st, nil
}

func (p *putting) create(ctx context.Context) (id string, sums bool, err error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), Metadata: p.u.Meta, StorageClass: types.StorageClass(p.u.Class),
		ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
	}
	ask := p.s.Abilities().Checksums != backends.Unable
	if ask {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
	}
	out, err := p.s.api().CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", false, p.refused(ctx, nil, err)
	}
	if aws.ToString(out.UploadId) == "" {
		return "", false, bad("no upload id")
	}
	sums = ask && out.ChecksumAlgorithm == types.ChecksumAlgorithmCrc64nvme
	return *out.UploadId, sums, nil
}

// goOn sends the parts that are not there and completes the upload.
func (p *putting) goOn(ctx context.Context, st partState, resumed bool) (e backends.Entry, err error) {
	parts := make([]types.CompletedPart, (st.Size+st.Part-1)/st.Part)
	if resumed {
		if err = p.arrived(ctx, st, parts); err != nil {
			return e, err
		}
	}
	if err = p.sendParts(ctx, st, parts); err != nil {
		return e, err
	}
	if !st.Sums { // nobody else will look at the whole
		if _, err = p.checked(); err != nil {
			return e, fmt.Errorf("put %s: %w", p.u.Name, err)
		}
	}
	if e, err = p.finish(ctx, st, parts); errors.Is(err, backends.ErrChanged) {
		p.abort(ctx, st)
		return p.mine(ctx, err)
	}
	return e, err
}

// arrived fills in the parts of an earlier try that the service has, whole and as they are here.
func (p *putting) arrived(ctx context.Context, st partState, parts []types.CompletedPart) error {
	for marker, more := "", true; more; {
		var out *s3.ListPartsOutput
		err := p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) (err error) {
			out, err = p.s.api().ListParts(ctx, &s3.ListPartsInput{
				Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), UploadId: aws.String(st.Upload), PartNumberMarker: aws.String(marker),
				ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
			})
			return anewOr(err)
		})
		if err != nil {
			return err
		}
		for _, part := range out.Parts {
			n := int(aws.ToInt32(part.PartNumber))
			if n < 1 || n > len(parts) {
				return errAnew // it is of another object
			}
			same, err := p.samePart(st, n, part)
			if err != nil {
				return fmt.Errorf("put %s: %w", p.u.Name, err)
			}
			if same {
				parts[n-1] = types.CompletedPart{PartNumber: part.PartNumber, ETag: part.ETag, ChecksumCRC64NVME: part.ChecksumCRC64NVME}
				p.tell(*part.Size)
			}
		}
		marker, more = aws.ToString(out.NextPartNumberMarker), aws.ToBool(out.IsTruncated)
	}
	return nil
}

func (st partState) span(n int) (off, size int64) {
	off = int64(n-1) * st.Part
	return off, min(st.Part, st.Size-off)
}

// samePart reports whether a part that the service has is what would be sent.
func (p *putting) samePart(st partState, n int, part types.Part) (bool, error) {
	off, size := st.span(n)
	if aws.ToInt64(part.Size) != size {
		return false, nil
	}
	if told, ok := decodeSum(part.ChecksumCRC64NVME); ok {
		sum, err := p.crc(off, size)
		return sum == told, err
	}
	sum, err := p.md5(off, size)
	return strings.Trim(aws.ToString(part.ETag), `"`) == hex.EncodeToString(sum), err
}

// sendParts sends the parts that are still empty.
func (p *putting) sendParts(ctx context.Context, st partState, parts []types.CompletedPart) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.s.o.Write.Parts)
	for i := range parts {
		if parts[i].ETag != nil {
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return fmt.Errorf("put %s: %w", p.u.Name, ctx.Err())
			}
			return p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) (err error) {
				parts[i], err = p.sendPart(ctx, st, i+1)
				return err
			})
		})
	}
	return g.Wait()
}

func (p *putting) sendPart(ctx context.Context, st partState, n int) (done types.CompletedPart, err error) {
	off, size := st.span(n)
	b := p.body(ctx, off, size)
	in := &s3.UploadPartInput{
		Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), UploadId: aws.String(st.Upload), PartNumber: aws.Int32(int32(n)), //nolint:gosec // at most 10,000
		Body: b, ContentLength: aws.Int64(size), ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
	}
	var sum uint64
	if st.Sums {
		sum, err = p.crc(off, size)
		in.ChecksumCRC64NVME = aws.String(encodeSum(sum))
	} else {
		var md []byte
		md, err = p.md5(off, size)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(md))
	}
	if err != nil {
		return done, unreadable(err)
	}
	ctx, m := metered(ctx, p.tell)
	out, err := p.s.api().UploadPart(ctx, in, p.s.unsigned)
	if err == nil {
		if told, ok := decodeSum(out.ChecksumCRC64NVME); st.Sums && (!ok || told != sum) || aws.ToString(out.ETag) == "" {
			err = bad("a part was stored as other bytes than sent")
		}
	}
	if err != nil {
		m.end(0)
		if b.err() != nil {
			return done, unreadable(b.err())
		}
		return done, anewOr(err)
	}
	m.end(size)
	return types.CompletedPart{PartNumber: in.PartNumber, ETag: out.ETag, ChecksumCRC64NVME: out.ChecksumCRC64NVME}, nil
}

// anewOr recognises that an upload is gone, or that the service wants it sent again.
func anewOr(err error) error {
	switch codeOf(err) {
	case "NoSuchUpload", "ConditionalRequestConflict", "InvalidPart":
		return knownError{failure{kind: errAnew, detail: codeOf(err)}}
	}
	return err
}

// finish completes an upload in the place of what the caller expects, and looks at what has come of it.
func (p *putting) finish(ctx context.Context, st partState, parts []types.CompletedPart) (e backends.Entry, err error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), UploadId: aws.String(st.Upload), MpuObjectSize: aws.Int64(st.Size),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts}, ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
	}
	if st.Sums {
		in.ChecksumCRC64NVME, in.ChecksumType = aws.String(encodeSum(st.Sum)), types.ChecksumTypeFullObject
	}
	var etag string
	err = p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) error {
		if p.s.Abilities().Conditions != backends.Able {
			if err := p.compare(ctx); err != nil {
				return err
			}
		}
		in.IfMatch, in.IfNoneMatch = p.s.conditions(p.old)
		out, err := p.s.api().CompleteMultipartUpload(ctx, in)
		if err != nil {
			if known := anewOr(err); known != err { //nolint:errorlint // the very same
				return known
			}
			return p.refused(ctx, nil, err)
		}
		if etag = aws.ToString(out.ETag); etag == "" {
			return bad("no ETag")
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	return p.confirm(ctx, etag)
}

// confirm looks at an object that has just been completed: only so its time, its size and what became of its checksum are known.
func (p *putting) confirm(ctx context.Context, etag string) (backends.Entry, error) {
	var e backends.Entry
	err := p.s.try(ctx, "put", p.u.Name, func(ctx context.Context) error {
		out, err := p.s.head(ctx, p.key)
		if statusOf(err) == http.StatusForbidden { // keys that may write but not read; the service has checked the sums
			e = p.entry(etag, p.s.o.Now())
			return nil
		}
		if err != nil {
			return err
		}
		st, err := storedOf(p.u.Name, out)
		switch {
		case err != nil:
			return err
		case !sameTag(st.Entry.Version, etag):
			return broken() // somebody else was quick: it was stored, and replaced
		case st.Entry.Size != p.u.Size || st.HasCRC && st.CRC64NVME != p.u.CRC64NVME:
			return bad("other bytes were stored than sent")
		}
		e = st.Entry
		if st.HasCRC {
			p.s.able.checksums(backends.Able)
		}
		return nil
	})
	return e, err
}

// abort frees what an upload holds that can never be completed. Its failure is left to the bucket's own rules.
func (p *putting) abort(ctx context.Context, st partState) {
	err := p.s.try(ctx, "abort", p.u.Name, func(ctx context.Context) error {
		_, err := p.s.api().AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket: aws.String(p.s.o.Bucket), Key: aws.String(p.key), UploadId: aws.String(st.Upload),
			ExpectedBucketOwner: p.s.owner(), RequestPayer: p.s.payer(),
		})
		return err
	})
	if err != nil && !errors.Is(err, backends.ErrNotExist) {
		p.s.o.Log.DebugContext(ctx, "an upload that can never be completed could not be aborted", "bucket", p.s.o.Bucket)
	}
}
