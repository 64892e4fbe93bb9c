package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// app is one run of the command line.
type app struct {
	env      environment
	out, err io.Writer // data, messages
	given    given

	terminal func() (*os.File, error) // what setup and auth ask at; nil: the one that the user sits at
}

// run runs the command that args name and returns the exit code.
func (a *app) run(args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.out)
	root.SetErr(a.err)
	return report(a.err, root.Execute())
}

// say tells the user something that is not an error.
func (a *app) say(text string) {
	fmt.Fprintln(a.err, "studyfs: "+text) //nolint:errcheck // nowhere left to say it
}

// sayPlain tells the user several lines that are no messages.
func (a *app) sayPlain(lines ...string) {
	fmt.Fprintln(a.err, strings.Join(lines, "\n")) //nolint:errcheck // nowhere left to say it
}

func (a *app) load() (*loaded, error) { return load(a.env, &a.given) }

func (a *app) places() (places, error) {
	l, err := a.load()
	if err != nil {
		return places{}, err
	}
	return findPlaces(l.env, l.Cache.Dir, l.State.Dir)
}

// placesAnyway is places for whoever looks after mounts, who must be able to while the configuration is broken: then it is told of, and only
// flags and variables say where things are.
func (a *app) placesAnyway() (places, error) {
	p, err := a.places()
	if err == nil || asFailure("", err).Code != exitConfig {
		return p, err
	}
	a.say("warning: " + firstLine(err.Error()))
	l := &loaded{config: *newConfig(), origins: map[string]string{}, env: a.env, given: &a.given}
	if wrong := l.overlay("", &l.config); wrong != nil {
		return p, err
	}
	return findPlaces(a.env, l.Cache.Dir, l.State.Dir)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "studyfs",
		Short: "study data as folders",
		Long: "studyfs mounts study data as folders: Empatica organisations, Beiwe studies, HCP, any S3 prefix.\n" +
			"Files copied into folders of a lab's own bucket are uploaded (mount --write).\nStart with: studyfs setup, or without keys: studyfs demo\n\n" + settingsHelp + "\n\n" + exitHelp(),
		Example:       "  studyfs setup\n  studyfs demo\n  studyfs mount empatica:keys.csv ~/empatica\n  studyfs status",
		Version:       version(),
		SilenceErrors: true, SilenceUsage: true,
		Args: unknownCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &failure{What: c.Name(), Why: err.Error(), Do: c.CommandPath() + " --help lists the flags", Code: exitUsage}
	})
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&a.given.file, "config", "", "configuration file (default: studyfs/config.toml in the XDG config directory)")
	a.given.register(flags, newConfig())
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(a.setupCommand(), a.authCommand(), a.demoCommand(), a.mountCommand(), a.runCommand(), a.umountCommand(), a.statusCommand(), a.uploadsCommand(), a.restoreCommand(), a.warmCommand(), a.pinCommand(), a.unpinCommand(), a.auditCommand(), a.mbCommand(),
		a.exportCommand(), a.catCommand(), a.cacheCommand(), a.deidCommand(), a.doctorCommand(), a.configCommand(), a.versionCommand(),
		a.completionCommand(), a.manCommand())
	describeHelp(root)
	completeFlags(root)
	return root
}

// unknownCommand is what the program says to a word that is no command.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	f := &failure{What: args[0], Why: "no such command", Do: "studyfs --help lists them", Code: exitUsage}
	if near := nearest(args[0], names); near != "" {
		f.Do = "did you mean studyfs " + near + "?\n" + f.Do
	} else if strings.Contains(args[0], ":") {
		f.Do = "did you mean studyfs mount " + args[0] + " DIR?\n" + f.Do
	}
	return f
}

// describeHelp adds the command that cobra adds by itself, in our words.
func describeHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Short, c.Long, c.Example = "help about a command", "Shows what a command does, as COMMAND --help.", "  studyfs help mount\n  studyfs help uploads resolve"
		}
	}
}

const settingsHelp = `Every flag can also stand in the configuration file and in the environment, the later wins: --cache-size 20GiB is
size = "20GiB" below [cache], and STUDYFS_CACHE_SIZE=20GiB. Sources with a name are [source.NAME] there, with the
keys kind (s3, empatica, hcp, beiwe, azure), url, keys (file:KEYS.csv, aws-profile:NAME, cmd:COMMAND), region, profile,
keyring, section, write, encrypt-to, identity and so on: man studyfs.toml lists all.`

func (a *app) versionCommand() *cobra.Command {
	var asJSON, asBill bool
	c := &cobra.Command{
		Use: "version", Short: "print the version", Args: atMost(0),
		Example: "  studyfs version\n  studyfs version --json\n  studyfs version --sbom | jq -r '.components[].purl'",
		RunE: func(*cobra.Command, []string) error {
			if asBill {
				return a.printBill(a.out)
			}
			if asJSON {
				return printJSON(a.out, versionReport{Schema: statusSchema, Version: programVersion(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH})
			}
			_, err := fmt.Fprintln(a.out, "studyfs "+version())
			return err
		},
	}
	jsonFlag(c, &asJSON)
	c.Flags().BoolVar(&asBill, "sbom", false, "print what the program is made of (CycloneDX, JSON)")
	return c
}

// versionReport is what version --json prints.
type versionReport struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// jsonFlag adds the flag of all commands that print data.
func jsonFlag(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "print JSON (\"schema\": 1; fields may be added)")
}

// version is what the build noted of the source it was made of.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v + " " + info.GoVersion
}

// programVersion is version without that of Go.
func programVersion() string {
	v, _, _ := strings.Cut(version(), " ")
	return v
}

// exactly and atMost are cobra's checks with messages in our form.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return &failure{What: c.Name(), Why: "needs " + what, Do: "studyfs " + c.Use, Code: exitUsage}
	}
}

func atMost(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return &failure{What: c.Name(), Why: fmt.Sprintf("%q is too much", args[n]), Do: "studyfs " + c.Use, Code: exitUsage}
	}
}

// self is how the user runs this program, for hints.
func self() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "/go-build") {
		return "go run ./cmd/studyfs"
	}
	return "studyfs"
}
