package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) umountCommand() *cobra.Command {
	var force bool
	var flush time.Duration
	c := &cobra.Command{
		Use: "umount DIR [--flush[=30m]]", Short: "take a mount away", Args: exactly(1, "a DIR"), ValidArgsFunction: a.completeMounts,
		Long: "Unmounts DIR and returns when its process has ended, with its listing and its cache saved. That takes 10 seconds at\n" +
			"most: files that are not uploaded yet stay safe on this machine, and go on at the next mount. With --flush it waits\n" +
			"before that until they are stored, 30 minutes or as long as is said; what is not stored by then makes exit code 75.\n" +
			"A mount that programs still use is left alone (exit code 75), unless --force is given.",
		Example: "  studyfs umount ~/empatica\n  studyfs umount ~/study1 --flush=2h",
		Aliases: []string{"unmount"},
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.placesAnyway()
			if err != nil {
				return err
			}
			return a.umount(p, args[0], flush, force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "unmount although programs use it; they get errors")
	c.Flags().DurationVar(&flush, "flush", 0, "wait so long until all files are stored")
	c.Flags().Lookup("flush").NoOptDefVal = "30m"
	return c
}

func (a *app) umount(p places, path string, flush time.Duration, force bool) error {
	dir, err := absolute(path)
	if err != nil {
		return err
	}
	if err := a.flush(p, dir, flush); err != nil {
		return err
	}
	answer, err := ask(context.Background(), p.socketOf(dir), request{Op: "umount", Force: force})
	if err == nil {
		a.say("unmounted " + dir)
		a.sayAll(answer.Left.lines())
		if flush > 0 && !answer.Left.done() {
			return statusError(exitTryAgain)
		}
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return a.umountDead(p, path, dir, force, err)
}

// umountDead takes a mount away whose process does not answer, as err says.
func (a *app) umountDead(p places, path, dir string, force bool, err error) error {
	if mountedAt(dir) != fuseType { // nobody answers: is there a mount at all?
		if errors.Is(err, errNoMount) {
			return noMount(p, path, errNoMount)
		}
		return err
	}
	if isStale(p, dir) || force {
		err = detach(dir)
	} else {
		err = plainUnmount(dir)
	}
	if err != nil {
		return &failure{What: dir, Why: "cannot unmount (" + lastCause(err) + ")", Do: "studyfs umount --force " + quote(dir), Code: exitError}
	}
	os.Remove(p.socketOf(dir)) //nolint:errcheck // there need not be one
	a.say("unmounted " + dir + " (its process did not answer)")
	return nil
}

// flush waits until what was copied into a mount is stored. That it is not in time is no error here: the unmount tells.
func (a *app) flush(p places, dir string, patience time.Duration) error {
	if patience <= 0 {
		return nil
	}
	ctx, release := interruptible()
	defer release()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all []*waiting
	for _, r := range stagesOf(ctx, p.socketOf(dir), uploadsRequest{Limit: -1}) {
		all = append(all, r.waiting(a, nil))
	}
	a.waitAll(limited, all, "")
	if ctx.Err() != nil {
		a.say("interrupted; " + dir + " stays mounted")
		return statusError(exitInterrupted)
	}
	for _, w := range all {
		r, _, err := w.state()
		switch {
		case err != nil:
			a.say(w.what + ": " + firstLine(err.Error()))
		case r.Uploads.Paused != "":
			a.say(w.what + ": uploads are paused: " + r.Uploads.Paused)
		}
	}
	return nil
}
