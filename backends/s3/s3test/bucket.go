package s3test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"
)

// Object is what lies under a key. Body may make its bytes up as they are read, so that an object of any size costs nothing.
type Object struct {
	Body    io.ReaderAt
	Size    int64
	ETag    string            // with quotes; "" makes one: the MD5 of a body of up to 64 MiB, else one that no other object has
	ModTime time.Time         // zero means now
	Class   string            // storage class; "" means STANDARD
	Restore string            // the x-amz-restore header of an archived object, whatever the clock says; "": what RestoreObject made of it
	Archive string            // of class INTELLIGENT_TIERING: ARCHIVE_ACCESS or DEEP_ARCHIVE_ACCESS; "" is neither
	Meta    map[string]string // user metadata: lower-case names without "x-amz-meta-"
	// ContentType is "" for binary/octet-stream.
	ContentType string
	// Checksum is made where ETag is "" and the body small enough for an MD5, unless the server knows none.
	Checksum Checksum

	order *order // the restore that was asked for, nil for none
}

// summed is up to which size the server sums bodies that tests put there.
const summed = 64 << 20

// Bytes returns an object with the given body.
func Bytes(b []byte) Object { return Object{Body: bytes.NewReader(b), Size: int64(len(b))} }

type bucket struct {
	name      string
	region    string
	owner     string // account
	anonymous bool
	payer     bool // requester pays
	objects   map[string]Object
	changes   map[string]uint64 // how often each key was written or deleted
	order     []string          // keys in byte order; nil when it must be sorted anew
	uploads   map[string]*upload
	done      map[string]completed // uploads that were completed, by id
}

// set puts an object in its place. The caller holds the server's mu.
func (b *bucket) set(key string, o Object) {
	if _, had := b.objects[key]; !had {
		b.order = nil
	}
	b.objects[key] = o
	b.changes[key]++
}

// unset removes a key if it is there. The caller holds the server's mu.
func (b *bucket) unset(key string) {
	if _, had := b.objects[key]; had {
		delete(b.objects, key)
		b.changes[key]++
		b.order = nil
	}
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
	s.addBucket(name, s.o.Region)
}

// addBucket makes an empty bucket. The caller holds mu.
func (s *Server) addBucket(name, region string) {
	s.buckets[name] = &bucket{
		name: name, region: region, owner: s.o.Owner, objects: map[string]Object{}, changes: map[string]uint64{},
		uploads: map[string]*upload{}, done: map[string]completed{},
	}
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
	if o.ETag == "" && o.Size <= summed {
		o.ETag = etagOf(io.NewSectionReader(o.Body, 0, o.Size))
		if o.Checksum.Algorithm == "" && !s.o.NoChecksums {
			o.Checksum = sumOf(crc64NVME, io.NewSectionReader(o.Body, 0, o.Size))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.ETag == "" {
		o.ETag = fmt.Sprintf(`"%016x%016x-9"`, s.rnd.Uint64(), s.rnd.Uint64())
	}
	if o.ModTime.IsZero() {
		o.ModTime = s.o.Now()
	}
	s.buckets[bucketName].set(key, o)
	return o.ETag
}

// Delete removes a key if it is there.
func (s *Server) Delete(bucketName, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucketName].unset(key)
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
