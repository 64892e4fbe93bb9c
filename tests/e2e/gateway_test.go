package e2e

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

// The contract holds against a real server too, not only against our own idea of one.
func TestConformanceOnVersityGW(t *testing.T) {
	url, c := harness.Gateway(t)
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		bucket := harness.Bucket()
		if _, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
			t.Fatal(err)
		}
		src, err := s3.Open(t.Context(), s3.Options{
			Bucket: bucket, Endpoint: url, PageSize: 2,
			Credentials: s3.Static(s3.Keys{AccessKey: harness.ID, SecretKey: backends.NewSecret(harness.Secret)}),
		})
		if err != nil {
			t.Fatal(err)
		}
		return backendtest.Harness{
			Source: src,
			Put: func(key string, body []byte) {
				if _, err := c.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)}); err != nil {
					t.Fatal(err)
				}
			},
			Remove: func(key string) {
				if _, err := c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: aws.String(bucket), Key: &key}); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
