package budget

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/tests/harness"
)

// What a program says of how it will read (posix_fadvise) reaches us only as the reads that the kernel makes of it. For WILLNEED it reads as much as it reads
// ahead at most, 1 MiB, however much the program named: those bytes are fetched and no others, and are here when the program comes. With RANDOM
// each read is one request of 128 KiB, as without.
func TestAdvice(t *testing.T) {
	const size = 64 << 20
	body := harness.Pattern(9, size)
	srv, dir := mount(t, map[string]harness.File{"image.nii": {Body: body}})
	open := func(off, n int64, advice int) *os.File {
		f, err := os.Open(filepath.Join(dir, "image.nii"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if err := unix.Fadvise(int(f.Fd()), off, n, advice); err != nil {
			t.Fatal(err)
		}
		return f
	}
	read := func(f *os.File, off, n int64) {
		t.Helper()
		p := make([]byte, n)
		if _, err := f.ReadAt(p, off); err != nil || string(p) != string(body[off:off+n]) {
			t.Fatalf("at %d: wrong bytes, %v", off, err)
		}
	}
	for _, c := range []struct {
		what         string
		off, n, have int64
	}{
		{"a slice", 16 << 20, 256 << 10, 256 << 10},
		{"half of the file", 32 << 20, 32 << 20, 1 << 20},
	} {
		t.Run("willneed "+c.what, func(t *testing.T) {
			srv.Reset()
			f := open(c.off, c.n, unix.FADV_WILLNEED)
			for range 500 { // the call does not wait for what it begins
				if srv.Count("GetObject") > 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			read(f, c.off, min(c.have, 128<<10))
			within(t, srv, 1, 2, max(c.have, 512<<10)) // where the kernel's read-ahead cannot be set, it comes in pieces of 128 KiB
		})
	}
	t.Run("random", func(t *testing.T) {
		srv.Reset()
		f := open(0, 0, unix.FADV_RANDOM)
		for i := range int64(10) {
			read(f, 1<<20+i*1_300_000, 4096)
		}
		within(t, srv, 1, 10, 10*256<<10)
	})
}
