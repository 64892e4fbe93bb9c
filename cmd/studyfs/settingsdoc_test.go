package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// What docs/settings.md says is what the program does: it is made from the same table.
func TestSettingsPage(t *testing.T) {
	const path = "../../docs/settings.md"
	text, err := os.ReadFile(path)
	if err != nil || string(text) != settingsPage() {
		t.Errorf("%s is not what the table of settings says (%v): go generate ./cmd/studyfs", path, err)
	}
}

// sampleOf is a value that a setting does not have by itself, as text.
func sampleOf(s setting) string {
	if len(s.values) > 0 {
		return s.values[len(s.values)-1]
	}
	switch s.kind() {
	case "bool":
		return "true"
	case "number":
		return "7"
	case "size":
		return "7MiB"
	case "time":
		return "7s"
	case "address":
		return "127.0.0.1:7"
	}
	switch s.path {
	case "owner":
		return "123456789012"
	case "time-zone":
		return "Europe/Berlin"
	}
	return "seven"
}

// tomlOf is a configuration that gives one setting.
func tomlOf(s setting, table, text string) string {
	path := s.path
	if head, tail, ok := strings.Cut(s.path, "."); ok {
		table, path = "["+head+"]\n", tail
	}
	switch s.kind() {
	case "bool", "number":
	case "names":
		text = fmt.Sprintf("[%q]", text)
	default:
		text = fmt.Sprintf("%q", text)
	}
	return table + path + " = " + text + "\n"
}

// A flag, a variable and a key of the configuration that look alike are the same setting.
func TestSettingsAreTheSameThreeWays(t *testing.T) {
	valueOf := func(l *loaded, source bool, path string) string {
		var pointer any = &l.config
		if source {
			c, err := l.source("x")
			if err != nil {
				t.Fatal(err)
			}
			pointer = &c
		}
		for _, s := range settingsOf(pointer) {
			if s.path == path {
				return s.String()
			}
		}
		return ""
	}
	for i, g := range settingsGroups()[:2] {
		for _, s := range g.settings {
			text := sampleOf(s)
			fresh := setting{value: reflect.New(s.value.Type()).Elem()}
			if err := fresh.set(text); err != nil {
				t.Errorf("%s does not take %q: %v", s.path, text, err)
				continue
			}
			table := ""
			if i == 1 {
				table = "[source.x]\n"
				if s.path != "kind" {
					table += "kind = \"hcp\"\n"
				}
			}
			l := &loaded{config: *newConfig(), origins: map[string]string{}, given: &given{}, env: environment{lookup: func(string) (string, bool) { return "", false }}}
			if err := decode([]byte(tomlOf(s, table, text)), &l.config); err != nil && !strings.Contains(err.Error(), "[source.x]") {
				t.Errorf("%s in the configuration: %v", s.path, err)
			} else if got := valueOf(l, i == 1, s.path); got != fresh.String() {
				t.Errorf("%s = %s in the configuration is %q", s.path, text, got)
			}
			if !g.hasFlag(s) {
				continue
			}
			env := environment{lookup: func(name string) (string, bool) {
				if name == s.variable() {
					return text, true
				}
				return "", false
			}}
			for way, l := range map[string]*loaded{
				s.variable():    {config: *newConfig(), origins: map[string]string{}, env: env, given: &given{}},
				"--" + s.flag(): {config: *newConfig(), origins: map[string]string{}, env: environment{lookup: func(string) (string, bool) { return "", false }}, given: &given{flags: map[string]string{s.flag(): text}}},
			} {
				if err := l.overlay("", &l.config); err != nil {
					t.Errorf("%s: %v", way, err)
				}
				if got := valueOf(l, i == 1, s.path); got != fresh.String() || len(l.origins) == 0 && i == 0 {
					t.Errorf("%s: %q is taken as %q", way, text, got)
				}
			}
		}
	}
}

// Commands that take some of a source's flags (mb, cat) take those that exist.
func TestPartsOfTheTable(t *testing.T) {
	known := map[string]string{}
	for _, s := range settingsOf(&sourceConfig{}) {
		known[s.path] = s.kind()
	}
	for _, part := range []any{&mbFlags{}, &catFlags{}} {
		for _, s := range settingsOf(part) {
			if known[s.path] != s.kind() {
				t.Errorf("%T has %s, a %s, where a source has a %q", part, s.path, s.kind(), known[s.path])
			}
		}
	}
}
