package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends"
)

// Source is a bucket, or what lies below a prefix of it. It is safe for concurrent use.
type Source struct {
	o    Options
	wire *transport

	retries atomic.Int64
	hidden  hiddenKeys
	able    abilities

	mu           sync.Mutex // guards the fields below; a leaf
	client       *s3.Client
	creds        aws.CredentialsProvider
	region       string
	moved        bool // the region was corrected once
	noAttributes bool // the store does not know OptionalObjectAttributes
	trouble      error
}

var (
	_ backends.Source = (*Source)(nil)
	_ backends.Seeker = (*Source)(nil)
)

// Open makes ready to read. With a region given, by Options, profile or environment, it sends nothing; else it asks for the region with one
// unsigned request.
func Open(ctx context.Context, o Options) (*Source, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	creds, region, err := o.Credentials.resolve(ctx, o.Now)
	if err != nil {
		return nil, err
	}
	s := &Source{o: o, creds: creds, wire: newTransport(o)}
	s.able.known = o.Write.Abilities
	if o.Region != "" {
		region = o.Region
	}
	if region == "" {
		if region, err = s.findRegion(ctx); err != nil {
			return nil, err
		}
	}
	s.use(region)
	return s, nil
}

// Region returns the region that requests are signed for now.
func (s *Source) Region() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.region
}

// Counts tells what was sent and received so far.
func (s *Source) Counts() backends.Counts {
	c := s.wire.counts()
	c.Retries = s.retries.Load()
	c.HiddenKeys = s.hidden.count()
	return c
}

// pathStyle: other stores have no wildcard host names, and a dot in the bucket's name does not match AWS's certificate.
func (s *Source) pathStyle() bool { return s.o.Endpoint != "" || strings.Contains(s.o.Bucket, ".") }

// use signs for region from now on. The caller holds mu, or is the only one yet.
func (s *Source) use(region string) {
	so := s3.Options{
		Region: region, Credentials: s.creds, HTTPClient: s.wire.client(), Retryer: aws.NopRetryer{}, UsePathStyle: s.pathStyle(),
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired, // of ranges there is none; see checkRange
		DisableLogOutputChecksumValidationSkipped: true,
	}
	if s.o.Endpoint != "" {
		so.BaseEndpoint = aws.String(s.o.Endpoint)
	}
	s.client, s.region = s3.New(so), region
}

// move corrects the region after an answer to a request signed for asked, and reports whether another try makes sense. It moves once: a
// service that sends us back and forth is not followed. Requests that were under way meanwhile try again in the right region too.
func (s *Source) move(asked, region string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.region != asked {
		return true
	}
	if s.moved || region == s.region {
		return false
	}
	s.moved = true
	s.use(region)
	return true
}

func (s *Source) api() *s3.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

func (s *Source) payer() types.RequestPayer {
	if s.o.RequesterPays {
		return types.RequestPayerRequester
	}
	return ""
}

// findRegion asks with an unsigned HeadBucket, which tells the region in its header for 200, 301, 400 and 403 alike
// (documentation of HeadBucket). Where the header is missing, the bucket's name or the default is a first guess, which the
// first signed answer corrects.
func (s *Source) findRegion(ctx context.Context) (string, error) {
	var region string
	err := s.try(ctx, "find the region of", s.o.Bucket, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, s.bucketURL(), nil)
		if err != nil {
			return bad("bucket name %q does not fit in a URL", s.o.Bucket)
		}
		resp, err := s.wire.client().Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close() //nolint:errcheck // an answer to HEAD has none
		region = resp.Header.Get("X-Amz-Bucket-Region")
		if region == "" && (resp.StatusCode == http.StatusServiceUnavailable || resp.StatusCode == http.StatusInternalServerError) {
			return bad("status %d", resp.StatusCode)
		}
		if region == "" && resp.StatusCode == http.StatusNotFound {
			return errNoBucket
		}
		return nil
	})
	if errors.Is(err, backends.ErrUnreachable) || errors.Is(err, backends.ErrNotExist) || ctx.Err() != nil {
		return "", err
	}
	if region == "" {
		region = guessRegion(s.o.Bucket)
	}
	return region, nil
}

// guessRegion finds a region's name in a bucket's, as in "study-data-us-east-1-prod".
func guessRegion(bucket string) string {
	parts := strings.Split(bucket, "-")
	for i := 0; i+2 < len(parts); i++ {
		area, n := parts[i], parts[i+2]
		if len(area) == 2 && len(n) == 1 && n >= "1" && n <= "9" && strings.Contains("north south east west central northeast northwest southeast southwest", parts[i+1]) {
			return strings.Join(parts[i:i+3], "-")
		}
	}
	return defaultRegion
}

func (s *Source) bucketURL() string {
	switch {
	case s.o.Endpoint != "":
		return strings.TrimSuffix(s.o.Endpoint, "/") + "/" + url.PathEscape(s.o.Bucket)
	case s.pathStyle():
		return "https://s3.amazonaws.com/" + url.PathEscape(s.o.Bucket)
	}
	return "https://" + s.o.Bucket + ".s3.amazonaws.com/"
}

// key returns the bucket's key of a name.
func (s *Source) key(name string) string { return s.o.Prefix + name }
