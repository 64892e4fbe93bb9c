package s3test_test

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends/s3/s3test"
)

func nvme(b []byte) *string {
	h := crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5))
	h.Write(b)
	return aws.String(base64.StdEncoding.EncodeToString(h.Sum(nil)))
}

// multi is one upload in parts of bucket "b", key "k".
type multi struct {
	t     *testing.T
	c     *s3.Client
	id    *string
	parts []types.CompletedPart
}

func begin(t *testing.T, c *s3.Client, change func(*s3.CreateMultipartUploadInput)) *multi {
	t.Helper()
	in := &s3.CreateMultipartUploadInput{
		Bucket: aws.String("b"), Key: aws.String("k"), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	}
	if change != nil {
		change(in)
	}
	out, err := c.CreateMultipartUpload(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return &multi{t: t, c: c, id: out.UploadId}
}

func (m *multi) part(number int32, body string, change func(*s3.UploadPartInput)) string {
	m.t.Helper()
	in := &s3.UploadPartInput{
		Bucket: aws.String("b"), Key: aws.String("k"), UploadId: m.id, PartNumber: aws.Int32(number), Body: strings.NewReader(body),
		ChecksumCRC64NVME: nvme([]byte(body)),
	}
	if change != nil {
		change(in)
	}
	out, err := m.c.UploadPart(m.t.Context(), in)
	if err == nil {
		m.parts = append(m.parts, types.CompletedPart{
			ETag: out.ETag, PartNumber: aws.Int32(number), ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumSHA256: out.ChecksumSHA256,
		})
	}
	return code(err)
}

func (m *multi) complete(change func(*s3.CompleteMultipartUploadInput)) (*s3.CompleteMultipartUploadOutput, string) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: aws.String("b"), Key: aws.String("k"), UploadId: m.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: slices.Clone(m.parts)},
	}
	if change != nil {
		change(in)
	}
	out, err := m.c.CompleteMultipartUpload(m.t.Context(), in)
	return out, code(err)
}

func read(t *testing.T, srv *s3test.Server, key string) string {
	t.Helper()
	o, ok := srv.Object("b", key)
	if !ok {
		return "(nothing)"
	}
	got, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size))
	if err != nil {
		t.Error(err)
	}
	return string(got)
}

// What was sent in parts is one object afterwards, with AWS's ETag, the sum of the whole, and the date of the beginning; before, it
// is nowhere to be seen.
func TestUploadInParts(t *testing.T) {
	srv, url := serve(t, s3test.Options{MinPart: 4})
	c := client(url, "AKIAALL", "all", "us-east-1")
	m := begin(t, c, func(in *s3.CreateMultipartUploadInput) {
		in.Metadata = map[string]string{"mtime": "1.5"}
		in.StorageClass = types.StorageClassStandardIa
	})
	began := srv.Uploads("b")[0].Initiated
	for i, body := range []string{"first", "old one", "end"} {
		if got := m.part(int32(i+1), body, nil); got != "" {
			t.Fatal(got)
		}
	}
	m.parts = slices.Delete(m.parts, 1, 2)
	m.part(2, "second", nil) // replaces "old one"
	slices.SortFunc(m.parts, func(a, b types.CompletedPart) int { return int(*a.PartNumber - *b.PartNumber) })
	if _, ok := srv.Object("b", "k"); ok || len(srv.Uploads("b")) != 1 || len(srv.Uploads("b")[0].Parts) != 3 {
		t.Errorf("before the end: %+v", srv.Uploads("b"))
	}
	whole := "firstsecondend"
	out, got := m.complete(func(in *s3.CompleteMultipartUploadInput) {
		in.ChecksumCRC64NVME, in.ChecksumType, in.MpuObjectSize, in.IfNoneMatch = nvme([]byte(whole)), "FULL_OBJECT", aws.Int64(14), aws.String("*")
	})
	if got != "" {
		t.Fatal(got)
	}
	var sums []byte
	for _, body := range []string{"first", "second", "end"} {
		sum := md5.Sum([]byte(body))
		sums = append(sums, sum[:]...)
	}
	sum := md5.Sum(sums)
	if want := `"` + hex.EncodeToString(sum[:]) + `-3"`; *out.ETag != want || aws.ToString(out.ChecksumCRC64NVME) != *nvme([]byte(whole)) {
		t.Errorf("%s, %s", *out.ETag, aws.ToString(out.ChecksumCRC64NVME))
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), ChecksumMode: "ENABLED"})
	if err != nil || *head.ContentLength != 14 || head.Metadata["mtime"] != "1.5" || head.StorageClass != "STANDARD_IA" || *head.ETag != *out.ETag ||
		aws.ToString(head.ChecksumCRC64NVME) != *nvme([]byte(whole)) || head.ChecksumType != "FULL_OBJECT" || !head.LastModified.Equal(began.UTC().Truncate(time.Second)) {
		t.Errorf("%+v, %v", head, err)
	}
	if read(t, srv, "k") != whole || len(srv.Uploads("b")) != 0 {
		t.Errorf("stored %q, left %v", read(t, srv, "k"), srv.Uploads("b"))
	}
	o, _ := srv.Object("b", "k")
	for off := range 14 { // parts are joined at every place
		p := make([]byte, 14-off)
		if n, err := o.Body.ReadAt(p, int64(off)); n != len(p) || err != nil || string(p) != whole[off:] {
			t.Errorf("at %d: %q, %v", off, p[:n], err)
		}
	}
}

// A part or a completion that is wrong in one respect is refused with AWS's code, and nothing appears.
func TestUploadInPartsIsChecked(t *testing.T) {
	none := func(*s3.UploadPartInput) {}
	for name, tt := range map[string]struct {
		part     func(*s3.UploadPartInput) // of part 1
		complete func(*s3.CompleteMultipartUploadInput)
		want     string
	}{
		"part's sum":       {func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = nvme([]byte("x")) }, nil, "BadDigest"},
		"part's MD5":       {func(in *s3.UploadPartInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") }, nil, "BadDigest"},
		"part's algorithm": {func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME, in.ChecksumAlgorithm = nil, "CRC32" }, nil, "InvalidRequest"},
		"part number 0":    {func(in *s3.UploadPartInput) { in.PartNumber = aws.Int32(0) }, nil, "InvalidArgument"},
		"part number":      {func(in *s3.UploadPartInput) { in.PartNumber = aws.Int32(10_001) }, nil, "InvalidArgument"},
		"part's upload":    {func(in *s3.UploadPartInput) { in.UploadId = aws.String("none") }, nil, "NoSuchUpload"},
		"part's key":       {func(in *s3.UploadPartInput) { in.Key = aws.String("l") }, nil, "NoSuchUpload"},
		"whole sum":        {none, func(in *s3.CompleteMultipartUploadInput) { in.ChecksumCRC64NVME = nvme([]byte("first-")) }, "BadDigest"},
		"whole size":       {none, func(in *s3.CompleteMultipartUploadInput) { in.MpuObjectSize = aws.Int64(9) }, "InvalidRequest"},
		"type":             {none, func(in *s3.CompleteMultipartUploadInput) { in.ChecksumType = "COMPOSITE" }, "InvalidRequest"},
		"order":            {none, func(in *s3.CompleteMultipartUploadInput) { slices.Reverse(in.MultipartUpload.Parts) }, "InvalidPartOrder"},
		"tag":              {none, func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[0].ETag = aws.String("x") }, "InvalidPart"},
		"part not sent":    {none, func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[1].PartNumber = aws.Int32(3) }, "InvalidPart"},
		"sum of a part":    {none, func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts[1].ChecksumCRC64NVME = nvme(nil) }, "InvalidPart"},
		"no parts":         {none, func(in *s3.CompleteMultipartUploadInput) { in.MultipartUpload.Parts = nil }, "MalformedXML"},
		"condition":        {none, func(in *s3.CompleteMultipartUploadInput) { in.IfMatch = aws.String(`"x"`) }, "NoSuchKey"},
		"unknown upload":   {none, func(in *s3.CompleteMultipartUploadInput) { in.UploadId = aws.String("none") }, "NoSuchUpload"},
		"gap": {func(in *s3.UploadPartInput) { in.PartNumber = aws.Int32(7) }, func(in *s3.CompleteMultipartUploadInput) {
			in.MultipartUpload.Parts = in.MultipartUpload.Parts[:1]
			in.MultipartUpload.Parts[0].PartNumber = aws.Int32(7)
		}, "InternalError"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, url := serve(t, s3test.Options{MinPart: 4})
			m := begin(t, client(url, "AKIAALL", "all", "us-east-1"), nil)
			got := m.part(1, "first", tt.part)
			if got == "" {
				m.part(2, "end", nil)
				_, got = m.complete(tt.complete)
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if len(srv.Keys("b")) != 0 || len(srv.Uploads("b")) != 1 {
				t.Errorf("stored %q, unfinished %v", srv.Keys("b"), srv.Uploads("b"))
			}
		})
	}
}

func TestSmallPartsAreRefused(t *testing.T) {
	_, url := serve(t, s3test.Options{})
	m := begin(t, client(url, "AKIAALL", "all", "us-east-1"), nil)
	m.part(1, strings.Repeat("x", 5<<20-1), nil)
	m.part(2, "end", nil)
	if _, got := m.complete(nil); got != "EntityTooSmall" {
		t.Error(got)
	}
	m.parts = nil
	m.part(1, strings.Repeat("x", 5<<20), nil)
	m.part(2, "end", nil)
	if _, got := m.complete(nil); got != "" {
		t.Error(got)
	}
}

// Each algorithm has the types that AWS allows, and a composite upload wants the sum of every part.
func TestUploadChecksumTypes(t *testing.T) {
	_, url := serve(t, s3test.Options{MinPart: 1})
	c := client(url, "AKIAALL", "all", "us-east-1")
	for _, tt := range []struct {
		algorithm types.ChecksumAlgorithm
		kind      types.ChecksumType
		want      string
		told      types.ChecksumType
	}{
		{"CRC64NVME", "", "", "FULL_OBJECT"},
		{"CRC64NVME", "COMPOSITE", "InvalidRequest", ""},
		{"CRC32C", "", "", "COMPOSITE"},
		{"CRC32C", "FULL_OBJECT", "", "FULL_OBJECT"},
		{"SHA256", "COMPOSITE", "", "COMPOSITE"},
		{"SHA256", "FULL_OBJECT", "InvalidRequest", ""},
		{"", "FULL_OBJECT", "InvalidRequest", ""},
		{"", "", "", ""},
	} {
		out, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
			Bucket: aws.String("b"), Key: aws.String("k"), ChecksumAlgorithm: tt.algorithm, ChecksumType: tt.kind,
		})
		if code(err) != tt.want || err == nil && out.ChecksumType != tt.told {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	m := begin(t, c, func(in *s3.CreateMultipartUploadInput) { in.ChecksumAlgorithm, in.ChecksumType = "CRC32C", "" })
	if got := m.part(1, "a", func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = nil }); got != "InvalidRequest" {
		t.Errorf("part without a sum: %q", got)
	}
	crc := func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME, in.ChecksumAlgorithm = nil, "CRC32C" }
	m.part(1, "a", crc)
	m.part(2, "b", crc)
	out, got := m.complete(nil)
	if got != "" || !strings.HasSuffix(aws.ToString(out.ChecksumCRC32C), "-2") || out.ChecksumType != "COMPOSITE" {
		t.Errorf("%+v, %q", out, got)
	}
}

// An upload that lists its parts can be resumed; pages are what the server says they are.
func TestPartsAndUploadsAreListed(t *testing.T) {
	srv, url := serve(t, s3test.Options{PageSize: 2})
	c := client(url, "AKIAALL", "all", "us-east-1")
	m := begin(t, c, nil)
	for _, n := range []int32{5, 1, 3} {
		m.part(n, fmt.Sprint("part ", n), nil)
	}
	var got []string
	p := s3.NewListPartsPaginator(c, &s3.ListPartsInput{Bucket: aws.String("b"), Key: aws.String("k"), UploadId: m.id})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil || len(page.Parts) > 2 || page.ChecksumAlgorithm != "CRC64NVME" || page.ChecksumType != "FULL_OBJECT" {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, l := range page.Parts {
			sum := md5.Sum(fmt.Append(nil, "part ", *l.PartNumber))
			if *l.ETag != `"`+hex.EncodeToString(sum[:])+`"` || *l.ChecksumCRC64NVME != *nvme(fmt.Append(nil, "part ", *l.PartNumber)) || *l.Size != 6 {
				t.Errorf("%+v", l)
			}
			got = append(got, fmt.Sprint(*l.PartNumber))
		}
	}
	if strings.Join(got, " ") != "1 3 5" {
		t.Errorf("%q", got)
	}
	for _, key := range []string{"p/b", "p/a", "p/b", "q"} {
		begin(t, c, func(in *s3.CreateMultipartUploadInput) { in.Key = aws.String(key) })
	}
	got = nil
	u := s3.NewListMultipartUploadsPaginator(c, &s3.ListMultipartUploadsInput{Bucket: aws.String("b"), Prefix: aws.String("p/")})
	for u.HasMorePages() {
		page, err := u.NextPage(t.Context())
		if err != nil || len(page.Uploads) > 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, l := range page.Uploads {
			got = append(got, *l.Key)
			in := &s3.AbortMultipartUploadInput{Bucket: aws.String("b"), Key: l.Key, UploadId: l.UploadId}
			if _, err := c.AbortMultipartUpload(t.Context(), in); err != nil {
				t.Error(err)
			}
			if _, err := c.AbortMultipartUpload(t.Context(), in); code(err) != "NoSuchUpload" {
				t.Error(err)
			}
		}
	}
	if strings.Join(got, " ") != "p/a p/b p/b" || len(srv.Uploads("b")) != 2 {
		t.Errorf("%q, left %v", got, srv.Uploads("b"))
	}
}

// The answer to a completion was lost; the client asks again.
func TestCompletedTwice(t *testing.T) {
	for again, want := range map[s3test.Again]string{
		s3test.AgainDone: "", s3test.AgainGone: "NoSuchUpload", s3test.AgainJudged: "PreconditionFailed",
	} {
		srv, url := serve(t, s3test.Options{Again: again})
		m := begin(t, client(url, "AKIAALL", "all", "us-east-1"), nil)
		m.part(1, "all", nil)
		srv.Inject(s3test.Rule{Op: s3test.OpComplete, Fault: s3test.Lost, Times: 1})
		once := func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") }
		if _, got := m.complete(once); got == "" || read(t, srv, "k") != "all" {
			t.Errorf("first: %q, %q", got, read(t, srv, "k"))
		}
		out, got := m.complete(once)
		if got != want || got == "" && !strings.HasSuffix(aws.ToString(out.ETag), `-1"`) {
			t.Errorf("%v: %q, want %q", again, got, want)
		}
	}
}

// Many complete the same key at once, each only if nothing is there.
func TestOneOfManyWins(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	c := client(url, "AKIAALL", "all", "us-east-1")
	var wg sync.WaitGroup
	codes := make([]string, 8)
	for i := range codes {
		m := begin(t, c, nil)
		m.part(1, fmt.Sprint("body ", i), nil)
		wg.Go(func() {
			_, codes[i] = m.complete(func(in *s3.CompleteMultipartUploadInput) { in.IfNoneMatch = aws.String("*") })
		})
	}
	wg.Wait()
	won := slices.Index(codes, "")
	for i, got := range codes {
		if i != won && got != "PreconditionFailed" {
			t.Errorf("%d: %q", i, got)
		}
	}
	if won < 0 || read(t, srv, "k") != fmt.Sprint("body ", won) {
		t.Errorf("%q won, stored %q", codes, read(t, srv, "k"))
	}
}
