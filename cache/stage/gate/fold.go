package gate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a run of letters or of digits in a text as words are compared: in small letters, without accents.
type token struct {
	text       string
	start, end int // where it stands in the text, in bytes
}

// tokens takes a text apart at all that is neither letter nor digit, where letters meet digits, and within SMITHJohn and smithJohn. What
// is not UTF-8 is taken for Latin-1, which older recorders write.
func tokens(text string) []token {
	all := characters(text)
	var (
		list []token
		b    strings.Builder
	)
	for i, c := range all {
		if c.class == other {
			continue
		}
		b.WriteString(c.plain)
		if i+1 < len(all) && !parts(c, all[i+1], all[min(i+2, len(all)-1)]) {
			continue
		}
		t := token{text: b.String(), end: c.end}
		b.Reset()
		list = append(list, t)
	}
	begin(list, all)
	return list
}

// parts reports whether a token ends behind a, which b and c follow.
func parts(a, b, c character) bool {
	switch {
	case b.class == other, (a.class == digit) != (b.class == digit):
		return true
	case a.class == lower && b.class == upper:
		return true
	}
	return a.class == upper && b.class == upper && c.class == lower
}

// begin notes where each token begins: at the first character behind the one before it.
func begin(list []token, all []character) {
	i := 0
	for n := range list {
		for all[i].class == other {
			i++
		}
		list[n].start = all[i].start
		for i < len(all) && all[i].start < list[n].end {
			i++
		}
	}
}

// class is what a character is to tokens.
type class uint8

const (
	other class = iota
	digit
	lower
	upper
)

// character is one letter with its accents, or anything else.
type character struct {
	class      class
	plain      string // of letters and digits: how it is compared
	start, end int
}

func characters(text string) []character {
	all := make([]character, 0, len(text))
	for i := 0; i < len(text); {
		c, isMark := character{start: i, end: i + 1}, false
		if text[i] < utf8.RuneSelf {
			c.class, c.plain = ascii(text, i)
		} else {
			r, size := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && size == 1 {
				r = rune(text[i])
			}
			c.end = i + size
			c.class, c.plain = beyond(r)
			isMark = unicode.Is(unicode.Mn, r)
		}
		i = c.end
		switch {
		case !isMark:
			all = append(all, c)
		case len(all) > 0: // it stands behind its letter and belongs to it
			all[len(all)-1].end = i
		}
	}
	return all
}

// ascii tells what the character is that is byte i of a text. Most are of these: they cost no memory.
func ascii(text string, i int) (c class, plain string) {
	const small = "abcdefghijklmnopqrstuvwxyz"
	switch b := text[i]; {
	case b >= '0' && b <= '9':
		return digit, text[i : i+1]
	case b >= 'a' && b <= 'z':
		return lower, text[i : i+1]
	case b >= 'A' && b <= 'Z':
		return upper, small[b-'A' : b-'A'+1]
	}
	return other, ""
}

// beyond tells what a character is that ASCII does not have.
func beyond(r rune) (c class, letter string) {
	switch {
	case unicode.IsDigit(r):
		return digit, string(r)
	case unicode.IsUpper(r), unicode.IsTitle(r):
		return upper, plain(unicode.ToLower(r))
	case unicode.IsLetter(r):
		return lower, plain(r)
	}
	return other, ""
}

// plain returns a small letter without its accent.
func plain(r rune) string {
	for _, a := range accents() {
		if strings.ContainsRune(a.with, r) {
			return a.without
		}
	}
	return string(r)
}

// accents are the letters of Europe and Vietnam that are more than the 26 of ASCII.
func accents() []struct{ without, with string } {
	return []struct{ without, with string }{
		{"a", "àáâãäåāăąǎạảấầẩẫậắằẳẵặª"},
		{"e", "èéêëēĕėęěẹẻẽếềểễệəɛ"},
		{"i", "ìíîïĩīĭįıǐỉị"},
		{"o", "òóôõöøōŏőǒơọỏốồổỗộớờởỡợº"},
		{"u", "ùúûüũūŭůűųǔưụủứừửữự"},
		{"y", "ýÿŷỳỵỷỹ"},
		{"c", "çćĉċč"},
		{"d", "ďđð"},
		{"g", "ĝğġģǧ"},
		{"h", "ĥħ"},
		{"j", "ĵ"},
		{"k", "ķĸǩ"},
		{"l", "ĺļľŀł"},
		{"n", "ñńņňŉŋ"},
		{"r", "ŕŗř"},
		{"s", "śŝşšșſ"},
		{"t", "ţťŧț"},
		{"w", "ŵẁẃẅ"},
		{"z", "źżž"},
		{"ss", "ßẞ"},
		{"ae", "æ"},
		{"oe", "œ"},
		{"th", "þ"},
		{"ij", "ĳ"},
	}
}

// spellings returns how a word may be written without its accents: Müller is Muller and Mueller, and Mueller could be Müller.
func spellings(word string) []string {
	spelt := strings.NewReplacer("ä", "ae", "Ä", "Ae", "ö", "oe", "Ö", "Oe", "ü", "ue", "Ü", "Ue", "ø", "oe", "Ø", "Oe", "å", "aa", "Å", "Aa").Replace(word)
	long := fold(spelt)
	return []string{fold(word), long, strings.NewReplacer("ae", "a", "oe", "o", "ue", "u", "aa", "a").Replace(long)}
}

// fold returns all letters and digits of a text in one.
func fold(text string) string {
	var b strings.Builder
	for _, c := range characters(text) {
		b.WriteString(c.plain)
	}
	return b.String()
}
