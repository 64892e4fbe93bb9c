package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"

	"studyfs/cmd/studyfs/tomlfile"
)

// keep puts the secrets where they belong and writes the configuration.
func (s *setup) keep() error {
	if s.known {
		return nil
	}
	before, err := os.ReadFile(s.l.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return &failure{What: s.l.path, Why: lastCause(err), Do: "check --config and STUDYFS_CONFIG", Code: exitConfig}
	}
	if s.hand != nil {
		ref, err := s.keepSecret()
		if err != nil {
			return err
		}
		s.c.Keys = ref
	}
	after, err := tomlfile.Append(before, []string{"source", s.name}, tableOf(s.c))
	if err == nil {
		err = decode(after, newConfig())
	}
	if err == nil {
		err = tomlfile.Replace(s.l.path, before, after)
	}
	if err != nil {
		s.dropSecret()
		return &failure{What: "cannot write " + s.l.path, Why: lastCause(err), Do: "nothing was written; choose another file with --config, or try again", Code: exitCannotCreate}
	}
	s.say("wrote [source." + s.name + "] to " + s.l.path)
	return nil
}

// tableOf is a source as the configuration has it: what is set, in the order of the settings.
func tableOf(c sourceConfig) []tomlfile.Key {
	var keys []tomlfile.Key
	for _, set := range settingsOf(&c) {
		if set.value.IsZero() {
			continue
		}
		table, name, below := strings.Cut(set.path, ".")
		if !below {
			keys = append(keys, tomlfile.Key{Name: set.path, Value: tomlValue(set)})
			continue
		}
		if n := len(keys); n == 0 || keys[n-1].Name != table {
			keys = append(keys, tomlfile.Key{Name: table, Value: []tomlfile.Key{}})
		}
		last := &keys[len(keys)-1]
		if rows, is := last.Value.([]tomlfile.Key); is {
			last.Value = append(rows, tomlfile.Key{Name: name, Value: tomlValue(set)})
		}
	}
	return keys
}

func tomlValue(s setting) any {
	v := s.value
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch one := v.Interface().(type) {
	case bool:
		return one
	case int:
		return one
	case nameList:
		return []string(one)
	}
	return s.String()
}

// secretName is what a source's keys are called in the desktop's keyring.
func secretName(source string) string { return "keys-" + source }

// keepSecret stores the keys in hand and returns what refers to them.
func (s *setup) keepSecret() (ref string, err error) {
	if s.o.keep != "file" {
		err = s.store.set(secretName(s.name), string(s.hand.text))
		if err == nil {
			var back string
			if back, err = s.store.get(secretName(s.name)); err == nil && back == string(s.hand.text) {
				s.tellKept("the desktop's keyring (service " + keyringService + ", " + secretName(s.name) + ")")
				return refKeyring + ":" + secretName(s.name), nil
			}
		}
		if s.o.keep == refKeyring {
			return "", &failure{What: "the desktop's keyring", Why: fmt.Sprint(err), Do: "log in at the desktop and unlock it, or keep the keys in a file: --keep file", Code: exitPermission}
		}
	}
	path := s.secretFile()
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", &failure{What: path, Why: lastCause(err), Do: "it must be yours: chown, chmod 600", Code: exitPermission}
	}
	if err := tomlfile.Replace(path, before, s.hand.text); err != nil {
		return "", &failure{What: "cannot write " + path, Why: lastCause(err), Do: "choose another place with --config", Code: exitCannotCreate}
	}
	s.tellKept(path + ", which only you can read")
	return "file:" + path, nil
}

// secretFile is where keys are kept without a keyring: beside the configuration.
func (s *setup) secretFile() string {
	ending := ".csv"
	if s.c.Kind == kindBeiwe || s.c.Kind == kindAzure {
		ending = ".key"
	}
	path := filepath.Join(filepath.Dir(s.l.path), "keys", s.name+ending)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

func (s *setup) tellKept(where string) {
	s.say("the keys are in " + where)
	if s.copied != "" && s.copied != s.secretFile() {
		s.say(s.copied + " is not needed any more\n  rm " + quote(s.copied))
	}
}

// dropSecret takes back what was stored for a source that did not come about.
func (s *setup) dropSecret() {
	if s.hand == nil {
		return
	}
	if name, is := strings.CutPrefix(s.c.Keys, refKeyring+":"); is {
		s.store.remove(name) //nolint:errcheck // an unused secret harms nobody
	}
	if path, is := strings.CutPrefix(s.c.Keys, "file:"); is {
		os.Remove(path) //nolint:errcheck // as above
	}
}

// The ways to go on.
const (
	thenMount   = "mount"
	thenLogin   = "login"
	thenNothing = "nothing"
)

// goOn mounts the source, if that is wanted, and says what to type next.
func (s *setup) goOn() error {
	dir := s.o.at
	if dir == "" {
		home := s.env.get("HOME")
		if !filepath.IsAbs(home) {
			home = "."
		}
		dir = filepath.Join(home, "Studies", s.name)
	}
	then := thenOf(s.o.then)
	if then == "" && s.ask.Ready() == nil {
		err := s.want(question{
			text: "show it at " + dir + " now? yes, no, or login (now and at every login)", fallback: "yes", flag: "--then mount",
			take: func(answer string) error {
				found := thenOf(answer)
				if found == "" {
					return usagef("%q is none of yes, no, login", answer)
				}
				then = found
				return nil
			},
		})
		if err != nil {
			return err
		}
	}
	switch then {
	case thenMount:
		return s.mountNow(dir)
	case thenLogin:
		return s.mountAtLogin(dir)
	}
	s.sayPlain("Next:", "  studyfs mount "+quote(s.name)+" "+quote(dir), "  ls "+quote(dir), "  studyfs status")
	return nil
}

func thenOf(answer string) string {
	switch strings.ToLower(answer) {
	case "y", "yes", thenMount:
		return thenMount
	case "n", "no", thenNothing:
		return thenNothing
	case "l", thenLogin:
		return thenLogin
	}
	return ""
}

// shownNames is how many names setup shows of what it has mounted.
const shownNames = 10

// mountNow mounts the source and lists it.
func (s *setup) mountNow(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return &failure{What: dir, Why: lastCause(err), Do: "choose another place with --at", Code: exitCannotCreate}
	}
	l, err := s.load()
	if err != nil {
		return err
	}
	sources := []sourceSpec{s.spec}
	if s.proof != nil { // its passphrase was asked for once
		err = sources[0].readSecrets(l.env)
	} else {
		var notices []string
		sources, notices, err = l.sourcesOf([]string{s.name})
		s.sayAll(notices)
	}
	if err == nil {
		err = s.mountSources(l, []string{s.name}, sources, dir, false)
	}
	if err != nil {
		return err
	}
	return s.list(dir)
}

// list shows what ls would.
func (s *setup) list(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &failure{What: dir, Why: lastCause(err), Do: "studyfs status " + quote(dir), Code: exitIO}
	}
	s.say("$ ls " + quote(dir))
	for i, e := range entries {
		if i == shownNames {
			s.say(fmt.Sprintf("and %d more", len(entries)-i))
			break
		}
		if _, err := fmt.Fprintln(s.out, printable(e.Name())); err != nil {
			return err
		}
	}
	s.sayPlain("Next:", "  ls "+quote(dir), "  studyfs status "+quote(dir), "  studyfs umount "+quote(dir))
	return nil
}

// userUnit is the unit that mounts a source at every login; the packages bring it.
const userUnit = "studyfs@.service"

// mountAtLogin has systemd mount it now and at every login.
func (s *setup) mountAtLogin(dir string) error {
	if s.o.at != "" {
		s.say("the unit mounts at ~/Studies/" + s.name + ", not at " + dir)
		dir = filepath.Join(s.env.get("HOME"), "Studies", s.name)
	}
	enable := []string{"systemctl", "--user", "enable", "--now", strings.Replace(userUnit, "@", "@"+s.name, 1)}
	if s.proof != nil {
		s.say("nobody can be asked for the keyring's passphrase at a login: keep the keys themselves with\n  studyfs setup beiwe " + quote(s.spec.url()))
	}
	if !s.hasUnit() {
		s.say("there is no unit " + userUnit + " here, which the packages of studyfs bring; with it:\n  " + strings.Join(enable, " "))
		return s.mountNow(dir)
	}
	ctx, release := interruptible()
	defer release()
	cmd := exec.CommandContext(ctx, enable[0], enable[1:]...)
	if text, err := cmd.CombinedOutput(); err != nil {
		s.say("systemd does not start it (" + firstLine(strings.TrimSpace(string(text))) + "); by hand:\n  " + strings.Join(enable, " "))
		return s.mountNow(dir)
	}
	s.say("it is mounted at every login from now on; to end that: systemctl --user disable --now " + enable[4])
	s.sayPlain("Next:", "  ls "+quote(dir), "  studyfs status", "  "+strings.Replace(strings.Join(enable, " "), "enable --now", "status", 1))
	return nil
}

// hasUnit looks where systemd looks for units of users.
func (s *setup) hasUnit() bool {
	places := []string{"/etc/systemd/user", "/usr/lib/systemd/user", "/usr/local/lib/systemd/user"}
	if dir, err := s.env.xdg("XDG_CONFIG_HOME", ".config"); err == nil {
		places = append(places, filepath.Join(filepath.Dir(dir), "systemd", "user"))
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, userUnit)); err == nil {
			return true
		}
	}
	return false
}
