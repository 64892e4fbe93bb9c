package manual

import (
	"fmt"
	"strings"
)

// Roff is the page as man reads it.
func (d Document) Roff(e Edition) []byte {
	var b strings.Builder
	date := ""
	if !e.Date.IsZero() {
		date = e.Date.UTC().Format("2006-01-02")
	}
	fmt.Fprintf(&b, ".TH %s %d %s %s %s\n", quoted(strings.ToUpper(d.Name)), d.Number, quoted(date), quoted(e.Version), quoted(e.Program))
	b.WriteString(".nh\n.ad l\n") // no words of a command line may be broken or spread
	b.WriteString(".SH NAME\n" + line(d.Name) + ` \- ` + line(d.Short) + "\n")
	for _, s := range d.Sections {
		b.WriteString(".SH " + quoted(strings.ToUpper(s.Title)) + "\n")
		paragraphs(&b, s.Text)
		for _, entry := range s.Entries {
			b.WriteString(".TP\n\\fB" + line(entry.Term) + "\\fR\n")
			paragraphs(&b, strings.ReplaceAll(entry.Text, "\n", " "))
		}
	}
	return []byte(b.String())
}

// paragraphs writes a text. Lines that begin with a blank are kept as they are: tables and examples.
func paragraphs(b *strings.Builder, text string) {
	kept, pending := false, false
	for one := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		one = strings.TrimRight(one, " ")
		if one == "" {
			pending = true
			continue
		}
		if keep := one[0] == ' '; keep != kept {
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n.PP\n"}[keep])
			kept = keep
		} else if pending {
			b.WriteString(map[bool]string{true: "\n", false: ".PP\n"}[keep])
		}
		pending = false
		b.WriteString(line(strings.TrimPrefix(one, "  ")) + "\n")
	}
	if kept {
		b.WriteString(".fi\n")
	}
}

// line is one line of text that holds no requests, whatever it holds.
func line(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(text)
	if text != "" && (text[0] == '.' || text[0] == '\'') {
		text = `\&` + text
	}
	return text
}

// quoted is an argument of a request.
func quoted(text string) string {
	return `"` + strings.ReplaceAll(line(text), `"`, `\(dq`) + `"`
}
