package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends"
)

var (
	// ErrBucketName says that no bucket can have that name. The text around it says why, and what to do instead.
	ErrBucketName = errors.New("not a possible name of a bucket")
	// ErrBucketYours says that the bucket exists and belongs to the account of the keys: it can be used as it is.
	ErrBucketYours = errors.New("the bucket exists already and is yours")
	// ErrBucketTaken says that the bucket exists and belongs to somebody else, or is hidden from these keys. Nothing may be written into it.
	ErrBucketTaken = errors.New("the bucket exists already and is somebody else's")
)

// The bounds of a bucket's name ("General purpose bucket naming rules", user guide).
const (
	minBucket = 3
	maxBucket = 63
)

// CheckBucketName reports in words why no bucket can be called name, and what to do instead; nil if one can. It wraps ErrBucketName.
func CheckBucketName(name string) error {
	why := bucketTrouble(name)
	if why == "" {
		return nil
	}
	return fmt.Errorf("%q is %w: %s", name, ErrBucketName, why)
}

func bucketTrouble(name string) string {
	switch {
	case len(name) < minBucket:
		return "it has fewer than 3 characters; put the name of the lab in front, as in \"smithlab-" + strings.Trim(strings.ToLower(name), "-._ ") + "\""
	case len(name) > maxBucket:
		return fmt.Sprintf("it has %d characters, and 63 is the most; shorten it", len(name))
	}
	if why := bucketLetters(name); why != "" {
		return why
	}
	switch _, err := netip.ParseAddr(name); {
	case err == nil:
		return "it looks like an internet address; use words"
	case strings.Contains(name, ".."):
		return "it has two dots in a row; use hyphens"
	}
	return bucketReserved(name)
}

// possible is the nearest name that a bucket can have.
func possible(name string) string {
	return strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(name))
}

func bucketLetters(name string) string {
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.':
		case r >= 'A' && r <= 'Z':
			return fmt.Sprintf("it has capital letters; use small ones, as in %q", possible(name))
		case r == '_' || r == ' ':
			return fmt.Sprintf("it has %q in it; use hyphens, as in %q", r, possible(name))
		default:
			return fmt.Sprintf("it has %q in it; only small letters, digits, hyphens and dots are possible", r)
		}
	}
	if strings.ContainsAny(name[:1], "-.") || strings.ContainsAny(name[len(name)-1:], "-.") {
		return "it must begin and end with a letter or a digit; leave the hyphen or dot away"
	}
	return ""
}

// bucketReserved names the beginnings and ends that AWS keeps for itself.
func bucketReserved(name string) string {
	for _, begin := range []string{"xn--", "sthree-", "amzn-s3-demo-"} {
		if strings.HasPrefix(name, begin) {
			return fmt.Sprintf("AWS keeps names that begin with %q for itself; begin with another word", begin)
		}
	}
	for _, end := range []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"} {
		if strings.HasSuffix(name, end) {
			return fmt.Sprintf("AWS keeps names that end with %q for itself; end with another word", end)
		}
	}
	if strings.HasSuffix(name, "-an") {
		return "AWS keeps names that end with \"-an\" for buckets of one account and region; end with another word"
	}
	return ""
}

// CreateBucket makes the bucket that o names, in o's region, that of the profile, or the default one. ErrBucketYours and ErrBucketTaken tell whose
// it is if there is one already; ErrBucketName that there can be none.
func CreateBucket(ctx context.Context, o Options) error {
	if err := CheckBucketName(o.Bucket); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	creds, region, err := o.Credentials.resolve(ctx, o.Now)
	if err != nil {
		return err
	}
	if o.Region != "" {
		region = o.Region
	}
	if region == "" {
		region = defaultRegion
	}
	s := &Source{o: o, creds: creds, wire: newTransport(o)}
	s.use(region)
	if region == defaultRegion {
		if err := s.whose(ctx, o.Bucket); err != nil {
			return fmt.Errorf("make bucket %s: %w", o.Bucket, err)
		}
	}
	return s.make(ctx, o.Bucket, region)
}

// whose looks for the bucket first: in AWS's us-east-1 a second CreateBucket of one's own is a success, which also resets its access rights.
func (s *Source) whose(ctx context.Context, bucket string) error {
	status := 0
	err := s.try(ctx, "look for", bucket, func(ctx context.Context) error {
		_, err := s.api().HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(bucket)})
		switch status = statusOf(err); status {
		case http.StatusNotFound, http.StatusForbidden, http.StatusMovedPermanently, http.StatusBadRequest:
			return nil
		}
		return err
	})
	if err != nil || status == http.StatusNotFound {
		return err
	}
	return s.listed(ctx, bucket)
}

// listed tells whether a bucket that exists is among those of the account.
func (s *Source) listed(ctx context.Context, bucket string) error {
	out, err := s.api().ListBuckets(ctx, &s3.ListBucketsInput{Prefix: aws.String(bucket)})
	if err != nil {
		switch f := understand(ctx, err); {
		case f == nil:
			return ctx.Err()
		case f.kind == backends.ErrAuth: //nolint:errorlint // kinds are the sentinels themselves
			return fmt.Errorf("%w: %s", f.kind, f.detail)
		case s.o.Endpoint != "":
			return nil // other services tell when they are asked for it
		}
		return fmt.Errorf("%w, or these keys may not see that it is yours", ErrBucketTaken)
	}
	for _, b := range out.Buckets {
		if aws.ToString(b.Name) == bucket {
			return ErrBucketYours
		}
	}
	return ErrBucketTaken
}

func (s *Source) make(ctx context.Context, bucket, region string) error {
	in := &s3.CreateBucketInput{Bucket: aws.String(bucket)}
	if region != defaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	}
	again := false
	return s.try(ctx, "make bucket", bucket, func(ctx context.Context) error {
		_, err := s.api().CreateBucket(ctx, in)
		retry := again
		again = true
		switch codeOf(err) {
		case "BucketAlreadyOwnedByYou":
			if retry {
				return nil // the answer of the first try was lost
			}
			return knownError{failure{kind: ErrBucketYours, detail: region}}
		case "BucketAlreadyExists":
			return knownError{failure{kind: ErrBucketTaken, detail: "names are shared by everybody; put the name of the lab in front"}}
		case "InvalidBucketName":
			return knownError{failure{kind: ErrBucketName, detail: "the service refuses it"}}
		}
		return err
	})
}
