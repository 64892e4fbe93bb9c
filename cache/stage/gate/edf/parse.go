package edf

import (
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// IsHeader reports whether a file that begins with these bytes says that it is EDF or BDF. It needs 8 bytes.
func IsHeader(head []byte) bool {
	_, ok := family(head)
	return ok
}

// family tells EDF from BDF by the version field.
func family(head []byte) (Format, bool) {
	if len(head) < shortField {
		return EDF, false
	}
	switch string(head[:shortField]) {
	case "0       ":
		return EDF, true
	case "\xffBIOSEMI":
		return BDF, true
	}
	return EDF, false
}

// Parse reads the header of a file of size bytes. It reads no more than the header, at most 2.6 MB. An error is a [*FieldError] where the
// bytes cannot be understood as a header, or what r said when it could not be read. What can be read although it is not as the
// specification wants it is in Faults.
func Parse(r io.ReaderAt, size int64) (*Header, error) {
	h := &Header{size: size}
	if size < fixedBytes {
		return nil, &FieldError{Offset: size, Field: "header", Text: "the file ends before the 256 bytes that every header has"}
	}
	h.raw = make([]byte, fixedBytes)
	if err := readFull(r, h.raw, 0); err != nil {
		return nil, err
	}
	if err := h.fixed(); err != nil {
		return nil, err
	}
	h.raw = append(h.raw, make([]byte, h.Bytes-fixedBytes)...)
	if err := readFull(r, h.raw[fixedBytes:], fixedBytes); err != nil {
		return nil, err
	}
	if err := h.signals(); err != nil {
		return nil, err
	}
	h.opinions()
	slices.SortStableFunc(h.Faults, func(a, b *FieldError) int { return int(a.Offset - b.Offset) })
	return h, nil
}

// readFull fills p. That all of it is there was known before: an early end is an error.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return &FieldError{Offset: off + int64(n), Field: "file", Text: "ends before its own length"}
	}
	return err
}

// maxFaults is how many faults of a file are told.
const maxFaults = 1000

// fault notes what does not keep the file from being read.
func (h *Header) fault(e *FieldError) {
	if e != nil && len(h.Faults) < maxFaults {
		h.Faults = append(h.Faults, e)
	}
}

// fixed reads the first 256 bytes.
func (h *Header) fixed() error {
	version := h.at("version", atVersion, shortField)
	format, ok := family(version.bytes)
	if !ok {
		return version.wrong(`neither "0" and 7 spaces (EDF) nor 255 and "BIOSEMI" (BDF)`)
	}
	h.Format = format
	h.mark()
	h.Patient, h.Recording = h.patient().text(), h.recording().text()
	h.start()

	count, err := h.at("number of signals", atSignals, 4).integer()
	if err != nil {
		return err
	}
	if count < 1 {
		return h.at("number of signals", atSignals, 4).wrong("less than one")
	}
	length := h.at("number of header bytes", atHeaderBytes, shortField)
	h.Bytes, err = length.integer()
	if err != nil {
		return err
	}
	if want := fixedBytes * (count + 1); h.Bytes != want {
		return length.wrong("not the " + strconv.FormatInt(want, 10) + " that the number of signals makes")
	}
	if h.size < h.Bytes {
		return &FieldError{Offset: h.size, Field: "header", Text: "the file ends before its header, at " + strconv.FormatInt(h.Bytes, 10) + ", does"}
	}
	return h.extent()
}

// extent reads how many records there are, and how long each is.
func (h *Header) extent() error {
	records := h.at("number of data records", atRecords, shortField)
	n, wrong := records.integer()
	if wrong != nil {
		return wrong
	}
	if n < -1 {
		return records.wrong("less than -1")
	}
	if n == 0 {
		h.fault(records.wrong("there is no data record"))
	}
	h.Records = n
	duration := h.at("duration of a data record", atDuration, shortField)
	if h.Seconds, wrong = duration.number(); wrong != nil {
		return wrong
	}
	if h.Seconds < 0 {
		return duration.wrong("less than 0")
	}
	return nil
}

// mark tells the plus formats by how the reserved field begins.
func (h *Header) mark() {
	mark := string(h.raw[atReserved : atReserved+formatMark])
	name := h.Format.String()
	switch {
	case mark == name+"+C":
		h.Format++
	case mark == name+"+D":
		h.Format += 2
	case h.Format == BDF && mark != "24BIT":
		h.fault(h.at("reserved", atReserved, formatMark).wrong(`not "24BIT", "BDF+C" or "BDF+D"`))
	case h.Format == EDF && strings.TrimRight(mark, " ") != "":
		h.fault(h.at("reserved", atReserved, formatMark).wrong(`neither blank nor "EDF+C" or "EDF+D"`))
	}
}

// start reads date and time.
func (h *Header) start() {
	date, clock := h.date(), h.time()
	h.day = parseShortDate(date.bytes, h.Recording)
	if h.day == noDay {
		h.fault(date.wrong("not a date as dd.mm.yy"))
	} else if date.bytes[2] != '.' || date.bytes[5] != '.' {
		h.fault(date.wrong("the parts of the date are not divided by points"))
	}
	at, err := time.Parse("15.04.05", string(clock.bytes))
	if err != nil {
		h.fault(clock.wrong("not a time of day as hh.mm.ss"))
		return
	}
	if h.day != noDay {
		h.Start = h.day.time().Add(at.Sub(at.Truncate(24 * time.Hour)))
	}
}

// signals reads what the header says of each signal.
func (h *Header) signals() error {
	h.Signals = make([]Signal, h.Bytes/fixedBytes-1)
	offset := int64(0)
	for i := range h.Signals {
		s := &h.Signals[i]
		s.Label, s.Transducer = h.ofSignal(fieldLabel, i).text(), h.ofSignal(fieldTransducer, i).text()
		s.Dimension, s.Prefilter = h.ofSignal(fieldDimension, i).text(), h.ofSignal(fieldPrefilter, i).text()
		var wrong *FieldError
		samples := h.ofSignal(fieldSamples, i)
		if s.Samples, wrong = samples.integer(); wrong != nil {
			return wrong
		}
		if s.Samples < 1 {
			return samples.wrong("less than one")
		}
		s.start = offset
		offset += s.Samples * int64(h.Format.SampleBytes())
		h.ranges(i)
	}
	if h.Records > 0 && offset > (math.MaxInt64-h.Bytes)/h.Records {
		return h.at("number of data records", atRecords, shortField).wrong("more than any file can hold")
	}
	return nil
}

// ranges reads the limits of a signal. Readers that do not scale can do without them.
func (h *Header) ranges(i int) {
	s, wrong := &h.Signals[i], (*FieldError)(nil)
	s.PhysicalMin, wrong = h.ofSignal(fieldPhysicalMin, i).number()
	h.fault(wrong)
	s.PhysicalMax, wrong = h.ofSignal(fieldPhysicalMax, i).number()
	h.fault(wrong)
	s.DigitalMin, wrong = h.ofSignal(fieldDigitalMin, i).integer()
	h.fault(wrong)
	s.DigitalMax, wrong = h.ofSignal(fieldDigitalMax, i).integer()
	h.fault(wrong)
	limit := int64(1) << (8*h.Format.SampleBytes() - 1)
	if s.DigitalMin < -limit || s.DigitalMin >= limit {
		h.fault(h.ofSignal(fieldDigitalMin, i).wrong("more than a sample can hold"))
	}
	if s.DigitalMax < -limit || s.DigitalMax >= limit {
		h.fault(h.ofSignal(fieldDigitalMax, i).wrong("more than a sample can hold"))
	}
	if s.DigitalMax <= s.DigitalMin {
		h.fault(h.ofSignal(fieldDigitalMax, i).wrong("not above the digital minimum"))
	}
	if s.PhysicalMax == s.PhysicalMin {
		h.fault(h.ofSignal(fieldPhysicalMax, i).wrong("equal to the physical minimum"))
	}
}

// opinions are the faults that show only when all is read.
func (h *Header) opinions() {
	for _, f := range h.all() {
		h.fault(f.spelling())
	}
	if h.Format.Plus() {
		h.plus()
	}
	switch want := h.Expected(); {
	case want >= 0 && h.size < want:
		h.fault(&FieldError{Offset: h.size, Field: "data", Text: "the file ends before its data records, at " + strconv.FormatInt(want, 10) + ", do"})
	case want >= 0 && h.size > want:
		h.fault(&FieldError{Offset: want, Field: "data", Text: "the file goes on behind its last data record"})
	case want < 0:
		h.fault(h.at("number of data records", atRecords, shortField).wrong("-1: the recording was not ended"))
	}
}

// plus finds what EDFlib, and so EDFbrowser, refuses of the plus formats.
func (h *Header) plus() {
	if !slices.ContainsFunc(h.Signals, Signal.annotates) {
		h.fault(h.at("number of signals", atSignals, 4).wrong("none of the signals holds annotations, and a plus format needs one"))
	}
	if len(strings.Fields(h.Patient)) < plusParts-1 {
		h.fault(h.patient().wrong("not the four parts of the plus formats: code, sex, birthdate and name"))
	}
	parts := strings.Fields(h.Recording)
	if len(parts) < plusParts || parts[0] != startdate {
		h.fault(h.recording().wrong(`not "Startdate" and the four parts of the plus formats: date, administration code, technician and equipment`))
		return
	}
	if d := parseLongDate(parts[1]); parts[1] != unknown && (d == noDay || d != h.day) {
		h.fault(h.recording().wrong("the date in it is not the startdate"))
	}
}

// plusParts are the parts of a recording field, "Startdate" included; a patient field has one less.
const plusParts = 5

// all are the fields that hold text.
func (h *Header) all() []field {
	fields := []field{h.patient(), h.recording(), h.at("reserved", atReserved, atRecords-atReserved)}
	for which := range perSignal() {
		for i := range h.Signals {
			fields = append(fields, h.ofSignal(which, i))
		}
	}
	return fields
}
