package cache

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The golden file is a list of sequences: "handle MAX" begins one, "read OFF N" is a read, and the line after it what the
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
