package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/deid/ledger"
	"studyfs/cache/stage/gate/edf"
)

const (
	deidSecretFile = "deid.secret"
	deidStateDir   = "deid"
)

// openLedger opens the list of whose code is whose, with its secret. make lets a first secret be made, of which notice tells.
func (l *loaded) openLedger(makeSecret bool) (book *ledger.Ledger, secret []byte, notice string, err error) {
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return nil, nil, "", err
	}
	dir := filepath.Join(p.state, deidStateDir)
	if secret, notice, err = l.deidSecret(makeSecret, ledger.Exists(dir)); err != nil {
		return nil, nil, "", err
	}
	if book, err = ledger.Open(dir, secret, ledger.Options{}); err != nil {
		return nil, nil, "", ledgerFailure(err)
	}
	return book, secret, notice, nil
}

func ledgerFailure(err error) error {
	f := &failure{What: "the list of codes", Why: lastCause(err), Do: "look at the disk of the state directory; nothing was renamed", Code: exitIO}
	switch {
	case errors.Is(err, ledger.ErrBusy):
		f.Why, f.Do, f.Code = "another studyfs deid uses it", "wait until that has ended", exitTryAgain
	case errors.Is(err, ledger.ErrSecret):
		f.Do, f.Code = "restore the secret that it was made with, "+deidSecretFile+" in the configuration directory or what [deid] secret refers to", exitPermission
	case errors.Is(err, deid.ErrSecret):
		f.What, f.Do, f.Code = "the secret of deid", "make one: head -c 32 /dev/urandom | base64", exitConfig
	}
	return f
}

// deidSecret follows [deid] secret. Without that it is a file, which is made unless there are codes that were made with another.
func (l *loaded) deidSecret(mayMake, listed bool) (secret []byte, notice string, err error) {
	ref := l.Deid.Secret
	if ref == "" {
		dir, err := l.env.xdg("XDG_CONFIG_HOME", ".config")
		if err != nil {
			return nil, "", err
		}
		path := filepath.Join(dir, deidSecretFile)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return newDeidSecret(path, mayMake, listed)
		}
		ref = "file:" + path
	}
	if ref, err = secretRef("[deid] secret", ref, "file", "keyring", "cmd"); err != nil {
		return nil, "", err
	}
	if name, ok := strings.CutPrefix(ref, "keyring:"); ok {
		secret, err = fromKeyring(newDesktopKeys(l.env), name)
	} else {
		secret, err = followRef(l.env, ref, "the secret of deid")
	}
	return []byte(strings.TrimSpace(string(secret))), "", err
}

// newDeidSecret makes a secret; one that is forgotten at once unless mayMake.
func newDeidSecret(path string, mayMake, listed bool) (secret []byte, notice string, err error) {
	if listed {
		return nil, "", &failure{
			What: path, Why: "it is missing, and codes were made with it", Code: exitConfig,
			Do: "restore it from a backup: without it nobody can tell whose codes they are",
		}
	}
	raw := make([]byte, 32)
	rand.Read(raw)
	text := hex.EncodeToString(raw)
	if !mayMake {
		return []byte(text), "there is no secret yet: the code will be another than the one shown", nil
	}
	made, err := writeNew(path, []byte(text+"\n"))
	if err != nil {
		return nil, "", &failure{What: "cannot keep a secret in " + path, Why: lastCause(err), Do: "make its folder writable", Code: exitCannotCreate}
	}
	if !made { // by another process, since a moment ago
		return nil, "", &failure{What: path, Why: "another process is making it", Do: "try again", Code: exitTryAgain}
	}
	return []byte(text), "made the secret " + path + ": keep a copy of it, not where the codes are", nil
}

// patient finds out whose folders they are, or makes a code.
func (d *deidRun) patient(folders []string) (*ledger.Person, error) {
	var known []*ledger.Person
	for _, p := range d.ledger.People {
		if slices.ContainsFunc(folders, p.Known) {
			known = append(known, p)
		}
	}
	switch {
	case d.f.code != "":
		return d.withCode(folders, known)
	case len(known) > 0 && !d.f.fresh:
		return d.again(known)
	}
	code, err := deid.NewCode(d.secret, folders[0], d.taken)
	if err != nil {
		return nil, &failure{What: "cannot make a code", Why: lastCause(err), Code: exitError}
	}
	return &ledger.Person{Name: folders[0], Code: code, Made: time.Now()}, nil
}

// taken reports whether a code is somebody's, or may be by what lies in the folder.
func (d *deidRun) taken(code string) bool {
	is := func(s string) bool { return len(s) >= len(code) && s[:len(code)] == code }
	if slices.ContainsFunc(d.ledger.People, func(p *ledger.Person) bool { return is(p.Code) }) {
		return true
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	return err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return is(e.Name()) })
}

// withCode uses a code that somebody gave before.
func (d *deidRun) withCode(folders []string, known []*ledger.Person) (*ledger.Person, error) {
	code := d.f.code
	if !edf.IsCode(code) {
		return nil, &failure{What: "--code", Why: "not eight hexadecimal digits that begin with a letter, such as c0ffee12", Do: "studyfs deid show lists the codes", Code: exitUsage}
	}
	p, doubt := d.ledger.Owner(code), ""
	switch {
	case p == nil && len(known) > 0:
		doubt = "a folder of this name has the code " + known[0].Code + ", not " + code
	case p == nil:
		doubt = code + " was not given on this machine: numbers begin at 1 and days at 0, even where files of this patient were uploaded before"
	case !slices.Contains(known, p):
		doubt = "the folders that were named " + code + " before had other names than this one"
	}
	if doubt != "" {
		if err := d.desk.confirm(doubt, "Is it the same patient?", d.f.yes); err != nil {
			return nil, err
		}
	}
	if p == nil {
		p = &ledger.Person{Name: folders[0], Code: code, Made: time.Now()}
	}
	return p, nil
}

// again asks whether it is the same patient as before.
func (d *deidRun) again(known []*ledger.Person) (*ledger.Person, error) {
	p := known[0]
	doubt := "a folder of this name was renamed to " + p.Code + " before"
	do := "nothing was renamed. If it is the same patient: --code " + p.Code + "; if it is another one of the same name: --new"
	if len(known) > 1 || d.desk.tty == nil {
		return nil, &failure{What: "deid", Why: doubt + pick(len(known), "", ", and to other codes"), Do: do, Code: exitUsage}
	}
	if err := d.desk.confirm(doubt+", on "+p.Made.Format("2006-01-02"), "Is it the same patient?", false); err != nil {
		return nil, &failure{What: "deid", Why: doubt, Do: do, Code: exitInterrupted}
	}
	return p, nil
}

func (a *app) deidShowCommand() *cobra.Command {
	var files, yes, asJSON bool
	c := &cobra.Command{
		Use: "show", Short: "show whose code is whose", Args: atMost(0),
		Long:    "Shows which patient has which code; it needs the secret. Elsewhere than on a terminal it needs --yes: what it prints must not\nlie about.",
		Example: "  studyfs deid show\n  studyfs deid show --files --yes | less",
		RunE:    func(*cobra.Command, []string) error { return a.deidShow(files, yes, asJSON) },
	}
	jsonFlag(c, &asJSON)
	c.Flags().BoolVar(&files, "files", false, "show the old and new names of all files, too")
	c.Flags().BoolVar(&yes, "yes", false, "print names into a file or a pipe")
	return c
}

func (a *app) deidShow(files, yes, asJSON bool) error {
	if out, ok := a.out.(*os.File); !yes && (!ok || !term.IsTerminal(int(out.Fd()))) {
		return &failure{What: "show", Why: "it prints the names of patients, and standard output is no terminal", Do: "add --yes if that is meant", Code: exitUsage}
	}
	l, err := a.load()
	if err != nil {
		return err
	}
	book, _, _, err := l.openLedger(false)
	if err != nil {
		return err
	}
	defer book.Close() //nolint:errcheck // only read
	if asJSON {
		return printJSON(a.out, deidReportOf(book, files))
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CODE\tNAME\tSINCE\tFILES") //nolint:errcheck // Flush tells
	for _, p := range book.People {
		n := 0
		for _, b := range p.Batches {
			if b.State != ledger.Undone {
				n += len(b.Moves)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", p.Code, plain(p.Name), p.Made.Format("2006-01-02"), n) //nolint:errcheck // Flush tells
	}
	if err := t.Flush(); err != nil || !files {
		return err
	}
	return a.deidShowFiles(book)
}

func plain(name string) string { return strings.Map(printableOnly, name) }

func (a *app) deidShowFiles(book *ledger.Ledger) error {
	for _, p := range book.People {
		for _, b := range p.Batches {
			if _, err := fmt.Fprintf(a.out, "\n%s in %s, %s: %s\n", p.Code, plain(b.Parent), b.When.Format("2006-01-02 15:04"), stateOfBatch(b)); err != nil {
				return err
			}
			for _, m := range b.Moves {
				if _, err := fmt.Fprintf(a.out, "  %s -> %s\n", plain(m.From), m.To); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (a *app) deidUndoCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "undo CODE [PARENT]", Short: "give files their old names again",
		Long: "Takes back the last renaming to CODE, in the folder where it was done, or in PARENT if that is elsewhere now. Nothing is\n" +
			"overwritten, and what is stored elsewhere stays. Asks first on a terminal; elsewhere it needs --yes.",
		Example:           "  studyfs deid undo c0ffee12\n  studyfs deid undo c0ffee12 /mnt/nas/to_upload",
		ValidArgsFunction: completeDirs,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly(1, "a CODE")(c, args)
			}
			return atMost(2)(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.deidUndo(args[0], argument(args, 1, ""), yes) },
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) deidUndo(code, parent string, yes bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	book, _, _, err := l.openLedger(false)
	if err != nil {
		return err
	}
	defer book.Close() //nolint:errcheck // what was to be kept has been saved
	p := book.Owner(code)
	if p == nil || p.Newest() == nil {
		return &failure{What: code, Why: "nothing was renamed to it on this machine, or all of it was taken back", Do: "studyfs deid show lists the codes", Code: exitUsage}
	}
	b := p.Newest()
	if parent == "" {
		parent = b.Parent
	}
	path, root, err := openParent(parent)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // what was written has been synced
	if err := a.confirmUndo(len(b.Moves), path, yes); err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	b.Parent = path
	r, err := book.Undo(ctx, p, b, root)
	if err != nil {
		return interrupted(path, code, err)
	}
	a.say(countFiles(r.Renamed) + " of " + code + " have their old names again")
	if r.Gone > 0 || len(r.Taken) > 0 {
		return &failure{
			What: path, Code: exitPartial, Do: "nothing was overwritten; studyfs deid show --files lists all names",
			Why: fmt.Sprintf("%s are no longer there, and of %d something else has the old name", countFiles(r.Gone), len(r.Taken)),
		}
	}
	return nil
}

func (a *app) confirmUndo(n int, path string, yes bool) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return &failure{What: "undo", Why: "nobody is there to ask", Do: "add --yes if that is meant", Code: exitUsage}
	}
	d, err := openDesk(a)
	if err != nil {
		return err
	}
	defer d.close()
	return d.confirm("", "Give "+countFiles(n)+" in "+path+" names of patients again?", false)
}
