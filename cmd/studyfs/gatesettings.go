package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"studyfs/cache/stage/gate"
)

// gatePolicy is the name of a [gate.Policy], or off; "" for the default.
type gatePolicy string

const gateOff gatePolicy = "off"

func (p gatePolicy) String() string { return string(p) }

// UnmarshalText reads a policy's name.
func (p *gatePolicy) UnmarshalText(text []byte) error {
	if string(text) != string(gateOff) {
		if _, err := gate.ParsePolicy(string(text)); err != nil {
			return fmt.Errorf("%q is not a gate; write off, refuse, park, scrub or warn", text)
		}
	}
	*p = gatePolicy(text)
	return nil
}

// gateSpec is what a sourceSpec holds of the rules by which files leave this machine. Of the words and secrets, only where they are is ever
// kept.
type gateSpec struct {
	Policy     gatePolicy `json:"policy"`
	WordsRef   string     `json:"words_ref,omitempty"`
	SecretRef  string     `json:"secret_ref,omitempty"` // of the words
	ShiftRef   string     `json:"shift_ref,omitempty"`
	KeepDates  bool       `json:"keep_dates,omitempty"`
	Encrypts   bool       `json:"encrypts,omitempty"`
	Labels     []string   `json:"labels,omitempty"`
	Extensions []string   `json:"extensions,omitempty"`
	Equipment  []string   `json:"equipment,omitempty"`

	Words  []byte `json:"words,omitempty"` // the file, which has no word in it but sums of them
	Secret []byte `json:"secret,omitempty"`
	Shift  []byte `json:"shift,omitempty"`
}

// maxWords bounds the file of a deny-list: 33 bytes a sum, and some sums a name.
const maxWords = 64 << 20

// on reports whether files are judged.
func (g *gateSpec) on() bool { return g != nil && g.Policy != gateOff }

// withoutSecrets is what may be kept of it.
func (g *gateSpec) withoutSecrets() *gateSpec {
	if g == nil {
		return nil
	}
	kept := *g
	kept.Words, kept.Secret, kept.Shift = nil, nil, nil
	return &kept
}

// secrets lists what must not be seen.
func (g *gateSpec) secrets() []string {
	if g == nil {
		return nil
	}
	var all []string
	for _, secret := range [][]byte{g.Secret, g.Shift} {
		if text := strings.TrimSpace(string(secret)); text != "" {
			all = append(all, text)
		}
	}
	return all
}

// settings are those that are only for a gate, and given.
func (c sourceConfig) gateSettings() (given []string) {
	for name, is := range map[string]bool{
		"words": c.Words != "", "words-secret": c.WordsSecret != "", "date-shift-secret": c.ShiftSecret != "", "keep-dates": c.KeepDates,
		"labels": len(c.Labels) > 0, "extensions": len(c.Extensions) > 0, "equipment": len(c.Equipment) > 0,
	} {
		if is {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	return given
}

// buildGate says by which rules files leave, nil for none. It reads no secrets yet.
func (l *loaded) buildGate(s sourceSpec, c sourceConfig) (*gateSpec, error) {
	if c.Kind == kindEcog && c.Gate == "" {
		c.Gate = gatePolicy(gate.Refuse.String())
	}
	switch given := c.gateSettings(); {
	case c.Gate == "" && len(given) > 0:
		return nil, &failure{
			What: s.describe(), Why: given[0] + " is for a gate, and there is none", Do: "add --gate refuse (or park, scrub, warn), or leave it out", Code: exitUsage,
		}
	case s.Write == nil && l.given.flags["gate"] != "" && !l.ReadOnly:
		return nil, usagef("--gate is for sources that are written to: add --write")
	case c.Gate == "", s.Write == nil:
		return nil, nil
	case c.Gate == gateOff:
		return &gateSpec{Policy: gateOff}, nil
	}
	return newGateSpec(s, c)
}

func newGateSpec(s sourceSpec, c sourceConfig) (*gateSpec, error) {
	g := &gateSpec{
		Policy: c.Gate, KeepDates: c.KeepDates, Labels: c.Labels, Extensions: c.Extensions, Equipment: c.Equipment, Encrypts: s.encrypts(),
	}
	for _, ext := range c.Extensions {
		if !strings.HasPrefix(ext, ".") || strings.ToLower(ext) != ext {
			return nil, usagef("extensions: %q is none; write them in small letters with their dots: .edf,.csv", ext)
		}
	}
	var err error
	if g.WordsRef, err = secretRef("words", c.Words, "file"); err == nil {
		g.SecretRef, err = secretRef("words-secret", c.WordsSecret, "file", "cmd", refKeyring)
	}
	if err == nil {
		g.ShiftRef, err = secretRef("date-shift-secret", c.ShiftSecret, "file", "cmd", refKeyring)
	}
	return g, err
}

// readGate follows the references of a source's gate.
func (s *sourceSpec) readGate(env environment) (err error) {
	g := s.Gate
	if !g.on() {
		return nil
	}
	if g.WordsRef != "" && len(g.Words) == 0 {
		if g.Words, err = readWords(strings.TrimPrefix(g.WordsRef, "file:")); err != nil {
			return err
		}
	}
	if g.SecretRef != "" && len(g.Secret) == 0 {
		if g.Secret, err = gateSecret(env, "words-secret", g.SecretRef); err != nil {
			return err
		}
	}
	if g.ShiftRef != "" && len(g.Shift) == 0 {
		if g.Shift, err = gateSecret(env, "date-shift-secret", g.ShiftRef); err != nil {
			return err
		}
	}
	_, err = g.rules()
	return err
}

// readWords reads the file of a deny-list.
func readWords(path string) ([]byte, error) {
	text, err := readOwnFile(path, maxWords)
	if f, ok := errors.AsType[*failure](err); ok && f.Code == exitConfig && f.Do != "" {
		f.What = "words " + path
		f.Do = "studyfs deid words FILE --out " + quote(path) + " makes it of a file with a name on each line"
		return nil, f
	}
	return text, err
}

// gateSecret follows a reference to a secret of a gate. An empty one would keep nothing.
func gateSecret(env environment, what, ref string) ([]byte, error) {
	text, err := followRef(env, ref, what)
	if err != nil {
		if f, ok := errors.AsType[*failure](err); ok && f.Code == exitConfig && strings.HasPrefix(ref, "file:") {
			path := strings.TrimPrefix(ref, "file:")
			f.What = what + " " + path
			f.Do = "make one, and keep a copy of it: (umask 077; head -c 32 /dev/urandom | base64 > " + quote(path) + ")"
		}
		return nil, err
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return nil, &failure{What: what, Why: ref + " gives none", Do: "put a long random text there", Code: exitConfig}
	}
	return text, nil
}

// rules are what files are judged by, nil for nothing. The secrets must have been read.
func (g *gateSpec) rules() (*gate.Rules, error) {
	if !g.on() {
		return nil, nil //nolint:nilnil // no rules are none
	}
	policy, err := gate.ParsePolicy(string(g.Policy))
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	r := &gate.Rules{
		Policy: policy, Secret: g.Shift, KeepDates: g.KeepDates, Encrypts: g.Encrypts, Extensions: g.Extensions, Labels: g.Labels, Equipment: g.Equipment,
	}
	if g.WordsRef == "" {
		return r, nil
	}
	path := strings.TrimPrefix(g.WordsRef, "file:")
	r.Words, err = gate.ReadDenylist(bytes.NewReader(g.Words), g.Secret)
	switch {
	case errors.Is(err, gate.ErrSecret):
		return nil, &failure{What: "words " + path, Why: "the list was made with another secret", Do: "give that one as words-secret, or make the list again: studyfs deid words", Code: exitConfig}
	case err != nil:
		return nil, &failure{What: "words " + path, Why: lastCause(err), Do: "it must be a file as studyfs deid words makes it", Code: exitConfig}
	}
	return r, nil
}

// judging reads what is needed to judge what leaves for a source, and returns its rules.
func (s *sourceSpec) judging(env environment) (*gate.Rules, error) {
	if err := s.readGate(env); err != nil {
		return nil, err
	}
	return s.Gate.rules()
}
