package edf

import (
	"bytes"
	"io"
	"iter"
	"strconv"
	"strings"
)

// Annotation is one text of a time-stamped annotation list.
type Annotation struct {
	Onset    float64 // seconds from the start of the recording; 0 where Stray
	Duration float64 // seconds; 0 where it has none
	Text     string  // any bytes; UTF-8 by the specification
	Offset   int64   // of the text in the file
	Stray    bool    // there is no time stamp before it, though there must be: readers do not show it
}

// What divides annotations.
const (
	endOfList = 0x00 // ends what belongs to one onset
	endOfText = 0x14
	beforeFor = 0x15 // stands before a duration
)

// maxText is the longest text of an annotation. Records are rarely longer.
const maxText = 64 << 10

// annotates reports whether the samples of s are annotations. The wrong case is taken, too: better to look at too much.
func (s Signal) annotates() bool {
	return strings.EqualFold(s.Label, "EDF Annotations") || strings.EqualFold(s.Label, "BDF Annotations")
}

// Annotations goes through all texts of a file, in the order of their bytes. Onsets without a text, which only keep time, are left out;
// whatever else stands among the annotations is not, even if no reader shows it. It goes by what the file holds, not by how many records
// its header tells, and needs no more than 128 KiB. It ends after an error.
func (h *Header) Annotations(r io.ReaderAt) iter.Seq2[Annotation, error] {
	return func(yield func(Annotation, error) bool) {
		w := &window{r: r, end: h.size, ahead: h.RecordBytes() <= maxText}
		wide := int64(h.Format.SampleBytes())
		var lists []Signal
		for _, s := range h.Signals {
			if s.annotates() {
				lists = append(lists, s)
			}
		}
		if len(lists) == 0 {
			return
		}
		for record := h.Bytes; record < h.size; record += h.RecordBytes() {
			for _, s := range lists {
				start := record + s.start
				sc := scanner{w: w, at: start, end: min(start+s.Samples*wide, h.size)}
				if !sc.run(yield) {
					return
				}
			}
		}
	}
}

// scanner goes through the annotations of one signal in one record.
type scanner struct {
	w       *window
	at, end int64
	onset   Annotation // what the texts that follow have in common; Stray until an onset was read
}

// run returns false when it is not to go on.
func (s *scanner) run(yield func(Annotation, error) bool) bool {
	s.onset = Annotation{Stray: true}
	for first := true; s.at < s.end; {
		text, sep, err := s.next()
		if err != nil {
			yield(Annotation{}, err)
			return false
		}
		start := s.at
		s.at += int64(len(text)) + 1
		isOnset := false
		if first && sep == endOfText {
			s.onset, isOnset = parseOnset(text)
		}
		if len(text) > 0 && !isOnset {
			a := s.onset
			a.Text, a.Offset = string(text), start
			if !yield(a, nil) {
				return false
			}
		}
		if first = sep == endOfList; first {
			s.onset = Annotation{Stray: true}
		}
	}
	return true
}

// next returns the bytes up to the next separator, and that; where the signal ends without one it ends as if by endOfList.
func (s *scanner) next() (text []byte, sep byte, err error) {
	for want := min(512, s.end-s.at); ; want = min(8*want, s.end-s.at, maxText) {
		b, err := s.w.get(s.at, want)
		if err != nil {
			return nil, 0, err
		}
		if i := bytes.IndexAny(b, "\x00\x14"); i >= 0 {
			return b[:i], b[i], nil
		}
		switch want {
		case s.end - s.at:
			return b, endOfList, nil
		case maxText:
			return nil, 0, &FieldError{Offset: s.at, Len: maxText, Field: "annotation", Text: "longer than 64 KiB"}
		}
	}
}

// parseOnset reads +seconds, or +seconds 0x15 seconds.
func parseOnset(b []byte) (Annotation, bool) {
	stray := Annotation{Stray: true}
	onset, duration, lasts := strings.Cut(string(b), string(rune(beforeFor)))
	if onset == "" || onset[0] != '+' && onset[0] != '-' || !isDecimal(onset[1:]) || lasts && !isDecimal(duration) {
		return stray, false
	}
	var a Annotation
	a.Onset, _ = strconv.ParseFloat(onset, 64)
	a.Duration, _ = strconv.ParseFloat(duration, 64)
	return a, true
}

// isDecimal reports whether s is digits with at most one point. A long one is no time but could be a telephone number.
func isDecimal(s string) bool {
	whole, part, _ := strings.Cut(s, ".")
	return whole != "" && len(s) <= 24 && strings.Trim(whole+part, "0123456789") == ""
}

// window reads a file piece by piece and remembers the last piece.
type window struct {
	r     io.ReaderAt
	end   int64 // of the file
	ahead bool  // what follows will be wanted, too
	at    int64 // where buf begins
	buf   []byte
}

// get returns length bytes at off, which must lie in the file. They are the window's until the next call.
func (w *window) get(off, length int64) ([]byte, error) {
	if off >= w.at && off+length <= w.at+int64(len(w.buf)) {
		return w.buf[off-w.at:][:length], nil
	}
	n := length
	if w.ahead {
		n = min(max(length, maxText), w.end-off)
	}
	if int64(cap(w.buf)) < n {
		w.buf = make([]byte, n)
	}
	w.at, w.buf = off, w.buf[:n]
	if err := readFull(w.r, w.buf, off); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:length], nil
}
