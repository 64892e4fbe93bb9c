package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/term"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/deid/survey"
	"studyfs/cache/stage/gate/edf"
)

// desk is who is asked whose files to rename. Names of patients are shown to the terminal alone: standard error may go into a log.
type desk struct {
	app   *app
	tty   *os.File // nil where names are read from standard input
	read  *bufio.Reader
	names []string // from standard input
}

const (
	mostNames = 64 << 10 // of standard input
	mostLines = 20       // of a list that nobody asked for
)

// openDesk opens the terminal, or reads what is on standard input: a command that prints the secret may read from that, too.
func openDesk(a *app) (*desk, error) {
	d := &desk{app: a}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		tty, err := openTerminal()
		if err != nil {
			return nil, &failure{What: "cannot ask at the terminal", Why: lastCause(err), Do: "give the folder's name on standard input", Code: exitIO}
		}
		d.tty, d.read = tty, bufio.NewReader(tty)
		return d, nil
	}
	text, err := io.ReadAll(io.LimitReader(os.Stdin, mostNames+1))
	if err != nil || len(text) > mostNames {
		return nil, &failure{What: "standard input", Why: "cannot be read, or is too long", Do: "give the names of the patient's folders, one a line", Code: exitUsage}
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			d.names = append(d.names, line)
		}
	}
	return d, nil
}

func (d *desk) close() {
	if d.tty != nil {
		d.tty.Close() //nolint:errcheck // a terminal
	}
}

func (d *desk) show(text string) {
	if d.tty != nil {
		fmt.Fprintln(d.tty, strings.Map(printableOnly, text)) //nolint:errcheck // a terminal
	}
}

// ask returns a line, without what surrounds it.
func (d *desk) ask(question string) (string, error) {
	fmt.Fprint(d.tty, "studyfs: "+question+" ") //nolint:errcheck // a terminal
	line, err := d.read.ReadString('\n')
	if err != nil {
		return "", &failure{What: "deid", Why: "nothing was renamed", Code: exitInterrupted}
	}
	return strings.TrimSpace(line), nil
}

// confirm returns nil if the user agrees to go on. doubt is why somebody has to.
func (d *desk) confirm(doubt, question string, yes bool) error {
	switch {
	case yes:
		return nil
	case d.tty == nil:
		return &failure{What: "deid", Why: doubt, Do: "nothing was renamed; add --yes if that is meant", Code: exitUsage}
	}
	if doubt != "" {
		d.show("studyfs: " + doubt)
	}
	answer, err := d.ask(question + " [y/N]")
	if err != nil {
		return err
	}
	if word := strings.ToLower(answer); word != "y" && word != "yes" {
		return &failure{What: "deid", Why: "nothing was renamed", Code: exitInterrupted}
	}
	return nil
}

// choose returns the folders that are the patient's: by their numbers, or as they stand on standard input. resumed tells that those may have
// been taken care of already.
func (d *desk) choose(root *os.Root, resumed bool) ([]string, error) {
	all, err := foldersIn(root)
	if err != nil {
		return nil, &failure{What: root.Name(), Why: lastCause(err), Code: exitIO}
	}
	if d.tty == nil {
		return d.given(all, resumed)
	}
	if len(all) == 0 && resumed {
		return nil, nil
	}
	if len(all) == 0 {
		return nil, &failure{What: root.Name(), Why: "there is no folder in it that has no code", Do: "give the folder above those of the patients", Code: exitUsage}
	}
	for i, name := range all {
		d.show(fmt.Sprintf("%4d  %s", i+1, name))
	}
	answer, err := d.ask("which are the patient's? numbers, such as 2 or 1 3:")
	if err != nil {
		return nil, err
	}
	return numbered(all, answer)
}

// numbered returns those of all whose numbers, from 1, an answer tells.
func numbered(all []string, answer string) ([]string, error) {
	var chosen []string
	for _, word := range strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > len(all) {
			return nil, &failure{What: "deid", Why: "there is no such number in the list", Do: "give numbers, such as 1 3; nothing was renamed", Code: exitUsage}
		}
		chosen = append(chosen, all[n-1])
	}
	if len(chosen) == 0 {
		return nil, &failure{What: "deid", Why: "nothing was renamed", Code: exitInterrupted}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

// given checks the names on standard input.
func (d *desk) given(all []string, resumed bool) ([]string, error) {
	var chosen []string
	for i, name := range d.names {
		name = strings.TrimSuffix(name, "/")
		if slices.Contains(all, name) {
			chosen = append(chosen, name)
		} else if !resumed {
			return nil, &failure{
				What: fmt.Sprintf("line %d of standard input", i+1), Why: "PARENT has no such folder, or it is a link or has a code", // which one would name the patient
				Do: "give the names of the patient's folders in PARENT, one a line", Code: exitUsage,
			}
		}
	}
	if len(d.names) == 0 && !resumed {
		return nil, &failure{
			What: "deid", Why: "nobody says which folder is the patient's", Code: exitUsage,
			Do: "run it at a terminal, or give the folder's name on standard input, such as from a file",
		}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen), nil
}

// foldersIn lists the folders that have no codes yet. Links are none.
func foldersIn(root *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		code, _, _ := strings.Cut(e.Name(), "_")
		if e.IsDir() && !edf.IsCode(code) && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// showPlan shows old and new names at the terminal. Elsewhere a dry run prints the new ones.
func (d *desk) showPlan(plan deid.Planned, s survey.Survey, all bool) {
	origins := map[string]survey.Found{}
	guessed := 0
	for _, f := range s.Files {
		origins[f.Name] = f
		if f.Origin == survey.Modified {
			guessed++
		}
	}
	lines := make([]string, 0, len(plan.Moves))
	for _, m := range plan.Moves {
		f := origins[m.From]
		lines = append(lines, fmt.Sprintf("%s  by %s: %s -> %s", f.Start.Format("2006-01-02 15:04:05"), f.Origin, m.From, m.To))
		if d.tty == nil && all {
			fmt.Fprintln(d.app.out, m.To) //nolint:errcheck // data, but of a dry run
		}
	}
	d.list(lines, all)
	if guessed > 0 {
		d.app.say(countFiles(guessed) + " of videos ordered by the time of the file only, which copying may have changed")
	}
}

// list shows lines at the terminal.
func (d *desk) list(lines []string, all bool) {
	for i, line := range lines {
		if i == mostLines && !all && len(lines) > mostLines+1 {
			d.show(fmt.Sprintf("  and %d more (--dry-run shows all)", len(lines)-i))
			return
		}
		d.show("  " + line)
	}
}
