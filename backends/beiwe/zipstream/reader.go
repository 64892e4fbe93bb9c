// Package zipstream reads the zips of a Beiwe server front to back, from the body of an answer: nothing is held but small buffers, and an
// answer that breaks off has given all members that came before.
//
// A server's zips are plain: every member is stored, with its size and CRC-32 in the header before it (so no table at the end is needed to find
// it), and version 2 of the route wraps each member in a zstd frame. Whatever else a zip can be is refused: what is never produced
// is either damage or an attack.
package zipstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The errors of a Reader. An input that ends too early is io.ErrUnexpectedEOF, an error of the input itself comes as it is.
var (
	ErrFormat      = errors.New("not a zip")
	ErrUnsupported = errors.New("zip uses what these servers never use")
	ErrChecksum    = errors.New("zip member is damaged")
	ErrBomb        = errors.New("zip member unpacks to too much")
	// ErrName says that a member's name can be no file below a folder, or came twice. Next may be called again: the member is skipped.
	ErrName = errors.New("zip member has an impossible name")

	errClosed = errors.New("zip reader is closed")
)

// Options bound what a zip can cost. The zero value is right for version 1.
type Options struct {
	Zstd       bool  // members whose name ends in ".zst" are zstd frames (version 2)
	MaxMember  int64 // plain bytes of one member; 0 means 16 GiB
	MaxMembers int   // 0 means 20 million
	MaxRatio   int64 // plain bytes per stored byte, beyond the first 64 MiB; 0 means 2000: rows of text reach some hundred
}

// Member is what is known of a member before its bytes.
type Member struct {
	Name   string // without ".zst" where it was unpacked
	Size   int64  // of the plain bytes, -1 if unknown
	Stored int64  // of the bytes in the zip
	Zstd   bool
}

// Reader reads one zip. It is not safe for concurrent use.
type Reader struct {
	in   *bufio.Reader
	o    Options
	seen map[string]struct{} // whole names, not hashes: callers keep the names anyway, and then a text costs its head only
	read int64               // members

	scratch [56]byte // the fixed part of a record
	fields  []byte   // a header's name and extra field

	raw   rawMember // the stored bytes of the current member
	plain io.Reader // its plain bytes, nil if its name was refused
	count int64     // of them, so far
	limit int64     // how many there may be
	size  int64     // how many there must be, -1 if unknown
	open  bool      // a member is current
	err   error     // for good
	zstd  unpacker
}

// The signatures of a zip's records, little endian.
const (
	sigLocal    = 0x04034b50
	sigCentral  = 0x02014b50
	sigEnd      = 0x06054b50
	sigEnd64    = 0x06064b50
	sigLocate64 = 0x07064b50
)

const (
	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	extraZip64     = 0x0001
	stored         = 0
	maxName        = 4096
	freeRatio      = 64 << 20 // up to here any ratio is fine
)

// NewReader returns a Reader of r, which stays the caller's to close.
func NewReader(r io.Reader, o Options) *Reader {
	if o.MaxMember == 0 {
		o.MaxMember = 16 << 30
	}
	if o.MaxMembers == 0 {
		o.MaxMembers = 20_000_000
	}
	if o.MaxRatio == 0 {
		o.MaxRatio = 2000
	}
	z := &Reader{in: bufio.NewReaderSize(r, 64<<10), o: o, seen: map[string]struct{}{}}
	z.raw.z = z
	return z
}

// Close gives the memory for unpacking back. It does not close the input. Nothing can be read afterwards.
func (z *Reader) Close() error {
	z.zstd.close()
	if z.err == nil {
		z.err = errClosed
	}
	return nil
}

// Next goes on to the next member, past what was not read of the current one, whose checksum is compared all the same. After the last it
// checks the zip's end and returns io.EOF. After any error but ErrName it returns that error again.
func (z *Reader) Next() (Member, error) {
	if z.err != nil {
		return Member{}, z.err
	}
	if z.open {
		if err := z.skip(); err != nil {
			return Member{}, z.fail(err)
		}
	}
	signature, err := z.in.Peek(4)
	if err != nil {
		if z.read == 0 && errors.Is(err, io.EOF) && !strings.HasPrefix("PK", string(signature[:min(2, len(signature))])) {
			err = ErrFormat // a word of two letters is no zip that broke off
		}
		return Member{}, z.fail(early(err))
	}
	switch binary.LittleEndian.Uint32(signature) {
	case sigLocal:
		return z.member()
	case sigCentral, sigEnd64, sigEnd:
		if err := z.end(); err != nil {
			return Member{}, z.fail(err)
		}
		return Member{}, z.fail(io.EOF)
	}
	if z.read == 0 {
		return Member{}, z.fail(ErrFormat)
	}
	return Member{}, z.fail(fmt.Errorf("%w: no record where one should begin", ErrFormat))
}

func (z *Reader) fail(err error) error {
	z.err = err
	return err
}

// early keeps the end of the input from being taken for the end of the zip.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill reads exactly the bytes that b holds.
func (z *Reader) fill(b []byte) error {
	_, err := io.ReadFull(z.in, b)
	return early(err)
}

// header is a local file header, 30 bytes and name and extra field (APPNOTE 4.3.7).
type header struct {
	flags, method uint16
	crc           uint32
	packed, size  int64
	name          string
}

// member reads a header and makes its member current.
func (z *Reader) member() (Member, error) {
	h, err := z.header()
	if err != nil {
		return Member{}, z.fail(err)
	}
	if z.read++; z.read > int64(z.o.MaxMembers) {
		return Member{}, z.fail(fmt.Errorf("%w: more than %d members", ErrUnsupported, z.o.MaxMembers))
	}
	m := Member{Name: h.name, Size: h.size, Stored: h.size}
	z.raw.start(h)
	z.open, z.count, z.size, z.limit, z.plain = true, 0, h.size, z.o.MaxMember, nil
	packed := false
	if z.o.Zstd {
		m.Name, packed = strings.CutSuffix(h.name, ".zst")
	}
	if err := z.checkName(m.Name); err != nil {
		return Member{}, err
	}
	if h.size > z.o.MaxMember {
		return Member{}, z.fail(fmt.Errorf("%w: %d bytes", ErrBomb, h.size))
	}
	z.plain = &z.raw
	if packed {
		m.Zstd = true
		if m.Size, err = z.unpack(h.size); err != nil {
			return Member{}, z.fail(err)
		}
	}
	return m, nil
}

func (z *Reader) header() (h header, err error) {
	b := z.scratch[:30]
	if err := z.fill(b); err != nil {
		return h, err
	}
	le := binary.LittleEndian
	h.flags, h.method, h.crc = le.Uint16(b[6:]), le.Uint16(b[8:]), le.Uint32(b[14:])
	packed, size := le.Uint32(b[18:]), le.Uint32(b[22:])
	named, whole := int(le.Uint16(b[26:])), int(le.Uint16(b[26:]))+int(le.Uint16(b[28:])) // 128 KiB at most
	if cap(z.fields) < whole {
		z.fields = make([]byte, whole)
	}
	fields := z.fields[:whole]
	if err := z.fill(fields); err != nil {
		return h, err
	}
	name, extra := fields[:named], fields[named:]
	h.name, h.packed, h.size = string(name), int64(packed), int64(size)
	switch {
	case h.method != stored:
		return h, fmt.Errorf("%w: compression method %d", ErrUnsupported, h.method)
	case h.flags&(flagEncrypted|flagDescriptor) != 0:
		return h, fmt.Errorf("%w: flags %#x", ErrUnsupported, h.flags)
	}
	if err := h.zip64(extra, size, packed); err != nil {
		return h, err
	}
	if h.packed != h.size {
		return h, fmt.Errorf("%w: a stored member of two sizes", ErrFormat)
	}
	return h, nil
}

// zip64 reads the sizes that did not fit into 32 bits, in the order plain, packed (APPNOTE 4.5.3).
func (h *header) zip64(extra []byte, size, packed uint32) error {
	const full = 0xffffffff
	if size != full && packed != full {
		return nil
	}
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		extra = extra[4:]
		if n > len(extra) {
			return fmt.Errorf("%w: its extra field", ErrFormat)
		}
		field := extra[:n]
		extra = extra[n:]
		if id != extraZip64 {
			continue
		}
		for _, want := range []struct {
			short uint32
			into  *int64
		}{{size, &h.size}, {packed, &h.packed}} {
			if want.short != full {
				continue
			}
			if len(field) < 8 {
				return fmt.Errorf("%w: sizes of 64 bits are missing", ErrFormat)
			}
			v := binary.LittleEndian.Uint64(field)
			field = field[8:]
			if v >= 1<<62 {
				return fmt.Errorf("%w: a size beyond all", ErrFormat)
			}
			*want.into = int64(v)
		}
		return nil
	}
	return nil // a member of exactly 4 GiB - 1
}

// checkName refuses what could be anything but a file below a folder.
func (z *Reader) checkName(name string) error {
	bad := name == "" || len(name) > maxName || !utf8.ValidString(name)
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || part == "." || part == ".." || len(part) > 255
	}
	bad = bad || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) || r == '\\' })
	if bad {
		return ErrName
	}
	if _, twice := z.seen[name]; twice {
		return fmt.Errorf("%w: it came twice", ErrName)
	}
	z.seen[name] = struct{}{}
	return nil
}

// Read reads plain bytes of the current member. io.EOF comes only once its length and its CRC-32 have been found right.
func (z *Reader) Read(p []byte) (int, error) {
	switch {
	case z.err != nil:
		return 0, z.err
	case !z.open:
		return 0, io.EOF
	case z.plain == nil:
		return 0, ErrName
	}
	n, err := z.plain.Read(p)
	z.count += int64(n)
	if z.count > z.limit {
		return 0, z.fail(ErrBomb)
	}
	if errors.Is(err, io.EOF) {
		if err := z.finish(); err != nil {
			return 0, z.fail(err)
		}
		z.open = false
		return n, io.EOF
	}
	if err != nil {
		return n, z.fail(err)
	}
	return n, nil
}

// finish checks what is left of a member whose plain bytes have ended.
func (z *Reader) finish() error {
	if z.raw.left > 0 { // bytes behind the frame
		return fmt.Errorf("%w: more behind its end", ErrChecksum)
	}
	if z.size >= 0 && z.count != z.size {
		return fmt.Errorf("%w: %d bytes of %d", ErrChecksum, z.count, z.size)
	}
	return z.raw.check()
}

// skip reads the rest of a member without unpacking it: what nobody reads cannot be a bomb.
func (z *Reader) skip() error {
	z.open = false
	if _, err := io.Copy(io.Discard, &z.raw); err != nil {
		return err
	}
	return z.raw.check()
}

// rawMember reads the stored bytes of a member.
type rawMember struct {
	z    *Reader
	left int64
	want uint32
	sum  hash.Hash32
	err  error // of the input
}

func (r *rawMember) start(h header) {
	r.left, r.want = h.size, h.crc
	if r.sum == nil {
		r.sum = crc32.NewIEEE()
	}
	r.sum.Reset()
}

func (r *rawMember) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.z.in.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	r.sum.Write(p[:n])
	if err != nil && r.left > 0 {
		r.err = early(err)
		return n, r.err
	}
	return n, nil
}

func (r *rawMember) check() error {
	if r.sum.Sum32() != r.want {
		return fmt.Errorf("%w: checksum differs", ErrChecksum)
	}
	return nil
}
