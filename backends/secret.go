package backends

import "log/slog"

// Secret is a text that must not be seen. Every way of printing it gives "REDACTED"; Reveal gives the text. Two Secrets are
// compared by what they reveal, not with ==.
type Secret struct {
	text *string // a pointer, since fmt prints unexported fields of unexported fields without asking them: so it gives an address
}

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text, for the one call that needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.Reveal() == "" }

const redacted = "REDACTED"

// String returns "REDACTED".
func (Secret) String() string { return redacted }

// GoString returns "REDACTED": %#v would print the field.
func (Secret) GoString() string { return redacted }

// LogValue returns "REDACTED".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "REDACTED", for JSON and whatever else encodes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
