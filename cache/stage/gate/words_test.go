package gate

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

const testWords = `
# made up, each of them
Quillfeather
Brandybuck-Took
O'Brannigan
Müllerström
Łęcki
Lee
van der Zwaard
MRN 4471203
`

// denylist makes a list and reads it again.
func denylist(t testing.TB, words string) *Denylist {
	t.Helper()
	var b bytes.Buffer
	if _, err := WriteDenylist(&b, strings.NewReader(words), []byte("secret"), rand.NewChaCha8([32]byte{1})); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(words) {
		if word := strings.ToLower(strings.TrimSpace(line)); len(word) > 4 && strings.Contains(strings.ToLower(b.String()), word) {
			t.Errorf("%q stands in the list", word)
		}
	}
	d, err := ReadDenylist(&b, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// However somebody wrote the name of a patient, it is found; and where.
func TestWordsAreFound(t *testing.T) {
	d := denylist(t, testWords)
	for text, want := range map[string]string{
		"Quillfeather":               "Quillfeather",
		"QUILLFEATHER_John_3":        "QUILLFEATHER",
		"the quillfeather's seizure": "quillfeather",
		"Q u i l l f e a t h e r":    "Q u i l l f e a t h e r",
		"Q.U.I.L.L.F.E.A.T.H.E.R. 1": "Q.U.I.L.L.F.E.A.T.H.E.R",
		"Q\x00u\x00i\x00l\x00l\x00f\x00e\x00a\x00t\x00h\x00e\x00r\x00": "Q\x00u\x00i\x00l\x00l\x00f\x00e\x00a\x00t\x00h\x00e\x00r",
		"johnquillfeather2":             "johnquillfeather2",
		"JQuillfeather":                 "JQuillfeather",
		"QuillFeather":                  "QuillFeather",
		"Quill-feather":                 "Quill-feather",
		"Quíllfeather":                  "Quíllfeather",
		"Qui\u0301llfeather, Ada":       "Qui\u0301llfeather",
		"Brandybuck and others":         "Brandybuck",
		"took off":                      "took",
		"TOOK BRANDYBUCK":               "TOOK|BRANDYBUCK",
		"brandybucktook":                "brandybucktook",
		"obrannigan":                    "obrannigan",
		"O’Brannigan":                   "O’Brannigan",
		"O Brannigan":                   "O Brannigan",
		"Mullerstrom":                   "Mullerstrom",
		"Muellerstroem":                 "Muellerstroem",
		"MÜLLERSTRÖM":                   "MÜLLERSTRÖM",
		"M\xfcllerstr\xf6m, EEG":        "M\xfcllerstr\xf6m",
		"Lecki":                         "Lecki",
		"ŁĘCKI":                         "ŁĘCKI",
		"Lee_Ann":                       "Lee",
		"LeeAnn":                        "Lee",
		"AnnLee2":                       "Lee",
		"Zwaard, van der":               "Zwaard",
		"vanderZwaard":                  "vanderZwaard",
		"mrn4471203":                    "mrn4471203",
		"number 4471203 is":             "4471203",
		"sleep, fleeting, asleeLee":     "Lee",
		"":                              "",
		"quill, feather of a goose":     "quill, feather",
		"steel, took a nap, mrn, a van": "took",
		"der 44 71203 zwa ard":          "zwa ard",
	} {
		var got []string
		for _, s := range d.Find(text) {
			got = append(got, text[s.Start:s.End])
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
	if (*Denylist)(nil).Find("Quillfeather") != nil || (*Denylist)(nil).Len() != 0 {
		t.Error("no list finds something")
	}
}

// A list that was made with another secret would find nothing, and nobody would know.
func TestDenylistsThatAreNone(t *testing.T) {
	var b bytes.Buffer
	if n, err := WriteDenylist(&b, strings.NewReader(testWords), []byte("secret"), rand.NewChaCha8([32]byte{})); err != nil || n != 8 {
		t.Fatal(n, err)
	}
	if _, err := ReadDenylist(bytes.NewReader(b.Bytes()), nil); !errors.Is(err, ErrSecret) {
		t.Error(err)
	}
	for _, text := range []string{
		"", "x", b.String()[:30], strings.Replace(b.String(), "salt ", "", 1), b.String() + "Quillfeather\n", b.String()[:b.Len()-3],
		strings.Replace(b.String(), "list 1", "list 2", 1),
	} {
		_, err := ReadDenylist(strings.NewReader(text), []byte("secret"))
		if err == nil || strings.Contains(err.Error(), "Quillfeather") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	for _, words := range []string{"A\n", "--\n", strings.Repeat("x", 1<<20)} {
		if _, err := WriteDenylist(&b, strings.NewReader(words), nil, rand.NewChaCha8([32]byte{})); err == nil {
			t.Errorf("%.9q was taken", words)
		}
	}
	if _, err := WriteDenylist(&b, strings.NewReader(""), nil, strings.NewReader("short")); err == nil {
		t.Error("a short salt was taken")
	}
}

func FuzzFind(f *testing.F) {
	d := denylist(f, testWords)
	f.Add("O'Brannigan", "x")
	f.Add("M\xfcLeeRström", "\u0301")
	f.Fuzz(func(t *testing.T, before, after string) {
		text := before + " Quillfeather " + after
		last, found := 0, false
		for _, s := range d.Find(text) {
			if s.Start < last || s.End <= s.Start || s.End > len(text) {
				t.Fatalf("%q: %v", text, s)
			}
			last = s.End
			found = found || strings.Contains(text[s.Start:s.End], "Quillfeather")
		}
		if !found {
			t.Errorf("%q: not found", text)
		}
	})
}
