package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/backends/s3"
	"studyfs/cache"
	"studyfs/cache/stage"
	"studyfs/cache/view"
	"studyfs/cmd/studyfs/audit"
)

// liveSource is an open source.
type liveSource struct {
	spec     sourceSpec
	remote   remote
	region   func() string           // nil where there are none
	progress func() []beiwe.Progress // nil where fetches are too short to tell of
	end      func() error            // nil where nothing has to end
	rekey    rekeyer                 // nil where there are no keys
	store    *cache.Store
	view     *view.View                  // nil where there is none
	writing  *writing                    // nil where nothing is written
	audit    *auditor                    // nil notes nothing
	room     atomic.Pointer[cache.Store] // what gives way to staged files; nil for now
	trouble  error                       // the root could not be listed
	notices  []string                    // for whoever mounts

	mayBeAway bool // a target for copies: what it lacks waits
}

// remote is the far side of a source.
type remote interface {
	backends.Source
	backends.Reporter
}

// close saves what later mounts can use. It works after a failed opening, too.
func (s *liveSource) close() error {
	err := s.endWriting()
	if s.store != nil {
		err = errors.Join(err, s.store.Close())
	}
	if s.end != nil {
		err = errors.Join(err, s.end())
	}
	return err
}

// openSource opens a source and its cache and lists its root. What is staged for it is opened first: that needs nobody,
// and says at once if somebody else has it.
func (m *mountServer) openSource(ctx context.Context, s *liveSource) (err error) {
	if s.spec.Write != nil {
		if err := m.openStageOf(ctx, s); err != nil {
			return err
		}
		defer func() {
			if err != nil { // so that "studyfs uploads" can look after it
				err = errors.Join(err, s.endWriting())
			}
		}()
	}
	if err := m.openStore(ctx, s); err != nil {
		return err
	}
	if s.spec.Write == nil {
		return nil
	}
	return s.beginWriting()
}

func (m *mountServer) openStageOf(ctx context.Context, s *liveSource) (err error) {
	rules, err := s.spec.Gate.rules()
	if err != nil {
		return err
	}
	s.writing, err = openWriting(ctx, m.spec.places(), s.spec, m.log, stage.Options{
		Rules: rules,
		MakeRoom: func(n int64) {
			if store := s.room.Load(); store != nil {
				store.MakeRoom(n)
			}
		},
		Listed: func(dir string) []string {
			if store := s.room.Load(); store != nil {
				return store.Known(dir)
			}
			return nil
		},
		Refused: s.audit.refused(s.spec),
		Changed: func(c backends.Change) {
			if f := m.fs.Load(); f != nil {
				f.Changed(m.spec.folder(s.spec), c)
			}
		},
	})
	return err
}

// beginWriting starts the uploads, now that there is a cache that what has been uploaded becomes part of.
func (s *liveSource) beginWriting() error {
	s.room.Store(s.store)
	s.writing.audit = s.audit
	return s.writing.begin(s.remote, s.store)
}

// endWriting stops the uploads and notes down what they leave.
func (s *liveSource) endWriting() error {
	if s.writing == nil {
		return nil
	}
	return s.writing.end()
}

// openStore connects to a source, opens its cache and lists its root.
func (m *mountServer) openStore(ctx context.Context, s *liveSource) error {
	if err := m.connect(ctx, s); err != nil {
		if errors.Is(err, backends.ErrAuth) { // nothing signed was sent yet
			at, _, _ := s.spec.targetOf(err)
			return noKeys(at)
		}
		return explainSource(s.spec, err)
	}
	if s.spec.AtRest != nil && s.spec.AtRest.Note != "" {
		s.notices = append(s.notices, s.spec.AtRest.Note)
	}
	var err error
	s.store, err = m.cache.Open(ctx, s.remote, cache.SourceOptions{
		Dir: m.spec.places().cacheOf(s.spec.id()), TTL: ttlOf(s.spec.Kind), Timeout: 2 * m.spec.Timeouts.Retry, Seal: s.spec.seal(), Files: m.spec.filesAhead(),
		Requests: s.spec.MaxRequests, Bandwidth: s.spec.Bandwidth,
		Changed: func(c backends.Change) {
			if f := m.fs.Load(); f != nil {
				f.Changed(m.spec.folder(s.spec), c)
			}
		},
	})
	if err != nil {
		return &failure{What: "cannot open the cache in " + m.spec.CacheDir, Why: err.Error(), Do: "choose another place with --cache-dir", Code: exitCannotCreate}
	}
	if s.view, err = s.newView(); err != nil {
		return err
	}
	entries, err := s.store.List(ctx, "")
	if err != nil {
		return explainSource(s.spec, err)
	}
	s.notices = append(s.notices, s.hiddenByView(entries)...)
	if len(entries) == 0 && s.spec.Write == nil {
		s.notices = append(s.notices, s.emptyNotice())
	}
	return s.confirm(ctx)
}

// filesAhead is ReadAhead as the cache wants it, where 0 is its default.
func (m *mountSpec) filesAhead() int {
	if m.ReadAhead == 0 {
		return -1
	}
	return m.ReadAhead
}

func ttlOf(kind string) func(dir string, now time.Time) time.Duration {
	switch kind {
	case kindEmpatica:
		return s3.EmpaticaTTL
	case kindHCP:
		return func(string, time.Time) time.Duration { return 24 * time.Hour } // published data: it does not change
	}
	return nil // the cache's default
}

func (s *liveSource) emptyNotice() string {
	switch s.spec.Kind {
	case kindBeiwe:
		return s.spec.url() + " shows no study to these keys: ask an administrator to add you to one"
	case kindEmpatica:
		return s.spec.url() + " is empty: no data has been uploaded yet, or the URL in " + s.spec.KeysFrom + " is not the whole one"
	}
	return s.spec.url() + " is empty: nothing lies below this prefix (yet)"
}

// How long a listing of an earlier mount is checked before it is believed for now.
const (
	confirmPatience = 2 * time.Second
	confirmPause    = 5 * time.Millisecond
)

// confirm makes sure that a mount which starts from the listing of an earlier one has asked the service once: keys
// that were revoked since must be told now, but an unreachable service must keep nobody from what is stored.
func (s *liveSource) confirm(ctx context.Context) error {
	if s.remote.Counts().List > 0 && s.remote.Trouble() == nil {
		return nil
	}
	if s.spec.Beiwe != nil { // listing the root has asked the server, or has shown what is known since it does not answer
		s.notices = append(s.notices, s.spec.describe()+" does not answer now: showing what is known from earlier")
		return nil
	}
	ask, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	var answered bool
	var refused error
	if s.store.Fresh("") > 0 { // nothing else will ask
		answered = true
		for _, err := range s.remote.List(ask, "") {
			answered, refused = err == nil, err
			break
		}
	} else { // the cache is asking already
		answered = s.awaitFresh(ask)
		refused = s.remote.Trouble()
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(refused, backends.ErrAuth), errors.Is(refused, backends.ErrPermission):
		return explainSource(s.spec, refused)
	case !answered:
		age := s.store.Stats().ListingAge.Round(time.Second)
		s.notices = append(s.notices, fmt.Sprintf("%s does not answer now: showing what was listed %s ago, and the files that are stored", s.spec.describe(), age))
	}
	return nil
}

// awaitFresh waits until the root's listing is fresh again or the source has failed.
func (s *liveSource) awaitFresh(ctx context.Context) bool {
	for s.store.Fresh("") <= 0 {
		if ctx.Err() != nil || s.remote.Trouble() != nil {
			return false
		}
		select {
		case <-time.After(confirmPause):
		case <-ctx.Done():
		}
	}
	return true
}

// connect opens the remote side.
func (m *mountServer) connect(ctx context.Context, s *liveSource) error {
	switch {
	case len(s.spec.Targets) > 0:
		return m.connectEcog(ctx, s)
	case s.spec.Dir != nil:
		return m.connectDir(ctx, s)
	case s.spec.Azure != nil:
		return m.connectAzure(s) //nolint:contextcheck // keys may be read again long after this call
	case s.spec.Beiwe == nil:
		return m.connectS3(ctx, s)
	}
	o, err := s.spec.beiweOptions(m.spec.Timeouts, m.log)
	if err != nil {
		return err
	}
	m.remember(s.spec, func(*known) {})
	remote, err := beiwe.Open(ctx, o)
	if err != nil {
		return err
	}
	s.remote, s.progress, s.end, s.rekey = remote, remote.Progress, remote.Close, rekeyBeiwe(remote)
	return nil
}

// connectS3 opens a bucket. Where the region must be asked for and nobody answers, the one of the last mount
// serves, so that stored data can be read without a network.
func (m *mountServer) connectS3(ctx context.Context, s *liveSource) error {
	o, err := s3Options(s.spec, m.spec.Timeouts, m.log, func() { s.audit.did(s.spec, audit.Event{Op: audit.OpKeys}) })
	if err != nil {
		return err
	}
	before := m.recall(s.spec)
	o.Write.Abilities = before.abilities()
	ask, cancel := ctx, context.CancelFunc(func() {})
	if before.Region != "" {
		ask, cancel = context.WithTimeout(ctx, regionPatience)
	}
	defer cancel()
	remote, err := s3.Open(ask, o)
	if err != nil && isUnreachable(err) && ctx.Err() == nil && before.Region != "" && o.Region == "" {
		o.Region = before.Region
		remote, err = s3.Open(ctx, o)
	}
	if err != nil {
		return err
	}
	s.region, s.rekey = remote.Region, m.rekeyS3(remote, s)
	near, end, err := decrypted(remote, s.spec, m.spec.places())
	if err != nil {
		return notDecrypted(s.spec, err)
	}
	s.remote, s.end = near, end
	m.remember(s.spec, func(k *known) { k.Region = remote.Region() })
	return nil
}

// regionPatience bounds the search for the region where we know one to fall back to.
const regionPatience = 10 * time.Second

// s3Options are the options of a bucket. changed is told when other keys are found where the keys came from.
func s3Options(s sourceSpec, t timeouts, log *slog.Logger, changed func()) (s3.Options, error) {
	o := s3.Options{
		Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, Endpoint: s.Endpoint, RequesterPays: s.RequesterPays,
		Timeouts: t.s3(), Log: log, Now: time.Now, MaxInFlight: s.MaxRequests,
	}
	if s.Write != nil {
		o.Write = s3.WriteOptions{Owner: string(s.Write.Owner), UnsafeOverwrite: s.Write.Unsafe}
	}
	switch {
	case s.Anonymous:
		o.Credentials = s3.Anonymous()
	case len(s.KeysCSV) > 0:
		keys, err := s3.ReadKeys(bytes.NewReader(s.KeysCSV))
		if err != nil {
			return o, fmt.Errorf("keys: %w", err)
		}
		o.Credentials = s3.Static(keys)
		if path, ok := strings.CutPrefix(s.KeysRef, "file:"); ok {
			o.Credentials = s3.StaticFrom(keys, path, (&keyWatch{path: path, last: keys.AccessKey, changed: changed}).read)
		}
	case s.Profile != "":
		o.Credentials = s3.Profile(s.Profile)
	default:
		o.Credentials = s3.Default()
	}
	return o, nil
}
