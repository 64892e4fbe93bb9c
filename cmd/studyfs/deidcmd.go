package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/deid/ledger"
	"studyfs/cache/stage/gate/deid/survey"
)

const deidHelp = `Renames the files of one patient in PARENT, a folder of this machine that holds folders with patients' names, to a code of
eight digits and numbers in the order in which they begin:

  c0ffee12_edf/c0ffee12_1.edf            recordings (EDF, BDF), by the start in their headers
  c0ffee12/c0ffee12_0/c0ffee12_0_0000.avi  videos by day, by VTC files beside them, what cameras write into AVI, MP4 and
                                         Matroska, dates in their names, or else by the time of the file
  c0ffee12_snc/c0ffee12_1.snc            SNC, VTC, TXT and CSV files, by the first time in them or in their names

Which folders are the patient's is asked for, or read from standard input, one a line: no name is on the command line, where
every process could see it. All else (documents, the recorder's own ERD, ETC, ENT and so on, what does not tell when it
begins) stays where it is, and is told. Headers and contents are not changed. No file is ever overwritten.

The code is made of a secret, deid.secret beside the configuration; whose it is, and what was renamed, is kept in the state
directory, encrypted with it. Keep a copy of both: without the secret nobody can tell. A renaming that was interrupted goes
on with the next "studyfs deid PARENT".`

// deidFlags are those of deid.
type deidFlags struct {
	code        string
	fresh       bool
	dryRun, yes bool
}

func (a *app) deidCommand() *cobra.Command {
	var f deidFlags
	c := &cobra.Command{
		Use: "deid PARENT", Short: "rename a patient's folder to a code, files in the order of their start", Long: deidHelp,
		Example: "  studyfs deid --dry-run /data/to_upload\n  studyfs deid /data/to_upload && cp -r /data/to_upload/c0ffee12* ~/Studies/ecog/",
		Args:    exactly(1, "the folder that holds patients' folders"), ValidArgsFunction: completeDirs,
		RunE: func(_ *cobra.Command, args []string) error { return a.deid(args[0], f) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.code, "code", "", "use this code, which the patient was given before; numbers go on")
	flags.BoolVar(&f.fresh, "new", false, "this is another patient than the one of the same name who has a code")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be renamed, and rename nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	c.AddCommand(a.deidShowCommand(), a.deidUndoCommand(), newDeidWordsCommand(a))
	return c
}

// deidRun is one renaming.
type deidRun struct {
	*app
	f      deidFlags
	desk   *desk
	parent string // absolute
	root   *os.Root
	secret []byte
	ledger *ledger.Ledger
}

func (a *app) deid(parent string, f deidFlags) error {
	if f.code != "" && f.fresh {
		return usagef("deid: choose one of --code, --new")
	}
	l, err := a.load()
	if err != nil {
		return err
	}
	d := &deidRun{app: a, f: f}
	if d.desk, err = openDesk(a); err != nil {
		return err
	}
	defer d.desk.close()
	if d.parent, d.root, err = openParent(parent); err != nil {
		return err
	}
	defer d.root.Close() //nolint:errcheck // what was written has been synced
	var notice string
	if d.ledger, d.secret, notice, err = l.openLedger(!f.dryRun); err != nil {
		return err
	}
	defer d.ledger.Close() //nolint:errcheck // what was to be kept has been saved
	if notice != "" {
		a.say(notice)
	}
	return d.run()
}

func (d *deidRun) run() error {
	ctx, release := interruptible()
	defer release()
	resumed, err := d.resume(ctx)
	if err != nil || d.f.dryRun && resumed {
		return err
	}
	folders, err := d.desk.choose(d.root, resumed)
	if err != nil || len(folders) == 0 {
		return err
	}
	return d.rename(ctx, folders)
}

// openParent opens the folder that holds the patients' folders.
func openParent(arg string) (string, *os.Root, error) {
	no := func(why, do string, code int) (string, *os.Root, error) {
		return "", nil, &failure{What: arg, Why: why, Do: do, Code: code}
	}
	info, err := os.Lstat(arg)
	switch {
	case err != nil:
		return no(lastCause(err), "give the folder that holds patients' folders", exitUsage)
	case info.Mode()&os.ModeSymlink != 0:
		return no("it is a link", "give the folder that it leads to", exitUsage)
	case !info.IsDir():
		return no("not a folder", "give the folder that holds patients' folders", exitUsage)
	}
	path, err := filepath.Abs(arg)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return no(lastCause(err), "", exitIO)
	}
	for up := path; ; up = filepath.Dir(up) {
		if mountedAt(up) == fuseType {
			return no("it is in a mount of studyfs, and names that were there may have been uploaded", "rename the folder where it was recorded, then copy it into the mount", exitUsage)
		}
		if up == filepath.Dir(up) || mountedAt(up) != "" {
			break
		}
	}
	if err := unix.Access(path, unix.W_OK|unix.X_OK); err != nil {
		return no("nothing can be renamed there ("+lastCause(err)+")", "make it writable for yourself, or copy the folder elsewhere first", exitPermission)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return no(lastCause(err), "", exitIO)
	}
	return path, root, nil
}

// resume goes on with what was interrupted in the folder.
func (d *deidRun) resume(ctx context.Context) (bool, error) {
	p, b := d.ledger.Unfinished(d.parent)
	if b == nil {
		return false, nil
	}
	if d.f.dryRun {
		d.say("a renaming to " + p.Code + " was interrupted here: without --dry-run it goes on")
		return true, nil
	}
	d.say("going on with the renaming to " + p.Code + " that was interrupted")
	return true, d.carry(ctx, p, b)
}

// rename finds out what is to be renamed, shows it, and does it.
func (d *deidRun) rename(ctx context.Context, folders []string) error {
	s, err := survey.Look(d.root, folders, time.Local)
	if err != nil {
		return &failure{What: d.parent, Why: lastCause(err), Do: "look that all in the folder can be read, and that nothing is mounted in it", Code: exitIO}
	}
	p, err := d.patient(folders)
	if err != nil {
		return err
	}
	s.Without(p.History)
	if len(s.Files) == 0 {
		d.tellLeft(s)
		d.say("there is nothing to rename")
		return nil
	}
	plan, err := deid.Continue(p.Code, filesOf(s), p.History, func(name string) bool {
		_, err := d.root.Lstat(name)
		return !errors.Is(err, os.ErrNotExist)
	})
	if err != nil {
		return &failure{
			What: d.parent, Why: err.Error(), Code: exitCannotCreate,
			Do: "move away what has names that begin with " + p.Code + ", if it is another patient's; with --code and a patient whom this machine does not know, numbers begin at 1",
		}
	}
	if err := d.writable(plan.Moves); err != nil {
		return err
	}
	d.desk.showPlan(plan, s, d.f.dryRun)
	d.tellLeft(s)
	if d.f.dryRun {
		return nil
	}
	if err := d.agree(plan); err != nil {
		return err
	}
	b, err := d.ledger.Begin(p, ledger.Batch{When: time.Now(), Parent: d.parent, Folders: folders, Moves: plan.Moves, Dirs: s.Folders}, plan.After)
	if err != nil {
		return ledgerFailure(err)
	}
	return d.carry(ctx, p, b)
}

func filesOf(s survey.Survey) []deid.File {
	files := make([]deid.File, 0, len(s.Files))
	for _, f := range s.Files {
		files = append(files, f.File)
	}
	return files
}

// writable makes sure, before anything is renamed, that all can be.
func (d *deidRun) writable(moves []deid.Move) error {
	seen := map[string]bool{}
	for _, m := range moves {
		dir := filepath.Dir(filepath.Join(d.parent, m.From))
		if seen[dir] {
			continue
		}
		seen[dir] = true
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return &failure{
				What: d.parent, Why: "a folder below it cannot be changed (" + lastCause(err) + ")", // its name would name the patient
				Do: "make all folders of the patient writable for yourself", Code: exitPermission,
			}
		}
	}
	return nil
}

// agree asks whether the plan is to be done. Who gave names on standard input has agreed, but for what is odd.
func (d *deidRun) agree(plan deid.Planned) error {
	if plan.Late > 0 {
		odd := countFiles(plan.Late) + " " + pick(plan.Late, "begins", "begin") + " before files that were numbered earlier: numbers will not tell the order"
		if err := d.desk.confirm(odd, "Go on?", d.f.yes); err != nil {
			return err
		}
	}
	if d.desk.tty == nil {
		return nil
	}
	return d.desk.confirm("", "Rename "+countFiles(len(plan.Moves))+"?", d.f.yes)
}

// carry does what is written down, and tells what came of it.
func (d *deidRun) carry(ctx context.Context, p *ledger.Person, b *ledger.Batch) error {
	undoing := b.State == ledger.Undoing
	r, err := d.ledger.Carry(ctx, p, b, d.root)
	if err != nil {
		return interrupted(d.parent, p.Code, err)
	}
	d.tellResult(p.Code, b, r, undoing)
	if len(r.Taken) > 0 {
		return &failure{
			What: countFiles(len(r.Taken)), Why: "not renamed: other files have taken the names since", Code: exitPartial,
			Do: "nothing was overwritten. Run studyfs deid again for what was left",
		}
	}
	return nil
}

// interrupted tells how to go on after an error in the midst of a renaming.
func interrupted(parent, code string, err error) error {
	f := &failure{What: parent, Why: "stopped in the midst of it: " + lastCause(err), Code: exitTryAgain}
	f.Do = "no file is lost. studyfs deid " + quote(parent) + " goes on, studyfs deid undo " + code + " takes it back"
	if errors.Is(err, context.Canceled) {
		f.Why, f.Code = "interrupted", exitInterrupted
	}
	if errors.Is(err, ledger.ErrCannotRename) {
		f.Why = "this file system can rename nothing without the danger of overwriting"
		f.Do = "copy the folder to another disk first. studyfs deid undo " + code + " forgets this attempt"
	}
	return f
}

// tellResult tells where the files are now; the code goes to standard output.
func (d *deidRun) tellResult(code string, b *ledger.Batch, r ledger.Result, undone bool) {
	if undone {
		d.say(countFiles(r.Renamed) + " of " + code + " have their old names again")
		return
	}
	d.say(countFiles(r.Renamed) + " in " + d.parent + " named by the code " + code + ": " + strings.Join(topsOf(b), ", "))
	if r.Gone > 0 {
		d.say(countFiles(r.Gone) + " of the plan " + pick(r.Gone, "is", "are") + " gone: somebody else has moved or deleted " + pick(r.Gone, "it", "them"))
	}
	d.say("headers and contents are as they were, and may still name the patient")
	fmt.Fprintln(d.out, code) //nolint:errcheck // said above
}

// topsOf lists the folders that a batch has filled.
func topsOf(b *ledger.Batch) []string {
	var tops []string
	for _, m := range b.Moves {
		top, _, _ := strings.Cut(m.To, "/")
		tops = append(tops, top)
	}
	slices.Sort(tops)
	return slices.Compact(tops)
}

// tellLeft tells what keeps its name: how many to everybody, which ones to the terminal.
func (d *deidRun) tellLeft(s survey.Survey) {
	for _, reason := range []survey.Reason{survey.OtherKind, survey.Recorder, survey.NotAFile, survey.NoStart, survey.BeforeFirst} {
		var names []string
		for _, l := range s.Left {
			if l.Reason == reason {
				names = append(names, l.Name)
			}
		}
		if len(names) > 0 {
			d.say(countFiles(len(names)) + " left: " + reason.String())
			d.desk.list(names, d.f.dryRun)
		}
	}
}
