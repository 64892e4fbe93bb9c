package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/backends/beiwe/keyring"
)

// defaultKeyring is where mano looks for it.
const defaultKeyring = "~/.nrg-keyring.enc"

// beiweSpec is what a sourceSpec holds of a Beiwe server. The keys travel with it through the pipe, and nowhere else.
type beiweSpec struct {
	Server    string        `json:"server"`
	Section   string        `json:"section,omitempty"` // of the keyring; "" for the BEIWE_* variables
	AccessKey string        `json:"access_key"`
	SecretKey string        `json:"secret_key"`
	Streams   []string      `json:"streams,omitempty"`
	Since     string        `json:"since,omitempty"`
	Until     string        `json:"until,omitempty"`
	Lock      []string      `json:"lock,omitempty"` // streams whose contents never lie in clear on this disk
	Refresh   time.Duration `json:"refresh,omitempty"`

	secrets map[string]backends.Secret // what studies lock files with; stays in this process
}

// buildBeiwe makes a source of its settings: the account comes from the keyring, or from the environment.
func (l *loaded) buildBeiwe(name string, c sourceConfig) (sourceSpec, error) {
	s := sourceSpec{Name: name, Kind: kindBeiwe}
	account, from, err := l.beiweAccount(c)
	if err != nil {
		return s, err
	}
	s.KeysFrom = from
	if c.inHand == nil {
		s.KeysRef = c.Keys
	}
	s.Beiwe = &beiweSpec{
		Server: account.URL, Section: c.Section, AccessKey: account.AccessKey.Reveal(), SecretKey: account.SecretKey.Reveal(),
		Streams: c.Streams, Since: c.Since, Until: c.Until, Lock: c.Lock, Refresh: time.Duration(c.Refresh),
		secrets: account.Secrets,
	}
	if s.Name == "" {
		if s.Name = kindBeiwe; validFolder(c.Section) {
			s.Name = c.Section
		}
	}
	if _, err := s.beiweOptions(timeouts{}, nil); err != nil {
		return s, err
	}
	return s, nil
}

// beiweAccount finds the account of a source, and says where it was.
func (l *loaded) beiweAccount(c sourceConfig) (account keyring.Account, from string, err error) {
	if c.Keys != "" || c.inHand != nil {
		return l.beiweKeys(c)
	}
	if c.Section == "" {
		from = "the BEIWE_* variables"
		if account, err = keyring.FromEnvironment(l.env.get); err != nil {
			return account, from, &failure{
				What: "beiwe:", Why: lastCause(err),
				Do: "set BEIWE_URL, BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY,\nor name a section of mano's keyring: beiwe:SECTION", Code: exitConfig,
			}
		}
		return account, from, nil
	}
	ring, path, err := l.keyring(c)
	from = "section " + c.Section + " of " + path
	if err != nil {
		return account, from, err
	}
	account, err = accountOf(ring, path, c.Section)
	return account, from, err
}

// accountOf finds a section of a keyring.
func accountOf(ring *keyring.Keyring, path, section string) (keyring.Account, error) {
	account, err := ring.Account(section)
	if err == nil {
		return account, nil
	}
	f := &failure{What: path, Why: lastCause(err), Do: "studyfs config keyring show " + quote(path) + " shows what is in it", Code: exitConfig}
	if errors.Is(err, keyring.ErrNoSection) {
		f.Why = "it has no section " + section
		if near := nearest(section, ring.Sections()); near != "" {
			f.Do = "did you mean beiwe:" + near + "?\n" + f.Do
		}
	}
	return account, f
}

// beiweKeys finds the account in a keyring in clear, which keys refer to: of the section named, or the only one.
func (l *loaded) beiweKeys(c sourceConfig) (account keyring.Account, from string, err error) {
	hand := c.inHand
	if hand == nil {
		hand = &keysInHand{from: c.Keys}
		ref, err := secretRef("keys", c.Keys, "file", "cmd", refKeyring)
		if err == nil {
			hand.text, err = followRef(l.env, ref, "the keys of the Beiwe server")
		}
		if err != nil {
			return account, hand.from, err
		}
	}
	wrong := &failure{What: hand.from, Do: "it must be a keyring in clear: studyfs config keyring --help shows what that looks like", Code: exitConfig}
	ring, err := keyring.Parse(hand.text)
	if err != nil {
		wrong.Why = lastCause(err)
		return account, hand.from, wrong
	}
	section := c.Section
	if all := ring.Sections(); section == "" && len(all) == 1 {
		section = all[0]
	}
	if account, err = ring.Account(section); err != nil {
		wrong.Why = lastCause(err)
		return account, hand.from, wrong
	}
	return account, hand.from, nil
}

// keyring opens the keyring that a source refers to.
func (l *loaded) keyring(c sourceConfig) (*keyring.Keyring, string, error) {
	return openRing(c, func(what string) (backends.Secret, error) { return passphraseFor(l.env, what) })
}

// openRing opens the keyring that a source refers to with the passphrase that ask comes by.
func openRing(c sourceConfig, ask func(what string) (backends.Secret, error)) (*keyring.Keyring, string, error) {
	path := c.Keyring
	if path == "" {
		path = defaultKeyring
	}
	path = strings.TrimPrefix(path, "file:")
	raw, err := os.ReadFile(expandHome(path))
	if err != nil {
		return nil, path, &failure{
			What: path, Why: lastCause(err), Code: exitConfig,
			Do: "give mano's keyring with --keyring FILE, make one with studyfs config keyring encrypt,\nor use the BEIWE_* variables: beiwe:",
		}
	}
	passphrase, err := ask("the keyring " + path)
	if err != nil {
		return nil, path, err
	}
	ring, err := keyring.Read(raw, passphrase)
	if err != nil {
		return nil, path, &failure{
			What: path, Why: lastCause(err), Do: "check NRG_KEYRING_PASS, or the file with studyfs config keyring decrypt " + quote(path), Code: exitPermission,
		}
	}
	return ring, path, nil
}

// beiweOptions turns the source into what the backend wants to know.
func (s *sourceSpec) beiweOptions(t timeouts, log *slog.Logger) (beiwe.Options, error) {
	b := s.Beiwe
	o := beiwe.Options{
		URL: b.Server, AccessKey: backends.NewSecret(b.AccessKey), SecretKey: backends.NewSecret(b.SecretKey), Streams: b.Streams,
		Refresh: b.Refresh, Log: log, Now: time.Now,
		Timeouts: beiwe.Timeouts{Dial: t.Dial, FirstByte: t.Answer, Progress: t.Progress, Retry: t.Retry},
	}
	for flag, day := range map[string]struct {
		text string
		into *beiwe.Day
	}{"--since": {b.Since, &o.Since}, "--until": {b.Until, &o.Until}} {
		if day.text == "" {
			continue
		}
		var err error
		if *day.into, err = beiwe.ParseDay(day.text); err != nil {
			return o, usagef("%s: %v", flag, err)
		}
	}
	known := beiwe.Streams()
	for _, name := range slices.Concat(b.Streams, b.Lock) {
		if !slices.Contains(known, name) {
			return o, &failure{What: fmt.Sprintf("stream %q", name), Why: "no Beiwe server has it", Do: "it has: " + strings.Join(known, ", "), Code: exitUsage}
		}
	}
	return o, nil
}

// locked reports whether a file's contents must not lie in clear on this disk: it is of a stream that the source locks.
func (b *beiweSpec) locked(name string) bool {
	parts := strings.SplitN(name, "/", 4) // STUDY/PARTICIPANT/STREAM/…
	return len(parts) == 4 && slices.Contains(b.Lock, parts[2])
}
