// Package edf reads the headers and annotations of EDF, EDF+, BDF and BDF+ recordings byte by byte (https://www.edfplus.info/specs), tells
// what in them could name a patient, and says which bytes to replace so that nothing does. It keeps no state, writes nothing, and reads
// a recording of any length in a small and fixed amount of memory.
//
// No error and no finding of this package holds a byte of what was read: they may be shown and logged.
package edf

import (
	"fmt"
	"time"
)

// Format is the kind of a recording.
type Format uint8

// The formats. Those with a plus have annotations; C is for recordings without gaps, D for those with.
const (
	EDF Format = iota
	EDFPlusC
	EDFPlusD
	BDF
	BDFPlusC
	BDFPlusD
)

// String returns the name of the format as the specifications write it.
func (f Format) String() string {
	switch f {
	case EDF:
		return "EDF"
	case EDFPlusC:
		return "EDF+C"
	case EDFPlusD:
		return "EDF+D"
	case BDF:
		return "BDF"
	case BDFPlusC:
		return "BDF+C"
	case BDFPlusD:
		return "BDF+D"
	default:
		return fmt.Sprintf("Format(%d)", uint8(f))
	}
}

// Plus reports whether the subfields of patient and recording, and annotations, are as EDF+ has them.
func (f Format) Plus() bool { return f != EDF && f != BDF }

// SampleBytes returns how many bytes a sample has: 2, or 3 in BDF.
func (f Format) SampleBytes() int {
	if f >= BDF {
		return 3
	}
	return 2
}

// Header is what stands before the data. It is never changed once parsed, and may be used by several goroutines.
type Header struct {
	Format    Format
	Patient   string    // local patient identification, without the spaces behind it; any bytes
	Recording string    // local recording identification, likewise
	Start     time.Time // date and time of day as the header has them, called UTC; zero if either cannot be read
	Bytes     int64     // length of the header: 256 for each signal, and 256
	Records   int64     // number of data records; -1 while it is being recorded
	Seconds   float64   // duration of a data record; 0 in files that hold annotations only
	Signals   []Signal
	Faults    []*FieldError // what differs from the specification but can be read all the same, by offset; at most 1000

	size int64  // of the file
	raw  []byte // the header itself
	day  day    // of Start, where the date can be read
}

// Signal is one channel.
type Signal struct {
	Label, Transducer, Dimension, Prefilter string  // without the spaces behind them; any bytes
	PhysicalMin, PhysicalMax                float64 // 0 where they cannot be read
	DigitalMin, DigitalMax                  int64   // likewise
	Samples                                 int64   // in each data record

	start int64 // where its samples begin in a data record, in bytes
}

// FieldError is a place in a file that is not as the specification has it.
type FieldError struct {
	Offset int64  // of the first byte
	Len    int64  // in bytes; 0 where it is a matter of where the file ends
	Field  string // its name in the specification
	Text   string // what is wrong with it, without what stands there
}

// Error names the bytes, the field, and what is wrong.
func (e *FieldError) Error() string {
	if e.Len < 2 {
		return fmt.Sprintf("byte %d: %s: %s", e.Offset, e.Field, e.Text)
	}
	return fmt.Sprintf("bytes %d to %d: %s: %s", e.Offset, e.Offset+e.Len-1, e.Field, e.Text)
}

// RecordBytes returns the length of a data record.
func (h *Header) RecordBytes() int64 {
	n := int64(0)
	for _, s := range h.Signals {
		n += s.Samples
	}
	return n * int64(h.Format.SampleBytes())
}

// Expected returns how long the file should be by its header; -1 while it is being recorded.
func (h *Header) Expected() int64 {
	if h.Records < 0 {
		return -1
	}
	return h.Bytes + h.Records*h.RecordBytes()
}
