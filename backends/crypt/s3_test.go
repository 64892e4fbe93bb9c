package crypt

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/s3"
	"studyfs/backends/s3/s3test"
)

const testPart = 100_000

func overS3(t testing.TB, w s3.WriteOptions) (*s3test.Server, *s3.Source) {
	t.Helper()
	srv := s3test.New(s3test.Options{MinPart: testPart})
	h := httptest.NewTLSServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("study")
	srv.AddKey(s3test.AccessKey{ID: "AKIA", Secret: "secret"})
	src, err := s3.Open(t.Context(), s3.Options{
		Bucket: "study", Prefix: "v2/", Endpoint: h.URL, Region: "us-east-1", Transport: h.Client().Transport, Write: w,
		Credentials: s3.Static(s3.Keys{AccessKey: "AKIA", SecretKey: backends.NewSecret("secret")}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return srv, src
}

// The contract holds over the service that there is, conditions, parts and all.
func TestConformanceOverS3(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		srv, src := overS3(t, s3.WriteOptions{Threshold: 2 * testPart, PartSize: testPart})
		s := both(t, src)
		return backendtest.Harness{
			Source: s, Writes: true, Sizes: []int64{testPart, 3*testPart + 5},
			Put: func(key string, body []byte) {
				if key[len(key)-1] == '/' {
					srv.Put("study", "v2/"+key, s3test.Bytes(nil))
					return
				}
				u := backendtest.Upload(key, body)
				if e, err := s.Stat(t.Context(), key); err == nil && !e.Dir {
					u.Old = e
				}
				if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err != nil {
					t.Errorf("put %q: %v", key, err)
				}
			},
			Remove: func(key string) { srv.Delete("study", "v2/"+key+".age") },
		}
	})
}
