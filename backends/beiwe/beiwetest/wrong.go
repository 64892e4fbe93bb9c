package beiwetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"time"
)

// strike does what a fault wants before member i, and reports whether that was the end.
func (z *zipWriter) strike(i int) bool {
	f := z.fault
	switch {
	case f == nil:
		return false
	case (f.Kind == Truncate || f.Kind == MissingObject) && i >= f.After:
		abort(z.w, true)
		return true
	case f.Kind == Stall && i >= f.After:
		z.flush() //nolint:errcheck // silence after it
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
		z.foreign("ai_chat_logs")
	case kind == BadNames:
		for _, name := range []string{"../../etc/passwd", "/etc/passwd", "a\x00b", `pid\gps\x.csv`, "a//b.csv"} {
			z.raw(name)
		}
	case kind == Twice && z.last != "":
		z.raw(z.last)
	}
}

// raw writes a member that should not be, with its line in the registry.
func (z *zipWriter) raw(name string) {
	z.pair("CHUNKED_DATA/bad/"+strconv.Itoa(z.count), "x")
	z.add(name, "not yours")
}

// foreign writes a member of another stream, of the first participant of the request.
func (z *zipWriter) foreign(stream string) {
	ids, err := list(z.r, "user_ids", 0)
	if err != nil || len(ids) == 0 {
		return
	}
	z.pair(fmt.Sprintf("CHUNKED_DATA/%s/%s/%s/2026-01-01T00:00:00.csv", last(z.r, "study_id"), ids[0], stream), "x")
	z.add(ids[0]+"/"+stream+"/2026-01-01 00_00_00+00_00.csv", "timestamp,UTC time,text\n1,2026-01-01T00:00:00.000,hello")
}

// add writes a member as the version of the route wants it.
func (z *zipWriter) add(name, text string) {
	p := plain(name, []byte(text))
	if z.v2 && z.pack(&p) != nil {
		return
	}
	z.write(p) //nolint:errcheck // the client may be gone
}

// twist changes a member as a fault wants it, and reports whether the answer ends with it.
func (z *zipWriter) twist(p *piece) (cut bool) {
	if z.fault == nil {
		return false
	}
	switch f := z.fault; f.Kind { //nolint:exhaustive // the others are no matter of one member
	case WrongCRC:
		p.sum++
	case WrongSize:
		p.body = io.LimitReader(p.body, p.size-1)
	case Deflate:
		p.method = 8
	case Bomb:
		z.blow(p)
	case Cut:
		if z.count >= f.After {
			p.body = io.LimitReader(p.body, p.size/2)
			return true
		}
	}
	return false
}

// blow makes a member a bomb: 200 MiB of nothing well packed, or a size that no disk has.
func (z *zipWriter) blow(p *piece) {
	if !z.v2 {
		p.size = 1 << 50
		return
	}
	*p = plain(p.name, bomb(1600))
}

// bomb is a zstd frame of so many blocks of 128 KiB, each one byte that is to be repeated (RFC 8878, 3.1.1). It tells its size.
func bomb(blocks int) []byte {
	const magic, told, window, repeat, size = 0xfd2fb528, 0xc0, 10 << 3, 1 << 1, 128 << 10
	b := append(binary.LittleEndian.AppendUint32(nil, magic), told, window) // 1 MiB
	b = binary.LittleEndian.AppendUint64(b, uint64(blocks)*size)
	for i := range blocks {
		block := uint32(size<<3 | repeat)
		if i == blocks-1 {
			block++ // the last
		}
		b = append(b, byte(block), byte(block>>8), byte(block>>16), 0)
	}
	return b
}
