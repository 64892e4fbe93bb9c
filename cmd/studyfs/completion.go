package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
)

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
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer f.Close() //nolint:errcheck // only read
	return begunWith(ourMounts(f, a.env.uid), begun), cobra.ShellCompDirectiveDefault
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
