package main

import (
	"fmt"
	"io"
	"os"
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

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "studyfs",
		Short: "study data as folders",
		Long: "studyfs mounts study data as folders: Empatica organisations, Beiwe studies, HCP, any S3 prefix.\n" +
			"Files copied into folders of a lab's own bucket are uploaded (mount --write).\nStart with: studyfs setup, or without keys: studyfs demo\n\n" + settingsHelp + "\n\n" + exitHelp,
		Version:       version(),
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			f := &failure{What: args[0], Why: "no such command", Do: "studyfs --help lists them", Code: exitUsage}
			if near := nearest(args[0], []string{"setup", "auth", "demo", "mount", "run", "umount", "status", "uploads", "restore", "audit", "mb", "export", "cat", "cache", "deid", "doctor", "config", "version"}); near != "" {
				f.Do = "did you mean studyfs " + near + "?\n" + f.Do
			} else if strings.Contains(args[0], ":") {
				f.Do = "did you mean studyfs mount " + args[0] + " DIR?\n" + f.Do
			}
			return f
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &failure{What: c.Name(), Why: err.Error(), Do: c.CommandPath() + " --help lists the flags", Code: exitUsage}
	})
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&a.given.file, "config", "", "configuration file (default: studyfs/config.toml in the XDG config directory)")
	a.given.register(flags, newConfig())
	root.AddCommand(a.setupCommand(), a.demoCommand(), a.mountCommand(), a.runCommand(), a.umountCommand(), a.statusCommand(), a.uploadsCommand(), a.restoreCommand(), a.auditCommand(), a.mbCommand(),
		a.exportCommand(), a.catCommand(), a.cacheCommand(), a.deidCommand(), a.doctorCommand(), a.configCommand(), a.versionCommand())
	return root
}

const settingsHelp = `Every flag can also stand in the configuration file and in the environment, the later wins: --cache-size 20GiB is
size = "20GiB" below [cache], and STUDYFS_CACHE_SIZE=20GiB. Sources with a name are [source.NAME] there, with the
keys kind (s3, empatica, hcp, beiwe, azure), url, keys (file:KEYS.csv, aws-profile:NAME, cmd:COMMAND), region, profile,
keyring, section, write, encrypt-to, identity and so on.`

const exitHelp = `Exit codes: 0 ok, 1 error, 2 usage, 3 partial, 69 unreachable or not installed, 73 cannot create, 74 I/O,
75 unfinished, busy or locked, 77 keys or permission, 78 configuration, 130 interrupted.`

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "print the version", Args: atMost(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.out, "studyfs "+version())
			return err
		},
	}
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
