package cryptease

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// vectors were made by the original.
var vectors = []struct{ name, passphrase, plain, key, file string }{
	{
		"V1", "correct horse battery staple", "SGVsbG8sIEJlaXdlIQo=",
		"967d43674be8622d48738676c3b7cb10bcb04177b1094cec6427edf6ec0e3e04",
		"DAEAAHsiY2lwaGVyIjogeyJmdW5jdGlvbiI6ICJBRVMiLCAicGFyYW1zIjogeyJiaXRzIjogMjU2LCAibW9kZSI6ICJDRkI4In19LCAia2RmIjogeyJmdW5jdGlvbiI6ICJQQktERjJITUFDIiwgInBhcmFtcyI6IHsic2FsdCI6ICJrQ01ZSjZqUk4wdzltMjVYTWtvUWFVcE9GbGN5aDN0SWlqaXd3MnloNzlVPSIsICJsZW5ndGgiOiAzMiwgIml0ZXJhdGlvbnMiOiAxMDAwMDAsICJhbGdvcml0aG0iOiAic2hhMjU2In19LCAiaXYiOiAiZUlMT2JjZXovbGlmd2FEVVdJNTg1QT09In14gs5tx7P+WJ/BoNRYjnzkgB/fUQZ3lUzc8QvTYZk=",
	},
	{
		"V2", "pässwörd-日本",
		"eyJiZWl3ZS5vbm5lbGEiOiB7IlVSTCI6ICJodHRwOi8vMTI3LjAuMC4xOjgwODAiLCAiVVNFUk5BTUUiOiAidSIsICJQQVNTV09SRCI6ICJwIiwgIkFDQ0VTU19LRVkiOiAiQUtFWSIsICJTRUNSRVRfS0VZIjogIlNLRVkiLCAiU0VDUkVUUyI6IHsiU3R1ZHkgT25lIjogImxvY2stc2VjcmV0In19fQ==",
		"f4000d8add96d4cdcd5a7baacf70f3a8e99d5b9e39b1473f34e2a499086750e2",
		"DAEAAHsiY2lwaGVyIjogeyJmdW5jdGlvbiI6ICJBRVMiLCAicGFyYW1zIjogeyJiaXRzIjogMjU2LCAibW9kZSI6ICJDRkI4In19LCAia2RmIjogeyJmdW5jdGlvbiI6ICJQQktERjJITUFDIiwgInBhcmFtcyI6IHsic2FsdCI6ICJJOEdrc3E5STdyeTRTNUhCV2dXSjNBRDQxc2dFS2ZQcmp3MVdiZ2s1SG13PSIsICJsZW5ndGgiOiAzMiwgIml0ZXJhdGlvbnMiOiAxMDAwMDAsICJhbGdvcml0aG0iOiAic2hhMjU2In19LCAiaXYiOiAicHZVMXlITWRUcU9ib2NlRDBFUGRGQT09In2m9TXIcx1Oo5uhx4PQQ90U6XChcO1kBig5cRdFmQdjAzLSSc4VKiMUqqXoYiOERG4dgLcBh2EALiUgcor641WMD7C73yAJHf/3vk6gQkuejAMoV2rZ8QvuhFFyN3qUPT+UUngLJBci/04jYt3oKUIf8I0FJn/EI5CgSa7tTd3pJlU3dIUw1xMDPKccZyY4UVRJNMWDFdyIZreSiHassRZoH+fTNDgE1e4i3XlFX9a63hw4whpOX9rHyA==",
	},
}

func unbase64(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var testKey = bytes.Repeat([]byte{7}, KeySize)

func testKeyFor([]byte) ([]byte, error) { return testKey, nil }

func sealed(t interface{ Fatal(...any) }, plain []byte) []byte {
	var out bytes.Buffer
	if err := Seal(&out, bytes.NewReader(plain), testKey, make([]byte, SaltSize), bytes.Repeat([]byte{3}, IVSize)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Files of the original open, and files from here are what the original would have written, byte for byte.
func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			plain, file := unbase64(t, v.plain), unbase64(t, v.file)
			h, err := readHeader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			key, err := DeriveKey([]byte(v.passphrase), h.salt)
			if err != nil || hex.EncodeToString(key) != v.key {
				t.Fatalf("key %x, %v; want %s", key, err, v.key)
			}
			var out bytes.Buffer
			if err := Seal(&out, bytes.NewReader(plain), key, h.salt, file[h.size:h.size+IVSize]); err != nil || !bytes.Equal(out.Bytes(), file) {
				t.Errorf("sealed: %v\n%q\nwant\n%q", err, out.Bytes(), file)
			}
			if got := len(file) - len(plain); got != Overhead {
				t.Errorf("overhead %d; want %d", got, Overhead)
			}
			f, err := Open(bytes.NewReader(file), int64(len(file)), []byte(v.passphrase))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("opened: %q, %v; want %q", got, err, plain)
			}
			out.Reset()
			if err := Decrypt(&out, bytes.NewReader(file), []byte(v.passphrase)); err != nil || !bytes.Equal(out.Bytes(), plain) {
				t.Errorf("decrypted: %q, %v; want %q", out.Bytes(), err, plain)
			}
		})
	}
}

func TestEncryptIsFreshEachTime(t *testing.T) {
	plain := []byte("the same text")
	var a, b bytes.Buffer
	for _, w := range []*bytes.Buffer{&a, &b} {
		if err := Encrypt(w, bytes.NewReader(plain), nil, rand.Reader); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Decrypt(&got, bytes.NewReader(w.Bytes()), nil); err != nil || !bytes.Equal(got.Bytes(), plain) {
			t.Errorf("with an empty passphrase: %q, %v; want %q", got.Bytes(), err, plain)
		}
		if w.Len() != len(plain)+Overhead {
			t.Errorf("%d bytes; want %d", w.Len(), len(plain)+Overhead)
		}
	}
	ha, errA := readHeader(&a)
	hb, errB := readHeader(&b)
	if errA != nil || errB != nil || bytes.Equal(ha.salt, hb.salt) {
		t.Errorf("salts %x (%v), %x (%v); want two different ones", ha.salt, errA, hb.salt, errB)
	}
	if bytes.Equal(a.Next(IVSize), b.Next(IVSize)) {
		t.Error("twice the same initialisation vector")
	}
}

// Whoever reads a part, in whatever pieces, sees what the whole holds there.
func TestAnyReadAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 3*IVSize).Draw(t, "plain")
		if rapid.Bool().Draw(t, "long") { // over the chunk of the writer
			plain = bytes.Repeat(append(plain, 1), 1+2*chunkSize/(len(plain)+1))
		}
		file := sealed(t, plain)
		f, err := OpenWith(bytes.NewReader(file), int64(len(file)), testKeyFor)
		if err != nil || f.Size() != int64(len(plain)) {
			t.Fatalf("opened with size %d, %v; want %d", f.Size(), err, len(plain))
		}
		off := rapid.IntRange(0, len(plain)+2).Draw(t, "off")
		p := make([]byte, rapid.IntRange(0, len(plain)+2).Draw(t, "len"))
		n, err := f.ReadAt(p, int64(off))
		want := bytes.NewReader(plain)
		q := make([]byte, len(p))
		wantN, wantErr := want.ReadAt(q, int64(off))
		if n != wantN || !bytes.Equal(p[:n], q[:n]) || !errors.Is(err, wantErr) {
			t.Errorf("ReadAt(%d bytes, %d) = %d, %v; want %d, %v, same bytes", len(p), off, n, err, wantN, wantErr)
		}
		r, err := NewReaderWith(bytes.NewReader(file), testKeyFor)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, rapid.IntRange(1, 2*IVSize+2).Draw(t, "piece"))
		var all bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&all}, struct{ io.Reader }{r}, buf); err != nil || !bytes.Equal(all.Bytes(), plain) {
			t.Errorf("the stream differs, in pieces of %d: %v", len(buf), err)
		}
	})
}

func TestReadersShareAFile(t *testing.T) {
	plain := make([]byte, 100_000)
	for i := range plain {
		plain[i] = byte(i * 7)
	}
	file := sealed(t, plain)
	f, err := OpenWith(bytes.NewReader(file), int64(len(file)), testKeyFor)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			p := make([]byte, 1000)
			for off := i; off+len(p) < len(plain); off += 777 {
				if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, plain[off:off+n]) {
					t.Errorf("at %d: %d, %v, or wrong bytes", off, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// No container gives no plaintext, and says why.
func TestWhatIsNoContainer(t *testing.T) {
	frame := func(header string) string {
		return string([]byte{byte(len(header)), byte(len(header) >> 8), 0, 0}) + header + strings.Repeat("i", IVSize) + "cipher"
	}
	salt := base64.StdEncoding.EncodeToString(make([]byte, SaltSize))
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"empty":            {"", ErrFormat},
		"three bytes":      {"abc", ErrFormat},
		"text":             {`{"beiwe.onnela": {"URL": "https://studies.beiwe.org"}}`, ErrFormat},
		"huge header":      {"\xff\xff\xff\xff{}", ErrFormat},
		"header too large": {"\x01\x00\x01\x00" + strings.Repeat(" ", 70_000), ErrFormat},
		"pickle":           {frame("\x80\x03}q\x00."), ErrFormat},
		"not an object":    {frame("[1, 2]"), ErrFormat},
		"no kdf":           {frame(`{"cipher": {}}`), ErrFormat},
		"other kdf":        {frame(`{"kdf": {"function": "SCRYPT", "params": {"salt": "` + salt + `"}}}`), ErrFormat},
		"random key":       {frame(`{"kdf": {"function": "RAND", "params": "urandom"}, "iv": ""}`), ErrRandomKey},
		"no params":        {frame(`{"kdf": {"function": "PBKDF2HMAC"}}`), ErrFormat},
		"salt missing":     {frame(`{"kdf": {"function": "PBKDF2HMAC", "params": {}}}`), ErrFormat},
		"salt no base64":   {frame(`{"kdf": {"function": "PBKDF2HMAC", "params": {"salt": "%%"}}}`), ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := OpenWith(strings.NewReader(c.file), int64(len(c.file)), testKeyFor); !errors.Is(err, c.want) {
				t.Errorf("OpenWith: %v; want %v", err, c.want)
			}
			if _, err := NewReaderWith(strings.NewReader(c.file), testKeyFor); !errors.Is(err, c.want) {
				t.Errorf("NewReaderWith: %v; want %v", err, c.want)
			}
		})
	}
}

// Older files have their keys in another order, and nothing but the salt counts: not the rounds, not the header's vector.
func TestOldHeader(t *testing.T) {
	v := vectors[0]
	file := unbase64(t, v.file)
	h, err := readHeader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	old := `{"iv": "AAAA", "kdf": {"params": {"iterations": 1, "algorithm": "md5", "length": 8, "salt": "` +
		base64.StdEncoding.EncodeToString(h.salt) + `"}, "function": "PBKDF2HMAC"}, "cipher": {"function": "DES"}}`
	made := append([]byte{byte(len(old)), byte(len(old) >> 8), 0, 0}, old...)
	made = append(made, file[h.size:]...)
	f, err := Open(bytes.NewReader(made), int64(len(made)), []byte(v.passphrase))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if want := unbase64(t, v.plain); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A file cut within its header or vector is refused; cut later it is a shorter file, since nothing says how long it was.
func TestTruncated(t *testing.T) {
	plain := []byte("0123456789abcdefghij")
	file := sealed(t, plain)
	for n := range file {
		f, err := OpenWith(bytes.NewReader(file[:n]), int64(n), testKeyFor)
		if n < Overhead {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("cut to %d bytes: %v; want ErrFormat", n, err)
			}
			if _, err := NewReaderWith(bytes.NewReader(file[:n]), testKeyFor); !errors.Is(err, ErrFormat) {
				t.Errorf("stream cut to %d bytes: %v; want ErrFormat", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || string(got) != string(plain[:n-Overhead]) {
			t.Errorf("cut to %d bytes: %q, %v; want the beginning", n, got, err)
		}
	}
}

// The file is shorter than when it was opened: an error, and never made-up bytes.
func TestShrunkAfterOpen(t *testing.T) {
	plain := []byte("0123456789abcdefghijklmnopqrstuvwxyz")
	file := sealed(t, plain)
	f, err := OpenWith(bytes.NewReader(file[:Overhead+20]), int64(len(file)), testKeyFor)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(plain))
	if n, err := f.ReadAt(p, 2); n != 18 || !errors.Is(err, io.ErrUnexpectedEOF) || string(p[:n]) != string(plain[2:20]) {
		t.Errorf("%d, %v, %q; want 18 bytes and ErrUnexpectedEOF", n, err, p[:n])
	}
	if n, err := f.ReadAt(p, 36); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("%d, %v; want EOF", n, err)
	}
	if n, err := f.ReadAt(p[:1], 35); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %v; want ErrUnexpectedEOF", n, err)
	}
	if n, err := f.ReadAt(p, -1); n != 0 || err == nil {
		t.Errorf("%d, %v; want an error", n, err)
	}
}

// A wrong passphrase gives garbage of the right length: this format cannot tell.
func TestWrongPassphraseIsNoError(t *testing.T) {
	v := vectors[1]
	var out bytes.Buffer
	if err := Decrypt(&out, bytes.NewReader(unbase64(t, v.file)), []byte("another")); err != nil {
		t.Fatal(err)
	}
	if plain := unbase64(t, v.plain); out.Len() != len(plain) || bytes.Equal(out.Bytes(), plain) {
		t.Errorf("got %q; want %d bytes of garbage", out.Bytes(), len(plain))
	}
}

// Errors of what is read and written come through, and are not taken for a wrong format.
func TestErrorsComeThrough(t *testing.T) {
	broken := errors.New("the network")
	file := sealed(t, []byte("some text"))
	for _, at := range []int{0, 2, 100, 280, 290} {
		r := io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(broken))
		if err := decryptWith(r); !errors.Is(err, broken) || errors.Is(err, ErrFormat) {
			t.Errorf("broken at %d: %v; want %v", at, err, broken)
		}
	}
	if err := Seal(io.Discard, iotest.ErrReader(broken), testKey, make([]byte, SaltSize), make([]byte, IVSize)); !errors.Is(err, broken) {
		t.Errorf("seal: %v; want %v", err, broken)
	}
	if err := Encrypt(io.Discard, strings.NewReader(""), nil, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("encrypt without random: %v; want %v", err, broken)
	}
	for _, limit := range []int{0, 290} {
		if err := Seal(&failingWriter{left: limit, err: broken}, strings.NewReader("text"), testKey, make([]byte, SaltSize), make([]byte, IVSize)); !errors.Is(err, broken) {
			t.Errorf("seal on a full disk: %v; want %v", err, broken)
		}
	}
	_, err := OpenWith(bytes.NewReader(file), int64(len(file)), func([]byte) ([]byte, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("no key: %v; want %v", err, broken)
	}
	if _, err := OpenWith(bytes.NewReader(file), int64(len(file)), func([]byte) ([]byte, error) { return []byte("short"), nil }); err == nil {
		t.Error("a key of five bytes was accepted")
	}
	if err := Seal(io.Discard, strings.NewReader(""), testKey[:16], make([]byte, SaltSize), make([]byte, IVSize)); err == nil {
		t.Error("a key of 16 bytes was accepted")
	}
	if err := Seal(io.Discard, strings.NewReader(""), testKey, make([]byte, 8), make([]byte, IVSize)); err == nil {
		t.Error("a salt of 8 bytes was accepted")
	}
}

func decryptWith(r io.Reader) error {
	plain, err := NewReaderWith(r, testKeyFor)
	if err == nil {
		_, err = io.Copy(io.Discard, plain)
	}
	return err
}

type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, w.err
	}
	return len(p), nil
}

// Locked recordings are large: decrypting them is not what one waits for.
func TestDecryptIsFastEnough(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	plain := make([]byte, 4<<20)
	file := sealed(t, plain)
	f, err := OpenWith(bytes.NewReader(file), int64(len(file)), testKeyFor)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := f.ReadAt(make([]byte, len(plain)), 0); err != nil {
		t.Fatal(err)
	}
	rate := float64(len(plain)) / (1 << 20) / time.Since(begin).Seconds()
	t.Logf("%.0f MiB/s", rate)
	if rate < 1 { // 10 and more on any machine; 1 even under the race detector on a busy one
		t.Errorf("%.1f MiB/s", rate)
	}
}

func BenchmarkDecrypt(b *testing.B) {
	file := sealed(b, make([]byte, 1<<20))
	f, err := OpenWith(bytes.NewReader(file), int64(len(file)), testKeyFor)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.ReadAt(p, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	plain := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		if err := Seal(io.Discard, bytes.NewReader(plain), testKey, make([]byte, SaltSize), make([]byte, IVSize)); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the bytes: no crash, errors of the right kind, and both ways of reading agree.
func FuzzOpen(f *testing.F) {
	for _, v := range vectors {
		f.Add(unbase64(f, v.file))
	}
	f.Add([]byte("\x02\x00\x00\x00{}"))
	f.Add([]byte("\x1c\x00\x00\x00" + `{"kdf":{"function": "RAND"}}0123456789abcdefg`))
	f.Fuzz(func(t *testing.T, file []byte) {
		opened, err := OpenWith(bytes.NewReader(file), int64(len(file)), testKeyFor)
		r, streamErr := NewReaderWith(bytes.NewReader(file), testKeyFor)
		if (err == nil) != (streamErr == nil) {
			t.Fatalf("OpenWith: %v, NewReaderWith: %v", err, streamErr)
		}
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrRandomKey) {
				t.Fatalf("neither of the two errors: %v", err)
			}
			return
		}
		whole, err := io.ReadAll(r)
		if err != nil || int64(len(whole)) != opened.Size() {
			t.Fatalf("stream of %d bytes, %v; want %d", len(whole), err, opened.Size())
		}
		half := opened.Size() / 2
		part := make([]byte, opened.Size()-half)
		if n, err := opened.ReadAt(part, half); n != len(part) || (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(part, whole[half:]) {
			t.Fatalf("second half: %d, %v, or wrong bytes", n, err)
		}
	})
}

// Whoever fetches only a part of a container by the network gets what lies there.
func TestRanges(t *testing.T) {
	plain := make([]byte, 1000)
	for i := range plain {
		plain[i] = byte(i * 31)
	}
	file := sealed(t, plain)
	h, err := ReadHeader(bytes.NewReader(file))
	if err != nil || h.Plain(int64(len(file))) != 1000 || h.Size != Overhead-IVSize {
		t.Fatalf("%+v, %v", h, err)
	}
	for _, off := range []int64{0, 1, 15, 16, 17, 500, 999} {
		r, err := NewRangeReader(bytes.NewReader(file[h.Size+off:]), testKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain[off:]) {
			t.Errorf("from %d: %d bytes, %v", off, len(got), err)
		}
	}
	if _, err := NewRangeReader(bytes.NewReader(file[:10]), testKey); !errors.Is(err, ErrFormat) {
		t.Errorf("too short: %v", err)
	}
}
