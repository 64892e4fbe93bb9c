package main

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"studyfs/cmd/studyfs/fstab"
)

// What mount(8) makes of its helpers' exit codes.
const (
	mountUsage       = 1  // wrong options, no permission
	mountInterrupted = 8  // by the user
	mountFailed      = 32 // it did not work
)

// runAs runs the program under the name that it was called by: as mount.studyfs it is a helper of mount(8), for fstab.
func (a *app) runAs(name string, args []string) int {
	switch filepath.Base(name) {
	case "mount.studyfs", "mount.fuse.studyfs":
		return mountStatus8(a.mountHelper(args))
	case "umount.studyfs", "umount.fuse.studyfs":
		return mountStatus8(a.umountHelper(args))
	}
	return a.run(args)
}

// mountStatus8 says it in mount(8)'s words. Mounted with a source missing is mounted: systemd would take it away again.
func mountStatus8(code int) int {
	switch code {
	case exitOK, exitPartial:
		return exitOK
	case exitUsage, exitPermission, exitConfig:
		return mountUsage
	case exitInterrupted:
		return mountInterrupted
	}
	return mountFailed
}

func (a *app) mountHelper(args []string) int {
	m, err := fstab.ParseMount(args, a.mountFlags())
	if err != nil {
		return report(a.err, explainHelper("mount.studyfs", err))
	}
	if m.Fake {
		return exitOK
	}
	restoreEnvironment()
	line := append(append([]string{"mount"}, m.Args...), "--")
	if m.Source != "" {
		line = append(line, m.Source)
	}
	return a.run(append(line, m.Dir))
}

// restoreEnvironment sets what mount(8) and systemd take away, and what keys (~/.aws) and fusermount3 are found by.
func restoreEnvironment() {
	if os.Getenv("HOME") == "" {
		if u, err := user.Current(); err == nil {
			os.Setenv("HOME", u.HomeDir) //nolint:errcheck // a path
		}
	}
	if os.Getenv("PATH") == "" {
		os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") //nolint:errcheck // as above
	}
}

func (a *app) umountHelper(args []string) int {
	u, err := fstab.ParseUmount(args)
	if err != nil {
		return report(a.err, explainHelper("umount.studyfs", err))
	}
	line := []string{"umount"}
	if u.Force {
		line = append(line, "--force")
	}
	return a.run(append(line, "--", u.Dir))
}

// mountFlags are the options that fstab may hold: all flags of mount but those of a terminal.
func (a *app) mountFlags() []fstab.Flag {
	var all []fstab.Flag
	add := func(f *pflag.Flag) {
		if f.Name != "foreground" && f.Name != "help" {
			all = append(all, fstab.Flag{Name: f.Name, Bool: f.Value.Type() == "bool"})
		}
	}
	c, _, err := a.rootCommand().Find([]string{"mount"})
	if err != nil {
		return nil
	}
	c.LocalFlags().VisitAll(add)
	c.InheritedFlags().VisitAll(add)
	return all
}

func explainHelper(name string, err error) error {
	f := &failure{What: name, Why: err.Error(), Do: "such as: mount -t studyfs s3://bucket/prefix/ /mnt/dir -o profile=lab,allow-other\nstudyfs mount --help lists the options", Code: exitUsage}
	if unknown, ok := errors.AsType[*fstab.UnknownError](err); ok {
		name, _, _ := strings.Cut(unknown.Option, "=")
		if near := nearest(strings.ReplaceAll(name, "_", "-"), unknown.Known); near != "" {
			f.Do = "did you mean " + near + "?\n" + f.Do
		}
	}
	return f
}
