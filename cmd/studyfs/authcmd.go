package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"studyfs/backends"
	"studyfs/backends/beiwe/keyring"
	"studyfs/backends/crypt/cryptease"
	"studyfs/backends/s3"
	"studyfs/cmd/studyfs/prompt"
	"studyfs/cmd/studyfs/tomlfile"
)

const authLong = `Replaces the keys of a source of the configuration: asks for new ones (or takes them from --keys FILE; of Beiwe, from
BEIWE_ACCESS_KEY and BEIWE_SECRET_KEY), tries them, and puts them where the configuration says that they are: the desktop's keyring,
a file, a section of mano's keyring. Mounts that run take them at once; uploads that wait for new keys go on. Keys that the service
refuses change nothing.

Keys of the AWS configuration and those that a command prints are not ours to change: they are tried, and given to what is mounted.`

func (a *app) authCommand() *cobra.Command {
	var keys string
	c := &cobra.Command{
		Use: "auth [NAME]", Short: "replace the keys of a source, mounted or not", Long: authLong, Args: atMost(1),
		Example:           "  studyfs auth empatica\n  studyfs auth empatica --keys ~/Downloads/keys.csv",
		ValidArgsFunction: a.completeSources,
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, release := interruptible()
			defer release()
			open := a.terminal
			if open == nil {
				open = askingTerminal
			}
			ask := prompt.New(open)
			defer ask.Close() //nolint:errcheck // nothing is lost with it
			return a.authenticate(ctx, ask, argument(args, 0, ""), keys)
		},
	}
	c.Flags().StringVar(&keys, "keys", "", "the file with the new keys")
	return c
}

// authenticate is auth at a terminal.
func (a *app) authenticate(ctx context.Context, ask *prompt.Terminal, name, keys string) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	s := &setup{app: a, ctx: ctx, l: l, ask: ask, name: name, o: setupOptions{keys: keys}, store: newDesktopKeys(a.env)}
	if err := s.chooseSource(); err != nil {
		return err
	}
	n := &newKeys{setup: s, old: s.c}
	if err := n.gather(); err != nil { //nolint:contextcheck // s has it
		return err
	}
	if err := n.check(); err != nil { //nolint:contextcheck // a command that prints keys has its own patience
		return err
	}
	if err := s.try(ctx); err != nil {
		return err
	}
	if n.put != nil {
		if err := n.put(); err != nil {
			return err
		}
	}
	return n.tell(ctx)
}

// chooseSource finds the source that is meant.
func (s *setup) chooseSource() (err error) {
	names := s.l.sourceNames()
	switch {
	case len(names) == 0:
		return &failure{What: "auth", Why: s.l.path + " names no source", Do: "studyfs setup", Code: exitUsage}
	case s.name == "" && len(names) == 1:
		s.name = names[0]
	case s.name == "":
		if s.ask.Ready() != nil {
			return &failure{What: "auth", Why: "the configuration has several sources", Do: "studyfs auth NAME; one of " + strings.Join(names, ", "), Code: exitUsage}
		}
		err := s.want(question{text: "new keys of which source? " + strings.Join(names, ", "), flag: "NAME", take: func(answer string) error {
			if !s.has(answer) {
				return usagef("%q is not one of them", answer)
			}
			s.name = answer
			return nil
		}})
		if err != nil {
			return err
		}
	case !s.has(s.name):
		f := &failure{What: s.name, Why: "the configuration has no source of this name", Do: "one of " + strings.Join(names, ", "), Code: exitUsage}
		if near := nearest(s.name, names); near != "" {
			f.Do = "did you mean " + near + "?\n" + f.Do
		}
		return f
	}
	s.accounts = awsProfiles(s.env)
	s.c, err = s.l.source(s.name)
	return err
}

// newKeys is one run of auth.
type newKeys struct {
	*setup

	old sourceConfig
	put func() error // puts the new ones where the old ones were; nil: they are there
}

// gather comes by the new keys.
func (n *newKeys) gather() error {
	switch {
	case n.c.Kind == kindDir || n.c.Anonymous:
		return &failure{What: n.name, Why: "this source has no keys", Do: "studyfs config show --origin shows its settings", Code: exitUsage}
	case n.c.Kind == kindBeiwe && n.c.Keys == "" && n.c.Section != "":
		return n.gatherRing()
	case n.keptByOthers():
		if n.o.keys != "" {
			return &failure{What: n.name, Why: "its keys do not come from a file of ours", Do: n.whereKeysAre(), Code: exitUsage}
		}
		n.say(n.whereKeysAre())
		return nil
	case n.c.Kind == kindBeiwe:
		return n.gatherAccount()
	}
	return n.gatherFile()
}

// keptByOthers tells that the keys are not where studyfs has put them.
func (n *newKeys) keptByOthers() bool {
	return n.c.Keys == "" || strings.HasPrefix(n.c.Keys, "cmd:") || strings.HasPrefix(n.c.Keys, "aws-profile:")
}

// gatherFile comes by a new keys file.
func (n *newKeys) gatherFile() error {
	n.put = n.replaceSecret
	if n.o.keys != "" {
		return n.takeKeysFile(n.o.keys)
	}
	text := "the new keys file, as the Care Portal lets you download it"
	if n.c.Kind != kindEmpatica {
		text = "the file with the new keys (Enter: type them)"
	}
	typed := false
	err := n.want(question{text: text, flag: "--keys FILE", take: func(answer string) error {
		if typed = answer == "" && n.c.Kind != kindAzure; typed {
			return nil
		}
		if !isFile(answer) {
			return usagef("%q is no file", answer)
		}
		return n.takeKeysFile(answer)
	}})
	if err == nil && typed {
		return n.typeKeys()
	}
	return err
}

// whereKeysAre says where keys are that somebody else keeps.
func (n *newKeys) whereKeysAre() string {
	switch {
	case n.c.Kind == kindBeiwe:
		return "its keys are in the BEIWE_* variables"
	case strings.HasPrefix(n.c.Keys, "cmd:"):
		return "its keys are what the command of the configuration prints"
	case n.c.Kind == kindAzure:
		return "its key is in AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
	}
	profile := n.c.Profile
	if name, is := strings.CutPrefix(n.c.Keys, "aws-profile:"); is {
		profile = name
	}
	if profile == "" && n.c.Kind == kindHCP {
		profile = hcpProfile
	}
	if profile == "" {
		return "its keys are those of the AWS configuration; to change them: aws configure"
	}
	return "its keys are those of the AWS profile " + profile + "; to change them: aws configure --profile " + quote(profile)
}

// gatherAccount comes by new access keys of a Beiwe account that is kept as a secret.
func (n *newKeys) gatherAccount() error {
	before, _, err := n.l.beiweAccount(n.old)
	if err != nil {
		return err
	}
	n.put = n.replaceSecret
	access, secret := n.env.get("BEIWE_ACCESS_KEY"), n.env.get("BEIWE_SECRET_KEY")
	if access == "" || secret == "" {
		if err := n.typeAccount(before.URL); err != nil {
			return err
		}
	} else {
		n.hand = n.inHand(keyring.Account{URL: before.URL, AccessKey: backends.NewSecret(access), SecretKey: backends.NewSecret(secret)}, "the BEIWE_* variables")
	}
	return n.keepRest()
}

// keepRest makes the keys in hand those of before but for the two: secrets of studies stand beside them.
func (n *newKeys) keepRest() error {
	ref, err := secretRef("keys", n.old.Keys, "file", refKeyring)
	if err != nil {
		return err
	}
	text, err := followRef(n.env, ref, "the keys of the Beiwe server")
	if err != nil {
		return err
	}
	ring, err := keyring.Parse(text)
	if err != nil {
		return err
	}
	section := n.c.Section
	if all := ring.Sections(); section == "" && len(all) > 0 {
		section = all[0]
	}
	n.hand.text, err = withKeys(text, section, n.hand.text)
	return err
}

// gatherRing comes by new access keys of a section of mano's keyring.
func (n *newKeys) gatherRing() error {
	var passphrase backends.Secret
	ring, path, err := openRing(n.c, func(what string) (backends.Secret, error) {
		if text := n.env.get(envKeyringPass); text != "" {
			passphrase = backends.NewSecret(text)
			return passphrase, nil
		}
		err := n.want(question{text: "passphrase of " + what + " (not shown)", hidden: true, flag: "the variable " + envKeyringPass, take: func(answer string) error {
			passphrase = backends.NewSecret(answer)
			return nil
		}})
		return passphrase, err
	})
	if err != nil {
		return err
	}
	account, err := accountOf(ring, path, n.c.Section)
	if err != nil {
		return err
	}
	access, secret := n.env.get("BEIWE_ACCESS_KEY"), n.env.get("BEIWE_SECRET_KEY")
	if access == "" || secret == "" {
		if err := n.typeAccount(account.URL); err != nil {
			return err
		}
	} else {
		n.hand = n.inHand(keyring.Account{URL: account.URL, AccessKey: backends.NewSecret(access), SecretKey: backends.NewSecret(secret)}, "the BEIWE_* variables")
	}
	n.proof, n.hand = n.hand, nil
	n.put = func() error { return n.replaceInRing(expandHome(path), passphrase) }
	return nil
}

// replaceInRing changes the two keys of the section; all else in the keyring stays as it is.
func (n *newKeys) replaceInRing(path string, passphrase backends.Secret) error {
	cannot := func(err error) error {
		return &failure{What: "cannot write " + path, Why: lastCause(err), Do: "it is as it was", Code: exitCannotCreate}
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return cannot(err)
	}
	plain, err := keyring.Decrypt(before, passphrase)
	if err != nil {
		return cannot(err)
	}
	if plain, err = withKeys(plain, n.c.Section, n.proof.text); err != nil {
		return cannot(err)
	}
	var sealed bytes.Buffer
	if err := cryptease.Encrypt(&sealed, bytes.NewReader(plain), []byte(passphrase.Reveal()), rand.Reader); err != nil {
		return cannot(err)
	}
	if err := tomlfile.Replace(path, before, sealed.Bytes()); err != nil {
		return cannot(err)
	}
	n.say("wrote the new keys into section " + n.c.Section + " of " + path)
	return nil
}

// withKeys is a keyring in clear whose section has the two keys of the only section in fresh.
func withKeys(plain []byte, section string, fresh []byte) ([]byte, error) {
	var all map[string]json.RawMessage // sections of other programs may be anything
	var keys map[string]map[string]json.RawMessage
	var own map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(plain, &all), json.Unmarshal(fresh, &keys)); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(all[section], &own); err != nil {
		return nil, err
	}
	for _, one := range keys {
		own["ACCESS_KEY"], own["SECRET_KEY"] = one["ACCESS_KEY"], one["SECRET_KEY"]
	}
	text, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	all[section] = text
	return json.MarshalIndent(all, "", "  ")
}

// check builds the source with the new keys, and refuses those of another place.
func (n *newKeys) check() error {
	old, _, before := n.l.build(n.name, n.old, exitConfig)
	if n.hand != nil && n.c.Kind == kindEmpatica && before == nil {
		n.hand.text = withURL(n.hand.text, old)
	}
	c := n.asMounted()
	spec, notices, err := n.l.build(n.name, c, exitUsage)
	if err != nil {
		return err
	}
	n.sayAll(notices)
	if before == nil && spec.Beiwe == nil && spec.id() != old.id() {
		return &failure{
			What: n.name, Why: "the new keys are for another place: " + spec.url() + " instead of " + old.url(),
			Do: "for another source: studyfs setup; for the same one, take its own keys", Code: exitConfig,
		}
	}
	n.spec = spec
	return nil
}

// withURL is a keys file that tells which bucket it is for, as the one before it did: what AWS gives does not.
func withURL(text []byte, old sourceSpec) []byte {
	keys, err := s3.ReadKeys(bytes.NewReader(text))
	if err != nil || keys.URL != "" {
		return text
	}
	return demoKey{keys.AccessKey, keys.SecretKey.Reveal()}.csv(old.url())
}

// replaceSecret puts the keys in hand where the configuration says that they are.
func (n *newKeys) replaceSecret() error {
	scheme, rest, ok := strings.Cut(n.c.Keys, ":")
	if !ok {
		scheme, rest = "file", n.c.Keys
	}
	if scheme == refKeyring {
		if err := n.store.set(rest, string(n.hand.text)); err != nil {
			return &failure{What: "the desktop's keyring", Why: err.Error(), Do: "log in at the desktop and unlock it", Code: exitPermission}
		}
		n.say("the new keys are in the desktop's keyring (" + rest + ")")
		return nil
	}
	path := expandHome(rest)
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return &failure{What: path, Why: lastCause(err), Do: "it must be yours: chown, chmod 600", Code: exitPermission}
	}
	if !bytes.Equal(before, n.hand.text) {
		if err := tomlfile.Replace(path, before, n.hand.text); err != nil {
			return &failure{What: "cannot write " + path, Why: lastCause(err), Do: "the old keys are still there", Code: exitCannotCreate}
		}
	}
	n.say("the new keys are in " + path)
	if abs, err := filepath.Abs(path); err == nil && n.copied != "" && n.copied != path && n.copied != abs {
		n.say(n.copied + " is not needed any more\n  rm " + quote(n.copied))
	}
	return nil
}

// tell gives the keys to what is mounted.
func (n *newKeys) tell(ctx context.Context) error {
	p, err := findPlaces(n.env, n.l.Cache.Dir, n.l.State.Dir)
	if err != nil {
		return err
	}
	spec := n.spec
	fresh, _, err := n.l.build(n.name, n.old, exitConfig) //nolint:contextcheck // as above
	if err == nil && n.proof == nil {                     // with what refers to them, to be read again
		spec = fresh
	}
	sockets, err := filepath.Glob(filepath.Join(p.runtime, "*.sock"))
	if err != nil {
		return fmt.Errorf("control sockets: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var wrong []error
	for _, socket := range sockets {
		r, err := ask(ctx, socket, request{Op: "rekey", Keys: &spec})
		switch {
		case err != nil && !errors.Is(err, errNoMount):
			wrong = append(wrong, err)
		case r.Taken > 0:
			n.say(mountOf(ctx, socket) + " uses the new keys")
		}
	}
	return errors.Join(slices.Clip(wrong)...)
}

// mountOf is where the process behind a socket has its mount.
func mountOf(ctx context.Context, socket string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if r, err := ask(ctx, socket, request{Op: "status"}); err == nil && r.Mount != nil {
		return r.Mount.Dir
	}
	return "a mount"
}
