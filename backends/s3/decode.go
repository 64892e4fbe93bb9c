package s3

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// quickly has listings decoded here: the SDK takes many times as long, which with parallel requests is most of the time there is. What
// is in the least unusual is left to the SDK, errors and broken answers included.
func quickly(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		theirs, ok := stack.Deserialize.Get(decoderID)
		if !ok {
			return nil // another SDK
		}
		_, err := stack.Deserialize.Swap(decoderID, &quickDecoder{theirs})
		return err
	})
}

const (
	decoderID   = "OperationDeserializer"
	maxListBody = 16 << 20 // a page of 1,000 keys of 1,024 bytes, all of them escaped, has 4 MB
)

// quickDecoder takes the place of the SDK's decoder of ListObjectsV2.
type quickDecoder struct {
	theirs middleware.DeserializeMiddleware
}

// ID is the one under which the SDK looks for it.
func (*quickDecoder) ID() string { return decoderID }

// HandleDeserialize decodes an answer, or has the SDK do it.
func (d *quickDecoder) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err == nil && ok && resp.StatusCode == 200 && resp.ContentLength <= maxListBody {
		whole := resp.Body
		raw, readErr := io.ReadAll(io.LimitReader(whole, maxListBody))
		if readErr == nil && len(raw) < maxListBody {
			if listing, ok := decodeListing(raw); ok {
				smithyhttp.CloseResponseBody(ctx, resp, false, nil)
				out.Result = listing
				return out, meta, nil
			}
		}
		resp.Body = &reread{io.MultiReader(bytes.NewReader(raw), &failing{whole, readErr}), whole}
	}
	return d.theirs.HandleDeserialize(ctx, in, middleware.DeserializeHandlerFunc(
		func(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
			return out, meta, err
		}))
}

// reread is a body of which a part was read already.
type reread struct {
	io.Reader
	io.Closer
}

// failing goes on reading, but where that has failed before.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.r.Read(p)
}

// decodeListing decodes what studyfs uses of the answer to ListObjectsV2. False: it has something in it that is left to a real XML decoder.
func decodeListing(raw []byte) (*s3.ListObjectsV2Output, bool) {
	x := &scanner{b: raw}
	x.prolog()
	if name := x.open(); name != "ListBucketResult" {
		return nil, false
	}
	out := &s3.ListObjectsV2Output{Contents: make([]types.Object, 0, min(bytes.Count(raw, []byte("<Contents>")), pageSize))}
	for x.more() {
		switch name := x.open(); name {
		case "Name":
			out.Name = aws.String(x.text())
		case "Prefix":
			out.Prefix = aws.String(x.text())
		case "EncodingType":
			out.EncodingType = types.EncodingType(x.text())
		case "IsTruncated":
			out.IsTruncated = aws.Bool(x.bool())
		case "Contents":
			out.Contents = append(out.Contents, types.Object{})
			x.object(&out.Contents[len(out.Contents)-1])
		case "CommonPrefixes":
			out.CommonPrefixes = append(out.CommonPrefixes, types.CommonPrefix{})
			x.commonPrefix(&out.CommonPrefixes[len(out.CommonPrefixes)-1])
		default:
			x.skip(name, 0)
		}
	}
	x.space()
	return out, !x.bad && len(x.b) == 0
}

func (x *scanner) object(o *types.Object) {
	for x.more() {
		switch name := x.open(); name {
		case "Key":
			o.Key = aws.String(x.text())
		case "ETag":
			o.ETag = aws.String(x.text())
		case "Size":
			n, err := strconv.ParseInt(x.text(), 10, 64)
			x.bad = x.bad || err != nil
			o.Size = &n
		case "LastModified":
			t, err := time.Parse(time.RFC3339, x.text())
			x.bad = x.bad || err != nil
			o.LastModified = &t
		case "StorageClass":
			o.StorageClass = classNamed(x.text())
		case "RestoreStatus":
			o.RestoreStatus = &types.RestoreStatus{}
			x.restoreStatus(o.RestoreStatus)
		default:
			x.skip(name, 0)
		}
	}
}

// classNamed has one string for what is said of nearly every object.
func classNamed(name string) types.ObjectStorageClass {
	if name == string(types.ObjectStorageClassStandard) {
		return types.ObjectStorageClassStandard
	}
	return types.ObjectStorageClass(name)
}

func (x *scanner) restoreStatus(r *types.RestoreStatus) {
	for x.more() {
		switch name := x.open(); name {
		case "IsRestoreInProgress":
			r.IsRestoreInProgress = aws.Bool(x.bool())
		case "RestoreExpiryDate":
			t, err := time.Parse(time.RFC3339, x.text())
			x.bad = x.bad || err != nil
			r.RestoreExpiryDate = &t
		default:
			x.skip(name, 0)
		}
	}
}

func (x *scanner) commonPrefix(p *types.CommonPrefix) {
	for x.more() {
		if name := x.open(); name == "Prefix" {
			p.Prefix = aws.String(x.text())
		} else {
			x.skip(name, 0)
		}
	}
}

// scanner goes through the plainest kind of XML: elements, text, references to characters. From anything else on it is bad, and yields
// nothing more. It never reads past its end, and ends.
type scanner struct {
	b     []byte
	names []string // of the elements that are open
	empty bool     // the one opened last ended in "/>"
	bad   bool
}

func (x *scanner) fail() string {
	x.bad, x.b = true, nil
	return ""
}

func (x *scanner) space() { x.b = bytes.TrimLeft(x.b, " \t\n") }

// prolog skips <?xml … ?>.
func (x *scanner) prolog() {
	x.space()
	if bytes.HasPrefix(x.b, []byte("<?xml ")) {
		if end := bytes.Index(x.b, []byte("?>")); end >= 0 && utf8Named(x.b[:end]) {
			x.b = x.b[end+2:]
		}
	}
	x.space()
}

// utf8Named reports whether a prolog names no other encoding.
func utf8Named(prolog []byte) bool {
	text := strings.ToLower(string(prolog))
	return !strings.Contains(text, "encoding") || strings.Contains(text, "utf-8")
}

// open reads a start tag and returns its name.
func (x *scanner) open() string {
	end := bytes.IndexByte(x.b, '>')
	if x.bad || x.empty || end < 2 || x.b[0] != '<' {
		return x.fail()
	}
	tag := x.b[1:end]
	x.b = x.b[end+1:]
	if tag[len(tag)-1] == '/' {
		x.empty, tag = true, tag[:len(tag)-1]
	}
	if i := bytes.IndexByte(tag, ' '); i >= 0 {
		if !attributes(tag[i:]) {
			return x.fail()
		}
		tag = tag[:i]
	}
	if len(tag) == 0 || bytes.ContainsFunc(tag, notLetter) {
		return x.fail()
	}
	name := named(tag)
	x.names = append(x.names, name)
	return name
}

func notLetter(c rune) bool { return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') }

// attributes reports whether text is nothing but attributes: none of them says anything about a listing.
func attributes(text []byte) bool {
	for {
		text = bytes.TrimLeft(text, " ")
		name, rest, more := bytes.Cut(text, []byte(`="`))
		if !more {
			return len(text) == 0
		}
		value, behind, ended := bytes.Cut(rest, []byte{'"'})
		name = bytes.TrimPrefix(bytes.TrimPrefix(name, []byte("xmlns:")), []byte("xsi:"))
		if len(name) == 0 || bytes.ContainsFunc(name, notLetter) || !ended || bytes.ContainsFunc(value, notPlain) || len(behind) > 0 && behind[0] != ' ' {
			return false
		}
		text = behind
	}
}

func notPlain(c rune) bool { return c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '&' }

// named returns a tag as a string, without making one for those that are in each line.
func named(tag []byte) string {
	for _, name := range [...]string{"Key", "LastModified", "ETag", "Size", "StorageClass", "Contents", "CommonPrefixes", "Prefix"} {
		if string(tag) == name {
			return name
		}
	}
	return string(tag)
}

// more reports whether another element follows in the one that is open; else it closes that one.
func (x *scanner) more() bool {
	if x.bad {
		return false
	}
	if x.empty {
		x.empty = false
		x.names = x.names[:len(x.names)-1]
		return false
	}
	x.space()
	if len(x.b) > 1 && x.b[0] == '<' && x.b[1] == '/' {
		x.close()
		return false
	}
	return true
}

func (x *scanner) close() {
	name := x.names[len(x.names)-1]
	n := len(name) + 3
	if len(x.b) < n || string(x.b[2:n-1]) != name || x.b[n-1] != '>' {
		x.fail()
		return
	}
	x.b, x.names = x.b[n:], x.names[:len(x.names)-1]
}

// text reads the text of the element that is open, and closes it.
func (x *scanner) text() string {
	if x.bad || x.empty {
		x.more()
		return ""
	}
	end := bytes.IndexByte(x.b, '<')
	if end < 0 || end+1 >= len(x.b) || x.b[end+1] != '/' {
		return x.fail()
	}
	raw := x.b[:end]
	x.b = x.b[end:]
	x.close()
	text, ok := unescape(raw)
	if !ok {
		return x.fail()
	}
	return text
}

func (x *scanner) bool() bool {
	switch x.text() {
	case "true":
		return true
	case "false":
		return false
	}
	x.fail()
	return false
}

// skip passes over an element that nobody wants, with all that lies in it.
func (x *scanner) skip(name string, depth int) {
	if depth > 8 || wanted(name) {
		x.fail()
		return
	}
	if !x.empty {
		x.space()
	}
	if x.bad || x.empty || len(x.b) == 0 || x.b[0] != '<' {
		x.text()
		return
	}
	for x.more() {
		x.skip(x.open(), depth+1)
	}
}

// wanted reports whether name is one of those that are wanted, in other letters or at another place: the SDK would take it.
func wanted(name string) bool {
	for _, n := range [...]string{
		"Name", "Prefix", "EncodingType", "IsTruncated", "Contents", "CommonPrefixes", "Key", "ETag", "Size", "LastModified", "StorageClass", "RestoreStatus",
	} {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// unescape returns text with its references to characters resolved. False: it is not all plain text.
func unescape(raw []byte) (string, bool) {
	if bytes.ContainsFunc(raw, notText) {
		return "", false
	}
	plain := !bytes.ContainsAny(raw, "&>")
	if plain {
		return string(raw), true
	}
	var out strings.Builder
	out.Grow(len(raw))
	for rest := string(raw); ; {
		before, ref, found := strings.Cut(rest, "&")
		out.WriteString(before)
		if !found {
			return out.String(), !bytes.Contains(raw, []byte("]]>"))
		}
		name, behind, ended := strings.Cut(ref, ";")
		char := reference(name)
		if !ended || char == "" {
			return "", false
		}
		out.WriteString(char)
		rest = behind
	}
}

func notText(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c >= 0x7f }

// reference is the character that a reference means, "" for one that is left to the SDK.
func reference(name string) string {
	switch name {
	case "amp", "#38":
		return "&"
	case "lt":
		return "<"
	case "gt":
		return ">"
	case "quot", "#34", "#x22":
		return `"`
	case "apos", "#39", "#x27":
		return "'"
	}
	return ""
}
