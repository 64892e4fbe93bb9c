// Package writes holds the writing side of backends against a real server.
package writes

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/s3"
	"studyfs/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// part is the least that a real server takes.
const part = 5 << 20

// gateway opens a new bucket of versitygw.
func gateway(t *testing.T, change func(*s3.Options)) (*s3.Source, *awss3.Client, string) {
	t.Helper()
	url, c := harness.Gateway(t)
	bucket := harness.Bucket()
	if _, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	o := s3.Options{
		Bucket: bucket, Prefix: "study/", Endpoint: url, Region: "us-east-1",
		Credentials: s3.Static(s3.Keys{AccessKey: harness.ID, SecretKey: backends.NewSecret(harness.Secret)}),
		Write:       s3.WriteOptions{Threshold: part, PartSize: part},
	}
	if change != nil {
		change(&o)
	}
	src, err := s3.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return src, c, bucket
}

// What is promised of uploads, copies and removals holds on a server that is not of our making.
func TestWriterOnVersityGW(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		src, c, bucket := gateway(t, nil)
		return backendtest.Harness{
			Source: src, Writes: true, Sizes: []int64{part, part + 1},
			Put: func(key string, body []byte) {
				if _, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: aws.String("study/" + key), Body: bytes.NewReader(body)}); err != nil {
					t.Fatal(err)
				}
			},
			Remove: func(key string) {
				if _, err := c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("study/" + key)}); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// An upload that was cut off goes on where it was, and nothing of it stays behind.
func TestResumeOnVersityGW(t *testing.T) {
	src, c, bucket := gateway(t, func(o *s3.Options) { o.Write.Parts = 1 })
	b := backendtest.Noise(3*part+1, 1)
	u := backendtest.Upload("f", b)
	u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
	ctx, cancel := context.WithCancel(t.Context())
	var sent int64
	u.Sent = func(n int64) {
		if sent += n; sent > part+part/2 {
			cancel()
		}
	}
	if _, err := src.Put(ctx, u, bytes.NewReader(b)); !errors.Is(err, context.Canceled) || u.Resume == nil {
		t.Fatalf("%v, %q", err, u.Resume)
	}
	before := src.Counts().BytesOut
	u.Sent = nil
	e, err := src.Put(t.Context(), u, bytes.NewReader(b))
	if err != nil || e.Size != int64(len(b)) {
		t.Fatalf("%+v, %v", e, err)
	}
	if n := src.Counts().BytesOut - before; n > 2*part+100_000 {
		t.Errorf("%d bytes sent again", n)
	}
	left, err := c.ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil || len(left.Uploads) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

// What the first uploads and removals find out about a real server.
func TestAbilitiesOfVersityGW(t *testing.T) {
	src, _, _ := gateway(t, nil)
	b := []byte("body")
	before := src.Counts()
	for _, name := range []string{"a", "b", "c"} {
		e, err := src.Put(t.Context(), backendtest.Upload(name, b), bytes.NewReader(b))
		if err == nil {
			err = src.Remove(t.Context(), e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if a := src.Abilities(); a.Conditions != backends.Able || a.Checksums != backends.Able {
		t.Errorf("%+v", a)
	}
	if n := src.Counts(); n.Put-before.Put != 4 || n.Delete-before.Delete != 4 || n.Head-before.Head != 1 {
		t.Errorf("before %+v, after %+v", before, n)
	}
}

// A bucket can be made, and is recognised as one's own when it is made again.
func TestCreateBucketOnVersityGW(t *testing.T) {
	url, _ := harness.Gateway(t)
	o := s3.Options{
		Bucket: harness.Bucket() + "-made", Endpoint: url, Region: "us-east-1",
		Credentials: s3.Static(s3.Keys{AccessKey: harness.ID, SecretKey: backends.NewSecret(harness.Secret)}),
	}
	if err := s3.CreateBucket(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := s3.CreateBucket(t.Context(), o); !errors.Is(err, s3.ErrBucketYours) {
		t.Errorf("%v", err)
	}
}
