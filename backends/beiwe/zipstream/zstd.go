package zipstream

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxFrameWindow bounds the memory that a frame may ask for; the servers' level 2 asks for 1 MiB or less.
const maxFrameWindow = 64 << 20

// unpacker keeps one decoder for all members.
type unpacker struct{ d *zstd.Decoder }

func (u *unpacker) close() {
	if u.d != nil {
		u.d.Close()
		u.d = nil
	}
}

// reset makes r what is unpacked next.
func (u *unpacker) reset(r io.Reader) (err error) {
	if u.d == nil {
		u.d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxFrameWindow), zstd.WithDecoderMaxMemory(1<<62))
		if err != nil {
			return err
		}
	}
	return u.d.Reset(r)
}

// unpack puts a decoder before the current member and returns the plain size, if the frame tells it.
func (z *Reader) unpack(packed int64) (size int64, err error) {
	z.limit, z.size = min(z.o.MaxMember, max(freeRatio, packed*z.o.MaxRatio)), -1
	head, err := z.in.Peek(int(min(packed, zstd.HeaderMaxSize)))
	if err != nil {
		return 0, early(err)
	}
	var h zstd.Header
	if err := h.Decode(head); err == nil && h.HasFCS && !h.Skippable {
		if h.FrameContentSize > uint64(z.limit) {
			return 0, fmt.Errorf("%w: %d bytes", ErrBomb, h.FrameContentSize)
		}
		z.size = int64(h.FrameContentSize)
	}
	if err := z.zstd.reset(&z.raw); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrChecksum, err)
	}
	z.plain = frame{z}
	return z.size, nil
}

// frame tells the decoder's errors from those of the input.
type frame struct{ z *Reader }

func (f frame) Read(p []byte) (int, error) {
	n, err := f.z.zstd.d.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case f.z.raw.err != nil: // the decoder puts its own in place of some
		return n, f.z.raw.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return n, fmt.Errorf("%w: %w", ErrBomb, err)
	}
	// In words only: a frame that ends too early, in a member that has come whole, is no connection that did.
	return n, fmt.Errorf("%w: %s", ErrChecksum, err.Error())
}
