package budget

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"studyfs/backends/s3/s3test"
	"studyfs/tests/harness"
)

// A key pair of these tests.
const (
	identity  = "AGE-SECRET-KEY-1MWV3WEZ0VL6SU9Q5RHCET4XL85U36A0JSPLSJAHG647JN4LZ4SAQC2EHTJ"
	recipient = "age1c562v08q5ywhklfxftxc0amfakrayvjnzy54jalwn3uc8pehv39qhw3gkp"
)

// What age makes of a file, see https://age-encryption.org/v1: a header, a nonce, and chunks that are sealed each by itself.
const (
	chunk  = 64 << 10
	sealed = chunk + 16
	nonce  = 16
)

// ageFile is an age file of any size that nobody has to keep: each chunk is sealed when it is asked for.
type ageFile struct {
	start []byte // header and nonce
	aead  cipher.AEAD
	size  int64 // in clear
}

// overheard hands on the key of a file that is being made.
type overheard struct {
	age.Recipient

	key []byte
}

func (o *overheard) Wrap(key []byte) ([]*age.Stanza, error) {
	o.key = bytes.Clone(key)
	return o.Recipient.Wrap(key)
}

func newAgeFile(t *testing.T, size int64) *ageFile {
	t.Helper()
	to, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var start bytes.Buffer
	o := &overheard{Recipient: to}
	if _, err := age.Encrypt(&start, o); err != nil { // nothing is written to it, and it is not closed: the chunks are made below
		t.Fatal(err)
	}
	key, err := hkdf.Key(sha256.New, o.key, start.Bytes()[start.Len()-nonce:], "payload", chacha20poly1305.KeySize)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		t.Fatal(err)
	}
	return &ageFile{start.Bytes(), aead, size}
}

func (f *ageFile) chunks() int64 { return (f.size + chunk - 1) / chunk }
func (f *ageFile) total() int64  { return int64(len(f.start)) + f.size + f.chunks()*16 }

// clear is what chunk i holds.
func (f *ageFile) clear(i int64) []byte { return harness.Pattern(i, int(min(chunk, f.size-i*chunk))) }

func (f *ageFile) ReadAt(p []byte, off int64) (done int, err error) {
	for done < len(p) {
		at := off + int64(done)
		if at < int64(len(f.start)) {
			done += copy(p[done:], f.start[at:])
			continue
		}
		i := (at - int64(len(f.start))) / sealed
		if i >= f.chunks() {
			return done, io.EOF
		}
		counter := make([]byte, chacha20poly1305.NonceSize)
		binary.BigEndian.PutUint64(counter[3:11], uint64(i))
		if i == f.chunks()-1 {
			counter[11] = 1
		}
		done += copy(p[done:], f.aead.Seal(nil, counter, f.clear(i), nil)[at-int64(len(f.start))-i*sealed:])
	}
	return done, nil
}

// Somebody jumps about in a night's video of 1 GiB that lies encrypted in a bucket. Each jump costs what it would cost in clear.
func TestRandomReadsOfAnEncryptedGiB(t *testing.T) {
	const size = 1 << 30
	e, srv, url := prepare(t, nil)
	file := newAgeFile(t, size)
	srv.Put("study", "night.avi.age", s3test.Object{Body: file, Size: file.total()})
	key := filepath.Join(e.Home, "key.txt")
	if err := os.WriteFile(key, []byte(identity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv.Reset()
	dir := e.Mount(append(source(url), "--identity", "file:"+key)...)
	f, err := os.Open(filepath.Join(dir, "night.avi"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Fatalf("%v, %v", info, err)
	}
	rnd, p := rand.New(rand.NewPCG(5, 6)), make([]byte, 4096)
	for range 100 {
		off := rnd.Int64N(size/4096) * 4096
		if _, err := f.ReadAt(p, off); err != nil || !bytes.Equal(p, file.clear(off / chunk)[off%chunk:][:4096]) {
			t.Fatalf("at %d: wrong bytes, %v", off, err)
		}
	}
	within(t, srv, 1, 102, 20<<20)
}
