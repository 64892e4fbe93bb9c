package zipstream

import (
	"encoding/binary"
	"fmt"
	"io"
)

// end reads the central directory and the records behind it. Nothing in them is needed, but an answer that lacks them was cut, and a count
// that differs was made up.
func (z *Reader) end() error {
	le := binary.LittleEndian
	var central, count64 int64
	for has64 := false; ; {
		var b [56]byte
		if _, err := io.ReadFull(z.in, b[:4]); err != nil {
			return early(err)
		}
		switch le.Uint32(b[:]) {
		case sigCentral: // 46 bytes, and three fields of their own lengths (APPNOTE 4.3.12)
			if _, err := io.ReadFull(z.in, b[4:46]); err != nil {
				return early(err)
			}
			if central++; central > z.read {
				return fmt.Errorf("%w: its table names more than it holds", ErrFormat)
			}
			rest := int64(le.Uint16(b[28:])) + int64(le.Uint16(b[30:])) + int64(le.Uint16(b[32:]))
			if err := z.discard(rest); err != nil {
				return err
			}
		case sigEnd64: // 56 bytes, and what its own length says beyond (4.3.14)
			if _, err := io.ReadFull(z.in, b[4:56]); err != nil {
				return early(err)
			}
			count64, has64 = int64(le.Uint64(b[32:])), true
			size := le.Uint64(b[4:])
			if size < 44 || size > 1<<16 {
				return fmt.Errorf("%w: its end record", ErrFormat)
			}
			if err := z.discard(int64(size) - 44); err != nil {
				return err
			}
		case sigLocate64:
			if err := z.discard(16); err != nil {
				return err
			}
		case sigEnd:
			if _, err := io.ReadFull(z.in, b[4:22]); err != nil {
				return early(err)
			}
			count := int64(le.Uint16(b[10:]))
			if has64 {
				count = count64
			}
			if count != z.read || central != z.read {
				return fmt.Errorf("%w: its table names %d members of %d", ErrFormat, count, z.read)
			}
			return nil
		default:
			return fmt.Errorf("%w: its table is damaged", ErrFormat)
		}
	}
}

func (z *Reader) discard(n int64) error {
	_, err := io.CopyN(io.Discard, z.in, n)
	return early(err)
}
