package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"studyfs/backends/beiwe"
	"studyfs/cmd/studyfs/tomlfile"
)

// configMistake is one thing that is wrong with a configuration file.
type configMistake struct {
	Line int    `json:"line,omitempty"` // from 1; 0: of the file as a whole
	Key  string `json:"key,omitempty"`  // the dotted path; "" where the text is not TOML
	Why  string `json:"why"`
}

// configReport is what config check --json prints.
type configReport struct {
	Schema   int             `json:"schema"`
	File     string          `json:"file"`
	Exists   bool            `json:"exists"`
	Sources  int             `json:"sources"`
	Mistakes []configMistake `json:"mistakes"`
}

// mostSyntax is how many lines that are not TOML are told of: what follows a quote that was never closed is nobody's mistake.
const mostSyntax = 10

// configCheck finds all mistakes of a text, where load stops at the first.
type configCheck struct {
	lines map[string]int
	found []configMistake
}

func checkConfigText(text []byte) []configMistake {
	c := &configCheck{}
	tree, text := c.parse(text)
	c.lines = tomlfile.Lines(text)
	c.walk("", tree)
	c.sources(tree)
	slices.SortStableFunc(c.found, func(a, b configMistake) int { return cmp.Compare(a.Line, b.Line) })
	return c.found
}

func (c *configCheck) add(key, format string, args ...any) {
	line := c.lines[key]
	for up := key; line == 0 && up != ""; line = c.lines[up] { // of a table in a line, the line
		up = up[:max(strings.LastIndexByte(up, '.'), 0)]
	}
	c.found = append(c.found, configMistake{Line: line, Key: key, Why: fmt.Sprintf(format, args...)})
}

// parse reads the text; a line that is not TOML is told of and left out, so that those behind it are read, too.
func (c *configCheck) parse(text []byte) (map[string]any, []byte) {
	lines := strings.Split(string(text), "\n")
	for {
		var tree map[string]any
		text = []byte(strings.Join(lines, "\n"))
		err := toml.Unmarshal(text, &tree)
		if err == nil {
			return tree, text
		}
		why := configMistake{Why: strings.TrimPrefix(err.Error(), "toml: ")}
		if wrong, is := errors.AsType[*toml.DecodeError](err); is {
			why.Line, _ = wrong.Position()
		}
		c.found = append(c.found, why)
		if why.Line < 1 || why.Line > len(lines) || strings.TrimSpace(lines[why.Line-1]) == "" || len(c.found) == mostSyntax {
			return nil, text
		}
		lines[why.Line-1] = ""
	}
}

// walk looks at every key of a table, and takes out of it what is wrong.
func (c *configCheck) walk(prefix string, table map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path, value := prefix+key, table[key]
		sub, isTable := value.(map[string]any)
		switch {
		case isTable && (path == "source" || isTableName(path)):
			c.walk(path+".", sub)
			continue
		case !isSettingName(path):
			what := "key"
			if isTable {
				what = "table"
			}
			c.add(path, "unknown %s %q%s", what, path, meant(strings.Split(path, ".")))
		default:
			err := decodeOne(path, value)
			if err == nil {
				continue
			}
			c.add(path, "%s: %s", path, strings.TrimPrefix(err.Error(), "toml: "))
		}
		delete(table, key)
	}
}

// decodeOne reads one setting as the file's reader does.
func decodeOne(path string, value any) error {
	parts := strings.Split(path, ".")
	for _, part := range slices.Backward(parts) {
		value = map[string]any{part: value}
	}
	text, err := toml.Marshal(value)
	if err != nil {
		return err
	}
	c := newConfig()
	if err := toml.Unmarshal(text, c); err != nil {
		return err
	}
	if err := c.readTexts(); err != nil {
		for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) { // the caller names the key
			err = cause
		}
		return err
	}
	return nil
}

// isSettingName tells a setting's path; that of a source may hold any name.
func isSettingName(path string) bool {
	return slices.Contains(settingPaths(path), sourceless(path))
}

// isTableName tells a table's path.
func isTableName(path string) bool {
	rest := sourceless(path)
	if strings.HasPrefix(path, "source.") && rest == "" {
		return true
	}
	return slices.ContainsFunc(settingPaths(path), func(s string) bool { return strings.HasPrefix(s, rest+".") })
}

// sourceless is a path without source.NAME in front.
func sourceless(path string) string {
	if below, ok := strings.CutPrefix(path, "source."); ok {
		_, rest, _ := strings.Cut(below, ".")
		return rest
	}
	return path
}

// settingPaths are those that may stand where path stands, sourceless.
func settingPaths(path string) []string {
	all := settingsOf(newConfig())
	if strings.HasPrefix(path, "source.") {
		all = settingsOf(&sourceConfig{Video: &targetConfig{}, EDF: &targetConfig{}, Archive: &targetConfig{}, NAS: &targetConfig{}})
	}
	paths := make([]string, 0, len(all))
	for _, s := range all {
		paths = append(paths, s.path)
	}
	return paths
}

// sources looks at each source as a whole: what is left of tree is right by itself.
func (c *configCheck) sources(tree map[string]any) {
	text, err := toml.Marshal(tree)
	if err != nil {
		return // what cannot be written was not read
	}
	config := newConfig()
	if err := toml.Unmarshal(text, config); err != nil {
		c.add("", "%s", strings.TrimPrefix(err.Error(), "toml: "))
		return
	}
	for _, name := range slices.Sorted(maps.Keys(config.Source)) {
		at := "source." + name
		s := config.Source[name]
		if err := s.validate(name); err != nil && !c.blames(at, err) {
			c.add(c.about(at, err), "[%s]: %s", at, err)
		}
		for key, err := range s.slips() {
			c.add(at+"."+key, "%s.%s: %s", at, key, err)
		}
	}
}

// blames reports whether err says that a key is missing that stands there, but wrong: that was told.
func (c *configCheck) blames(at string, err error) bool {
	key, _, ok := strings.Cut(err.Error(), " is missing")
	return ok && slices.ContainsFunc(c.found, func(m configMistake) bool { return m.Key == at+"."+key })
}

// about finds the key that a message begins with.
func (c *configCheck) about(at string, err error) string {
	word, _, _ := strings.Cut(err.Error(), " ")
	if key := at + "." + strings.TrimSuffix(word, ":"); c.lines[key] > 0 {
		return key
	}
	return at
}

// slips are mistakes in single values that are found without asking anybody; by key.
func (c sourceConfig) slips() map[string]error {
	found := map[string]error{}
	note := func(key string, err error) {
		if err != nil {
			found[key] = err
		}
	}
	if c.URL != "" {
		note("url", c.wrongURL())
	}
	if err := checkEndpoint(c.EndpointURL); err != nil {
		note("endpoint-url", errors.New(asFailure("", err).Why))
	}
	note("keys", wrongKeys(c.Keys))
	for key, ref := range map[string]string{
		"identity": c.Identity, "password": c.Password, "words": c.Words, "words-secret": c.WordsSecret, "date-shift-secret": c.ShiftSecret, "cache-key": c.CacheKey,
	} {
		if ref != "" && !isReference(ref) {
			note(key, errors.New("does not say where it is; write file:PATH, keyring:NAME or cmd:COMMAND"))
		}
	}
	for key, day := range map[string]string{"since": c.Since, "until": c.Until} {
		if day != "" {
			_, err := beiwe.ParseDay(day)
			note(key, err)
		}
	}
	for key, names := range map[string]nameList{"streams": c.Streams, "lock": c.Lock} {
		note(key, unknownStream(names))
	}
	return found
}

func (c sourceConfig) wrongURL() (err error) {
	switch c.Kind {
	case kindAzure:
		_, _, _, err = splitAzure(c.URL)
	case kindDir:
		_, err = buildDir("x", c, exitConfig)
		if err != nil {
			err = errors.New(asFailure("", err).Why)
		}
	case kindS3, kindEmpatica, kindHCP:
		_, _, _, err = splitURL(c.URL)
	}
	return err
}

// wrongKeys refuses keys in the place of a reference to them, without showing them.
func wrongKeys(ref string) error {
	if ref == "" || isReference(ref) || !strings.Contains(ref, ":") && !looksSecret(ref) {
		return nil
	}
	return errors.New("does not say where the keys are; write file:KEYS.csv, keyring:NAME, aws-profile:NAME or cmd:COMMAND")
}

// isReference tells a reference to a secret from what may be the secret itself.
func isReference(text string) bool {
	scheme, rest, _ := strings.Cut(text, ":")
	switch scheme {
	case "file", "cmd", refKeyring, "aws-profile":
		return rest != ""
	case "prompt", "passphrase", "ephemeral":
		return true
	}
	return false
}

func unknownStream(names nameList) error {
	known := beiwe.Streams()
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		if near := nearest(name, known); near != "" {
			return fmt.Errorf("no Beiwe server has a stream %q; did you mean %q?", name, near)
		}
		return fmt.Errorf("no Beiwe server has a stream %q", name)
	}
	return nil
}
