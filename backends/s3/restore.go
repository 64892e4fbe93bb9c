package s3

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"studyfs/backends"
)

var _ backends.Restorer = (*Source)(nil)

// Restore asks for a copy of an archived object: one request.
func (s *Source) Restore(ctx context.Context, e backends.Entry, days int, tier string) (now backends.Tier, err error) {
	in := &s3.RestoreObjectInput{
		Bucket: aws.String(s.o.Bucket), Key: aws.String(s.key(e.Name)), ExpectedBucketOwner: s.owner(), RequestPayer: s.payer(),
		RestoreRequest: &types.RestoreRequest{Days: aws.Int32(int32(days)), GlacierJobParameters: &types.GlacierJobParameters{Tier: tierNamed(tier)}}, //nolint:gosec // checked below
	}
	if days < 1 || days > maxDays || in.RestoreRequest.GlacierJobParameters.Tier == "" || e.Dir || !backends.ValidName(e.Name) {
		return e.Tier, fmt.Errorf("restore %s: for %d days, tier %q: not a restore", e.Name, days, tier)
	}
	if e.Class == string(types.StorageClassIntelligentTiering) {
		in.RestoreRequest.Days = nil // it moves back for good, and days are refused
	}
	err = s.try(ctx, "restore", e.Name, func(ctx context.Context) error {
		out, err := s.api().RestoreObject(ctx, in)
		if err == nil {
			now, err = restoredAs(out.ResultMetadata)
			return err
		}
		now, err = notRestored(err)
		return err
	})
	return now, err
}

// maxDays bounds how long copies are asked for, since each day of them is paid for.
const maxDays = 3650

func tierNamed(tier string) types.Tier {
	switch tier {
	case backends.RestoreBulk:
		return types.TierBulk
	case backends.RestoreStandard:
		return types.TierStandard
	case backends.RestoreExpedited:
		return types.TierExpedited
	}
	return ""
}

// restoredAs reads a good answer: 202 for what has begun, 200 for a copy that is there already. Neither has a body: one with a body is
// somebody else's, a login page.
func restoredAs(m middleware.Metadata) (backends.Tier, error) {
	raw, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response)
	switch {
	case !ok || raw.ContentLength > 0:
	case raw.StatusCode == http.StatusAccepted:
		return backends.Restoring, nil
	case raw.StatusCode == http.StatusOK:
		return backends.Online, nil
	}
	return backends.Archived, bad("not the answer to a restore")
}

// notRestored sorts the errors that are no failures, and those that are about the tier ("RestoreObject", special errors).
func notRestored(err error) (backends.Tier, error) {
	switch codeOf(err) {
	case "RestoreAlreadyInProgress":
		return backends.Restoring, nil
	case "InvalidObjectState": // of this request it says that the object's class is none that is restored
		return backends.Online, nil
	case "GlacierExpeditedRetrievalNotAvailable":
		return backends.Archived, knownError{failure{kind: backends.ErrTier, detail: "the service has no room for expedited restores now"}}
	case "InvalidArgument":
		return backends.Archived, knownError{failure{kind: backends.ErrTier, detail: "the storage class does not have it"}}
	}
	return backends.Archived, err
}
