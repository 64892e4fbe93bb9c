package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"studyfs/backends"
	"studyfs/backends/crypt"
)

// maxSecretFile bounds files of identities, recipients and passwords.
const maxSecretFile = 1 << 20

// cryptSpec is what a sourceSpec holds of a source whose objects are encrypted. Of the secrets, only where they are is ever kept.
type cryptSpec struct {
	Recipients  []string `json:"recipients,omitempty"` // the public keys themselves
	IdentityRef string   `json:"identity_ref,omitempty"`
	PasswordRef string   `json:"password_ref,omitempty"`
	Identity    []byte   `json:"identity,omitempty"`
	Password    string   `json:"password,omitempty"`
}

// withoutSecrets is what may be kept of it.
func (c *cryptSpec) withoutSecrets() *cryptSpec {
	if c == nil {
		return nil
	}
	return &cryptSpec{Recipients: c.Recipients, IdentityRef: c.IdentityRef, PasswordRef: c.PasswordRef}
}

// secrets lists what must not be seen.
func (c *cryptSpec) secrets() []string {
	if c == nil {
		return nil
	}
	var all []string
	if c.Password != "" {
		all = append(all, c.Password)
	}
	for line := range strings.Lines(string(c.Identity)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// buildCrypt says how a source's objects are encrypted, nil for not at all. It reads no secrets yet.
func (l *loaded) buildCrypt(s sourceSpec, c sourceConfig) (*cryptSpec, error) {
	if len(c.EncryptTo) == 0 && c.Identity == "" && c.Password == "" {
		return nil, nil
	}
	if c.Kind != kindAzure && !takesFiles(c.Kind) {
		return nil, &failure{
			What: s.describe(), Why: "sources of kind " + c.Kind + " are not encrypted by studyfs; only s3, azure, dir and ecog are",
			Do: "leave out --encrypt-to, --identity and --password, or put them into the [source.NAME] of the configuration that is meant", Code: exitUsage,
		}
	}
	if c.Write && !l.ReadOnly && len(c.EncryptTo) == 0 {
		return nil, &failure{
			What: s.describe(), Why: "what is written must be encrypted for somebody, as what lies there is",
			Do: "say for whom with --encrypt-to age1..., or mount it with --read-only", Code: exitUsage,
		}
	}
	spec := &cryptSpec{}
	for _, text := range c.EncryptTo {
		keys, err := recipientsOf(text)
		if err != nil {
			return nil, err
		}
		spec.Recipients = append(spec.Recipients, keys...)
	}
	slices.Sort(spec.Recipients)
	spec.Recipients = slices.Compact(spec.Recipients)
	var err error
	if spec.IdentityRef, err = secretRef("identity", c.Identity, "file", "cmd", refKeyring); err == nil {
		spec.PasswordRef, err = secretRef("password", c.Password, "file", "cmd", refKeyring, "prompt")
	}
	return spec, err
}

// recipientsOf reads one value of encrypt-to: a public key, or a file of them.
func recipientsOf(text string) ([]string, error) {
	if strings.HasPrefix(text, "AGE-SECRET-KEY-") || strings.HasPrefix(text, "AGE-PLUGIN-") {
		return nil, &failure{
			What: "--encrypt-to", Why: "this is a private key, and everybody on this machine can see the command line", // not shown here
			Do: "make a new one (age-keygen), and give the public key that begins with age1", Code: exitUsage,
		}
	}
	lines := text
	if !strings.HasPrefix(text, "age1") {
		raw, err := os.ReadFile(expandHome(strings.TrimPrefix(text, "file:")))
		if err != nil {
			return nil, &failure{What: text, Why: lastCause(err), Do: "give a public key, age1..., or a file with one on each line", Code: exitConfig}
		}
		lines = string(raw)
	}
	keys, err := crypt.ReadRecipients(strings.NewReader(lines))
	if err != nil {
		return nil, &failure{What: text, Why: lastCause(err), Do: "it must be public keys as age-keygen -y prints them, age1...", Code: exitConfig}
	}
	var all []string
	for _, k := range keys {
		all = append(all, fmt.Sprint(k))
	}
	return all, nil
}

// secretRef makes a reference to a secret that can be followed from anywhere.
func secretRef(what, text string, known ...string) (string, error) {
	if text == "" {
		return "", nil
	}
	scheme, rest, _ := strings.Cut(text, ":")
	switch {
	case !slices.Contains(known, scheme), rest == "" && scheme != "prompt":
		return "", &failure{
			What: what, Why: "does not say where it is", // what it says may be the secret: not shown
			Do: "write " + strings.Join(known, ":..., ") + "; the secret itself does not belong here", Code: exitConfig,
		}
	case scheme != "file":
		return text, nil
	}
	path, err := filepath.Abs(expandHome(rest))
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return "file:" + path, nil
}

// readSecrets follows the references of a source.
func (s *sourceSpec) readSecrets(env environment) error {
	for _, one := range s.eachSpec() {
		if err := one.readOwnSecrets(env); err != nil {
			return err
		}
	}
	return nil
}

func (s *sourceSpec) readOwnSecrets(env environment) error {
	if err := s.readGate(env); err != nil {
		return err
	}
	c := s.Crypt
	if c == nil {
		return nil
	}
	if c.IdentityRef != "" && len(c.Identity) == 0 {
		text, err := followRef(env, c.IdentityRef, "the identity of "+s.describe())
		if err == nil {
			_, err = crypt.ReadIdentities(bytes.NewReader(text))
		}
		if err != nil {
			return identityFailure(c.IdentityRef, err)
		}
		c.Identity = text
	}
	if c.PasswordRef != "" && c.Password == "" {
		text, err := followRef(env, c.PasswordRef, "the password of "+s.describe())
		if err != nil {
			return err
		}
		if c.Password = strings.TrimRight(string(text), "\r\n"); c.Password == "" {
			return &failure{What: "password", Why: c.PasswordRef + " gives none", Code: exitConfig}
		}
	}
	return nil
}

func identityFailure(ref string, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{What: "identity " + ref, Why: lastCause(err), Do: "it must be a file as age-keygen writes it, with lines that begin with AGE-SECRET-KEY-", Code: exitConfig}
}

func followRef(env environment, ref, what string) ([]byte, error) {
	scheme, rest, _ := strings.Cut(ref, ":")
	switch scheme {
	case "cmd":
		return keysFromCommand(rest)
	case refKeyring:
		return fromKeyring(newDesktopKeys(env), rest)
	case "prompt":
		secret, err := passphrases{env, openTerminal}.ask(what, what)
		return []byte(secret.Reveal()), err
	}
	return readSecretFile(rest)
}

// readSecretFile refuses a file that others can read, as ssh does.
func readSecretFile(path string) ([]byte, error) { return readOwnFile(path, maxSecretFile) }

// readOwnFile reads a file of at most so many bytes that nobody else can read.
func readOwnFile(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not make us wait
	if err != nil {
		return nil, &failure{What: path, Why: lastCause(err), Do: "give the path of a file of yours", Code: exitConfig}
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, &failure{What: path, Why: "not a file", Code: exitConfig}
	case info.Mode().Perm()&0o077 != 0:
		return nil, &failure{
			What: path, Why: fmt.Sprintf("others on this machine can read it (mode %04o)", info.Mode().Perm()),
			Do: "chmod 600 " + quote(path), Code: exitPermission,
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, &failure{What: path, Why: lastCause(err), Code: exitIO}
	}
	if int64(len(text)) > most { // half of it would be something else
		return nil, &failure{What: path, Why: "too large", Do: "is it the right file?", Code: exitConfig}
	}
	return text, nil
}

// keys are what opens the objects of a source.
func (c *cryptSpec) keys() (crypt.Options, error) {
	o := crypt.Options{Password: backends.NewSecret(c.Password)}
	if len(c.Identity) == 0 {
		return o, nil
	}
	var err error
	o.Identities, err = crypt.ReadIdentities(bytes.NewReader(c.Identity))
	return o, err
}

// decrypted shows a source in clear, if it is encrypted. end lets go of what that took.
func decrypted(far remote, spec sourceSpec, p places) (near remote, end func() error, err error) {
	if spec.Crypt == nil {
		return far, nil, nil
	}
	o, err := spec.Crypt.keys()
	if err != nil {
		return nil, nil, err
	}
	if spec.Write != nil {
		if o.Recipients, err = crypt.ReadRecipients(strings.NewReader(strings.Join(spec.Crypt.Recipients, "\n"))); err != nil {
			return nil, nil, err
		}
		spill, err := crypt.OpenDirSpill(filepath.Join(p.stateOf(spec.id()), "cipher"), time.Now())
		if err != nil {
			return nil, nil, err
		}
		o.Spill, end = spill, spill.Close
	}
	source, err := crypt.New(far, o)
	if err != nil {
		return nil, nil, err
	}
	return source, end, nil
}

func notDecrypted(s sourceSpec, err error) error {
	return &failure{What: s.describe(), Why: lastCause(err), Do: "check --encrypt-to and --identity, and the disk of the state directory", Code: exitConfig}
}

// suffix is by how much the names of a source are longer at the service.
func (s sourceSpec) suffix() int {
	if s.Crypt == nil {
		return 0
	}
	return len(".age")
}
