package edf

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// The fixed part of a header: where each field begins. The last is the length of the fixed part, and of what each signal adds to it.
const (
	atVersion     = 0
	atPatient     = 8
	atRecording   = 88
	atDate        = 168
	atTime        = 176
	atHeaderBytes = 184
	atReserved    = 192
	atRecords     = 236
	atDuration    = 244
	atSignals     = 252
	fixedBytes    = 256

	longField  = 80 // of patient and recording
	shortField = 8
)

// perSignal are the fields that each signal has, in their order. They are stored field by field, not signal by signal.
func perSignal() []struct {
	name string
	len  int64
} {
	return []struct {
		name string
		len  int64
	}{
		{"label", 16},
		{"transducer type", 80},
		{"physical dimension", 8},
		{"physical minimum", 8},
		{"physical maximum", 8},
		{"digital minimum", 8},
		{"digital maximum", 8},
		{"prefiltering", 80},
		{"samples per data record", 8},
		{"reserved of signal", 32},
	}
}

// Numbers of the fields of perSignal.
const (
	fieldLabel = iota
	fieldTransducer
	fieldDimension
	fieldPhysicalMin
	fieldPhysicalMax
	fieldDigitalMin
	fieldDigitalMax
	fieldPrefilter
	fieldSamples
	fieldReserved
)

// field is one field of a header, in place.
type field struct {
	name   string
	offset int64
	bytes  []byte // a part of the raw header
}

// text returns what the field holds, without the spaces that fill it.
func (f field) text() string { return string(bytes.TrimRight(f.bytes, " ")) }

// wrong makes an error of the field.
func (f field) wrong(text string) *FieldError {
	return &FieldError{Offset: f.offset, Len: int64(len(f.bytes)), Field: f.name, Text: text}
}

// integer reads a whole number.
func (f field) integer() (int64, *FieldError) {
	n, err := strconv.ParseInt(strings.TrimSpace(string(f.bytes)), 10, 64)
	if err != nil {
		return 0, f.wrong("not a whole number")
	}
	return n, nil
}

// number reads a decimal number. The specification wants a point, not a comma, and neither infinity nor hexadecimal digits.
func (f field) number() (float64, *FieldError) {
	s := strings.TrimSpace(string(f.bytes))
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "+-0123456789.eE") != "" || math.IsInf(x, 0) {
		return 0, f.wrong("not a decimal number")
	}
	return x, nil
}

// spelling finds what the specification forbids in any field.
func (f field) spelling() *FieldError {
	for i, b := range f.bytes {
		if b < 32 || b > 126 {
			return &FieldError{Offset: f.offset + int64(i), Len: 1, Field: f.name, Text: "not a printable ASCII character"}
		}
	}
	if len(f.bytes) > 0 && f.bytes[0] == ' ' && f.text() != "" {
		return f.wrong("does not begin at its left end")
	}
	return nil
}

// at returns a field of the fixed part.
func (h *Header) at(name string, offset, length int64) field {
	return field{name: name, offset: offset, bytes: h.raw[offset : offset+length]}
}

func (h *Header) patient() field {
	return h.at("local patient identification", atPatient, longField)
}

func (h *Header) recording() field {
	return h.at("local recording identification", atRecording, longField)
}
func (h *Header) date() field { return h.at("startdate", atDate, shortField) }
func (h *Header) time() field { return h.at("starttime", atTime, shortField) }

// reserved is the part of the reserved field that does not tell the format.
func (h *Header) reserved() field {
	return h.at("reserved", atReserved+formatMark, atRecords-atReserved-formatMark)
}

// formatMark is the length of "EDF+C" and "24BIT".
const formatMark = 5

// ofSignal returns field number which of a signal.
func (h *Header) ofSignal(which, signal int) field {
	count, offset := h.Bytes/fixedBytes-1, int64(fixedBytes)
	all := perSignal()
	for _, f := range all[:which] {
		offset += f.len * count
	}
	length := all[which].len
	return h.at(all[which].name+" "+strconv.Itoa(signal+1), offset+length*int64(signal), length)
}
