// Package writes holds the writing side of backends against a real server.
package writes

import (
	"bytes"
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
