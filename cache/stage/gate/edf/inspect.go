package edf

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"
)

// Options tell what may stand in a file. The zero value knows no words, and takes dates away instead of shifting them.
type Options struct {
	// Code is the subject's, of whom no other may stand in the header; what is scrubbed gets it. "" if it is not known.
	Code string
	// Secret decides by how many days dates are shifted. The same secret must be used for all recordings of a subject, and whoever has it
	// can shift them back. Without it, or without Code, a start date becomes the first of January 1985.
	Secret []byte
	// KeepDates lets start dates be as they are.
	KeepDates bool
	// Equipment may be named in the recording field: what no two hospitals have one of alone.
	Equipment []string
	// Find returns the parts of a text that must not be seen, by their place, in order and apart from each other. It is called once for
	// each text, in turn. nil finds nothing.
	Find func(text string) []Span
}

// Span is a part of a text, in bytes.
type Span struct{ Start, End int }

// Kind tells what identifies a patient.
type Kind uint8

// The kinds of leaks.
const (
	PatientField   Kind = iota // the local patient identification
	RecordingField             // the local recording identification
	StartDate                  // the day of the recording
	HeaderWord                 // a word in another field of the header
	AnnotationWord             // a word in an annotation
	OtherSubject               // the code in the header is another subject's. Nothing is replaced: one of the two is mistaken
	Reserved                   // something in a field that should be blank. Nothing is replaced
)

// Leak is a place in a file that identifies a patient, or may.
type Leak struct {
	Kind   Kind
	Offset int64 // in the file
	Len    int64 // in bytes
	Text   string
}

// Report is what is known of a file: what identifies a patient, and what to replace so that nothing does.
type Report struct {
	Leaks   []Leak
	Patches []Patch // by offset, and apart from each other; none for leaks that cannot be taken away
}

// maxPlaces is how many places are told of one file. More are no oversight.
const maxPlaces = 1 << 16

// IsCode reports whether s is a code that stands for a subject: eight lower-case hexadecimal digits, the first a letter, and maybe _pt1.
func IsCode(s string) bool {
	code, part, parted := strings.Cut(s, "_pt")
	if parted && (part == "" || strings.Trim(part, "0123456789") != "") {
		return false
	}
	return len(code) == codeLen && code[0] >= 'a' && strings.Trim(code, "0123456789abcdef") == ""
}

// codeLen is the length of a code without _pt1.
const codeLen = 8

// Shift returns by how many days the recordings of a subject are put back: one to ten years. It is the same for _pt1 and _pt2 of a code.
func Shift(secret []byte, code string) int {
	sum := sign(secret, "studyfs edf shift", person(code))
	const least, most = 366, 3653
	return least + int(binary.BigEndian.Uint64(sum)%(most-least+1))
}

func person(code string) string { return code[:min(len(code), codeLen)] }

// sign makes the same bytes of the same texts, that nobody without the secret can guess.
func sign(secret []byte, texts ...string) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(strings.Join(texts, "\x00"))) // a hash takes all
	return mac.Sum(nil)
}

// Scrub is the patches of [Header.Inspect].
func (h *Header) Scrub(r io.ReaderAt, o Options) ([]Patch, error) {
	report, err := h.Inspect(r, o)
	return report.Patches, err
}

// Inspect looks through the header and all annotations for what identifies a patient. r is the file that the header was parsed from. It reads
// each annotation once and nothing else. The time of day is left as it is. A file to which the patches were applied has none of these leaks
// left, with the same options, and no patches. An error is a [*FieldError], or what r said.
func (h *Header) Inspect(r io.ReaderAt, o Options) (Report, error) {
	in := &inspection{h: h, o: o}
	in.patient()
	in.recording()
	in.words()
	if err := in.annotations(r); err != nil {
		return Report{}, err
	}
	slices.SortStableFunc(in.Leaks, func(a, b Leak) int { return compare(a.Offset, b.Offset) })
	slices.SortFunc(in.Patches, func(a, b Patch) int { return compare(a.Offset, b.Offset) })
	return in.Report, nil
}

// inspection collects what is found in one file.
type inspection struct {
	h *Header
	o Options
	Report
}

// leak notes a field.
func (in *inspection) leak(kind Kind, f field, text string) {
	in.Leaks = append(in.Leaks, Leak{Kind: kind, Offset: f.offset, Len: int64(len(f.bytes)), Text: f.name + ": " + text})
}

// fill has a field hold another text, unless it does.
func (in *inspection) fill(f field, text string) {
	text += strings.Repeat(" ", len(f.bytes)-len(text))
	if text != string(f.bytes) {
		in.Patches = append(in.Patches, Patch{Offset: f.offset, New: []byte(text)})
	}
}

func (in *inspection) patient() {
	f := in.h.patient()
	code, _, _ := strings.Cut(in.h.Patient, " ")
	if IsCode(code) && in.o.Code != "" && person(code) != person(in.o.Code) {
		in.leak(OtherSubject, f, "holds the code of another subject than the name of the file")
		return
	}
	if in.h.patientClean() {
		return
	}
	in.leak(PatientField, f, `neither "X X X X" nor a subject's code and "X X X"`)
	code = unknown
	if IsCode(in.o.Code) {
		code = in.o.Code
	}
	in.fill(f, code+" X X X")
}

// patientClean reports whether the patient field is of nobody. Plain EDF leaves its form open, and may have none.
func (h *Header) patientClean() bool {
	code, rest, _ := strings.Cut(h.Patient, " ")
	known := code == unknown || IsCode(code)
	if h.Format.Plus() {
		return known && rest == "X X X"
	}
	return h.Patient == "" || known && (rest == "" || rest == "X X X")
}

// recording looks at the recording field and the start date, which must agree.
func (in *inspection) recording() {
	f, rec := in.h.recording(), parseRecording(in.h.Recording)
	dayClean, fieldClean := in.dayClean(rec), in.recordingClean(rec)
	if !dayClean {
		in.leak(StartDate, in.h.date(), "tells a day that was not shifted, or no day at all")
	}
	if !fieldClean {
		in.leak(RecordingField, f, `not "Startdate", the startdate, and "X X X"`)
	}
	if dayClean && fieldClean {
		return
	}
	long, tag := in.keptDay(rec)
	if !dayClean {
		long, tag = in.newDay()
	}
	if !fieldClean || tag != "" || !isBlank(in.h.Recording) {
		in.fill(f, in.recordingText(rec, long, tag))
	}
}

// keptDay returns what the recording field has to say of a day that stays as it is.
func (in *inspection) keptDay(rec recording) (long, tag string) {
	day := in.h.day
	if day == noDay || isNoDay(day) {
		return unknown, ""
	}
	if rec.date == day && rec.tag == in.tag(day) {
		tag = rec.tag
	}
	return day.long(), tag
}

// newDay replaces the start date, and returns what the recording field has to say of it.
func (in *inspection) newDay() (long, tag string) {
	if in.o.Code == "" || len(in.o.Secret) == 0 || in.h.day == noDay {
		in.fill(in.h.date(), firstDay().short())
		return unknown, ""
	}
	day := in.h.day.back(Shift(in.o.Secret, in.o.Code))
	in.fill(in.h.date(), day.short())
	return day.long(), in.tag(day)
}

// isBlank reports whether a recording field of plain EDF holds nothing.
func isBlank(recording string) bool { return recording == "" || recording == unknown }

// recordingText writes a recording field of which nothing identifies a patient. What is allowed of the old one is kept.
func (in *inspection) recordingText(old recording, date, tag string) string {
	equipment := unknown
	if slices.Contains(in.o.Equipment, old.equipment) && !strings.Contains(old.equipment, " ") {
		equipment = old.equipment
	}
	text := func() string {
		return strings.TrimRight(strings.Join([]string{startdate, date, unknown, unknown, equipment, tag}, " "), " ")
	}
	if len(text()) > longField {
		equipment = unknown
	}
	return text()
}

// dayClean reports whether the start date is none that a patient had.
func (in *inspection) dayClean(rec recording) bool {
	if in.o.KeepDates || isNoDay(in.h.day) {
		return true
	}
	return rec.date == in.h.day && rec.tag != "" && rec.tag == in.tag(in.h.day)
}

// isNoDay reports whether a day is one of those that programs write for none at all.
func isNoDay(d day) bool { return d == firstDay() || d == dayOf(2001, time.January, 1) }

// recordingClean reports whether the recording field, but for its date, is of nobody.
func (in *inspection) recordingClean(rec recording) bool {
	if !in.h.Format.Plus() && isBlank(in.h.Recording) {
		return true
	}
	if !rec.ok || rec.admin != unknown || rec.technician != unknown {
		return false
	}
	if rec.date != noDay && rec.date != in.h.day {
		return false
	}
	if rec.equipment != unknown && !slices.Contains(in.o.Equipment, rec.equipment) {
		return false
	}
	return rec.tag == "" || rec.date != noDay && rec.tag == in.tag(rec.date)
}

// tag marks a day as shifted, so that it is neither taken for a real one nor shifted again. "" where it cannot be told.
func (in *inspection) tag(d day) string {
	if in.o.Code == "" || len(in.o.Secret) == 0 {
		return ""
	}
	return hex.EncodeToString(sign(in.o.Secret, "studyfs edf day", person(in.o.Code), d.long())[:4])
}

// recording is a recording field in its parts.
type recording struct {
	ok                                bool // it is made as that of EDF+, with at most one part more
	date                              day
	admin, technician, equipment, tag string
}

func parseRecording(s string) recording {
	parts := strings.Split(s, " ")
	rec := recording{date: noDay}
	if len(parts) > 1 && parts[0] == startdate {
		rec.date = parseLongDate(parts[1])
	}
	if len(parts) < plusParts || len(parts) > plusParts+1 || parts[0] != startdate || rec.date == noDay && parts[1] != unknown {
		return rec
	}
	rec.ok, rec.admin, rec.technician, rec.equipment = true, parts[2], parts[3], parts[4]
	if len(parts) > plusParts {
		rec.tag = parts[plusParts]
		rec.ok = rec.tag != ""
	}
	return rec
}

// words looks at the other texts of the header.
func (in *inspection) words() {
	rest := in.h.reserved()
	if rest.text() != "" {
		in.leak(Reserved, rest, "should be blank")
	}
	in.word(rest)
	for _, which := range []int{fieldLabel, fieldTransducer, fieldDimension, fieldPrefilter, fieldReserved} {
		for i, s := range in.h.Signals {
			if which != fieldLabel || !s.annotates() { // this label is what makes it one
				in.word(in.h.ofSignal(which, i))
			}
		}
	}
}

func (in *inspection) word(f field) {
	if in.o.Find == nil || f.text() == "" {
		return
	}
	spans := in.o.Find(f.text())
	if len(spans) > 0 {
		in.leak(HeaderWord, f, "holds a word of the deny-list")
	}
	in.strike(f.offset, spans)
}

// annotations looks at all annotations.
func (in *inspection) annotations(r io.ReaderAt) error {
	if in.o.Find == nil {
		return nil
	}
	for a, err := range in.h.Annotations(r) {
		if err != nil {
			return err
		}
		spans := in.o.Find(a.Text)
		if len(spans) == 0 {
			continue
		}
		f := field{name: "annotation", offset: a.Offset, bytes: []byte(a.Text)}
		in.leak(AnnotationWord, f, "holds a word of the deny-list")
		in.strike(a.Offset, spans)
		if len(in.Patches) > maxPlaces {
			return f.wrong("words of the deny-list stand in more than 65536 places")
		}
	}
	return nil
}

// strike replaces parts of a text by as many X.
func (in *inspection) strike(offset int64, spans []Span) {
	for _, s := range spans {
		in.Patches = append(in.Patches, Patch{Offset: offset + int64(s.Start), New: []byte(strings.Repeat(unknown, s.End-s.Start))})
	}
}
