package s3test

import (
	"bytes"
	"crypto/md5" //nolint:gosec // what an ETag is
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"
)

// Object is what lies under a key. Body may make its bytes up as they are read, so that an object of any size costs nothing.
type Object struct {
	Body    io.ReaderAt
	Size    int64
	ETag    string    // with quotes; "" makes one: the MD5 of a body of up to 64 MiB, else one that no other object has
	ModTime time.Time // zero means now
	Class   string    // storage class; "" means STANDARD
	Restore string    // the x-amz-restore header of an archived object, "" for none
	Meta    map[string]string
}

// Bytes returns an object with the given body.
func Bytes(b []byte) Object { return Object{Body: bytes.NewReader(b), Size: int64(len(b))} }

// archived reports whether the object must be restored before it can be read.
func (o Object) archived() bool {
	return (o.Class == "GLACIER" || o.Class == "DEEP_ARCHIVE") && !o.restored()
}

// restored: 'ongoing-request="false", expiry-date="…"'.
func (o Object) restored() bool {
	return len(o.Restore) > 23 && o.Restore[:23] == `ongoing-request="false"`
}

type bucket struct {
	name      string
	region    string
	anonymous bool
	payer     bool // requester pays
	objects   map[string]Object
	order     []string // keys in byte order; nil when it must be sorted anew
}

// sorted returns the keys in order. The caller holds the server's mu.
func (b *bucket) sorted() []string {
	if b.order == nil {
		b.order = make([]string, 0, len(b.objects))
		for k := range b.objects {
			b.order = append(b.order, k)
		}
		slices.Sort(b.order)
	}
	return b.order
}

// CreateBucket makes an empty bucket in the server's region.
func (s *Server) CreateBucket(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name] = &bucket{name: name, region: s.o.Region, objects: map[string]Object{}}
}

// SetRegion moves a bucket: requests signed for another region get what AWS answers then.
func (s *Server) SetRegion(name, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name].region = region
}

// AllowAnonymous lets everybody read a bucket without a signature.
func (s *Server) AllowAnonymous(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name].anonymous = true
}

// RequesterPays makes a bucket refuse requests that do not say that they pay.
func (s *Server) RequesterPays(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name].payer = true
}

// Put stores an object under a key of an existing bucket and returns its ETag.
func (s *Server) Put(bucketName, key string, o Object) string {
	if o.ETag == "" && o.Size <= 64<<20 {
		sum := md5.New()                                     //nolint:gosec // what an ETag is
		io.Copy(sum, io.NewSectionReader(o.Body, 0, o.Size)) //nolint:errcheck // a hash takes everything
		o.ETag = `"` + hex.EncodeToString(sum.Sum(nil)) + `"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.ETag == "" {
		o.ETag = fmt.Sprintf(`"%016x%016x-9"`, s.rnd.Uint64(), s.rnd.Uint64())
	}
	if o.ModTime.IsZero() {
		o.ModTime = s.o.Now()
	}
	b := s.buckets[bucketName]
	if _, had := b.objects[key]; !had {
		b.order = nil
	}
	b.objects[key] = o
	return o.ETag
}

// Delete removes a key if it is there.
func (s *Server) Delete(bucketName, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	delete(b.objects, key)
	b.order = nil
}

// Object returns what lies under a key.
func (s *Server) Object(bucketName, key string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return Object{}, false
	}
	o, ok := b.objects[key]
	return o, ok
}

// Keys returns the keys of a bucket in byte order.
func (s *Server) Keys(bucketName string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.buckets[bucketName].sorted())
}
