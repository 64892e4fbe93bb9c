package beiwetest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// query is a parsed request for data.
type query struct {
	people, streams []string
	from, to        time.Time
	registry        map[string]*string
	webForm         bool
}

// status is an answer without a word.
type status int

func (s status) Error() string { return strconv.Itoa(int(s)) }

// list reads a field that holds a JSON list, or plain values.
func list(r *http.Request, key string) ([]string, error) {
	values := r.PostForm[key]
	if len(values) == 1 {
		var parsed any
		if json.Unmarshal([]byte(values[0]), &parsed) == nil {
			all, ok := parsed.([]any)
			if !ok { // a lone id of digits is a number
				return nil, status(http.StatusBadRequest)
			}
			values = nil
			for _, v := range all {
				text, ok := v.(string)
				if !ok {
					return nil, status(http.StatusInternalServerError)
				}
				values = append(values, text)
			}
		}
	}
	return values, nil
}

func (s *Server) parse(r *http.Request) (q query, err error) {
	key := "user_ids"
	if _, ok := r.PostForm["participant_ids"]; ok && s.o.Generation != MD5 {
		key = "participant_ids"
	}
	if q.people, err = list(r, key); err != nil {
		return q, err
	}
	if q.streams, err = list(r, "data_streams"); err != nil {
		return q, err
	}
	if !s.knows(q) {
		return q, status(http.StatusNotFound)
	}
	for key, into := range map[string]*time.Time{"time_start": &q.from, "time_end": &q.to} {
		if text := last(r, key); text != "" {
			if *into, err = parseTime(text); err != nil {
				return q, err
			}
		}
	}
	_, q.webForm = r.PostForm["web_form"]
	if text := last(r, "registry"); text != "" {
		if json.Unmarshal([]byte(text), &q.registry) != nil {
			return q, status(http.StatusBadRequest)
		}
	}
	return q, nil
}

// knows reports whether all participants and streams that were asked for exist, each asked for once.
func (s *Server) knows(q query) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, id := range q.people {
		if !s.exists(id) || slices.Contains(q.people[:i], id) {
			return false
		}
	}
	for _, name := range q.streams {
		if !slices.Contains(Streams(), name) || slices.Contains(s.o.Lacks, name) {
			return false
		}
	}
	return true
}

func (s *Server) exists(id string) bool {
	for _, st := range s.studies {
		if st.people[id] != nil {
			return true
		}
	}
	return false
}

// parseTime is Python's strptime and what the server makes of its complaints: what is left over is a mistake of its own.
func parseTime(text string) (time.Time, error) {
	for _, form := range []string{"2006-01-02T15:04:05", "2006-1-2T15:4:5"} {
		if t, err := time.Parse(form, text); err == nil && !strings.Contains(text, ".") {
			return t, nil
		}
	}
	if len(text) > 19 {
		return time.Time{}, status(http.StatusInternalServerError)
	}
	return time.Time{}, status(http.StatusBadRequest)
}

// data is get-data.
func (s *Server) data(w *answer, r *http.Request, st *study, f *Fault, v2 bool) {
	q, err := s.parse(r)
	if code, ok := errors.AsType[status](err); ok {
		fail(w, int(code))
		return
	}
	s.mu.Lock()
	s.asked++
	files, order := s.selected(st, q), rand.New(rand.NewPCG(s.o.Seed, s.asked)) //nolint:gosec // an order, no secret
	s.mu.Unlock()
	slices.SortFunc(files, func(a, b *record) int { return strings.Compare(a.ChunkPath, b.ChunkPath) })
	order.Shuffle(len(files), func(i, k int) { files[i], files[k] = files[k], files[i] })
	w.Header().Set("Content-Type", "application/zip")
	disposition := `inline; filename="data.zip"`
	if q.webForm {
		disposition = strings.Replace(disposition, "inline", "attachment", 1)
	}
	w.Header().Set("Content-Disposition", disposition)
	for _, v := range q.registry {
		if v == nil { // the generator fails on it, after the header
			w.WriteHeader(http.StatusOK)
			abort(w, true)
			return
		}
	}
	z := &zipWriter{w: w, r: r, s: s, fault: f, v2: v2, now: s.o.Now().UTC(), names: map[string]int{}}
	z.send(files, q)
}

// selected are the files that match, less those that the registry suppresses. The caller holds mu.
func (s *Server) selected(st *study, q query) (all []*record) {
	for id, p := range st.people {
		if len(q.people) > 0 && !slices.Contains(q.people, id) {
			continue
		}
		for _, r := range p.files {
			if q.wants(r) && (len(q.registry) == 0 || !s.suppressed(r, q.registry)) {
				all = append(all, r)
			}
		}
	}
	return all
}

// wants reports whether a file lies in what was asked for, both ends of the time included.
func (q query) wants(r *record) bool {
	return (len(q.streams) == 0 || slices.Contains(q.streams, r.Stream)) &&
		(q.from.IsZero() || !r.Time.Before(q.from)) && (q.to.IsZero() || !r.Time.After(q.to))
}

// suppressed reports whether the registry of a request keeps a file from being sent. Each generation has its own mistakes.
func (s *Server) suppressed(r *record, registry map[string]*string) bool {
	r.digest()
	full := said(registry, r.ChunkPath)
	short := strings.TrimSpace(said(registry, strings.TrimPrefix(r.ChunkPath, "CHUNKED_DATA/")))
	switch s.o.Generation {
	case MD5:
		return full != "" && full == s.md5(r)
	case SHA1Full:
		return strings.TrimSpace(full) == r.sha1
	case Current, SHA1Short:
	}
	if r.Stream == "audio_recordings" && s.anywhere(registry, r.sha1) {
		return true
	}
	if s.o.Generation == SHA1Short {
		return r.Stream != "survey_answers" && short == r.sha1
	}
	return full != "" || short == r.sha1 || short == r.md5
}

// said is what a registry says of a path, "" for nothing.
func said(registry map[string]*string, path string) string {
	if v := registry[path]; v != nil {
		return *v
	}
	return ""
}

func (s *Server) anywhere(registry map[string]*string, sha1 string) bool {
	for _, v := range registry {
		if v != nil && strings.TrimSpace(*v) == sha1 {
			return true
		}
	}
	return false
}

// md5 is what the database holds: nothing for files stored as they were uploaded.
func (s *Server) md5(r *record) string {
	if uploadName(r.Stream) != "" {
		return ""
	}
	r.digest()
	if s.o.MD5Newline {
		return r.md5 + "\n"
	}
	return r.md5
}

// zipWriter writes a zip as the server's generator does: stored, sizes in each header, nothing behind a member.
type zipWriter struct {
	w     *answer
	r     *http.Request
	s     *Server
	fault *Fault
	v2    bool
	now   time.Time
	names map[string]int

	offset  int64
	central []byte
	count   int
	pairs   []string // of the registry
	zstd    *zstd.Encoder
}

var errGone = errors.New("the client is gone, or was meant to think so of us")

func (z *zipWriter) send(files []*record, q query) {
	z.w.WriteHeader(http.StatusOK)
	for i, r := range files {
		if z.strike(i) {
			return
		}
		if z.member(r, q) != nil {
			abort(z.w, true)
			return
		}
		z.w.members++
		http.NewResponseController(z.w).Flush() //nolint:errcheck // one chunk per member
	}
	if z.strike(len(files)) {
		return
	}
	if !q.webForm {
		text := []byte("{" + strings.Join(z.pairs, ", ") + "}")
		z.write("registry", text, crc32.ChecksumIEEE(text), false) //nolint:errcheck // the client may be gone
	}
	http.NewResponseController(z.w).Flush() //nolint:errcheck // never a Content-Length, also where nothing matched
	z.finish()
}

// strike does what a fault wants before member i, and reports whether that was the end.
func (z *zipWriter) strike(i int) bool {
	f := z.fault
	switch {
	case f == nil:
		return false
	case f.Kind == Truncate && i >= f.After, f.Kind == MissingObject:
		abort(z.w, true)
		return true
	case f.Kind == Stall && i >= f.After:
		http.NewResponseController(z.w).Flush() //nolint:errcheck // silence after it
		z.s.wait(z.r, time.Hour)
		abort(z.w, true)
		return true
	case f.Kind == Drip:
		z.s.wait(z.r, f.Delay)
	case i == f.After:
		z.addWrong(f.Kind)
	}
	return false
}

// addWrong adds a member that nobody asked for.
func (z *zipWriter) addWrong(kind Kind) {
	switch {
	case kind == UnknownStream:
		z.extra("ai_chat_logs", "ai_chat_logs")
	case kind == BadNames:
		for _, name := range []string{"../../etc/passwd", "/etc/passwd", "a\x00b", `pid\gps\x.csv`, "a//b.csv"} {
			z.raw(name)
		}
	case kind == Twice && len(z.names) > 0:
		z.raw(z.lastName())
	}
}

// raw writes a member that should not be, with its line in the registry.
func (z *zipWriter) raw(name string) {
	body := []byte("not yours")
	z.pairs = append(z.pairs, fmt.Sprintf("%q: %q", "CHUNKED_DATA/bad/"+strconv.Itoa(z.count), "x"))
	z.write(name, body, crc32.ChecksumIEEE(body), false) //nolint:errcheck // the client may be gone
}

func (z *zipWriter) lastName() string {
	for name := range z.names {
		return name
	}
	return ""
}

// extra adds a member of another stream, of the first participant of the request.
func (z *zipWriter) extra(stream, dir string) {
	ids, err := list(z.r, "user_ids")
	if err != nil || len(ids) == 0 {
		return
	}
	body := []byte("timestamp,UTC time,text\n1,2026-01-01T00:00:00.000,hello")
	name := ids[0] + "/" + dir + "/2026-01-01 00_00_00+00_00.csv"
	z.pairs = append(z.pairs, fmt.Sprintf("%q: %q", "CHUNKED_DATA/"+last(z.r, "study_id")+"/"+ids[0]+"/"+stream+"/2026-01-01T00:00:00.csv", "x"))
	if z.v2 {
		name, body = name+".zst", z.encoder().EncodeAll(body, nil)
	}
	z.write(name, body, crc32.ChecksumIEEE(body), false) //nolint:errcheck // the client may be gone
}

func (z *zipWriter) encoder() *zstd.Encoder {
	if z.zstd == nil {
		z.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true)) // constant options
	}
	return z.zstd
}

// name gives members of one name a number, in the order in which they come.
func (z *zipWriter) name(want string) string {
	z.names[want]++
	n := z.names[want]
	if n == 1 {
		return want
	}
	ext := path.Ext(want)
	return strings.TrimSuffix(want, ext) + "_" + strconv.Itoa(n) + ext
}

func (z *zipWriter) member(r *record, q query) error {
	z.s.mu.Lock()
	r.digest()
	said := z.s.md5(r)
	if len(q.registry) > 0 && z.s.o.Generation != MD5 {
		said = r.sha1
	}
	z.s.mu.Unlock()
	z.pairs = append(z.pairs, fmt.Sprintf("%s: %s", quote(r.ChunkPath), quote(said)))
	name := z.name(r.Path)
	if z.v2 {
		return z.packed(name, r)
	}
	body := r.Body.Open()
	if z.fault != nil {
		body = z.twist(r, body)
	}
	return z.stream(name, body, r)
}

// quote is Python's json.dumps.
func quote(text string) string { return strconv.QuoteToASCII(text) }

// packed sends a member of version 2.
func (z *zipWriter) packed(name string, r *record) error {
	all, err := io.ReadAll(r.Body.Open())
	if err != nil {
		return err
	}
	if z.fault != nil && z.fault.Kind == Bomb {
		all = make([]byte, 200<<20)
	}
	body := z.encoder().EncodeAll(all, nil)
	sum := crc32.ChecksumIEEE(body)
	if z.fault != nil && z.fault.Kind == WrongCRC {
		sum++
	}
	if z.fault != nil && z.fault.Kind == Cut && z.count >= z.fault.After {
		z.header(name, int64(len(body)), sum, r.zip64)
		z.put(body[:len(body)/2]) //nolint:errcheck // ended next
		return errGone
	}
	return z.write(name+".zst", body, sum, r.zip64)
}

// twist changes a body as a fault wants it.
func (z *zipWriter) twist(r *record, body io.Reader) io.Reader {
	switch f := z.fault; {
	case f.Kind == WrongSize:
		return io.LimitReader(body, r.Body.Size()-1)
	case f.Kind == Cut && z.count >= f.After:
		return io.LimitReader(body, r.Body.Size()/2)
	}
	return body
}

// stream sends a stored member without holding it.
func (z *zipWriter) stream(name string, body io.Reader, r *record) error {
	sum := r.crc
	if z.fault != nil && z.fault.Kind == WrongCRC {
		sum++
	}
	z.header(name, r.Body.Size(), sum, r.zip64)
	n, err := io.Copy(z.w, body)
	z.offset += n
	if err == nil && n != r.Body.Size() {
		err = errGone
	}
	return err
}

func (z *zipWriter) write(name string, body []byte, sum uint32, zip64 bool) error {
	z.header(name, int64(len(body)), sum, zip64)
	return z.put(body)
}

func (z *zipWriter) put(p []byte) error {
	n, err := z.w.Write(p)
	z.offset += int64(n)
	return err
}

// header writes a local header and notes its line of the central directory.
func (z *zipWriter) header(name string, size int64, sum uint32, zip64 bool) {
	method := uint16(0)
	if z.fault != nil && z.fault.Kind == Deflate {
		method = 8
	}
	if z.fault != nil && z.fault.Kind == Bomb && !z.v2 {
		size, zip64 = 1<<50, true
	}
	date := uint16((z.now.Year()-1980)<<9 | int(z.now.Month())<<5 | z.now.Day())
	clock := uint16(z.now.Hour()<<11 | z.now.Minute()<<5 | z.now.Second()/2)
	short, extra := uint32(size), []byte(nil)
	if zip64 || size > 0xfffffffe {
		short = 0xffffffff
		extra = binary.LittleEndian.AppendUint16(nil, 1)
		extra = binary.LittleEndian.AppendUint16(extra, 16)
		extra = binary.LittleEndian.AppendUint64(extra, uint64(size))
		extra = binary.LittleEndian.AppendUint64(extra, uint64(size))
	}
	common := func(b []byte) []byte {
		le := binary.LittleEndian
		b = le.AppendUint16(b, 20)
		b = le.AppendUint16(b, 0)
		b = le.AppendUint16(b, method)
		b = le.AppendUint16(b, clock)
		b = le.AppendUint16(b, date)
		b = le.AppendUint32(b, sum)
		b = le.AppendUint32(b, short)
		b = le.AppendUint32(b, short)
		b = le.AppendUint16(b, uint16(len(name)))
		return le.AppendUint16(b, uint16(len(extra)))
	}
	c := append([]byte("PK\x01\x02"), 20, 3)
	c = common(c)
	c = append(c, make([]byte, 6)...) // comment, disk, internal
	c = binary.LittleEndian.AppendUint32(c, 0o600<<16)
	c = binary.LittleEndian.AppendUint32(c, uint32(min(z.offset, 0xffffffff)))
	z.central = append(append(append(z.central, c...), name...), extra...)
	z.count++
	local := append(common([]byte("PK\x03\x04")), name...)
	z.put(append(local, extra...)) //nolint:errcheck // the client may be gone: the next write tells
}

// finish writes the central directory and the end records.
func (z *zipWriter) finish() {
	le, start, size := binary.LittleEndian, z.offset, int64(len(z.central))
	z.put(z.central) //nolint:errcheck // the client may be gone
	var b []byte
	if z.count > 0xffff || start > 0xfffffffe {
		at := z.offset
		b = append(b, "PK\x06\x06"...)
		b = le.AppendUint64(b, 44)
		b = append(b, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		for _, v := range []int64{int64(z.count), int64(z.count), size, start} {
			b = le.AppendUint64(b, uint64(v))
		}
		b = append(b, "PK\x06\x07\x00\x00\x00\x00"...)
		b = le.AppendUint64(b, uint64(at))
		b = le.AppendUint32(b, 1)
	}
	b = append(b, "PK\x05\x06\x00\x00\x00\x00"...)
	n := uint16(min(z.count, 0xffff))
	b = le.AppendUint16(b, n)
	b = le.AppendUint16(b, n)
	b = le.AppendUint32(b, uint32(min(size, 0xffffffff)))
	b = le.AppendUint32(b, uint32(min(start, 0xffffffff)))
	z.put(append(b, 0, 0)) //nolint:errcheck // the client may be gone
}
