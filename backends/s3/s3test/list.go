package s3test

import (
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"slices"
	"strings"
	"time"
)

const maxKeys = 1000

type listResult struct {
	XMLName        xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name           string
	Prefix         string
	StartAfter     string `xml:",omitempty"`
	Delimiter      string `xml:",omitempty"`
	KeyCount       int
	MaxKeys        int
	EncodingType   string `xml:",omitempty"`
	IsTruncated    bool
	Next           string `xml:"NextContinuationToken,omitempty"`
	Contents       []listed
	CommonPrefixes []commonPrefix
}

type listed struct {
	Key           string
	LastModified  string
	ETag          string
	Size          int64
	StorageClass  string
	RestoreStatus *restoreStatus `xml:",omitempty"`
}

type restoreStatus struct {
	IsRestoreInProgress bool
	RestoreExpiryDate   string `xml:",omitempty"`
}

type commonPrefix struct{ Prefix string }

// list answers ListObjectsV2.
func (x *exchange) list() *apiError {
	q := x.log.Query
	limit, lerr := x.limit("max-keys")
	if lerr != nil {
		return lerr
	}
	after := q.Get("start-after")
	if token := q.Get("continuation-token"); token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return invalid("InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(raw)
	}
	res := &listResult{
		Name: x.log.Bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"), StartAfter: q.Get("start-after"), MaxKeys: limit,
	}
	x.s.mu.Lock()
	x.fill(res, after, !x.s.o.NoRestoreStatus && strings.Contains(x.r.Header.Get("X-Amz-Optional-Object-Attributes"), "RestoreStatus"))
	x.s.mu.Unlock()
	if q.Get("encoding-type") == "url" {
		res.encode()
	}
	return x.reply(res)
}

// fill walks the keys from after on. Whole common prefixes are skipped with a search each, so a listing of few
// directories over many keys is quick. The caller holds mu.
func (x *exchange) fill(res *listResult, after string, restore bool) {
	keys := x.bucket.sorted()
	i, _ := slices.BinarySearch(keys, max(after, res.Prefix))
	last := ""
	for ; i < len(keys) && strings.HasPrefix(keys[i], res.Prefix); i++ {
		key := keys[i]
		common := commonOf(key, res.Prefix, res.Delimiter)
		if key <= after || common != "" && common <= after {
			continue // start-after within a common prefix drops that prefix
		}
		if res.KeyCount == res.MaxKeys {
			res.IsTruncated = res.MaxKeys > 0
			res.Next = base64.RawURLEncoding.EncodeToString([]byte(last))
			return
		}
		res.KeyCount++
		if common == "" {
			last = key
			res.Contents = append(res.Contents, describe(key, x.bucket.objects[key], restore, x.s.o.RestoreNow()))
			continue
		}
		last = common
		res.CommonPrefixes = append(res.CommonPrefixes, commonPrefix{common})
		i, _ = slices.BinarySearch(keys, common+"\xff") // above all that begins with it
		i--
	}
}

func commonOf(key, prefix, delimiter string) string {
	if delimiter == "" {
		return ""
	}
	j := strings.Index(key[len(prefix):], delimiter)
	if j < 0 {
		return ""
	}
	return key[:len(prefix)+j+len(delimiter)]
}

func describe(key string, o Object, restore bool, now time.Time) listed {
	l := listed{
		Key: key, LastModified: stamp(o.ModTime),
		ETag: o.ETag, Size: o.Size, StorageClass: classOf(o),
	}
	if header := o.restoring(now); restore && header != "" {
		l.RestoreStatus = &restoreStatus{IsRestoreInProgress: !restored(header)}
		if restored(header) {
			l.RestoreStatus.RestoreExpiryDate = expiry(header)
		}
	}
	return l
}

// stamp is a time as XML answers have it: whole seconds.
func stamp(t time.Time) string {
	return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000Z")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "%2F", "/") }

// encode escapes keys as encoding-type=url asks for.
func (r *listResult) encode() {
	r.EncodingType = "url"
	esc := func(s *string) { *s = escape(*s) }
	esc(&r.Prefix)
	esc(&r.StartAfter)
	esc(&r.Delimiter)
	for i := range r.Contents {
		esc(&r.Contents[i].Key)
	}
	for i := range r.CommonPrefixes {
		esc(&r.CommonPrefixes[i].Prefix)
	}
}
