package s3test

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
)

type partsResult struct {
	XMLName              xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListPartsResult"`
	Bucket               string
	Key                  string
	UploadID             string `xml:"UploadId"`
	StorageClass         string
	PartNumberMarker     int
	NextPartNumberMarker int
	MaxParts             int
	IsTruncated          bool
	ChecksumAlgorithm    string       `xml:",omitempty"`
	ChecksumType         string       `xml:",omitempty"`
	Parts                []listedPart `xml:"Part"`
}

type listedPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
	sumFields
}

// listParts answers ListParts.
func (x *exchange) listParts() *apiError {
	u, _, err := x.upload()
	if err != nil {
		return err
	}
	limit, err := x.limit("max-parts")
	if err != nil {
		return err
	}
	res := partsResult{Bucket: x.log.Bucket, Key: u.key, UploadID: u.id, StorageClass: classOf(u.object), MaxParts: limit}
	if v := x.log.Query.Get("part-number-marker"); v != "" {
		n, perr := strconv.Atoi(v)
		if perr != nil || n < 0 {
			return invalid("InvalidArgument", "Argument part-number-marker must be an integer between 0 and 2147483647")
		}
		res.PartNumberMarker = n
	}
	if u.algorithm != "" {
		res.ChecksumAlgorithm, res.ChecksumType = u.algorithm, u.kind()
	}
	x.s.mu.Lock()
	parts := u.sorted()
	x.s.mu.Unlock()
	parts = slices.DeleteFunc(parts, func(p part) bool { return p.number <= res.PartNumberMarker })
	if len(parts) > limit {
		parts, res.IsTruncated = parts[:limit], true
	}
	for _, p := range parts {
		l := listedPart{PartNumber: p.number, LastModified: stamp(p.modTime), ETag: p.etag(), Size: p.size}
		if u.algorithm != "" {
			l.sumFields = p.sum.fields()
		}
		res.NextPartNumberMarker = p.number
		res.Parts = append(res.Parts, l)
	}
	return x.reply(res)
}

// limit reads how many a page may hold at most.
func (x *exchange) limit(name string) (int, *apiError) {
	v := x.log.Query.Get(name)
	if v == "" {
		return x.s.o.PageSize, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0, invalid("InvalidArgument", "Argument "+name+" must be an integer between 0 and 2147483647")
	}
	return min(n, x.s.o.PageSize), nil
}

type uploadsResult struct {
	XMLName            xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListMultipartUploadsResult"`
	Bucket             string
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string
	Delimiter          string `xml:",omitempty"`
	EncodingType       string `xml:",omitempty"`
	MaxUploads         int
	IsTruncated        bool
	Uploads            []listedUpload `xml:"Upload"`
	CommonPrefixes     []commonPrefix
}

type listedUpload struct {
	Key               string
	UploadID          string `xml:"UploadId"`
	StorageClass      string
	Initiated         string
	ChecksumAlgorithm string `xml:",omitempty"`
	ChecksumType      string `xml:",omitempty"`
}

// listUploads answers ListMultipartUploads.
func (x *exchange) listUploads() *apiError {
	q := x.log.Query
	limit, err := x.limit("max-uploads")
	if err != nil {
		return err
	}
	res := uploadsResult{
		Bucket: x.log.Bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), MaxUploads: limit,
		KeyMarker: q.Get("key-marker"), UploadIDMarker: q.Get("upload-id-marker"),
	}
	x.s.mu.Lock()
	for _, u := range x.after(res.KeyMarker, res.UploadIDMarker) {
		if !strings.HasPrefix(u.key, res.Prefix) {
			continue
		}
		common := commonOf(u.key, res.Prefix, res.Delimiter)
		if n := len(res.CommonPrefixes); common != "" && (n > 0 && res.CommonPrefixes[n-1].Prefix == common || common <= res.KeyMarker) {
			continue
		}
		if len(res.Uploads)+len(res.CommonPrefixes) == limit {
			res.IsTruncated = limit > 0
			break
		}
		res.add(u, common)
	}
	x.s.mu.Unlock()
	if !res.IsTruncated {
		res.NextKeyMarker, res.NextUploadIDMarker = "", ""
	}
	if q.Get("encoding-type") == "url" {
		res.encode()
	}
	return x.reply(res)
}

// after returns the uploads behind the markers. The caller holds mu.
func (x *exchange) after(key, id string) []*upload {
	all := x.bucket.unfinished()
	if key == "" {
		return all
	}
	return slices.DeleteFunc(all, func(u *upload) bool {
		return u.key < key || u.key == key && (id == "" || u.id <= id)
	})
}

func (r *uploadsResult) add(u *upload, common string) {
	if common != "" {
		r.CommonPrefixes = append(r.CommonPrefixes, commonPrefix{common})
		r.NextKeyMarker, r.NextUploadIDMarker = common, ""
		return
	}
	l := listedUpload{Key: u.key, UploadID: u.id, StorageClass: classOf(u.object), Initiated: stamp(u.initiated)}
	if u.algorithm != "" {
		l.ChecksumAlgorithm, l.ChecksumType = u.algorithm, u.kind()
	}
	r.Uploads = append(r.Uploads, l)
	r.NextKeyMarker, r.NextUploadIDMarker = u.key, u.id
}

// encode escapes keys as encoding-type=url asks for.
func (r *uploadsResult) encode() {
	r.EncodingType = "url"
	for _, s := range []*string{&r.Prefix, &r.Delimiter, &r.KeyMarker, &r.NextKeyMarker} {
		*s = escape(*s)
	}
	for i := range r.Uploads {
		r.Uploads[i].Key = escape(r.Uploads[i].Key)
	}
	for i := range r.CommonPrefixes {
		r.CommonPrefixes[i].Prefix = escape(r.CommonPrefixes[i].Prefix)
	}
}
