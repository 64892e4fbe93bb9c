package main

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/cache/stage/gate"
)

const wordsHelp = `Makes a deny-list: a file by which a mount with --gate knows words, such as the names of patients, that must not leave this
machine. FILE, or standard input (-), has one name on each line ("Ada van Quillfeather-Smith"); what begins with # is passed
over. In the list there are only sums of the words. Whoever has the secret can still try out words, and without a secret
everybody can, so that the list is written for you alone (mode 0600). Keep it on this machine, and remove FILE.`

func newDeidWordsCommand(a *app) *cobra.Command {
	var out, secret string
	var force bool
	c := &cobra.Command{
		Use: "words FILE", Short: "make the list of words that must not leave this machine", Long: wordsHelp,
		Example: "  studyfs deid words names.txt --words-secret file:~/.config/studyfs/words.secret\n" +
			"  cut -f2 patients.tsv | studyfs deid words - --out /etc/studyfs/words.deny",
		ValidArgsFunction: completeFiles,
		Args:              exactly(1, "a file with a name on each line, or -"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.makeWords(args[0], out, secret, force)
		},
	}
	c.Flags().StringVar(&out, "out", "", "write the list there (default: words.deny beside the configuration file)")
	c.Flags().StringVar(&secret, "words-secret", "", "make it with the secret in file:FILE, of cmd:COMMAND or keyring:NAME")
	c.Flags().BoolVar(&force, "force", false, "replace the list if it exists")
	return c
}

// makeWords is "deid words".
func (a *app) makeWords(in, out, secretAt string, force bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	path, err := filepath.Abs(expandHome(cmp.Or(out, filepath.Join(filepath.Dir(l.path), "words.deny"))))
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	ref, err := secretRef("words-secret", secretAt, "file", "cmd", "keyring")
	if err != nil {
		return err
	}
	var secret []byte
	if ref != "" {
		if secret, err = gateSecret(a.env, "words-secret", ref); err != nil {
			return err
		}
	}
	if err := mayReplaceWords(path, force); err != nil {
		return err
	}
	words, err := a.openWords(in)
	if err != nil {
		return err
	}
	defer words.Close() //nolint:errcheck // only read
	n, err := writeWords(path, words, secret, func() error { return mayReplaceWords(path, force) })
	if err != nil {
		return err
	}
	a.say(fmt.Sprintf("wrote %s, which knows %d %s; for [source.NAME] of the configuration:\n  gate = \"refuse\"\n  words = %q", path, n, pick(n, "name", "names"), "file:"+path))
	if ref != "" {
		a.sayPlain(fmt.Sprintf("  words-secret = %q", ref))
	}
	if in != "-" {
		a.say(in + " still holds the names in clear: remove it\n  rm " + quote(in))
	}
	return nil
}

func mayReplaceWords(path string, force bool) error {
	if _, err := os.Lstat(path); err != nil || force {
		return nil //nolint:nilerr // where it cannot be looked at, it cannot be written, which will be said
	}
	return &failure{
		What: path, Why: "it exists already, and no name can be added to a list",
		Do: "make it again of all names with --force, or give another --out", Code: exitCannotCreate,
	}
}

func (a *app) openWords(in string) (io.ReadCloser, error) {
	if in == "-" {
		if term.IsTerminal(int(os.Stdin.Fd())) {
			a.say("type or paste the names, one a line, then press Enter and Ctrl-D")
		}
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(expandHome(in))
	if err != nil {
		return nil, &failure{What: in, Why: lastCause(err), Do: "give a file with a name on each line, or - for standard input; the names themselves do not belong here", Code: exitConfig}
	}
	return f, nil
}

// writeWords writes a list that is there whole or not at all, and that only its owner can read. last is asked before it gets its name.
func writeWords(path string, words io.Reader, secret []byte, last func() error) (int, error) {
	cannot := func(err error) error {
		return &failure{What: "cannot write " + path, Why: lastCause(err), Do: "choose another place with --out", Code: exitCannotCreate}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, cannot(err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".words-*") // 0600
	if err != nil {
		return 0, cannot(err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed, as a rule
	w := bufio.NewWriter(f)
	n, err := gate.WriteDenylist(w, words, secret, rand.Reader)
	if err != nil {
		f.Close() //nolint:errcheck // not wanted
		return 0, &failure{What: "words", Why: err.Error(), Do: "write one name on each line; what begins with # is passed over", Code: exitError}
	}
	if n == 0 {
		f.Close() //nolint:errcheck // not wanted
		return 0, &failure{What: "words", Why: "there are none: such a list would find nothing", Do: "write one name on each line", Code: exitError}
	}
	err = cmp.Or(w.Flush(), f.Sync())
	if err = cmp.Or(err, f.Close()); err != nil {
		return 0, cannot(err)
	}
	if err := last(); err != nil { // somebody may have made it meanwhile
		return 0, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return 0, cannot(err)
	}
	return n, nil
}
