package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) umountCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use: "umount DIR", Short: "take a mount away", Args: exactly(1, "a DIR"),
		Long: "Unmounts DIR and returns when its process has ended, with its listing and its cache saved.\n" +
			"A mount that programs still use is left alone (exit code 75), unless --force is given.",
		Aliases: []string{"unmount"},
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.places()
			if err != nil {
				return err
			}
			return a.umount(p, args[0], force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "unmount although programs use it; they get errors")
	return c
}

func (a *app) umount(p places, path string, force bool) error {
	dir, err := absolute(path)
	if err != nil {
		return err
	}
	_, err = ask(p.socketOf(dir), request{Op: "umount", Force: force})
	if err == nil {
		a.say("unmounted " + dir)
		return nil
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if mountedAt(dir) != fuseType { // nobody answers: is there a mount at all?
		if errors.Is(err, errNoMount) {
			return noMount(path, errNoMount)
		}
		return err
	}
	if isStale(dir) || force {
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
