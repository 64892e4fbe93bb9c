package survey

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"time"
)

// What Natus files look like.
const (
	natusHead = 352 // file and schema, creation time, then four texts of 80 bytes that name the patient
	sncStamp  = 4   // before each time of an SNC file

	vtcHead  = 20 // file and schema
	vtcName  = 261
	vtcEntry = vtcName + 16 + 8 + 8 // the name of a video, a constant, begin and end
	mostVTC  = 1 << 20              // of a file; a month of videos of two minutes has 6 MB, so a part of those
	schemaAt = 16
	baseAt   = 18
)

// sncStart reads the first time of an SNC file.
func sncStart(r io.ReaderAt) (time.Time, bool) {
	b := make([]byte, natusHead+sncStamp+8)
	if n, _ := r.ReadAt(b, 0); n < len(b) || binary.LittleEndian.Uint16(b[baseAt:]) > 1 || binary.LittleEndian.Uint16(b[schemaAt:]) > 9 {
		return time.Time{}, false
	}
	return fileTime(binary.LittleEndian.Uint64(b[natusHead+sncStamp:]))
}

// Clip is a video that a VTC file lists.
type Clip struct {
	Name  string // without the folder; it most likely names the patient
	Start time.Time
}

// Clips reads the videos that a Natus VTC file lists, by the clock of the place, called UTC; none if it is something else. It reads at most 1 MB,
// which are the first 3,578 videos.
func Clips(r io.ReaderAt, size int64, zone *time.Location) []Clip {
	b := make([]byte, min(size, mostVTC))
	if n, _ := r.ReadAt(b, 0); n < vtcHead {
		return nil
	}
	var clips []Clip
	for at := vtcHead; at+vtcEntry <= len(b); at += vtcEntry {
		entry := b[at : at+vtcEntry]
		name, _, _ := bytes.Cut(entry[:vtcName], []byte{0})
		start, ok := fileTime(binary.LittleEndian.Uint64(entry[vtcName+16:]))
		if !ok || len(name) == 0 || bytes.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
			return clips
		}
		text := string(name)
		clips = append(clips, Clip{Name: text[strings.LastIndexAny(text, `/\`)+1:], Start: clock(start, zone)})
	}
	return clips
}
