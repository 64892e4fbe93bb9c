package backends

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"": true, "a": true, "a/b": true, "...": true, "a b": true, "é": true, ".hidden": true, strings.Repeat("n", 255): true,
		"a//b": false, "/a": false, "a/": false, ".": false, "..": false, "a/../b": false, "./a": false, "a\x00b": false, "\xff": false,
		strings.Repeat("n", 256): false, "a/" + strings.Repeat("n", 256): false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %v", name, got)
		}
	}
}

func FuzzSplitJoin(f *testing.F) {
	f.Add("a/b/c")
	f.Add("a")
	f.Fuzz(func(t *testing.T, name string) {
		if dir, base := Split(name); ValidName(name) && Join(dir, base) != name {
			t.Errorf("%q splits into %q and %q", name, dir, base)
		}
	})
}
