package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"studyfs/cmd/studyfs/host"
)

// valuesOf is the annotation of a flag that may only be some words.
const valuesOf = "studyfs_values"

// completionCommand is cobra's own, in our form, for the shells that we test.
func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "print what makes a shell complete commands, sources, mounts and uploads", ValidArgs: shells,
		Long: "Prints a script for a shell, which then completes commands, flags and their values, the names of sources, mounts and\n" +
			"what waits for its upload. Packages install it; otherwise put it where the shell looks.",
		Example: "  studyfs completion bash > ~/.local/share/bash-completion/completions/studyfs\n" +
			"  studyfs completion zsh > ~/.zfunc/_studyfs        # with fpath+=~/.zfunc before compinit\n" +
			"  studyfs completion fish > ~/.config/fish/completions/studyfs.fish",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return &failure{What: c.Name(), Why: "needs the name of a shell", Do: "studyfs " + c.Use, Code: exitUsage}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			switch args[0] {
			case "zsh":
				return c.Root().GenZshCompletion(a.out)
			case "fish":
				return c.Root().GenFishCompletion(a.out, true)
			}
			return c.Root().GenBashCompletionV2(a.out, true)
		},
	}
}

// completeFlags has the values of flags completed that the table of settings knows, and nothing where there is nothing to be completed.
func completeFlags(c *cobra.Command) {
	register := func(f *pflag.Flag) {
		words := f.Annotations[valuesOf]
		if len(words) == 0 {
			return
		}
		c.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) { //nolint:errcheck // it exists, and is met once
			return begunWith(words, begun), cobra.ShellCompDirectiveNoFileComp
		})
	}
	if c.ValidArgsFunction == nil && !strings.Contains(c.Use, " ") && !c.HasSubCommands() {
		c.ValidArgsFunction = completeNothing
	}
	c.LocalNonPersistentFlags().VisitAll(register)
	c.PersistentFlags().VisitAll(register)
	for _, sub := range c.Commands() {
		completeFlags(sub)
	}
}

// completeNothing is for commands without arguments: a shell would offer files.
func completeNothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeFiles and completeDirs leave it to the shell.
func completeFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func completeDirs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// completeSources completes to the sources of the configuration, and to directories and files. No service is asked.
func (a *app) completeSources(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	l, err := a.load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return begunWith(l.sourceNames(), begun), cobra.ShellCompDirectiveDefault
}

// completeMounts completes to the directories where studyfs is mounted, as the kernel's table has them: the mounts are not touched.
func (a *app) completeMounts(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	f, err := host.MountTable()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer f.Close() //nolint:errcheck // only read
	return begunWith(ourMounts(f, a.env.uid), begun), cobra.ShellCompDirectiveDefault
}

// itemWords are what a staged file can be called: by its name, and by its id with the name to tell them apart. A shell takes one word a
// line and what follows a tab as a remark, so that names which could be more than that are left out.
func itemWords(i uploadItem, begun string) []string {
	var words []string
	if i.Name != "" && harmless(i.Name) == i.Name {
		words = begunWith([]string{i.Name}, begun)
	}
	if id := strconv.FormatUint(uint64(i.ID), 10); strings.HasPrefix(id, begun) {
		words = append(words, cobra.CompletionWithDesc(id, i.State+" "+i.shown()))
	}
	return words
}

func begunWith(words []string, begun string) []string {
	var some []string
	for _, word := range words {
		if strings.HasPrefix(word, begun) {
			some = append(some, word)
		}
	}
	return some
}
