package s3test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
)

const (
	maxMeta = 2 << 10 // bytes of the names and values of user metadata
	maxKey  = 1024
)

// put answers PutObject.
func (x *exchange) put() *apiError {
	o, err := x.described()
	if err != nil {
		return err
	}
	if err := x.early(); err != nil {
		return err
	}
	p, err := x.receive(crc64NVME)
	if err != nil {
		return err
	}
	o.Body, o.Size, o.ETag, o.Checksum = bytes.NewReader(p.body), int64(len(p.body)), p.etag(), p.sum
	if err := x.store(o, nil); err != nil {
		return err
	}
	x.w.Header().Set("ETag", o.ETag)
	x.tell(o.Checksum, true)
	x.send(http.StatusOK, nil)
	return nil
}

// described returns a new object without its bytes: what the headers say of it.
func (x *exchange) described() (o Object, err *apiError) {
	if len(x.log.Key) > maxKey {
		return o, invalid("KeyTooLongError", "Your key is too long")
	}
	o.Class = x.r.Header.Get("X-Amz-Storage-Class")
	classes := []string{
		"", "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "GLACIER_IR", "DEEP_ARCHIVE",
	}
	if !slices.Contains(classes, o.Class) {
		return o, invalid("InvalidStorageClass", "The storage class you specified is not valid")
	}
	o.ContentType = x.r.Header.Get("Content-Type")
	o.Meta = map[string]string{}
	size := 0
	for name, values := range x.r.Header {
		if k, ok := strings.CutPrefix(strings.ToLower(name), "x-amz-meta-"); ok {
			o.Meta[k] = strings.Join(values, ",")
			size += len(k) + len(o.Meta[k])
		}
	}
	if size > maxMeta {
		return o, invalid("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return o, nil
}

// early refuses a write whose condition does not hold already before the body comes, if the client waits for that. One that
// sends its body at once could miss the answer.
func (x *exchange) early() *apiError {
	if x.r.Header.Get("Expect") == "" {
		return nil
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	old, had := x.bucket.objects[x.log.Key]
	return x.condition(old, had, false)
}

// condition judges If-None-Match and If-Match of a write (documentation of PutObject, and "conditional-writes" of the user guide).
// raced says that the key was written or deleted since the request began. The caller holds mu.
func (x *exchange) condition(old Object, had, raced bool) *apiError {
	none, match := x.r.Header.Get("If-None-Match"), x.r.Header.Get("If-Match")
	switch {
	case x.s.o.NoConditions || none == "" && match == "":
		return nil
	case !understood(none, match):
		return &apiError{status: http.StatusNotImplemented, code: "NotImplemented", message: "A header you provided implies functionality that is not implemented"}
	case had && (none != "" || !sameETag(match, old.ETag)):
		return failed()
	case match != "" && !had:
		return &apiError{status: http.StatusNotFound, code: "NoSuchKey"}
	case raced:
		return conflict()
	}
	return nil
}

// understood reports whether a write may have such conditions: only "*" is an If-None-Match, and only an ETag is an If-Match.
func understood(none, match string) bool {
	if none != "" {
		return none == "*" && match == ""
	}
	return match != "*"
}

func failed() *apiError {
	return &apiError{
		status: http.StatusPreconditionFailed, code: "PreconditionFailed", message: "At least one of the pre-conditions you specified did not hold",
	}
}

func conflict() *apiError {
	return &apiError{
		status: http.StatusConflict, code: "ConditionalRequestConflict", message: "A conflicting conditional operation is currently in progress against this resource.",
	}
}

// store puts an object in its place if the request's condition holds at this moment. also, if not nil, may still refuse, and is
// told the judgement; it runs under the server's mu.
func (x *exchange) store(o Object, also func(*apiError) *apiError) *apiError {
	if o.ModTime.IsZero() {
		o.ModTime = x.s.o.Now()
	}
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	old, had := x.bucket.objects[x.log.Key]
	err := x.condition(old, had, x.bucket.changes[x.log.Key] != x.seen)
	if also != nil {
		err = also(err)
	}
	if err == nil {
		x.bucket.set(x.log.Key, o)
	}
	return err
}

// remove answers DeleteObject.
func (x *exchange) remove() *apiError {
	if err := x.removeKey(x.log.Key, x.r.Header.Get("If-Match")); err != nil {
		return err
	}
	x.send(http.StatusNoContent, nil)
	return nil
}

// removeKey deletes a key; under a condition, if it is given ("conditional-deletes" of the user guide).
func (x *exchange) removeKey(key, match string) *apiError {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	old, had := x.bucket.objects[key]
	if match != "" && !x.s.o.NoConditions {
		switch {
		case !had:
			return &apiError{status: http.StatusNotFound, code: "NoSuchKey"}
		case match != "*" && !sameETag(match, old.ETag):
			return failed()
		case key == x.log.Key && x.bucket.changes[key] != x.seen:
			return conflict()
		}
	}
	x.bucket.unset(key)
	return nil
}
