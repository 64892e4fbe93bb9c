package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"studyfs/backends"
)

// WalkPage is one flat page.
func (s *Source) WalkPage(ctx context.Context, dir, after string) (backends.Page, error) {
	return s.page(ctx, dir, after, "")
}

// ListPage is one page of children.
func (s *Source) ListPage(ctx context.Context, dir, after string) (backends.Page, error) {
	if strings.HasSuffix(after, "/") && !strings.HasPrefix(dir+"/", after) {
		// Past all that lies below that child: stores differ in whether "after d/" shows d again. The marker of dir itself, or of
		// what it lies in, is no child: all of dir lies behind it.
		after += "\U0010ffff"
	}
	return s.page(ctx, dir, after, "/")
}

// Seeks is true: S3 begins after any key.
func (s *Source) Seeks(bool) bool { return true }

func (s *Source) page(ctx context.Context, dir, after, delimiter string) (page backends.Page, err error) {
	in := &s3.ListObjectsV2Input{Prefix: aws.String(s.prefix(dir)), MaxKeys: aws.Int32(int32(s.o.PageSize))} //nolint:gosec // at most 1,000
	if delimiter != "" {
		in.Delimiter = aws.String(delimiter)
	}
	if after != "" {
		in.StartAfter = aws.String(s.key(after))
	}
	err = s.try(ctx, "list", dir, func(ctx context.Context) error {
		page, err = s.ask(ctx, in)
		return err
	})
	return page, err
}

// prefix is the key prefix of a directory, with its slash: keys limited to a prefix may list exactly below it.
func (s *Source) prefix(dir string) string {
	if dir == "" {
		return s.o.Prefix
	}
	return s.key(dir) + "/"
}

// ask sends one ListObjectsV2 and checks the answer.
func (s *Source) ask(ctx context.Context, in *s3.ListObjectsV2Input) (backends.Page, error) {
	keys, more, err := s.lines(ctx, in)
	if err != nil {
		return backends.Page{}, err
	}
	return s.digest(in, keys, more)
}

// lines sends one ListObjectsV2 and returns what it lists. The SDK neither asks for url encoding nor decodes it, and without it one
// control character in a key breaks the XML of a whole page.
func (s *Source) lines(ctx context.Context, in *s3.ListObjectsV2Input) (keys []listedKey, more bool, err error) {
	in.Bucket, in.EncodingType, in.RequestPayer = aws.String(s.o.Bucket), types.EncodingTypeUrl, s.payer()
	in.OptionalObjectAttributes = nil
	if s.wantsAttributes() {
		in.OptionalObjectAttributes = []types.OptionalObjectAttributes{types.OptionalObjectAttributesRestoreStatus}
	}
	out, err := s.api().ListObjectsV2(ctx, in, quickly)
	if err != nil {
		if in.OptionalObjectAttributes != nil && unknownAttribute(err) {
			s.withoutAttributes()
			return s.lines(ctx, in)
		}
		return nil, false, err
	}
	if out.Name == nil || out.IsTruncated == nil {
		// A login page parses as XML with nothing in it. Taken for a listing it would say that all data is gone.
		return nil, false, bad("not a listing")
	}
	keys, err = keysOf(out)
	return keys, *out.IsTruncated, err
}

func (s *Source) wantsAttributes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.noAttributes
}

func (s *Source) withoutAttributes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noAttributes = true
}

// unknownAttribute tells a store that does not know RestoreStatus from one that is broken.
func unknownAttribute(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (api.ErrorCode() == "NotImplemented" || api.ErrorCode() == "InvalidArgument")
}

// listedKey is one line of a listing: an object, or a common prefix where object is nil.
type listedKey struct {
	key    string
	object *types.Object
}

// keysOf returns the lines of a listing in key order, unescaped.
func keysOf(out *s3.ListObjectsV2Output) ([]listedKey, error) {
	encoded := out.EncodingType == types.EncodingTypeUrl
	keys := make([]listedKey, 0, len(out.Contents)+len(out.CommonPrefixes))
	add := func(raw *string, o *types.Object) error {
		key := aws.ToString(raw)
		if encoded {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				return bad("a key is not url-encoded")
			}
		}
		keys = append(keys, listedKey{key, o})
		return nil
	}
	for i := range out.Contents {
		if err := add(out.Contents[i].Key, &out.Contents[i]); err != nil {
			return nil, err
		}
	}
	for i := range out.CommonPrefixes {
		if err := add(out.CommonPrefixes[i].Prefix, nil); err != nil {
			return nil, err
		}
	}
	// Both parts must come in order: of a listing that is not sorted, "all before the last key" says nothing.
	if !increasing(keys[:len(out.Contents)]) || !increasing(keys[len(out.Contents):]) {
		return nil, bad("keys out of order")
	}
	slices.SortStableFunc(keys, func(a, b listedKey) int { return cmp.Compare(a.key, b.key) })
	return keys, nil
}

func increasing(keys []listedKey) bool {
	for i := 1; i < len(keys); i++ {
		if keys[i-1].key >= keys[i].key {
			return false
		}
	}
	return true
}

// digest turns the lines of a listing into a page.
func (s *Source) digest(in *s3.ListObjectsV2Input, keys []listedKey, more bool) (backends.Page, error) {
	page := backends.Page{More: more}
	for _, k := range keys {
		if err := k.check(in); err != nil {
			return page, err
		}
		if k.object == nil && k.key <= aws.ToString(in.StartAfter) {
			continue // a store that shows again the prefix in which the beginning lies
		}
		if e, ok := s.entry(k, *in.Prefix); ok {
			page.Entries = append(page.Entries, e)
		}
	}
	if more {
		if len(keys) == 0 {
			return page, bad("an empty page that claims to go on")
		}
		page.Last = strings.TrimPrefix(keys[len(keys)-1].key, s.o.Prefix)
	}
	return page, nil
}

// check refuses a line that cannot be of the listing asked for.
func (k listedKey) check(in *s3.ListObjectsV2Input) error {
	if !strings.HasPrefix(k.key, *in.Prefix) {
		return bad("a key is not below the prefix")
	}
	if k.object == nil {
		return nil
	}
	if in.ContinuationToken == nil && k.key <= aws.ToString(in.StartAfter) {
		return bad("a key lies before the beginning asked for")
	}
	if k.object.Size == nil || *k.object.Size < 0 || aws.ToString(k.object.ETag) == "" {
		return bad("an object without size or ETag")
	}
	return nil
}

// entry is what is shown of a line; false: nothing.
func (s *Source) entry(k listedKey, prefix string) (backends.Entry, bool) {
	if k.key == prefix {
		return backends.Entry{}, false // the marker of the directory itself
	}
	name, isDir := strings.CutSuffix(k.key[len(s.o.Prefix):], "/")
	if !backends.ValidName(name) || name == "" {
		s.hidden.add(k.key)
		return backends.Entry{}, false
	}
	e := backends.Entry{Name: name, Dir: isDir}
	o := k.object
	if o == nil {
		return e, true
	}
	if o.LastModified != nil {
		e.ModTime = o.LastModified.UTC()
	}
	if isDir {
		return e, true
	}
	e.Size, e.Version, e.Class = aws.ToInt64(o.Size), aws.ToString(o.ETag), string(o.StorageClass)
	e.Tier = tierOf(o)
	return e, true
}

// tierOf tells what storage class and restore status mean for reading ("Restoring an archived object", user guide).
func tierOf(o *types.Object) backends.Tier {
	if o.StorageClass != types.ObjectStorageClassGlacier && o.StorageClass != types.ObjectStorageClassDeepArchive {
		return backends.Online
	}
	switch r := o.RestoreStatus; {
	case r == nil:
		return backends.Archived
	case aws.ToBool(r.IsRestoreInProgress):
		return backends.Restoring
	case r.RestoreExpiryDate != nil:
		return backends.Online
	}
	return backends.Archived
}

// List yields the children of dir in name order. S3 lists in key order, where directory "a" stands behind "a.txt" as "a/", so
// the whole directory is read before the first entry is yielded.
func (s *Source) List(ctx context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		var all []backends.Entry
		for after, more := "", true; more; {
			page, err := s.ListPage(ctx, dir, after)
			if err != nil {
				yield(backends.Entry{}, err)
				return
			}
			all = append(all, page.Entries...)
			after, more = page.Last, page.More
		}
		slices.SortStableFunc(all, func(a, b backends.Entry) int {
			if c := cmp.Compare(a.Name, b.Name); c != 0 || a.Dir == b.Dir {
				return c
			}
			if a.Dir { // a file beside a directory of the same name gives way
				return -1
			}
			return 1
		})
		for i, e := range all {
			if i > 0 && all[i-1].Name == e.Name {
				s.hidden.add(s.key(e.Name))
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Stat looks a name up with one or two listings of a single key: below it, then at it.
func (s *Source) Stat(ctx context.Context, name string) (backends.Entry, error) {
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	if !backends.ValidName(name) {
		return backends.Entry{}, fmt.Errorf("stat: %w", backends.ErrNotExist)
	}
	below, err := s.first(ctx, name, s.key(name)+"/")
	if err != nil {
		return backends.Entry{}, err
	}
	if below != nil {
		return backends.Entry{Name: name, Dir: true}, nil
	}
	at, err := s.first(ctx, name, s.key(name))
	if err != nil {
		return backends.Entry{}, err
	}
	if at != nil && at.key == s.key(name) {
		if e, ok := s.entry(*at, s.o.Prefix); ok {
			return e, nil
		}
	}
	return backends.Entry{}, fmt.Errorf("stat %s: %w", name, backends.ErrNotExist)
}

// first returns the first key that begins with prefix.
func (s *Source) first(ctx context.Context, name, prefix string) (*listedKey, error) {
	var found *listedKey
	err := s.try(ctx, "stat", name, func(ctx context.Context) error {
		keys, _, err := s.lines(ctx, &s3.ListObjectsV2Input{Prefix: aws.String(prefix), MaxKeys: aws.Int32(1)})
		switch {
		case err != nil:
			return err
		case len(keys) == 0:
			found = nil
		case !strings.HasPrefix(keys[0].key, prefix):
			return bad("a key is not below the prefix")
		default:
			found = &keys[0]
		}
		return nil
	})
	return found, err
}

// hiddenKeys counts keys that cannot be shown, each once as long as there are not too many to remember. It keeps hashes only.
type hiddenKeys struct {
	mu   sync.Mutex // guards the fields below; a leaf
	seed maphash.Seed
	seen map[uint64]bool
}

const maxHidden = 100_000

func (h *hiddenKeys) add(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil {
		h.seed, h.seen = maphash.MakeSeed(), map[uint64]bool{}
	}
	if len(h.seen) < maxHidden {
		h.seen[maphash.String(h.seed, key)] = true
	}
}

func (h *hiddenKeys) count() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(len(h.seen))
}
