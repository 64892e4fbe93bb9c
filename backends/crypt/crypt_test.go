package crypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/mem"
)

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func spill(t testing.TB) *DirSpill {
	t.Helper()
	d, err := OpenDirSpill(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// both is a source that one key reads and writes.
func both(t testing.TB, src backends.Source, change ...func(*Options)) *Source {
	t.Helper()
	id := newIdentity(t)
	o := Options{Identities: []Identity{id}, Recipients: []Recipient{id.Recipient()}, Spill: spill(t)}
	for _, f := range change {
		f(&o)
	}
	s, err := New(src, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// encrypted is what the age library makes of plain.
func encrypted(t testing.TB, plain []byte, to ...Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func stat(t testing.TB, s backends.Source, name string) backends.Entry {
	t.Helper()
	e, err := s.Stat(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func read(ctx context.Context, s backends.Source, e backends.Entry, off, n int64) ([]byte, error) {
	r, err := s.ReadRange(ctx, e, off, n)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	return got, errors.Join(err, r.Close())
}

func list(t testing.TB, s backends.Source) (all []backends.Entry) {
	t.Helper()
	for e, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// seed puts an object through s where it can, past it where the name is none.
func seed(t testing.TB, m *mem.Source, s *Source, key string, body []byte) {
	t.Helper()
	if dir, is := strings.CutSuffix(key, "/"); is {
		m.PutBytes(dir+"/", nil)
		return
	}
	if !backends.ValidName(key + ".age") {
		m.PutBytes(key+".age", encrypted(t, body, s.o.Recipients...))
		return
	}
	u := backendtest.Upload(key, body)
	if e, err := s.Stat(t.Context(), key); err == nil && !e.Dir {
		u.Old = e
	}
	if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err != nil {
		t.Errorf("put %q: %v", key, err)
	}
}

func TestConformance(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		m := mem.New(0)
		m.SetPartSize(100_000)
		s := both(t, m)
		return backendtest.Harness{
			Source: s, Odd: true, Writes: true, Sizes: []int64{65_536, 99_000, 250_000},
			Put:    func(key string, body []byte) { seed(t, m, s, key, body) },
			Remove: func(key string) { m.Delete(key + ".age") },
		}
	})
}

// Objects that others have made keep the contract, too; only that a look into them is one more request.
func TestConformanceOfForeignObjects(t *testing.T) {
	for _, c := range backendtest.Checks() {
		if c.Name == "counters only grow" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			m := mem.New(0)
			s := both(t, m)
			c.Run(t, backendtest.Harness{
				Source: s, Odd: true,
				Put: func(key string, body []byte) {
					if strings.HasSuffix(key, "/") {
						m.PutBytes(key, body)
						return
					}
					m.PutBytes(key+".age", encrypted(t, body, s.o.Recipients[0]))
				},
				Remove: func(key string) { m.Delete(key + ".age") },
			})
		})
	}
}

// The whole source as it is without keys: nothing but plain objects.
func TestConformanceOfPlainObjects(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backendtest.Harness {
		m := mem.New(0)
		return backendtest.Harness{Source: both(t, m), Odd: true, Put: m.PutBytes, Remove: m.Delete}
	})
}

// ls -l shows the true size of what age made, at every boundary and for any number of recipients, without a byte being read.
func TestSizesFromTheListing(t *testing.T) {
	for k := 1; k <= 4; k++ {
		m := mem.New(0)
		id := newIdentity(t)
		to := []Recipient{id.Recipient()}
		for len(to) < k {
			to = append(to, newIdentity(t).Recipient())
		}
		s := both(t, m, func(o *Options) { o.Identities, o.Recipients = []Identity{id}, to })
		sizes := []int64{0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 131_072, 131_073, 200_000}
		for _, n := range sizes {
			file := encrypted(t, backendtest.Noise(n, 1), to...)
			if want := n + 184 + 98*int64(k-1) + 16*max(1, (n+65_535)/65_536); int64(len(file)) != want {
				t.Fatalf("age makes %d bytes of %d for %d recipients; want %d", len(file), n, k, want)
			}
			m.PutBytes(fmt.Sprintf("%07d.age", n), file)
		}
		for i, e := range list(t, s) {
			if e.Size != sizes[i] || e.Name != fmt.Sprintf("%07d", sizes[i]) {
				t.Errorf("%d recipients: %s listed with %d bytes", k, e.Name, e.Size)
			}
		}
		if c := s.Counts(); c.Get != 1 { // that the empty one is empty is looked at
			t.Errorf("%d reads for a listing", c.Get)
		}
	}
}

// A mount that only reads does not know for how many people the lab encrypts: it looks at one object, not at all of them.
func TestOneLookTellsTheRecipients(t *testing.T) {
	m := mem.New(0)
	id := newIdentity(t)
	for i := range 50 {
		m.PutBytes(fmt.Sprintf("f%02d.age", i), encrypted(t, []byte("body"), newIdentity(t).Recipient(), id.Recipient()))
	}
	s, err := New(m, Options{Identities: []Identity{id}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, e := range list(t, s) {
			if e.Size != 4 {
				t.Errorf("%+v", e)
			}
		}
	}
	if c := s.Counts(); c.Get != 1 {
		t.Errorf("%d reads", c.Get)
	}
}

// An older object for more people than today's: its listed size is wrong, but nobody ever reads a file that is cut off by it.
func TestWrongGuess(t *testing.T) {
	m := mem.New(0)
	s := both(t, m)
	for _, size := range []int64{1000, 300_000} {
		body := backendtest.Noise(size, 1)
		m.PutBytes("old.age", encrypted(t, body, s.o.Recipients[0], newIdentity(t).Recipient()))
		m.PutBytes("old2.age", encrypted(t, body, s.o.Recipients[0], newIdentity(t).Recipient()))
		s.mixed = false
		e := list(t, s)[0]
		if e.Size == size || e.Size < 0 {
			t.Fatalf("listed with %d: this tries nothing", e.Size)
		}
		if got, err := read(t.Context(), s, e, 0, min(e.Size, 100)); !errors.Is(err, backends.ErrChanged) {
			t.Errorf("read with a wrong size: %d bytes, %v", len(got), err)
		}
		for _, e := range list(t, s) { // once two lengths were seen, nothing is guessed any more
			if got, err := read(t.Context(), s, e, 0, e.Size); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s read with %d bytes: %v", e.Name, e.Size, err)
			}
		}
	}
}

// sparse makes up a plaintext and its ciphertext as they are read.
type sparse struct {
	h      *ageHead
	header []byte
}

func chunkOf(i int64, n int64) []byte { return backendtest.Noise(n, uint64(i)) }

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at < int64(len(s.header)) {
			done += copy(p[done:], s.header[at:])
			continue
		}
		chunk := (at - s.h.payload) / sealedSize
		if chunk > s.h.last() {
			return done, io.EOF
		}
		n := min(chunkSize, s.h.size-chunk*chunkSize)
		sealed := s.h.aead.Seal(nil, s.h.nonce(chunk), chunkOf(chunk, n), nil)
		done += copy(p[done:], sealed[at-s.h.payload-chunk*sealedSize:])
	}
	return done, nil
}

// A viewer that jumps about in a video of 1 GiB must not fetch it whole.
func TestRandomReadsOfAGiB(t *testing.T) {
	const size = 1 << 30
	m := mem.New(0)
	s := both(t, m)
	start := encrypted(t, nil, s.o.Recipients[0])
	header, nonce, err := parseAge(start)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.keys.openAge(header, nonce, layout{int64(len(header) + nonceSize), size})
	if err != nil {
		t.Fatal(err)
	}
	m.Set("big.age", mem.Object{Body: &sparse{h, start[:h.payload]}, Size: h.payload + sealed(size)})
	e := list(t, s)[0]
	if e.Size != size {
		t.Fatalf("%+v", e)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		off := rng.Int64N(size - 4096)
		got, err := read(t.Context(), s, e, off, 4096)
		if err != nil {
			t.Fatal(err)
		}
		first := off / chunkSize
		want := append(chunkOf(first, chunkSize), chunkOf(first+1, chunkSize)...)[off%chunkSize:][:4096]
		if !bytes.Equal(got, want) {
			t.Fatalf("wrong bytes at %d", off)
		}
	}
	if c := s.Counts(); c.Get > 102 || c.BytesIn > 20<<20 {
		t.Errorf("%d reads, %d bytes", c.Get, c.BytesIn)
	}
}

// Each file of a folder of small ones is one request, as if they were not encrypted.
func TestSmallFilesAreOneRequestEach(t *testing.T) {
	m := mem.New(0)
	s := both(t, m)
	for i := range 20 {
		m.PutBytes(fmt.Sprintf("f%02d.age", i), encrypted(t, backendtest.Noise(50_000, 1), s.o.Recipients[0]))
	}
	for _, e := range list(t, s) {
		if got, err := read(t.Context(), s, e, 0, e.Size); err != nil || !bytes.Equal(got, backendtest.Noise(50_000, 1)) {
			t.Error(err)
		}
	}
	if c := s.Counts(); c.Get != 20 {
		t.Errorf("%d reads", c.Get)
	}
}

// Whatever a broken disk or a bad person does to an object, no wrong byte is ever shown.
func TestAlteredObjects(t *testing.T) {
	body := backendtest.Noise(200_000, 1)
	id := newIdentity(t)
	file := encrypted(t, body, id.Recipient())
	check := func(what string, file []byte) {
		t.Helper()
		m := mem.New(0)
		s := both(t, m, func(o *Options) { o.Identities, o.Recipients = []Identity{id}, []Recipient{id.Recipient()} })
		m.PutBytes("f.age", file)
		e := list(t, s)[0]
		if e.Size < 0 {
			e.Size = 0
		}
		failed := false
		for off := int64(0); off < e.Size; off += 50_000 {
			n := min(50_000, e.Size-off)
			got, err := read(t.Context(), s, e, off, n)
			if err != nil {
				failed = true
				if !errors.Is(err, backends.ErrBadAnswer) && !errors.Is(err, backends.ErrPermission) && !errors.Is(err, backends.ErrChanged) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if !bytes.HasPrefix(body[min(off, int64(len(body))):], got) {
				t.Fatalf("%s: wrong bytes", what)
			}
		}
		if _, err := s.Stat(t.Context(), "f"); !failed && err == nil {
			t.Errorf("%s: nobody noticed", what)
		}
	}
	for _, n := range []int{0, 50, 150, 199, 200, 300, 65_736, 184 + sealedSize, 184 + sealedSize + 16, 184 + 2*sealedSize, 184 + 3*sealedSize, len(file) - 1} {
		if n >= minAge { // below, it is not shown as an encrypted object
			check(fmt.Sprintf("cut to %d", n), file[:n])
		}
	}
	for _, at := range []int{0, 10, 30, 100, 150, 170, 183, 184, 1000, 184 + sealedSize - 1, 184 + sealedSize, len(file) - 1} {
		bad := bytes.Clone(file)
		bad[at] ^= 1
		check(fmt.Sprintf("a bit at %d", at), bad)
	}
	swapped := bytes.Clone(file)
	copy(swapped[184:], file[184+sealedSize:184+2*sealedSize])
	copy(swapped[184+sealedSize:], file[184:184+sealedSize])
	check("two chunks swapped", swapped)
	check("something behind", append(bytes.Clone(file), "and more"...))
}

// Somebody who lacks the key sees the file, its size, and what it would take to open it.
func TestMissingKey(t *testing.T) {
	m := mem.New(0)
	m.PutBytes("f.age", encrypted(t, []byte("secret"), newIdentity(t).Recipient(), newIdentity(t).Recipient()))
	for name, ids := range map[string][]Identity{"no identity": nil, "none of the 1": {newIdentity(t)}} {
		s, err := New(m, Options{Identities: ids})
		if err != nil {
			t.Fatal(err)
		}
		if e := stat(t, s, "f"); e.Size != 6 {
			t.Errorf("%+v", e)
		}
		e := list(t, s)[0]
		_, err = read(t.Context(), s, e, 0, e.Size)
		if !errors.Is(err, backends.ErrPermission) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "2 × X25519 key") {
			t.Errorf("%v", err)
		}
	}
}

// One name, many objects: one is shown, the others are counted.
func TestPrecedence(t *testing.T) {
	m := mem.New(0)
	s := both(t, m, func(o *Options) { o.Password = backends.NewSecret("x") })
	enc := encrypted(t, []byte("from age"), s.o.Recipients[0])
	old := append([]byte("Salted__12345678"), make([]byte, 8)...)
	m.PutBytes("a.age", enc)
	m.PutBytes("a", []byte("plain"))
	m.PutBytes("a.enc", old)
	m.PutBytes("b", []byte("plain"))
	m.PutBytes("b.enc", old)
	m.PutBytes("c.age", enc)
	m.PutBytes("c/d", []byte("plain"))
	m.PutBytes("mean.age", []byte("41.5"))
	m.PutBytes(".age", enc)
	m.PutBytes("odd.enc", []byte("not of openssl"))
	var names []string
	for _, e := range list(t, s) {
		names = append(names, e.Name)
		if e.Name != ".age" && e.Name != "odd.enc" {
			if again, err := s.Stat(t.Context(), e.Name); err != nil || again.Version != e.Version || again.Dir != e.Dir {
				t.Errorf("listed %+v, stat %+v, %v", e, again, err)
			}
		}
	}
	if want := ".age a b c mean.age odd.enc"; strings.Join(names, " ") != want {
		t.Errorf("%q; want %q", names, want)
	}
	if got, err := read(t.Context(), s, stat(t, s, "a"), 0, 8); err != nil || string(got) != "from age" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := read(t.Context(), s, stat(t, s, "b"), 0, 5); err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	if h := s.Counts().HiddenKeys; h != 4 {
		t.Errorf("%d hidden", h)
	}
}

// FuzzOpen: whatever lies there, opening it ends, without a panic and without more memory than the object has bytes.
func FuzzOpen(f *testing.F) {
	id := newIdentity(f)
	f.Add(encrypted(f, []byte("body"), id.Recipient()), ".age")
	f.Add([]byte("Salted__12345678abcdefgh"), ".enc")
	f.Add([]byte("\x10\x01\x00\x00{}"+strings.Repeat("x", 300)), ".lock")
	f.Add([]byte(ageIntro+"-> X25519 a\n"+strings.Repeat("-> b c\n\n", 40)), ".age")
	f.Fuzz(func(t *testing.T, file []byte, suffix string) {
		m := mem.New(0)
		s, err := New(m, Options{Identities: []Identity{id}, Password: backends.NewSecret("x")})
		if err != nil {
			t.Fatal(err)
		}
		m.PutBytes("f"+suffix, file)
		for _, e := range list(t, s) {
			exact, err := s.Stat(t.Context(), e.Name)
			if err != nil || exact.Dir || exact.Size <= 0 {
				continue
			}
			if exact.Size > int64(len(file)) {
				t.Fatalf("%d bytes of plaintext in %d", exact.Size, len(file))
			}
			read(t.Context(), s, exact, 0, exact.Size)
			read(t.Context(), s, exact, exact.Size-1, 1)
		}
	})
}
