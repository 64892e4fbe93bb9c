package s3test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AccessKey is a pair of keys and what it may do.
type AccessKey struct {
	ID, Secret string
	Grants     []Grant // none: everything
}

// Grant allows to list and read what lies below a prefix of a bucket, as Empatica's keys do: a listing only with a prefix that
// begins with the granted one, its slash included.
type Grant struct {
	Bucket, Prefix string
	Write          bool
}

type accessKey struct {
	AccessKey
	revoked, expired bool
}

// AddKey makes a pair of keys valid.
func (s *Server) AddKey(k AccessKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.ID] = &accessKey{AccessKey: k}
}

// Revoke makes every later request with the key InvalidAccessKeyId.
func (s *Server) Revoke(id string) { s.setKey(id, func(k *accessKey) { k.revoked = true }) }

// Expire makes every later request with the key ExpiredToken.
func (s *Server) Expire(id string) { s.setKey(id, func(k *accessKey) { k.expired = true }) }

// Restore undoes Revoke and Expire.
func (s *Server) Restore(id string) {
	s.setKey(id, func(k *accessKey) { k.revoked, k.expired = false, false })
}

func (s *Server) setKey(id string, set func(*accessKey)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[id]; k != nil {
		set(k)
	}
}

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	maxSkew    = 15 * time.Minute
)

// credential is the parsed Authorization header.
type credential struct {
	id, date, region string
	signed           []string
	signature        string
}

// credentialOf returns the access key id of an Authorization header, "" if there is none.
func credentialOf(header string) string {
	c, _ := parseAuthorization(header)
	return c.id
}

func parseAuthorization(header string) (c credential, ok bool) {
	fields, found := strings.CutPrefix(header, algorithm+" ")
	if !found {
		return c, false
	}
	for part := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 || scope[3] != "s3" || scope[4] != "aws4_request" {
				return c, false
			}
			c.id, c.date, c.region = scope[0], scope[1], scope[2]
		case "SignedHeaders":
			c.signed = strings.Split(value, ";")
		case "Signature":
			c.signature = value
		}
	}
	return c, c.id != "" && c.signature != "" && slices.Contains(c.signed, "host")
}

// authenticate finds out who asks: sets x.key, nil for nobody.
func (x *exchange) authenticate() *apiError {
	header := x.r.Header.Get("Authorization")
	if header == "" {
		return nil
	}
	c, ok := parseAuthorization(header)
	if !ok {
		return &apiError{status: http.StatusBadRequest, code: "AuthorizationHeaderMalformed"}
	}
	x.s.mu.Lock()
	k := x.s.keys[c.id]
	var state accessKey
	if k != nil {
		state = *k
	}
	x.s.mu.Unlock()
	switch {
	case k == nil || state.revoked:
		return &apiError{status: http.StatusForbidden, code: "InvalidAccessKeyId"}
	case state.expired:
		return &apiError{status: http.StatusBadRequest, code: "ExpiredToken"}
	}
	if err := x.wrongRegion(c.region); err != nil {
		return err
	}
	if err := x.verify(c, state.Secret); err != nil {
		return err
	}
	x.key = k
	return nil
}

// wrongRegion is what AWS answers to a signature for another region than the bucket's: a redirect from an endpoint that the signature
// is right for, else 400; the right region stands in the header either way. A new bucket is asked of the endpoint's region.
func (x *exchange) wrongRegion(asked string) *apiError {
	switch {
	case x.bucket == nil && x.log.Op == OpCreateBucket && asked != x.s.o.Region:
		return &apiError{status: http.StatusBadRequest, code: "AuthorizationHeaderMalformed", region: x.s.o.Region}
	case x.bucket == nil || asked == x.bucket.region:
		return nil
	}
	x.w.Header().Set("x-amz-bucket-region", x.bucket.region)
	if asked == x.s.o.Region {
		return &apiError{status: http.StatusMovedPermanently, code: "PermanentRedirect"}
	}
	return &apiError{status: http.StatusBadRequest, code: "AuthorizationHeaderMalformed", region: x.bucket.region}
}

// verify recomputes the signature, as the AWS general reference describes version 4.
func (x *exchange) verify(c credential, secret string) *apiError {
	stamp := x.r.Header.Get("X-Amz-Date")
	at, err := time.Parse(timeFormat, stamp)
	if err != nil || !strings.HasPrefix(stamp, c.date) {
		return &apiError{status: http.StatusForbidden, code: "AccessDenied"}
	}
	if skew := x.s.o.Now().Sub(at); skew > maxSkew || skew < -maxSkew {
		return &apiError{status: http.StatusForbidden, code: "RequestTimeTooSkewed"}
	}
	for name := range x.r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") && !slices.Contains(c.signed, name) {
			return &apiError{status: http.StatusForbidden, code: "AccessDenied", message: "There were headers present in the request which were not signed"}
		}
	}
	hash := sha256.Sum256([]byte(x.canonical(c.signed)))
	scope := c.date + "/" + c.region + "/s3/aws4_request"
	toSign := strings.Join([]string{algorithm, stamp, scope, hex.EncodeToString(hash[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.date, c.region, "s3", "aws4_request", toSign} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(key)), []byte(c.signature)) {
		return &apiError{status: http.StatusForbidden, code: "SignatureDoesNotMatch"}
	}
	return nil
}

// canonical is the canonical request: what was signed.
func (x *exchange) canonical(signed []string) string {
	var headers strings.Builder
	for _, name := range signed {
		value := strings.Join(x.r.Header.Values(name), ",")
		switch name {
		case "host":
			value = x.r.Host
		case "content-length":
			value = itoa(x.r.ContentLength)
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	return strings.Join([]string{
		x.r.Method, x.r.URL.EscapedPath(), canonicalQuery(x.r.URL.RawQuery), headers.String(),
		strings.Join(signed, ";"), x.r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
}

// canonicalQuery sorts the parameters and escapes them as version 4 wants: space is %20.
func canonicalQuery(raw string) string {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return raw
	}
	return strings.ReplaceAll(values.Encode(), "+", "%20")
}

// authorize decides whether x.key, or nobody, may do what is asked.
func (x *exchange) authorize() *apiError {
	denied := &apiError{status: http.StatusForbidden, code: "AccessDenied"}
	b := x.bucket
	switch {
	case x.log.Op == "ListBuckets":
		return denied
	case x.log.Op == OpCreateBucket:
		if x.key == nil || len(x.key.Grants) > 0 {
			return denied
		}
		return nil
	case b == nil:
		return &apiError{status: http.StatusNotFound, code: "NoSuchBucket"}
	}
	if x.log.Op == "HeadBucket" {
		// The region is told whatever the caller may do (documentation of HeadBucket).
		x.w.Header().Set("x-amz-bucket-region", b.region)
	}
	if !x.may(b) {
		return denied
	}
	return x.expected()
}

// may reports whether the caller is let do this in b.
func (x *exchange) may(b *bucket) bool {
	reading := slices.Contains([]string{"GetObject", "HeadObject", "ListObjectsV2", "HeadBucket"}, x.log.Op)
	switch {
	case x.log.Query.Has("versionId"):
		return false
	case b.payer && x.r.Header.Get("X-Amz-Request-Payer") != "requester":
		return false
	case x.key == nil:
		return b.anonymous && reading
	}
	return len(x.key.Grants) == 0 || x.granted()
}

// granted judges a key that is limited to prefixes.
func (x *exchange) granted() bool {
	switch x.log.Op {
	case "HeadBucket":
		return false
	case "ListObjectsV2":
		return x.within(x.log.Bucket, x.log.Query.Get("prefix"), false)
	case "GetObject", "HeadObject":
		return x.within(x.log.Bucket, x.log.Key, false)
	case OpUploads:
		return x.within(x.log.Bucket, x.log.Query.Get("prefix"), true)
	case OpDeleteObjects:
		return true // each key is judged on its own
	}
	return x.log.Key != "" && x.mayWrite(x.log.Key)
}

// within reports whether a grant of the caller's covers a name.
func (x *exchange) within(bucketName, name string, write bool) bool {
	return slices.ContainsFunc(x.key.Grants, func(g Grant) bool {
		return g.Bucket == bucketName && strings.HasPrefix(name, g.Prefix) && (g.Write || !write)
	})
}

// mayWrite reports whether the caller may write or delete a key of the request's bucket.
func (x *exchange) mayWrite(key string) bool {
	return x.key != nil && (len(x.key.Grants) == 0 || x.within(x.log.Bucket, key, true))
}

// mayRead reports whether the caller may read a key of any bucket.
func (x *exchange) mayRead(b *bucket, key string) bool {
	return b.anonymous || x.key != nil && (len(x.key.Grants) == 0 || x.within(b.name, key, false))
}
