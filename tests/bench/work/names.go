package work

import (
	"fmt"
	"strings"

	"studyfs/tests/bench/data"
)

// count writes how many files a set has.
func count(set data.Spec) string {
	text := fmt.Sprint(set.Count)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// sizeText writes a size that is a whole number of a unit.
func sizeText(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if one := int64(1) << (30 - 10*i); n >= one && n%one == 0 {
			return fmt.Sprint(n/one) + " " + unit
		}
	}
	return fmt.Sprint(n) + " bytes"
}

// lines joins the lines of a script.
func lines(all ...string) string { return strings.Join(all, "\n") }
