package zipstream

import (
	"encoding/binary"
	"fmt"
)

// table is what has come of a zip's end: entries, then perhaps the end record of 64 bits and what tells where it stands, once each.
type table struct {
	entries, count64 int64
	has64, located   bool
}

// end reads the central directory and the records behind it. Nothing in them is needed, but an answer that lacks them was cut, and a count
// that differs was made up.
func (z *Reader) end() error {
	var t table
	for b := z.scratch[:4]; ; {
		if err := z.fill(b); err != nil {
			return err
		}
		if last, err := z.record(&t, binary.LittleEndian.Uint32(b)); last || err != nil {
			return err
		}
	}
}

// record reads what follows a signature, and reports whether it was the last record. Each has its place, so the table cannot go on for ever.
func (z *Reader) record(t *table, signature uint32) (last bool, err error) {
	switch {
	case signature == sigCentral && !t.has64:
		return false, z.entry(t)
	case signature == sigEnd64 && !t.has64:
		return false, z.end64(t)
	case signature == sigLocate64 && t.has64 && !t.located:
		t.located = true
		return false, z.discard(16)
	case signature == sigEnd && t.has64 == t.located:
		return true, z.last(*t)
	}
	return false, fmt.Errorf("%w: its table is damaged", ErrFormat)
}

// entry passes over one entry: 46 bytes, and three fields of their own lengths (APPNOTE 4.3.12). There are no more than members, which
// bounds the table.
func (z *Reader) entry(t *table) error {
	b := z.scratch[:42]
	if err := z.fill(b); err != nil {
		return err
	}
	if t.entries++; t.entries > z.read {
		return fmt.Errorf("%w: its table names more than it holds", ErrFormat)
	}
	le := binary.LittleEndian
	return z.discard(int(le.Uint16(b[24:])) + int(le.Uint16(b[26:])) + int(le.Uint16(b[28:])))
}

// end64 reads the end record of 64 bits: 56 bytes, and what its own length says beyond (APPNOTE 4.3.14).
func (z *Reader) end64(t *table) error {
	b := z.scratch[:52]
	if err := z.fill(b); err != nil {
		return err
	}
	size := binary.LittleEndian.Uint64(b)
	if size < 44 || size > 1<<16 {
		return fmt.Errorf("%w: its end record", ErrFormat)
	}
	t.count64, t.has64 = int64(binary.LittleEndian.Uint64(b[28:])), true
	return z.discard(int(size) - 44)
}

// last compares the counts. That of 16 bits says 0xffff where the number is larger, or stands in the record of 64 bits (APPNOTE 4.4.1.4).
func (z *Reader) last(t table) error {
	const full = 0xffff
	b := z.scratch[:18]
	if err := z.fill(b); err != nil {
		return err
	}
	count := int64(binary.LittleEndian.Uint16(b[6:]))
	same := count == z.read || count == full && (t.has64 || z.read >= full)
	if !same || t.entries != z.read || t.has64 && t.count64 != z.read {
		return fmt.Errorf("%w: its end names %d members of %d", ErrFormat, max(count, t.count64), z.read)
	}
	return nil
}

func (z *Reader) discard(n int) error {
	_, err := z.in.Discard(n)
	return early(err)
}
