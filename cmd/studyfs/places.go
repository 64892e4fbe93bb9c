package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// places are the directories that studyfs keeps things in. Each is 0700.
type places struct {
	cache   string // what can be fetched again: one directory per source below it
	state   string // what must survive: logs, what is known of each source
	runtime string // control sockets
}

// findPlaces follows the XDG rules; settings win.
func findPlaces(env environment, cacheDir, stateDir string) (places, error) {
	p := places{cache: cacheDir, state: stateDir}
	var err error
	if p.cache == "" {
		if p.cache, err = env.xdg("XDG_CACHE_HOME", ".cache"); err != nil {
			return p, err
		}
	}
	if p.state == "" {
		if p.state, err = env.xdg("XDG_STATE_HOME", ".local/state"); err != nil {
			return p, err
		}
	}
	for _, dir := range []*string{&p.cache, &p.state} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return p, fmt.Errorf("working directory: %w", err)
		}
	}
	p.runtime = filepath.Join(p.state, "run")
	if dir := env.get("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			p.runtime = filepath.Join(dir, "studyfs")
		}
	}
	return p, nil
}

func (p places) cacheOf(sourceID string) string {
	return filepath.Join(p.cache, sourceID)
}

func (p places) stateOf(sourceID string) string {
	return filepath.Join(p.state, sourceID)
}

func (p places) log(name string) string {
	return filepath.Join(p.state, "log", name+".log")
}

func (p places) socketOf(dir string) string {
	return filepath.Join(p.runtime, hashOf(dir)+".sock")
}

// make creates the directories, and marks the cache so that backup programs leave it out.
func (p places) make() error {
	for _, dir := range []string{p.cache, p.state, p.runtime, filepath.Join(p.state, "log")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &failure{
				What: "cannot create " + dir, Why: lastCause(err),
				Do: "choose other places with --cache-dir and --state-dir", Code: exitCannotCreate,
			}
		}
	}
	tag := filepath.Join(p.cache, "CACHEDIR.TAG")
	const text = "Signature: 8a477f597d28d172789f06886806bc55\n" +
		"# A cache of studyfs. Its contents can be fetched again. See https://bford.info/cachedir/\n"
	if _, err := os.Lstat(tag); errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(tag, []byte(text), 0o600); err != nil {
			return &failure{What: "cannot write to " + p.cache, Why: lastCause(err), Do: "choose another place with --cache-dir", Code: exitCannotCreate}
		}
	}
	return nil
}

// hashOf makes a file name of a path or of parts of an identity. 64 bits: collisions are between one user's mounts.
func hashOf(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part) //nolint:errcheck // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// environment is what the process was started with; tests give their own.
type environment struct {
	lookup func(string) (string, bool)
	uid    int
}

func (e environment) get(key string) string {
	value, _ := e.lookup(key)
	return value
}

// xdg returns the directory studyfs below what the variable names, or below the default under the home directory.
func (e environment) xdg(variable, fallback string) (string, error) {
	if dir := e.get(variable); filepath.IsAbs(dir) { // the XDG rules say to ignore relative ones
		return filepath.Join(dir, "studyfs"), nil
	}
	home := e.get("HOME")
	if !filepath.IsAbs(home) {
		if e.uid != 0 {
			return "", &failure{
				What: "cannot tell where to keep things", Why: "neither HOME nor " + variable + " is set for user " + strconv.Itoa(e.uid),
				Do: "set HOME, or use --cache-dir, --state-dir and --config", Code: exitConfig,
			}
		}
		home = "/root"
	}
	return filepath.Join(home, fallback, "studyfs"), nil
}
