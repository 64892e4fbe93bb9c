package survey

import (
	"encoding/binary"
	"io"
	"math"
	"strings"
	"time"
)

// mostBoxes is how many parts of a file are looked at: what tells the time stands near the beginning, or in the one part that stands last.
const mostBoxes = 256

// readAt returns n bytes, or nil.
func readAt(r io.ReaderAt, off int64, n int) []byte {
	b := make([]byte, n)
	if got, _ := r.ReadAt(b, off); got < n { // an error has no other consequence than the end of the file
		return nil
	}
	return b
}

// aviStart looks for the chunks IDIT (when it was digitised) and ICRD, in the lists that stand before the frames.
func aviStart(r io.ReaderAt, size int64) (time.Time, bool) {
	b := readAt(r, 0, 12)
	if b == nil || string(b[:4]) != "RIFF" || string(b[8:]) != "AVI " {
		return time.Time{}, false
	}
	for at, n := int64(12), 0; at+8 <= size && n < mostBoxes; n++ {
		b := readAt(r, at, 12)
		if b == nil {
			break
		}
		length := int64(binary.LittleEndian.Uint32(b[4:]))
		switch string(b[:4]) {
		case "LIST":
			switch string(b[8:]) {
			case "hdrl", "INFO":
				at += 12 // into it
				continue
			case "movi": // the frames
				return time.Time{}, false
			}
		case "IDIT", "ICRD":
			if t, ok := idit(string(readAt(r, at+8, int(min(length, 64))))); ok {
				return t, true
			}
		}
		at += 8 + length + length%2
	}
	return time.Time{}, false
}

// idit reads the ways in which cameras write a date.
func idit(text string) (time.Time, bool) {
	text = strings.Join(strings.Fields(strings.Trim(text, "\x00 \r\n")), " ")
	for _, layout := range []string{"Mon Jan 2 15:04:05 2006", "2006:01:02 15:04:05", "2006-01-02 15:04:05", "2006/01/02 15:04:05", "2006-01-02T15:04:05", "2006/01/02 15:04"} {
		if t, err := time.Parse(layout, titled(text)); err == nil {
			return t, usable(t)
		}
	}
	return time.Time{}, false
}

// titled writes MON MAR as Mon Mar.
func titled(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		if len(w) == 3 {
			words[i] = strings.ToUpper(w[:1]) + strings.ToLower(w[1:])
		}
	}
	return strings.Join(words, " ")
}

// mp4Start finds moov, which may stand last, and in it mvhd, which tells seconds since 1904 at Greenwich.
func mp4Start(r io.ReaderAt, size int64) (time.Time, bool) {
	at, end, ok := box(r, 0, size, "moov")
	if !ok {
		return time.Time{}, false
	}
	at, _, ok = box(r, at, end, "mvhd")
	b := readAt(r, at, 12)
	if !ok || b == nil {
		return time.Time{}, false
	}
	seconds := uint64(binary.BigEndian.Uint32(b[4:]))
	if b[0] == 1 {
		seconds = binary.BigEndian.Uint64(b[4:])
	}
	if seconds > math.MaxUint32*2 {
		return time.Time{}, false
	}
	t := time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second) //nolint:gosec // bounded above
	return t, usable(t)
}

// box finds what is in the first box of a kind between two places.
func box(r io.ReaderAt, at, end int64, kind string) (from, to int64, ok bool) {
	for n := 0; at+8 <= end && n < mostBoxes; n++ {
		b := readAt(r, at, 8)
		if b == nil {
			return 0, 0, false
		}
		length, body := int64(binary.BigEndian.Uint32(b)), int64(8)
		switch length {
		case 0:
			length = end - at
		case 1:
			long := readAt(r, at+8, 8)
			if long == nil || binary.BigEndian.Uint64(long) > uint64(end-at) {
				return 0, 0, false
			}
			length, body = int64(binary.BigEndian.Uint64(long)), 16
		}
		if length < body || length > end-at {
			return 0, 0, false
		}
		if string(b[4:]) == kind {
			return at + body, at + length, true
		}
		at += length
	}
	return 0, 0, false
}

// Elements of Matroska.
const (
	ebmlHead      = 0x1A45DFA3
	ebmlSegment   = 0x18538067
	ebmlInfo      = 0x1549A966
	ebmlCluster   = 0x1F43B675
	ebmlDate      = 0x4461
	ebmlUnknown   = -1
	mostElementID = 4
)

// matroskaStart finds DateUTC, which tells nanoseconds since 2001 at Greenwich. It stands before the frames.
func matroskaStart(r io.ReaderAt, size int64) (time.Time, bool) {
	at := int64(0)
	for n := 0; at < size && n < mostBoxes; n++ {
		id, length, body, ok := element(r, at, size)
		switch {
		case !ok || id == ebmlCluster:
			return time.Time{}, false
		case id == ebmlSegment || id == ebmlInfo:
			at = body // into it
			continue
		case id == ebmlDate && length == 8:
			b := readAt(r, body, 8)
			if b == nil {
				return time.Time{}, false
			}
			t := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(binary.BigEndian.Uint64(b))) //nolint:gosec // it has a sign
			return t, usable(t)
		case length == ebmlUnknown || length > size-body:
			return time.Time{}, false
		}
		at = body + length
	}
	return time.Time{}, false
}

// element reads the head of an element.
func element(r io.ReaderAt, at, size int64) (id uint64, length, body int64, ok bool) {
	b := make([]byte, min(12, size-at))
	if n, _ := r.ReadAt(b, at); n < len(b) || len(b) < 2 || b[0] == 0 {
		return 0, 0, 0, false
	}
	idLen := leading(b[0])
	if idLen > mostElementID || idLen >= len(b) || b[idLen] == 0 {
		return 0, 0, 0, false
	}
	for _, c := range b[:idLen] {
		id = id<<8 | uint64(c)
	}
	lenLen := leading(b[idLen])
	if idLen+lenLen > len(b) {
		return 0, 0, 0, false
	}
	v := uint64(b[idLen]) & (1<<(8-lenLen) - 1)
	all := v == 1<<(8-lenLen)-1
	for _, c := range b[idLen+1 : idLen+lenLen] {
		v = v<<8 | uint64(c)
		all = all && c == 0xff
	}
	body = at + int64(idLen+lenLen)
	if all {
		return id, ebmlUnknown, body, true
	}
	return id, int64(v), body, true //nolint:gosec // 56 bits
}

// leading returns how many bytes a number has that begins with c.
func leading(c byte) int {
	n := 1
	for ; c&0x80 == 0 && n < 9; c <<= 1 {
		n++
	}
	return n
}
