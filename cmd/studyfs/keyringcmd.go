package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/backends"
	"studyfs/backends/beiwe/keyring"
	"studyfs/backends/crypt/cryptease"
)

const maxKeyring = 4 << 20

const keyringHelp = `A keyring is the encrypted file (by default ~/.nrg-keyring.enc) in which mano keeps where Beiwe servers are and which
keys open them; beiwe:SECTION reads it. In clear it is JSON:

  {"beiwe.example": {"URL": "https://studies.beiwe.org", "ACCESS_KEY": "...", "SECRET_KEY": "...",
                     "USERNAME": "", "PASSWORD": "", "SECRETS": {}}}

Its passphrase is asked for on the terminal, or taken from the variable NRG_KEYRING_PASS.`

func (a *app) keyringCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "keyring", Short: "make or show the keyring that opens Beiwe servers", Long: keyringHelp, Args: atMost(0),
		Example: "  studyfs config keyring show\n  studyfs config keyring encrypt clear.json",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var force bool
	encrypt := &cobra.Command{
		Use: "encrypt [IN] [OUT]", Short: "make a keyring of JSON in clear", Args: atMost(2), ValidArgsFunction: completeFiles,
		Example: "  studyfs config keyring encrypt clear.json\n  studyfs config keyring encrypt - ~/keys/beiwe.enc --force",
		Long: "Reads JSON from the file IN (or - or nothing: standard input) and writes the keyring OUT.\n\n" + keyringHelp +
			"\nFor a new keyring it may also be in ENCRYPT_PASS.",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.keyringEncrypt(argument(args, 0, "-"), argument(args, 1, defaultKeyring), force)
		},
	}
	encrypt.Flags().BoolVar(&force, "force", false, "replace OUT if it exists")
	decrypt := &cobra.Command{
		Use: "decrypt [FILE]", Short: "print a keyring in clear, secrets and all", Long: "Prints the JSON in a keyring as it was encrypted.\n\n" + keyringHelp, Args: atMost(1),
		Example: "  studyfs config keyring decrypt\n  studyfs config keyring decrypt ~/keys/beiwe.enc | jq keys", ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.keyringDecrypt(argument(args, 0, defaultKeyring))
		},
	}
	var asJSON bool
	show := &cobra.Command{
		Use: "show [FILE]", Short: "show what a keyring holds, without the secrets", Long: "Shows what a keyring holds, without the secrets.\n\n" + keyringHelp, Args: atMost(1),
		Example: "  studyfs config keyring show\n  studyfs config keyring show ~/keys/beiwe.enc --json", ValidArgsFunction: completeFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.keyringShow(argument(args, 0, defaultKeyring), asJSON)
		},
	}
	jsonFlag(show, &asJSON)
	c.AddCommand(encrypt, decrypt, show)
	return c
}

func argument(args []string, i int, fallback string) string {
	if i < len(args) {
		return args[i]
	}
	return fallback
}

func (a *app) keyringEncrypt(in, out string, force bool) error {
	path := expandHome(out)
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays one
	}
	if err := mayWrite(path, force); err != nil {
		return err
	}
	plain, err := a.readClearKeyring(in)
	if err != nil {
		return err
	}
	sections, err := a.usableSections(in, plain)
	if err != nil {
		return err
	}
	passphrase, err := newPassphraseFor(a.env, "the keyring "+out)
	if err != nil {
		return err
	}
	if err := writeKeyring(path, plain, passphrase, force); err != nil {
		return err
	}
	a.say("wrote " + path + ", which opens " + strings.Join(sections, ", "))
	if in != "-" && filepath.Clean(expandHome(in)) != filepath.Clean(path) {
		a.say(in + " still holds the keys in clear: remove it\n  rm " + quote(in))
	}
	return nil
}

// mayWrite refuses to replace a file that nobody said may be replaced: it may hold the only copy of somebody's keys.
func mayWrite(path string, force bool) error {
	if path == "-" || path == "" {
		return usagef("the keyring has to go into a file")
	}
	if _, err := os.Lstat(path); err != nil || force {
		return nil //nolint:nilerr // where it cannot be looked at, it cannot be written, which will be said
	}
	return &failure{What: path, Why: "it exists already", Do: "give another OUT, or replace it with --force", Code: exitCannotCreate}
}

func (a *app) readClearKeyring(in string) ([]byte, error) {
	if in != "-" {
		return readKeyringFile(in)
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		a.say("type or paste the keyring in clear, then press Enter and Ctrl-D (studyfs config keyring --help shows what it looks like)")
	}
	return readKeyring("standard input", os.Stdin)
}

func readKeyringFile(path string) ([]byte, error) {
	f, err := os.Open(expandHome(path))
	if err != nil {
		why := &failure{What: path, Why: lastCause(err), Do: "studyfs config keyring encrypt IN " + quote(path) + " makes a keyring there", Code: exitConfig}
		if errors.Is(err, os.ErrPermission) {
			why.Do, why.Code = "it must be yours: chown, chmod 600", exitPermission
		}
		return nil, why
	}
	defer f.Close() //nolint:errcheck // only read
	return readKeyring(path, f)
}

func readKeyring(name string, r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxKeyring+1))
	if err != nil {
		return nil, &failure{What: name, Why: lastCause(err), Code: exitIO}
	}
	if len(text) > maxKeyring {
		return nil, &failure{What: name, Why: "too large for a keyring", Do: "is it the right file?", Code: exitConfig}
	}
	return text, nil
}

// usableSections lists the sections that open a server, and warns of those that look as if they should.
func (a *app) usableSections(in string, plain []byte) ([]string, error) {
	wrong := &failure{What: in, Do: "studyfs config keyring --help shows what it should look like", Code: exitConfig}
	if in == "-" {
		wrong.What = "standard input"
	}
	ring, err := keyring.Parse(plain)
	if err != nil {
		wrong.Why = lastCause(err)
		return nil, wrong
	}
	var usable []string
	wrong.Why = "it has no section with the URL of a Beiwe server"
	var warnings []string
	for _, name := range ring.Sections() {
		if _, err := ring.Account(name); err != nil {
			wrong.Why = err.Error()
			warnings = append(warnings, "warning: "+err.Error())
			continue
		}
		usable = append(usable, printable(name))
	}
	if len(usable) == 0 {
		return nil, wrong
	}
	for _, w := range warnings {
		a.say(w)
	}
	return usable, nil
}

// writeKeyring writes a file that is there whole or not at all, and that only its owner can read.
func writeKeyring(path string, plain []byte, passphrase backends.Secret, force bool) error {
	cannot := func(err error) error {
		return &failure{What: "cannot write " + path, Why: lastCause(err), Do: "give another OUT: studyfs config keyring encrypt IN OUT", Code: exitCannotCreate}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".nrg-keyring-*") // 0600
	if err != nil {
		return cannot(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed, as a rule
	err = cryptease.Encrypt(f, bytes.NewReader(plain), []byte(passphrase.Reveal()), rand.Reader)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return cannot(err)
	}
	if err := mayWrite(path, force); err != nil { // someone may have made it while the passphrase was typed
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return cannot(err)
	}
	return nil
}

// openKeyring returns the JSON in a keyring file.
func (a *app) openKeyring(path string) ([]byte, error) {
	file, err := readKeyringFile(path)
	if err != nil {
		return nil, err
	}
	if _, err := keyring.Parse(file); err == nil {
		return nil, &failure{
			What: path, Why: "a keyring in clear, not an encrypted one", Do: "studyfs config keyring encrypt " + quote(path) + " makes one of it", Code: exitConfig,
		}
	}
	// What is no container needs no passphrase. The key does not matter for that.
	if _, err := cryptease.NewReaderWith(bytes.NewReader(file), func([]byte) ([]byte, error) { return make([]byte, cryptease.KeySize), nil }); err != nil {
		return nil, &failure{What: path, Why: lastCause(err), Do: "is it the right file? mano's is " + defaultKeyring, Code: exitConfig}
	}
	passphrase, err := passphraseFor(a.env, "the keyring "+path)
	if err != nil {
		return nil, err
	}
	plain, err := keyring.Decrypt(file, passphrase)
	if err != nil {
		f := &failure{What: path, Why: lastCause(err), Do: "try again with the passphrase that mano opens it with", Code: exitPermission}
		if a.env.get(envKeyringPass) != "" {
			f.Do = "check the variable " + envKeyringPass + ", or unset it to be asked for the passphrase"
		}
		return nil, f
	}
	return plain, nil
}

func (a *app) keyringDecrypt(path string) error {
	plain, err := a.openKeyring(path)
	if err != nil {
		return err
	}
	if _, err := a.out.Write(plain); err != nil {
		return &failure{What: "standard output", Why: lastCause(err), Code: exitIO}
	}
	return nil
}

const keyringSchema = 1

// keyringReport is what show prints. It holds no secret.
type keyringReport struct {
	Schema   int             `json:"schema"`
	Sections []sectionReport `json:"sections"`
}

type sectionReport struct {
	Section   string   `json:"section"`
	Problem   string   `json:"problem,omitempty"` // why it opens nothing; the rest is empty then
	URL       string   `json:"url,omitempty"`
	Username  string   `json:"username,omitempty"`
	AccessKey string   `json:"access_key,omitempty"` // its beginning
	Password  bool     `json:"password"`             // whether there is one
	Studies   []string `json:"studies_with_secret"`
}

func (a *app) keyringShow(path string, asJSON bool) error {
	plain, err := a.openKeyring(path)
	if err != nil {
		return err
	}
	ring, err := keyring.Parse(plain)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	report := keyringReport{Schema: keyringSchema, Sections: []sectionReport{}}
	for _, name := range ring.Sections() {
		report.Sections = append(report.Sections, describeSection(ring, name))
	}
	if asJSON {
		return printJSON(a.out, report)
	}
	if len(report.Sections) == 0 {
		a.say(path + " has no section with the URL of a Beiwe server")
	}
	return printSections(a.out, report.Sections)
}

func describeSection(ring *keyring.Keyring, name string) sectionReport {
	account, err := ring.Account(name)
	if err != nil {
		return sectionReport{Section: name, Problem: lastCause(err), Studies: []string{}}
	}
	return sectionReport{
		Section: name, URL: account.URL, Username: account.Username, AccessKey: beginning(account.AccessKey), Password: !account.Password.Empty(),
		Studies: append([]string{}, slices.Sorted(maps.Keys(account.Secrets))...),
	}
}

// beginning is enough of a key to tell it from another: four characters of today's 64, fewer of a shorter one.
func beginning(key backends.Secret) string {
	text := key.Reveal()
	return text[:min(4, len(text)/8)] + "…"
}

func printSections(w io.Writer, sections []sectionReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		fmt.Fprintf(t, "  %s\t%s\n", name, value) //nolint:errcheck // Flush tells
	}
	for _, s := range sections {
		fmt.Fprintln(t, printable(s.Section)) //nolint:errcheck // Flush tells
		if s.Problem != "" {
			row("cannot be used", s.Problem)
			continue
		}
		row("URL", printable(s.URL))
		if s.Username != "" {
			row("username", printable(s.Username))
		}
		row("access key", s.AccessKey)
		row("secret key", "(hidden)")
		if s.Password {
			row("password", "(hidden)")
		}
		for _, study := range s.Studies {
			row("passphrase of", printable(study))
		}
	}
	return t.Flush()
}

// printable shows a text from a file as it is, unless it could move the cursor.
func printable(text string) string {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
