package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage"
	"studyfs/cache/stage/gate"
)

// briefLock is how long a stage may be held by somebody who only looks at it, too.
const briefLock = 300 * time.Millisecond

// stageRef is one stage: of a running mount, or lying on disk with nobody to serve it.
type stageRef struct {
	id     string     // of the source
	socket string     // of the mount that serves it; "" without one
	dir    string     // that mount's directory
	spec   sourceSpec // without one: how to reach the source, by the configuration or by what was remembered

	report stageReport // how it was found
}

// findStages lists the stages of this user: those that mounts serve, and those on disk. Each is asked with q.
func (a *app) findStages(ctx context.Context, l *loaded, q uploadsRequest) ([]stageRef, error) {
	p, err := findPlaces(l.env, l.Cache.Dir, l.State.Dir)
	if err != nil {
		return nil, err
	}
	all := servedStages(ctx, p, q)
	served := map[string]bool{}
	for _, ref := range all {
		served[ref.id] = true
	}
	dirs, err := filepath.Glob(p.stageOf("*"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", p.state, err)
	}
	for _, dir := range dirs {
		id := filepath.Base(filepath.Dir(dir))
		if served[id] {
			continue
		}
		ref := stageRef{id: id, spec: l.specOfStage(p, id)} //nolint:contextcheck // a command that prints keys has a limit of its own
		if err = l.readable(id); err == nil {
			ref.report, err = ref.ask(ctx, a, l, q)
		}
		if err != nil {
			ref.report = stageReport{Error: asFailure("", err).Why, PID: ref.report.PID}
		}
		ref.report.ID, ref.report.Source, ref.report.URL = id, ref.spec.Name, ref.spec.url()
		all = append(all, ref)
	}
	return all, nil
}

// servedStages asks every mount.
func servedStages(ctx context.Context, p places, q uploadsRequest) []stageRef {
	var all []stageRef
	sockets, err := filepath.Glob(filepath.Join(p.runtime, "*.sock"))
	if err != nil {
		return nil
	}
	for _, socket := range sockets {
		all = append(all, stagesOf(ctx, socket, q)...)
	}
	slices.SortFunc(all, func(a, b stageRef) int { return strings.Compare(a.dir, b.dir) })
	return all
}

// stagesOf asks one mount.
func stagesOf(ctx context.Context, socket string, q uploadsRequest) []stageRef {
	var all []stageRef
	r, err := ask(ctx, socket, request{Op: "uploads", Uploads: &q})
	if err != nil { // of an earlier version, or just going
		return nil
	}
	for _, report := range r.Uploads {
		all = append(all, stageRef{id: report.ID, socket: socket, dir: report.Dir, report: report})
	}
	return all
}

// specOfStage finds out how to reach the source of a stage: the configuration may have newer keys than what was
// remembered when it was last written to.
func (l *loaded) specOfStage(p places, id string) sourceSpec {
	spec := l.specByConfig(p, id)
	if spec.Gate != nil {
		return spec
	}
	if text, err := l.targetOfStage(p, id); err == nil { // the rules may have been given with the mount
		if was, ok := parseTarget(text); ok {
			spec.Gate = was.Gate
		}
	}
	return spec
}

func (l *loaded) specByConfig(p places, id string) sourceSpec {
	for _, name := range slices.Sorted(maps.Keys(l.Source)) {
		c, err := l.source(name)
		if err != nil || !takesFiles(c.Kind) {
			continue
		}
		c.Write = true
		if spec, _, err := l.build(name, c, exitConfig); err == nil && spec.id() == id {
			if spec.Write == nil { // --read-only is about mounts
				spec.Write = &writeSpec{}
			}
			return spec
		}
	}
	if text, err := l.targetOfStage(p, id); err == nil {
		if spec, ok := parseTarget(text); ok && spec.id() == id {
			return spec
		}
	}
	k := p.recall(id)
	bucket, prefix, _, _ := splitURL(k.URL) // empty if nothing is known: that is said when it is used
	return sourceSpec{Name: id, Kind: kindS3, Bucket: bucket, Prefix: prefix, Region: k.Region, Write: &writeSpec{}}
}

// target is how to reach a source again, for the header of its stage. It holds no keys.
func (s sourceSpec) target() string {
	s.Targets = slices.Clone(s.Targets) // the keys of the original stay
	for _, one := range s.eachSpec() {
		one.KeysCSV, one.Crypt, one.Gate, one.AtRest, one.StageKey = nil, one.Crypt.withoutSecrets(), one.Gate.withoutSecrets(), nil, nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return s.url()
	}
	return string(text)
}

func parseTarget(text string) (s sourceSpec, ok bool) {
	return s, json.Unmarshal([]byte(text), &s) == nil && s.Write != nil
}

// ask has one stage do something: by the mount that serves it, or here.
func (r stageRef) ask(ctx context.Context, a *app, l *loaded, q uploadsRequest) (stageReport, error) {
	q.Source = r.id
	if r.socket == "" {
		return a.askUnserved(ctx, l, r.spec, q)
	}
	answer, err := ask(ctx, r.socket, request{Op: "uploads", Uploads: &q})
	if errors.Is(err, errNoMount) {
		return stageReport{}, &failure{What: r.dir, Why: "the mount went away", Do: "try again", Code: exitTryAgain}
	}
	if err != nil {
		return stageReport{}, err
	}
	if len(answer.Uploads) != 1 {
		return stageReport{}, fmt.Errorf("control socket: %d answers for one stage", len(answer.Uploads))
	}
	return answer.Uploads[0], nil
}

// askUnserved opens a stage for as long as it takes to do one thing with it.
func (a *app) askUnserved(ctx context.Context, l *loaded, spec sourceSpec, q uploadsRequest) (report stageReport, err error) {
	u, err := a.openUnserved(ctx, l, spec, nil) // nothing is uploaded, so that nothing is to be judged
	if err != nil {
		return stageReport{}, err
	}
	defer func() { err = errors.Join(err, u.close()) }() //nolint:contextcheck // it must save whatever was cancelled
	t := &uploadTarget{spec: spec, stage: u.writing.stage, examiner: u.examiner}
	return t.do(ctx, q)
}

// unserved is a stage that this process looks after, without a mount.
type unserved struct {
	env     environment
	server  *mountServer
	source  *liveSource
	writing *writing
}

// openUnserved opens a stage. rules must be those of spec if anything is to be uploaded.
func (a *app) openUnserved(ctx context.Context, l *loaded, spec sourceSpec, rules *gate.Rules) (*unserved, error) {
	m, err := l.newMountSpec("/", []sourceSpec{spec})
	if err == nil {
		err = l.unlockStage(m.places(), &m.Sources[0])
	}
	if err != nil {
		return nil, err
	}
	spec = m.Sources[0]
	log := newLogger(a.err, max(m.LogLevel, slog.LevelWarn), secretsOf(m.Sources))
	u := &unserved{env: a.env, server: &mountServer{spec: m, log: log, started: time.Now()}, source: &liveSource{spec: spec}}
	brief, cancel := context.WithTimeout(ctx, briefLock)
	defer cancel()
	if u.writing, err = openWriting(brief, m.places(), spec, log, stage.Options{Rules: rules}); err != nil {
		return nil, err
	}
	u.source.writing = u.writing
	return u, nil
}

func (u *unserved) close() error { return errors.Join(u.source.close(), u.source.audit.close()) }

// connect opens the way to the source, if that has not been done.
func (u *unserved) connect(ctx context.Context) error {
	if u.source.remote != nil {
		return nil
	}
	if err := u.readKeys(); err != nil { //nolint:contextcheck // a command that prints keys has a limit of its own
		return err
	}
	if err := u.server.connect(ctx, u.source); err != nil {
		return explainSource(u.source.spec, err)
	}
	return nil
}

// readKeys reads keys that a source was remembered without.
func (u *unserved) readKeys() error {
	s := &u.source.spec
	if err := s.readSecrets(u.env); err != nil {
		return err
	}
	for _, one := range s.eachSpec() {
		if one.KeysRef == "" || len(one.KeysCSV) > 0 {
			continue
		}
		from := one.KeysFrom
		_, err := one.readKeys(sourceConfig{Keys: one.KeysRef, InsecureKeys: true}) // who accepted the file then was told
		if one.KeysFrom = from; err != nil {
			return err
		}
	}
	return nil
}

func (u *unserved) examiner(ctx context.Context) (backends.Examiner, error) {
	if err := u.connect(ctx); err != nil {
		return nil, err
	}
	return examinerOf(u.source.remote)
}

func examinerOf(r remote) (backends.Examiner, error) {
	if e, ok := r.(backends.Examiner); ok {
		return e, nil
	}
	return nil, errors.New("this source cannot look at single objects")
}
