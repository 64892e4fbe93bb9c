package beiwetest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"
)

// maxPiece is up to where a member is gathered before it goes out.
const maxPiece = 4 << 20

// zipWriter writes a zip as the server's generator does: stored, sizes in each header, nothing behind a member.
type zipWriter struct {
	dataOptions
	w     *answer
	r     *http.Request
	s     *Server
	now   time.Time
	names map[string]int
	last  string // the latest name

	out     bytes.Buffer // not yet sent
	offset  int64
	central []byte
	count   int
	pairs   []string // of the registry
	zstd    *zstd.Encoder
}

// piece is one member as it goes out.
type piece struct {
	name   string
	body   io.Reader
	size   int64 // that its header tells
	sum    uint32
	method uint16
	zip64  bool
}

var errGone = errors.New("the client is gone, or was meant to think so of us")

func (z *zipWriter) send(files []*record, q query) {
	z.w.WriteHeader(http.StatusOK)
	for i, r := range files {
		if z.strike(i) {
			return
		}
		err := z.member(r, q)
		if z.flush() != nil || err != nil {
			abort(z.w, true)
			return
		}
		z.w.members++
	}
	if z.strike(len(files)) {
		return
	}
	if !q.webForm {
		z.write(plain("registry", []byte("{"+strings.Join(z.pairs, ", ")+"}"))) //nolint:errcheck // the client may be gone
		z.flush()                                                               //nolint:errcheck // as above
	}
	z.end()
	z.flush() //nolint:errcheck // as above
}

// Write gathers: the server sends each member in one go, which is one chunk of the answer.
func (z *zipWriter) Write(p []byte) (int, error) {
	z.offset += int64(len(p))
	z.out.Write(p)
	if z.out.Len() < maxPiece {
		return len(p), nil
	}
	return len(p), z.flush()
}

// flush sends what was gathered. An answer that was flushed has no Content-Length, also where nothing matched.
func (z *zipWriter) flush() error {
	_, err := z.w.Write(z.out.Bytes())
	z.out.Reset()
	return errors.Join(err, http.NewResponseController(z.w).Flush())
}

func (z *zipWriter) member(r *record, q query) error {
	z.s.mu.Lock()
	r.digest()
	said := z.s.md5(r)
	if len(q.registry) > 0 && z.s.o.Generation != MD5 {
		said = r.sha1
	}
	z.s.mu.Unlock()
	z.pair(r.ChunkPath, said)
	p := piece{name: z.name(r.Path), body: r.Body.Open(), size: r.Body.Size(), sum: r.crc, zip64: r.zip64}
	z.last = p.name
	if z.v2 {
		if err := z.pack(&p); err != nil {
			return err
		}
	}
	cut := z.twist(&p)
	if err := z.write(p); err != nil {
		return err
	}
	if cut {
		return errGone
	}
	return nil
}

// pair adds an entry of the registry.
func (z *zipWriter) pair(path, said string) { z.pairs = append(z.pairs, quote(path)+": "+quote(said)) }

// quote is Python's json.dumps: nothing but ASCII.
func quote(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return `"` + text + `"` // as all paths are
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(text) //nolint:errcheck,errchkjson // a text into memory
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
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

func (z *zipWriter) encoder() *zstd.Encoder {
	if z.zstd == nil {
		z.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true)) // constant options
	}
	return z.zstd
}

// pack makes a member one of version 2.
func (z *zipWriter) pack(p *piece) error {
	all, err := io.ReadAll(p.body)
	if err != nil {
		return err
	}
	packed := plain(p.name+".zst", z.encoder().EncodeAll(all, nil))
	packed.zip64 = p.zip64
	*p = packed
	return nil
}

// plain is a member of these bytes.
func plain(name string, body []byte) piece {
	return piece{name: name, body: bytes.NewReader(body), size: int64(len(body)), sum: crc32.ChecksumIEEE(body)}
}

// write sends a member without holding it, and notes its entry of the table at the end.
func (z *zipWriter) write(p piece) error {
	local, central := p.headers(z.now, z.offset)
	z.central = append(z.central, central...)
	z.count++
	if _, err := z.Write(local); err != nil {
		return err
	}
	_, err := io.Copy(z, p.body)
	return err
}

// headers are the local one (30 bytes, APPNOTE 4.3.7) and the entry of the table (46 bytes, 4.3.12), with what follows them. A member stands at the
// offset.
func (p piece) headers(now time.Time, offset int64) (local, central []byte) {
	const full = 0xffffffff
	le, short, extra, version := binary.LittleEndian, uint32(full), []byte(nil), uint16(20)
	if p.zip64 || p.size >= full {
		version = 45
		extra = le.AppendUint64(le.AppendUint64(nil, uint64(p.size)), uint64(p.size))
	} else {
		short = uint32(p.size)
	}
	common := func(b, extra []byte) []byte {
		for _, v := range []uint16{version, 0, p.method, clockOf(now), dateOf(now)} {
			b = le.AppendUint16(b, v)
		}
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, p.sum), short), short)
		return le.AppendUint16(le.AppendUint16(b, uint16(len(p.name))), uint16(len(extra)))
	}
	wide := zip64Field(extra)
	local = append(append(common([]byte("PK\x03\x04"), wide), p.name...), wide...)
	if offset >= full {
		wide = zip64Field(le.AppendUint64(extra, uint64(offset)))
	}
	central = common([]byte{'P', 'K', 1, 2, byte(version), 3}, wide)
	central = append(central, make([]byte, 6)...) // comment, disk, internal
	central = le.AppendUint32(central, 0o600<<16)
	central = le.AppendUint32(central, uint32(min(offset, full)))
	return local, append(append(central, p.name...), wide...)
}

// zip64Field is an extra field of these numbers, or nothing.
func zip64Field(numbers []byte) []byte {
	if len(numbers) == 0 {
		return nil
	}
	b := binary.LittleEndian.AppendUint16(nil, 1)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(numbers))), numbers...)
}

// The time in a zip is the server's clock, not that of the data.
func clockOf(t time.Time) uint16 { return uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2) }
func dateOf(t time.Time) uint16  { return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()) }

// end writes the table and the end records.
func (z *zipWriter) end() {
	const full = 0xffffffff
	le, start, size := binary.LittleEndian, z.offset, int64(len(z.central))
	b := z.central
	if z.count > 0xffff || start >= full {
		b = append(b, "PK\x06\x06"...)
		b = le.AppendUint64(b, 44)
		b = append(b, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		for _, v := range []int64{int64(z.count), int64(z.count), size, start} {
			b = le.AppendUint64(b, uint64(v))
		}
		b = append(b, "PK\x06\x07\x00\x00\x00\x00"...)
		b = le.AppendUint64(b, uint64(start+size))
		b = le.AppendUint32(b, 1)
	}
	b = append(b, "PK\x05\x06\x00\x00\x00\x00"...)
	n := uint16(min(z.count, 0xffff))
	b = le.AppendUint16(le.AppendUint16(b, n), n)
	b = le.AppendUint32(b, uint32(min(size, full)))
	b = le.AppendUint32(b, uint32(min(start, full)))
	z.Write(append(b, 0, 0)) //nolint:errcheck // the client may be gone
}
