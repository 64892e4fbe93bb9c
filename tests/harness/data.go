package harness

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/backends/s3/s3test"
	"studyfs/backends/s3/s3test/sample"
)

// File is what a source holds under a key.
type File struct {
	Body []byte
	Mod  time.Time
}

// Collect reads sample data into memory, with prefix cut off the keys.
func Collect(t testing.TB, prefix string, files iter.Seq2[string, s3test.Object]) map[string]File {
	t.Helper()
	all := map[string]File{}
	for key, o := range files {
		body, err := io.ReadAll(io.NewSectionReader(o.Body, 0, o.Size))
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(key, prefix)] = File{body, o.ModTime}
	}
	return all
}

// Study returns a small study: an organisation of two participants and two days, and files of sizes around every boundary there is.
func Study(t testing.TB) map[string]File {
	t.Helper()
	all := Collect(t, sample.EmpaticaPrefix, sample.Empatica(sample.Options{Participants: 2, Days: 2}))
	mod := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const block = 128 << 10
	for _, n := range []int{0, 1, 4095, 4096, block - 1, block, block + 1, 4 << 20, 4<<20 + 1, 9<<20 + 12345} {
		all[fmt.Sprintf("sizes/%d", n)] = File{Pattern(int64(n), n), mod}
	}
	for _, name := range []string{"with space", "ünïcode", "plus+and%20percent", "a.txt", "a-1", "a/inside", strings.Repeat("n", 255)} {
		all["names/"+name] = File{[]byte(name), mod}
	}
	return all
}

// Pattern returns n bytes that depend on the seed and on their place, none of them NUL.
func Pattern(seed int64, n int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x) | 1
	}
	return b
}

// Compare reads the whole tree below dir and holds it against want: names, kinds, modes, sizes, times and every byte.
func Compare(t testing.TB, dir string, want map[string]File) {
	t.Helper()
	seen := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			if info.Mode().Perm() != 0o555 {
				t.Errorf("%s: mode %v", name, info.Mode())
			}
			return nil
		}
		seen[name] = true
		f, ok := want[name]
		if !ok {
			t.Errorf("%s: not in the source", name)
			return nil
		}
		if info.Mode() != 0o444 || info.Size() != int64(len(f.Body)) || !info.ModTime().Equal(f.Mod.Truncate(time.Second)) {
			t.Errorf("%s: %v %d %v, want 0444 %d %v", name, info.Mode(), info.Size(), info.ModTime(), len(f.Body), f.Mod)
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, f.Body) {
			t.Errorf("%s: bytes differ (%d of %d), %v", name, len(got), len(f.Body), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !seen[name] {
			t.Errorf("%s: not in the mount", name)
		}
	}
}
