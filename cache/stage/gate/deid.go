package gate

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"studyfs/cache/stage/gate/edf"
)

// Policy is what becomes of a file that could name a patient.
type Policy uint8

// The policies.
const (
	Refuse Policy = iota // it is not taken
	Park                 // it is kept, and does not go out
	Scrub                // it goes out without what names the patient; refused where that cannot be taken away, as from a name
	Warn                 // it goes out
)

// String returns the policy as [ParsePolicy] takes it.
func (p Policy) String() string {
	switch p {
	case Refuse:
		return "refuse"
	case Park:
		return "park"
	case Scrub:
		return "scrub"
	case Warn:
		return "warn"
	default:
		return fmt.Sprintf("Policy(%d)", uint8(p))
	}
}

// ParsePolicy reads "refuse", "park", "scrub" or "warn".
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{Refuse, Park, Scrub, Warn} {
		if s == p.String() {
			return p, nil
		}
	}
	return Refuse, fmt.Errorf("no policy %q: refuse, park, scrub or warn", s)
}

// Verdict is what is to be done with a file, the mildest first.
type Verdict uint8

// The verdicts.
const (
	Passed   Verdict = iota // it may go out as it is
	Scrubbed                // it may go out with the patches applied, and not without
	Parked                  // it is kept until somebody decides
	Refused                 // it is not taken
)

// String returns "passed", "scrubbed", "parked" or "refused".
func (v Verdict) String() string {
	switch v {
	case Passed:
		return "passed"
	case Scrubbed:
		return "scrubbed"
	case Parked:
		return "parked"
	case Refused:
		return "refused"
	default:
		return fmt.Sprintf("Verdict(%d)", uint8(v))
	}
}

// Judgement is what the gate says of one file.
type Judgement struct {
	Verdict  Verdict
	Findings []Finding   // Parks tells those that hold the file back. None holds a part of a name or of a file: they may be logged
	Patches  []edf.Patch // where Verdict is Scrubbed, for [edf.Apply]; else nil
}

// Rules say what may leave a laboratory that records patients. The zero value refuses whatever could name one, and knows no words. Rules
// are a value, may be used by several goroutines, and change nothing.
type Rules struct {
	Policy Policy
	// Words are those that must stand nowhere; may be nil.
	Words *Denylist
	// Secret shifts the start dates of what is scrubbed; see [edf.Options]. It is not that of Words.
	Secret []byte
	// KeepDates lets recordings have the start dates that they have.
	KeepDates bool
	// Encrypts tells that whatever passes is encrypted before it goes out. Then kinds of files may pass that hold names inside.
	Encrypts bool
	// Extensions may end names, in small letters with their dots; nil stands for those of recordings, videos and tables.
	Extensions []string
	// Labels may stand in names behind the code of the subject, and as names of folders, besides numbers and those that are known (edf, vid, …).
	Labels []string
	// Equipment may be told by recordings; see [edf.Options].
	Equipment []string
}

// Judge judges a file by its name, relative to the root, and by what it holds. body is asked for the beginning; of recordings for the header
// and the annotations, and of tables for all. It is read in pieces: however long the file is, this needs no more than some 30 MB of memory.
// The same file is always judged the same, and with its patches applied it passes.
func (r Rules) Judge(name string, size int64, body io.ReaderAt) Judgement {
	t := &trial{rules: r, find: r.Words.finder()}
	kind := t.path(name, false)
	t.body(kind, size, body)
	return t.judgement()
}

// JudgeFolder judges the name of a folder, relative to the root. Its verdict is never Scrubbed.
func (r Rules) JudgeFolder(name string) Judgement {
	t := &trial{rules: r, find: r.Words.finder()}
	t.path(name, true)
	return t.judgement()
}

// trial collects what is found of one file.
type trial struct {
	rules    Rules
	find     *finder
	code     string // of the subject, by the name
	findings []Finding
	stuck    bool // something was found that cannot be taken away
	patches  []edf.Patch
}

// remark notes what holds nothing back.
func (t *trial) remark(rule, text string) {
	t.findings = append(t.findings, Finding{Rule: rule, Text: text})
}

// wrong notes what no scrubbing takes away.
func (t *trial) wrong(rule, text string) {
	t.findings = append(t.findings, Finding{Rule: rule, Text: text, Parks: t.rules.Policy != Warn})
	t.stuck = true
}

// dirty notes what scrubbing takes away.
func (t *trial) dirty(rule, text string) {
	t.findings = append(t.findings, Finding{Rule: rule, Text: text, Parks: t.rules.Policy == Refuse || t.rules.Policy == Park})
}

func (t *trial) judgement() Judgement {
	j := Judgement{Findings: t.findings}
	parks := slices.ContainsFunc(t.findings, func(f Finding) bool { return f.Parks })
	switch {
	case parks && t.rules.Policy == Park:
		j.Verdict = Parked
	case parks:
		j.Verdict = Refused
	case len(t.patches) > 0 && t.rules.Policy == Scrub:
		j.Verdict, j.Patches = Scrubbed, t.patches
	}
	return j
}

// body judges what a file holds.
func (t *trial) body(kind fileKind, size int64, body io.ReaderAt) {
	head := make([]byte, min(size, headLen))
	n, err := body.ReadAt(head, 0)
	if head = head[:n]; n < cap(head) && err != nil && !errors.Is(err, io.EOF) {
		t.wrong("unread", "The file cannot be read, and so not be judged")
		return
	}
	switch {
	case kind == encrypted:
		if !looksEncrypted(head) {
			t.wrong("not-encrypted", "The name says that the file is encrypted, but it does not begin as encrypted files do. Encrypt it, or correct the name")
		}
	case edf.IsHeader(head), kind == recording: // whatever it is called
		t.recording(size, body)
	case kind == table:
		t.table(size, body)
	}
}

// headLen is enough to tell the kind of a file.
const headLen = 64

// looksEncrypted knows age, and what "openssl enc" writes.
func looksEncrypted(head []byte) bool {
	return strings.HasPrefix(string(head), "age-encryption.org/v1\n") || strings.HasPrefix(string(head), "Salted__")
}

// recording judges EDF and BDF files.
func (t *trial) recording(size int64, body io.ReaderAt) {
	h, err := edf.Parse(body, size)
	if err != nil {
		t.unreadable(err)
		return
	}
	dates := 0
	o := edf.Options{Code: t.code, Secret: t.rules.Secret, KeepDates: t.rules.KeepDates, Equipment: t.rules.Equipment}
	o.Find = func(text string) []edf.Span {
		all := tokens(text)
		if dateLike(text, all) {
			dates++
		}
		return t.find.find(all)
	}
	report, err := h.Inspect(body, o)
	if err != nil {
		t.unreadable(err)
		return
	}
	t.leaks(report.Leaks)
	t.patches = report.Patches
	if dates > 0 {
		t.remark("date-like", fmt.Sprintf("%d texts in the file look as if they told a date. Look whether it is one of the patient's", dates))
	}
	if n := len(h.Faults); n > 0 {
		t.remark("edf-fault", fmt.Sprintf("The file differs from its format in %d places. The first: %v", n, h.Faults[0]))
	}
}

func (t *trial) unreadable(err error) {
	text := "the file cannot be read"
	if fe := (*edf.FieldError)(nil); errors.As(err, &fe) {
		text = fe.Error()
	}
	t.wrong("edf", "The file cannot be read as EDF or BDF, and so not be judged: "+text)
}

// mostLeaks is how many leaks of a file are told one by one.
const mostLeaks = 20

func (t *trial) leaks(leaks []edf.Leak) {
	for i, leak := range leaks {
		text := fmt.Sprintf("Bytes %d to %d: %s", leak.Offset, leak.Offset+leak.Len-1, leak.Text)
		switch {
		case leak.Kind == edf.OtherSubject:
			t.wrong("subject", text+". Find out whose file it is")
		case leak.Kind == edf.Reserved:
			t.remark("edf-reserved", text)
		case i < mostLeaks:
			t.dirty(leakRule(leak.Kind), text)
		case i == mostLeaks:
			t.dirty("edf-more", fmt.Sprintf("%d more places", len(leaks)-mostLeaks))
		}
	}
}

func leakRule(k edf.Kind) string {
	switch k {
	case edf.PatientField:
		return "edf-patient"
	case edf.RecordingField:
		return "edf-recording"
	case edf.StartDate:
		return "edf-startdate"
	case edf.AnnotationWord:
		return "edf-annotation"
	default:
		return "edf-header"
	}
}

// Pieces in which tables are read. What lies across two pieces is seen in both.
const (
	tablePiece = 64 << 10
	tableTwice = 512
)

// table looks for words in a file of text.
func (t *trial) table(size int64, body io.ReaderAt) {
	buf := make([]byte, min(size, tablePiece))
	dated := false
	for off := int64(0); off < size; off += tablePiece - tableTwice {
		piece := buf[:min(int64(len(buf)), size-off)]
		if n, err := body.ReadAt(piece, off); n < len(piece) {
			if err != nil && !errors.Is(err, io.EOF) {
				t.wrong("unread", "The file cannot be read, and so not be judged")
			}
			return
		}
		text := string(piece)
		all := tokens(text)
		if len(t.find.find(all)) > 0 {
			t.wrong("deny-list", fmt.Sprintf("Bytes %d to %d hold a word of the deny-list. Remove it", off, off+int64(len(piece))-1))
			return
		}
		dated = dated || dateLike(text, all)
	}
	if dated {
		t.remark("date-like", "Something in the file looks as if it told a date. Look whether it is one of the patient's")
	}
}
