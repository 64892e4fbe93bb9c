package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/backends/beiwe"
	"studyfs/cmd/studyfs/livepage"
)

const watchEvery = time.Second

func (a *app) statusCommand() *cobra.Command {
	var show shownStatus
	c := &cobra.Command{
		Use: "status [DIR|PATH]", Short: "show the mounts, or what is known of one file", Args: atMost(1), ValidArgsFunction: a.completeMounts,
		Long: "Shows all mounts of this user, the one at DIR, or what is known of the file at PATH: whether it is on the\n" +
			"local disk, its version, its storage class, why it cannot be read. Nothing is asked of any service.",
		Example: "  studyfs status\n  studyfs status ~/study1/sub-01/eeg.edf\n  studyfs status --json | jq '.mounts[].uploads'",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.placesAnyway()
			if err != nil {
				return err
			}
			show.args = args
			if show.json && show.metrics || show.metrics && len(args) > 0 {
				return usagef("status: --metrics tells of all mounts, in a format of its own: it takes no DIR, no PATH and no --json")
			}
			if show.watch {
				return a.watchStatus(p, show)
			}
			return a.showStatus(a.out, p, show)
		},
	}
	c.Flags().BoolVar(&show.json, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	c.Flags().BoolVar(&show.watch, "watch", false, "show it anew every second until Ctrl-C, which is no error: in place on a terminal, else one after the other")
	c.Flags().BoolVar(&show.metrics, "metrics", false, "print the figures of all mounts in the text format of Prometheus, without names")
	return c
}

// shownStatus is what somebody wants to see of the mounts.
type shownStatus struct {
	args    []string
	json    bool
	metrics bool
	watch   bool
}

// watchStatus shows it again and again. Each time is written at once, so that a terminal does not flicker.
func (a *app) watchStatus(p places, what shownStatus) error {
	ctx, release := interruptible()
	defer release()
	f, ok := a.out.(*os.File)
	isTerminal := ok && term.IsTerminal(int(f.Fd()))
	clean := "\x1b[2J"
	for {
		var b bytes.Buffer
		if err := a.showStatus(&b, p, what); err != nil {
			return err
		}
		text := b.String()
		if isTerminal {
			text = clean + inPlace(text)
			clean = ""
		}
		if _, err := io.WriteString(a.out, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how one leaves it
		case <-time.After(watchEvery):
		}
	}
}

// inPlace is a text that is written over an earlier one: what is left of that is cleared, line by line.
func inPlace(text string) string {
	return "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
}

// printMetrics prints the figures of mounts.
func printMetrics(w io.Writer, mounts []mountStatus) error {
	views := make([]livepage.View, len(mounts))
	for i := range mounts {
		views[i] = viewOf(&mounts[i])
	}
	return livepage.WriteMetrics(w, views)
}

func (a *app) showStatus(w io.Writer, p places, what shownStatus) error {
	if len(what.args) == 0 {
		return a.showAll(w, allMounts(p), what)
	}
	args, asJSON := what.args, what.json
	socket, below, err := findMountOf(p, args[0])
	if err != nil {
		return err
	}
	if below == "" {
		r, err := ask(context.Background(), socket, request{Op: "status"})
		if err != nil || r.Mount == nil {
			return noMount(p, args[0], err)
		}
		if asJSON {
			return printJSON(w, statusReport{Schema: statusSchema, Mounts: []mountStatus{*r.Mount}})
		}
		return printMounts(w, []mountStatus{*r.Mount})
	}
	r, err := ask(context.Background(), socket, request{Op: "stat", Path: below})
	if err != nil || r.Object == nil {
		return noMount(p, args[0], err)
	}
	if asJSON {
		return printJSON(w, r.Object)
	}
	return printObject(w, r.Object)
}

// showAll shows all mounts.
func (a *app) showAll(w io.Writer, mounts []mountStatus, what shownStatus) error {
	switch {
	case what.metrics:
		return printMetrics(w, mounts)
	case what.json:
		return printJSON(w, statusReport{Schema: statusSchema, Mounts: mounts})
	case len(mounts) > 0:
	case what.watch: // in the place of what is to come
		fmt.Fprintln(w, "nothing is mounted") //nolint:errcheck // it is kept in memory
	default:
		a.say("nothing is mounted")
	}
	return printMounts(w, mounts)
}

// allMounts asks every serving process of this user.
func allMounts(p places) []mountStatus {
	mounts := []mountStatus{} // an empty list in JSON, not null
	sockets, err := filepath.Glob(filepath.Join(p.runtime, "*.sock"))
	if err != nil {
		return mounts
	}
	for _, socket := range sockets {
		if r, err := ask(context.Background(), socket, request{Op: "status"}); err == nil && r.Mount != nil {
			mounts = append(mounts, *r.Mount)
		}
	}
	slices.SortFunc(mounts, func(a, b mountStatus) int { return strings.Compare(a.Dir, b.Dir) })
	return mounts
}

// findMountOf finds the mount that path is or lies in. It looks at names only: the mount itself may hang.
func findMountOf(p places, path string) (socket, below string, err error) {
	dir, err := absolute(path)
	if err != nil {
		return "", "", err
	}
	for top := dir; ; top = filepath.Dir(top) {
		socket := p.socketOf(top)
		if _, err := os.Lstat(socket); err == nil {
			below, err := filepath.Rel(top, dir)
			if below == "." {
				below = ""
			}
			return socket, below, err
		}
		if top == filepath.Dir(top) {
			return "", "", noMount(p, path, errNoMount)
		}
	}
}

// noMount explains that nobody answers for dir.
func noMount(p places, dir string, err error) error {
	abs, unclear := absolute(dir)
	stale := unclear == nil && isStale(p, abs)
	if err != nil && !errors.Is(err, errNoMount) && !stale {
		return err
	}
	f := &failure{What: dir, Why: "studyfs is not mounted there", Do: "studyfs status lists all mounts", Code: exitError}
	if stale {
		f.Why, f.Do = "the process that served this mount has ended", "studyfs umount "+quote(dir)+" (or mount again: that clears it)"
	}
	return f
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func printMounts(w io.Writer, mounts []mountStatus) error {
	if len(mounts) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "DIR\tSOURCE\tCACHED\tHITS\tMISSES\tLIST\tGET\tRECEIVED\tLISTED\tSTATE") //nolint:errcheck // Flush tells
	for _, m := range mounts {
		for _, s := range m.Sources {
			state := "ok"
			if len(s.Errors) > 0 {
				state = s.Errors[0].Why
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s ago\t%s\n", s.Dir, s.URL, //nolint:errcheck // Flush tells
				humanBytes(s.Cache.Bytes), s.Cache.Hits, s.Cache.Misses, s.Requests.List, s.Requests.Get, humanBytes(s.Bytes.In),
				time.Duration(s.Listing.AgeS*float64(time.Second)).Round(time.Second), state)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range mounts {
		pass := "on"
		if !m.Passthrough.On {
			pass = "off"
		}
		if m.Passthrough.Why != "" {
			pass += " (" + m.Passthrough.Why + ")"
		}
		if _, err := fmt.Fprintf(w, "\n%s: process %d, cache limit %s, passthrough %s%s\n", m.Dir, m.PID,
			humanBytes(m.Sources[0].Cache.Limit), pass, hiddenNote(m)); err != nil {
			return err
		}
		printPlaces(w, m)
		m.Reload.print(w)
		for _, s := range m.Sources {
			printAtRest(w, s)
			printFetching(w, s)
			printUploads(w, s)
		}
	}
	return nil
}

// printPlaces tells where a mount's log and its page are.
func printPlaces(w io.Writer, m mountStatus) {
	if m.Log != "" {
		fmt.Fprintf(w, "  log: %s\n", m.Log) //nolint:errcheck // said already
	}
	if m.Page != "" {
		fmt.Fprintf(w, "  live page: %s (a key to it: do not pass it on)\n", m.Page) //nolint:errcheck // said already
	}
}

// printAtRest tells of a source whose cache is encrypted where the key is.
func printAtRest(w io.Writer, s sourceStatus) {
	if s.AtRest.Encrypted {
		fmt.Fprintf(w, "  %s is encrypted on this disk, without passthrough; the key is %s\n", s.Dir, s.AtRest.Key) //nolint:errcheck // said already
	}
}

// printFetching tells how far fetches are that take long.
func printFetching(w io.Writer, s sourceStatus) {
	for _, f := range s.Fetching {
		fmt.Fprintf(w, "  %s\n", fetchingLine(f)) //nolint:errcheck // said already
	}
}

func fetchingLine(f beiwe.Progress) string {
	of := ""
	if f.Expected > 0 {
		of = " of about " + humanBytes(f.Expected)
	}
	what := "fetching "
	if f.Ahead {
		what = "fetching ahead "
	}
	return fmt.Sprintf("%s%s of %s to %s: %d files, %s%s, for %s", what, strings.Join(f.Streams, ", "), f.From, f.To,
		f.Objects, humanBytes(f.Bytes), of, time.Duration(f.Seconds*float64(time.Second)).Round(time.Second))
}

// printUploads tells how a source is written to and what is on its way there.
func printUploads(w io.Writer, s sourceStatus) {
	if s.Write == nil {
		return
	}
	extra := ""
	if s.Write.Delete {
		extra = ", stored files can be deleted"
	}
	if s.Write.Conditions == "unable" {
		extra += ", the service cannot keep two writers apart"
	}
	fmt.Fprintf(w, "  %s can be written to (durability %s, bids %s%s): %s\n", s.Dir, s.Write.Durability, s.Write.BIDS, extra, s.Uploads.summary()) //nolint:errcheck // said already
}

func hiddenNote(m mountStatus) string {
	hidden, lost, note := int64(0), int64(0), ""
	for _, s := range m.Sources {
		hidden += s.Listing.HiddenKeys
		lost += s.Listing.LostFiles
	}
	if hidden > 0 {
		note = fmt.Sprintf(", %d keys hidden that cannot be file names", hidden)
	}
	if lost > 0 {
		note += fmt.Sprintf(", %d .enc files of which only the salt was ever uploaded: upload them again", lost)
	}
	return note
}

func printObject(w io.Writer, o *objectStatus) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value) //nolint:errcheck // Flush tells
		}
	}
	row("path", o.Path)
	row("source", o.Source)
	if o.Dir {
		row("kind", "directory")
		return t.Flush()
	}
	row("state", o.State)
	row("size", fmt.Sprintf("%d (%s)", o.Size, humanBytes(o.Size)))
	if o.ModTime != nil {
		row("modified", o.ModTime.UTC().Format(time.RFC3339))
	}
	row("etag", o.ETag)
	row("storage class", o.StorageClass)
	if o.Tier != "online" {
		row("tier", o.Tier)
	}
	if o.Sent > 0 {
		row("uploaded", fmt.Sprintf("%s (%d %%)", humanBytes(o.Sent), 100*o.Sent/max(o.Size, 1)))
	}
	for _, text := range o.Warnings {
		row("warning", text)
	}
	row("error", o.Error)
	return t.Flush()
}

// humanBytes shows a number of bytes with about three digits.
func humanBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), 0
	for value >= 999.5 && unit < 4 {
		value /= 1024
		unit++
	}
	digits := 0
	switch {
	case value < 10:
		digits = 2
	case value < 100:
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, "BKMGT"[unit])
}
