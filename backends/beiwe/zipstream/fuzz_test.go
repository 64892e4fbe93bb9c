package zipstream

import (
	"archive/zip"
	"bytes"
	"io"
	"strings"
	"testing"
)

// Whatever bytes come: no crash, errors of a known kind, and members that a reader of whole zips confirms if there is no error.
func FuzzReader(f *testing.F) {
	for _, packed := range []bool{false, true} {
		parts, _ := sample(f, packed)
		whole := zipOf(parts...)
		f.Add(whole, packed)
		f.Add(whole[:len(whole)/2], packed)
		wide := parts[0]
		wide.wide = true
		members, table := halves(wide)
		f.Add(append(append(append(members, table...), end64Of(1, len(table), len(members))...), endOf(0xffff, len(table), len(members))...), packed)
	}
	f.Add(zipOf(), false)
	f.Add(zipOf(part{name: "a.zst", stored: blank(600, false)}), true)
	f.Add([]byte("<html>"), false)
	f.Fuzz(func(t *testing.T, in []byte, packed bool) {
		o := Options{Zstd: packed, MaxMember: 1 << 20}
		all, err := drain(bytes.NewReader(in), o)
		if !known(err) {
			t.Fatalf("error %v of no kind", err)
		}
		for _, m := range all {
			if m.Size >= 0 && m.Size != int64(len(m.plain)) || strings.HasPrefix(m.Name, "/") || strings.Contains("/"+m.Name+"/", "/../") {
				t.Fatalf("%+v of %d bytes", m.Member, len(m.plain))
			}
		}
		whole, zerr := zip.NewReader(bytes.NewReader(in), int64(len(in)))
		if err != nil || zerr != nil {
			return
		}
		confirm(t, whole, all)
	})
}

// confirm compares those members that both readers know by the same name.
func confirm(t *testing.T, whole *zip.Reader, all []got) {
	t.Helper()
	for _, m := range all {
		for _, other := range whole.File {
			if other.Name != m.Name || m.Zstd || other.Method != zip.Store {
				continue
			}
			r, err := other.Open()
			if err != nil {
				continue
			}
			b, err := io.ReadAll(io.LimitReader(r, 2<<20))
			if err == nil && !bytes.Equal(b, m.plain) && len(whole.File) == len(all) {
				t.Fatalf("%q: %q; want %q", m.Name, m.plain, b)
			}
		}
	}
}
