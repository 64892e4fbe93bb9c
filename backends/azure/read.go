package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"studyfs/backends"
)

// ReadRange streams a range of exactly the version of e. A stream that breaks goes on where it broke, under the same If-Match.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	if off < 0 || n <= 0 || off+n > e.Size || e.Version == "" {
		return nil, fmt.Errorf("read %s: range %d+%d of %d bytes", e.Name, off, n, e.Size)
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &rangeReader{s: s, ctx: ctx, cancel: cancel, e: e, off: off, left: n}
	r.deadline = s.o.Now().Add(s.o.Timeouts.Retry)
	if err := r.connect(); err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}

// rangeReader is one range, over as many answers as it takes.
type rangeReader struct {
	s        *Source
	ctx      context.Context //nolint:containedctx // of this read, ended by Close
	cancel   context.CancelFunc
	e        backends.Entry
	off      int64
	left     int64
	body     io.ReadCloser
	deadline time.Time // for breaks; moves on with every byte
	breaks   int       // since the last byte
	err      error     // why the stream has ended for good
}

func (r *rangeReader) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case r.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
	r.off += int64(n)
	r.left -= int64(n)
	if n > 0 {
		r.deadline, r.breaks = r.s.o.Now().Add(r.s.o.Timeouts.Retry), 0
		return n, nil // a break shows again at the next Read
	}
	if err != nil {
		r.err = r.resume(err)
	}
	return 0, r.err
}

// resume opens the rest of the range after a break.
func (r *rangeReader) resume(cause error) error {
	r.body.Close() //nolint:errcheck // broken
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	f := understand(r.ctx, cause)
	if f == nil {
		return fmt.Errorf("read %s: %w", r.e.Name, r.ctx.Err())
	}
	if r.s.o.Now().After(r.deadline) {
		r.s.note(fmt.Errorf("%w: %s", f.kind, f.detail))
		return fmt.Errorf("read %s: %w: %s", r.e.Name, f.kind, f.detail)
	}
	if r.breaks++; r.breaks > 1 { // the first break is anybody's; a service that breaks at once again is given time
		if err := sleep(r.ctx, rand.N(min(firstPause<<min(r.breaks, 8), longPause))); err != nil { //nolint:gosec // jitter, no secret
			return fmt.Errorf("read %s: %w", r.e.Name, err)
		}
	}
	r.s.retries.Add(1)
	return r.connect()
}

// connect asks for what is left.
func (r *rangeReader) connect() error {
	r.body = nil
	match := azcore.ETag(quoted(r.e.Version))
	err := r.s.try(r.ctx, "read", r.e.Name, func(ctx context.Context) error {
		var raw *http.Response
		out, err := r.s.api().NewBlobClient(r.s.key(r.e.Name)).DownloadStream(policy.WithCaptureResponse(ctx, &raw), &blob.DownloadStreamOptions{
			Range:            blob.HTTPRange{Offset: r.off, Count: r.left},
			AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: &match}},
		})
		if err != nil {
			return err
		}
		if err := checkRange(&out, raw, r.e, r.off, r.left); err != nil {
			out.Body.Close() //nolint:errcheck // refused
			return err
		}
		r.body = out.Body
		return nil
	})
	if err != nil {
		r.body = io.NopCloser(strings.NewReader(""))
	}
	return err
}

// quoted is the ETag as headers have it. Listings have it bare.
func quoted(version string) string { return `"` + strings.Trim(version, `"`) + `"` }

func (r *rangeReader) Close() error {
	r.cancel()
	return r.body.Close()
}

// checkRange refuses every answer that is not the range asked for, of the version asked for. The SDK passes a 200 with the whole body,
// a short 206 and a 206 of another place without a word.
func checkRange(out *blob.DownloadStreamResponse, raw *http.Response, e backends.Entry, off, n int64) error {
	var status int
	if raw != nil {
		status = raw.StatusCode
	}
	whole := status == http.StatusOK && off == 0 && n == e.Size
	if status != http.StatusPartialContent && !whole {
		return bad("status %d for a range", status)
	}
	if err := checkHead(out, e, n); err != nil || whole && out.ContentRange == nil {
		return err
	}
	first, last, total, ok := parseContentRange(value(out.ContentRange))
	if !ok || [3]int64{first, last, total} != [3]int64{off, off + n - 1, e.Size} {
		return bad("another range than asked for")
	}
	return nil
}

// checkHead refuses another version and another length.
func checkHead(out *blob.DownloadStreamResponse, e backends.Entry, n int64) error {
	switch {
	case value(out.ETag) == "":
		return bad("no ETag")
	case quoted(string(*out.ETag)) != quoted(e.Version):
		return bad("another version than asked for")
	case out.ContentLength == nil || *out.ContentLength != n:
		return bad("another length than asked for")
	}
	return nil
}

// parseContentRange reads "bytes first-last/total" (RFC 9110, 14.4). A total of "*" is not accepted: the service always names it.
func parseContentRange(header string) (first, last, total int64, ok bool) {
	spec, found := strings.CutPrefix(header, "bytes ")
	span, size, cut := strings.Cut(spec, "/")
	from, to, dash := strings.Cut(span, "-")
	if !found || !cut || !dash {
		return 0, 0, 0, false
	}
	var errs [3]error
	first, errs[0] = strconv.ParseInt(from, 10, 64)
	last, errs[1] = strconv.ParseInt(to, 10, 64)
	total, errs[2] = strconv.ParseInt(size, 10, 64)
	ok = errors.Join(errs[:]...) == nil && first >= 0 && first <= last && last < total
	return first, last, total, ok
}
