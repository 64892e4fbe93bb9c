package s3

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends"
)

var _ backends.Examiner = (*Source)(nil)

// Examine asks for what the service knows of an object. Keys that may not list the bucket get ErrPermission where there is nothing.
func (s *Source) Examine(ctx context.Context, name string) (st backends.Stored, err error) {
	if name == "" || !backends.ValidName(name) {
		return st, fmt.Errorf("examine: %w", backends.ErrNotExist)
	}
	err = s.try(ctx, "examine", name, func(ctx context.Context) error {
		out, err := s.head(ctx, s.key(name))
		if err == nil {
			st, err = storedOf(name, out)
		}
		return err
	})
	return st, err
}

func (s *Source) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return s.api().HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: aws.String(s.o.Bucket), Key: aws.String(key), ChecksumMode: types.ChecksumModeEnabled,
		ExpectedBucketOwner: s.owner(), RequestPayer: s.payer(),
	})
}

// look is one try of finding out what lies under a key: its ETag, "" for nothing.
func (s *Source) look(ctx context.Context, key string) (st backends.Stored, etag string, err error) {
	out, err := s.head(ctx, key)
	if err != nil {
		if f := understand(ctx, err); f != nil && f.kind == backends.ErrNotExist { //nolint:errorlint // kinds are the sentinels themselves
			return st, "", nil
		}
		return st, "", err
	}
	st, err = storedOf("", out)
	return st, st.Entry.Version, err
}

// storedOf reads the answer to a HEAD.
func storedOf(name string, out *s3.HeadObjectOutput) (st backends.Stored, err error) {
	if aws.ToString(out.ETag) == "" || out.ContentLength == nil {
		return st, bad("an object without size or ETag")
	}
	st.Entry = entryOf(name, *out.ContentLength, *out.ETag, aws.ToTime(out.LastModified), string(out.StorageClass))
	st.Entry.Tier = tierOfHead(out)
	st.Meta = map[string]string{}
	for k, v := range out.Metadata {
		st.Meta[strings.ToLower(k)] = v
	}
	if out.ChecksumType != types.ChecksumTypeComposite {
		st.CRC64NVME, st.HasCRC = decodeSum(out.ChecksumCRC64NVME)
	}
	return st, nil
}

// tierOfHead tells from the answer to a HEAD, which knows more than a listing, whether the object can be read.
func tierOfHead(out *s3.HeadObjectOutput) backends.Tier {
	restore := aws.ToString(out.Restore)
	switch archived := out.ArchiveStatus != "" || out.StorageClass == types.StorageClassGlacier || out.StorageClass == types.StorageClassDeepArchive; {
	case !archived, strings.Contains(restore, `ongoing-request="false"`):
		return backends.Online
	case strings.Contains(restore, `ongoing-request="true"`):
		return backends.Restoring
	}
	return backends.Archived
}
