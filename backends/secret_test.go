package backends_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"studyfs/backends"
)

// A key that somebody prints by accident, deep inside a value or with a verb of numbers, must not end up in a log.
func TestSecretIsNeverPrinted(t *testing.T) {
	const planted = "wJalrXUtnFEMI-planted"
	s := backends.NewSecret(planted)
	type inner struct{ key backends.Secret }
	type outer struct {
		inner inner
		Shown backends.Secret
		list  []backends.Secret
	}
	deep := outer{inner{s}, s, []backends.Secret{s}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
		for _, value := range []any{s, &s, deep, &deep, map[string]any{"k": deep}} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, planted) || strings.Contains(text, fmt.Sprintf("%x", planted)) || strings.Contains(text, fmt.Sprintf("%d", []byte(planted))[1:20]) {
				t.Errorf("%s of %T: %s", verb, value, text)
			}
		}
	}
	if raw, err := json.Marshal(deep); err != nil || strings.Contains(string(raw), planted) {
		t.Errorf("%s, %v", raw, err)
	}
	if s.Reveal() != planted || s.Empty() || !(backends.Secret{}).Empty() || (backends.Secret{}).Reveal() != "" {
		t.Error("it does not reveal what was hidden")
	}
}
