package s3test_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"studyfs/backends/s3/s3test"
)

func serve(t *testing.T, o s3test.Options) (*s3test.Server, string) {
	t.Helper()
	srv := s3test.New(o)
	h := httptest.NewServer(srv)
	t.Cleanup(func() { srv.Close(); h.Close() })
	srv.CreateBucket("b")
	srv.AddKey(s3test.AccessKey{ID: "AKIAALL", Secret: "all"})
	srv.AddKey(s3test.AccessKey{ID: "AKIAPREFIX", Secret: "prefix", Grants: []s3test.Grant{{Bucket: "b", Prefix: "v2/001/"}}})
	return srv, h.URL
}

func client(url, id, secret, region string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(url), Region: region, UsePathStyle: true, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
		HTTPClient:  &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestSignatures(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	srv.Put("b", "k ey+ü/%41", s3test.Bytes([]byte("hello")))
	get := func(id, secret, region string) string {
		_, err := client(url, id, secret, region).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k ey+ü/%41")})
		return code(err)
	}
	for _, tt := range []struct{ id, secret, region, want string }{
		{"AKIAALL", "all", "us-east-1", ""},
		{"AKIAALL", "wrong", "us-east-1", "SignatureDoesNotMatch"},
		{"AKIANOBODY", "all", "us-east-1", "InvalidAccessKeyId"},
		{"AKIAALL", "all", "eu-west-1", "AuthorizationHeaderMalformed"},
	} {
		if got := get(tt.id, tt.secret, tt.region); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	srv.Revoke("AKIAALL")
	if got := get("AKIAALL", "all", "us-east-1"); got != "InvalidAccessKeyId" {
		t.Errorf("revoked: %q", got)
	}
	srv.Restore("AKIAALL")
	srv.Expire("AKIAALL")
	if got := get("AKIAALL", "all", "us-east-1"); got != "ExpiredToken" {
		t.Errorf("expired: %q", got)
	}
}

func TestPrefixOnlyKeys(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	srv.Put("b", "v2/001/a", s3test.Bytes([]byte("a")))
	srv.Put("b", "v2/002/a", s3test.Bytes([]byte("a")))
	c := client(url, "AKIAPREFIX", "prefix", "us-east-1")
	for prefix, want := range map[string]string{
		"": "AccessDenied", "v2/": "AccessDenied", "v2/001": "AccessDenied", "v2/002/": "AccessDenied", "v2/001/": "", "v2/001/x/": "",
	} {
		_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b"), Prefix: aws.String(prefix)})
		if got := code(err); got != want {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	for key, want := range map[string]string{"v2/001/a": "", "v2/001/none": "NoSuchKey", "v2/002/a": "AccessDenied", "v2/002/none": "AccessDenied"} {
		_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String(key)})
		if got := code(err); got != want {
			t.Errorf("get %q: %q, want %q", key, got, want)
		}
	}
	if _, err := c.ListBuckets(t.Context(), &s3.ListBucketsInput{}); code(err) != "AccessDenied" {
		t.Errorf("ListBuckets: %v", err)
	}
	resp, err := http.Head(url + "/b") //nolint:bodyclose // a HEAD has none
	if err != nil || resp.StatusCode != http.StatusForbidden || resp.Header.Get("x-amz-bucket-region") != "us-east-1" {
		t.Errorf("unsigned HeadBucket: %v, %v", resp, err)
	}
}

func TestListingPagesAreTheWholeListing(t *testing.T) {
	srv, url := serve(t, s3test.Options{PageSize: 2})
	for _, k := range []string{"a-1", "a.txt", "a/b", "a/c/d", "a0", "b/", "é", "x//y", "./z"} {
		srv.Put("b", k, s3test.Bytes([]byte(k)))
	}
	c := client(url, "AKIAALL", "all", "us-east-1")
	for delimiter, want := range map[string]string{
		"":  "./z a-1 a.txt a/b a/c/d a0 b/ x//y é",
		"/": "./ a-1 a.txt a/ a0 b/ x/ é",
	} {
		var got []string
		p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("b"), Delimiter: aws.String(delimiter)})
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := len(out.Contents) + len(out.CommonPrefixes); n > 2 {
				t.Errorf("%d keys on a page of 2", n)
			}
			page := map[string]bool{}
			for _, o := range out.Contents {
				page[*o.Key] = true
			}
			for _, o := range out.CommonPrefixes {
				page[*o.Prefix] = true
			}
			for k := range strings.FieldsSeq(want) {
				if page[k] {
					got = append(got, k)
				}
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("delimiter %q: %q, want %q", delimiter, got, want)
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	tag := srv.Put("b", "k", s3test.Bytes([]byte("0123456789")))
	c := client(url, "AKIAALL", "all", "us-east-1")
	for _, tt := range []struct{ rng, match, body, code string }{
		{"", "", "0123456789", ""},
		{"bytes=2-4", "", "234", ""},
		{"bytes=8-99", "", "89", ""},
		{"bytes=7-", "", "789", ""},
		{"bytes=-2", "", "89", ""},
		{"bytes=10-", "", "", "InvalidRange"},
		{"bytes=2-4", tag, "234", ""},
		{"bytes=2-4", `"other"`, "", "PreconditionFailed"},
	} {
		in := &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}
		if tt.rng != "" {
			in.Range = aws.String(tt.rng)
		}
		if tt.match != "" {
			in.IfMatch = aws.String(tt.match)
		}
		out, err := c.GetObject(t.Context(), in)
		if code(err) != tt.code {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		if err == nil {
			if got, _ := io.ReadAll(out.Body); string(got) != tt.body {
				t.Errorf("%+v: %q", tt, got)
			}
		}
	}
	srv.Put("b", "ice", s3test.Object{Body: bytes.NewReader(nil), Class: "GLACIER"})
	if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("ice")}); code(err) != "InvalidObjectState" {
		t.Errorf("archived: %v", err)
	}
}

func TestWritesAreConditionalAndChecked(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	c := client(url, "AKIAALL", "all", "us-east-1")
	put := func(body string, change func(*s3.PutObjectInput)) string {
		in := &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader(body)}
		change(in)
		_, err := c.PutObject(t.Context(), in)
		return code(err)
	}
	if got := put("one", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*"); in.ChecksumAlgorithm = "CRC32C" }); got != "" {
		t.Error(got)
	}
	if got := put("two", func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }); got != "PreconditionFailed" {
		t.Error(got)
	}
	if got := put("two", func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"no"`) }); got != "PreconditionFailed" {
		t.Error(got)
	}
	if got := put("two", func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") }); got != "BadDigest" {
		t.Error(got)
	}
	if o, _ := srv.Object("b", "k"); o.Size != 3 {
		t.Errorf("stored %d bytes", o.Size)
	}
}

func TestEveryFaultStrikes(t *testing.T) {
	for _, fault := range s3test.Faults() {
		t.Run(string(fault), func(t *testing.T) {
			srv, url := serve(t, s3test.Options{})
			body := bytes.Repeat([]byte("0123456789"), 1000)
			tag := srv.Put("b", "k", s3test.Bytes(body))
			remove := srv.Inject(s3test.Rule{Op: "GetObject", Fault: fault, Wait: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if fault == s3test.Stall || fault == s3test.Delay {
				srv.OnRequest(func(s3test.Request) { time.AfterFunc(100*time.Millisecond, cancel) })
			}
			ok := func(ctx context.Context) bool {
				in := &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Range: aws.String("bytes=10-5009"), IfMatch: aws.String(tag)}
				out, err := client(url, "AKIAALL", "all", "us-east-1").GetObject(ctx, in)
				if err != nil {
					return false
				}
				got, err := io.ReadAll(out.Body)
				return err == nil && bytes.Equal(got, body[10:5010]) && aws.ToString(out.ETag) == tag &&
					aws.ToString(out.ContentRange) == "bytes 10-5009/10000"
			}
			if ok(ctx) {
				t.Error("the answer was right in every respect")
			}
			if r := srv.Requests(); r[0].Fault != fault {
				t.Errorf("log says %q", r[0].Fault)
			}
			remove()
			if !ok(t.Context()) {
				t.Error("the answer is wrong without the fault too")
			}
		})
	}
}

// A listing costs what it shows: a bucket with thousands of times the keys may take a hundred times as long, which no machine is too busy for.
func TestLargeListingIsNotWalked(t *testing.T) {
	took := func(keys int) time.Duration {
		srv, url := serve(t, s3test.Options{})
		for i := range keys {
			srv.Put("b", fmt.Sprintf("v2/001/%c/%06d", 'a'+i%20, i), s3test.Object{ETag: `"x"`})
		}
		c := client(url, "AKIAALL", "all", "us-east-1")
		start := time.Now()
		for range 20 {
			out, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b"), Prefix: aws.String("v2/001/"), Delimiter: aws.String("/")})
			if err != nil || len(out.CommonPrefixes) != 20 {
				t.Fatal(err)
			}
		}
		return time.Since(start)
	}
	if few, many := took(20), took(100_000); many > 100*few {
		t.Errorf("20 listings of 20 keys took %v, of 100,000 %v: every key is walked", few, many)
	}
}
