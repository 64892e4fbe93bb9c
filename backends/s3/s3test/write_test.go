package s3test_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"studyfs/backends/s3/s3test"
)

func putInput(body string) *s3.PutObjectInput {
	return &s3.PutObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader(body)}
}

func copyInput(from string) *s3.CopyObjectInput {
	return &s3.CopyObjectInput{Bucket: aws.String("b"), Key: aws.String("copy"), CopySource: aws.String(from)}
}

// What a client stores with a body it reads again: sums, metadata, class. A sum is kept even where the client sent none.
func TestPutKeepsWhatItWasTold(t *testing.T) {
	for _, algorithm := range []types.ChecksumAlgorithm{"", "CRC64NVME", "CRC32", "CRC32C", "SHA1", "SHA256"} {
		srv, url := serve(t, s3test.Options{})
		c := client(url, "AKIAALL", "all", "us-east-1")
		in := putInput("123456789")
		in.ChecksumAlgorithm, in.StorageClass, in.ContentType = algorithm, "GLACIER_IR", aws.String("text/csv")
		in.Metadata = map[string]string{"mtime": "1714557600.25", "mode": "100640"}
		if _, err := c.PutObject(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		get := &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), ChecksumMode: "ENABLED"}
		out, err := c.GetObject(t.Context(), get)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(out.Body) // the SDK verifies the sum here
		if err != nil || string(body) != "123456789" || out.Metadata["mtime"] != "1714557600.25" || out.Metadata["mode"] != "100640" ||
			out.StorageClass != "GLACIER_IR" || *out.ContentType != "text/csv" || out.ChecksumType != "FULL_OBJECT" {
			t.Errorf("%s: %q, %+v, %v", algorithm, body, out, err)
		}
		o, _ := srv.Object("b", "k")
		if algorithm == "" {
			algorithm = "CRC64NVME"
		}
		if o.Checksum.Algorithm != string(algorithm) {
			t.Errorf("kept %+v", o.Checksum)
		}
		if algorithm == "CRC64NVME" && o.Checksum.Value != "rosUhgp5mIg=" { // the check value of the catalogue of CRCs: ae8b14860a799888
			t.Errorf("CRC64NVME is %q", o.Checksum.Value)
		}
		get.Range = aws.String("bytes=0-1")
		if out, err := c.GetObject(t.Context(), get); err != nil || out.ChecksumType != "" {
			t.Errorf("a range came with the sum of the whole: %+v, %v", out, err)
		}
	}
}

func TestPutIsChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*s3.PutObjectInput)
		want   string
	}{
		"CRC64NVME": {func(in *s3.PutObjectInput) { in.ChecksumCRC64NVME = nvme([]byte("tw0")) }, "BadDigest"},
		"CRC32":     {func(in *s3.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }, "BadDigest"},
		"two sums": {func(in *s3.PutObjectInput) {
			in.ChecksumCRC64NVME, in.ChecksumCRC32 = nvme([]byte("two")), aws.String("AAAAAA==")
		}, "InvalidRequest"},
		"short sum":     {func(in *s3.PutObjectInput) { in.ChecksumCRC64NVME = aws.String("AAAA") }, "InvalidRequest"},
		"MD5":           {func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("AAAAAAAAAAAAAAAAAAAAAA==") }, "BadDigest"},
		"no MD5":        {func(in *s3.PutObjectInput) { in.ContentMD5 = aws.String("AAAA") }, "InvalidDigest"},
		"metadata":      {func(in *s3.PutObjectInput) { in.Metadata = map[string]string{"ab": strings.Repeat("x", 2047)} }, "MetadataTooLarge"},
		"class":         {func(in *s3.PutObjectInput) { in.StorageClass = "TAPE" }, "InvalidStorageClass"},
		"long key":      {func(in *s3.PutObjectInput) { in.Key = aws.String(strings.Repeat("k", 1025)) }, "KeyTooLongError"},
		"owner":         {func(in *s3.PutObjectInput) { in.ExpectedBucketOwner = aws.String("999999999999") }, "AccessDenied"},
		"size":          {func(in *s3.PutObjectInput) { in.Body = strings.NewReader(strings.Repeat("x", 101)) }, "EntityTooLarge"},
		"both":          {func(in *s3.PutObjectInput) { in.IfMatch, in.IfNoneMatch = aws.String("x"), aws.String("*") }, "NotImplemented"},
		"none but any":  {func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String(`"x"`) }, "NotImplemented"},
		"exists":        {func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }, "PreconditionFailed"},
		"another":       {func(in *s3.PutObjectInput) { in.IfMatch = aws.String(`"x"`) }, "PreconditionFailed"},
		"nothing there": {func(in *s3.PutObjectInput) { in.Key, in.IfMatch = aws.String("none"), aws.String(`"x"`) }, "NoSuchKey"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, url := serve(t, s3test.Options{MaxPut: 100})
			srv.Put("b", "k", s3test.Bytes([]byte("one")))
			in := putInput("two")
			tt.change(in)
			if _, err := client(url, "AKIAALL", "all", "us-east-1").PutObject(t.Context(), in); code(err) != tt.want {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if got := read(t, srv, "k"); got != "one" || len(srv.Keys("b")) != 1 {
				t.Errorf("stored %q under %q", got, srv.Keys("b"))
			}
		})
	}
}

// Somebody writes or deletes the key while a conditional write is under way.
func TestRaces(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(*s3test.Server)
		match     bool
		want      string
	}{
		"made":     {func(s *s3test.Server) { s.Put("b", "k", s3test.Bytes([]byte("x"))) }, false, "PreconditionFailed"},
		"deleted":  {func(s *s3test.Server) { s.Put("b", "k", s3test.Bytes([]byte("x"))); s.Delete("b", "k") }, false, "ConditionalRequestConflict"},
		"replaced": {func(s *s3test.Server) { s.Put("b", "k", s3test.Bytes([]byte("x"))) }, true, "PreconditionFailed"},
		"gone":     {func(s *s3test.Server) { s.Delete("b", "k") }, true, "NoSuchKey"},
		"the same": {func(s *s3test.Server) { s.Put("b", "k", s3test.Bytes([]byte("one"))) }, true, "ConditionalRequestConflict"},
	} {
		for _, op := range []string{s3test.OpPut, s3test.OpComplete, s3test.OpCopy} {
			t.Run(name+" "+op, func(t *testing.T) {
				srv, url := serve(t, s3test.Options{})
				c := client(url, "AKIAALL", "all", "us-east-1")
				srv.Put("b", "from", s3test.Bytes([]byte("two")))
				var match, none *string
				if none = aws.String("*"); tt.match {
					match, none = aws.String(srv.Put("b", "k", s3test.Bytes([]byte("one")))), nil
				}
				m := begin(t, c, nil)
				m.part(1, "two", nil)
				srv.OnRequest(func(r s3test.Request) {
					if r.Op == op {
						tt.meanwhile(srv)
					}
				})
				var got string
				switch op {
				case s3test.OpPut:
					in := putInput("two")
					in.IfMatch, in.IfNoneMatch = match, none
					_, err := c.PutObject(t.Context(), in)
					got = code(err)
				case s3test.OpCopy:
					in := copyInput("b/from")
					in.Key, in.IfMatch, in.IfNoneMatch = aws.String("k"), match, none
					_, err := c.CopyObject(t.Context(), in)
					got = code(err)
				default:
					_, got = m.complete(func(in *s3.CompleteMultipartUploadInput) { in.IfMatch, in.IfNoneMatch = match, none })
					if left := len(srv.Uploads("b")); (left == 0) != (tt.want == "ConditionalRequestConflict") {
						t.Errorf("%d uploads left", left)
					}
				}
				if got != tt.want || read(t, srv, "k") == "two" {
					t.Errorf("%q, want %q; stored %q", got, tt.want, read(t, srv, "k"))
				}
			})
		}
	}
}

func TestCopies(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(in *s3.CopyObjectInput, tag string)
		want   string // code
		meta   string // of the copy
	}{
		"plain": {func(*s3.CopyObjectInput, string) {}, "", "old"},
		"replaced": {func(in *s3.CopyObjectInput, _ string) {
			in.MetadataDirective, in.Metadata = "REPLACE", map[string]string{"m": "new"}
		}, "", "new"},
		"not replaced":    {func(in *s3.CopyObjectInput, _ string) { in.Metadata = map[string]string{"m": "new"} }, "", "old"},
		"encoded":         {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("/b/k%20ey%2B%C3%BC") }, "", "old"},
		"plus is space":   {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("b/k+ey%2B%C3%BC") }, "", "old"},
		"plus not coded":  {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("b/k%20ey+%C3%BC") }, "NoSuchKey", ""},
		"source matches":  {func(in *s3.CopyObjectInput, tag string) { in.CopySourceIfMatch = aws.String(tag) }, "", "old"},
		"source changed":  {func(in *s3.CopyObjectInput, _ string) { in.CopySourceIfMatch = aws.String(`"x"`) }, "PreconditionFailed", ""},
		"source the same": {func(in *s3.CopyObjectInput, tag string) { in.CopySourceIfNoneMatch = aws.String(tag) }, "PreconditionFailed", ""},
		"too large":       {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("b/large") }, "InvalidRequest", ""},
		"archived":        {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("b/ice") }, "ObjectNotInActiveTierError", ""},
		"no bucket":       {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("c/k") }, "NoSuchBucket", ""},
		"no source":       {func(in *s3.CopyObjectInput, _ string) { in.CopySource = aws.String("k") }, "InvalidArgument", ""},
		"target missing":  {func(in *s3.CopyObjectInput, _ string) { in.IfMatch = aws.String(`"x"`) }, "NoSuchKey", ""},
		"source's owner":  {func(in *s3.CopyObjectInput, _ string) { in.ExpectedSourceBucketOwner = aws.String("9") }, "AccessDenied", ""},
		"target exists": {func(in *s3.CopyObjectInput, _ string) {
			in.Key, in.IfNoneMatch = aws.String("large"), aws.String("*")
		}, "PreconditionFailed", ""},
		"itself": {func(in *s3.CopyObjectInput, _ string) { in.Key = aws.String("k ey+ü") }, "InvalidRequest", ""},
	} {
		t.Run(name, func(t *testing.T) {
			srv, url := serve(t, s3test.Options{MaxPut: 100})
			o := s3test.Bytes([]byte("hello"))
			o.Meta = map[string]string{"m": "old"}
			tag := srv.Put("b", "k ey+ü", o)
			srv.Put("b", "large", s3test.Bytes(make([]byte, 101)))
			srv.Put("b", "ice", s3test.Object{Body: bytes.NewReader(nil), Class: "DEEP_ARCHIVE"})
			in := copyInput("b/k%20ey%2B%C3%BC")
			tt.change(in, tag)
			out, err := client(url, "AKIAALL", "all", "us-east-1").CopyObject(t.Context(), in)
			if code(err) != tt.want {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			got, ok := srv.Object("b", "copy")
			switch {
			case err != nil && ok:
				t.Errorf("stored %+v", got)
			case err == nil && (*out.CopyObjectResult.ETag != tag || *out.CopyObjectResult.ChecksumCRC64NVME != *nvme([]byte("hello")) || out.CopyObjectResult.LastModified == nil):
				t.Errorf("told %+v", out.CopyObjectResult)
			case err == nil && (got.Meta["m"] != tt.meta || read(t, srv, "copy") != "hello"):
				t.Errorf("stored %+v", got)
			}
		})
	}
}

// An object that came in parts and is copied onto itself with other metadata is one piece then, with another ETag.
func TestSelfCopyOfParts(t *testing.T) {
	srv, url := serve(t, s3test.Options{MinPart: 1})
	c := client(url, "AKIAALL", "all", "us-east-1")
	m := begin(t, c, nil)
	m.part(1, "hel", nil)
	in := &s3.UploadPartCopyInput{
		Bucket: aws.String("b"), Key: aws.String("k"), UploadId: m.id, PartNumber: aws.Int32(2), CopySource: aws.String("b/from"),
		CopySourceRange: aws.String("bytes=1-2"), CopySourceIfMatch: aws.String(`"x"`),
	}
	tag := srv.Put("b", "from", s3test.Bytes([]byte("xlox")))
	if _, err := c.UploadPartCopy(t.Context(), in); code(err) != "PreconditionFailed" {
		t.Error(err)
	}
	in.CopySourceIfMatch, in.CopySourceRange = &tag, aws.String("bytes=1-4")
	if _, err := c.UploadPartCopy(t.Context(), in); code(err) != "InvalidArgument" {
		t.Error(err)
	}
	in.CopySourceRange = aws.String("bytes=1-2")
	part, err := c.UploadPartCopy(t.Context(), in)
	if err != nil || *part.CopyPartResult.ChecksumCRC64NVME != *nvme([]byte("lo")) {
		t.Fatal(part, err)
	}
	m.parts = append(m.parts, types.CompletedPart{PartNumber: aws.Int32(2), ETag: part.CopyPartResult.ETag})
	if _, got := m.complete(nil); got != "" || read(t, srv, "k") != "hello" {
		t.Fatalf("%q, stored %q", got, read(t, srv, "k"))
	}
	old, _ := srv.Object("b", "k")
	self := copyInput("b/k")
	self.Key, self.MetadataDirective, self.CopySourceIfMatch, self.IfMatch = aws.String("k"), "REPLACE", &old.ETag, &old.ETag
	if _, err := c.CopyObject(t.Context(), self); err != nil {
		t.Fatal(err)
	}
	if o, _ := srv.Object("b", "k"); strings.Contains(o.ETag, "-") || o.Checksum != old.Checksum || read(t, srv, "k") != "hello" {
		t.Errorf("%+v", o)
	}
}

func TestDeletes(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	c := client(url, "AKIAALL", "all", "us-east-1")
	tag := srv.Put("b", "k", s3test.Bytes([]byte("one")))
	for _, tt := range []struct{ key, match, want string }{
		{"none", "", ""}, {"none", "x", "NoSuchKey"}, {"none", "*", "NoSuchKey"}, {"k", "x", "PreconditionFailed"}, {"k", tag, ""},
	} {
		in := &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: &tt.key}
		if tt.match != "" {
			in.IfMatch = &tt.match
		}
		if _, err := c.DeleteObject(t.Context(), in); code(err) != tt.want {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	for _, key := range []string{"x", "y", "z"} {
		srv.Put("b", key, s3test.Bytes([]byte(key)))
	}
	out, err := c.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String("b"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{
		{Key: aws.String("x")}, {Key: aws.String("y"), ETag: aws.String("no")}, {Key: aws.String("none")},
	}}, ChecksumAlgorithm: "CRC32"})
	if err != nil || len(out.Deleted) != 2 || len(out.Errors) != 1 || *out.Errors[0].Code != "PreconditionFailed" || !slices.Equal(srv.Keys("b"), []string{"y", "z"}) {
		t.Errorf("%+v, %v, left %q", out, err, srv.Keys("b"))
	}
}

func TestCreateBucket(t *testing.T) {
	for _, tt := range []struct{ region, name, constraint, want, made string }{
		{"us-east-1", "new", "", "", "us-east-1"},
		{"us-east-1", "new", "eu-west-1", "", "eu-west-1"},
		{"us-east-1", "new", "us-east-1", "InvalidLocationConstraint", ""},
		{"eu-west-1", "new", "eu-west-1", "", "eu-west-1"},
		{"eu-west-1", "new", "", "IllegalLocationConstraintException", ""},
		{"eu-west-1", "new", "eu-west-2", "IllegalLocationConstraintException", ""},
		{"us-east-1", "mine", "", "BucketAlreadyOwnedByYou", ""},
		{"us-east-1", "theirs", "", "BucketAlreadyExists", ""},
		{"us-east-1", "Study_1", "", "InvalidBucketName", ""},
		{"us-east-1", "192.168.0.1", "", "InvalidBucketName", ""},
	} {
		srv, url := serve(t, s3test.Options{Region: tt.region})
		srv.CreateBucket("mine")
		srv.CreateBucket("theirs")
		srv.SetOwner("theirs", "999999999999")
		in := &s3.CreateBucketInput{Bucket: &tt.name}
		if tt.constraint != "" {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(tt.constraint)}
		}
		_, err := client(url, "AKIAALL", "all", tt.region).CreateBucket(t.Context(), in)
		if code(err) != tt.want {
			t.Errorf("%+v: %v", tt, err)
		}
		if tt.made != "" {
			out, err := client(url, "AKIAALL", "all", tt.made).HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &tt.name})
			if err != nil || aws.ToString(out.BucketRegion) != tt.made {
				t.Errorf("%+v: %v, %v", tt, out, err)
			}
		}
	}
	_, url := serve(t, s3test.Options{})
	if _, err := client(url, "AKIAPREFIX", "prefix", "us-east-1").CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("new")}); code(err) != "AccessDenied" {
		t.Errorf("a limited key made a bucket: %v", err)
	}
}

// A key that may only read, and one that may write below a prefix.
func TestGrantsOfWrites(t *testing.T) {
	srv, url := serve(t, s3test.Options{})
	srv.AddKey(s3test.AccessKey{ID: "AKIAW", Secret: "w", Grants: []s3test.Grant{{Bucket: "b", Prefix: "in/", Write: true}}})
	srv.Put("b", "v2/001/a", s3test.Bytes([]byte("a")))
	for _, tt := range []struct{ id, secret, key, want string }{
		{"AKIAPREFIX", "prefix", "v2/001/a", "AccessDenied"},
		{"AKIAW", "w", "v2/001/a", "AccessDenied"},
		{"AKIAW", "w", "in/a", ""},
	} {
		c := client(url, tt.id, tt.secret, "us-east-1")
		in := putInput("x")
		in.Key = &tt.key
		_, put := c.PutObject(t.Context(), in)
		_, multi := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String("b"), Key: &tt.key})
		_, del := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: &tt.key})
		for _, err := range []error{put, multi, del} {
			if code(err) != tt.want {
				t.Errorf("%+v: %v", tt, err)
			}
		}
		cp := copyInput("b/v2/001/a")
		cp.Key = &tt.key
		if _, err := c.CopyObject(t.Context(), cp); code(err) != "AccessDenied" {
			t.Errorf("copy %+v: %v", tt, err)
		}
	}
}

// A lesser store takes everything that it does not understand for a success.
func TestLesserServices(t *testing.T) {
	srv, url := serve(t, s3test.Options{NoConditions: true, NoChecksums: true, NoCopyConditions: true, LegacyCreate: true})
	srv.CreateBucket("mine")
	c := client(url, "AKIAALL", "all", "us-east-1")
	srv.Put("b", "k", s3test.Bytes([]byte("one")))
	in := putInput("two")
	in.IfNoneMatch, in.ChecksumCRC64NVME = aws.String("*"), nvme([]byte("other"))
	out, err := c.PutObject(t.Context(), in)
	if err != nil || out.ChecksumCRC64NVME != nil || read(t, srv, "k") != "two" {
		t.Errorf("%+v, %v, stored %q", out, err, read(t, srv, "k"))
	}
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), ChecksumMode: "ENABLED"})
	if err != nil || head.ChecksumType != "" {
		t.Errorf("%+v, %v", head, err)
	}
	cp := copyInput("b/k")
	cp.CopySourceIfMatch = aws.String(`"x"`)
	if _, err := c.CopyObject(t.Context(), cp); err != nil {
		t.Error(err)
	}
	m := begin(t, c, nil)
	m.part(1, "three", func(in *s3.UploadPartInput) { in.ChecksumCRC64NVME = nvme(nil) })
	done, got := m.complete(func(in *s3.CompleteMultipartUploadInput) {
		in.IfNoneMatch, in.ChecksumCRC64NVME = aws.String("*"), nvme(nil)
	})
	if got != "" || done.ChecksumCRC64NVME != nil || read(t, srv, "k") != "three" {
		t.Errorf("%+v, %q", done, got)
	}
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("b"), Key: aws.String("k"), IfMatch: aws.String("x")}); err != nil {
		t.Error(err)
	}
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("mine")}); err != nil {
		t.Error(err)
	}
}
