package main

//go:generate go run . man --settings ../../docs/settings.md

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"studyfs/cmd/studyfs/manual"
)

// manCommand writes what packages and docs/ are made of. It is hidden: users have the pages installed.
func (a *app) manCommand() *cobra.Command {
	var settings string
	var compress bool
	c := &cobra.Command{
		Use: "man [DIR]", Short: "write the manual pages into DIR", Hidden: true, Args: atMost(1), ValidArgsFunction: completeDirs,
		Example: "  studyfs man --gzip /usr/local/share/man\n  studyfs man --settings docs/settings.md",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && settings == "" {
				return exactly(1, "a DIR to write the pages to")(c, args)
			}
			if settings != "" {
				if err := os.WriteFile(settings, []byte(settingsPage()), 0o644); err != nil { //nolint:gosec // documentation
					return &failure{What: settings, Why: lastCause(err), Code: exitCannotCreate}
				}
			}
			if len(args) == 0 {
				return nil
			}
			return a.writeManual(args[0], compress)
		},
	}
	c.Flags().StringVar(&settings, "settings", "", "write the table of settings as Markdown into this file")
	c.Flags().BoolVar(&compress, "gzip", false, "compress the pages")
	return c
}

// manualPages are all pages: a function of the commands and settings only.
func (a *app) manualPages() []manual.Document {
	docs := manual.Commands(a.rootCommand(), exitSection())
	docs[0].Sections = append(docs[0].Sections, manual.Section{Title: "Files", Entries: []manual.Entry{
		{Term: "~/.config/studyfs/config.toml", Text: "The configuration, see studyfs.toml(5). With XDG_CONFIG_HOME it is studyfs/config.toml there."},
		{Term: "~/.cache/studyfs", Text: "What was fetched (XDG_CACHE_HOME, --cache-dir)."},
		{Term: "~/.local/state/studyfs", Text: "What must survive: files that are not uploaded yet, logs, the audit log (XDG_STATE_HOME, --state-dir)."},
	}})
	return append(docs, settingsManual(), fstabManual())
}

func (a *app) writeManual(dir string, compress bool) error {
	e := manual.Edition{Program: "studyfs", Version: programVersion(), Date: a.sourceDate()}
	for _, d := range a.manualPages() {
		path, text := filepath.Join(dir, fmt.Sprintf("man%d", d.Number), d.File()), d.Roff(e)
		if compress {
			path, text = path+".gz", compressed(text)
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // documentation
		if err == nil {
			err = os.WriteFile(path, text, 0o644) //nolint:gosec // documentation
		}
		if err != nil {
			return &failure{What: path, Why: lastCause(err), Do: "choose another DIR", Code: exitCannotCreate}
		}
	}
	return nil
}

// compressed has no name and no time in it, so that the same text gives the same bytes.
func compressed(text []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return text
	}
	w.Write(text) //nolint:errcheck // a buffer
	w.Close()     //nolint:errcheck // a buffer
	return b.Bytes()
}

// sourceDate is the time of the sources that this program was built from, which two builds of them have in common.
func (a *app) sourceDate() time.Time {
	if n, err := strconv.ParseInt(a.env.get("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(n, 0)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return t
			}
		}
	}
	return time.Time{}
}
