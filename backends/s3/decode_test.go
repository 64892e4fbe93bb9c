package s3

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// canned answers every request with one body.
type canned struct{ body string }

func (c canned) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(c.body)),
		ContentLength: int64(len(c.body)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func listWith(t testing.TB, body string, with ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	t.Helper()
	client := s3.New(s3.Options{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: canned{body}, Retryer: aws.NopRetryer{}})
	out, err := client.ListObjectsV2(context.Background(), &s3.ListObjectsV2Input{Bucket: aws.String("study")}, with...)
	if err != nil {
		return nil, err
	}
	// What nobody here uses is not decoded.
	return &s3.ListObjectsV2Output{
		Name: out.Name, Prefix: out.Prefix, EncodingType: out.EncodingType, IsTruncated: out.IsTruncated, Contents: out.Contents, CommonPrefixes: out.CommonPrefixes,
	}, nil
}

const plainListing = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>study</Name><Prefix>a/</Prefix><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys>
<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>abc=</NextContinuationToken>
<Contents><Key>a/1%26.csv</Key><LastModified>2026-11-01T10:00:00.000Z</LastModified><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag>` +
	`<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><Size>12</Size><StorageClass>STANDARD</StorageClass></Contents>
<Contents><Key>a/2</Key><LastModified>2026-11-01T10:00:00Z</LastModified><ETag>"x"</ETag><Size>0</Size><Owner><ID>1</ID><DisplayName/></Owner>` +
	`<StorageClass>GLACIER</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate>2026-12-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus></Contents>
<CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>a/c/</Prefix></CommonPrefixes></ListBucketResult>`

// A listing is decoded as the SDK would decode it.
func TestDecodeIsTheSDKs(t *testing.T) {
	for name, body := range map[string]string{
		"plain":              plainListing,
		"empty":              `<ListBucketResult><Name>study</Name><IsTruncated>false</IsTruncated></ListBucketResult>`,
		"empty elements":     `<ListBucketResult><Name/><Prefix></Prefix><IsTruncated>false</IsTruncated><Contents/></ListBucketResult>`,
		"space":              "\n <ListBucketResult >\n\t<Name>study</Name>\n</ListBucketResult>\n",
		"text not in ASCII":  strings.Replace(plainListing, "a/2", "a/ü", 1),
		"a CDATA section":    strings.Replace(plainListing, "a/2", "<![CDATA[a/2]]>", 1),
		"a comment":          strings.Replace(plainListing, "<Contents>", "<!-- x --><Contents>", 1),
		"other references":   strings.Replace(plainListing, "a/2", "&#97;/2", 1),
		"a name space":       strings.ReplaceAll(strings.Replace(plainListing, "<Owner>", `<Owner xmlns:x="y" x:type="z>">`, 1), "a/2", "a&gt;2"),
		"lower case":         strings.NewReplacer("<Key>", "<key>", "</Key>", "</key>").Replace(plainListing),
		"twice":              strings.Replace(plainListing, "<Size>12</Size>", "<Size>12</Size><Size>13</Size>", 1),
		"something behind":   plainListing + "<a/>",
		"an unfinished name": plainListing[:len(plainListing)-3],
		"cut off":            plainListing[:len(plainListing)/2],
		"a login page":       "<!doctype html><html><body>Please log in</body></html>",
		"no size":            strings.Replace(plainListing, "<Size>12</Size>", "<Size></Size>", 1),
		"another time":       strings.Replace(plainListing, "2026-11-01T10:00:00Z", "2026-11-01T10:00:00+02:00", 1),
		"nothing":            "",
	} {
		t.Run(name, func(t *testing.T) { compareDecoders(t, body, false) })
	}
	if _, ok := decodeListing([]byte(plainListing)); !ok {
		t.Error("an ordinary listing is left to the SDK")
	}
}

// compareDecoders compares what both make of a body. lenient: what the SDK refuses does not count.
func compareDecoders(t *testing.T, body string, lenient bool) {
	t.Helper()
	theirs, err := listWith(t, body)
	ours, ourErr := listWith(t, body, quickly)
	if (err == nil) != (ourErr == nil) && !lenient {
		t.Fatalf("the SDK says %v, we %v", err, ourErr)
	}
	if err == nil && !reflect.DeepEqual(normal(ours), normal(theirs)) {
		t.Fatalf("got  %+v\nwant %+v", ours, theirs)
	}
}

// normal is without what nobody here asks for, and has no difference between no lines and none.
func normal(out *s3.ListObjectsV2Output) *s3.ListObjectsV2Output {
	for i := range out.Contents {
		out.Contents[i].ChecksumAlgorithm, out.Contents[i].ChecksumType, out.Contents[i].Owner = nil, "", nil
	}
	if len(out.Contents) == 0 {
		out.Contents = nil
	}
	if len(out.CommonPrefixes) == 0 {
		out.CommonPrefixes = nil
	}
	return out
}

func FuzzDecodeListing(f *testing.F) {
	f.Add([]byte(plainListing))
	f.Add([]byte(`<ListBucketResult a="b"><Contents><Key>&amp;&#34;</Key><Owner><ID><X/></ID></Owner></Contents></ListBucketResult>`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, ok := decodeListing(raw); ok {
			compareDecoders(t, string(raw), true)
		}
	})
}

// BenchmarkDecode is what a page of 1,000 keys costs: here and in the SDK.
func BenchmarkDecode(b *testing.B) {
	line := plainListing[strings.Index(plainListing, "<Contents>") : strings.Index(plainListing, "</Contents>")+len("</Contents>")]
	var body bytes.Buffer
	body.WriteString(`<ListBucketResult><Name>study</Name><IsTruncated>false</IsTruncated>`)
	for range 1000 {
		body.WriteString(line)
	}
	body.WriteString(`</ListBucketResult>`)
	for name, with := range map[string][]func(*s3.Options){"ours": {quickly}, "sdk": nil} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out, err := listWith(b, body.String(), with...); err != nil || len(out.Contents) != 1000 {
					b.Fatal(err)
				}
			}
		})
	}
}
