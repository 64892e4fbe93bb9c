package zipstream

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// versions runs a test for both versions of the route.
func versions(t *testing.T, test func(t *testing.T, o Options, parts []part, plain [][]byte)) {
	t.Helper()
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprintf("zstd=%v", packed), func(t *testing.T) {
			parts, plain := sample(t, packed)
			test(t, Options{Zstd: packed}, parts, plain)
		})
	}
}

// Somebody lists a folder: all files of the answer are there, whatever pieces the network cuts it into.
func TestWholeZip(t *testing.T) {
	versions(t, func(t *testing.T, o Options, parts []part, plain [][]byte) {
		in := zipOf(parts...)
		for how, cut := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "one byte": iotest.OneByteReader, "half": iotest.HalfReader, "data with error": iotest.DataErrReader,
		} {
			all, err := drain(cut(bytes.NewReader(in)), o)
			if err != nil || len(all) != len(parts) {
				t.Fatalf("%s: %d members, %v", how, len(all), err)
			}
			for i, m := range all {
				zipped := o.Zstd && parts[i].name != "registry"
				want := Member{Name: strings.TrimSuffix(parts[i].name, ".zst"), Size: int64(len(plain[i])), Stored: int64(len(parts[i].stored)), Zstd: zipped}
				if m.Member != want || !bytes.Equal(m.plain, plain[i]) {
					t.Errorf("%s: member %+v of %q; want %+v of %q", how, m.Member, m.plain, want, plain[i])
				}
			}
		}
	})
}

// A participant without data is no error: servers then send an empty zip, or one of a registry without entries.
func TestNothingInZip(t *testing.T) {
	for size, parts := range map[int][]part{22: nil, 116: {{name: "registry", stored: []byte("{}")}}} {
		in := zipOf(parts...)
		if len(in) != size {
			t.Errorf("%d bytes; servers send %d", len(in), size)
		}
		if all, err := drain(bytes.NewReader(in), Options{}); err != nil || len(all) != len(parts) {
			t.Errorf("%d bytes: %d members, %v", size, len(all), err)
		}
	}
}

// The connection breaks, wherever: the files before are good, and nobody takes the answer for a whole one.
func TestBrokenOffAnywhere(t *testing.T) {
	versions(t, func(t *testing.T, o Options, parts []part, plain [][]byte) {
		in := zipOf(parts...)
		var ends []int // where each member has come whole
		for i := range parts {
			members, _ := halves(parts[:i+1]...)
			ends = append(ends, len(members))
		}
		for cut := range in {
			whole := 0
			for whole < len(ends) && ends[whole] <= cut {
				whole++
			}
			for how, r := range map[string]io.Reader{"": bytes.NewReader(in[:cut]), " with data": iotest.DataErrReader(bytes.NewReader(in[:cut]))} {
				all, err := drain(r, o)
				if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrChecksum) {
					t.Fatalf("cut at %d%s: error %v", cut, how, err)
				}
				if len(all) != whole {
					t.Fatalf("cut at %d%s: %d members; %d had come", cut, how, len(all), whole)
				}
				for i, m := range all {
					if !bytes.Equal(m.plain, plain[i]) {
						t.Fatalf("cut at %d%s: member %d is %q", cut, how, i, m.plain)
					}
				}
			}
		}
	})
}

// A broken connection's own error reaches the caller, who tells by it whether to try again.
func TestErrorOfInput(t *testing.T) {
	reset := errors.New("connection reset by peer")
	versions(t, func(t *testing.T, o Options, parts []part, _ [][]byte) {
		in := zipOf(parts...)
		for cut := range in {
			_, err := drain(io.MultiReader(bytes.NewReader(in[:cut]), iotest.ErrReader(reset)), o)
			if !errors.Is(err, reset) || errors.Is(err, ErrChecksum) {
				t.Fatalf("cut at %d: error %v", cut, err)
			}
		}
	})
}

// A bit falls over, wherever: what is given as a whole file is that file, or it stands under another name.
func TestFlippedBitAnywhere(t *testing.T) {
	versions(t, func(t *testing.T, o Options, parts []part, plain [][]byte) {
		whole := zipOf(parts...)
		in := bytes.Clone(whole)
		for bit := range len(in) * 8 {
			in[bit/8] ^= 1 << (bit % 8)
			all, err := drain(bytes.NewReader(in), o)
			if err == nil && len(all) != len(parts) {
				t.Fatalf("bit %d: %d members without an error", bit, len(all))
			}
			for i, m := range all {
				same := m.Name == strings.TrimSuffix(parts[i].name, ".zst") && m.Zstd == (o.Zstd && i < 2)
				if same && !bytes.Equal(m.plain, plain[i]) || !same && !bytes.Equal(m.plain, plain[i]) && !bytes.Equal(m.plain, parts[i].stored) {
					t.Fatalf("bit %d: %q holds %q", bit, m.Name, m.plain)
				}
			}
			if !known(err) {
				t.Fatalf("bit %d: error %v of no kind", bit, err)
			}
			in[bit/8] ^= 1 << (bit % 8)
		}
	})
}

// known reports whether callers can tell what an error is about.
func known(err error) bool {
	return err == nil || slices.ContainsFunc([]error{ErrFormat, ErrUnsupported, ErrChecksum, ErrBomb, ErrName, io.ErrUnexpectedEOF},
		func(kind error) bool { return errors.Is(err, kind) })
}

// A proxy answers with its own page: that is said at once, before a file is made of it.
func TestNoZip(t *testing.T) {
	for _, body := range []string{"<html>log in</html>", "{}", "P", "no", "PK\x03", "Px\x03\x04....", "\x1f\x8b\x08\x00", "PK\x07\x08then more"} {
		want := ErrFormat
		if strings.HasPrefix("PK\x03\x04", body) {
			want = io.ErrUnexpectedEOF
		}
		if _, err := drain(strings.NewReader(body), Options{}); !errors.Is(err, want) {
			t.Errorf("%q: error %v; want %v", body, err, want)
		}
	}
	if _, err := drain(strings.NewReader(""), Options{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nothing: error %v", err)
	}
}

// What these servers never send is refused, by what it is.
func TestRefused(t *testing.T) {
	text := []byte("text")
	for what, row := range map[string]struct {
		part part
		want error
	}{
		"deflated":             {part{name: "a", stored: text, method: 8}, ErrUnsupported},
		"encrypted":            {part{name: "a", stored: text, flags: 1}, ErrUnsupported},
		"size behind":          {part{name: "a", stored: text, flags: 8}, ErrUnsupported},
		"wrong crc":            {part{name: "a", stored: text, sum: 1}, ErrChecksum},
		"wrong crc of nothing": {part{name: "a", sum: 1}, ErrChecksum},
		"no frame":             {part{name: "a.zst", stored: text}, ErrChecksum},
		"half a frame":         {part{name: "a.zst", stored: frameOf(t, text)[:8]}, ErrChecksum},
		"garbage after":        {part{name: "a.zst", stored: append(frameOf(t, text), "garbage"...)}, ErrChecksum},
		"a byte after":         {part{name: "a.zst", stored: append(frameOf(t, text), 0)}, ErrChecksum},
		"two frames":           {part{name: "a.zst", stored: append(frameOf(t, text), frameOf(t, text)...)}, ErrChecksum},
	} {
		_, err := drain(bytes.NewReader(zipOf(row.part)), Options{Zstd: true})
		if !errors.Is(err, row.want) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error %v; want %v", what, err, row.want)
		}
		z := NewReader(bytes.NewReader(zipOf(row.part)), Options{Zstd: true})
		if errors.Is(row.want, ErrChecksum) && row.part.sum != 0 { // passing over a member checks it as well
			if _, err := z.Next(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			for range 2 {
				if _, err := z.Next(); !errors.Is(err, row.want) {
					t.Errorf("%s: error %v after passing over; want %v", what, err, row.want)
				}
			}
		}
	}
}

// A server that has been broken into cannot write outside of the folder, nor make names that no listing can show. The members around are read.
func TestBadNames(t *testing.T) {
	for _, name := range []string{
		"", "/", "/etc/passwd", "../up", "a/../b", "a/..", "..", ".", "./a", "a/./b", "a//b", "a/", `a\b`, `..\a`, "a\x00b", "a\nb", "a\x1b[2J", "a\x7f", "a\u0085b",
		"a\xffb", strings.Repeat("x", 256), "a/" + strings.Repeat("é", 128), strings.Repeat("d/", 2500) + "a", strings.Repeat("y", 5000), "first",
	} {
		for _, zip := range []bool{false, true} {
			bad := part{name: name, stored: []byte("evil")}
			if zip {
				bad = part{name: name + ".zst", stored: frameOf(t, []byte("evil"))}
			}
			z := NewReader(bytes.NewReader(zipOf(part{name: "first", stored: []byte("1")}, bad, part{name: "last", stored: []byte("2")})), Options{Zstd: zip})
			if m, err := z.Next(); err != nil || m.Name != "first" {
				t.Fatal(m, err)
			}
			if m, err := z.Next(); !errors.Is(err, ErrName) || m != (Member{}) {
				t.Errorf("%.20q: %+v, error %v", name, m, err)
			} else if strings.Contains(err.Error(), "twice") != (name == "first") {
				t.Errorf("%.20q: error %v", name, err)
			}
			if b, err := io.ReadAll(z); len(b) > 0 || !errors.Is(err, ErrName) {
				t.Errorf("%.20q: its bytes are given: %q, %v", name, b, err)
			}
			if m, err := z.Next(); err != nil || m.Name != "last" {
				t.Errorf("%.20q: then %+v, %v", name, m, err)
			}
			if b, err := io.ReadAll(z); string(b) != "2" || err != nil {
				t.Errorf("%.20q: then %q, %v", name, b, err)
			}
			if _, err := z.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%.20q: then %v", name, err)
			}
			z.Close()
		}
	}
}

// Without version 2, a file that somebody named so is what it is.
func TestZstIsAName(t *testing.T) {
	for _, name := range []string{"a.zst", ".zst", "a/.zst"} {
		all, err := drain(bytes.NewReader(zipOf(part{name: name, stored: []byte("text")})), Options{})
		if err != nil || len(all) != 1 || all[0].Name != name || string(all[0].plain) != "text" {
			t.Errorf("%q: %+v, %v", name, all, err)
		}
	}
}

// Callers that look at the head of files only, or at none, get the right ones.
func TestPassedOver(t *testing.T) {
	versions(t, func(t *testing.T, o Options, parts []part, plain [][]byte) {
		for n := range 60 {
			z := NewReader(bytes.NewReader(zipOf(parts...)), o)
			for i := range parts {
				if _, err := z.Next(); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, n)
				if _, err := io.ReadFull(z, b); err != nil || !bytes.Equal(b, plain[i][:n]) {
					t.Fatalf("%d bytes: %q, %v", n, b, err)
				}
			}
			for range 2 {
				if _, err := z.Next(); !errors.Is(err, io.EOF) {
					t.Errorf("at the end: %v", err)
				}
			}
			z.Close()
		}
	})
}

// A Reader that was closed says so, instead of crashing the process.
func TestReadAfterClose(t *testing.T) {
	versions(t, func(t *testing.T, o Options, parts []part, _ [][]byte) {
		z := NewReader(bytes.NewReader(zipOf(parts...)), o)
		if _, err := z.Next(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(z.Close(), z.Close()); err != nil {
			t.Error(err)
		}
		if _, err := z.Read(make([]byte, 8)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read: %v", err)
		}
		if _, err := z.Next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Next: %v", err)
		}
	})
}

// Recordings of more than 2 GiB tell their size elsewhere.
func TestSizesOf64Bits(t *testing.T) {
	text := []byte("text")
	other := put(nil, uint16(0x5455), uint16(1), uint8(0))
	for what, p := range map[string]part{
		"alone": {name: "a", stored: text, wide: true}, "after another": {name: "a", stored: text, wide: true, extra: other}, "not needed": {name: "a", stored: text, extra: other},
	} {
		all, err := drain(bytes.NewReader(zipOf(p)), Options{})
		if err != nil || len(all) != 1 || all[0].Size != 4 || string(all[0].plain) != "text" {
			t.Errorf("%s: %+v, %v", what, all, err)
		}
	}
	for what, row := range map[string]struct {
		extra []byte
		want  error
	}{
		"one of two": {put(nil, uint16(1), uint16(8), uint64(4)), ErrFormat},
		"differ":     {put(nil, uint16(1), uint16(16), uint64(4), uint64(5)), ErrFormat},
		"negative":   {put(nil, uint16(1), uint16(16), uint64(1<<63), uint64(1<<63)), ErrFormat},
		"too large":  {put(nil, uint16(1), uint16(16), uint64(1<<40), uint64(1<<40)), ErrBomb},
		"cut":        {put(nil, uint16(1), uint16(16), uint64(4)), ErrFormat},
	} {
		head := localOf(part{name: "a", extra: row.extra}, 1<<32-1)
		if _, err := NewReader(bytes.NewReader(head), Options{}).Next(); !errors.Is(err, row.want) {
			t.Errorf("%s: error %v; want %v", what, err, row.want)
		}
	}
	five := append(localOf(part{name: "a", wide: true}, 5<<30), "the beginning"...) // its size is told before its bytes
	if m, err := NewReader(bytes.NewReader(five), Options{}).Next(); err != nil || m.Size != 5<<30 || m.Stored != 5<<30 {
		t.Errorf("5 GiB: %+v, %v", m, err)
	}
}

// A study's whole history comes in one answer: more files than a zip could once hold.
func TestManyMembers(t *testing.T) {
	const n = 66_000
	var parts []part
	for i := range n {
		parts = append(parts, part{name: fmt.Sprintf("abcd1234/gps/%06d.csv", i), stored: []byte{byte(i), byte(i >> 8)}})
	}
	members, table := halves(parts...)
	size, at := len(table), len(members)
	for what, row := range map[string]struct {
		end  []byte
		want error
	}{
		"with its count of 64 bits": {append(end64Of(n, size, at), endOf(0xffff, size, at)...), nil},
		"without":                   {endOf(0xffff, size, at), nil},
		"another count":             {append(end64Of(n-1, size, at), endOf(0xffff, size, at)...), ErrFormat},
		"another small count":       {endOf(0xfffe, size, at), ErrFormat},
		"count cut to 16 bits":      {endOf(n&0xffff, size, at), ErrFormat},
	} {
		z := NewReader(bytes.NewReader(slices.Concat(members, table, row.end)), Options{})
		err := error(nil)
		came := 0
		for ; err == nil; came++ {
			_, err = z.Next()
		}
		if row.want == nil {
			row.want = io.EOF
		}
		if came != n+1 || !errors.Is(err, row.want) {
			t.Errorf("%s: %d members, %v; want %v", what, came-1, err, row.want)
		}
	}
	_, err := drain(bytes.NewReader(members), Options{MaxMembers: 100})
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("more than allowed: %v", err)
	}
}

// A table that never ends, or tells of other members, is no end of a zip.
func TestBadTable(t *testing.T) {
	a, b := part{name: "a", stored: []byte("1")}, part{name: "b", stored: []byte("2")}
	members, table := halves(a)
	_, both := halves(a, b)
	size, at := len(table), len(members)
	whole := end64Of(1, size, at)
	end64, locator := whole[:56], whole[56:]
	end := endOf(1, size, at)
	large := bytes.Clone(end64)
	put(large[:4], uint64(1<<40))
	for what, tail := range map[string][]byte{
		"count":            slices.Concat(table, endOf(2, size, at)),
		"one too many":     slices.Concat(both, end),
		"none":             end,
		"damaged":          slices.Concat(table, []byte("PK\x05\x07"), end),
		"a member after":   slices.Concat(table, members, end),
		"after its end":    slices.Concat(end64, locator, table, end),
		"large end":        slices.Concat(table, large, end),
		"end record twice": slices.Concat(table, end64, end64, locator, end),
		"locator twice":    slices.Concat(table, end64, locator, locator, end),
		"locator alone":    slices.Concat(table, locator, end),
	} {
		all, err := drain(bytes.NewReader(slices.Concat(members, tail)), Options{})
		if len(all) != 1 || !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %d members, %v", what, len(all), err)
		}
	}
	if _, err := drain(bytes.NewReader(slices.Concat(members, table, whole, end)), Options{}); err != nil {
		t.Error(err)
	}
}

// Listing a month of accelerometer data must not keep the garbage collector busy.
func TestAllocationsPerMember(t *testing.T) {
	const n = 1000
	for _, packed := range []bool{false, true} {
		var parts []part
		text := []byte("timestamp,UTC time\n")
		frame := frameOf(t, text)
		for i := range n {
			p := part{name: fmt.Sprintf("abcd1234/gps/%06d.csv", i), stored: text}
			if packed {
				p.name, p.stored = p.name+".zst", frame
			}
			parts = append(parts, p)
		}
		in, buffer := zipOf(parts...), make([]byte, 4096)
		each := testing.AllocsPerRun(5, func() {
			z := NewReader(bytes.NewReader(in), Options{Zstd: packed})
			defer z.Close()
			for i := 0; ; i++ {
				if _, err := z.Next(); errors.Is(err, io.EOF) && i == n {
					return
				} else if err != nil {
					t.Fatal(err)
				}
				for err := error(nil); err == nil; {
					_, err = z.Read(buffer)
				}
			}
		}) / n
		if each > 2 {
			t.Errorf("zstd=%v: %.1f allocations per member", packed, each)
		}
	}
}

// allocated is how many bytes a function takes, whether or not it gives them back.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A recording of any length passes through: a laptop's memory does not grow with it.
func TestLargeMemberTakesNoMemory(t *testing.T) {
	const blocks = 256 // of 1 MiB
	block, sum := make([]byte, 1<<20), crc32.NewIEEE()
	rand.NewChaCha8([32]byte{1}).Read(block)
	var all []io.Reader
	for range blocks {
		all = append(all, bytes.NewReader(block))
		sum.Write(block)
	}
	p := part{name: "abcd1234/audio_recordings/a.mp4", sum: sum.Sum32()} // of nothing it is 0
	table := centralOf(p, blocks<<20, 0)
	all = slices.Insert(all, 0, io.Reader(bytes.NewReader(localOf(p, blocks<<20))))
	in := io.MultiReader(append(all, bytes.NewReader(append(table, endOf(1, len(table), 0)...)))...)
	buffer := make([]byte, 128<<10)
	took := allocated(func() {
		z := NewReader(in, Options{})
		if m, err := z.Next(); err != nil || m.Size != blocks<<20 {
			t.Fatal(m, err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, z, buffer); n != blocks<<20 || err != nil {
			t.Fatal(n, err)
		}
		if _, err := z.Next(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
	if took > 1<<20 {
		t.Errorf("%d bytes of memory", took)
	}
}
