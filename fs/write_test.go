package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// ways runs a test with the kernel writing to local files itself, with every write a request, and with staged files that are encrypted.
func ways(t *testing.T, o setup, f func(t *testing.T, m *mounted)) {
	t.Helper()
	o.Lab = true
	for _, pass := range []bool{true, false} {
		t.Run(fmt.Sprintf("passthrough=%v", pass), func(t *testing.T) {
			o.NoPassthrough = !pass
			f(t, mount(t, o))
		})
	}
	t.Run("encrypted", func(t *testing.T) {
		o.NoPassthrough, o.StageKey = false, bytes.Repeat([]byte("k"), 32)
		f(t, mount(t, o))
	})
}

// What is written can be read at once, while it is open, after it is closed, and after it was stored.
func TestReadYourWrites(t *testing.T) {
	ways(t, setup{}, func(t *testing.T, m *mounted) {
		want := content("f", "1", 0, 3<<20+17)
		if err := os.MkdirAll(m.path("d/e"), 0o750); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(m.path("d/e/f"), os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		for off := 0; off < len(want); off += 100_000 {
			if _, err := f.Write(want[off:min(off+100_000, len(want))]); err != nil {
				t.Fatal(err)
			}
		}
		if st, err := f.Stat(); err != nil || st.Size() != int64(len(want)) || st.Mode() != 0o640 {
			t.Errorf("while it is open: %v, %v", st, err)
		}
		if got, err := os.ReadFile(m.path("d/e/f")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("by another handle: %d bytes, %v", len(got), err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		before := inode(t, m.path("d/e/f"))
		for _, when := range []string{"staged", "stored"} {
			if when == "stored" {
				m.upload()
			}
			got, err := os.ReadFile(m.path("d/e/f"))
			st, serr := os.Stat(m.path("d/e/f"))
			if err != nil || serr != nil || !bytes.Equal(got, want) || st.Mode() != 0o640 || inode(t, m.path("d/e/f")) != before {
				t.Errorf("%s: %d bytes, %v, %v %v", when, len(got), err, st, serr)
			}
			if d, err := os.Stat(m.path("d/e")); err != nil || d.Mode() != os.ModeDir|0o750 {
				t.Errorf("%s: directory %v, %v", when, d, err)
			}
		}
		if got := m.do("objects", "."); got != `"d/e/f"` {
			t.Errorf("objects: %s", got)
		}
	})
}

// upload stores all that is staged and closed.
func (m *mounted) upload() {
	m.t.Helper()
	if got := m.do("upload", "."); got != "<nil>" {
		m.t.Fatalf("upload: %s", got)
	}
}

// settle waits until all is stored.
func (m *mounted) settle() {
	m.t.Helper()
	if got := m.do("wait", "."); got != "<nil>" {
		m.t.Fatalf("wait: %s", got)
	}
}

// store is upload or settle, whichever the mount has.
func (m *mounted) store() {
	if m.eager {
		m.settle()
		return
	}
	m.upload()
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// A stored file can be opened for writing in every way; the rest of it stays.
func TestChangeStoredFile(t *testing.T) {
	const size = 2<<20 + 5
	for what, row := range map[string]struct {
		flags int
		write string
		at    int64
		want  func([]byte) []byte
	}{
		"append":   {os.O_WRONLY | os.O_APPEND, "more", 0, func(b []byte) []byte { return append(b, "more"...) }},
		"truncate": {os.O_WRONLY | os.O_TRUNC | os.O_CREATE, "short", 0, func([]byte) []byte { return []byte("short") }},
		"patch":    {os.O_RDWR, "patch", 1 << 20, func(b []byte) []byte { copy(b[1<<20:], "patch"); return b }},
	} {
		t.Run(what, func(t *testing.T) {
			ways(t, setup{Objects: []object{{Name: "d/f", Version: "1", Size: size}}}, func(t *testing.T, m *mounted) {
				before := inode(t, m.path("d/f"))
				f, err := os.OpenFile(m.path("d/f"), row.flags, 0o644)
				if err != nil {
					t.Fatal(err)
				}
				if row.at > 0 {
					f.Seek(row.at, 0)
				}
				if _, err := f.WriteString(row.write); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				want := row.want(content("d/f", "1", 0, size))
				for _, when := range []string{"staged", "stored"} {
					if got, err := os.ReadFile(m.path("d/f")); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes of %d, %v", when, len(got), len(want), err)
					}
					if got := inode(t, m.path("d/f")); got != before {
						t.Errorf("%s: inode number %d, was %d", when, got, before)
					}
					m.upload()
				}
			})
		})
	}
}

// A file is emptied: nothing of it is fetched for that.
func TestTruncateFetchesNothing(t *testing.T) {
	ways(t, setup{Objects: []object{{Name: "d/f", Version: "1", Size: 64 << 20}}}, func(t *testing.T, m *mounted) {
		if _, err := os.Stat(m.path("d/f")); err != nil {
			t.Fatal(err)
		}
		before := m.do("requests", ".")
		if err := os.WriteFile(m.path("d/f"), []byte("new"), 0o644); err != nil {
			t.Error(err)
		}
		if err := os.Truncate(m.path("d/f"), 0); err != nil {
			t.Error(err)
		}
		if after := m.do("requests", "."); after != before {
			t.Errorf("requests: %s, before %s", after, before)
		}
		if st, err := os.Stat(m.path("d/f")); err != nil || st.Size() != 0 {
			t.Errorf("%v, %v", st, err)
		}
	})
}

// Stored files stay unless deleting was allowed; an empty directory's marker may always go.
func TestDeleting(t *testing.T) {
	for _, deletes := range []bool{false, true} {
		t.Run(fmt.Sprintf("delete=%v", deletes), func(t *testing.T) {
			ways(t, setup{Delete: deletes, Objects: []object{{Name: "d/f", Version: "1", Size: 9}, {Name: "e/"}, {Name: "g/h", Version: "1", Size: 9}}}, func(t *testing.T, m *mounted) {
				want, left := error(unix.EPERM), `"d/f g/h"`
				if deletes {
					want, left = nil, `"d/ g/i"`
				}
				if err := unix.Unlink(m.path("d/f")); !errors.Is(err, want) {
					t.Errorf("unlink: %v", err)
				}
				if err := unix.Rename(m.path("g/h"), m.path("g/i")); !errors.Is(err, want) {
					t.Errorf("rename: %v", err)
				}
				if err := unix.Rename(m.path("g"), m.path("k")); !errors.Is(err, unix.EXDEV) {
					t.Errorf("rename of a directory: %v", err)
				}
				if err := unix.Rmdir(m.path("e")); err != nil {
					t.Errorf("rmdir: %v", err)
				}
				if _, err := os.Stat(m.path("d")); err != nil {
					t.Errorf("the directory of what was deleted: %v", err)
				}
				if deletes {
					if got, err := os.ReadFile(m.path("g/i")); err != nil || !bytes.Equal(got, content("g/h", "1", 0, 9)) {
						t.Errorf("renamed: %q, %v", got, err)
					}
				}
				m.do("upload", ".")
				if got := m.do("objects", "."); got != left {
					t.Errorf("objects: %s, want %s", got, left)
				}
			})
		})
	}
}
