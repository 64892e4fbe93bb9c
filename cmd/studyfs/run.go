package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) runCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "run SOURCE... -- CMD ARGS...", Short: "run a command inside a private mount", ValidArgsFunction: a.completeSources,
		Long: "Mounts the sources at a private temporary directory, runs CMD with that as its current directory (also in\n" +
			"STUDYFS_MOUNT), unmounts, and exits with CMD's code (128+n if signal n ended it). Sources as for mount.\n\n" +
			"With --write it unmounts only when all that CMD has left in the mount is stored: a batch system may delete this\n" +
			"machine's disk after it. If that is not to be (it was told to end, the keys are refused, a file is in conflict), it\n" +
			"exits with 75 whatever CMD did, and says what is left.",
		Example: "  studyfs run empatica:keys.csv -- python3 analyse.py\n  studyfs run s3://bucket/study/ --profile lab -- sh -c 'ls | wc -l'\n" +
			"  studyfs run s3://bucket/study/ --write -- ./fit-models --out derivatives/models",
		RunE: func(c *cobra.Command, args []string) error {
			dash := c.ArgsLenAtDash()
			if dash < 0 || dash == len(args) {
				return &failure{What: "run", Why: "needs a command after --", Do: "studyfs " + c.Use, Code: exitUsage}
			}
			return a.runInPrivate(args[:dash], args[dash:])
		},
	}
	a.sourceFlags(c)
	return c
}

func (a *app) runInPrivate(args, command []string) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	sources, notices, err := l.sourcesOf(args)
	if err != nil {
		return err
	}
	a.sayAll(notices)
	dir, err := os.MkdirTemp("", "studyfs-run-") // 0700
	if err != nil {
		return &failure{What: "cannot create a temporary directory", Why: lastCause(err), Do: "set TMPDIR", Code: exitCannotCreate}
	}
	defer os.Remove(dir) //nolint:errcheck // empty, or the system's to clean
	m, err := a.prepare(l, dir, sources)
	if err != nil {
		return err
	}
	m.Folders = len(args) == 0 || len(sources) > 1
	m.RemoveDir = true                           // should we be killed
	m.Leash, m.Log = true, m.places().log("run") // one log for all runs: each has another directory
	return a.runInside(m, command)
}

// runInside brings m up, runs the command in it and takes it away again. The error is the command's exit code.
func (a *app) runInside(m *mountSpec, command []string) error {
	ctx, release := interruptible()
	s, _, err := a.bringUp(ctx, m)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	release()
	if err != nil {
		return err
	}
	defer s.stop()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // signals are passed on to it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.err
	cmd.Dir = m.Dir
	cmd.Env = append(os.Environ(), "STUDYFS_MOUNT="+m.Dir, "PWD="+m.Dir)
	if err := cmd.Start(); err != nil {
		return cannotRun(command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the command
	for {
		select {
		case sig := <-signals:
			if !fromTerminal(sig) {
				cmd.Process.Signal(sig) //nolint:errcheck // gone already is fine
			}
		case err := <-ended:
			if !m.writes() {
				return commandStatus(err)
			}
			return a.storeAll(m, commandStatus(err))
		}
	}
}

// storeAll waits until all is stored that a command has written; else it is what the user must know of.
func (a *app) storeAll(m *mountSpec, status error) error {
	ctx, release := interruptible()
	defer release()
	var all []*waiting
	left := &leftover{}
	for _, r := range stagesOf(ctx, m.places().socketOf(m.Dir), uploadsRequest{Limit: -1}) {
		all = append(all, r.waiting(a, nil))
		left.Files, left.Bytes = left.Files+r.report.Uploads.moving(), left.Bytes+r.report.Uploads.BytesLeft
	}
	if left.Files > 0 {
		a.say(fmt.Sprintf("storing %s (%s)", countFiles(left.Files), humanBytes(left.Bytes)))
	}
	a.waitAll(ctx, all, "")
	var unstored error
	switch {
	case len(all) == 0:
		unstored = &failure{What: m.Dir, Why: "the mount went away before all was stored", Do: "studyfs uploads ls", Code: exitTryAgain}
	case ctx.Err() != nil:
		unstored = &failure{What: m.Dir, Why: "interrupted before all was stored", Do: "studyfs uploads run goes on with it on this machine", Code: exitTryAgain}
	default:
		unstored = waitVerdict(context.WithoutCancel(ctx), all, "", 0)
	}
	if unstored == nil {
		return status
	}
	if status != nil {
		a.say("the command ended with " + status.Error())
	}
	f := *asFailure(m.Dir, unstored)
	f.Code = exitTryAgain
	return &f
}

// writes tells that something can be written to one of the sources.
func (m *mountSpec) writes() bool {
	return slices.ContainsFunc(m.Sources, func(s sourceSpec) bool { return s.Write != nil })
}

// fromTerminal reports whether sig most likely came from the keyboard: then the command has had it, too.
func fromTerminal(sig os.Signal) bool {
	return (sig == os.Interrupt || sig == syscall.SIGQUIT) && term.IsTerminal(int(os.Stdin.Fd()))
}

// cannotRun uses the codes of the shell for a command that does not exist and for one that cannot be run.
func cannotRun(name string, err error) error {
	f := &failure{What: name, Why: lastCause(err), Code: 126}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		f.Why, f.Code = "no such command", 127
	}
	return f
}

func commandStatus(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return statusError(signalBase + int(status.Signal()))
	}
	return statusError(exit.ExitCode())
}
