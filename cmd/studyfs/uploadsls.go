package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// uploadsReport is what uploads ls --json prints.
type uploadsReport struct {
	Schema int           `json:"schema"`
	Stages []stageReport `json:"stages"`
}

// chooseStages finds the stages and has those that args mean do q: all of them without args, else one by its mount, by
// the name of its source, or by its URL.
func (a *app) chooseStages(ctx context.Context, l *loaded, args []string, q uploadsRequest) ([]stageRef, error) {
	if len(args) == 0 {
		return a.findStages(ctx, l, q)
	}
	all, err := a.findStages(ctx, l, uploadsRequest{Limit: -1})
	if err != nil {
		return nil, err
	}
	var chosen []stageRef
	var names []string
	for _, arg := range args {
		found := false
		for _, r := range all {
			names = append(names, r.report.Source)
			if !r.is(arg) {
				continue
			}
			found = true
			if r.report, err = r.ask(ctx, a, l, q); err != nil {
				return nil, err
			}
			chosen = append(chosen, r)
		}
		if !found {
			return nil, noStage(arg, names)
		}
	}
	return chosen, nil
}

// is reports whether arg means this stage.
func (r stageRef) is(arg string) bool {
	if arg == r.id || arg == r.report.Source || strings.TrimSuffix(arg, "/") == strings.TrimSuffix(r.report.URL, "/") {
		return true
	}
	dir, err := absolute(arg)
	return err == nil && r.dir != "" && (dir == r.dir || strings.HasPrefix(r.dir, dir+"/"))
}

func noStage(arg string, names []string) error {
	f := &failure{What: arg, Why: "neither a mount nor a source that anything was written to from here", Do: "studyfs uploads ls shows all", Code: exitError}
	if near := nearest(arg, names); near != "" {
		f.Do = "did you mean " + near + "?\n" + f.Do
	}
	return f
}

func (a *app) listUploads(all []stageRef, asJSON bool) error {
	report := uploadsReport{Schema: statusSchema, Stages: []stageReport{}}
	items := 0
	for _, r := range all {
		report.Stages = append(report.Stages, r.report)
		items += len(r.report.Items)
	}
	if asJSON {
		return printJSON(a.out, report)
	}
	if items == 0 {
		a.say("nothing waits for its upload")
	}
	return printStages(a.out, report.Stages)
}

// printStages prints a table for each stage with something in it, or with trouble.
func printStages(w io.Writer, stages []stageReport) error {
	first := true
	for _, s := range stages {
		if len(s.Items) == 0 && s.Error == "" && len(s.Warned) == 0 {
			continue
		}
		if !first {
			fmt.Fprintln(w) //nolint:errcheck // what follows tells
		}
		first = false
		if _, err := fmt.Fprintln(w, s.heading()); err != nil {
			return err
		}
		if err := s.printItems(w); err != nil {
			return err
		}
		if err := s.printWarned(w); err != nil {
			return err
		}
	}
	return nil
}

// printItems prints a table of what is staged.
func (s stageReport) printItems(w io.Writer) error {
	if len(s.Items) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tSTATE\tSIZE\tSENT\tAGE\tNAME") //nolint:errcheck // Flush tells
	for _, i := range s.Items {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\n", i.ID, i.State, humanBytes(i.Size), i.progress(), humanAge(i.AgeS), i.shown()) //nolint:errcheck // Flush tells
		for _, why := range i.remarks() {
			fmt.Fprintf(t, "\t\t\t\t\t  %s\n", why) //nolint:errcheck // Flush tells
		}
	}
	return t.Flush()
}

// shownWarned is how many names of stored files are looked at in words; a tree of a thousand files has the same fault a thousand times.
const shownWarned = 10

// printWarned tells of stored files whose names could be better.
func (s stageReport) printWarned(w io.Writer) error {
	if len(s.Warned) == 0 {
		return nil
	}
	var b strings.Builder
	n := len(s.Warned)
	fmt.Fprintf(&b, "  %s stored today %s the rules mind:\n", countFiles(n), pick(n, "has something that", "have something that"))
	for _, f := range s.Warned[:min(n, shownWarned)] {
		fmt.Fprintf(&b, "    %s\n", harmless(f.Name))
		for _, text := range f.Warnings {
			fmt.Fprintf(&b, "      %s\n", text)
		}
	}
	if n > shownWarned {
		fmt.Fprintf(&b, "    and %d more (uploads ls --json lists all)\n", n-shownWarned)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// heading is a line about a stage.
func (s stageReport) heading() string {
	text := s.URL
	switch {
	case s.Dir != "":
		text += " at " + s.Dir
	case s.Error == "":
		text += ", which nobody uploads now (studyfs uploads run)"
	}
	if s.Uploads != (uploadStatus{}) {
		text += ": " + s.Uploads.summary()
	}
	if s.Error != "" {
		text += "\n  " + s.Error
	}
	return text
}

// summary is the figures in words.
func (u uploadStatus) summary() string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{
		{u.Writing, "open"},
		{u.Staged, "waiting"},
		{u.Uploading, "uploading"},
		{u.Conflict, "in conflict"},
		{u.Parked, "parked"},
		{u.Failed, "failed"},
		{u.Orphan, pick(u.Orphan, "orphan", "orphans")},
		{u.Quarantined, "quarantined"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	text := "all is stored"
	if len(parts) > 0 {
		text = strings.Join(parts, ", ")
	}
	if u.BytesLeft > 0 {
		text += ", " + humanBytes(u.BytesLeft) + " left"
	}
	if u.Paused != "" {
		text += " (" + u.Paused + ")"
	}
	return text
}

func (i uploadItem) progress() string {
	switch {
	case i.Kind == "directory" || i.Size == 0 && i.Sent == 0:
		return "-"
	case i.Sent == 0:
		return "0 %"
	}
	return strconv.FormatInt(100*min(i.Sent, i.Size)/max(i.Size, 1), 10) + " %"
}

// shown is the name, made harmless for a terminal.
func (i uploadItem) shown() string {
	name := i.Name
	if name == "" {
		return "(name lost; uploads retry --as NAME)"
	}
	if i.Kind == "directory" {
		name += "/"
	}
	return harmless(name)
}

// harmless quotes a name that could move the cursor.
func harmless(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

func (i uploadItem) remarks() []string {
	if i.Error == "" || slices.Contains(i.Warnings, i.Error) {
		return i.Warnings
	}
	return append([]string{i.Error}, i.Warnings...)
}

// humanAge shows seconds in the two largest units that matter.
func humanAge(seconds float64) string {
	d := time.Duration(max(seconds, 0) * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// confirmDrop asks whether files may be deleted.
func (a *app) confirmDrop(items []uploadItem, yes bool) error {
	if yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return &failure{What: "drop", Why: "nobody is there to ask: dropped files are deleted for good", Do: "add --yes if that is meant", Code: exitUsage}
	}
	for _, i := range items {
		a.sayPlain(fmt.Sprintf("  %s (%s, %s)", i.shown(), i.State, humanBytes(i.Size)))
	}
	fmt.Fprintf(a.err, "Delete %s that %s stored nowhere else? [y/N] ", countFiles(len(items)), pick(len(items), "is", "are")) //nolint:errcheck // a terminal
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if word := strings.ToLower(strings.TrimSpace(answer)); err != nil || word != "y" && word != "yes" {
		return &failure{What: "drop", Why: "nothing was deleted", Code: exitInterrupted}
	}
	return nil
}
