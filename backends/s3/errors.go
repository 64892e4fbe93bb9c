package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"studyfs/backends"
)

// What is wrong with keys, where the service tells. The first three are backends.ErrAuth, too, the last is backends.ErrPermission.
var (
	ErrKeyUnknown = fmt.Errorf("unknown access key ID: %w", backends.ErrAuth)
	ErrSignature  = fmt.Errorf("wrong secret access key: %w", backends.ErrAuth)
	ErrKeyExpired = fmt.Errorf("expired keys: %w", backends.ErrAuth)
	ErrClock      = fmt.Errorf("wrong clock: %w", backends.ErrPermission)
)

// ErrRegion says that the bucket is in another region than requests were signed for, and that the service does not say which. It is
// backends.ErrBadAnswer, too.
var ErrRegion = fmt.Errorf("wrong region: %w", backends.ErrBadAnswer)

// answerError marks an answer that was refused here.
type answerError struct{ what string }

func (e answerError) Error() string { return e.what }

// bad returns an answer's refusal.
func bad(format string, args ...any) error { return answerError{fmt.Sprintf(format, args...)} }

// knownError is a failure that is understood already.
type knownError struct{ failure }

func (e knownError) Error() string { return e.kind.Error() + ": " + e.detail }

// errNoBucket is the answer to HeadBucket that has no body to tell it.
var errNoBucket = fmt.Errorf("NoSuchBucket: %w", backends.ErrNotExist)

// failure is one failed request, understood.
type failure struct {
	kind   error  // the sentinel
	detail string // the service's own code, or what went wrong on the way
	again  bool   // worth another try
	region string // where the bucket is, if the answer says that it is elsewhere
}

// understand sorts an error of the SDK. nil for the caller's own cancelling, which is nobody's failure.
func understand(ctx context.Context, err error) *failure {
	if ctx.Err() != nil {
		return nil
	}
	if refused, ok := errors.AsType[answerError](err); ok {
		return &failure{kind: backends.ErrBadAnswer, detail: refused.what, again: true}
	}
	if known, ok := errors.AsType[knownError](err); ok {
		return &known.failure
	}
	if errors.Is(err, errNoBucket) {
		return &failure{kind: backends.ErrNotExist, detail: "there is no such bucket"}
	}
	var resp *smithyhttp.ResponseError
	// Where no answer came at all, the SDK makes up one with status 0.
	if errors.As(err, &resp) && resp.Response != nil && resp.HTTPStatusCode() != 0 {
		return answered(err, resp.HTTPStatusCode(), resp.Response.Header.Get("X-Amz-Bucket-Region"))
	}
	var netErr net.Error
	var urlErr *url.Error
	switch {
	case errors.Is(err, errStalled), errors.Is(err, context.DeadlineExceeded):
		return &failure{kind: backends.ErrUnreachable, detail: errStalled.Error(), again: true}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &failure{kind: backends.ErrUnreachable, detail: "connection ended early", again: true}
	case errors.As(err, &urlErr):
		return &failure{kind: backends.ErrUnreachable, detail: urlErr.Err.Error(), again: true}
	case errors.As(err, &netErr):
		return &failure{kind: backends.ErrUnreachable, detail: "connection broke", again: true}
	}
	return &failure{kind: backends.ErrBadAnswer, detail: "answer cannot be understood", again: true}
}

// answered sorts an error that the service gave.
func answered(err error, status int, region string) *failure {
	f := &failure{detail: codeOf(err)}
	f.kind = byCode(f.detail)
	if f.detail == "" {
		f.detail = fmt.Sprintf("status %d", status)
	}
	switch {
	case f.kind != nil:
	case status/100 == 2:
		f.kind, f.detail, f.again = backends.ErrBadAnswer, "the answer cannot be understood", true
	case status == http.StatusMovedPermanently || status == http.StatusBadRequest && (region != "" || f.detail == "AuthorizationHeaderMalformed"):
		f.kind, f.region = ErrRegion, region
		f.detail = "the bucket is in another region"
	case status/100 == 3:
		f.kind, f.detail = backends.ErrBadAnswer, "a redirect to another place, which is not followed"
		f.again = true
	default:
		f.again, f.kind = byStatus(status)
	}
	f.again = f.again || errors.Is(f.kind, backends.ErrBusy) || isDigest(f.detail)
	return f
}

func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

// ofKeys knows the codes that tell what is wrong with keys; nil for others.
func ofKeys(code string) error {
	switch code {
	case "InvalidAccessKeyId":
		return ErrKeyUnknown
	case "SignatureDoesNotMatch":
		return ErrSignature
	case "ExpiredToken", "TokenRefreshRequired":
		return ErrKeyExpired
	case "InvalidToken", "InvalidSecurity":
		return backends.ErrAuth
	case "RequestTimeTooSkewed":
		return ErrClock
	}
	return nil
}

// byCode knows S3's error codes ("List of error codes" of its API reference); nil for others.
func byCode(code string) error {
	if kind := ofKeys(code); kind != nil {
		return kind
	}
	switch code {
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return backends.ErrPermission
	case "NoSuchKey", "NoSuchBucket":
		return backends.ErrNotExist
	case "InvalidObjectState":
		return backends.ErrArchived
	case "PreconditionFailed":
		return backends.ErrChanged
	case "EntityTooLarge", "MetadataTooLarge", "RequestHeaderSectionTooLarge", "MaxMessageLengthExceeded":
		return backends.ErrTooLarge
	case "ConditionalRequestConflict", "OperationAborted": // another write of the same key is under way
		return backends.ErrBusy
	case "BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody":
		return backends.ErrBadAnswer
	case "SlowDown", "Throttling", "ThrottlingException", "ServiceUnavailable", "TooManyRequests", "RequestTimeout":
		return backends.ErrBusy
	}
	return nil
}

// isDigest reports whether code says that other bytes arrived than were sent: worth another try.
func isDigest(code string) bool {
	return code == "BadDigest" || code == "XAmzContentChecksumMismatch" || code == "XAmzContentSHA256Mismatch" ||
		code == "IncompleteBody"
}

// statusOf is the status of an answer that was an error, 0 where no answer came.
func statusOf(err error) int {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil {
		return resp.HTTPStatusCode()
	}
	return 0
}

func byStatus(status int) (again bool, kind error) {
	switch status {
	case http.StatusUnauthorized:
		return false, backends.ErrAuth
	case http.StatusForbidden:
		return false, backends.ErrPermission
	case http.StatusNotFound:
		return false, backends.ErrNotExist
	case http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return false, backends.ErrChanged
	case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusConflict:
		return true, backends.ErrBusy
	}
	return status/100 == 5 || status == http.StatusRequestTimeout, backends.ErrBadAnswer
}
