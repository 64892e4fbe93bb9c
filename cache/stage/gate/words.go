package gate

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"studyfs/cache/stage/gate/edf"
)

// Denylist knows words, such as the names of patients, that must not be seen. It has only their sums, made with a key, and cannot tell them. It may
// be used by several goroutines.
type Denylist struct {
	key   []byte
	words map[sum]struct{}
}

// sum is what is kept of a word.
type sum [16]byte

// Lengths, in letters.
const (
	leastWord = 2  // shorter words stand everywhere
	leastPart = 5  // a word this long is found within another: quillfeatherada
	leastOf   = 4  // of a name of several words each is a word, too, that is this long
	mostPart  = 24 // longer ones are found only where they stand alone
	mostJoin  = 4  // so many tokens are joined to find O'Brien and van der Berg
)

// What a file of a deny-list looks like.
const (
	listTitle = "studyfs deny-list 1"
	listSalt  = "salt "
	listCheck = "check "
	checkText = "\x00this is the right secret" // no word looks like this
	saltLen   = 16
	mostLine  = 4096
)

// ErrSecret is returned where a deny-list was made with another secret: it would find nothing.
var ErrSecret = errors.New("the deny-list was made with another secret")

// WriteDenylist reads words, one a line, and writes the file of a deny-list that knows them, and them with other accents. Of a line of several words
// ("Ada van Quillfeather-Smith") each is known that has four letters, and all of them in one. Blank lines, and those that begin with #, are
// passed over. The file has no word in it, but whoever has secret can try words; without a secret, everybody can. random is where the
// salt is from, such as crypto/rand.Reader. It returns how many lines it took. Errors hold numbers of lines, not what stands there.
func WriteDenylist(w io.Writer, words io.Reader, secret []byte, random io.Reader) (int, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(random, salt); err != nil {
		return 0, fmt.Errorf("salt of a deny-list: %w", err)
	}
	f := &finder{mac: hmac.New(sha256.New, listKey(secret, salt))}
	var sums []sum
	lines, taken := bufio.NewScanner(words), 0
	lines.Buffer(nil, mostLine)
	for line := 1; lines.Scan(); line++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || text[0] == '#' {
			continue
		}
		entries := entriesOf(text)
		if len(entries) == 0 {
			return 0, fmt.Errorf("line %d of the words has less than %d letters or digits", line, leastWord)
		}
		for _, entry := range entries {
			sums = append(sums, f.sum(entry))
		}
		taken++
	}
	if err := lines.Err(); err != nil {
		return 0, fmt.Errorf("words of a deny-list: %w", err)
	}
	slices.SortFunc(sums, func(a, b sum) int { return slices.Compare(a[:], b[:]) }) // their order would tell who came first
	check := f.sum(checkText)
	text := fmt.Appendf(nil, "%s\n%s%x\n%s%x\n", listTitle, listSalt, salt, listCheck, check[:])
	for _, s := range slices.Compact(sums) {
		text = fmt.Appendf(text, "%x\n", s[:])
	}
	if _, err := w.Write(text); err != nil {
		return 0, fmt.Errorf("write a deny-list: %w", err)
	}
	return taken, nil
}

// entriesOf returns the words that a line stands for.
func entriesOf(line string) []string {
	var entries []string
	take := func(word string, least int) {
		for _, s := range spellings(word) {
			if len([]rune(s)) >= least && !slices.Contains(entries, s) {
				entries = append(entries, s)
			}
		}
	}
	take(line, leastWord)
	pieces := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t,;_-./", r) })
	if len(pieces) > 1 {
		for _, piece := range pieces {
			take(piece, leastOf)
		}
	}
	return entries
}

// ReadDenylist reads what [WriteDenylist] wrote. It returns [ErrSecret] if secret is not the one it was written with.
func ReadDenylist(r io.Reader, secret []byte) (*Denylist, error) {
	d := &Denylist{words: map[sum]struct{}{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, mostLine)
	next := func(begin string) ([]byte, error) {
		if !lines.Scan() {
			return nil, errors.Join(io.ErrUnexpectedEOF, lines.Err())
		}
		rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), strings.TrimSpace(begin))
		if !ok {
			return nil, fmt.Errorf("no line that begins with %q", begin)
		}
		return hex.DecodeString(strings.TrimSpace(rest))
	}
	_, err := next(listTitle)
	salt, errSalt := next(listSalt)
	check, errCheck := next(listCheck)
	if err = errors.Join(err, errSalt, errCheck); err != nil {
		return nil, fmt.Errorf("deny-list: %w", err)
	}
	d.key = listKey(secret, salt)
	if want := d.finder().sum(checkText); !hmac.Equal(check, want[:]) {
		return nil, ErrSecret
	}
	for line := 4; lines.Scan(); line++ {
		var s sum
		if n, err := hex.Decode(s[:], padded(lines.Text())); err != nil || n != len(s) {
			return nil, fmt.Errorf("deny-list: line %d is not %d hexadecimal digits", line, 2*len(s))
		}
		d.words[s] = struct{}{}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("deny-list: %w", err)
	}
	return d, nil
}

// padded returns a line of a list if it has the length of a sum, else what is none.
func padded(line string) []byte {
	line = strings.TrimSpace(line)
	if len(line) != 2*len(sum{}) {
		return nil
	}
	return []byte(line)
}

func listKey(secret, salt []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write(append([]byte("studyfs deny-list\x00"), salt...)) // a hash takes all
	return mac.Sum(nil)
}

// Len returns how many sums the list has. A word may have several. A nil list has none.
func (d *Denylist) Len() int {
	if d == nil {
		return 0
	}
	return len(d.words)
}

// Find returns where words of the list stand in a text, in order and apart from each other. Case, accents and what stands between letters
// do not matter; words of at least 5 letters are found within others. A nil list finds nothing.
func (d *Denylist) Find(text string) []edf.Span { return d.finder().find(tokens(text)) }

// finder looks for words. It is for one goroutine.
type finder struct {
	list *Denylist
	mac  hash.Hash
	seen map[string]bool // of what was looked up before, so that annotations which come again and again cost nothing
}

// mostSeen bounds the memory of a finder.
const mostSeen = 1 << 14

func (d *Denylist) finder() *finder {
	if d == nil {
		return &finder{}
	}
	return &finder{list: d, mac: hmac.New(sha256.New, d.key), seen: map[string]bool{}}
}

func (f *finder) sum(word string) (s sum) {
	f.mac.Reset()
	_, _ = io.WriteString(f.mac, word) // a hash takes all
	copy(s[:], f.mac.Sum(nil))
	return s
}

func (f *finder) known(word string) bool {
	known, seen := f.seen[word]
	if seen {
		return known
	}
	_, known = f.list.words[f.sum(word)]
	if len(f.seen) < mostSeen {
		f.seen[word] = known
	}
	return known
}

// find is [Denylist.Find] of a text that was taken apart.
func (f *finder) find(all []token) []edf.Span {
	if f.list == nil || len(f.list.words) == 0 {
		return nil
	}
	var spans []edf.Span
	for i, t := range all {
		if i == 0 || all[i-1].end != t.start { // a run begins, such as all of SMITHson2
			if run, end := joinRun(all[i:]); f.within(run) {
				spans = merge(spans, edf.Span{Start: t.start, End: end})
			}
		}
		if end := f.joined(all[i:]); end > 0 {
			spans = merge(spans, edf.Span{Start: t.start, End: end})
		}
	}
	return spans
}

// joinRun returns what tokens that touch each other make together, and where they end. Of a number alone it returns nothing: tables have
// millions of them.
func joinRun(list []token) (run string, end int) {
	n := 1
	for n < len(list) && list[n-1].end == list[n].start {
		n++
	}
	if n == 1 && isIndex(list[0].text) {
		return "", list[0].end
	}
	var b strings.Builder
	for _, t := range list[:n] {
		b.WriteString(t.text)
	}
	return b.String(), list[n-1].end
}

// joined returns where the longest word ends that the first of some tokens make together; 0 if they make none. Numbers are words alone.
func (f *finder) joined(list []token) (end int) {
	most := mostJoin
	if isIndex(list[0].text) {
		most = 1
	} else if len(list[0].text) == 1 {
		most = mostPart // S. M. I. T. H.
	}
	word, allSingle := "", true
	for n, t := range list[:min(most, len(list))] {
		allSingle = allSingle && len(t.text) == 1
		if n >= mostJoin && !allSingle {
			break
		}
		word += t.text
		if len(word) >= leastWord && f.known(word) {
			end = t.end
		}
	}
	return end
}

// within reports whether a part of s is a word of the list.
func (f *finder) within(s string) bool {
	for i := 0; i+leastPart <= len(s); i++ {
		for j := i + leastPart; j <= min(i+mostPart, len(s)); j++ {
			if f.known(s[i:j]) {
				return true
			}
		}
	}
	return false
}

// merge adds a span to those before it, which began no later.
func merge(spans []edf.Span, s edf.Span) []edf.Span {
	if n := len(spans); n > 0 && s.Start < spans[n-1].End {
		spans[n-1].End = max(spans[n-1].End, s.End)
		return spans
	}
	return append(spans, s)
}
