package crypt

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/crypt/cryptease"
	"studyfs/backends/mem"
)

const labPassword = "the lab's password"

// desFile is what openssl makes, for machines without it.
func desFile(t testing.TB, digest int, password string, plain []byte) []byte {
	t.Helper()
	salt := make([]byte, 8)
	rand.Read(salt)
	keys, err := desKeys([]byte(password), salt)
	if err != nil {
		t.Fatal(err)
	}
	pad := desBlock - len(plain)%desBlock
	body := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(keys[digest].block, keys[digest].iv[:]).CryptBlocks(body, body)
	return append(append([]byte(saltedMagic), salt...), body...)
}

func withPassword(t testing.TB, m *mem.Source, change ...func(*Options)) *Source {
	t.Helper()
	o := Options{Password: backends.NewSecret(labPassword)}
	for _, f := range change {
		f(&o)
	}
	s, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readsBack compares whole objects and pieces of them.
func readsBack(t *testing.T, s *Source, e backends.Entry, plain []byte) {
	t.Helper()
	if e.Size != int64(len(plain)) {
		t.Errorf("%s: %d bytes; want %d", e.Name, e.Size, len(plain))
		return
	}
	for _, r := range [][2]int64{{0, e.Size}, {0, 1}, {e.Size - 1, 1}, {7, 2}, {8, 8}, {9, 100}, {1, e.Size - 1}, {e.Size / 2, e.Size / 3}} {
		if r[1] <= 0 || r[0] < 0 || r[0]+r[1] > e.Size {
			continue
		}
		if got, err := read(t.Context(), s, e, r[0], r[1]); err != nil || !bytes.Equal(got, plain[r[0]:r[0]+r[1]]) {
			t.Errorf("%s: range %d+%d: %d bytes, %v", e.Name, r[0], r[1], len(got), err)
		}
	}
}

// The videos that the lab's scripts have encrypted since 2017, by whichever OpenSSL it was, can be read.
func TestOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl")
	}
	m := mem.New(0)
	plains := map[string][]byte{}
	for _, digest := range []string{"md5", "sha256"} {
		for _, cipher := range []string{"-des", "-des-cbc"} {
			for _, n := range []int64{0, 1, 7, 8, 9, 15, 16, 1000, 100_003} {
				plain := backendtest.Noise(n, uint64(n))
				file := filepath.Join(t.TempDir(), "plain")
				write(t, file, plain)
				cmd := exec.CommandContext(t.Context(), "openssl", "enc", "-e", cipher, "-md", digest,
					"-provider", "legacy", "-provider", "default", "-pass", "stdin", "-in", file)
				cmd.Stdin = strings.NewReader(labPassword + "\n")
				out, err := cmd.Output()
				if err != nil {
					t.Skipf("this openssl has no DES: %v", err)
				}
				name := fmt.Sprintf("%s%s-%06d", digest, cipher, n)
				plains[name] = plain
				m.PutBytes(name+".enc", out)
			}
		}
	}
	for _, e := range list(t, withPassword(t, m)) {
		readsBack(t, withPassword(t, m), stat(t, withPassword(t, m), e.Name), plains[e.Name])
		delete(plains, e.Name)
	}
	if len(plains) > 0 {
		t.Errorf("not listed: %d", len(plains))
	}
}

var desVectors = map[string]string{
	"md5":    "53616c7465645f5ff0a03a131bd2e48874b84103c124a04bbd35549bc9e0a24fe60533483b8ca2a8",
	"sha256": "53616c7465645f5f1ce8f75e6c1079c17ffd7d91c7a165b59744fa0dfd976c545efb3945d711e7cd",
}

// Files made by "openssl enc -des" of the text "studyfs legacy vector\n" with the password "golden".
func TestDESVectors(t *testing.T) {
	for digest, file := range desVectors {
		raw, err := hex.DecodeString(file)
		if err != nil {
			t.Fatal(err)
		}
		m := mem.New(0)
		m.PutBytes("v.enc", raw)
		s := withPassword(t, m, func(o *Options) { o.Password = backends.NewSecret("golden") })
		t.Run(digest, func(t *testing.T) { readsBack(t, s, stat(t, s, "v"), []byte("studyfs legacy vector\n")) })
	}
}

// Where both digests give a valid padding, the longer one is right nearly always, and then what the other files had.
func TestAmbiguousPadding(t *testing.T) {
	m := mem.New(0)
	s := withPassword(t, m)
	s.digest = 1
	keys, err := desKeys([]byte("x"), []byte("saltsalt"))
	if err != nil {
		t.Fatal(err)
	}
	for pads, want := range map[[2]int]int{{0, 3}: 1, {3, 0}: 0, {1, 5}: 1, {5, 1}: 0} {
		h, err := s.chooseDES(backends.Entry{Size: 1000}, keys, pads)
		if err != nil || h != opened(keys[want]) {
			t.Errorf("%v: %v", pads, err)
		}
	}
	s.digest = 1
	if h, err := s.chooseDES(backends.Entry{Size: 1000}, keys, [2]int{1, 1}); err != nil || h != opened(keys[1]) {
		t.Errorf("a tie: %v", err)
	}
}

// In a folder of videos every size is right after one listing, and a jump into one fetches only what is looked at.
func TestLegacyRequests(t *testing.T) {
	m := mem.New(0)
	plain := backendtest.Noise(1<<20, 1)
	for i := range 10 {
		m.PutBytes(fmt.Sprintf("v%d.enc", i), desFile(t, 1, labPassword, plain))
	}
	s := withPassword(t, m)
	all := list(t, s)
	for range 3 {
		all = list(t, s)
	}
	if c := s.Counts(); c.Get != 20 || c.BytesIn != 10*(24+16) {
		t.Errorf("listed with %d reads of %d bytes", c.Get, c.BytesIn)
	}
	before := s.Counts()
	for _, e := range all {
		if e.Size != 1<<20 {
			t.Errorf("%+v", e)
		}
		got, err := read(t.Context(), s, e, 500_001, 1000)
		if err != nil || !bytes.Equal(got, plain[500_001:501_001]) {
			t.Error(err)
		}
	}
	if c := s.Counts(); c.Get != before.Get+10 || c.BytesIn > before.BytesIn+10*1024 {
		t.Errorf("10 reads of 1,000 bytes: %+v, %+v", before, c)
	}
	lazy := withPassword(t, m, func(o *Options) { o.NoLook = true })
	if e := list(t, lazy)[0]; e.Size != backends.SizeUnknown {
		t.Errorf("%+v", e)
	}
}

// OpenSSL 3 without its legacy provider writes the salt, fails, and the script uploads that.
func TestStubsAreLostFiles(t *testing.T) {
	m := mem.New(0)
	m.PutBytes("gone.enc", []byte("Salted__12345678"))
	s := withPassword(t, m)
	e := list(t, s)[0]
	if e.Name != "gone" || e.Size != backends.SizeUnknown || s.Lost() != 1 {
		t.Errorf("%+v, %d lost", e, s.Lost())
	}
	if _, err := s.Stat(t.Context(), "gone"); !errors.Is(err, backends.ErrBadAnswer) || !strings.Contains(err.Error(), "lost") {
		t.Errorf("%v", err)
	}
}

// A wrong password is told, and is not a file of garbage.
func TestWrongPassword(t *testing.T) {
	m := mem.New(0)
	refused := 0
	for i := range 20 {
		name := fmt.Sprintf("v%02d", i)
		m.PutBytes(name+".enc", desFile(t, 0, "another", []byte("plaintext")))
		if _, err := withPassword(t, m).Stat(t.Context(), name); errors.Is(err, backends.ErrPermission) {
			refused++
		}
	}
	if refused < 17 { // by chance, one of 128 looks right
		t.Errorf("%d of 20 refused", refused)
	}
	m.PutBytes("no.enc", bytes.Repeat([]byte("not salt"), 10))
	if _, err := withPassword(t, m).Stat(t.Context(), "no"); !errors.Is(err, backends.ErrBadAnswer) {
		t.Errorf("%v", err)
	}
}

// Streams that mano or Lochness have locked before they were put into a bucket.
func TestLocked(t *testing.T) {
	m := mem.New(0)
	plains := map[string][]byte{}
	for _, n := range []int64{0, 1, 16, 17, 50_000} {
		var out bytes.Buffer
		name := fmt.Sprintf("gps-%d", n)
		plains[name] = backendtest.Noise(n, 1)
		if err := cryptease.Encrypt(&out, bytes.NewReader(plains[name]), []byte(labPassword), rand.Reader); err != nil {
			t.Fatal(err)
		}
		m.PutBytes(name+".lock", out.Bytes())
	}
	m.PutBytes("bad.lock", bytes.Repeat([]byte("no header"), 100))
	s := withPassword(t, m)
	for _, e := range list(t, s) {
		if e.Name == "bad" {
			if _, err := s.Stat(t.Context(), "bad"); !errors.Is(err, backends.ErrBadAnswer) {
				t.Errorf("%v", err)
			}
			continue
		}
		readsBack(t, s, e, plains[e.Name])
	}
}

// Without a password nothing pretends to be open.
func TestNoPassword(t *testing.T) {
	m := mem.New(0)
	m.PutBytes("v.enc", desFile(t, 0, labPassword, []byte("x")))
	m.PutBytes("g.lock", make([]byte, 300))
	all := list(t, withPassword(t, m, func(o *Options) { o.Password = backends.Secret{} }))
	if len(all) != 2 || all[0].Name != "g.lock" || all[1].Name != "v.enc" || all[1].Size != 24 {
		t.Errorf("%+v", all)
	}
}
