package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) uploadsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "uploads", Short: "what has been copied in and is not stored yet", Args: atMost(0),
		Example: "  studyfs uploads ls\n  studyfs uploads wait ~/study1/derivatives\n  studyfs uploads resolve 17 --both",
		Long: "Files that are copied into a mount made with --write are kept safe on this disk first, and uploaded when nobody has\n" +
			"touched them for 5 seconds. These commands show what is on its way, in all mounts and in what earlier ones left\n" +
			"behind, and settle what cannot go on by itself:\n\n" +
			"  writing      open in a program\n" +
			"  staged       safe on this disk; its upload is next\n" +
			"  uploading    on its way\n" +
			"  conflict     somebody else has stored a file of that name meanwhile: uploads resolve\n" +
			"  parked       the rules of --bids strict keep it back: rename it in the mount, or drop it\n" +
			"  failed       the service will not take it: uploads retry, or drop\n" +
			"  orphan       its program ended without closing it, so it may not be complete: uploads retry, or drop\n" +
			"  quarantined  this disk has failed it: uploads drop, and copy it again\n\n" +
			"A file is named as uploads ls names it: relative to its source, by its path in a mount, or by its id.",
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.uploadsLsCommand(), a.uploadsWatchCommand(), a.uploadsWaitCommand(), a.uploadsRunCommand(), a.uploadsRetryCommand(),
		a.uploadsSwitchCommand(doPause, "stop uploading, until resume or the next mount", "paused"),
		a.uploadsSwitchCommand(doResume, "go on uploading", "resumed"),
		a.uploadsResolveCommand(), a.uploadsVerifyCommand(), a.uploadsDropCommand())
	return c
}

func (a *app) uploadsLsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "ls [DIR|NAME|SOURCE]", Short: "list them", Args: atMost(1),
		Long: "Lists what is not stored yet: its id, state, size, how much of it has been sent, how old it is, its name relative to\n" +
			"its source, and why it does not go on where that is so. Of all sources, or of one.",
		Example:           "  studyfs uploads ls\n  studyfs uploads ls ~/study1 --json | jq '.stages[].items[] | select(.state == \"conflict\")'",
		ValidArgsFunction: a.completeStages,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withStages(args, uploadsRequest{}, func(_ context.Context, _ *loaded, all []stageRef) error {
				return a.listUploads(all, asJSON)
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) uploadsWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use: "watch [DIR|NAME|SOURCE]", Short: "show how uploads get on, until Ctrl-C", Args: atMost(1),
		Long:              "Shows bars for what is being uploaded on a terminal; elsewhere a line whenever the figures have changed.",
		Example:           "  studyfs uploads watch\n  studyfs uploads watch ~/study1",
		ValidArgsFunction: a.completeStages,
		RunE:              func(_ *cobra.Command, args []string) error { return a.watchUploads(args) },
	}
}

func (a *app) uploadsWaitCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "wait [PATH]", Short: "wait until all is stored, or all at and below PATH", Args: atMost(1),
		Long: "Uploads at once what is closed (nobody waits for the 5 quiet seconds), and returns when it is stored.\n" +
			"Exit code 75: not all of it is, because time is up, or because something cannot go on by itself.",
		Example:           "  studyfs uploads wait\n  studyfs uploads wait ~/study1/derivatives --timeout 2h",
		ValidArgsFunction: a.completeMounts,
		RunE:              func(_ *cobra.Command, args []string) error { return a.waitUploads(args, timeout) },
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "wait no longer than this (default: as long as it takes)")
	return c
}

func (a *app) uploadsRunCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use: "run [SOURCE...]", Short: "upload what earlier mounts have left, without mounting",
		Long: "Uploads what lies staged on this disk and no mount looks after, also of sources that the configuration does not name\n" +
			"any more, and returns when all is stored.\n" +
			"Exit code 3: something cannot go on by itself (studyfs uploads ls). Exit code 75: time is up, or another process has it.",
		Example:           "  studyfs uploads run\n  studyfs uploads run reading --timeout 30m",
		ValidArgsFunction: a.completeStages,
		RunE:              func(_ *cobra.Command, args []string) error { return a.runUploads(args, timeout) },
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "upload no longer than this (default: as long as it takes)")
	return c
}

func (a *app) uploadsRetryCommand() *cobra.Command {
	var as string
	c := &cobra.Command{
		Use: "retry NAME|ID...", Short: "try again what has failed, or upload an orphan", Args: oneOrMore("the NAME or the ID of a file"),
		Long: "Puts files back into the queue: those that have failed, and those that a program never closed (orphans), once you\n" +
			"have made sure that they are complete.",
		Example:           "  studyfs uploads retry derivatives/sub-01/model.json\n  studyfs uploads retry 17 --as derivatives/sub-01/model.json",
		ValidArgsFunction: a.completeItems,
		RunE: func(_ *cobra.Command, args []string) error {
			if as != "" && len(args) != 1 {
				return usagef("retry: --as names one file")
			}
			return a.eachItem(args, uploadsRequest{Do: doRetry, Name: as}, "queued again", nil)
		},
	}
	c.Flags().StringVar(&as, "as", "", "give an orphan this name")
	return c
}

func (a *app) uploadsSwitchCommand(do, short, said string) *cobra.Command {
	return &cobra.Command{
		Use: do + " [DIR|NAME|SOURCE]", Short: short, Args: atMost(1), ValidArgsFunction: a.completeStages,
		Example: "  studyfs uploads " + do + "\n  studyfs uploads " + do + " ~/study1",
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withStages(args, uploadsRequest{Do: do, Limit: -1}, func(_ context.Context, _ *loaded, all []stageRef) error {
				n := 0
				for _, r := range all {
					if r.socket != "" {
						n++
					}
				}
				if n == 0 {
					return &failure{What: do, Why: "no mount uploads anything now", Do: "studyfs uploads ls shows what waits", Code: exitError}
				}
				a.say(said + " the uploads of " + count(n, "source", "sources"))
				return nil
			})
		},
	}
}

func (a *app) uploadsResolveCommand() *cobra.Command {
	var mine, theirs, both bool
	c := &cobra.Command{
		Use: "resolve NAME|ID... --mine|--theirs|--both", Short: "settle conflicts", Args: oneOrMore("the NAME or the ID of a file"),
		Long: "A file is in conflict when something else was stored under its name after it was opened here. Nothing has been\n" +
			"overwritten. --mine uploads yours in its place, --theirs drops yours, --both stores yours under another name beside it.",
		Example:           "  studyfs uploads resolve notes.txt --mine\n  studyfs uploads resolve 17 18 --both",
		ValidArgsFunction: a.completeItems,
		RunE: func(_ *cobra.Command, args []string) error {
			how, n := "", 0
			for name, is := range map[string]bool{"mine": mine, "theirs": theirs, "both": both} {
				if is {
					how = name
					n++
				}
			}
			if n != 1 {
				return usagef("resolve: choose one of --mine, --theirs, --both")
			}
			return a.eachItem(args, uploadsRequest{Do: doResolve, How: how}, "resolved", nil)
		},
	}
	c.Flags().BoolVar(&mine, "mine", false, "upload yours, and replace what is stored")
	c.Flags().BoolVar(&theirs, "theirs", false, "keep what is stored, and drop yours")
	c.Flags().BoolVar(&both, "both", false, "keep what is stored, and store yours under another name beside it")
	return c
}

func (a *app) uploadsVerifyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "verify [DIR|NAME|SOURCE]", Short: "ask the service whether it still has what was uploaded", Args: atMost(1),
		Long: "Compares size, version and checksum of each file that was uploaded from this machine with what the service says, by\n" +
			"one request each; no file is read. Exit code 1: something differs.",
		ValidArgsFunction: a.completeStages,
		Example:           "  studyfs uploads verify\n  studyfs uploads verify reading --json",
		RunE:              func(_ *cobra.Command, args []string) error { return a.verifyUploads(args, asJSON) },
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) uploadsDropCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "drop NAME|ID...", Short: "give up files that are not stored yet: they are deleted here", Args: oneOrMore("the NAME or the ID of a file"),
		Long: "Deletes staged files from this disk without uploading them. What is stored stays as it is. Asks first on a terminal;\n" +
			"elsewhere it needs --yes.",
		Example:           "  studyfs uploads drop notes.txt\n  studyfs uploads drop 17 18 --yes",
		ValidArgsFunction: a.completeItems,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.eachItem(args, uploadsRequest{Do: doDrop}, "dropped", func(items []uploadItem) error { return a.confirmDrop(items, yes) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// withStages finds the stages that args mean, has them do q, and gives them to use.
func (a *app) withStages(args []string, q uploadsRequest, use func(context.Context, *loaded, []stageRef) error) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	chosen, err := a.chooseStages(ctx, l, args, q)
	if err != nil {
		return err
	}
	return use(ctx, l, chosen)
}

// oneOrMore is cobra's check with a message in our form.
func oneOrMore(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return nil
		}
		return &failure{What: c.Name(), Why: "needs " + what, Do: c.Parent().CommandPath() + " " + c.Use, Code: exitUsage}
	}
}

func count(n int, one, many string) string { return fmt.Sprintf("%d %s", n, pick(n, one, many)) }
