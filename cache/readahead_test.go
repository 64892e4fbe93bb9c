package cache

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"studyfs/backends"
)

// The golden file is a list of sequences: "handle MAX" begins one, "eager MAX" one of somebody who is known to read on, "read OFF N" is a read, and the line after it what the
// window answered, in KiB.
func TestReadaheadGolden(t *testing.T) {
	raw, err := os.ReadFile("testdata/readahead.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var r readahead
	for line := range strings.Lines(string(raw)) {
		var off, n int64
		switch {
		case strings.HasPrefix(line, "handle"):
			fmt.Sscanf(line, "handle %d", &n)
			r = readahead{max: n << 10}
		case strings.HasPrefix(line, "eager"):
			fmt.Sscanf(line, "eager %d", &n)
			r = readahead{max: n << 10, eager: true}
		case strings.HasPrefix(line, "read"):
			fmt.Sscanf(line, "read %d %d", &off, &n)
			end, jumped := r.read(off<<10, n<<10)
			fmt.Fprintf(&out, "%s  ahead %d", line, end>>10-off-n)
			if jumped {
				out.WriteString(" jumped")
			}
			out.WriteString("\n")
			continue
		case strings.HasPrefix(line, "  ahead"):
			continue
		}
		out.WriteString(line)
	}
	if got := out.String(); got != string(raw) {
		if os.Getenv("STUDYFS_UPDATE") != "" {
			if err := os.WriteFile("testdata/readahead.txt", []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
		t.Errorf("got:\n%s\nwant:\n%s", got, raw)
	}
}

// 100 random reads of 4 KiB in 256 MiB may cost 100 blocks and hardly more: a window that opens by chance would break the
// budget of 13 MiB.
func TestReadaheadRandomStaysNarrow(t *testing.T) {
	seed := uint64(1)
	next := func(n int64) int64 {
		seed = seed*6364136223846793005 + 1442695040888963407
		return int64(seed>>33) % n
	}
	over := 0
	for range 1000 {
		r := readahead{max: 32 << 20}
		var ahead int64
		for range 100 {
			off := next(256<<20/4096) * 4096
			if end, _ := r.read(off, 4096); end > off+4096 {
				ahead += end - off - 4096
			}
		}
		if ahead > 400<<10 {
			over++
		}
	}
	if over > 20 {
		t.Errorf("%d of 1000 random walks fetched more than 400 KiB ahead", over)
	}
}

func TestReadaheadSequentialWastesNothing(t *testing.T) {
	const size = 256 << 20
	r := readahead{max: 32 << 20}
	last := int64(0)
	for off := int64(0); off < size; off += 128 << 10 {
		end, jumped := r.read(off, 128<<10)
		if jumped {
			t.Fatalf("jumped at %d", off)
		}
		if end < last {
			t.Fatalf("window went back at %d: %d after %d", off, end, last)
		}
		last = end
	}
	if last-size > 32<<20 {
		t.Errorf("window ends %d bytes beyond the file", last-size)
	}
}

// The head of a large file costs a look at it, until somebody has read one of the directory to its end; then the next one comes a round trip sooner, until
// somebody only looks again.
func TestWhoReadsOneToItsEndReadsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 8 << 20
		src := newFake()
		var all []backends.Entry
		for i := range 6 {
			all = append(all, src.put(fmt.Sprintf("d/%d.edf", i), 1, size))
		}
		s, stop := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
		defer stop()
		head := func(i int, want int64) {
			t.Helper()
			before := src.bytes()
			mustRead(t, s, all[i], 1, 0, 64<<10)
			synctest.Wait()
			if n := src.bytes() - before; n != want {
				t.Errorf("the head of file %d cost %d bytes, not %d", i, n, want)
			}
		}
		head(0, 64<<10)
		r, err := s.Open(t.Context(), all[1])
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < size; off += 128 << 10 {
			readAndCompare(t, r, 1, off, 128<<10)
		}
		r.Close()
		head(2, firstWindow+(64<<10))
		head(3, 64<<10)
	})
}
