package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testEnv is an environment with a home of its own.
func testEnv(t *testing.T, pairs ...string) environment {
	t.Helper()
	values := map[string]string{"HOME": t.TempDir()}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return environment{lookup: func(k string) (string, bool) { v, ok := values[k]; return v, ok }, uid: 1000}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func codeOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.Code
	}
	if err == nil {
		return exitOK
	}
	return exitError
}

const sampleConfig = `
memory = "64MiB"

[cache]
size = "1GiB"

[source.lab]
kind = "s3"
url = "s3://lab-data/study1/"
profile = "lab"
region = "eu-west-1"
`

func TestPrecedence(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), sampleConfig, 0o600)
	env := testEnv(t, "STUDYFS_CONFIG", path, "STUDYFS_CACHE_SIZE", "2GiB", "STUDYFS_MEMORY", "128MiB", "STUDYFS_REGION", "us-east-2")
	l, err := load(env, &given{flags: map[string]string{"memory": "512MiB", "profile": "mine"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Memory, byteSize(512<<20); got != want {
		t.Errorf("memory = %v; want %v: flags win", got, want)
	}
	if got, want := l.Cache.Size, byteSize(2<<30); got != want {
		t.Errorf("cache.size = %v; want %v: the environment wins over the file", got, want)
	}
	c, err := l.source("lab")
	if err != nil {
		t.Fatal(err)
	}
	if c.URL != "s3://lab-data/study1/" || c.Profile != "mine" || c.Region != "us-east-2" {
		t.Errorf("source = %+v; want the file's url, the flag's profile, the environment's region", c)
	}
	want := map[string]string{"memory": "--memory", "cache.size": "STUDYFS_CACHE_SIZE", "source.lab.url": path + ":9", "source.lab.region": "STUDYFS_REGION"}
	for key, from := range want {
		if got := l.origins[key]; got != from {
			t.Errorf("origin of %s = %q; want %q", key, got, from)
		}
	}
}

func TestConfigMistakes(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":          {"[cache]\nsise = \"1G\"\n", `line 2, column 1: unknown key "cache.sise"; did you mean "cache.size"?`},
		"unknown top key":      {"memroy = \"1G\"\n", `line 1, column 1: unknown key "memroy"; did you mean "memory"?`},
		"unknown source key":   {"[source.x]\nkind = \"hcp\"\nprofil = \"p\"\n", `line 3, column 1: unknown key "source.x.profil"; did you mean "source.x.profile"?`},
		"unknown table":        {"[cahce]\nsize = \"1G\"\n", `did you mean "cache`},
		"wrong size":           {"memory = \"much\"\n", "line 1"},
		"wrong type":           {"memory = true\n", "is not a size"},
		"not toml":             {"memory = \n", "line 1"},
		"kind missing":         {"[source.x]\nurl = \"s3://b/\"\n", "[source.x]: kind is missing"},
		"kind unknown":         {"[source.x]\nkind = \"ftp\"\n", `kind "ftp" is not one of`},
		"s3 without url":       {"[source.x]\nkind = \"s3\"\n", "url is missing"},
		"azure without url":    {"[source.x]\nkind = \"azure\"\n", "url is missing"},
		"empatica without key": {"[source.x]\nkind = \"empatica\"\n", "keys is missing"},
		"name with slash":      {"[source.\"a/b\"]\nkind = \"hcp\"\n", "the name becomes a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), c.text, 0o600)
			_, err := load(testEnv(t), &given{file: path})
			if codeOf(err) != exitConfig || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("got %v (exit %d); want exit %d, %q", err, codeOf(err), exitConfig, c.want)
			}
		})
	}
}

func TestConfigFileMissing(t *testing.T) {
	if _, err := load(testEnv(t), &given{}); err != nil {
		t.Errorf("without a configuration: %v; want none needed", err)
	}
	if _, err := load(testEnv(t), &given{file: "/nonexistent.toml"}); codeOf(err) != exitConfig {
		t.Errorf("--config of a missing file: %v; want exit %d", err, exitConfig)
	}
	if _, err := load(testEnv(t, "STUDYFS_MEMORY", "lots"), &given{}); codeOf(err) != exitConfig || !strings.Contains(err.Error(), "STUDYFS_MEMORY") {
		t.Errorf("wrong STUDYFS_MEMORY: %v; want its name and exit %d", err, exitConfig)
	}
}

func TestPlaces(t *testing.T) {
	runtime := t.TempDir()
	env := testEnv(t, "XDG_CACHE_HOME", "/c", "XDG_STATE_HOME", "relative/is/ignored", "XDG_RUNTIME_DIR", runtime)
	p, err := findPlaces(env, "", "")
	if err != nil {
		t.Fatal(err)
	}
	want := places{cache: "/c/studyfs", state: env.get("HOME") + "/.local/state/studyfs", runtime: runtime + "/studyfs"}
	if p != want {
		t.Errorf("got %+v; want %+v", p, want)
	}
	if p, err = findPlaces(testEnv(t), "/a", "/b"); err != nil || p != (places{cache: "/a", state: "/b", runtime: "/b/run"}) {
		t.Errorf("got %+v, %v; want what was given, sockets below the state directory", p, err)
	}
	noHome := environment{lookup: func(string) (string, bool) { return "", false }, uid: 1000}
	if _, err := findPlaces(noHome, "", ""); codeOf(err) != exitConfig {
		t.Errorf("without HOME: %v; want exit %d", err, exitConfig)
	}
}

func TestPlacesAreMadePrivate(t *testing.T) {
	dir := t.TempDir()
	p := places{cache: dir + "/c", state: dir + "/s", runtime: dir + "/r"}
	if err := p.make(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{p.cache, p.state, p.runtime} {
		info, err := os.Stat(d)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want 0700", d, info.Mode(), err)
		}
	}
	tag, err := os.ReadFile(p.cache + "/CACHEDIR.TAG")
	if err != nil || !strings.HasPrefix(string(tag), "Signature: 8a477f597d28d172789f06886806bc55") {
		t.Errorf("CACHEDIR.TAG = %q, %v", tag, err)
	}
}
