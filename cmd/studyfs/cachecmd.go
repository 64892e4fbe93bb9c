package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const wipeHelp = `Removes everything that was fetched, but for sources that are mounted. Where none is, the keys of encrypted caches that
studyfs has made are destroyed with it: copies in backups, or in what the disk has not overwritten yet, cannot be read any more.`

func (a *app) cacheCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cache", Short: "what fetched data takes on disk", Args: atMost(0),
		Example: "  studyfs cache info\n  studyfs cache wipe",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var asJSON bool
	info := &cobra.Command{
		Use: "info", Short: "show what is kept of each source", Args: atMost(0),
		Long:    "Shows how many bytes of this disk each source takes that was ever mounted, and where.",
		Example: "  studyfs cache info\n  studyfs cache info --json | jq .bytes",
		RunE:    func(*cobra.Command, []string) error { return a.cacheInfo(asJSON) },
	}
	jsonFlag(info, &asJSON)
	c.AddCommand(info, &cobra.Command{
		Use: "wipe", Short: "remove everything fetched (mounted sources are left alone)", Args: atMost(0),
		Long:    wipeHelp,
		Example: "  studyfs cache wipe\n  studyfs cache wipe --cache-dir /scratch/me/studyfs",
		RunE:    func(*cobra.Command, []string) error { return a.cacheWipe() },
	})
	return c
}

// cacheReport is what cache info --json prints.
type cacheReport struct {
	Schema  int            `json:"schema"`
	Dir     string         `json:"dir"`
	Bytes   int64          `json:"bytes"`
	Sources []cachedSource `json:"sources"`
}

// cachedSource is what the cache keeps of one source.
type cachedSource struct {
	URL   string `json:"url,omitempty"` // "": nothing is known of it any more
	Bytes int64  `json:"bytes"`
	Dir   string `json:"dir"`
}

// cachedSources lists the directories of sources below the cache directory: those that hold a lock file.
func cachedSources(p places) ([]string, error) {
	locks, err := filepath.Glob(filepath.Join(p.cache, "*", "lock"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", p.cache, err)
	}
	dirs := make([]string, 0, len(locks))
	for _, lock := range locks {
		dirs = append(dirs, filepath.Dir(lock))
	}
	return dirs, nil
}

func (a *app) cacheInfo(asJSON bool) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	dirs, err := cachedSources(p)
	if err != nil {
		return err
	}
	report := cacheReport{Schema: statusSchema, Dir: p.cache, Sources: []cachedSource{}}
	for _, dir := range dirs {
		one := cachedSource{URL: p.recall(filepath.Base(dir)).URL, Bytes: diskUsage(dir), Dir: dir}
		report.Bytes += one.Bytes
		report.Sources = append(report.Sources, one)
	}
	if asJSON {
		return printJSON(a.out, report)
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tON DISK\tDIRECTORY") //nolint:errcheck // Flush tells
	for _, s := range report.Sources {
		fmt.Fprintf(t, "%s\t%s\t%s\n", cmp.Or(s.URL, "?"), humanBytes(s.Bytes), s.Dir) //nolint:errcheck // Flush tells
	}
	fmt.Fprintf(t, "all\t%s\t%s\n", humanBytes(report.Bytes), p.cache) //nolint:errcheck // Flush tells
	return t.Flush()
}

// diskUsage counts blocks, since cache files have holes.
func diskUsage(dir string) int64 {
	var n int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { //nolint:errcheck // files come and go
		if err != nil || d.IsDir() {
			return nil //nolint:nilerr // as above
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}

func (a *app) cacheWipe() error {
	l, err := a.load()
	if err != nil {
		return err
	}
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return err
	}
	dirs, err := cachedSources(p)
	if err != nil {
		return err
	}
	a.auditWipe(p)
	kept := 0
	for _, dir := range dirs {
		switch err := wipe(dir); {
		case errors.Is(err, unix.EWOULDBLOCK):
			kept++
			a.say("left alone: " + dir + " is in use by a mount")
		case err != nil:
			return &failure{What: dir, Why: lastCause(err), Code: exitIO}
		}
	}
	a.say(fmt.Sprintf("removed what was kept of %d sources", len(dirs)-kept))
	if kept > 0 {
		a.say("the keys of encrypted caches stay, since mounts use them")
		return statusError(exitPartial)
	}
	for _, text := range newCacheKeys(l.env, p).forget(l.cacheKeyRefs()) {
		a.say(text)
	}
	return nil
}

// wipe removes a source's cache under its lock, so that no mount loses it while it runs.
func wipe(dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // goes with its directory
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
