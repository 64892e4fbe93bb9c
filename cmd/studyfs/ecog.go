package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/backends/route"
)

// targetConfig is one target of a source of kind ecog: [source.NAME.video] and so on. What it does not give is as in [source.NAME].
type targetConfig struct {
	Target       string    `toml:"target" help:"where files go: s3://bucket/prefix/ or dir:PATH"`
	Keys         string    `toml:"keys" help:"where the keys are, as of a source"`
	EndpointURL  string    `toml:"endpoint-url" help:"address of an S3 service other than Amazon's"`
	Region       string    `toml:"region" help:"region of the bucket"`
	Profile      string    `toml:"profile" help:"take the keys from this profile of the AWS configuration"`
	InsecureKeys bool      `toml:"insecure-keys-file" help:"accept a keys file that others can read"`
	StorageClass string    `toml:"storage-class" help:"storage class of what is stored there, such as DEEP_ARCHIVE"`
	Owner        accountID `toml:"owner" help:"account that the bucket must belong to"`
	EncryptTo    nameList  `toml:"encrypt-to" help:"encrypt what is stored there for these public keys"`
	Identity     string    `toml:"identity" help:"open it with these private keys"`
	Password     string    `toml:"password" help:"open .enc and .lock files there with this password"`
	Endings      nameList  `toml:"endings" help:"of video: the endings of the names that go there (default: those of usual videos)"`
}

// targetSpec is one target, ready to be opened.
type targetSpec struct {
	Role    string     `json:"role"` // video, edf, archive, nas: its name in messages and manifests
	Copy    bool       `json:"copy,omitempty"`
	Endings []string   `json:"endings,omitempty"`
	Source  sourceSpec `json:"source"`
}

// videoEndings are those of what cameras and export programs write.
func videoEndings() []string {
	return []string{".avi", ".mp4", ".m4v", ".mov", ".mkv", ".mpg", ".mpeg", ".wmv", ".asf", ".webm", ".mts", ".m2ts", ".ts"}
}

// bidsOf is the set of rules for names that a source is held to. What a hospital exports is named by a code and a day instead.
func bidsOf(c sourceConfig) bidsRules {
	if c.Kind == kindEcog {
		return cmp.Or(c.BIDS, "off")
	}
	return c.BIDS
}

// role is one of the sub-tables of a source of kind ecog.
type role struct {
	name   string
	config *targetConfig
	copies bool
}

func (c *sourceConfig) roles() []role {
	return []role{{"video", c.Video, false}, {"edf", c.EDF, false}, {"archive", c.Archive, true}, {"nas", c.NAS, true}}
}

// validateTargets checks the sub-tables.
func (c *sourceConfig) validateTargets() error {
	given := 0
	for _, r := range c.roles() {
		if r.config == nil {
			continue
		}
		given++
		if err := r.validate(); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	switch {
	case c.Kind != kindEcog && given > 0:
		return errors.New("video, edf, archive and nas are tables of sources of kind ecog")
	case c.Kind == kindEcog && c.EDF == nil:
		return errors.New("the table edf is missing: where all files go that are no video")
	case c.Kind == kindEcog && c.URL != "":
		return errors.New("url: a source of kind ecog has a target in each of its tables instead")
	}
	return nil
}

func (r role) validate() error {
	switch t := r.config.Target; {
	case t == "":
		return errors.New("target is missing; such as \"s3://bucket/prefix/\" or \"dir:/mnt/nas/ecog\"")
	case !strings.HasPrefix(t, "s3://") && !strings.HasPrefix(t, "dir:"):
		return fmt.Errorf("target %q is neither s3://bucket/prefix/ nor dir:PATH", t)
	case len(r.config.Endings) > 0 && r.name != "video":
		return errors.New("endings are for video; all other files go to edf")
	}
	return nil
}

// buildEcog makes a source of several targets.
func (l *loaded) buildEcog(name string, c sourceConfig) (s sourceSpec, notices []string, err error) {
	s = sourceSpec{Name: name, Kind: kindEcog}
	seen := map[string]string{}
	for _, r := range c.roles() {
		if r.config == nil {
			continue
		}
		one, more, err := l.buildKind(name+"."+r.name, c.ofTarget(r.config), exitConfig)
		if err != nil {
			return s, nil, err
		}
		if other, twice := seen[one.id()]; twice {
			return s, nil, &failure{
				What: "[source." + name + "." + r.name + "]", Why: "it is the same place as " + other, Do: "give each target a bucket, a prefix or a directory of its own", Code: exitConfig,
			}
		}
		seen[one.id()] = r.name
		t := targetSpec{Role: r.name, Copy: r.copies, Source: one}
		if r.name == "video" {
			t.Endings = endingsOf(r.config.Endings)
		}
		s.Targets, notices = append(s.Targets, t), append(notices, more...)
	}
	return s, notices, nil
}

// endingsOf makes endings as users write them comparable.
func endingsOf(given []string) []string {
	var out []string
	for _, e := range given {
		out = append(out, "."+strings.ToLower(strings.TrimLeft(e, "*.")))
	}
	if len(out) == 0 {
		return videoEndings()
	}
	return out
}

// ofTarget is a target as a source of its own: that is what it is opened as.
func (c *sourceConfig) ofTarget(t *targetConfig) sourceConfig {
	one := *c
	one.Video, one.EDF, one.Archive, one.NAS = nil, nil, nil, nil
	one.URL = t.Target
	one.Gate, one.Words, one.WordsSecret, one.ShiftSecret, one.KeepDates = "", "", "", "", false // files are judged once, before
	one.Labels, one.Extensions, one.Equipment = nil, nil, nil
	one.Keys, one.EndpointURL, one.Region = cmp.Or(t.Keys, c.Keys), cmp.Or(t.EndpointURL, c.EndpointURL), cmp.Or(t.Region, c.Region)
	one.Profile, one.StorageClass, one.Owner = cmp.Or(t.Profile, c.Profile), cmp.Or(t.StorageClass, c.StorageClass), cmp.Or(t.Owner, c.Owner)
	one.Identity, one.Password, one.InsecureKeys = cmp.Or(t.Identity, c.Identity), cmp.Or(t.Password, c.Password), t.InsecureKeys || c.InsecureKeys
	if len(t.EncryptTo) > 0 {
		one.EncryptTo = t.EncryptTo
	}
	if one.Kind = kindS3; strings.HasPrefix(t.Target, "dir:") {
		one.Kind, one.StorageClass = kindDir, ""
	}
	if t.Keys == "" && t.Profile != "" {
		one.Keys = "" // its own profile goes before the keys of all
	}
	return one
}

// encrypts reports whether nothing of what is written lies anywhere in clear.
func (s sourceSpec) encrypts() bool {
	if len(s.Targets) == 0 {
		return s.Crypt != nil && len(s.Crypt.Recipients) > 0
	}
	return !slices.ContainsFunc(s.Targets, func(t targetSpec) bool { return !t.Source.encrypts() })
}

// targetOf finds the target that an error comes from.
func (s sourceSpec) targetOf(err error) (at sourceSpec, ok bool, cause error) {
	if where, ok := errors.AsType[*backends.TargetError](err); ok {
		for _, t := range s.Targets {
			if t.Role == where.Target {
				return t.Source, true, where.Err
			}
		}
	}
	return s, false, err
}

// eachSpec is a source and, if it has some, its targets.
func (s *sourceSpec) eachSpec() []*sourceSpec {
	all := []*sourceSpec{s}
	for i := range s.Targets {
		all = append(all, &s.Targets[i].Source)
	}
	return all
}

// urls names the targets that make up the tree.
func (s sourceSpec) urls() string {
	var all []string
	for _, t := range s.Targets {
		if !t.Copy {
			all = append(all, t.Source.url())
		}
	}
	return strings.Join(all, " + ")
}

// targetIDs tell the tree of one source from that of another. Targets for copies do not count: adding one leaves the cache and what waits
// for upload as they are.
func (s sourceSpec) targetIDs() []string {
	ids := []string{s.Kind}
	for _, t := range s.Targets {
		if !t.Copy {
			ids = append(ids, t.Role, t.Source.id())
		}
	}
	return ids
}

// flushPatience is how long closing may take to bring the manifests up to date. The next mount does what is left.
const flushPatience = 4 * time.Second

// connectEcog opens all targets. A directory for copies may be away: uploads wait for it.
func (m *mountServer) connectEcog(ctx context.Context, s *liveSource) (err error) {
	var ends []func() error
	end := func() (all error) {
		for _, e := range slices.Backward(ends) {
			all = errors.Join(all, e())
		}
		return all
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	o := route.Options{Now: time.Now, Log: m.log}
	byRole := map[string]rekeyer{}
	if s.spec.Write != nil {
		o.State, o.Key = filepath.Join(m.spec.places().stateOf(s.spec.id()), "route"), s.spec.StageKey
	}
	for _, t := range s.spec.Targets {
		one := &liveSource{spec: t.Source, mayBeAway: t.Copy}
		if err := m.connect(ctx, one); err != nil {
			return &backends.TargetError{Target: t.Role, Err: err}
		}
		if one.end != nil {
			ends = append(ends, one.end)
		}
		byRole[t.Role] = one.rekey
		target := route.Target{Name: t.Role, Source: one.remote, Copy: t.Copy, Endings: t.Endings}
		if t.Source.Write != nil {
			target.Class = t.Source.Write.Class
		}
		o.Targets = append(o.Targets, target)
	}
	tree, err := route.New(o)
	if err != nil {
		return err
	}
	m.remember(s.spec, func(*known) {})
	ends = append(ends, func() error { return endRoute(context.WithoutCancel(ctx), tree) })
	s.remote, s.end, s.rekey = tree, end, rekeyTargets(byRole)
	return nil
}

// endRoute ends a route whose uploads have ended. What its manifests lack is kept on this disk.
func endRoute(ctx context.Context, tree *route.Source) error {
	ctx, cancel := context.WithTimeout(ctx, flushPatience)
	defer cancel()
	tree.Flush(ctx) //nolint:errcheck // the next mount goes on with it
	return tree.Close()
}

// flusher is a source that has more to do when all is stored, before it is done.
type flusher interface {
	Run(ctx context.Context)
	Flush(ctx context.Context) error
}
