// Package azuretest is a small Azure blob service in memory: one account, read over HTTP, filled by calls. It is strict where a
// client's mistake would cost a user: it wants the headers that a real service wants, hands out markers that mean nothing to anybody
// else, and lists only in pages.
package azuretest

import (
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say which service this is.
type Options struct {
	Account   string
	Container string
	Signature string // of the SAS that is accepted beside any signature of the account; "" lets everybody read
	Token     string // an access token that is accepted as well; "" for none. Another one is refused as expired
	PageSize  int    // most lines per page, whatever is asked for; 0 means 5,000
	// IgnoreStart makes it a service that does not know startFrom.
	IgnoreStart bool
	// WrongStart makes it a service that takes startFrom as relative to the prefix.
	WrongStart bool
	// Hierarchical sorts by names between slashes, as accounts with a hierarchical namespace do.
	Hierarchical bool
	// Hook sees every request first, and answers it if it returns true.
	Hook func(w http.ResponseWriter, r *http.Request) bool
}

// Blob is what Put takes beside the key.
type Blob struct {
	Body     []byte
	Tier     string // "" means Hot
	Archive  string // such as rehydrate-pending-to-hot
	Metadata map[string]string
	Modified time.Time
}

// Server is the service. It is safe for concurrent use.
type Server struct {
	o Options

	mu    sync.Mutex // guards the fields below
	blobs map[string]*stored
	etags int
	seen  []string // of every request: "list" or "get", and its query
}

type stored struct {
	Blob
	etag string
}

// New returns an empty container.
func New(o Options) *Server {
	if o.PageSize == 0 {
		o.PageSize = 5000
	}
	return &Server{o: o, blobs: map[string]*stored{}}
}

// Put stores a blob under a new ETag.
func (s *Server) Put(key string, b Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Modified.IsZero() {
		b.Modified = time.Date(2016, 5, 4, 3, 2, 1, 0, time.UTC)
	}
	s.etags++
	s.blobs[key] = &stored{b, fmt.Sprintf("0x8D%012X", s.etags)}
}

// Delete removes a blob.
func (s *Server) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, key)
}

// Requests returns the queries of the listings so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// ServeHTTP answers below /ACCOUNT/CONTAINER.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.o.Hook != nil && s.o.Hook(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest, ours := strings.CutPrefix(r.URL.Path, "/"+s.o.Account+"/")
	name, key, isBlob := strings.Cut(rest, "/")
	q := r.URL.Query()
	switch {
	case !ours || r.Header.Get("X-Ms-Version") < "2026-02-06":
		refuse(w, http.StatusBadRequest, "InvalidHeaderValue")
	case !s.allowed(r):
		refuse(w, http.StatusForbidden, "AuthenticationFailed")
	case r.Method != http.MethodGet:
		refuse(w, http.StatusMethodNotAllowed, "UnsupportedHttpVerb")
	case name != s.o.Container:
		refuse(w, http.StatusNotFound, "ContainerNotFound")
	case isBlob:
		s.get(w, r, key)
	case q.Get("restype") == "container" && q.Get("comp") == "list":
		s.seen = append(s.seen, r.URL.RawQuery)
		s.list(w, q)
	default:
		refuse(w, http.StatusBadRequest, "InvalidQueryParameterValue")
	}
}

func (s *Server) allowed(r *http.Request) bool {
	signed := strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey "+s.o.Account+":")
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.o.Token != "" && token == s.o.Token
	}
	return s.o.Signature == "" || signed || r.URL.Query().Get("sig") == s.o.Signature
}

// refuse answers as the service does: the code stands in a header and in the body.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code) //nolint:errcheck // the client has gone
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, key string) {
	b := s.blobs[key]
	switch {
	case b == nil:
		refuse(w, http.StatusNotFound, "BlobNotFound")
		return
	case r.Header.Get("If-Match") != `"`+b.etag+`"`:
		refuse(w, http.StatusPreconditionFailed, "ConditionNotMet")
		return
	case b.Archive != "":
		refuse(w, http.StatusConflict, "BlobBeingRehydrated")
		return
	case b.Tier == "Archive":
		refuse(w, http.StatusConflict, "BlobArchived")
		return
	}
	var first, last int
	if n, _ := fmt.Sscanf(r.Header.Get("X-Ms-Range"), "bytes=%d-%d", &first, &last); n != 2 || first > last || last >= len(b.Body) {
		refuse(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
		return
	}
	h := w.Header()
	h.Set("ETag", `"`+b.etag+`"`)
	h.Set("Last-Modified", b.Modified.Format(http.TimeFormat))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(b.Body)))
	h.Set("Content-Length", strconv.Itoa(last+1-first))
	w.WriteHeader(http.StatusPartialContent)
	w.Write(b.Body[first : last+1]) //nolint:errcheck,gosec // the client has gone; and it is no page
}

// The XML of a listing.
type (
	results struct {
		XMLName    xml.Name `xml:"EnumerationResults"`
		Endpoint   string   `xml:"ServiceEndpoint,attr"`
		Container  string   `xml:"ContainerName,attr"`
		Prefix     string
		Marker     string
		MaxResults int
		Delimiter  string `xml:",omitempty"`
		Blobs      blobs
		NextMarker string
	}
	blobs struct {
		Lines []any
	}
	listedName struct {
		Encoded bool   `xml:",attr,omitempty"`
		Text    string `xml:",chardata"`
	}
	listedPrefix struct {
		XMLName    xml.Name `xml:"BlobPrefix"`
		Name       listedName
		Properties *properties `xml:",omitempty"`
	}
	listedBlob struct {
		XMLName    xml.Name `xml:"Blob"`
		Name       listedName
		Properties properties
		Metadata   metadata
	}
	properties struct {
		Modified string `xml:"Last-Modified"`
		ETag     string `xml:"Etag"`
		Resource string `xml:"ResourceType,omitempty"`
		Length   int    `xml:"Content-Length"`
		BlobType string
		Tier     string `xml:"AccessTier"`
		Archive  string `xml:"ArchiveStatus,omitempty"`
	}
	metadata map[string]string
)

// MarshalXML writes each entry as an element.
func (m metadata) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for name, v := range m {
		if err := e.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// nameOf escapes what XML cannot hold, as the service does since version 2021-02-12.
func nameOf(key string) listedName {
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == '\ufffe' || r == '\uffff' }) {
		return listedName{true, strings.ReplaceAll(url.QueryEscape(key), "+", "%20")}
	}
	return listedName{Text: key}
}

func (s *Server) list(w http.ResponseWriter, q url.Values) {
	most, err := strconv.Atoi(q.Get("maxresults"))
	from, ok := unmark(q.Get("marker"))
	if err != nil || most < 1 || most > 5000 || !ok || q.Get("include") != "metadata" {
		refuse(w, http.StatusBadRequest, "InvalidQueryParameterValue")
		return
	}
	out := results{
		Endpoint: "https://" + s.o.Account + ".blob.core.windows.net/", Container: s.o.Container,
		Prefix: q.Get("prefix"), Marker: q.Get("marker"), MaxResults: most, Delimiter: q.Get("delimiter"),
	}
	out.Blobs.Lines, out.NextMarker = s.lines(q, from, min(most, s.o.PageSize))
	w.Header().Set("Content-Type", "application/xml")
	w.Write([]byte(xml.Header))    //nolint:errcheck // the client has gone
	xml.NewEncoder(w).Encode(&out) //nolint:errcheck // the client has gone
}

// lines returns one page: what comes after the key from, which ended the last one.
func (s *Server) lines(q url.Values, from string, most int) (lines []any, next string) {
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	var last, shown string
	for _, key := range s.sorted() {
		if !strings.HasPrefix(key, prefix) || from != "" && s.compare(key, from) <= 0 || s.before(key, prefix, q.Get("startFrom")) {
			continue
		}
		group, isGroup := "", false
		if delimiter != "" {
			var head string
			if head, _, isGroup = strings.Cut(key[len(prefix):], delimiter); isGroup {
				group = prefix + head + delimiter
			}
		}
		if isGroup && group == shown {
			last = key
			continue
		}
		if len(lines) == most {
			return lines, "2!" + base64.StdEncoding.EncodeToString([]byte(last))
		}
		last = key
		if isGroup {
			shown = group
			lines = append(lines, s.prefixLine(group))
			continue
		}
		lines = append(lines, s.blobLine(key, s.blobs[key]))
	}
	return lines, ""
}

func (s *Server) prefixLine(group string) listedPrefix {
	line := listedPrefix{Name: nameOf(group)}
	if s.o.Hierarchical {
		line.Properties = &properties{Modified: time.Unix(0, 0).UTC().Format(http.TimeFormat), ETag: "0x1", Resource: "directory"}
	}
	return line
}

func (s *Server) blobLine(key string, b *stored) listedBlob {
	line := listedBlob{Name: nameOf(key), Metadata: b.Metadata, Properties: properties{
		Modified: b.Modified.Format(http.TimeFormat), ETag: b.etag, Length: len(b.Body), BlobType: "BlockBlob", Tier: cmp.Or(b.Tier, "Hot"), Archive: b.Archive,
	}}
	if s.o.Hierarchical {
		line.Properties.Resource = "file"
	}
	return line
}

func (s *Server) before(key, prefix, start string) bool {
	if s.o.WrongStart {
		key = strings.TrimPrefix(key, prefix)
	}
	return !s.o.IgnoreStart && start != "" && s.compare(key, start) < 0
}

func (s *Server) sorted() []string {
	keys := make([]string, 0, len(s.blobs))
	for key := range s.blobs {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, s.compare)
	return keys
}

func (s *Server) compare(a, b string) int {
	if s.o.Hierarchical {
		a, b = strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00")
	}
	return cmp.Compare(a, b)
}

func unmark(marker string) (string, bool) {
	if marker == "" {
		return "", true
	}
	text, ok := strings.CutPrefix(marker, "2!")
	key, err := base64.StdEncoding.DecodeString(text)
	return string(key), ok && err == nil
}
