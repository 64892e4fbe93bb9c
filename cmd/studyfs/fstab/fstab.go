// Package fstab reads the command lines with which mount(8) and umount(8) call their helpers, mount.TYPE and umount.TYPE.
//
// It only reads: whoever calls it mounts. Options of fstab that are meant for mount(8), systemd or file managers are skipped; every other
// one must be an option of the program, else it is an error: an option that is passed over in silence is a promise that nobody keeps.
package fstab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Flag is one option that the program has.
type Flag struct {
	Name string
	Bool bool // it needs no value
}

// Mount is what mount(8) asks for.
type Mount struct {
	Source string   // "": all that the configuration names
	Dir    string   // where to
	Args   []string // as the program's own command line has them: "--read-only", "--cache-size=20GiB"
	Fake   bool     // do all but mount
}

// Umount is what umount(8) asks for.
type Umount struct {
	Dir   string
	Force bool // also while programs use it
}

// ErrUsage says that a command line is none of mount(8)'s or umount(8)'s.
var ErrUsage = errors.New("not called as mount(8) calls its helpers")

// UnknownError is about an option that nobody knows.
type UnknownError struct {
	Option string
	Known  []string // all that are known, for suggestions
}

func (e *UnknownError) Error() string { return fmt.Sprintf("unknown option %q", e.Option) }

// ParseMount reads "SOURCE DIR [-sfnvr] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]". With -s unknown options are skipped.
func ParseMount(args []string, flags []Flag) (Mount, error) {
	c, err := split(args, "oNt", "sfnvwr")
	if err != nil {
		return Mount{}, err
	}
	if len(c.words) != 2 {
		return Mount{}, fmt.Errorf("%w: SOURCE DIR [-o OPTIONS]", ErrUsage)
	}
	m := Mount{Source: c.words[0], Dir: c.words[1], Fake: c.has('f')}
	if m.Source == "none" || m.Source == "studyfs" {
		m.Source = ""
	}
	options := options(c.options)
	if c.has('r') {
		options = append(options, "ro")
	}
	for _, option := range options {
		arg, err := argument(option, flags)
		if err != nil && !c.has('s') {
			return Mount{}, err
		}
		if arg != "" && !slices.Contains(m.Args, arg) {
			m.Args = append(m.Args, arg)
		}
	}
	return m, nil
}

// ParseUmount reads "DIR [-flnrsv] [-N NAMESPACE] [-t TYPE]".
func ParseUmount(args []string) (Umount, error) {
	c, err := split(args, "Nt", "flnrsv")
	if err != nil {
		return Umount{}, err
	}
	if len(c.words) != 1 {
		return Umount{}, fmt.Errorf("%w: DIR [-fl]", ErrUsage)
	}
	return Umount{Dir: c.words[0], Force: c.has('f') || c.has('l')}, nil
}

// call is a command line, taken apart.
type call struct {
	words   []string
	letters string // of options without a value
	options []string
}

func (c call) has(letter byte) bool { return strings.IndexByte(c.letters, letter) >= 0 }

// split takes a command line apart. Options with a value are those of valued; of these only that of -o matters.
func split(args []string, valued, plain string) (call, error) {
	var c call
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if len(arg) < 2 || arg[0] != '-' {
			c.words = append(c.words, arg)
			continue
		}
		for j := 1; j < len(arg); j++ {
			letter := arg[j]
			if strings.IndexByte(plain, letter) >= 0 {
				c.letters += string(letter)
				continue
			}
			value := arg[j+1:]
			if value == "" && i+1 < len(args) {
				i++
				value = args[i]
			}
			if strings.IndexByte(valued, letter) < 0 || value == "" {
				return c, fmt.Errorf("%w: %s", ErrUsage, arg)
			}
			if letter == 'o' {
				c.options = append(c.options, value)
			}
			break
		}
	}
	return c, nil
}

// options takes lists of options apart. Commas between double quotes belong to a value, as libmount has it.
func options(lists []string) []string {
	var all []string
	quoted := false
	for _, list := range lists {
		for _, one := range strings.FieldsFunc(list, func(r rune) bool {
			if r == '"' {
				quoted = !quoted
			}
			return r == ',' && !quoted
		}) {
			all = append(all, strings.ReplaceAll(one, `"`, ""))
		}
		quoted = false
	}
	return all
}

// notOurs are the options that are meant for others, or that say what holds anyway: devices and set-user-id programs never work in a FUSE
// mount of ours, and access times are not kept.
func notOurs() []string {
	return []string{
		"defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group", "comment", "uhelper", "helper", "rw", "exec", "nodev", "nosuid",
		"atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "diratime", "nodiratime", "silent", "loud", "async",
	}
}

// renamed are options that the program has under another name.
func renamed() map[string]string {
	return map[string]string{"ro": "read-only", "noexec": "no-exec"}
}

// argument is an option as the program's command line has it, "" for one that is skipped.
func argument(option string, flags []Flag) (string, error) {
	name, value, valued := strings.Cut(option, "=")
	if strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") || slices.Contains(notOurs(), name) {
		return "", nil
	}
	if to, ok := renamed()[name]; ok {
		name = to
	}
	name = strings.ReplaceAll(name, "_", "-")
	i := slices.IndexFunc(flags, func(f Flag) bool { return f.Name == name })
	switch {
	case i < 0:
		return "", &UnknownError{Option: option, Known: known(flags)}
	case valued:
		return "--" + name + "=" + value, nil
	case !flags[i].Bool:
		return "", fmt.Errorf("%w: the option %s needs a value", ErrUsage, option)
	}
	return "--" + name, nil
}

func known(flags []Flag) []string {
	all := notOurs()
	for name := range renamed() {
		all = append(all, name)
	}
	for _, f := range flags {
		all = append(all, f.Name)
	}
	slices.Sort(all)
	return all
}
