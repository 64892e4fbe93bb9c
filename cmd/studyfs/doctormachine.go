package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
)

// checkConfig looks at the configuration, and at who may change it: a command in it is run as the user.
func checkConfig(_ context.Context, c *checkup) []finding {
	if c.trouble != nil {
		return []finding{failed(c.trouble)}
	}
	info, err := os.Stat(c.l.path)
	if errors.Is(err, os.ErrNotExist) {
		return []finding{fine("there is no %s; none is needed", c.l.path)}
	}
	if err != nil {
		return []finding{warn("%s: %w", c.l.path, err).do("ls -l " + quote(c.l.path))}
	}
	mode := info.Mode().Perm()
	stat, known := info.Sys().(*syscall.Stat_t)
	switch {
	case known && int(stat.Uid) != c.l.env.uid && stat.Uid != 0:
		return []finding{warn("%s belongs to another user, who can have any command run as you", c.l.path).do("make a copy of your own")}
	case mode&0o022 != 0:
		return []finding{fail("others can change %s (mode %s), and have any command run as you", c.l.path, public(mode.String())).do("chmod 600 " + quote(c.l.path))}
	}
	return []finding{fine("%s: %d sources, no mistakes", c.l.path, len(c.l.Source))}
}

func checkAllowOther(_ context.Context, c *checkup) []finding {
	err := otherUsersAllowed()
	switch {
	case err == nil:
		return []finding{fine("mounts can be shared with other users (--allow-other)")}
	case c.l.AllowOther:
		return []finding{failed(err)}
	}
	return []finding{skip("mounts cannot be shared with other users here; nothing asks for that").do(asFailure("", err).Do)}
}

// checkUpdatedb looks whether the program behind locate leaves our mounts alone: by default it walks through all that it may enter, each night.
func checkUpdatedb(_ context.Context, c *checkup) []finding {
	return []finding{c.pruned("/etc/updatedb.conf")}
}

// pruned looks at updatedb's configuration in path. It is run by root, which cannot enter a user's mount that is not shared.
func (c *checkup) pruned(path string) finding {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fine("updatedb is not installed")
	}
	if err != nil {
		return skip("%s: %w", public(path), err)
	}
	line, types := prunedTypes(string(text))
	advice := "sudoedit " + path + "; its line PRUNEFS should be:\n" + line
	switch {
	case slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, fuseType) }):
		return fine("updatedb leaves mounts of studyfs alone (PRUNEFS in %s)", public(path))
	case c.l.NoIndex:
		return fine("updatedb is kept out by no-index")
	case c.l.env.uid != 0 && !c.l.AllowOther:
		return fine("updatedb would look through mounts of studyfs, but yours are not shared with root").do(advice)
	}
	return warn("updatedb, for locate, looks through all files of mounts: PRUNEFS in %s lacks %s", public(path), public(fuseType)).do(advice)
}

// prunedTypes reads the types of file systems that updatedb leaves alone, and returns the line with ours added.
func prunedTypes(text string) (line string, types []string) {
	for l := range strings.Lines(text) {
		name, value, ok := strings.Cut(l, "=")
		if ok && strings.TrimSpace(name) == "PRUNEFS" {
			value, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimSpace(value), `"`), `"`)
			types = strings.Fields(value)
		}
	}
	return `PRUNEFS = "` + strings.Join(append(slices.Clone(types), fuseType), " ") + `"`, types
}

// checkKeyring asks the keyrings that the configuration refers to.
func checkKeyring(_ context.Context, c *checkup) []finding {
	names := c.keyringNames()
	if len(names) == 0 {
		return []finding{skip("nothing refers to the desktop's keyring")}
	}
	store := newDesktopKeys(c.l.env)
	store.patience = checkPatience / 2
	var all []finding
	for _, name := range names {
		if _, err := fromKeyring(store, name); err != nil {
			all = append(all, failed(err))
			continue
		}
		all = append(all, fine("the desktop's keyring has %s", name))
	}
	return all
}

// keyringNames lists what the configuration refers to as keyring:NAME.
func (c *checkup) keyringNames() []string {
	var names []string
	add := func(refs ...string) {
		for _, ref := range refs {
			if name, found := strings.CutPrefix(ref, refKeyring+":"); found && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(c.l.Deid.Secret)
	for _, name := range c.l.sourceNames() {
		s := c.l.Source[name]
		add(s.Keys, s.Identity, s.Password, s.WordsSecret, s.ShiftSecret)
	}
	return names
}
