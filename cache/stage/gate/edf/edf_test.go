package edf

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"studyfs/cache/stage/gate/edf/edftest"
)

const (
	plusPatient   = "MCH-0234567 F 02-MAY-1951 Quillfeather_Ada"
	plusRecording = "Startdate 04-MAR-2019 EMG561 Brandybuck/J. Sony._MNC_R_Mk2"
	code          = "c0ffee12"
)

func plusFile() edftest.File {
	return edftest.File{
		Mark: "EDF+C", Patient: plusPatient, Recording: plusRecording,
		Lists: []string{
			edftest.List(0.5, "Lights off"),
			edftest.List(1.5, "Ada Quillfeather moves") + "+1.7\x150.25\x14spike\x14seen by QUILLFEATHER\x14\x00",
		},
	}
}

func parse(t *testing.T, b []byte) *Header {
	t.Helper()
	h, err := Parse(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// finder finds words without regard to case.
func finder(words ...string) func(string) []Span {
	return func(text string) []Span {
		var spans []Span
		for i := 0; i < len(text); i++ {
			for _, w := range words {
				if i+len(w) <= len(text) && strings.EqualFold(text[i:i+len(w)], w) {
					spans = append(spans, Span{i, i + len(w)})
					i += len(w) - 1
					break
				}
			}
		}
		return spans
	}
}

func options() Options {
	return Options{Code: code, Secret: []byte("a real secret"), Find: finder("quillfeather", "ada")}
}

func TestParseReadsEachField(t *testing.T) {
	h := parse(t, plusFile().Bytes())
	if h.Format != EDFPlusC || h.Patient != plusPatient || h.Recording != plusRecording || h.Bytes != 768 || h.Records != 2 || h.Seconds != 1 {
		t.Errorf("%+v", h)
	}
	if got := h.Start.Format("2006-01-02 15:04:05"); got != "2019-03-04 13:37:42" {
		t.Error(got)
	}
	want := Signal{
		Label: "LFP 1", Dimension: "uV", Prefilter: "HP:0.1Hz",
		PhysicalMin: -3200, PhysicalMax: 3200, DigitalMin: -32768, DigitalMax: 32767, Samples: 4,
	}
	if len(h.Signals) != 2 || h.Signals[0] != want {
		t.Errorf("%+v", h.Signals)
	}
	if len(h.Faults) != 0 || h.RecordBytes() != 128 || h.Expected() != 768+2*128 {
		t.Errorf("%v, %d, %d", h.Faults, h.RecordBytes(), h.Expected())
	}
	for format, f := range map[Format]edftest.File{
		EDF: {}, EDFPlusD: {Mark: "EDF+D"}, BDF: {BDF: true, Mark: "24BIT"}, BDFPlusC: {BDF: true, Mark: "BDF+C"}, BDFPlusD: {BDF: true, Mark: "BDF+D"},
	} {
		if h := parse(t, f.Bytes()); h.Format != format {
			t.Errorf("%v read as %v", format, h.Format)
		}
	}
}

// Somebody whose file is refused must be able to go to the byte with a hex editor.
func TestErrorsNameTheByte(t *testing.T) {
	for _, c := range []struct {
		at     int64
		put    string
		want   string
		faulty bool // can be read all the same
	}{
		{0, "1       ", "bytes 0 to 7: version", false},
		{184, "512     ", "bytes 184 to 191: number of header bytes", false},
		{236, "two     ", "bytes 236 to 243: number of data records: not a whole", false},
		{236, "-2      ", "bytes 236 to 243: number of data records: less than -1", false},
		{236, "99999999", "byte 1024: data: the file ends before", true},
		{236, "1       ", "byte 896: data: the file goes on", true},
		{236, "-1      ", "bytes 236 to 243: number of data records: -1", true},
		{244, "0x10    ", "bytes 244 to 251: duration", false},
		{244, "Inf     ", "bytes 244 to 251: duration", false},
		{252, "0   ", "bytes 252 to 255: number of signals: less", false},
		{252, "99  ", "bytes 184 to 191: number of header bytes: not the 25600", false},
		{168, "31.02.19", "bytes 168 to 175: startdate: not a date", true},
		{168, "05.03.19", "bytes 88 to 167: local recording identification: the date", true},
		{170, "/", "bytes 168 to 175: startdate: the parts", true},
		{176, "25.00.00", "bytes 176 to 183: starttime", true},
		{8, "\xfc", "byte 8: local patient identification: not a printable", true},
		{8, strings.Repeat(" ", 80), "bytes 8 to 87: local patient identification: not the four", true},
		{88, " ", "bytes 88 to 167: local recording identification: ", true},
		{256, "\t", "byte 256: label 1: not a printable", true},
		{272, "LFP 2           ", "bytes 252 to 255: number of signals: none", true},
		{256 + 104*2 + 8, "1,5     ", "bytes 472 to 479: physical minimum 2: not a decimal", true},
		{256 + 120*2, "99999   ", "bytes 496 to 503: digital minimum 1: more", true},
		{256 + 216*2, "0       ", "bytes 688 to 695: samples per data record 1: less", false},
	} {
		b := plusFile().Bytes()
		copy(b[c.at:], c.put)
		h, err := Parse(bytes.NewReader(b), int64(len(b)))
		var told []string
		if err != nil {
			told = append(told, err.Error())
		} else {
			for _, f := range h.Faults {
				told = append(told, f.Error())
			}
		}
		found := false
		for _, text := range told {
			found = found || strings.HasPrefix(text, c.want)
		}
		if !found || (err == nil) != c.faulty {
			t.Errorf("%q at %d: %q, want %q", c.put, c.at, told, c.want)
		}
	}
	for _, size := range []int{0, 8, 255, 256, 767} {
		_, err := Parse(bytes.NewReader(plusFile().Bytes()[:size]), int64(size))
		if fe := (*FieldError)(nil); !errors.As(err, &fe) || fe.Offset != int64(size) {
			t.Errorf("cut at %d: %v", size, err)
		}
	}
}

func TestAnnotations(t *testing.T) {
	b := plusFile().Bytes()
	h := parse(t, b)
	var got []Annotation
	for a, err := range h.Annotations(bytes.NewReader(b)) {
		if err != nil {
			t.Fatal(err)
		}
		if string(b[a.Offset:][:len(a.Text)]) != a.Text {
			t.Errorf("%+v is not at its offset", a)
		}
		a.Offset = 0
		got = append(got, a)
	}
	want := []Annotation{
		{Onset: 0.5, Text: "Lights off"},
		{Onset: 1.5, Text: "Ada Quillfeather moves"},
		{Onset: 1.7, Duration: 0.25, Text: "spike"},
		{Onset: 1.7, Duration: 0.25, Text: "seen by QUILLFEATHER"},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

// A name that stands where no program shows it is still in the file.
func TestStrayTextsAreSeen(t *testing.T) {
	for name, f := range map[string]edftest.File{
		"without an onset":      {Lists: []string{"Quillfeather\x14\x00"}},
		"as an onset":           {Lists: []string{"Quillfeather\x00"}},
		"behind an onset":       {Lists: []string{"+1Quillfeather\x14\x00"}},
		"as a duration":         {Lists: []string{"+1\x15Quillfeather\x14\x00"}},
		"behind the padding":    {Lists: []string{"\x00\x00\x00Quillfeather"}},
		"up to the last byte":   {Lists: []string{"+1\x14Quillfeather"}, ListSamples: 11},
		"in a record untold":    {Lists: []string{"", "+1\x14Quillfeather\x14"}, Records: "1"},
		"in half a record":      {Lists: []string{""}, Tail: "12345678" + "+1\x14\x14\x00+1\x14Quillfeather"},
		"in plain EDF":          {Mark: " ", Lists: []string{"+1\x14Quillfeather\x14"}},
		"in BDF":                {BDF: true, Mark: "BDF+C", Lists: []string{"+1\x14Quillfeather\x14"}},
		"in a record of 80 KiB": {ListSamples: 40 << 10, Lists: []string{strings.Repeat("+1\x14word\x14\x00", 8000) + "+1\x14Quillfeather\x14"}},
	} {
		if f.Mark == "" {
			f.Mark = "EDF+C"
		}
		b := f.Bytes()
		h, seen := parse(t, b), false
		for a, err := range h.Annotations(bytes.NewReader(b)) {
			if err != nil {
				t.Error(name, err)
			}
			seen = seen || strings.Contains(a.Text, "Quillfeather")
		}
		if !seen {
			t.Errorf("%s: not seen", name)
		}
	}
}

// counting counts what is asked of it, and refuses what lies outside of the file.
type counting struct {
	t     *testing.T
	r     io.ReaderAt
	size  int64
	bytes int64
	most  int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > c.size {
		c.t.Errorf("reads %d bytes at %d of %d", len(p), off, c.size)
	}
	c.bytes += int64(len(p))
	c.most = max(c.most, len(p))
	return c.r.ReadAt(p, off)
}

// A hostile or broken file cannot make the judge take all memory.
func TestATextWithoutEndIsAnError(t *testing.T) {
	b := edftest.File{Mark: "EDF+C", ListSamples: 1 << 20, Lists: []string{strings.Repeat("x", 2<<20)}}.Bytes()
	c := &counting{t: t, r: bytes.NewReader(b), size: int64(len(b))}
	h := parse(t, b)
	_, err := h.Inspect(c, options())
	if fe := (*FieldError)(nil); !errors.As(err, &fe) || c.most > maxText {
		t.Errorf("%v, reads of %d bytes", err, c.most)
	}
}

func TestScrub(t *testing.T) {
	for name, f := range map[string]edftest.File{
		"EDF+C": plusFile(), "EDF": {Patient: "Quillfeather, Ada", Recording: "Harborview Dr. Brandybuck"},
		"EDF with a transducer": {Patient: "X", Transducer: "grid of Quillfeather"},
		"EDF+D":                 {Mark: "EDF+D", Patient: plusPatient, Recording: plusRecording, Lists: []string{"Quillfeather\x14", ""}},
		"BDF+C":                 {BDF: true, Mark: "BDF+C", Patient: plusPatient, Recording: plusRecording, Lists: []string{edftest.List(3, "quillfeather")}},
		"blank patient":         {Mark: "EDF+C", Recording: plusRecording, Lists: []string{""}},
		"dates that differ":     {Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate 01-FEB-2018 X X X", Lists: []string{""}},
		"no date":               {Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate X X X X", Date: "00.00.00", Lists: []string{""}},
	} {
		b := f.Bytes()
		for _, o := range []Options{options(), {Find: options().Find}, {Code: code, KeepDates: true, Find: options().Find}} {
			out := scrubbed(t, name, b, o)
			for _, planted := range []string{"quillfeather", "ada", "brandybuck", "mch-0234567", "emg561", "1951"} {
				if bytes.Contains(bytes.ToLower(out), []byte(planted)) {
					t.Errorf("%s: %s is still there", name, planted)
				}
			}
			if string(out[176:256]) != string(b[176:256]) {
				t.Errorf("%s: more than the date was changed", name)
			}
		}
	}
}

// scrubbed scrubs a file, and has it looked at again.
func scrubbed(t *testing.T, name string, b []byte, o Options) []byte {
	t.Helper()
	report, err := parse(t, b).Inspect(bytes.NewReader(b), o)
	if err != nil {
		t.Fatal(name, err)
	}
	out := make([]byte, len(b))
	if _, err := Apply(bytes.NewReader(b), report.Patches).ReadAt(out, 0); err != nil {
		t.Fatal(name, err)
	}
	touched := make([]bool, len(b))
	for _, p := range report.Patches {
		for i := range p.New {
			touched[int(p.Offset)+i] = true
		}
	}
	for i := range b {
		if b[i] != out[i] && !touched[i] {
			t.Fatalf("%s: byte %d differs", name, i)
		}
	}
	again, err := parse(t, out).Inspect(bytes.NewReader(out), o)
	if err != nil || len(again.Leaks) > 0 || len(again.Patches) > 0 {
		t.Errorf("%s: scrubbed, it still has %+v, %v", name, again, err)
	}
	if faults := parse(t, out).Faults; len(faults) > 0 && !o.KeepDates {
		t.Errorf("%s: scrubbed, it has %v", name, faults)
	}
	return out
}

// Two recordings of a subject keep their distance, on any day that there is, and who does not have the secret learns nothing.
func TestShift(t *testing.T) {
	days := Shift([]byte("a real secret"), code)
	if days != Shift([]byte("a real secret"), code+"_pt2") || days < 366 || days > 3653 {
		t.Error(days)
	}
	if days == Shift([]byte("another"), code) && days == Shift([]byte("a third"), code) {
		t.Error("the shift does not depend on the secret")
	}
	for d := dayOf(1996, 1, 1); d < endDay(); d++ {
		if d-d.back(days) != day(days) {
			t.Fatalf("%s becomes %s", d.long(), d.back(days).long())
		}
	}
	for d := firstDay(); d < endDay(); d++ {
		s := d.back(days)
		if s < firstDay() || s >= endDay() || parseShortDate([]byte(s.short()), "") != s || parseLongDate(s.long()) != s {
			t.Fatalf("%s becomes %s", d.long(), s.long())
		}
	}
	b := scrubbed(t, "EDF+", plusFile().Bytes(), options())
	want := dayOf(2019, 3, 4) - day(days)
	if string(b[168:176]) != want.short() || !strings.HasPrefix(string(b[88:]), "Startdate "+want.long()+" X X X ") {
		t.Errorf("%q", b[88:184])
	}
}

// After 2084 the year is in the recording field only.
func TestYearsThatTwoDigitsCannotTell(t *testing.T) {
	f := plusFile()
	f.Date, f.Recording = "04.03.yy", "Startdate 04-MAR-2091 X X X"
	b := f.Bytes()
	if h := parse(t, b); h.Start.Year() != 2091 || len(h.Faults) > 0 {
		t.Error(h.Start, h.Faults)
	}
	scrubbed(t, "2091", b, options())
}

func TestLeaks(t *testing.T) {
	clean := edftest.File{Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate X X X X", Date: "01.01.85", Lists: []string{""}}
	for _, c := range []struct {
		change func(f *edftest.File)
		want   []Kind
	}{
		{func(*edftest.File) {}, nil},
		{func(f *edftest.File) { f.Patient = code + " X X X" }, nil},
		{func(f *edftest.File) { f.Patient = code + "_pt1 X X X" }, nil},
		{func(f *edftest.File) { f.Patient = "deadbeef X X X" }, []Kind{OtherSubject}},
		{func(f *edftest.File) { f.Patient = code + " F X X" }, []Kind{PatientField}},
		{func(f *edftest.File) { f.Patient = "X X X X Ada" }, []Kind{PatientField}},
		{func(f *edftest.File) { f.Patient = " X X X X" }, []Kind{PatientField}},
		{func(f *edftest.File) { f.Patient = "" }, []Kind{PatientField}},
		{func(f *edftest.File) { f.Patient, f.Mark = "", "" }, nil},
		{func(f *edftest.File) { f.Patient, f.Mark = "Ada", "" }, []Kind{PatientField}},
		{func(f *edftest.File) { f.Recording, f.Mark = "", "" }, nil},
		{func(f *edftest.File) { f.Recording, f.Mark = "room 4", "" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate X ADM X X" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate X X Tech X" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate X X X SN123" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate X X X Xltek" }, nil},
		{func(f *edftest.File) { f.Recording = "Startdate X X X X 0123abcd" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate 05-MAR-2019 X X X" }, []Kind{RecordingField}},
		{func(f *edftest.File) { f.Recording = "Startdate 01-JAN-1985 X X X" }, nil},
		{func(f *edftest.File) { f.Date = "01.01.01" }, nil},
		{func(f *edftest.File) { f.Date = "04.03.19" }, []Kind{StartDate}},
		{func(f *edftest.File) { f.Mark = "EDF+C made for Ada" }, []Kind{Reserved, HeaderWord}},
		{func(f *edftest.File) { f.Label = "Ada 1" }, []Kind{HeaderWord}},
		{func(f *edftest.File) { f.Lists = []string{edftest.List(0, "ada, ADA")} }, []Kind{AnnotationWord}},
	} {
		f := clean
		c.change(&f)
		b, o := f.Bytes(), options()
		o.Equipment = []string{"Xltek"}
		report, err := parse(t, b).Inspect(bytes.NewReader(b), o)
		if err != nil {
			t.Error(err)
		}
		var got []Kind
		for _, leak := range report.Leaks {
			got = append(got, leak.Kind)
		}
		if string(kinds(got)) != string(kinds(c.want)) {
			t.Errorf("%+v: %+v, want %v", f, report.Leaks, c.want)
		}
	}
}

func kinds(k []Kind) []byte {
	b := make([]byte, len(k))
	for i := range k {
		b[i] = byte(k[i])
	}
	return b
}

// Uploads are sent and resumed in parts: each part is read at its own offset.
func TestPatchedPartsMakeTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 300)
	var patches []Patch
	want := bytes.Clone(b)
	for at := 3; at < 290; at += 1 + r.IntN(30) {
		p := Patch{Offset: int64(at), New: bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1+r.IntN(min(9, 300-at)))}
		copy(want[at:], p.New)
		patches = append(patches, p)
		at += len(p.New)
	}
	p := Apply(bytes.NewReader(b), patches)
	for off := range 300 {
		for _, n := range []int{1, 2, 7, 50, 300} {
			got := make([]byte, n)
			m, err := p.ReadAt(got, int64(off))
			if !bytes.Equal(got[:m], want[off:min(300, off+n)]) || m < n && !errors.Is(err, io.EOF) {
				t.Fatalf("%d bytes at %d: %v", n, off, err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(plusFile().Bytes())
	f.Add(edftest.File{BDF: true, Mark: "BDF+D", Lists: []string{"\x14\x14\x15", "+\x00-1\x14"}}.Bytes())
	f.Add([]byte("0       "))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &counting{t: t, r: bytes.NewReader(b), size: int64(len(b))}
		h, err := Parse(c, c.size)
		if c.bytes > c.size {
			t.Errorf("read %d bytes of %d for the header", c.bytes, c.size)
		}
		if err != nil {
			return
		}
		c.bytes = 0
		o := options()
		report, err := h.Inspect(c, o)
		if c.bytes > 10*c.size || c.most > maxText {
			t.Errorf("read %d bytes of %d, %d at once", c.bytes, c.size, c.most)
		}
		if err != nil {
			return
		}
		last := int64(0)
		for _, p := range report.Patches {
			if p.Offset < last || p.Offset+int64(len(p.New)) > c.size {
				t.Fatalf("patch of %d at %d, after %d, of %d", len(p.New), p.Offset, last, c.size)
			}
			last = p.Offset + int64(len(p.New))
		}
		out := make([]byte, len(b))
		if _, err := Apply(bytes.NewReader(b), report.Patches).ReadAt(out, 0); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		h, err = Parse(bytes.NewReader(out), c.size)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := h.Inspect(bytes.NewReader(out), o); err != nil || len(again.Patches) > 0 {
			t.Errorf("scrubbed twice: %+v, %v", again, err)
		}
	})
}
