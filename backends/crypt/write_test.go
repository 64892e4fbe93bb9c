package crypt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"studyfs/backends"
	"studyfs/backends/backendtest"
	"studyfs/backends/mem"
	"studyfs/backends/s3"
)

// What is in the bucket can be opened without studyfs, by everybody it was made for.
func TestRealAgeReadsWhatWasWritten(t *testing.T) {
	tool, err := exec.LookPath("age")
	if err != nil {
		t.Skip("no age")
	}
	m := mem.New(0)
	one, two := newIdentity(t), newIdentity(t)
	s := both(t, m, func(o *Options) { o.Recipients = []Recipient{one.Recipient(), two.Recipient()} })
	for _, n := range []int64{0, 1, 65_536, 65_537, 3_000_000} {
		body := backendtest.Noise(n, 1)
		u := backendtest.Upload("f", body)
		if e, err := s.Stat(t.Context(), "f"); err == nil {
			u.Old = e
		}
		if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err != nil {
			t.Fatal(err)
		}
		file, _ := m.Bytes("f.age")
		for _, id := range []*age.X25519Identity{one, two} {
			key := filepath.Join(t.TempDir(), "key")
			write(t, key, []byte(id.String()+"\n"))
			cmd := exec.CommandContext(t.Context(), tool, "-d", "-i", key)
			cmd.Stdin = bytes.NewReader(file)
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: age gives %d, %v", n, len(got), err)
			}
		}
	}
}

// And what people have encrypted with age on their own can be read.
func TestReadsWhatRealAgeWrote(t *testing.T) {
	tool, err := exec.LookPath("age")
	if err != nil {
		t.Skip("no age")
	}
	m := mem.New(0)
	id := newIdentity(t)
	s := both(t, m, func(o *Options) { o.Identities, o.Recipients = []Identity{id}, []Recipient{id.Recipient()} })
	for _, n := range []int64{0, 1, 65_536, 65_537, 200_000} {
		body := backendtest.Noise(n, 1)
		cmd := exec.CommandContext(t.Context(), tool, "-r", id.Recipient().String())
		cmd.Stdin = bytes.NewReader(body)
		file, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		m.PutBytes("f.age", file)
		readsBack(t, s, list(t, s)[0], body)
	}
}

// spilled are the files in the directory of a spill.
func spilled(t *testing.T, d *DirSpill) []os.DirEntry {
	t.Helper()
	all, err := os.ReadDir(d.root.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	return all
}

// An upload of hours that broke off goes on with the parts that are there, in a new process, too.
func TestResume(t *testing.T) {
	m := mem.New(0)
	m.SetPartSize(100_000)
	id, dir := newIdentity(t), t.TempDir()
	open := func() *Source {
		d, err := OpenDirSpill(dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return both(t, m, func(o *Options) {
			o.Identities, o.Recipients, o.Spill = []Identity{id}, []Recipient{id.Recipient()}, d
		})
	}
	broken := errors.New("the line is cut")
	parts := 0
	m.Before(func(op mem.Op) error {
		if op.Name == "part" {
			if parts++; parts == 4 {
				return broken
			}
		}
		return nil
	})
	body := backendtest.Noise(1_000_000, 1)
	u := backendtest.Upload("f", body)
	u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
	s := open()
	if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if n := len(spilled(t, s.o.Spill.(*DirSpill))); n != 1 {
		t.Fatalf("%d ciphertexts are kept", n)
	}
	s = open()
	e, err := s.Put(t.Context(), u, bytes.NewReader(body))
	if err != nil || parts != 4+8 {
		t.Fatalf("%v, %d parts sent", err, parts)
	}
	readsBack(t, s, e, body)
	if n := len(spilled(t, s.o.Spill.(*DirSpill))); n != 0 {
		t.Errorf("%d ciphertexts are left", n)
	}
}

// Whatever became of the ciphertext meanwhile, what is stored can be opened: it is made anew if it is not what it was.
func TestResumeWithoutItsCiphertext(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"gone":    os.Remove,
		"torn":    func(path string) error { return os.Truncate(path, 150_000) },
		"longer":  func(path string) error { return os.Truncate(path, 2_000_000) },
		"altered": func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o600) },
	} {
		m := mem.New(0)
		m.SetPartSize(100_000)
		s := both(t, m)
		parts := 0
		m.Before(func(op mem.Op) error {
			if op.Name == "part" {
				if parts++; parts == 4 {
					return errors.New("the line is cut")
				}
			}
			return nil
		})
		body := backendtest.Noise(500_000, 1)
		u := backendtest.Upload("f", body)
		u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
		if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err == nil {
			t.Fatal("it was to fail")
		}
		d := s.o.Spill.(*DirSpill)
		if err := harm(filepath.Join(d.root.Name(), spilled(t, d)[0].Name())); err != nil {
			t.Fatal(err)
		}
		e, err := s.Put(t.Context(), u, bytes.NewReader(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		readsBack(t, s, e, body)
	}
}

// Somebody who may not read any more must not get what was encrypted for him before and is sent after.
func TestResumeForOtherRecipients(t *testing.T) {
	m := mem.New(0)
	m.SetPartSize(100_000)
	s := both(t, m)
	cut := true
	m.Before(func(op mem.Op) error {
		if op.Name == "part" && op.Off > 0 && cut {
			return errors.New("the line is cut")
		}
		return nil
	})
	body := backendtest.Noise(300_000, 1)
	u := backendtest.Upload("f", body)
	u.Checkpoint = func(state []byte) error { u.Resume = bytes.Clone(state); return nil }
	if _, err := s.Put(t.Context(), u, bytes.NewReader(body)); err == nil {
		t.Fatal("it was to fail")
	}
	cut = false
	heir := newIdentity(t)
	now := both(t, m, func(o *Options) {
		o.Identities, o.Recipients, o.Spill = []Identity{heir}, []Recipient{heir.Recipient()}, s.o.Spill
	})
	e, err := now.Put(t.Context(), u, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	readsBack(t, now, e, body)
}

// cp of the same folder twice sends it once: what lies there is known by its plaintext's checksum, also after a chmod and a rename.
func TestSameContentIsKnown(t *testing.T) {
	m := mem.New(0)
	s := both(t, m)
	body := backendtest.Noise(10_000, 1)
	u := backendtest.Upload("f", body)
	e, err := s.Put(t.Context(), u, bytes.NewReader(body))
	if err == nil {
		e, err = s.Copy(t.Context(), e, backends.Upload{Name: "f", Old: e, Meta: map[string]string{"mode": "600"}})
	}
	if err == nil {
		e, err = s.Copy(t.Context(), e, backends.Upload{Name: "g", Meta: map[string]string{"mode": "640"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]string{"f": "600", "g": "640"} {
		got, err := s.Examine(t.Context(), name)
		if err != nil || !got.HasCRC || got.CRC64NVME != u.CRC64NVME || got.Entry.Size != 10_000 || len(got.Meta) != 1 || got.Meta["mode"] != mode {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if e.Size != 10_000 || e.Name != "g" {
		t.Errorf("%+v", e)
	}
}

// A file that lay there in clear, or in the lab's old format, is replaced by its encrypted successor, and does not come back.
func TestReplacingOtherKinds(t *testing.T) {
	m := mem.New(0)
	s := both(t, m, func(o *Options) { o.Password = backends.NewSecret(labPassword) })
	m.PutBytes("clear", []byte("old"))
	m.PutBytes("des.enc", desFile(t, 0, labPassword, []byte("old")))
	for _, name := range []string{"clear", "des"} {
		u := backendtest.Upload(name, []byte("new"))
		u.Old = stat(t, s, name)
		stale := u
		stale.Old.Version = strings.Replace(u.Old.Version, "1", "9", 1) + "9"
		if name == "clear" {
			if _, err := s.Put(t.Context(), stale, strings.NewReader("new")); !errors.Is(err, backends.ErrChanged) {
				t.Errorf("over a version that is there no more: %v", err)
			}
		}
		e, err := s.Put(t.Context(), u, strings.NewReader("new"))
		if err != nil {
			t.Fatal(err)
		}
		readsBack(t, s, e, []byte("new"))
		if all := list(t, s); s.Counts().HiddenKeys != 0 {
			t.Errorf("%+v", all)
		}
	}
	for _, key := range []string{"clear", "des.enc"} {
		if _, there := m.Bytes(key); there {
			t.Errorf("%s is still there", key)
		}
	}
}

// Somebody else changes the clear file just while its encrypted successor is stored: theirs stays, ours goes.
func TestReplacingLosesARace(t *testing.T) {
	m := mem.New(0)
	s := both(t, m)
	m.PutBytes("clear", []byte("old"))
	u := backendtest.Upload("clear", []byte("new"))
	u.Old = stat(t, s, "clear")
	m.After(func(op mem.Op) error {
		if op.Name == "put" {
			m.PutBytes("clear", []byte("theirs"))
		}
		return nil
	})
	if _, err := s.Put(t.Context(), u, strings.NewReader("new")); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("%v", err)
	}
	readsBack(t, s, stat(t, s, "clear"), []byte("theirs"))
}

// slow is a body that counts what is read as if sent, and what is read for sums.
type slow struct {
	io.ReaderAt

	mu           sync.Mutex
	sent, summed int64
}

func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	s.sent += int64(len(p))
	s.mu.Unlock()
	return s.ReaderAt.ReadAt(p, off)
}

func (s *slow) Unmetered() io.ReaderAt {
	return readerAt(func(p []byte, off int64) (int, error) {
		s.mu.Lock()
		s.summed += int64(len(p))
		s.mu.Unlock()
		return s.ReaderAt.ReadAt(p, off)
	})
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// A cap on the bandwidth is kept: the bytes that go out wait for the tap, encrypting them beforehand does not.
func TestBandwidthIsCapped(t *testing.T) {
	m := mem.New(0)
	m.SetPartSize(100_000)
	s := both(t, m)
	body := backendtest.Noise(1_000_000, 1)
	b := &slow{ReaderAt: bytes.NewReader(body)}
	e, err := s.Put(t.Context(), backendtest.Upload("f", body), b)
	if err != nil {
		t.Fatal(err)
	}
	if b.sent != 1_000_000 || b.summed != 1_000_000 {
		t.Errorf("%d bytes waited for, %d read ahead", b.sent, b.summed)
	}
	readsBack(t, s, e, body)
}

// Nothing is written in clear by mistake.
func TestNeverInClear(t *testing.T) {
	secret := bytes.Repeat([]byte("participant 4711 "), 10_000)
	m := mem.New(0)
	s := both(t, m)
	u := backendtest.Upload("f", secret)
	seen := 0
	m.Before(func(op mem.Op) error {
		if op.Name == "put" {
			for _, f := range spilled(t, s.o.Spill.(*DirSpill)) {
				b, err := os.ReadFile(filepath.Join(s.o.Spill.(*DirSpill).root.Name(), f.Name()))
				if seen++; err != nil || bytes.Contains(b, secret[:17]) {
					t.Errorf("%v, or in clear", err)
				}
			}
		}
		return nil
	})
	if _, err := s.Put(t.Context(), u, bytes.NewReader(secret)); err != nil || seen != 1 {
		t.Errorf("%v, %d ciphertexts seen", err, seen)
	}
	if b, _ := m.Bytes("f.age"); bytes.Contains(b, secret[:17]) {
		t.Error("in clear")
	}
	reads, err := New(m, Options{Identities: s.o.Identities})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reads.Put(t.Context(), backendtest.Upload("g", secret), bytes.NewReader(secret)); !errors.Is(err, backends.ErrReadOnly) {
		t.Errorf("without recipients: %v", err)
	}
	if _, err := New(m, Options{Recipients: s.o.Recipients}); err == nil {
		t.Error("no place for ciphertexts, and no error")
	}
}

// readOnly hides all that a source can do but reading.
type readOnly struct{ backends.Source }

func TestOverAReader(t *testing.T) {
	m := mem.New(0)
	m.PutBytes("f", []byte("body"))
	s := both(t, readOnly{m})
	e := stat(t, s, "f")
	_, putErr := s.Put(t.Context(), backendtest.Upload("g", nil), bytes.NewReader(nil))
	_, copyErr := s.Copy(t.Context(), e, backends.Upload{Name: "g"})
	for _, err := range []error{putErr, copyErr, s.Remove(t.Context(), e)} {
		if !errors.Is(err, backends.ErrReadOnly) {
			t.Errorf("%v", err)
		}
	}
	if _, err := s.Examine(t.Context(), "f"); !errors.Is(err, backends.ErrPermission) {
		t.Errorf("%v", err)
	}
	if s.Abilities() != (backends.Abilities{}) || s.Trouble() != nil {
		t.Error("abilities out of nowhere")
	}
}

// A ciphertext that nobody asks for again is removed after a week, and not before; other files are left alone.
func TestOldCiphertextsGo(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"cipher-old": 8 * 24 * time.Hour, "cipher-new": time.Hour, "notes": 9 * 24 * time.Hour} {
		path := filepath.Join(dir, name)
		write(t, path, nil)
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDirSpill(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var names []string
	for _, f := range spilled(t, d) {
		names = append(names, f.Name())
	}
	if got := strings.Join(names, " "); got != "cipher-new notes" {
		t.Errorf("%q", got)
	}
	for _, id := range []string{"notes", "../x", "cipher-/../../x", ""} {
		if f, err := d.Open(context.Background(), id); err == nil {
			t.Errorf("%q opened", id)
			f.Close(true)
		}
	}
}

// Encrypting is not to halve the speed of uploads.
func BenchmarkPut(b *testing.B) {
	const size = 128 << 20
	body := backendtest.Noise(size, 1)
	for _, name := range []string{"clear", "encrypted"} {
		b.Run(name, func(b *testing.B) {
			_, src := overS3(b, s3.WriteOptions{})
			var w backends.Writer = src
			if name == "encrypted" {
				w = both(b, src)
			}
			var old backends.Entry
			b.SetBytes(size)
			for b.Loop() {
				u := backendtest.Upload("f", body)
				u.Old = old
				u.Meta = map[string]string{"try": strconv.Itoa(b.N)}
				e, err := w.Put(b.Context(), u, bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				old = e
			}
		})
	}
}

// The part of it that is not the network.
func BenchmarkEncrypt(b *testing.B) {
	const size = 256 << 20
	body := backendtest.Noise(size, 1)
	u := backendtest.Upload("f", body)
	s := both(b, mem.New(0))
	b.SetBytes(size)
	for b.Loop() {
		c, err := s.cipher(b.Context(), u, bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		c.file.Close(false)
	}
}
