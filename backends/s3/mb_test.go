package s3

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"studyfs/backends/s3/s3test"
)

// People name buckets as they name studies. Each refusal says what is wrong and what would be right.
func TestBucketNames(t *testing.T) {
	for _, good := range []string{"smithlab-study", "a1b", "study.2026", strings.Repeat("x", 63), "1-2-3"} {
		if err := CheckBucketName(good); err != nil {
			t.Errorf("%v", err)
		}
	}
	for bad, says := range map[string]string{
		"":                      "fewer than 3",
		"ab":                    "fewer than 3",
		strings.Repeat("x", 64): "64 characters",
		"Study_A":               "capital",
		"study_a":               `"study-a"`,
		"my study":              `"my-study"`,
		"étude":                 "only small letters",
		"a/b/c":                 "only small letters",
		"-study":                "begin and end",
		"study.":                "begin and end",
		"a..b":                  "two dots",
		"192.168.1.1":           "internet address",
		"xn--study":             "begin with",
		"sthree-study":          "begin with",
		"amzn-s3-demo-study":    "begin with",
		"study-s3alias":         "end with",
		"study--x-s3":           "end with",
		"study.mrap":            "end with",
		"study--ol-s3":          "end with",
		"study--table-s3":       "end with",
		"study-an":              "-an",
	} {
		if err := CheckBucketName(bad); !errors.Is(err, ErrBucketName) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something of %q", bad, err, says)
		}
	}
}

// A name that is taken must never be mistaken for one's own bucket: what is written into a stranger's bucket is the stranger's.
func TestCreateBucket(t *testing.T) {
	for _, region := range []string{"us-east-1", "eu-central-1"} {
		srv := s3test.New(s3test.Options{Region: region})
		h := httptest.NewServer(srv)
		t.Cleanup(func() { srv.Close(); h.Close() })
		srv.AddKey(s3test.AccessKey{ID: testID, Secret: testSecret})
		srv.CreateBucket("strangers")
		srv.SetOwner("strangers", "999988887777")
		o := options(h.URL)
		o.Prefix, o.Region = "", region
		for _, c := range []struct {
			bucket string
			want   error
		}{
			{"smithlab-new", nil}, {"smithlab-new", ErrBucketYours}, {"strangers", ErrBucketTaken}, {"No", ErrBucketName},
		} {
			o.Bucket = c.bucket
			if err := CreateBucket(t.Context(), o); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%s in %s: %v, want %v", c.bucket, region, err, c.want)
			}
		}
		o.Bucket = "smithlab-lost"
		srv.Inject(s3test.Rule{Op: s3test.OpCreateBucket, Fault: s3test.Lost, Times: 1})
		if err := CreateBucket(t.Context(), o); err != nil {
			t.Errorf("its answer was lost: %v", err)
		}
	}
}
