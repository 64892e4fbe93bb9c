package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"studyfs/backends/crypt/cryptease"
	"studyfs/backends/s3"
	"studyfs/cmd/studyfs/prompt"
)

// setup is one run of the command.
type setup struct {
	*app

	ctx   context.Context // of all questions: it ends with Ctrl-C
	l     *loaded
	ask   *prompt.Terminal
	o     setupOptions
	store secretStore

	c        sourceConfig // what the configuration will say
	name     string       // "" until build has found one
	hand     *keysInHand  // to be kept; nil: there is nothing
	proof    *keysInHand  // an account of a keyring that stays where it is, to try
	copied   string       // the file that hand is from, which is not needed any more
	spec     sourceSpec
	known    bool     // the configuration has it already
	accounts []string // profiles of AWS's tools
}

// mostTries is how often a question is asked again after an answer that cannot be.
const mostTries = 3

// question is one that a person may be asked.
type question struct {
	text, fallback string
	flag           string // what to add where there is nobody to ask
	hidden         bool
	take           func(answer string) error
}

// want asks a question until take takes the answer.
func (s *setup) want(q question) error {
	if err := s.ask.Ready(); err != nil {
		return &failure{What: "setup", Why: "not all that is needed was given, and there is no terminal to ask at", Do: "add " + q.flag, Code: exitUsage}
	}
	for try := 1; ; try++ {
		var answer string
		var err error
		if q.hidden {
			answer, err = s.ask.Hidden(s.ctx, q.text)
		} else {
			answer, err = s.ask.Line(s.ctx, q.text, q.fallback)
		}
		if err != nil {
			return err
		}
		wrong := q.take(unquoted(answer))
		if wrong == nil || try == mostTries {
			return wrong
		}
		if err := s.ask.Say("  " + strings.ReplaceAll(wrong.Error(), "\n", "\n  ")); err != nil {
			return err
		}
	}
}

// unquoted is a path as file managers drop it into a terminal.
func unquoted(answer string) string {
	answer = strings.TrimPrefix(strings.TrimSpace(answer), "file://")
	if n := len(answer); n > 1 && (answer[0] == '\'' || answer[0] == '"') && answer[n-1] == answer[0] {
		return answer[1 : n-1]
	}
	return answer
}

// gather comes by all that the configuration needs: from arguments, flags, what lies in its usual place, and questions.
func (s *setup) gather(args []string) error {
	if err := s.takeFlags(); err != nil {
		return err
	}
	if err := s.gatherKind(args); err != nil {
		return err
	}
	switch s.c.Kind {
	case kindEmpatica:
		return s.gatherEmpatica()
	case kindBeiwe:
		return s.gatherBeiwe()
	case kindEcog:
		return s.gatherEcog()
	case kindDir:
		return s.gatherURL("which directory? such as dir:/mnt/nas/study")
	case kindAzure:
		if err := s.gatherURL("which container? such as azure://account/container/prefix/"); err != nil {
			return err
		}
		return s.gatherAzureKey()
	case kindS3:
		if err := s.gatherURL("which bucket? such as s3://bucket/prefix/"); err != nil {
			return err
		}
	}
	return s.gatherKeys()
}

// takeFlags takes what was given as flags.
func (s *setup) takeFlags() error {
	for _, set := range settingsOf(&s.c) {
		if text, ok := s.l.given.flags[set.flag()]; ok && !set.noFlag {
			if err := set.set(text); err != nil {
				return usagef("--%s: %v", set.flag(), err)
			}
		}
	}
	s.name, s.c.Section, s.accounts = s.o.name, s.o.section, awsProfiles(s.env)
	switch {
	case s.name != "" && !validFolder(s.name):
		return usagef("setup: --name %s: the name becomes a folder: no \"/\", no \":\", no leading dot", s.name)
	case s.o.keep != "" && s.o.keep != refKeyring && s.o.keep != "file":
		return usagef("--keep %s: it is keyring or file", s.o.keep)
	case s.o.then != "" && thenOf(s.o.then) == "":
		return usagef("--then %s: it is mount, login or nothing", s.o.then)
	}
	return nil
}

const kindQuestion = `What do you want to see as a folder?
  1  empatica  an organisation, with the Data Access Keys CSV of Empatica's Care Portal
  2  beiwe     the studies of a Beiwe server, with mano's keyring or access keys
  3  hcp       the Human Connectome Project's open data
  4  s3        a bucket of the lab, or open data: s3://bucket/prefix/
  5  ecog      recordings of the hospital: videos and EDF, each to its own place
  6  azure     an Azure Blob container
  7  dir       a NAS or another disk
a number, an address, or the path of the keys file`

func (s *setup) gatherKind(args []string) error {
	if s.o.kind != "" {
		args = append([]string{s.o.kind}, args...)
	}
	if len(args) > 0 {
		if err := s.takeKind(args[0]); err != nil {
			return err
		}
	} else if s.o.url != "" {
		if err := s.takeKind(s.o.url); err != nil {
			return err
		}
	} else if err := s.want(question{text: kindQuestion, flag: "--kind empatica, beiwe, hcp, s3, ecog, azure or dir", take: s.takeKind}); err != nil {
		return err
	}
	if s.o.url != "" {
		if err := s.takeWhere(s.o.url); err != nil {
			return err
		}
	}
	if len(args) > 1 {
		return s.takeWhere(args[1])
	}
	return nil
}

// takeKind takes what somebody says to the first question: a kind, an address, a file.
func (s *setup) takeKind(answer string) error {
	if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(sourceKinds()) {
		answer = sourceKinds()[n-1]
	}
	if slices.Contains(sourceKinds(), answer) {
		s.c.Kind = answer
		return nil
	}
	if scheme, rest, ok := strings.Cut(answer, ":"); ok {
		if known, err := s.takeAddress(scheme, rest, answer); known {
			return err
		}
	}
	info, err := os.Stat(expandHome(answer))
	switch {
	case err == nil && info.IsDir():
		s.c.Kind = kindDir
		return s.takeWhere("dir:" + answer)
	case err == nil:
		return s.takeFile(answer)
	}
	f := &failure{What: "setup", Why: quote(answer) + " is neither a kind of source, nor an address, nor a file", Code: exitUsage}
	f.Do = "one of " + strings.Join(sourceKinds(), ", ") + ", or an address such as s3://bucket/prefix/"
	if near := nearest(answer, sourceKinds()); near != "" {
		f.Do = "did you mean " + near + "?\n" + f.Do
	}
	return f
}

// takeAddress takes what has a scheme, and reports whether that is one of ours.
func (s *setup) takeAddress(scheme, rest, address string) (known bool, err error) {
	switch {
	case scheme == "https" || scheme == "http":
		s.c.Kind, rest = kindBeiwe, address
	case !slices.Contains(sourceKinds(), scheme):
		return false, nil
	default:
		s.c.Kind = scheme
	}
	if scheme == kindS3 || scheme == kindAzure || scheme == kindDir {
		rest = address
	}
	if rest == "" {
		return true, nil
	}
	return true, s.takeWhere(rest)
}

// takeFile finds out what kind of keys a file holds.
func (s *setup) takeFile(path string) error {
	raw, err := os.ReadFile(expandHome(path))
	if err != nil {
		return &failure{What: path, Why: lastCause(err), Do: "give a file that you can read", Code: exitConfig}
	}
	s.c.Kind = kindEmpatica
	if _, err := cryptease.NewReaderWith(strings.NewReader(string(raw)), func([]byte) ([]byte, error) { return make([]byte, cryptease.KeySize), nil }); err == nil {
		s.c.Kind = kindBeiwe
	} else if keys, err := s3.ReadKeys(strings.NewReader(string(raw))); err == nil && keys.URL == "" {
		s.c.Kind = ""
		return &failure{What: path, Why: "these keys do not tell which bucket they are for", Do: "studyfs setup s3://bucket/prefix/ --keys " + quote(path), Code: exitUsage}
	}
	return s.takeWhere(path)
}

// takeWhere takes the address or the keys of a source whose kind is known.
func (s *setup) takeWhere(where string) error {
	switch s.c.Kind {
	case kindEmpatica:
		if strings.HasPrefix(where, "s3://") {
			return s.takeURL(where)
		}
		return s.takeKeys(where)
	case kindHCP, kindEcog:
		return s.takeKeys(where)
	case kindBeiwe:
		return s.takeBeiwe(where)
	}
	return s.takeURL(where)
}

func (s *setup) takeURL(address string) error {
	c := s.c
	c.URL = address
	if err := c.wrongURL(); err != nil {
		f := &failure{What: "setup", Why: err.Error(), Do: "an address looks like s3://bucket/prefix/, azure://account/container/prefix/ or dir:PATH", Code: exitUsage}
		if !strings.Contains(address, ":") && strings.Contains(strings.Trim(address, "/"), "/") && c.Kind == kindS3 {
			f.Do = "did you mean s3://" + strings.TrimLeft(address, "/") + "?\n" + f.Do
		}
		return f
	}
	if path, ok := strings.CutPrefix(address, "dir:"); ok { // the configuration is read from anywhere
		abs, err := filepath.Abs(expandHome(path))
		if err != nil {
			return fmt.Errorf("working directory: %w", err)
		}
		address = "dir:" + abs
	}
	s.c.URL = address
	return nil
}

func (s *setup) gatherURL(text string) error {
	if s.c.URL != "" {
		return nil
	}
	return s.want(question{text: text, flag: "--url ADDRESS", take: s.takeURL})
}

// gatherEcog asks for the two places that every recording goes to one of; copies go where flags say.
func (s *setup) gatherEcog() error {
	for _, t := range []struct {
		given, flag, text string // flag is "" where nobody is asked
		may               bool   // it may be left out
		into              **targetConfig
	}{
		{s.o.edf, "--edf ADDRESS", "where do EDF and all files but videos go? s3://bucket/prefix/ or dir:PATH", false, &s.c.EDF},
		{s.o.video, "--video ADDRESS", "where do videos go? s3://bucket/prefix/ or dir:PATH (Enter: to the same place)", true, &s.c.Video},
		{s.o.archive, "", "", true, &s.c.Archive},
		{s.o.nas, "", "", true, &s.c.NAS},
	} {
		take := func(answer string) error {
			if answer == "" && t.may {
				return nil
			}
			return s.takeTarget(answer, t.into)
		}
		err := take(t.given)
		if t.given == "" && t.flag != "" && (!t.may || s.o.edf == "") { // who gives one as a flag gives all
			err = s.want(question{text: t.text, flag: t.flag, take: take})
		}
		if err != nil {
			return err
		}
	}
	s.c.Write = true
	if slices.ContainsFunc(s.c.roles(), func(r role) bool { return r.config != nil && strings.HasPrefix(r.config.Target, "s3:") }) {
		return s.gatherKeys()
	}
	return nil
}

func (s *setup) takeTarget(address string, into **targetConfig) error {
	t := &targetConfig{Target: address}
	if err := (role{config: t}).validate(); err != nil {
		return &failure{What: "setup", Why: err.Error(), Do: "an address looks like s3://bucket/prefix/ or dir:/mnt/nas/ecog", Code: exitUsage}
	}
	*into = t
	return nil
}

// build makes a source of the answers, and finds a name for it.
func (s *setup) build() error {
	if s.name != "" && s.has(s.name) {
		return s.sameOrTaken()
	}
	spec, notices, err := s.l.build(s.name, s.asMounted(), exitUsage)
	if err != nil {
		return err
	}
	if spec.Name == "" {
		spec.Name = s.c.Kind
	}
	if s.c.Kind == kindBeiwe && s.name == "" {
		spec.Name = kindBeiwe
	}
	s.spec = spec
	s.sayAll(notices)
	if s.name, err = s.freeName(spec.Name); err != nil || s.known {
		return err
	}
	s.spec.Name = s.name
	return nil
}

// asMounted is the source as a mount will see it, with what the environment says.
func (s *setup) asMounted() sourceConfig {
	c := s.c
	if c.inHand = s.hand; s.proof != nil {
		c.inHand = s.proof
	}
	if err := s.l.overlay("", &c); err != nil {
		return s.c // load has read the same
	}
	return c
}

func (s *setup) has(name string) bool {
	_, is := s.l.Source[name]
	return is
}

// freeName finds a name that the configuration does not have, and asks for one where that is not the obvious one.
func (s *setup) freeName(obvious string) (string, error) {
	if !s.has(obvious) {
		return obvious, nil
	}
	s.name = obvious
	err := s.sameOrTaken()
	if err == nil || s.ask.Ready() != nil {
		return obvious, err
	}
	name := obvious
	err = s.want(question{
		text: "the configuration has a source named " + obvious + " already; what is this one to be called?", flag: "--name NAME",
		take: func(answer string) error {
			if !validFolder(answer) || s.has(answer) {
				return usagef("%q cannot be its name", answer)
			}
			name = answer
			return nil
		},
	})
	return name, err
}

// sameOrTaken looks whether the source of that name in the configuration is this one.
func (s *setup) sameOrTaken() error {
	old := s.l.Source[s.name]
	taken := &failure{
		What: "[source." + s.name + "]", Why: "the configuration has another source of this name", Code: exitUsage,
		Do: "choose another name: --name NAME\nfor new keys of the same source: studyfs auth " + quote(s.name),
	}
	now := s.c
	if now.inHand = s.hand; s.proof != nil {
		now.inHand = s.proof
	}
	if old.Kind != s.c.Kind || old.Keyring != now.Keyring || old.Section != now.Section {
		return taken
	}
	this, _, err := s.l.build(s.name, now, exitUsage)
	if err != nil {
		return err
	}
	if sameSection := old.Kind == kindBeiwe && old.Keys == "" && s.hand == nil; !sameSection {
		before, _, err := s.l.build(s.name, old, exitConfig)
		if err != nil || before.id() != this.id() {
			return taken
		}
	}
	s.known, s.spec = true, this
	s.say("[source." + s.name + "] is in " + s.l.path + " already: nothing has to be written (new keys: studyfs auth " + quote(s.name) + ")")
	return nil
}
