package zipstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// entries reads a registry to its end.
func entries(r io.Reader) (all []Pair, err error) {
	for p, err := range Registry(r) {
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// The i-th entry tells the server's own path of the i-th file: order and repetitions stay.
func TestRegistryOrder(t *testing.T) {
	for text, want := range map[string][]Pair{
		`{}`:                   nil,
		" {\n} \n":             nil,
		`{"b": "1", "a": "2"}`: {{"b", "1"}, {"a", "2"}},
		`{"x": null, "x": "1B2M2Y8AsgTpgAmY7PhCfg==\n", "\u00e9": ""}`: {{"x", ""}, {"x", "1B2M2Y8AsgTpgAmY7PhCfg==\n"}, {"é", ""}},
		`{"` + strings.Repeat("x", 4096) + `": ""}`:                    {{strings.Repeat("x", 4096), ""}},
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			if got, err := entries(r); err != nil || !slices.Equal(got, want) {
				t.Errorf("%.40q: %v, %v", text, got, err)
			}
		}
	}
}

// What is no registry gives no names.
func TestRegistryRefused(t *testing.T) {
	for _, text := range []string{
		`[]`, `null`, `"x"`, `1`, `x`, `{"a": {}}`, `{"a": []}`, `{"a": 1}`, `{"a": true}`, `{"a": {"b": "c"}}`, `{"a"}`, `{"a":}`, `{a: "b"}`, `{1: "b"}`, `{"a": "b" "c": "d"}`,
		`{} x`, `{}{}`, `{"a": "b"}]`, `{"a": "` + strings.Repeat("x", 5000) + `"}`, `{"` + strings.Repeat("x", 4097) + `": ""}`,
	} {
		if got, err := entries(strings.NewReader(text)); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%.40q: %v, %v", text, got, err)
		}
	}
}

// The connection breaks within the registry, or the disk behind it: no error is taken for its end.
func TestRegistryBrokenOff(t *testing.T) {
	text := `{"a/b": "xyz", "c": null}`
	reset := errors.New("connection reset by peer")
	for cut := range text {
		if _, err := entries(strings.NewReader(text[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			t.Errorf("%q: %v", text[:cut], err)
		}
		if _, err := entries(io.MultiReader(strings.NewReader(text[:cut]), iotest.ErrReader(reset))); !errors.Is(err, reset) {
			t.Errorf("%q and an error: %v", text[:cut], err)
		}
	}
	if _, err := entries(io.MultiReader(strings.NewReader(text), iotest.ErrReader(reset))); !errors.Is(err, reset) {
		t.Errorf("an error at its end: %v", err)
	}
}

// A registry whose member is damaged ends in that error, though each entry could be read.
func TestRegistryDamaged(t *testing.T) {
	z := NewReader(bytes.NewReader(zipOf(part{name: "registry", stored: []byte(`{"a": "b"}`), sum: 1})), Options{})
	if _, err := z.Next(); err != nil {
		t.Fatal(err)
	}
	if got, err := entries(z); !errors.Is(err, ErrChecksum) || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// endless is the beginning of a text, and then more of the same.
func endless(begin string, more byte) (io.Reader, *int) {
	n := new(int)
	return io.MultiReader(strings.NewReader(begin), readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = more
		}
		*n += len(p)
		return len(p), nil
	})), n
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A server that sends one name without end is stopped before memory is.
func TestRegistryWithoutEnd(t *testing.T) {
	for _, begin := range []string{`{"`, `{"a": "`, `{"a": "b", "`, `{"a": 1`, `{`, ``, `{}`} {
		more := byte('7')
		if !strings.ContainsAny(begin, `"`) {
			more = ' '
		}
		r, n := endless(begin, more)
		if got, err := entries(io.LimitReader(r, 64<<20)); err == nil || *n > 1<<20 {
			t.Errorf("%q and more: %d bytes read, %v, %v", begin, *n, got, err)
		}
	}
}

// The registry of a study's whole history is read with the memory of one entry.
func TestRegistryTakesNoMemory(t *testing.T) {
	const n = 50_000
	i := -1
	var rest []byte
	r := readerFunc(func(p []byte) (int, error) {
		for len(rest) == 0 {
			switch i++; {
			case i == 0:
				rest = []byte(`{"first": ""`)
			case i < n:
				rest = fmt.Appendf(rest, `, "CHUNKED_DATA/5f0000000000000000000000/abcd1234/gps/%08d.csv": "1B2M2Y8AsgTpgAmY7PhCfg=="`, i)
			case i == n:
				rest = []byte(`}`)
			default:
				return 0, io.EOF
			}
		}
		c := copy(p, rest)
		rest = rest[c:]
		return c, nil
	})
	came, most := 0, 0
	for p, err := range Registry(r) {
		if err != nil {
			t.Fatal(err)
		}
		came, most = came+1, max(most, i-came)
		if p.ChunkPath == "" {
			t.Fatal("an entry without path")
		}
	}
	if came != n || most > 1000 {
		t.Errorf("%d entries came, %d were read ahead", came, most)
	}
}

// Loops that have seen enough may stop.
func TestRegistryStopped(t *testing.T) {
	for p, err := range Registry(strings.NewReader(`{"a": "1", "b": broken`)) {
		if p != (Pair{"a", "1"}) || err != nil {
			t.Errorf("%v, %v", p, err)
		}
		break
	}
}

// agrees compares with a parser that holds everything.
func agrees(t *testing.T, text []byte, got []Pair) {
	t.Helper()
	var whole map[string]*string
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatalf("%q was read, but is no registry: %v", text, err)
	}
	last := map[string]string{}
	for _, p := range got {
		last[p.ChunkPath] = p.Hash
	}
	for key, value := range whole {
		want := ""
		if value != nil {
			want = *value
		}
		if hash, ok := last[key]; !ok || hash != want {
			t.Fatalf("%q: %q is %q; want %q", text, key, hash, want)
		}
	}
	if len(last) != len(whole) {
		t.Fatalf("%q: %d entries; want %d", text, len(last), len(whole))
	}
}

func FuzzRegistry(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a": "b"}`, `{"a": null, "a": "c"}`, `{"a": {"b": 1}}`, `{"\u0000": ""}`, `[1]`, `{"a": "b",}`, `{"a": "b"}{`, "{\"\xff\": \"\"}", `{"a": "b", "c": "1B2M2Y8AsgTpgAmY7PhCfg==\n"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := entries(bytes.NewReader(text))
		if errors.Is(err, io.EOF) {
			t.Fatalf("%q: %v", text, err)
		}
		if err == nil {
			agrees(t, text, got)
		}
	})
}
