package tomlfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

const sample = `# my studies
memory = "1GiB"   # enough

[cache]
size = "2GiB"
[source.a]
kind = "ecog"
video = { target = "s3://v/", encrypt-to = ["x",
  "y"] }
edf.target = "s3://e/"
[source."b c"]
  kind = "s3"`

// Whoever is told of a mistake finds it: the line is the right one, also in tables of one line and of several.
func TestLinesOfKeys(t *testing.T) {
	got := Lines([]byte(sample))
	for path, want := range map[string]int{
		"memory": 2, "cache": 4, "cache.size": 5, "source.a": 6, "source.a.kind": 7, "source.a.video": 8, "source.a.video.target": 8,
		"source.a.video.encrypt-to": 8, "source.a.edf.target": 10, "source.b c": 11, "source.b c.kind": 12,
	} {
		if got[path] != want {
			t.Errorf("%s: line %d; want %d", path, got[path], want)
		}
	}
	if got := Lines([]byte("a = 1\nb = = 2\nc = 3\n")); got["a"] != 1 || got["c"] != 0 {
		t.Errorf("of a file with a mistake: %v", got)
	}
}

// What people wrote is theirs: a table that is added changes not a byte of it, and says what it was told to.
func TestAppendLeavesTheRestAlone(t *testing.T) {
	for _, before := range []string{"", "\n", sample, sample + "\n", "# only a comment"} {
		nasty := "a\"b\\c\x01\u00e9"
		text, err := Append([]byte(before), []string{"source", "x.y z"}, []Key{
			{"url", nasty}, {"write", true}, {"streams", []string{"gps", "calls"}}, {"upload-parallel", 3}, {"nas", []Key{{"target", "dir:/mnt/a b"}}},
		})
		if err != nil || !strings.HasPrefix(string(text), before) {
			t.Fatalf("%q: %v\n%s", before, err, text)
		}
		var tree struct {
			Source map[string]struct {
				URL      string   `toml:"url"`
				Write    bool     `toml:"write"`
				Streams  []string `toml:"streams"`
				Parallel int      `toml:"upload-parallel"`
				NAS      struct {
					Target string `toml:"target"`
				} `toml:"nas"`
			} `toml:"source"`
		}
		if err := toml.Unmarshal(text, &tree); err != nil {
			t.Fatal(err)
		}
		got := tree.Source["x.y z"]
		if got.URL != nasty || !got.Write || len(got.Streams) != 2 || got.Parallel != 3 || got.NAS.Target != "dir:/mnt/a b" {
			t.Errorf("%q: %+v\n%s", before, got, text)
		}
	}
	if _, err := Append([]byte(sample), []string{"source", "a"}, nil); err == nil {
		t.Error("a table that is there was added again")
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "config.toml")
	if err := Replace(path, nil, []byte("one")); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link.toml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o644)
	if err := Replace(link, []byte("one"), []byte("two")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode().IsRegular() {
		t.Errorf("the link has become a file: %v, %v", info.Mode(), err)
	}
	if info, err = os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// Somebody saves it in an editor while questions are answered.
	os.WriteFile(path, []byte("theirs"), 0o600)
	if err := Replace(path, []byte("two"), []byte("three")); !errors.Is(err, ErrChanged) {
		t.Errorf("over somebody's change: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "theirs" {
		t.Errorf("it holds %q", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "new", ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
