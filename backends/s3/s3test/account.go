package s3test

import (
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
)

const (
	defaultRegion = "us-east-1"
	defaultOwner  = "111122223333"
)

// SetOwner gives a bucket to another account: for that account's id alone does x-amz-expected-bucket-owner hold, and who
// creates a bucket of that name learns that it is taken.
func (s *Server) SetOwner(name, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name].owner = account
}

// expected judges x-amz-expected-bucket-owner.
func (x *exchange) expected() *apiError {
	if v := x.r.Header.Get("X-Amz-Expected-Bucket-Owner"); v != "" && v != x.bucket.owner {
		return &apiError{status: http.StatusForbidden, code: "AccessDenied"}
	}
	return nil
}

type bucketConfiguration struct {
	XMLName            xml.Name `xml:"CreateBucketConfiguration"`
	LocationConstraint string
}

// createBucket answers CreateBucket.
func (x *exchange) createBucket() *apiError {
	body, err := x.document()
	if err != nil {
		return err
	}
	var conf bucketConfiguration
	if len(body) > 0 && xml.Unmarshal(body, &conf) != nil {
		return invalid("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	region, err := x.location(conf.LocationConstraint)
	if err != nil {
		return err
	}
	if !validBucket(x.log.Bucket) {
		return invalid("InvalidBucketName", "The specified bucket is not valid.")
	}
	x.s.mu.Lock()
	b := x.s.buckets[x.log.Bucket]
	if b == nil {
		x.s.addBucket(x.log.Bucket, region)
	}
	x.s.mu.Unlock()
	switch {
	case b == nil, b.owner == x.s.o.Owner && x.s.o.LegacyCreate:
	case b.owner == x.s.o.Owner:
		return &apiError{status: http.StatusConflict, code: "BucketAlreadyOwnedByYou", message: "Your previous request to create the named bucket succeeded and you already own it."}
	default:
		return &apiError{status: http.StatusConflict, code: "BucketAlreadyExists", message: "The requested bucket name is not available."}
	}
	x.w.Header().Set("Location", "/"+x.log.Bucket)
	x.send(http.StatusOK, nil)
	return nil
}

// location is the region of the new bucket. An endpoint makes buckets in its own region only, and wants to be told it, but for
// us-east-1: that makes them anywhere, and its own name is not a constraint.
func (x *exchange) location(constraint string) (string, *apiError) {
	here := x.s.o.Region
	switch {
	case here == defaultRegion && constraint == "":
		return defaultRegion, nil
	case here == defaultRegion && constraint == defaultRegion:
		return "", invalid("InvalidLocationConstraint", "The specified location-constraint is not valid")
	case here == defaultRegion:
		return constraint, nil
	case constraint == "":
		constraint = "unspecified"
	case constraint == here:
		return here, nil
	}
	return "", invalid("IllegalLocationConstraintException", "The "+constraint+
		" location constraint is incompatible for the region specific endpoint this request was sent to.")
}

// validBucket knows the rules of the user guide, "bucketnamingrules".
func validBucket(name string) bool {
	ok := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`).MatchString(name)
	address := regexp.MustCompile(`^\d+\.\d+\.\d+\.\d+$`).MatchString(name)
	reserved := strings.HasPrefix(name, "xn--") || strings.HasPrefix(name, "sthree-") || strings.HasSuffix(name, "-s3alias") || strings.HasSuffix(name, "--ol-s3")
	return ok && !address && !reserved && !strings.Contains(name, "..")
}

// headBucket answers HeadBucket; authorize has told the region.
func (x *exchange) headBucket() *apiError {
	x.w.WriteHeader(http.StatusOK)
	return nil
}

type deleteRequest struct {
	XMLName xml.Name                                `xml:"Delete"`
	Objects []struct{ Key, ETag, VersionId string } `xml:"Object"` //nolint:revive // the element's name
	Quiet   bool
}

type deleteResult struct {
	XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	Deleted []deletedObject
	Errors  []deleteError `xml:"Error"`
}

type deletedObject struct{ Key string }

type deleteError struct{ Key, Code, Message string }

// removeMany answers DeleteObjects: each key succeeds or fails on its own.
func (x *exchange) removeMany() *apiError {
	body, err := x.document()
	if err != nil {
		return err
	}
	if x.r.Header.Get("Content-Md5") == "" && !x.saidSum() {
		return invalid("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	if _, _, err := x.checked(body, nil, crc64NVME); err != nil {
		return err
	}
	var req deleteRequest
	if xml.Unmarshal(body, &req) != nil || len(req.Objects) == 0 || len(req.Objects) > maxKeys {
		return invalid("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
	}
	return x.reply(x.removeListed(req))
}

func (x *exchange) removeListed(req deleteRequest) (res deleteResult) {
	for _, o := range req.Objects {
		err := &apiError{code: "AccessDenied"}
		if x.mayWrite(o.Key) && o.VersionId == "" {
			err = x.removeKey(o.Key, o.ETag)
		}
		switch {
		case err != nil:
			res.Errors = append(res.Errors, deleteError{o.Key, err.code, err.message})
		case !req.Quiet:
			res.Deleted = append(res.Deleted, deletedObject{o.Key})
		}
	}
	return res
}
