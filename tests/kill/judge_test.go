package kill

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A judge that finds nothing wrong would make all of this worthless: each row is a crime or an innocent, by the record and the bucket.
func TestJudge(t *testing.T) {
	written := []line{{Op: opened, Name: "f", Version: 1}, {Op: closing, Name: "f", Version: 1, Sum: "1"}, {Op: closed, Name: "f", Version: 1, Sum: "1"}}
	over := func(version int, sum string, ops ...string) (lines []line) {
		name := "tmp" + sum
		lines = []line{{Op: opened, Name: name, Version: version}}
		for _, op := range ops {
			l := line{Op: op, Name: name, Version: version, Sum: sum}
			if op == renaming || op == renamed {
				l.To = "over"
			}
			lines = append(lines, l)
		}
		return lines
	}
	twice := append(over(1, "1", closing, closed, renaming, renamed), over(2, "2", closing, closed, renaming, renamed)...)
	half := append(over(1, "1", closing, closed, renaming, renamed), over(2, "2", closing, closed, renaming)...)
	for _, row := range []struct {
		what   string
		lines  []line
		bucket map[string]string
		want   string // the count that is 1; "" for none
	}{
		{"all is well", written, map[string]string{"f": "1"}, ""},
		{"a closed file is missing", written, nil, "lost"},
		{"a closed file has other bytes", written, map[string]string{"f": "x"}, "torn"},
		{"close did not return", written[:2], nil, ""},
		{"close did not return, all the same kept", written[:2], map[string]string{"f": "1"}, ""},
		{"close did not return, half of it kept", written[:2], map[string]string{"f": "x"}, "torn"},
		{"an open file is stored", written[:1], map[string]string{"f": "1"}, "never closed"},
		{"a file that nobody wrote", written, map[string]string{"f": "1", "g": "1"}, "never closed"},
		{"renamed over", twice, map[string]string{"over": "2"}, ""},
		{"the older one is back", twice, map[string]string{"over": "1"}, "lost"},
		{"the name is gone", twice, nil, "lost"},
		{"a mix of both", twice, map[string]string{"over": "12"}, "torn"},
		{"both names", twice, map[string]string{"over": "2", "tmp2": "2"}, "both"},
		{"killed in rename, not renamed", half, map[string]string{"over": "1", "tmp2": "2"}, ""},
		{"killed in rename, renamed", half, map[string]string{"over": "2"}, ""},
		{"killed in rename, the new one is lost", half, map[string]string{"over": "1"}, "lost"},
		{"killed in rename, the old one is lost", half, map[string]string{"tmp2": "2"}, "lost"},
		{"closed and not yet renamed", over(1, "1", closing, closed), nil, "lost"},
	} {
		path := filepath.Join(t.TempDir(), "record")
		var text strings.Builder
		for _, l := range row.lines {
			if err := json.NewEncoder(&text).Encode(l); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := ReadRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		v := r.Judge(row.bucket)
		for what, names := range map[string][]string{"lost": v.Lost, "torn": v.Torn, "never closed": v.NeverClosed, "both": v.Both} {
			want := 0
			if what == row.want {
				want = 1
			}
			if len(names) != want {
				t.Errorf("%s: %s %v, want %d", row.what, what, names, want)
			}
		}
		if v.Bad() != (row.want != "" && row.want != "both") {
			t.Errorf("%s: bad is %v", row.what, v.Bad())
		}
	}
}
