package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
)

// mountOrigin is what a mount was put together from, to look again when somebody asks for that.
type mountOrigin struct {
	Config string            `json:"config"` // the file, absolute
	Flags  map[string]string `json:"flags,omitempty"`
	Names  []string          `json:"names"`         // of the mount's sources in the configuration, in order; "" of one that was given by its address
	All    bool              `json:"all,omitempty"` // it shows all sources of the configuration
}

// origin notes what a mount of args comes from.
func (l *loaded) origin(args []string) *mountOrigin {
	o := &mountOrigin{Config: l.path, Flags: l.given.flags, All: len(args) == 0}
	if path, err := filepath.Abs(l.path); err == nil {
		o.Config = path
	}
	if o.All {
		o.Names = slices.Sorted(maps.Keys(l.Source))
		return o
	}
	for _, arg := range args {
		if _, named := l.Source[arg]; !named {
			arg = ""
		}
		o.Names = append(o.Names, arg)
	}
	return o
}

// reloadStatus is how the last reading of the configuration went, in status.
type reloadStatus struct {
	At       time.Time `json:"at"`
	OK       bool      `json:"ok"`                   // false: the configuration is broken, and that of before is in force
	Why      string    `json:"why,omitempty"`        // what is wrong with it
	Applied  []string  `json:"applied,omitempty"`    // settings that have changed and are in force
	Later    []string  `json:"next_mount,omitempty"` // settings that have changed and need a new mount
	Problems []string  `json:"problems,omitempty"`   // changes that could not be made
}

// reloader reads the configuration again, and changes keys, for a mount that goes on. All that it does is done by run, one thing after the other.
type reloader struct {
	m    *mountServer
	read func() (*loaded, error) // nil: there is nothing to read again, as of a demo
	now  *loaded                 // what is in force, or will be with the next mount
	keys map[string]sourceSpec   // by the source's name in the mount: the keys in use
	jobs chan func(context.Context)

	mu   sync.Mutex // guards last; a leaf
	last *reloadStatus
}

// newReloader reads the configuration once, to know later what has changed.
func newReloader(m *mountServer, env environment) *reloader {
	r := &reloader{m: m, keys: map[string]sourceSpec{}, jobs: make(chan func(context.Context))}
	for _, s := range m.spec.Sources {
		r.keys[s.Name] = s
	}
	o := m.spec.Origin
	if o == nil {
		return r
	}
	for _, file := range []string{o.Config, ""} { // there need not be a file
		read := func() (*loaded, error) { return load(env, &given{flags: o.Flags, file: file}) }
		if now, err := read(); err == nil {
			r.now, r.read = now, read
			break
		}
	}
	return r
}

// run does what is asked of it until ctx ends.
func (r *reloader) run(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-hangups:
			if r.read != nil {
				r.reload(ctx)
			}
		case job := <-r.jobs:
			job(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// status is how the last reading went; nil: there was none.
func (r *reloader) status() *reloadStatus {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// reload reads the configuration and does what of it can be done now.
func (r *reloader) reload(ctx context.Context) {
	s := &reloadStatus{At: time.Now().UTC(), OK: true}
	fresh, err := r.read()
	if err != nil {
		s.OK, s.Why = false, asFailure("", err).Error()
		r.m.log.ErrorContext(ctx, "the configuration has mistakes: that of before stays in force", "why", asFailure("", err).Why)
	} else {
		before := r.now
		r.now = fresh
		r.applyChanges(before, fresh, s)
		for i, name := range r.m.spec.Origin.Names {
			if i < len(r.m.sources) && name != "" {
				r.readKeys(ctx, fresh, name, r.m.sources[i], s)
			}
		}
		r.m.log.InfoContext(ctx, "read the configuration again", "in force", bareNames(s.Applied), "with the next mount", bareNames(s.Later), "problems", len(s.Problems))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = s
}

// bareNames are settings without the names of sources, which logs need not tell.
func bareNames(paths []string) string {
	var all []string
	for _, path := range paths {
		if name := sourceless(path); name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}

// applyChanges compares two configurations and changes what can be changed.
func (r *reloader) applyChanges(before, fresh *loaded, s *reloadStatus) {
	was, is := r.values(before), r.values(fresh)
	paths := slices.Sorted(maps.Keys(is))
	for _, path := range slices.Sorted(maps.Keys(was)) {
		if _, still := is[path]; !still {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if was[path] == is[path] || keySetting(path) {
			continue
		}
		if r.apply(path, fresh) {
			s.Applied = append(s.Applied, path)
		} else {
			s.Later = append(s.Later, path)
		}
	}
}

// keySetting tells the settings that lead to keys: those are read again in any case.
func keySetting(path string) bool {
	return strings.HasPrefix(path, "source.") && slices.Contains([]string{"keys", "profile"}, sourceless(path))
}

// values are the settings that concern this mount, as text, by path.
func (r *reloader) values(l *loaded) map[string]string {
	all := map[string]string{}
	for _, s := range settingsOf(&l.config) {
		all[s.path] = s.String()
	}
	for name := range l.Source {
		if !r.m.spec.Origin.All && !slices.Contains(r.m.spec.Origin.Names, name) {
			continue
		}
		c, err := l.source(name)
		if err != nil {
			continue // load has read the same variables and flags
		}
		for _, s := range settingsOf(&c) {
			all["source."+name+"."+s.path] = s.String()
		}
	}
	return all
}

// apply puts one setting in force, and reports whether it could.
func (r *reloader) apply(path string, fresh *loaded) bool {
	switch path {
	case "log.level":
		r.m.live.level.Set(slog.Level(fresh.Log.Level))
		return true
	case "read-ahead-files":
		files := fresh.ReadAhead
		if files == 0 {
			files = -1
		}
		for _, s := range r.m.sources {
			if s.store != nil {
				s.store.SetFiles(files)
			}
		}
		return true
	}
	switch sourceless(path) {
	case "upload-bandwidth", "bandwidth":
		return r.applyBandwidth(path, fresh)
	}
	return false
}

func (r *reloader) applyBandwidth(path string, fresh *loaded) bool {
	for i, name := range r.m.spec.Origin.Names {
		own, ok := strings.CutPrefix(path, "source."+name+".")
		if i >= len(r.m.sources) || !ok {
			continue
		}
		c, err := fresh.source(name)
		s := r.m.sources[i]
		switch {
		case err != nil:
		case own == "bandwidth" && s.store != nil:
			s.store.SetBandwidth(int64(c.Bandwidth))
			return true
		case own == "upload-bandwidth" && s.writing != nil && s.writing.uploader != nil:
			s.writing.uploader.SetBandwidth(int64(c.UploadBandwidth))
			return true
		}
	}
	return false
}

// readKeys gives a source the keys that the configuration leads to now, if they are others.
func (r *reloader) readKeys(ctx context.Context, fresh *loaded, name string, live *liveSource, s *reloadStatus) {
	at := "source." + name
	if _, still := fresh.Source[name]; !still {
		s.Problems = append(s.Problems, at+": it is not in the configuration any more; it stays mounted as it was")
		return
	}
	c, err := fresh.source(name)
	if err != nil || needsPassphrase(c, fresh.env) {
		return
	}
	spec, _, err := fresh.build(name, c, exitConfig) //nolint:contextcheck // a command that prints keys has its own patience
	if err == nil {
		elsewhere := spec.Beiwe == nil && live.spec.id() != spec.id() // told of by its settings
		if elsewhere || sameKeys(r.keys[live.spec.Name], spec) {
			return
		}
		err = r.give(ctx, live, spec)
	}
	if err != nil {
		s.Problems = append(s.Problems, at+": the new keys are not taken: "+asFailure("", explainKeys(spec, err)).Error())
		return
	}
	s.Applied = append(s.Applied, at+".keys")
}

// give gives a source other keys. Where the service refuses them, those of before stay in use.
func (r *reloader) give(ctx context.Context, live *liveSource, fresh sourceSpec) error {
	before := r.keys[live.spec.Name]
	err := r.m.takeKeys(ctx, live, fresh)
	if errors.Is(err, backends.ErrAuth) || errors.Is(err, backends.ErrPermission) {
		return errors.Join(err, r.m.takeBack(ctx, live, before))
	}
	if err == nil {
		r.keys[live.spec.Name] = fresh
	}
	return err
}

// needsPassphrase tells that somebody would have to be asked for the keys; studyfs auth does.
func needsPassphrase(c sourceConfig, env environment) bool {
	return c.Kind == kindBeiwe && c.Keys == "" && c.Section != "" && env.get(envKeyringPass) == ""
}

// explainKeys says what a service or a file has against keys.
func explainKeys(spec sourceSpec, err error) error {
	if spec.Kind == "" { // they could not even be read
		return err
	}
	return explainSource(spec, err)
}

// sameKeys tells whether two readings of a source have the same keys.
func sameKeys(a, b sourceSpec) bool {
	if len(a.Targets) != len(b.Targets) {
		return false
	}
	for i := range a.Targets {
		if !sameKeys(a.Targets[i].Source, b.Targets[i].Source) {
			return false
		}
	}
	return slices.Equal(a.keysInUse(), b.keysInUse())
}

// keysInUse are what opens a source, in clear.
func (s sourceSpec) keysInUse() []string {
	all := []string{s.Profile, strconv.FormatBool(s.Anonymous), string(s.KeysCSV)}
	if s.Azure != nil {
		all = append(all, s.Azure.Key)
	}
	if s.Beiwe != nil {
		all = append(all, s.Beiwe.AccessKey, s.Beiwe.SecretKey)
	}
	return all
}

// rekeyAll gives the sources that spec is of its keys, which somebody has just brought, and returns how many there are.
func (m *mountServer) rekeyAll(ctx context.Context, spec sourceSpec) (taken int, err error) {
	done := make(chan struct{})
	job := func(running context.Context) {
		defer close(done)
		for _, s := range m.sources {
			if err != nil || !s.takesKeysOf(spec) {
				continue
			}
			if err = m.reloader.give(running, s, spec); err == nil {
				taken++
			}
		}
	}
	select {
	case m.reloader.jobs <- job:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case <-done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err != nil {
		return taken, explainSource(spec, err)
	}
	return taken, nil
}

// takesKeysOf tells whether spec is of the same place. Two accounts of one Beiwe server are told apart by their names.
func (s *liveSource) takesKeysOf(spec sourceSpec) bool {
	if s.rekey == nil || s.spec.Kind != spec.Kind {
		return false
	}
	if spec.Beiwe != nil {
		return s.spec.Name == spec.Name && s.spec.Beiwe.Server == spec.Beiwe.Server
	}
	return s.spec.id() == spec.id()
}

// print tells of a reloading in status; of one that changed all that it should, nothing.
func (r *reloadStatus) print(w io.Writer) {
	if r == nil {
		return
	}
	lines := slices.Clone(r.Problems)
	if !r.OK {
		lines = append(lines, "the configuration has mistakes, that of before is in force: "+firstLine(r.Why))
	}
	if len(r.Later) > 0 {
		lines = append(lines, "with the next mount: "+strings.Join(r.Later, ", "))
	}
	for _, text := range lines {
		fmt.Fprintf(w, "  %s\n", strings.ReplaceAll(text, "\n", "\n  ")) //nolint:errcheck // said already
	}
}
