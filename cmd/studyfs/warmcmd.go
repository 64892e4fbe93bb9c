package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"studyfs/cmd/studyfs/warm"
)

func (a *app) warmCommand() *cobra.Command {
	var since string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use: "warm PATH...", Short: "fetch files and folders ahead into the cache", Args: oneOrMore("the PATH of a file or folder in a mount"), ValidArgsFunction: a.completeMounts,
		Long: "Fetches all files at and below PATH into the cache, so that reading them later needs no network. What is there already is not\n" +
			"fetched again, so what was interrupted goes on when the same is run again. Programs that read meanwhile go first.\n\n" +
			"The cache drops what was used longest ago when it is full; studyfs pin keeps a path from that.\n\n" +
			"Exit codes: 0 all is there, 3 some files could not be had, 75 unfinished: run the same again.",
		Example: "  studyfs warm --dry-run ~/hcp/100307/T1w\n  studyfs warm --since 7d ~/empatica",
		RunE: func(_ *cobra.Command, args []string) error {
			from, err := sinceWhen(since, time.Now())
			if err != nil {
				return err
			}
			do := warmFetch
			if dryRun {
				do = warmScan
			}
			return a.warm(args, warmRequest{Do: do, Since: from}, asJSON)
		},
	}
	c.Flags().StringVar(&since, "since", "", "only files changed in that time (7d, 12h, 2w) or since that day (2026-11-01)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only tell how many files, bytes and requests it would be")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	return c
}

func (a *app) pinCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "pin [PATH...]", Short: "keep files and folders in the cache, or list what is kept", ValidArgsFunction: a.completeMounts,
		Long: "Keeps what the cache has of PATH, and what comes to it later, from being dropped when the cache is full, until studyfs unpin. It\n" +
			"fetches nothing: studyfs warm does. What is deleted or replaced in the source leaves the cache all the same. Without PATH it\n" +
			"lists what is kept, with what it takes on the disk.",
		Example: "  studyfs pin ~/hcp/100307/T1w && studyfs warm ~/hcp/100307/T1w\n  studyfs pin",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listPins(asJSON)
			}
			return a.warm(args, warmRequest{Do: warmPin}, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	return c
}

func (a *app) unpinCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "unpin PATH...", Short: "let the cache drop again what was pinned", Args: oneOrMore("a PATH that studyfs pin lists"), ValidArgsFunction: a.completeMounts,
		Example: "  studyfs unpin ~/hcp/100307/T1w\n  studyfs unpin ~/empatica ~/hcp",
		RunE:    func(_ *cobra.Command, args []string) error { return a.warm(args, warmRequest{Do: warmUnpin}, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	return c
}

// sinceWhen understands --since.
func sinceWhen(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day, nil
	}
	for unit, days := range map[string]int{"d": 1, "w": 7} {
		if n, err := strconv.Atoi(strings.TrimSuffix(text, unit)); err == nil && strings.HasSuffix(text, unit) && n > 0 {
			return now.AddDate(0, 0, -n*days), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, usagef("warm: --since %q is neither a time such as 7d, 12h or 2w nor a day such as 2026-11-01", text)
}

// warmResult is what --json prints.
type warmResult struct {
	Schema int  `json:"schema"`
	DryRun bool `json:"dry_run"`
	warm.Report
	Pins []pinned `json:"pins,omitempty"`
}

// warm has the mounts that paths lie in do something ahead, one after the other.
func (a *app) warm(args []string, q warmRequest, asJSON bool) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	mounts, err := mountsOf(p, args)
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	all := warmResult{Schema: statusSchema, DryRun: q.Do == warmScan, Report: warm.Report{Problems: []string{}, Listed: true}}
	line := newProgressLine(a.err)
	for _, m := range mounts {
		q.Paths = m.paths
		last, err := followWarm(ctx, p, m, q, line)
		all.Report.Add(last.Report)
		all.Pins = append(all.Pins, last.Pins...)
		line.clear()
		if ctx.Err() != nil {
			a.say("what has come stays; run the same again to go on")
			return statusError(exitInterrupted)
		}
		if err != nil {
			return err
		}
	}
	return a.warmed(q, all, asJSON)
}

// followWarm sends one job to a mount and shows how it gets on until it ends.
func followWarm(ctx context.Context, p places, m restoreMount, q warmRequest, line *progressLine) (last warmReport, err error) {
	err = askOn(ctx, m.socket, request{Op: "warm", Warm: &q}, func(answer response) (done bool) {
		if answer.Warm == nil {
			return true
		}
		last = *answer.Warm
		line.say(warmLine(last, time.Now()))
		return last.Done
	})
	switch {
	case err != nil:
		return last, noMount(p, m.given, err) //nolint:contextcheck // a look at names
	case last.Failure != nil:
		return last, last.Failure
	case !last.Done:
		return last, &failure{What: m.given, Why: "the mount was taken away meanwhile", Do: "mount again and run the same: what has come is not fetched again", Code: exitTryAgain}
	}
	return last, nil
}

// warmLine is the bar of a terminal.
func warmLine(r warmReport, now time.Time) string {
	if !r.Listed || r.Began.IsZero() {
		return fmt.Sprintf("looking: %s, %s, of which %s are missing", countFiles(int(r.Found.Files)), humanBytes(r.Found.Bytes), humanBytes(r.Missing.Bytes))
	}
	done := int(int64(barWidth) * min(r.Fetched.Bytes, r.Missing.Bytes) / max(r.Missing.Bytes, 1))
	text := fmt.Sprintf("[%s%s] %d of %s, %s of %s", strings.Repeat("#", done), strings.Repeat(".", barWidth-done),
		r.Fetched.Files, countFiles(int(r.Missing.Files)), humanBytes(r.Fetched.Bytes), humanBytes(r.Missing.Bytes))
	if took := now.Sub(r.Began).Seconds(); took >= 1 {
		speed := float64(r.Fetched.Bytes) / took
		text += fmt.Sprintf(", %s/s", humanBytes(int64(speed)))
		if left := float64(r.Missing.Bytes - r.Fetched.Bytes); speed > 0 {
			text += ", " + (time.Duration(left/speed) * time.Second).String() + " left"
		}
	}
	return text
}

// warmed tells how it ended.
func (a *app) warmed(q warmRequest, r warmResult, asJSON bool) error {
	if asJSON {
		if err := printJSON(a.out, r); err != nil {
			return err
		}
	} else if err := a.showWarmed(q, r); err != nil {
		return err
	}
	if r.Failed.Files > 0 || r.Left.Files > 0 && q.Do == warmFetch {
		return statusError(exitPartial)
	}
	return nil
}

func (a *app) showWarmed(q warmRequest, r warmResult) error {
	switch q.Do {
	case warmPin, warmUnpin:
		return a.showPins(r.Pins)
	case warmScan:
		_, err := fmt.Fprintf(a.out, "%s, %s; missing are %s of %s, in about %d requests\n", countFiles(int(r.Found.Files)), humanBytes(r.Found.Bytes),
			humanBytes(r.Missing.Bytes), countFiles(int(r.Missing.Files)), r.Requests)
		return err
	}
	for _, text := range r.Problems {
		a.say(text)
	}
	if r.Left.Files > 0 {
		a.say(fmt.Sprintf("left out: %s that are archived (studyfs restore) or of unknown size", countFiles(int(r.Left.Files))))
	}
	_, err := fmt.Fprintf(a.out, "fetched %s, %s; %s were there already\n", countFiles(int(r.Fetched.Files)), humanBytes(r.Fetched.Bytes),
		countFiles(int(r.Found.Files-r.Missing.Files-r.Left.Files)))
	return err
}

func (a *app) showPins(pins []pinned) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PINNED\tON DISK") //nolint:errcheck // Flush tells
	for _, p := range pins {
		fmt.Fprintf(t, "%s\t%s\n", p.Path, humanBytes(p.Bytes)) //nolint:errcheck // Flush tells
	}
	return t.Flush()
}

// listPins lists what all mounts of this user keep.
func (a *app) listPins(asJSON bool) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	sockets, err := filepath.Glob(filepath.Join(p.runtime, "*.sock"))
	if err != nil {
		return fmt.Errorf("list %s: %w", p.runtime, err)
	}
	all := []pinned{}
	for _, socket := range sockets {
		m := restoreMount{socket: socket, given: socket}
		last, err := followWarm(context.Background(), p, m, warmRequest{Do: warmPins}, &progressLine{})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // a mount that has just gone
		}
		all = append(all, last.Pins...)
	}
	if asJSON {
		return printJSON(a.out, struct {
			Schema int      `json:"schema"`
			Pins   []pinned `json:"pins"`
		}{statusSchema, all})
	}
	if len(all) == 0 {
		a.say("nothing is pinned")
		return nil
	}
	return a.showPins(all)
}
