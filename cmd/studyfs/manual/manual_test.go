package manual

import (
	"strings"
	"testing"
	"time"
)

// A page shows texts as they are, whatever they begin with: a line with a leading dot would vanish, a hyphen become something
// that cannot be copied into a shell.
func TestRoff(t *testing.T) {
	d := Document{Name: "tool-do", Number: 1, Short: "does it", Sections: []Section{{
		Title: "Description", Text: "First line\nsecond - line.\n\n.hidden 'quoted' back\\slash\n  kept   as it is\n\n  too\nafter",
		Entries: []Entry{{"--flag \"x\"", "what\nit does"}},
	}}}
	const want = `.TH "TOOL\-DO" 1 "2026\-11\-21" "v1" "tool"
.nh
.ad l
.SH NAME
tool\-do \- does it
.SH "DESCRIPTION"
First line
second \- line.
.PP
\&.hidden 'quoted' back\eslash
.PP
.nf
kept   as it is

too
.fi
.PP
after
.TP
\fB\-\-flag "x"\fR
what it does
`
	if got := string(d.Roff(Edition{Program: "tool", Version: "v1", Date: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if d.File() != "tool-do.1" {
		t.Errorf("the file is %q", d.File())
	}
	if text := string(d.Roff(Edition{})); !strings.HasPrefix(text, `.TH "TOOL\-DO" 1 "" "" ""`) {
		t.Errorf("without an edition it begins %.40q", text)
	}
}
