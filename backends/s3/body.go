package s3

import (
	"context"
	"crypto/md5" //nolint:gosec // what ETags and Content-MD5 are
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/minio/crc64nvme"

	"studyfs/backends"
)

// body is a piece of what is sent. It remembers why it could not be read: the HTTP client tells that as a broken connection, which
// would be tried again.
type body struct {
	*io.SectionReader
	size  int64
	ended func() error // nil, or why nothing more is to be sent

	mu  sync.Mutex // guards bad; a leaf
	bad error
}

// body is a piece that is sent as long as ctx lasts. The HTTP client goes on for a moment with what is left of it, and so a whole object came to
// be of an upload that was said to be cancelled.
func (p *putting) body(ctx context.Context, off, n int64) *body {
	return &body{SectionReader: io.NewSectionReader(p.r, off, n), size: n, ended: ctx.Err}
}

func (b *body) Read(buf []byte) (int, error) {
	n, err := b.SectionReader.Read(buf)
	if over := b.ended(); over != nil {
		return 0, over
	}
	if at, _ := b.Seek(0, io.SeekCurrent); err != nil && (err != io.EOF || at < b.size) { //nolint:errorlint // EOF comes as it is
		err = fmt.Errorf("%w: after %d of %d bytes", err, at, b.size)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bad = err
	}
	return n, err
}

func (b *body) err() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bad
}

// unsent is a piece that is read, but not sent.
func (p *putting) unsent(off, n int64) io.Reader {
	r := p.r
	if m, ok := r.(backends.Metered); ok {
		r = m.Unmetered()
	}
	return &body{SectionReader: io.NewSectionReader(r, off, n), size: n, ended: func() error { return nil }}
}

// sum reads a piece through a hash.
func (p *putting) sum(h io.Writer, off, n int64) error {
	// CRC-64 makes a table of 16 KiB anew for each call that has more than 2 KiB: the more per call, the better.
	_, err := io.CopyBuffer(h, struct{ io.Reader }{p.unsent(off, n)}, make([]byte, max(1, min(n, sumBuffer))))
	return err
}

// sumBuffer is how much goes through a checksum at once.
const sumBuffer = 256 << 10

func (p *putting) crc(off, n int64) (uint64, error) {
	h := crc64nvme.New()
	err := p.sum(h, off, n)
	return h.Sum64(), err
}

func (p *putting) md5(off, n int64) ([]byte, error) {
	h := md5.New() //nolint:gosec // what ETags and Content-MD5 are
	err := p.sum(h, off, n)
	return h.Sum(nil), err
}

// errSum says that a body is not what its sender believes.
var errSum = errors.New("the bytes to be sent have another checksum than was told")

// checked returns the MD5 of the whole body, and makes sure of its checksum on the way: for services that do not look at that.
func (p *putting) checked() ([]byte, error) {
	h, crc := md5.New(), crc64nvme.New() //nolint:gosec // what ETags and Content-MD5 are
	if err := p.sum(io.MultiWriter(h, crc), 0, p.u.Size); err != nil {
		return nil, err
	}
	if crc.Sum64() != p.u.CRC64NVME {
		return nil, errSum
	}
	return h.Sum(nil), nil
}

// ours reports whether what lies there has the object's bytes: by the checksum, or by the ETag where that is an MD5.
func (p *putting) ours(st backends.Stored) (bool, error) {
	switch {
	case st.Entry.Size != p.u.Size:
		return false, nil
	case st.HasCRC:
		return st.CRC64NVME == p.u.CRC64NVME, nil
	}
	etag, err := p.etag(strings.Contains(st.Entry.Version, "-"))
	return err == nil && etag == strings.Trim(st.Entry.Version, `"`), err
}

// etag is the ETag of the object where services make it from MD5 sums: of the bytes, or of the sums of the parts.
func (p *putting) etag(inParts bool) (string, error) {
	if !inParts {
		sum, err := p.md5(0, p.u.Size)
		return hex.EncodeToString(sum), err
	}
	h, n := md5.New(), 0 //nolint:gosec // what ETags are
	part := p.partSize()
	for off := int64(0); off < p.u.Size; off += part {
		sum, err := p.md5(off, min(part, p.u.Size-off))
		if err != nil {
			return "", err
		}
		h.Write(sum)
		n++
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), n), nil
}
