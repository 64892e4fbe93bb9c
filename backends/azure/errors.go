package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"studyfs/backends"
)

// answerError marks an answer that was refused here.
type answerError struct{ what string }

func (e answerError) Error() string { return e.what }

// bad returns an answer's refusal.
func bad(format string, args ...any) error { return answerError{fmt.Sprintf(format, args...)} }

// failure is one failed request, understood.
type failure struct {
	kind   error  // the sentinel
	detail string // the service's own code, or what went wrong on the way
	again  bool   // worth another try
}

// understand sorts an error of the SDK, whose own text is never passed on: it holds the address with all that is in it, a SAS among
// that. nil for the caller's own cancelling, which is nobody's failure.
func understand(ctx context.Context, err error) *failure {
	if ctx.Err() != nil {
		return nil
	}
	if refused, ok := errors.AsType[answerError](err); ok {
		return &failure{kind: backends.ErrBadAnswer, detail: refused.what, again: true}
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answered(answer.ErrorCode, answer.StatusCode)
	}
	if errors.Is(err, backends.ErrAuth) { // our own, of a token
		return &failure{kind: backends.ErrAuth, detail: "the access token has expired"}
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
func answered(code string, status int) *failure {
	f := &failure{kind: byCode(bloberror.Code(code)), detail: code}
	if code == "" {
		f.detail = fmt.Sprintf("status %d", status)
	}
	switch {
	case f.kind != nil:
	case status/100 == 2:
		f.kind, f.detail, f.again = backends.ErrBadAnswer, "the answer cannot be understood", true
	case status/100 == 3:
		f.kind, f.detail, f.again = backends.ErrBadAnswer, "a redirect to another place, which is not followed", true
	default:
		f.again, f.kind = byStatus(status)
	}
	f.again = f.again || errors.Is(f.kind, backends.ErrBusy)
	return f
}

// byCode knows the error codes of Azure ("Status and error codes", "Blob Storage error codes" of its REST reference); nil for others.
func byCode(code bloberror.Code) error {
	switch code {
	case bloberror.AuthenticationFailed, bloberror.InvalidAuthenticationInfo, bloberror.NoAuthenticationInformation,
		bloberror.AccountIsDisabled, "KeyBasedAuthenticationNotPermitted":
		return backends.ErrAuth
	case bloberror.AuthorizationFailure, bloberror.AuthorizationPermissionMismatch, bloberror.AuthorizationProtocolMismatch,
		bloberror.AuthorizationResourceTypeMismatch, bloberror.AuthorizationServiceMismatch, bloberror.AuthorizationSourceIPMismatch,
		bloberror.InsufficientAccountPermissions, "PublicAccessNotPermitted":
		return backends.ErrPermission
	case bloberror.BlobNotFound, bloberror.ContainerNotFound, bloberror.ResourceNotFound, bloberror.ContainerBeingDeleted, bloberror.ContainerDisabled:
		return backends.ErrNotExist
	case bloberror.BlobArchived, bloberror.BlobBeingRehydrated:
		return backends.ErrArchived
	case bloberror.ConditionNotMet, bloberror.InvalidRange:
		return backends.ErrChanged
	case bloberror.ServerBusy, bloberror.AccountBeingCreated, bloberror.OperationTimedOut:
		return backends.ErrBusy
	default:
		return nil
	}
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
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return true, backends.ErrBusy
	}
	return status/100 == 5 || status == http.StatusRequestTimeout, backends.ErrBadAnswer
}
