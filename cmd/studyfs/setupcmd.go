package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"studyfs/cmd/studyfs/prompt"
)

// setupOptions are the answers that flags of setup give; those that are settings of a source are flags of every command.
type setupOptions struct {
	kind, name, url, keys, section string
	video, edf, archive, nas       string // targets of kind ecog
	keep                           string // where secrets go: keyring, file, or "" for the first that there is
	then                           string // mount, login, nothing, or "" to ask
	at                             string // where to mount
}

const setupLong = `Asks what you want to see as a folder, at most five questions; takes the keys; tries whether they may list the place and says what
it found; writes [source.NAME] into the configuration and leaves the rest of that as it is; and mounts it, if you like. Nothing is
written before the keys have proved good.

Every answer can be given as an argument or a flag. Without a terminal nothing is asked: what is missing is a usage error that
names the flag.

Secrets go to the desktop's keyring, or where there is none to a file that only you can read; the configuration refers to
them. A file of keys is copied there, and can be removed; file:KEYS.csv, keyring:NAME and cmd:COMMAND are kept as references.

  studyfs setup                         asks
  studyfs setup empatica KEYS.csv       an organisation, with the Data Access Keys as the Care Portal gives them
  studyfs setup beiwe [SECTION|URL]     the studies of a Beiwe account, of mano's keyring or with its access keys
  studyfs setup hcp                     the Human Connectome Project
  studyfs setup s3://bucket/prefix/     a bucket of the lab, or open data (--anonymous)
  studyfs setup azure://... | dir:PATH  an Azure Blob container, a NAS
  studyfs setup ecog                    recordings: videos and EDF to a place of their own each (--video, --edf, --archive, --nas)`

func (a *app) setupCommand() *cobra.Command {
	var o setupOptions
	c := &cobra.Command{
		Use: "setup [KIND|SOURCE [WHERE]]", Short: "set up a source: the first thing to do", Long: setupLong, Args: atMost(2),
		Example: "  studyfs setup\n  studyfs setup empatica ~/Downloads/keys.csv\n  studyfs setup s3://lab-data/study1/ --profile lab --write --name study1 --then nothing",
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return begunWith(sourceKinds(), begun), cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.setup(args, o) },
	}
	f := c.Flags()
	f.StringVar(&o.kind, "kind", "", "what kind of source: "+strings.Join(sourceKinds(), ", "))
	f.StringVar(&o.name, "name", "", "what to call it (default: the kind, or the last folder of its address)")
	f.StringVar(&o.url, "url", "", "its address: s3://bucket/prefix/, azure://account/container/prefix/, dir:PATH, https://SERVER of beiwe")
	f.StringVar(&o.keys, "keys", "", "the keys: a CSV file to take over, none for public data, or file:PATH, keyring:NAME, cmd:COMMAND, aws-profile:NAME")
	f.StringVar(&o.section, "section", "", "section of mano's keyring")
	f.StringVar(&o.video, "video", "", "of ecog: where videos go, s3://bucket/prefix/ or dir:PATH")
	f.StringVar(&o.edf, "edf", "", "of ecog: where all other files go")
	f.StringVar(&o.archive, "archive", "", "of ecog: where copies go, to an archive")
	f.StringVar(&o.nas, "nas", "", "of ecog: where copies go, to a NAS")
	f.StringVar(&o.keep, "keep", "", "where keys are kept: keyring (the desktop's), or file (default: keyring where there is one)")
	f.StringVar(&o.then, "then", "", "and then: mount, login (mount at every login), or nothing")
	f.StringVar(&o.at, "at", "", "where to mount it (default: ~/Studies/NAME)")
	a.sourceFlags(c)
	return c
}

// sourceKinds are those that setup knows, the commonest first.
func sourceKinds() []string {
	return []string{kindEmpatica, kindBeiwe, kindHCP, kindS3, kindEcog, kindAzure, kindDir}
}

// askingTerminal opens the terminal where somebody sits at it: a script's standard input is none, wherever it was started.
func askingTerminal() (*os.File, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, os.ErrNotExist
	}
	return openTerminal()
}

// setup runs the command.
func (a *app) setup(args []string, o setupOptions) error {
	ctx, release := interruptible()
	defer release()
	open := a.terminal
	if open == nil {
		open = askingTerminal
	}
	ask := prompt.New(open)
	defer ask.Close() //nolint:errcheck // nothing is lost with it
	return a.setUp(ctx, ask, args, o)
}

// setUp is setup at a terminal.
func (a *app) setUp(ctx context.Context, ask *prompt.Terminal, args []string, o setupOptions) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	s := &setup{app: a, ctx: ctx, l: l, ask: ask, o: o, store: newDesktopKeys(a.env)}
	if err := s.gather(args); err != nil { //nolint:contextcheck // s has it
		return err
	}
	if err := s.build(); err != nil { //nolint:contextcheck // as above
		return err
	}
	if err := s.try(ctx); err != nil {
		return err
	}
	if err := s.keep(); err != nil {
		return err
	}
	return s.goOn() //nolint:contextcheck // as above
}
