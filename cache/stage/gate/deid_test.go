package gate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"studyfs/cache/stage/gate/edf"
	"studyfs/cache/stage/gate/edf/edftest"
)

const (
	subject = "c0ffee12"
	// Nobody is called so.
	corpusWords = "Quillfeather\nBrandybuck\nO'Brannigan\nMüllerström\nŁęczyński\nLee\nZwaardmaker\n"
)

func rulesOf(t testing.TB, policy Policy) Rules {
	t.Helper()
	return Rules{Policy: policy, Words: denylist(t, corpusWords), Secret: []byte("a real secret"), Equipment: []string{"Xltek"}}
}

func judge1(r Rules, name string, body []byte) Judgement {
	return r.Judge(name, int64(len(body)), bytes.NewReader(body))
}

// sample is one file of the corpus.
type sample struct {
	name string
	body []byte
	dirt bool // scrubbing can take away what is wrong
}

// corpus makes files from a seed. All names in them are made up.
type corpus struct{ *rand.Rand }

func (c corpus) pick(from ...string) string { return from[c.IntN(len(from))] }

func (c corpus) id() string {
	return c.pick("a", "b", "c", "d", "e", "f") + fmt.Sprintf("%07x", c.IntN(1<<28))
}

// surname writes one of the words as people do.
func (c corpus) surname() string {
	word := c.pick("Quillfeather", "Brandybuck", "OBrannigan", "Müllerström", "Mullerstrom", "Łęczyński", "Leczynski", "Zwaardmaker")
	switch c.IntN(4) {
	case 0:
		word = strings.ToUpper(word)
	case 1:
		word = strings.ToLower(word)
	}
	return strings.Replace(c.pick("%s", "%s_John", "J.%s", "%s2", "%s's", "(%s)"), "%s", word, 1)
}

func (c corpus) texts(extra ...string) []string {
	texts := make([]string, 1+c.IntN(3))
	for i := range texts {
		texts[i] = edftest.List(float64(c.IntN(100)), c.pick("Lights off", "spike LTG 3", "seizure onset", "patient moves", "Gerät geprüft", "Impedance 5 kOhm",
			"eyes closed", "nurse in room", "ECoG grid re-referenced", "movie 2 starts", "talking to family", "sleep stage N2", "asleep", "feeling well"))
	}
	for _, text := range extra {
		at := c.IntN(len(texts))
		texts[at] = edftest.List(1, text)
	}
	return texts
}

// clean makes a recording of nobody.
func (c corpus) clean(id string) edftest.File {
	f := edftest.File{Date: "01.01.85", Lists: c.texts(), Transducer: c.pick("", "AgAgCl electrode", "depth electrode"), ListSamples: 120}
	f.Patient, f.Recording = c.pick("X X X X", id+" X X X"), c.pick("Startdate X X X X", "Startdate 01-JAN-1985 X X X", "Startdate X X X Xltek")
	switch f.BDF = c.IntN(4) == 0; {
	case c.IntN(4) == 0:
		f.Mark, f.Lists = "", nil
		f.Patient, f.Recording = c.pick("", "X", id, f.Patient), c.pick("", "X", f.Recording)
		if f.BDF {
			f.Mark = "24BIT"
		}
	case f.BDF:
		f.Mark = c.pick("BDF+C", "BDF+D")
	default:
		f.Mark = c.pick("EDF+C", "EDF+D")
	}
	return f
}

func (c corpus) path(id, ext string) string {
	base := id + c.pick("", "_3", "_pt1", "_pt2_4", "_4_0012", "_12_003") + ext
	return c.pick("", id+"/", id+"_edf/", id+"/"+id+"_4/", "ecog/"+id+"/") + base
}

func (c corpus) good() sample {
	id := c.id()
	switch c.IntN(8) {
	case 0:
		return sample{name: c.path(id, ".avi"), body: []byte("RIFF....AVI LIST")}
	case 1:
		return sample{name: c.path(id, c.pick(".erd", ".vtc", ".avi", ".snc")+".age"), body: []byte("age-encryption.org/v1\n-> X25519 x")}
	case 2:
		return sample{name: c.path(id, c.pick(".csv", ".tsv")), body: []byte("onset,label\n1.5,spike\n2.25,movie\n")}
	default:
		return sample{name: c.path(id, ".edf"), body: c.clean(id).Bytes()}
	}
}

func (c corpus) bad() sample {
	id := c.id()
	f := c.clean(id)
	fine, word := f.Bytes(), c.surname()
	dirty := func(change func(f *edftest.File)) sample {
		f := c.clean(id)
		change(&f)
		return sample{c.path(id, ".edf"), f.Bytes(), true}
	}
	annotated := func(f *edftest.File, text string) {
		if f.Lists == nil {
			f.Mark, f.BDF, f.Patient, f.Recording = "EDF+C", false, "X X X X", "Startdate X X X X"
		}
		f.Lists = c.texts(text)
	}
	switch c.IntN(17) {
	case 0:
		return sample{name: c.pick("", id+"/") + word + "_1.edf", body: fine}
	case 1:
		return sample{name: word + "/" + id + "_1.edf", body: fine}
	case 2:
		return sample{name: id + "/" + id + "_" + word + ".edf", body: fine}
	case 3:
		return sample{name: c.path(id, c.pick(".erd", ".ENT", ".vt2", ".vtc", ".snc", ".doc", ".eeg", ".stc", ".epo", ".etc")), body: []byte("\x01\x02")}
	case 4:
		return sample{name: c.pick("1", "g", "C") + id[1:] + ".edf", body: fine}
	case 5:
		return sample{name: id + "/" + c.pick("baddcafe", "deadbeef") + "_1.edf", body: fine}
	case 6:
		return sample{name: c.path(id, c.pick(".avi", ".vtc", ".edf")+c.pick(".age", ".enc")), body: []byte("RIFF....AVI LIST")}
	case 7:
		return sample{name: c.path(id, ".edf"), body: fine[:c.IntN(512)]}
	case 8:
		return sample{name: c.path(id, c.pick(".csv", ".json", ".tsv")), body: []byte("seen by,when\n" + word + ",1\n")}
	case 9:
		return dirty(func(f *edftest.File) { f.Patient = c.pick("MCH-1 F 02-MAY-1951 ", "X X X ", "", id+" ") + word })
	case 10:
		return dirty(func(f *edftest.File) { f.Recording = "Startdate X " + c.pick("X ", "ADM2 ") + word + " X" })
	case 11:
		return dirty(func(f *edftest.File) { f.Date, f.Recording = "04.03.19", c.pick("", "Startdate 04-MAR-2019 X X X") })
	case 12:
		return dirty(func(f *edftest.File) { f.Transducer = "grid of " + word })
	case 13:
		return dirty(func(f *edftest.File) { f.Label = "Lee EKG" })
	case 14:
		return sample{name: c.path(id, ".dat"), body: fine}
	default:
		return dirty(func(f *edftest.File) {
			annotated(f, c.pick("", "seen by ", "talks to ", "MRN 1, ")+word+c.pick("", " again", "; sleeps"))
		})
	}
}

// The two figures that the gate is held to: nothing that names a patient passes, and next to nothing else is held back.
func TestCorpus(t *testing.T) {
	c := corpus{rand.New(rand.NewPCG(20, 9))}
	refuse, scrub, warn := rulesOf(t, Refuse), rulesOf(t, Scrub), rulesOf(t, Warn)
	scrubbed := 0
	for range 100 {
		s := c.bad()
		j := judge1(refuse, s.name, s.body)
		if j.Verdict != Refused || len(j.Findings) == 0 || j.Patches != nil {
			t.Errorf("%s passes: %+v", s.name, j)
		}
		quiet(t, j)
		if j := judge1(warn, s.name, s.body); j.Verdict != Passed || len(j.Findings) == 0 {
			t.Errorf("%s: warned: %+v", s.name, j)
		}
		j = judge1(scrub, s.name, s.body)
		if want := map[bool]Verdict{true: Scrubbed, false: Refused}[s.dirt]; j.Verdict != want {
			t.Errorf("%s: %v, want %v: %+v", s.name, j.Verdict, want, j.Findings)
		}
		if s.dirt {
			scrubbed++
			checkScrubbed(t, scrub, s, j)
		}
	}
	passed := 0
	for range 100 {
		s := c.good()
		j := judge1(refuse, s.name, s.body)
		if j.Verdict == Passed {
			passed++
		} else {
			t.Logf("%s is refused: %+v", s.name, j.Findings)
		}
		quiet(t, j)
	}
	if passed < 98 || scrubbed < 30 {
		t.Errorf("%d of 100 pass; %d were scrubbed", passed, scrubbed)
	}
}

// quiet minds that findings may be logged.
func quiet(t *testing.T, j Judgement) {
	t.Helper()
	for _, f := range j.Findings {
		for _, word := range []string{"quill", "brandy", "brannigan", "llerstr", "czy", "zwaard", "john", "lee"} {
			if strings.Contains(strings.ToLower(f.Text), word) {
				t.Errorf("a finding tells a name: %s", f.Text)
			}
		}
	}
}

// checkScrubbed applies the patches.
func checkScrubbed(t *testing.T, r Rules, s sample, j Judgement) {
	t.Helper()
	out := make([]byte, len(s.body))
	if _, err := edf.Apply(bytes.NewReader(s.body), j.Patches).ReadAt(out, 0); err != nil {
		t.Fatal(err)
	}
	rest := bytes.Clone(out)
	for _, p := range j.Patches {
		copy(rest[p.Offset:], s.body[p.Offset:][:len(p.New)])
	}
	if !bytes.Equal(rest, s.body) {
		t.Errorf("%s: bytes outside of the patches differ", s.name)
	}
	if len(r.Words.Find(string(out[8:]))) > 0 {
		t.Errorf("%s: a word of the list is still there", s.name)
	}
	for _, word := range []string{"quillfeather", "brandybuck", "brannigan", "mullerstrom", "leczynski", "zwaardmaker"} {
		if strings.Contains(fold(string(out)), word) {
			t.Errorf("%s: %s is still there", s.name, word)
		}
	}
	if j := judge1(r, s.name, out); j.Verdict != Passed {
		t.Errorf("%s: scrubbed, it is %v: %+v", s.name, j.Verdict, j.Findings)
	}
	strict := r
	strict.Policy = Refuse
	if j := judge1(strict, s.name, out); j.Verdict != Passed {
		t.Errorf("%s: scrubbed, it would be %v elsewhere: %+v", s.name, j.Verdict, j.Findings)
	}
}

// What the lab's scripts make of names passes, and what people make of them does not.
func TestNamesOfDeidentifiedFiles(t *testing.T) {
	good := edftest.File{Date: "01.01.85"}.Bytes()
	for _, c := range []struct{ name, want string }{
		{"c0ffee12.edf", ""},
		{"c0ffee12_1.edf", ""},
		{"c0ffee12_pt1_4_0012.avi", ""},
		{"c0ffee12_edf/c0ffee12_1.edf", ""},
		{"video/c0ffee12/c0ffee12_4/c0ffee12_4_0012.avi", ""},
		{"c0ffee12.avi.age", "not-encrypted!"},
		{"c0ffee12.age", "not-encrypted!"},
		{"00ffee12.edf", "name!"},
		{"c0ffee1.edf", "name!"},
		{"C0FFEE12.edf", "name!"},
		{"c0ffee123.edf", "name!"},
		{"c0ffee12.EDF", "extension!"},
		{"c0ffee12.edf.gz", "extension! name!"},
		{"c0ffee12_final.edf", "name!"},
		{"c0ffee12_pt.edf", "name!"},
		{"c0ffee12_123456789.edf", "name!"},
		{"c0ffee12_20190304.edf", "date-like"},
		{"04-03-2019/c0ffee12.edf", "date-like name!"},
		{"c0ffee12 .edf", "name!"},
		{"c0ffee12", "extension!"},
		{"", "extension! name!"},
		{"/c0ffee12.edf", "name!"},
		{"tmp/c0ffee12.edf", "name!"},
		{"c0ffee12/deadbeef_1.edf", "subject!"},
		{"c0ffee12/Quillfeather.edf", "deny-list! name!"},
		{"QUILLFEATHER_John/c0ffee12.edf", "deny-list! name!"},
		{"c0ffee12.vt2", "names-inside!"},
		{"Quillf~ First_0001.ERD", "names-inside! name!"},
		{".DS_Store", "extension! name!"},
	} {
		j := judge1(rulesOf(t, Refuse), c.name, good)
		if got := rules(j.Findings); got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
	for name, want := range map[string]string{
		"c0ffee12": "", "c0ffee12_edf": "", "video/c0ffee12_pt1": "", "smith": "name!", "Quillfeather": "deny-list! name!", "c0ffee12/deadbeef": "subject!",
	} {
		if got := rules(rulesOf(t, Refuse).JudgeFolder(name).Findings); got != want {
			t.Errorf("folder %q: %q, want %q", name, got, want)
		}
	}
	r := rulesOf(t, Park)
	r.Encrypts, r.Labels, r.Extensions = true, []string{"rest"}, []string{".dat"}
	for name, want := range map[string]Verdict{
		"c0ffee12_1.erd": Passed, "c0ffee12_rest.dat": Passed, "c0ffee12_rest.edf": Parked, "c0ffee12_x.dat": Parked,
	} {
		if j := judge1(r, name, []byte("0000")); j.Verdict != want {
			t.Errorf("%s: %v, want %v", name, j.Verdict, want)
		}
	}
}

// A recording that was renamed to pass as a video, or sorted under another subject, is a recording all the same.
func TestContents(t *testing.T) {
	named := edftest.File{Patient: "Somebody Else"}.Bytes()
	for _, c := range []struct {
		name, want string
		body       []byte
	}{
		{"c0ffee12.avi", "edf-patient! edf-startdate!", named},
		{"c0ffee12.edf", "edf!", []byte("this is no recording")},
		{"c0ffee12.edf", "edf!", nil},
		{"c0ffee12.edf", "subject!", edftest.File{Patient: "deadbeef X X X", Date: "01.01.85"}.Bytes()},
		{"c0ffee12.edf", "date-like", edftest.File{Date: "01.01.85", Mark: "EDF+C", Patient: "X X X X", Recording: "Startdate X X X X", Lists: []string{
			edftest.List(0, "born 04.03.1951"),
		}}.Bytes()},
		{"c0ffee12.edf", "edf-fault", edftest.File{Date: "01.01.85", Tail: "x"}.Bytes()},
		{"c0ffee12.csv", "deny-list!", []byte(strings.Repeat("1,2,3\n", 20000) + "Quillfeather")},
		{"c0ffee12.csv", "deny-list!", []byte(strings.Repeat("x", 64<<10-5) + " Quillfeather")},
		{"c0ffee12.csv", "deny-list!", utf16le("a\tb\nc\tQuillfeather\n")},
		{"c0ffee12.csv", "date-like", []byte("when\n2019-03-04\n")},
		{"c0ffee12.csv", "", []byte("a,b\n1.5,20\n")},
	} {
		if got := rules(judge1(rulesOf(t, Refuse), c.name, c.body).Findings); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	r := rulesOf(t, Refuse)
	r.KeepDates = true
	if j := judge1(r, "c0ffee12.edf", edftest.File{}.Bytes()); j.Verdict != Passed {
		t.Errorf("with its date: %+v", j)
	}
	if j := r.Judge("c0ffee12.edf", 1000, failing{}); j.Verdict != Refused {
		t.Errorf("unreadable: %+v", j)
	}
}

func utf16le(s string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

// All recordings of a subject are shifted alike, so that their order and their distances stay.
func TestDatesOfASubjectStayInOrder(t *testing.T) {
	r := rulesOf(t, Scrub)
	start := func(date string) int64 {
		body := edftest.File{Date: date}.Bytes()
		j := judge1(r, subject+"_1.edf", body)
		out := edf.Apply(bytes.NewReader(body), j.Patches)
		h, err := edf.Parse(out, int64(len(body)))
		if err != nil || j.Verdict != Scrubbed {
			t.Fatal(err, j)
		}
		return h.Start.Unix()
	}
	if d := start("02.03.20") - start("27.02.20"); d != 4*24*60*60 {
		t.Errorf("four days became %d s", d)
	}
}

func TestDateLike(t *testing.T) {
	for text, want := range map[string]bool{
		"2019-03-04": true, "20190304": true, "04032019": true, "4.3.19": true, "03/04/2019": true, "04-MAR-2019": true, "March 2019": true,
		"4 Mar 19": true, "2019_03_04": false, "1 2 3": false, "1-2-3": false, "99999999": false, "HP:0.1Hz LP:75Hz": false, "grid 4-5-12": false,
		"": false, "12345678": false, "mars 2019": false, "c0ffee12_4_0012": false,
	} {
		if dateLike(text, tokens(text)) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	for _, p := range []Policy{Refuse, Park, Scrub, Warn} {
		if got, err := ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("ask"); err == nil {
		t.Error("a policy that there is not was taken")
	}
}

func FuzzJudge(f *testing.F) {
	c := corpus{rand.New(rand.NewPCG(1, 1))}
	for range 20 {
		s := c.bad()
		f.Add(s.name, s.body)
	}
	scrub, refuse := rulesOf(f, Scrub), rulesOf(f, Refuse)
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		j := judge1(scrub, name, body)
		if strict := judge1(refuse, name, body); j.Verdict == Scrubbed && strict.Verdict != Refused || j.Verdict == Passed && strict.Verdict != Passed {
			t.Errorf("%v, but %v", j.Verdict, strict.Verdict)
		}
		if j.Verdict == Scrubbed {
			out := make([]byte, len(body))
			if _, err := edf.Apply(bytes.NewReader(body), j.Patches).ReadAt(out, 0); err != nil {
				t.Fatal(err)
			}
			if again := judge1(scrub, name, out); again.Verdict != Passed {
				t.Errorf("scrubbed, it is %v: %+v", again.Verdict, again.Findings)
			}
		}
		if !slices.ContainsFunc(j.Findings, func(f Finding) bool { return f.Parks }) && j.Verdict > Scrubbed {
			t.Errorf("%v without a reason", j.Verdict)
		}
	})
}
