package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

const (
	checkPatience  = 8 * time.Second // for one check: a network that swallows everything must not hold up what can be told
	doctorPatience = 9 * time.Second // for all of them, which run at once
)

// state is how a check went. The words are part of what doctor --json prints.
type state string

const (
	stateOK   state = "ok"
	stateWarn state = "warn" // works, but not as well or as safely as it could
	stateFail state = "fail" // will not work
	stateSkip state = "skip" // does not apply, or cannot be told
)

// finding is what a check has found: one sentence, and what to do about it.
type finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"` // the source or the place that it is about
	State   state  `json:"state"`
	Found   string `json:"found"`
	Do      string `json:"do,omitempty"`

	bare string // Found without anything private, for bundles
}

// doctorReport is what doctor --json prints.
type doctorReport struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"`
	OK      bool      `json:"ok"` // nothing failed
	Checks  []finding `json:"checks"`
}

// check is one row of the table of checks.
type check struct {
	name string
	run  func(context.Context, *checkup) []finding
}

// checkup is what one run of doctor looks at. The checks only read it.
type checkup struct {
	app     *app
	l       *loaded // the defaults where the configuration cannot be read
	trouble error   // why it cannot
	places  places
	sources []checkedSource
	now     func() time.Time
}

// checkedSource is a source that was asked about, or why it is none.
type checkedSource struct {
	name    string
	spec    sourceSpec
	trouble error
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	var bundle string
	c := &cobra.Command{
		Use: "doctor [SOURCE...]", Short: "find out what stands in the way, and how to mend it", ValidArgsFunction: a.completeSources,
		Long: `Checks this machine, the configuration, the directories that studyfs keeps things in, its mounts and what waits to be
uploaded, and each SOURCE (none: all of the configuration): address, proxy, encryption, clock, region, rights. A source is asked
as ls asks it, and never written to. It ends within ten seconds, but for a passphrase that it must ask for.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed.

--bundle also writes a file to send with a report of trouble: what was found, the version, settings, mounts and the last lines of
the logs. It holds no keys, no names of participants, files, studies or places on this disk: what is not known to be harmless is
left out.`,
		Example: "  studyfs doctor\n  studyfs doctor empatica:keys.csv\n  studyfs doctor --json | jq '.checks[] | select(.state == \"fail\")'\n  studyfs doctor --bundle",
		RunE: func(c *cobra.Command, args []string) error {
			return a.doctor(args, asJSON, c.Flags().Changed("bundle"), bundle)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	c.Flags().StringVar(&bundle, "bundle", "", "write a file to send with a report of trouble (default: studyfs-doctor-TIME.tar.gz here)")
	c.Flags().Lookup("bundle").NoOptDefVal = "-"
	a.sourceFlags(c)
	return c
}

func (a *app) doctor(args []string, asJSON, bundling bool, bundle string) error {
	ctx, release := interruptible()
	defer release()
	c := a.newCheckup(args)
	report := doctorReport{Schema: statusSchema, Version: version(), OK: true, Checks: c.run(ctx, c.checks())}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	report.OK = !slices.ContainsFunc(report.Checks, func(f finding) bool { return f.State == stateFail })
	if bundling {
		path, err := c.writeBundle(bundle, report)
		if err != nil {
			return err
		}
		a.say("wrote " + path + " without keys and names; have a look at it before you send it")
	}
	var err error
	if asJSON {
		err = printJSON(a.out, report)
	} else {
		err = printFindings(a.out, report, a.coloured())
	}
	if err == nil && !report.OK {
		return statusError(exitError)
	}
	return err
}

// newCheckup reads the configuration and the sources. What is wrong with them is found, not told: the rest is looked at all the same.
func (a *app) newCheckup(args []string) *checkup {
	c := &checkup{app: a, now: time.Now}
	if c.l, c.trouble = a.load(); c.trouble != nil {
		c.l = &loaded{config: *newConfig(), origins: map[string]string{}, env: a.env, given: &a.given}
	}
	var err error
	if c.places, err = findPlaces(a.env, c.l.Cache.Dir, c.l.State.Dir); err != nil && c.trouble == nil {
		c.trouble = err
	}
	if len(args) == 0 {
		args = c.l.sourceNames()
	}
	for _, arg := range args {
		s := checkedSource{name: arg}
		s.spec, _, s.trouble = c.l.parseSource(arg)
		c.sources = append(c.sources, s)
	}
	return c
}

// checks is the table. A source has one row, since what is found first explains what is found next.
func (c *checkup) checks() []check {
	all := []check{
		{"config", checkConfig},
		{"fuse device", checkDevice},
		{"fusermount3", checkHelper},
		{"allow-other", checkAllowOther},
		{"passthrough", checkPassthrough},
		{"updatedb", checkUpdatedb},
		{"cache disk", checkCacheDisk},
		{"state disk", checkStateDisk},
		{"mounts", checkMounts},
		{"uploads", checkUploads},
		{"locks", checkLocks},
		{"keyring", checkKeyring},
	}
	for _, s := range c.sources {
		all = append(all, check{"source", func(ctx context.Context, c *checkup) []finding { return c.checkSource(ctx, s) }})
	}
	return all
}

// run does all checks at once and returns what they found in their order. One that does not end is given up on; what it waits for ends
// with this process.
func (c *checkup) run(ctx context.Context, all []check) []finding {
	ctx, cancel := context.WithTimeout(ctx, doctorPatience)
	defer cancel()
	answers := make([]chan []finding, len(all))
	for i, one := range all {
		answers[i] = make(chan []finding, 1)
		go func() { // ends with the check
			ctx, cancel := context.WithTimeout(ctx, checkPatience)
			defer cancel()
			answers[i] <- one.run(ctx, c)
		}()
	}
	var found []finding
	for i, one := range all {
		var these []finding
		select {
		case these = <-answers[i]:
		case <-ctx.Done():
			select {
			case these = <-answers[i]:
			default:
				these = []finding{fail("it took longer than %s and was given up", doctorPatience).do("look whether a disk or a network file system hangs: df")}
			}
		}
		for _, f := range these {
			if f.Check == "" {
				f.Check = one.name
			}
			found = append(found, f)
		}
	}
	return found
}

// finds makes a finding. For bundles every argument is private, errors but for what is known to be harmless; numbers and times are not.
func finds(s state, format string, args ...any) finding {
	shown, bare := make([]any, len(args)), make([]any, len(args))
	for i, arg := range args {
		shown[i], bare[i] = arg, arg
		switch v := arg.(type) {
		case public:
		case error:
			shown[i], bare[i] = lastCause(v), harmlessCause(lastCause(v))
		case int, int64, uint64, float64, time.Duration:
		default:
			bare[i] = hidden
		}
	}
	return finding{State: s, Found: fmt.Sprintf(format, shown...), bare: fmt.Sprintf(format, bare...)}
}

// public is text that holds nothing private.
type public string

// hidden stands for what a bundle does not tell.
const hidden = "…"

func fine(format string, args ...any) finding { return finds(stateOK, format, args...) }
func warn(format string, args ...any) finding { return finds(stateWarn, format, args...) }
func fail(format string, args ...any) finding { return finds(stateFail, format, args...) }
func skip(format string, args ...any) finding { return finds(stateSkip, format, args...) }

// do adds what to do. It never gets into a bundle.
func (f finding) do(text string) finding {
	f.Do = text
	return f
}

// of names the check and its subject.
func (f finding) of(check, subject string) finding {
	f.Check, f.Subject = check, subject
	return f
}

// failed makes a finding of a message: its own words, which for bundles only its exit code tells.
func failed(err error) finding {
	f := asFailure("", err)
	text := f.Why
	if text == "" {
		text = f.What
	} else if f.What != "" {
		text = f.What + ": " + f.Why
	}
	one := fail("%s", text).do(f.Do)
	one.bare = fmt.Sprintf("exit code %d: %s", f.Code, harmlessCause(lastCause(err)))
	return one
}
