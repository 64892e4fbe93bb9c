package s3test

import (
	"net/http"
	"net/url"
)

// What the log calls the operations that change something, or that belong to an upload in parts. All others have the names
// that AWS gives them: GetObject, HeadObject, ListObjectsV2, HeadBucket, …
const (
	OpPut             = "put"
	OpCreateMultipart = "create-multipart"
	OpPart            = "part"
	OpPartCopy        = "part-copy"
	OpComplete        = "complete"
	OpAbort           = "abort"
	OpParts           = "parts"
	OpUploads         = "uploads"
	OpCopy            = "copy"
	OpDelete          = "delete"
	OpDeleteObjects   = "delete-objects"
	OpCreateBucket    = "create-bucket"
	OpRestore         = "restore"
)

// operation names a request, also one that is not implemented, so that tests can assert that nobody asks for it.
func operation(r *http.Request, line Request) string {
	switch {
	case line.Bucket == "":
		return "ListBuckets"
	case line.Key != "":
		return objectOperation(r, line.Query)
	case r.Method == http.MethodHead:
		return "HeadBucket"
	case line.Query.Get("list-type") == "2":
		return "ListObjectsV2"
	case r.Method == http.MethodPost && line.Query.Has("delete"):
		return OpDeleteObjects
	}
	for query, op := range map[string]string{
		"location": "GetBucketLocation", "versioning": "GetBucketVersioning", "acl": "GetBucketAcl", "policy": "GetBucketPolicy",
		"lifecycle": "GetBucketLifecycleConfiguration", "uploads": OpUploads, "versions": "ListObjectVersions",
	} {
		if line.Query.Has(query) {
			return op
		}
	}
	return map[string]string{
		http.MethodGet: "ListObjects", http.MethodPut: OpCreateBucket, http.MethodDelete: "DeleteBucket",
	}[r.Method]
}

func objectOperation(r *http.Request, q url.Values) string {
	if q.Has("restore") && r.Method == http.MethodPost {
		return OpRestore
	}
	for _, sub := range []string{"acl", "tagging", "retention", "legal-hold", "attributes", "select", "torrent", "renameObject"} {
		if q.Has(sub) {
			return "Object:" + sub
		}
	}
	copied := r.Header.Get("X-Amz-Copy-Source") != ""
	switch {
	case q.Has("uploads") && r.Method == http.MethodPost:
		return OpCreateMultipart
	case q.Has("uploadId"):
		if copied && r.Method == http.MethodPut {
			return OpPartCopy
		}
		return map[string]string{
			http.MethodPut: OpPart, http.MethodPost: OpComplete, http.MethodDelete: OpAbort, http.MethodGet: OpParts,
		}[r.Method]
	case copied && r.Method == http.MethodPut:
		return OpCopy
	}
	return map[string]string{
		http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodPut: OpPut, http.MethodDelete: OpDelete,
	}[r.Method]
}

// handlers are the operations that are implemented; all others are 501.
func handlers() map[string]func(*exchange) *apiError {
	return map[string]func(*exchange) *apiError{
		"HeadBucket":      (*exchange).headBucket,
		"ListObjectsV2":   (*exchange).list,
		"GetObject":       (*exchange).get,
		"HeadObject":      (*exchange).get,
		OpPut:             (*exchange).put,
		OpDelete:          (*exchange).remove,
		OpDeleteObjects:   (*exchange).removeMany,
		OpCopy:            (*exchange).copyObject,
		OpCreateMultipart: (*exchange).createMultipart,
		OpPart:            (*exchange).part,
		OpPartCopy:        (*exchange).partCopy,
		OpComplete:        (*exchange).complete,
		OpAbort:           (*exchange).abort,
		OpParts:           (*exchange).listParts,
		OpUploads:         (*exchange).listUploads,
		OpCreateBucket:    (*exchange).createBucket,
		OpRestore:         (*exchange).restore,
	}
}
