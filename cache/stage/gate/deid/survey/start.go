package survey

import (
	"io"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/edf"
)

// Origin tells where a start is from, the surest first.
type Origin uint8

// The origins.
const (
	Header   Origin = iota // the header of the recording
	Contents               // what the recorder or the camera wrote into the file or, of videos, into the VTC file beside it
	InName                 // the name
	Modified               // when the file was last written, about the end of a video. Copying may have changed it
)

// String returns the origin in words.
func (o Origin) String() string {
	return [...]string{"header", "contents", "name", "time of the file"}[min(o, Modified)]
}

// head is how much of a text is looked at.
const head = 4096

// Start returns when a file of size bytes begins, by the clock of the place where it was recorded, called UTC; false if it does not tell.
// modified is when it was last written, and zone that of the place: some formats tell the time of Greenwich. It reads some kilobytes; of
// recordings the header, at most 2.6 MB.
//
// It reads start date and time of EDF and BDF; IDIT and ICRD of AVI, the creation time of MP4 and QuickTime, DateUTC of Matroska; the first entry of
// Natus SNC and VTC files; the first date and time in texts; and names with year, month, day, hour and minute. Of videos alone it then takes modified.
func Start(name string, r io.ReaderAt, size int64, modified time.Time, zone *time.Location) (time.Time, Origin, bool) {
	kind, ok := deid.KindOf(name)
	if !ok {
		return time.Time{}, 0, false
	}
	if kind == deid.Recording {
		return recordingStart(r, size)
	}
	ext := strings.ToLower(path.Ext(name))
	if t, ok := contentsStart(ext, r, size, zone); ok {
		return t, Contents, true
	}
	if t, ok := dateIn(path.Base(name)); ok {
		return t, InName, true
	}
	if kind == deid.Video && usable(modified) {
		return clock(modified, zone), Modified, true
	}
	return time.Time{}, 0, false
}

func contentsStart(ext string, r io.ReaderAt, size int64, zone *time.Location) (time.Time, bool) {
	switch ext {
	case ".avi":
		return aviStart(r, size)
	case ".mp4", ".mov":
		t, ok := mp4Start(r, size)
		return clock(t, zone), ok
	case ".mkv":
		t, ok := matroskaStart(r, size)
		return clock(t, zone), ok
	case ".snc":
		if t, ok := sncStart(r); ok {
			return clock(t, zone), true
		}
		return textStart(r, size)
	case ".vtc":
		if clips := Clips(r, size, zone); len(clips) > 0 {
			return clips[0].Start, true
		}
		return textStart(r, size)
	case ".txt", ".csv":
		return textStart(r, size)
	}
	return time.Time{}, false
}

// recordingStart reads a header. The days that programs write for none would put all files of a patient into one day.
func recordingStart(r io.ReaderAt, size int64) (time.Time, Origin, bool) {
	h, err := edf.Parse(r, size)
	if err != nil || !usable(h.Start) {
		return time.Time{}, 0, false
	}
	y, m, d := h.Start.Date()
	if m == time.January && d == 1 && (y == 1985 || y == 2001) {
		return time.Time{}, 0, false
	}
	return h.Start, Header, true
}

// clock returns what a clock at the place shows, called UTC.
func clock(t time.Time, zone *time.Location) time.Time {
	if t.IsZero() {
		return t
	}
	t = t.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// usable reports whether a time can be that of a recording: clocks that were never set tell 1904, 1970 or 1980.
func usable(t time.Time) bool { return t.Year() > 1980 && t.Year() < 2200 }

// dateIn finds the first date with a time of day in a name: year, month, day, hour, minute and maybe second, each divided by one character or none.
func dateIn(name string) (time.Time, bool) {
	return firstDate(name, `(?:^|[^0-9])((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)[T _.-]{1,3}(\d\d)[-_.:h]?(\d\d)(?:[-_.:m]?(\d\d))?(?:[^0-9]|$)`)
}

// textStart finds the first date with a time of day in a text.
func textStart(r io.ReaderAt, size int64) (time.Time, bool) {
	b := make([]byte, min(size, head))
	if n, err := r.ReadAt(b, 0); n < len(b) && err != nil {
		return time.Time{}, false
	}
	text := strings.ReplaceAll(string(b), "\x00", "") // some are UTF-16
	if t, ok := firstDate(text, `(?:^|[^0-9])((?:19|20)\d\d)[-/.](\d\d?)[-/.](\d\d?)[T ,]+(\d\d?):(\d\d)(?::(\d\d))?`); ok {
		return t, true
	}
	m := regexp.MustCompile(`(?:^|[^0-9])(\d\d?)/(\d\d?)/((?:19|20)\d\d)[ ,]+(\d\d?):(\d\d)(?::(\d\d))? ?([AP])M`).FindStringSubmatch(text)
	if m == nil { // 3/4/2019 without AM or PM could be in March or in April
		return time.Time{}, false
	}
	hour := number(m[4]) % 12
	if m[7] == "P" {
		hour += 12
	}
	return checked(number(m[3]), number(m[1]), number(m[2]), [3]int{hour, number(m[5]), number(m[6])})
}

// firstDate finds a pattern with year, month, day, hour, minute and second.
func firstDate(text, pattern string) (time.Time, bool) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		return time.Time{}, false
	}
	return checked(number(m[1]), number(m[2]), number(m[3]), [3]int{number(m[4]), number(m[5]), number(m[6])})
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // no seconds
	}
	return n
}

// checked makes a time, unless it is the 31st of February or 25 o'clock.
func checked(year, month, day int, hms [3]int) (time.Time, bool) {
	t := time.Date(year, time.Month(month), day, hms[0], hms[1], hms[2], 0, time.UTC)
	same := t.Year() == year && int(t.Month()) == month && t.Day() == day && t.Hour() == hms[0] && t.Minute() == hms[1] && t.Second() == hms[2]
	return t, same && usable(t)
}

// fileTime reads a time as Windows has it: tenths of microseconds since 1601.
func fileTime(v uint64) (time.Time, bool) {
	const unix = 116444736000000000
	if v < unix || v > math.MaxInt64 {
		return time.Time{}, false
	}
	v -= unix
	t := time.Unix(int64(v/1e7), int64(v%1e7)*100).UTC()
	return t, usable(t)
}
