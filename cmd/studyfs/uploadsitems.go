package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// chosenItem is a staged file that an argument means.
type chosenItem struct {
	ref  stageRef
	item uploadItem
}

// eachItem has the files that args mean do q, after check has agreed.
func (a *app) eachItem(args []string, q uploadsRequest, said string, check func([]uploadItem) error) error {
	return a.withStages(nil, uploadsRequest{}, func(ctx context.Context, l *loaded, all []stageRef) error {
		var chosen []chosenItem
		var items []uploadItem
		for _, arg := range args {
			c, err := findItem(all, arg)
			if err != nil {
				return err
			}
			chosen, items = append(chosen, c), append(items, c.item)
		}
		if check != nil {
			if err := check(items); err != nil {
				return err
			}
		}
		for _, c := range chosen {
			q := q
			q.Item, q.Limit = c.item.ID, -1
			if _, err := c.ref.ask(ctx, a, l, q); err != nil {
				f := *asFailure(c.item.shown(), err)
				f.What = c.item.shown()
				return &f
			}
			a.say(c.item.shown() + ": " + said)
		}
		return nil
	})
}

// findItem finds the one staged file that arg means: a path in a mount, a name relative to its source, or an id.
func findItem(all []stageRef, arg string) (chosenItem, error) {
	var found []chosenItem
	for _, by := range []func(stageRef, uploadItem) bool{
		func(r stageRef, i uploadItem) bool { return i.Name == r.nameOf(arg) },
		func(_ stageRef, i uploadItem) bool { return strconv.FormatUint(uint64(i.ID), 10) == arg },
	} {
		for _, r := range all {
			for _, i := range r.report.Items {
				if by(r, i) {
					found = append(found, chosenItem{r, i})
				}
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		f := &failure{What: arg, Why: "nothing that waits for its upload has that name or id", Do: "studyfs uploads ls", Code: exitError}
		var names []string
		for _, r := range all {
			for _, i := range r.report.Items {
				names = append(names, i.Name)
			}
		}
		if near := nearest(arg, names[:min(len(names), 1000)]); near != "" {
			f.Do = "did you mean " + near + "?\n" + f.Do
		}
		return chosenItem{}, f
	}
	f := &failure{What: arg, Why: "several files are meant by that", Do: "name one of these by its path in a mount, or by its id:", Code: exitUsage}
	for _, c := range found {
		f.Do += "\n  " + strconv.FormatUint(uint64(c.item.ID), 10) + "  " + strings.TrimSuffix(c.ref.where(), "/") + "/" + c.item.shown()
	}
	return chosenItem{}, f
}

// where is where a stage's files are seen.
func (r stageRef) where() string {
	if r.dir != "" {
		return r.dir
	}
	return r.report.URL
}

// nameOf is arg as a name relative to the source: a path below the mount loses that.
func (r stageRef) nameOf(arg string) string {
	if r.dir != "" {
		if path, err := absolute(arg); err == nil {
			if path == r.dir {
				return ""
			}
			if name, ok := strings.CutPrefix(path, r.dir+"/"); ok {
				return name
			}
		}
	}
	return strings.TrimSuffix(arg, "/")
}

// completeStages completes to the names of sources that were written to.
func (a *app) completeStages(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.complete(func(r stageRef) []string { return begunWith([]string{r.report.Source}, begun) }), cobra.ShellCompDirectiveDefault
}

// completeItems completes to the names and the ids of staged files.
func (a *app) completeItems(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	return a.complete(func(r stageRef) (words []string) {
		for _, i := range r.report.Items {
			words = append(words, itemWords(i, begun)...)
		}
		return words
	}), cobra.ShellCompDirectiveDefault
}

func (a *app) complete(each func(r stageRef) []string) []string {
	var words []string
	a.withStages(nil, uploadsRequest{Limit: maxCompletions}, func(_ context.Context, _ *loaded, all []stageRef) error { //nolint:errcheck // nothing is completed then
		for _, r := range all {
			words = append(words, each(r)...)
		}
		return nil
	})
	return words
}

// maxCompletions is how many names a shell is offered, at most.
const maxCompletions = 200
