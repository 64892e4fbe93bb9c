package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/backends"
)

// restoreFlags are those of the command restore.
type restoreFlags struct {
	days           int
	tier           string
	dryRun, yes    bool
	watch, asJSON  bool
	every, timeout time.Duration
	price          []string
}

const (
	defaultRestoreDays = 7
	maxRestoreDays     = 365
	defaultEvery       = 2 * time.Minute
)

func (a *app) restoreCommand() *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use: "restore PATH...", Short: "ask for archived files, after showing what that costs", Args: oneOrMore("the PATH of a file or folder in a mount"), ValidArgsFunction: a.completeMounts,
		Long: "Files in the classes GLACIER and DEEP_ARCHIVE (and archived ones of INTELLIGENT_TIERING) are listed with their size,\n" +
			"but opening them fails with \"No data available\". This asks the service for copies that can be read for some days.\n" +
			"Folders are meant with all that lies below them. It shows first how many files and bytes that is, how long it takes and\n" +
			"about what it costs, and asks; where nobody can be asked it needs --yes.\n\n" +
			"What is on its way or readable already is not asked for again, so what was interrupted is taken up by running the same\n" +
			"again. Reading never asks for anything by itself.\n\n" +
			"Exit codes: 0 all was asked for (with --watch: can be read), 3 some files could not be had, 75 unfinished: the service\n" +
			"asked to come later or time was up; run the same again.",
		Example: "  studyfs restore --dry-run ~/lab/archive/a1b2c3d4\n  studyfs restore --tier bulk --days 14 --watch ~/lab/archive/a1b2c3d4",
		RunE:    func(_ *cobra.Command, args []string) error { return a.restore(args, f) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.IntVar(&f.days, "days", defaultRestoreDays, "how long the copies are kept (INTELLIGENT_TIERING: for good)")
	flags.StringVar(&f.tier, "tier", backends.RestoreBulk, "bulk (cheapest), standard or expedited (minutes, expensive; not from DEEP_ARCHIVE)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what it would cost")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	flags.BoolVar(&f.watch, "watch", false, "stay until all that is on its way can be read")
	flags.DurationVar(&f.every, "every", defaultEvery, "with --watch: how often to look (one listing request for 1,000 files)")
	flags.DurationVar(&f.timeout, "timeout", 0, "with --watch: stay no longer than this (default: as long as it takes)")
	flags.StringArrayVar(&f.price, "price", nil, "a price other than that of "+pricesAsOf+", such as DEEP_ARCHIVE/bulk=0.0025/0.025 (per GB, per\n1,000 files) or copy=0.023 (per GB and month); again for more; restore.prices of the configuration is the same")
	jsonFlag(c, &f.asJSON)
	return c
}

func (f restoreFlags) check() error {
	switch {
	case f.days < 1 || f.days > maxRestoreDays:
		return usagef("restore: --days is 1 to %d", maxRestoreDays)
	case f.tier != backends.RestoreBulk && f.tier != backends.RestoreStandard && f.tier != backends.RestoreExpedited:
		return usagef("restore: --tier is bulk, standard or expedited")
	case f.every < time.Second:
		return usagef("restore: --every is at least 1s")
	}
	return nil
}

// restoring is one run of the command over one or more mounts.
type restoring struct {
	a      *app
	f      restoreFlags
	places places
	prices priceList
	mounts []restoreMount
	line   *progressLine
	result restoreResult
}

// restoreMount is what is meant of one mount.
type restoreMount struct {
	socket string
	given  string // a path as it was given, for messages
	paths  []string
}

// restoreResult is what --json prints.
type restoreResult struct {
	Schema    int        `json:"schema"`
	DryRun    bool       `json:"dry_run"`
	Tier      string     `json:"tier"`
	Days      int        `json:"days"`
	Prices    string     `json:"prices"`
	Estimates []estimate `json:"estimates"` // of what was archived when it began
	Found     found      `json:"found"`     // as it is at the end
	Asked     tally      `json:"asked"`
	Refused   tally      `json:"refused"`
	Problems  []string   `json:"problems"`
}

func (a *app) restore(args []string, f restoreFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	l, err := a.load()
	if err != nil {
		return err
	}
	r := &restoring{a: a, f: f, line: newProgressLine(a.err)}
	if r.prices, err = newPriceList(append(append([]string{}, l.Restore.Prices...), f.price...)); err != nil {
		return usagef("restore: %v", err)
	}
	if r.places, err = findPlaces(l.env, l.Cache.Dir, l.State.Dir); err != nil {
		return err
	}
	if r.mounts, err = mountsOf(r.places, args); err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	err = r.run(ctx)
	r.line.clear()
	if ctx.Err() != nil {
		a.say("what was asked for stays asked for; run the same again to go on")
		return statusError(exitInterrupted)
	}
	return err
}

// mountsOf sorts paths by the mounts that they lie in.
func mountsOf(p places, args []string) (mounts []restoreMount, err error) {
next:
	for _, arg := range args {
		socket, below, err := findMountOf(p, arg)
		if err != nil {
			return nil, err
		}
		for i := range mounts {
			if mounts[i].socket == socket {
				mounts[i].paths = append(mounts[i].paths, below)
				continue next
			}
		}
		mounts = append(mounts, restoreMount{socket, arg, []string{below}})
	}
	return mounts, nil
}

func (r *restoring) run(ctx context.Context) error {
	r.result = restoreResult{Schema: statusSchema, DryRun: r.f.dryRun, Tier: r.f.tier, Days: r.f.days, Prices: r.prices.asOf, Estimates: []estimate{}}
	seen, err := r.each(ctx, restoreScan)
	if err != nil {
		return err
	}
	r.result.take(seen)
	cold, way := seen.Found.sum(backends.Archived), seen.Found.sum(backends.Restoring)
	if err := r.reckon(seen.Found); err != nil {
		return err
	}
	if r.f.dryRun || cold.Files == 0 && (!r.f.watch || way.Files == 0) {
		return r.finish(false)
	}
	if cold.Files > 0 {
		if err := r.confirm(); err != nil {
			return err
		}
		asked, err := r.each(ctx, restoreAsk)
		r.result.take(asked)
		if err != nil {
			return errors.Join(err, r.show())
		}
	}
	if r.f.watch {
		return r.stay(ctx)
	}
	return r.finish(false)
}

// take notes the newest figures down.
func (s *restoreResult) take(r restoreReport) {
	s.Found, s.Asked, s.Refused, s.Problems = r.Found, r.Asked, r.Refused, r.Problems
}

// each has all mounts do something, one after the other, and adds up what they report.
func (r *restoring) each(ctx context.Context, do string) (all restoreReport, err error) {
	all = restoreReport{Found: found{}, Problems: []string{}}
	for _, m := range r.mounts {
		q := restoreRequest{Do: do, Paths: m.paths, Days: r.f.days, Tier: r.f.tier, Every: r.f.every}
		last, err := r.follow(ctx, m, q)
		all.add(last)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func (r *restoreReport) add(o restoreReport) {
	for i := range o.Found {
		for _, t := range []backends.Tier{backends.Archived, backends.Restoring, backends.Online} {
			n, more := r.Found.class(o.Found[i].Class).of(t), o.Found[i].of(t)
			n.Files, n.Bytes = n.Files+more.Files, n.Bytes+more.Bytes
		}
	}
	r.Asked = tally{r.Asked.Files + o.Asked.Files, r.Asked.Bytes + o.Asked.Bytes}
	r.Refused = tally{r.Refused.Files + o.Refused.Files, r.Refused.Bytes + o.Refused.Bytes}
	r.Problems = append(r.Problems, o.Problems...)
}

// follow sends one job to a mount and shows how it gets on until it ends.
func (r *restoring) follow(ctx context.Context, m restoreMount, q restoreRequest) (last restoreReport, err error) {
	err = askOn(ctx, m.socket, request{Op: "restore", Restore: &q}, func(answer response) (done bool) {
		if answer.Restore == nil {
			return true
		}
		last = *answer.Restore
		r.line.say(restoreLine(q.Do, last))
		return last.Done
	})
	switch {
	case err != nil:
		return last, noMount(r.places, m.given, err) //nolint:contextcheck // a look at names
	case last.Failure != nil:
		return last, last.Failure
	case !last.Done:
		return last, &failure{What: m.given, Why: "the mount was taken away meanwhile", Do: "mount again and run the same: it goes on where it was", Code: exitTryAgain}
	}
	return last, nil
}

func restoreLine(do string, n restoreReport) string {
	cold, way, here := n.Found.sum(backends.Archived), n.Found.sum(backends.Restoring), n.Found.sum(backends.Online)
	if do == restoreAsk {
		return fmt.Sprintf("asked for %s, %s", countFiles(int(n.Asked.Files)), humanBytes(n.Asked.Bytes))
	}
	return fmt.Sprintf("%s archived, %s on the way, %s readable", countFiles(int(cold.Files)), countFiles(int(way.Files)), countFiles(int(here.Files)))
}

// reckon works out what asking for what is archived costs. A class without the tier is refused before anything is asked for.
func (r *restoring) reckon(f found) error {
	for i := range f {
		n := f[i].Archived
		if n.Files == 0 {
			continue
		}
		e, ok := r.prices.estimate(f[i].Class, n, r.f.tier, r.f.days)
		if _, known := r.prices.of(f[i].Class, backends.RestoreBulk); !ok && known {
			return &failure{
				What: countFiles(int(n.Files)) + " of class " + f[i].Class, Why: "cannot be had with --tier " + r.f.tier,
				Do: "--tier standard takes 12 hours at most; nothing was asked for", Code: exitUsage,
			}
		}
		if !ok {
			e.Hours = "not known"
		}
		r.result.Estimates = append(r.result.Estimates, e)
	}
	return nil
}

// plan is what a user decides on.
func (r *restoring) plan() string {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CLASS\tFILES\tSIZE\tTIME\tRETRIEVAL\tCOPIES") //nolint:errcheck // a buffer
	total := 0.0
	for _, e := range r.result.Estimates {
		total += e.total()
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", e.Class, e.Files, humanBytes(e.Bytes), e.Hours, dollars(e.Asking), dollars(e.Keeping)) //nolint:errcheck // a buffer
	}
	t.Flush() //nolint:errcheck // a buffer
	fmt.Fprintf(&b, "about %s for --tier %s and copies for %s (%s; what is then read over the internet costs extra)\n",
		dollars(total), r.f.tier, count(r.f.days, "day", "days"), r.prices.asOf)
	return b.String()
}

// confirm asks whoever pays.
func (r *restoring) confirm() error {
	r.line.clear()
	r.a.sayPlain(strings.TrimSuffix(r.plan(), "\n"))
	if r.f.yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return &failure{What: "restore", Why: "nobody is there to ask, and this costs money", Do: "add --yes if that is meant", Code: exitUsage}
	}
	fmt.Fprintf(r.a.err, "Ask for %s? [y/N] ", countFiles(int(r.result.Found.sum(backends.Archived).Files))) //nolint:errcheck // a terminal
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if word := strings.ToLower(strings.TrimSpace(answer)); err != nil || word != "y" && word != "yes" {
		return &failure{What: "restore", Why: "nothing was asked for", Code: exitInterrupted}
	}
	return nil
}

// stay watches until nothing is on its way.
func (r *restoring) stay(ctx context.Context) error {
	limited, cancel := within(ctx, r.f.timeout)
	defer cancel()
	before := r.result
	seen, err := r.each(limited, restoreWatch)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		r.line.clear()
		way := seen.Found.sum(backends.Restoring)
		return errors.Join(&failure{
			What: "restore", Why: fmt.Sprintf("time is up, %s on the way still", countFiles(int(way.Files))), Do: "studyfs restore --watch goes on waiting", Code: exitTryAgain,
		}, r.show())
	}
	if err != nil {
		return err
	}
	r.result.Found = seen.Found
	r.result.Asked, r.result.Refused, r.result.Problems = before.Asked, before.Refused, before.Problems
	return r.finish(true)
}

// finish tells how it ended.
func (r *restoring) finish(watched bool) error {
	r.line.clear()
	if err := r.show(); err != nil {
		return err
	}
	if r.f.dryRun {
		return nil
	}
	for _, p := range r.result.Problems {
		r.a.say(p)
	}
	if n := r.result.Refused.Files; n > 0 {
		return &failure{What: countFiles(int(n)), Why: "could not be asked for", Do: "run the same again once that is settled: it goes on with these", Code: exitPartial}
	}
	if cold := r.result.Found.sum(backends.Archived); watched && cold.Files > 0 {
		return &failure{What: countFiles(int(cold.Files)), Why: "archived again meanwhile, or new", Do: "run the same again", Code: exitPartial}
	}
	return nil
}

// show prints the result.
func (r *restoring) show() error {
	if r.f.asJSON {
		return printJSON(r.a.out, r.result)
	}
	f := r.result.Found
	cold, way, here := f.sum(backends.Archived), f.sum(backends.Restoring), f.sum(backends.Online)
	if r.f.dryRun && cold.Files > 0 {
		fmt.Fprint(r.a.out, r.plan()) //nolint:errcheck // the line below tells
	}
	if n := r.result.Asked; n.Files > 0 {
		fmt.Fprintf(r.a.out, "asked for %s, %s\n", countFiles(int(n.Files)), humanBytes(n.Bytes)) //nolint:errcheck // the same
	}
	_, err := fmt.Fprintf(r.a.out, "%s can be read, %s on the way, %s archived\n", countFiles(int(here.Files)), countFiles(int(way.Files)), countFiles(int(cold.Files)))
	return err
}
