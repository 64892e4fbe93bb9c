package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "check or show the configuration", Args: atMost(0),
		Example: "  studyfs config check\n  studyfs config show --origin",
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	var checkJSON, showJSON, origin bool
	check := &cobra.Command{
		Use: "check", Short: "list all mistakes of the configuration", Args: atMost(0),
		Long: "Reads the whole configuration file and lists every mistake with its line and what was probably meant. Nothing is asked of\n" +
			"any service: that does studyfs doctor.\n\nExit codes: 0 no mistakes, 78 mistakes.",
		Example: "  studyfs config check\n  studyfs --config new.toml config check --json",
		RunE:    func(*cobra.Command, []string) error { return a.checkConfig(checkJSON) },
	}
	check.Flags().BoolVar(&checkJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
	show := &cobra.Command{
		Use: "show", Short: "show every setting as it is in force", Args: atMost(0),
		Long:    "Shows every setting as it is in force. Secrets are shown as what refers to them; what is none is hidden.",
		Example: "  studyfs config show --origin\n  studyfs config show --json | jq '.settings[] | select(.origin != \"default\")'",
		RunE:    func(*cobra.Command, []string) error { return a.showConfig(origin, showJSON) },
	}
	show.Flags().BoolVar(&origin, "origin", false, "also tell where each comes from: default, FILE:LINE, a STUDYFS_* variable or a flag")
	show.Flags().BoolVar(&showJSON, "json", false, "print JSON, with the origins (\"schema\": 1; fields may be added)")
	c.AddCommand(check, show, a.keyringCommand())
	return c
}

// checkConfig lists the mistakes of the file, then those that load finds elsewhere: in variables and flags.
func (a *app) checkConfig(asJSON bool) error {
	path, _, err := configPath(a.env, &a.given)
	if err != nil {
		return err
	}
	report := configReport{Schema: statusSchema, File: path, Mistakes: []configMistake{}}
	text, err := os.ReadFile(path)
	if err == nil {
		report.Exists, report.Mistakes = true, append(report.Mistakes, checkConfigText(text)...)
	}
	if len(report.Mistakes) == 0 {
		l, err := a.load()
		if err != nil {
			return err
		}
		report.Sources = len(l.Source)
	}
	if asJSON {
		err = printJSON(a.out, report)
		if err == nil && len(report.Mistakes) > 0 {
			return statusError(exitConfig)
		}
		return err
	}
	switch {
	case len(report.Mistakes) > 0:
		return report.failure()
	case !report.Exists:
		a.say("there is no " + path + "; none is needed: studyfs setup makes one")
	default:
		a.say(fmt.Sprintf("%s: %s, no mistakes", path, count(report.Sources, "source", "sources")))
	}
	return nil
}

// failure lists the mistakes as a message.
func (r configReport) failure() error {
	f := &failure{What: r.File, Why: count(len(r.Mistakes), "mistake", "mistakes"), Code: exitConfig}
	var lines []string
	for _, m := range r.Mistakes {
		if m.Line > 0 {
			lines = append(lines, fmt.Sprintf("line %d: %s", m.Line, m.Why))
			continue
		}
		lines = append(lines, m.Why)
	}
	f.Do = strings.Join(lines, "\n")
	return f
}

// shownSetting is a setting as config show --json prints it.
type shownSetting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"` // default, FILE:LINE, STUDYFS_… or --flag
}

// shownConfig is what config show --json prints.
type shownConfig struct {
	Schema   int            `json:"schema"`
	File     string         `json:"file"`
	Settings []shownSetting `json:"settings"`
}

func (a *app) showConfig(origin, asJSON bool) error {
	l, err := a.load()
	if err != nil {
		return err
	}
	shown, err := l.shown()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(a.out, shown)
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, s := range shown.Settings {
		from := ""
		if origin {
			from = "\t# " + s.Origin
		}
		fmt.Fprintf(t, "%s\t= %q%s\n", s.Name, s.Value, from) //nolint:errcheck // Flush tells
	}
	return t.Flush()
}

// shown lists all settings, of sources those that are set.
func (l *loaded) shown() (shownConfig, error) {
	all := shownConfig{Schema: statusSchema, File: l.path}
	add := func(prefix string, s setting) {
		from := l.origins[prefix+s.path]
		if from == "" {
			from = "default"
		}
		all.Settings = append(all.Settings, shownSetting{Name: prefix + s.path, Value: shownValue(s), Origin: from})
	}
	for _, s := range settingsOf(&l.config) {
		add("", s)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Source)) {
		c, err := l.source(name)
		if err != nil {
			return all, err
		}
		for _, s := range settingsOf(&c) {
			if !s.value.IsZero() {
				add("source."+name+".", s)
			}
		}
	}
	return all, nil
}

// notShown stands for what may be a secret.
const notShown = "(hidden: this is no reference to a secret, it may be one)"

// shownValue is a setting's value without secrets: people put them where references belong.
func shownValue(s setting) string {
	text := s.String()
	switch name := s.path[strings.LastIndexByte(s.path, '.')+1:]; name {
	case "keys":
		if wrongKeys(text) != nil {
			return notShown
		}
	case "identity", "password", "words-secret", "date-shift-secret", "cache-key", "secret":
		if text != "" && !isReference(text) {
			return notShown
		}
	case "url", "endpoint-url", "target":
		if before, _, signed := strings.Cut(text, "?"); signed {
			return before + "?…"
		}
		if u, err := url.Parse(text); err == nil && u.User != nil {
			return u.Redacted()
		}
	}
	return text
}

// configPath is where the configuration is, and whether somebody said so.
func configPath(env environment, g *given) (path string, explicit bool, err error) {
	if g.file != "" {
		return g.file, true, nil
	}
	if path = env.get("STUDYFS_CONFIG"); path != "" {
		return path, true, nil
	}
	dir, err := env.xdg("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return "", false, err
	}
	return dir + "/config.toml", false, nil
}

// readConfig reads a configuration file; a missing one that nobody spoke of is empty.
func readConfig(path string, explicit bool) ([]byte, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && !explicit:
		return nil, nil
	case err != nil:
		return nil, &failure{What: path, Why: lastCause(err), Do: "check --config and STUDYFS_CONFIG", Code: exitConfig}
	}
	return text, nil
}
