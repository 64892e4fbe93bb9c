package zipstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
)

// blank is a frame of so many pieces of 128 KiB of one byte, 4 bytes each, that tells its size only if asked to.
func blank(pieces int, tell bool) []byte {
	b := put(nil, uint32(0xfd2fb528))
	if tell {
		b = put(b, uint8(0xc0), uint8(10<<3), uint64(pieces)<<17) // a window of 1 MiB, a size of 8 bytes
	} else {
		b = put(b, uint8(0), uint8(10<<3))
	}
	for i := range pieces {
		kind := uint32(128<<10)<<3 | 1<<1 // one byte, so many times
		if i == pieces-1 {
			kind |= 1
		}
		b = append(b, byte(kind), byte(kind>>8), byte(kind>>16), ' ')
	}
	return b
}

// A frame of some kilobytes that would fill the disk is stopped on its way, or before if it tells.
func TestBomb(t *testing.T) {
	const size = 20_000 << 17 // 2.5 GiB, of 80 kB
	for what, row := range map[string]struct {
		frame []byte
		o     Options
		most  int
	}{
		"ratio":           {blank(20_000, false), Options{}, 20_000 * 4 * 2000 * 2},
		"ratio, told":     {blank(20_000, true), Options{}, 0},
		"tighter":         {blank(20_000, false), Options{MaxRatio: 10}, 64<<20 + 1},
		"size":            {blank(1000, false), Options{MaxMember: 1 << 20}, 1<<20 + 1},
		"size, told":      {blank(1000, true), Options{MaxMember: 1 << 20}, 0},
		"plain size":      {make([]byte, 2<<20), Options{MaxMember: 1 << 20}, 0},
		"window of 1 TiB": {put(nil, uint32(0xfd2fb528), uint8(0), uint8(30<<3), uint8(3), uint16(0)), Options{}, 0},
	} {
		row.o.Zstd = true
		z := NewReader(bytes.NewReader(zipOf(part{name: "a.zst", stored: row.frame})), row.o)
		_, err := z.Next()
		n := int64(0)
		if err == nil {
			n, err = io.Copy(io.Discard, z)
		}
		if !errors.Is(err, ErrBomb) || n > int64(row.most) {
			t.Errorf("%s: %d bytes of %d came, error %v", what, n, size, err)
		}
		if _, err := z.Next(); !errors.Is(err, ErrBomb) {
			t.Errorf("%s: then %v", what, err)
		}
		z.Close()
	}
}

// Hours in which a phone lay still pack well; they are no bombs.
func TestWellPackedIsNoBomb(t *testing.T) {
	for _, tell := range []bool{false, true} {
		z := NewReader(bytes.NewReader(zipOf(part{name: "a.zst", stored: blank(512, tell)})), Options{Zstd: true})
		m, err := z.Next()
		if want := map[bool]int64{false: -1, true: 64 << 20}[tell]; err != nil || m.Size != want {
			t.Errorf("%+v, %v", m, err)
		}
		if n, err := io.Copy(io.Discard, z); n != 64<<20 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		z.Close()
	}
}

// Passing over a bomb costs nothing but its bytes.
func TestBombPassedOver(t *testing.T) {
	in := zipOf(part{name: "a.zst", stored: blank(20_000, false)}, part{name: "b", stored: []byte("text")})
	z := NewReader(bytes.NewReader(in), Options{Zstd: true})
	defer z.Close()
	for _, want := range []string{"a", "b"} {
		if m, err := z.Next(); err != nil || m.Name != want {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	if b, err := io.ReadAll(z); string(b) != "text" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// Servers may pack while they send, and then cannot tell a size; sizes that are told are right or there is an error.
func TestFrameSizes(t *testing.T) {
	plain := bytes.Repeat([]byte("1601863200000,2020-10-05T02:00:00.000,unknown\n"), 5000)
	for _, text := range [][]byte{nil, []byte("x"), plain} {
		for size, frame := range map[int64][]byte{int64(len(text)): frameOf(t, text), -1: sizeless(t, append(bytes.Clone(plain), text...))} {
			want := text
			if size < 0 {
				want = append(bytes.Clone(plain), text...)
			}
			all, err := drain(bytes.NewReader(zipOf(part{name: "a.zst", stored: frame})), Options{Zstd: true})
			if err != nil || len(all) != 1 || all[0].Size != size && all[0].Size != int64(len(want)) || !bytes.Equal(all[0].plain, want) {
				t.Errorf("size %d: %d members, %v", size, len(all), err)
			}
			if size < 0 && err == nil && all[0].Size != -1 {
				t.Errorf("a frame that tells no size: %d", all[0].Size)
			}
		}
	}
	// Some packers make no frame of nothing.
	if all, err := drain(bytes.NewReader(zipOf(part{name: "a.zst"})), Options{Zstd: true}); err != nil || len(all) != 1 || len(all[0].plain) != 0 {
		t.Errorf("nothing: %+v, %v", all, err)
	}
	lie := blank(2, true)
	lie[6]++ // one byte more than there is
	if _, err := drain(bytes.NewReader(zipOf(part{name: "a.zst", stored: lie})), Options{Zstd: true}); !errors.Is(err, ErrChecksum) {
		t.Errorf("a wrong size: %v", err)
	}
}

// A frame that the server stored damaged, with a checksum of the damage, is an error of that file and not one of the connection.
func TestDamagedBeforeItWasStored(t *testing.T) {
	var text []byte
	for i := range 150 {
		text = fmt.Appendf(text, "%d,2020-10-05T02:00:%02d.000,%d\n", 1601863200000+i*7919, i%60, i*i)
	}
	whole := frameOf(t, text)
	for cut := 1; cut < len(whole); cut++ {
		_, err := drain(bytes.NewReader(zipOf(part{name: "a.zst", stored: whole[:cut]})), Options{Zstd: true})
		if !errors.Is(err, ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes of the frame: %v", cut, err)
		}
	}
	damaged := bytes.Clone(whole)
	for i := range damaged {
		damaged[i] ^= 0x55
		if _, err := drain(bytes.NewReader(zipOf(part{name: "a.zst", stored: damaged})), Options{Zstd: true}); !known(err) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("byte %d: %v", i, err)
		}
		damaged[i] ^= 0x55
	}
}

// A packed member of any length takes the memory of one window.
func TestLargeFrameTakesNoMemory(t *testing.T) {
	frame := blank(2048, true) // 256 MiB
	p := part{name: "a.zst", stored: frame}
	in, buffer := zipOf(p), make([]byte, 128<<10)
	took := allocated(func() {
		z := NewReader(bytes.NewReader(in), Options{Zstd: true, MaxRatio: 1 << 20})
		defer z.Close()
		if _, err := z.Next(); err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, z, buffer); n != 256<<20 || err != nil {
			t.Fatal(n, err)
		}
	})
	if took > 4<<20 {
		t.Errorf("%d bytes of memory", took)
	}
}
