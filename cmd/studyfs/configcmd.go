package main

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "check or show the configuration", Args: atMost(0), RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(&cobra.Command{
		Use: "check", Short: "tell whether the configuration is right", Args: atMost(0),
		RunE: func(*cobra.Command, []string) error {
			l, err := a.load()
			if err != nil {
				return err
			}
			a.say(fmt.Sprintf("%s: %d sources, no mistakes", l.path, len(l.Source)))
			return nil
		},
	})
	var origin bool
	show := &cobra.Command{
		Use: "show", Short: "show every setting as it is in force", Args: atMost(0),
		RunE: func(*cobra.Command, []string) error { return a.showConfig(origin) },
	}
	show.Flags().BoolVar(&origin, "origin", false, "also tell where each comes from")
	c.AddCommand(show, a.keyringCommand())
	return c
}

func (a *app) showConfig(origin bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	row := func(prefix string, s setting) {
		from := l.origins[prefix+s.path]
		if !origin {
			fmt.Fprintf(t, "%s%s\t= %q\n", prefix, s.path, s) //nolint:errcheck // Flush tells
			return
		}
		if from == "" {
			from = "default"
		}
		fmt.Fprintf(t, "%s%s\t= %q\t# %s\n", prefix, s.path, s, from) //nolint:errcheck // Flush tells
	}
	for _, s := range settingsOf(&l.config) {
		row("", s)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Source)) {
		c, err := l.source(name)
		if err != nil {
			return err
		}
		for _, s := range settingsOf(&c) {
			if !s.value.IsZero() {
				row("source."+name+".", s)
			}
		}
	}
	return t.Flush()
}
