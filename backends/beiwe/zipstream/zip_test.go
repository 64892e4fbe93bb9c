package zipstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// part is one member, byte for byte as a server writes it unless a field says otherwise.
type part struct {
	name          string
	stored        []byte
	flags, method uint16
	sum           uint32 // added to the right CRC-32
	extra         []byte
	wide          bool // sizes of 64 bits, in an extra field
}

func crcOf(p part) uint32 { return crc32.ChecksumIEEE(p.stored) + p.sum }

// put appends numbers little endian.
func put(to []byte, numbers ...any) []byte {
	for _, n := range numbers {
		to, _ = binary.Append(to, binary.LittleEndian, n)
	}
	return to
}

// localOf is a local header of a member of that many bytes, and its name and extra field.
func localOf(p part, size uint64) []byte {
	short, extra := uint32(min(size, 1<<32-1)), p.extra
	if p.wide {
		short = 1<<32 - 1
		extra = append(slices.Clone(extra), put(nil, uint16(1), uint16(16), size, size)...)
	}
	b := put(nil, uint32(sigLocal), uint16(20), p.flags, p.method, uint16(0x21), uint16(0x5921), crcOf(p), short, short)
	b = put(b, uint16(len(p.name)), uint16(len(extra)))
	return append(append(b, p.name...), extra...)
}

func centralOf(p part, size uint64, at int) []byte {
	short := uint32(min(size, 1<<32-1))
	b := put(nil, uint32(sigCentral), uint16(3<<8|20), uint16(20), p.flags, p.method, uint16(0x21), uint16(0x5921), crcOf(p), short, short)
	b = put(b, uint16(len(p.name)), uint16(0), uint16(0), uint16(0), uint16(0), uint32(0x01800000), uint32(at))
	return append(b, p.name...)
}

func endOf(count uint16, size, at int) []byte {
	return put(nil, uint32(sigEnd), uint16(0), uint16(0), count, count, uint32(size), uint32(at), uint16(0))
}

// end64Of is the end record of 64 bits and what tells where it is.
func end64Of(count uint64, size, at int) []byte {
	b := put(nil, uint32(sigEnd64), uint64(44), uint16(45), uint16(45), uint32(0), uint32(0), count, count, uint64(size), uint64(at))
	return put(b, uint32(sigLocate64), uint32(0), uint64(at+size), uint32(1))
}

// halves are the members of a zip and the table behind them, without end record.
func halves(parts ...part) (members, table []byte) {
	for _, p := range parts {
		at := len(members)
		members = append(append(members, localOf(p, uint64(len(p.stored)))...), p.stored...)
		table = append(table, centralOf(p, uint64(len(p.stored)), at)...)
	}
	return members, table
}

func zipOf(parts ...part) []byte {
	members, table := halves(parts...)
	return slices.Concat(members, table, endOf(uint16(len(parts)), len(table), len(members)))
}

// got is one member that was read to its end.
type got struct {
	Member
	plain []byte
}

// drain reads a zip. What it returns ended in io.EOF, each; err is what ended the zip, nil if that was its end.
func drain(in io.Reader, o Options) (all []got, err error) {
	z := NewReader(in, o)
	defer z.Close()
	for {
		m, err := z.Next()
		if errors.Is(err, io.EOF) && err != io.EOF { //nolint:errorlint // a wrapped io.EOF would end loops that it must not
			return all, fmt.Errorf("io.EOF in disguise: %v", err) //nolint:errorlint // so that nothing takes it for one
		}
		if err == io.EOF { //nolint:errorlint // as above
			return all, nil
		}
		if err != nil {
			return all, err
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			return all, err
		}
		all = append(all, got{m, plain})
	}
}

// frameOf packs like a server: one frame, no checksum of its own, its plain size in its head.
func frameOf(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithZeroFrames(true), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(plain, nil)
}

// sizeless packs without telling the plain size.
func sizeless(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(plain[:len(plain)/2])
	if err := errors.Join(w.Flush(), err); err != nil {
		t.Fatal(err)
	}
	w.Write(plain[len(plain)/2:])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample is what a participant's answer looks like: the parts of a zip, and the plain bytes of each. Version 2 packs all but the registry.
func sample(t testing.TB, packed bool) (parts []part, plain [][]byte) {
	t.Helper()
	registry := []byte(`{"CHUNKED_DATA/5f0000000000000000000000/abcd1234/gps/2020-10-05T02:00:00.csv": "1B2M2Y8AsgTpgAmY7PhCfg==", "x": ""}`)
	plain = [][]byte{
		[]byte("timestamp,UTC time,latitude,longitude,altitude,accuracy\n1601863200000,2020-10-05T02:00:00.000,1.5,2.5,3,4\n"),
		bytes.Repeat([]byte("1601863200000,2020-10-05T02:00:00.000,unknown,0.1,0.2,0.3\n"), 3), registry,
	}
	names := []string{"abcd1234/gps/2020-10-05 02_00_00+00_00.csv", "abcd1234/accelerometer/2020-10-05 02_00_00+00_00.csv", "registry"}
	for i, name := range names {
		if packed && name != "registry" {
			parts = append(parts, part{name: name + ".zst", stored: frameOf(t, plain[i])})
		} else {
			parts = append(parts, part{name: name, stored: plain[i]})
		}
	}
	return parts, plain
}
