package s3

import (
	"context"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"studyfs/backends"
)

// neverTag is an ETag that no object has.
const neverTag = `"00000000000000000000000000000000"`

// Remove deletes exactly this version of e. Services that know the conditions of writes may still ignore that of a delete, so the first
// removal finds out with the object itself, after a look at it; where the condition is ignored, every removal looks first.
func (s *Source) Remove(ctx context.Context, e backends.Entry) error {
	if e.Name == "" || !backends.ValidName(e.Name) {
		return fmt.Errorf("remove: %w", backends.ErrName)
	}
	key := s.keyOf(e.Name, e.Dir)
	return s.try(ctx, "remove", e.Name, func(ctx context.Context) error {
		if e.Dir {
			return s.remove(ctx, key, nil)
		}
		able := s.able.delete()
		if able == backends.Able {
			return s.remove(ctx, key, aws.String(e.Version))
		}
		_, there, err := s.look(ctx, key)
		switch {
		case err != nil || there == "":
			return err
		case !sameTag(there, e.Version):
			return broken()
		case able == backends.Unable:
			return s.remove(ctx, key, nil)
		}
		return s.firstRemove(ctx, key, e.Version)
	})
}

// firstRemove asks for the removal under a condition that does not hold, of an object that is to be removed anyhow.
func (s *Source) firstRemove(ctx context.Context, key, version string) error {
	out, err := s.api().DeleteObject(ctx, s.removal(key, aws.String(neverTag)))
	switch status := statusOf(err); {
	case err == nil && rawStatus(out.ResultMetadata) != http.StatusNoContent:
		return bad("status %d for a removal", rawStatus(out.ResultMetadata)) // the next try looks whether it is gone
	case err == nil: // it is gone, as it should
		s.able.deleting(backends.Unable)
		return nil
	case status == http.StatusPreconditionFailed:
		s.able.deleting(backends.Able)
		return s.remove(ctx, key, aws.String(version))
	case status == http.StatusNotImplemented:
		s.able.deleting(backends.Unable)
		return s.remove(ctx, key, nil)
	case status == http.StatusNotFound:
		return gone(err)
	}
	return err
}

func (s *Source) removal(key string, ifMatch *string) *s3.DeleteObjectInput {
	return &s3.DeleteObjectInput{
		Bucket: aws.String(s.o.Bucket), Key: aws.String(key), IfMatch: ifMatch, ExpectedBucketOwner: s.owner(), RequestPayer: s.payer(),
	}
}

func (s *Source) remove(ctx context.Context, key string, ifMatch *string) error {
	out, err := s.api().DeleteObject(ctx, s.removal(key, ifMatch))
	if err == nil && rawStatus(out.ResultMetadata) != http.StatusNoContent {
		if _, there, failed := s.look(ctx, key); failed != nil || there != "" { // a login page in between also says 200
			return bad("status %d for a removal", rawStatus(out.ResultMetadata))
		}
	}
	switch statusOf(err) {
	case http.StatusNotFound:
		return gone(err)
	case http.StatusPreconditionFailed:
		if _, there, failed := s.look(ctx, key); failed != nil || there == "" {
			return failed // services differ in what they say of a condition on nothing
		}
		return broken()
	}
	return err
}

// gone is what a 404 means: success, unless it is the bucket that is missing.
func gone(err error) error {
	if codeOf(err) == "NoSuchBucket" {
		return err
	}
	return nil
}

func (a *abilities) delete() backends.Ability {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deletes
}

func (a *abilities) deleting(found backends.Ability) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deletes = found
}
