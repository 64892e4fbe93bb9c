package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"studyfs/backends"
	"studyfs/backends/s3"
	"studyfs/cache"
	"studyfs/fs"
)

// serve is the serving process: it reads what to mount, mounts it, says so, and ends when the mount does.
func serve() int {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP) // whoever reads our messages may go before us
	in, out := os.NewFile(fdSpec, "spec"), os.NewFile(fdReady, "ready")
	spec := &mountSpec{}
	reader := bufio.NewReader(in)
	if err := json.NewDecoder(reader).Decode(spec); err != nil {
		fmt.Fprintln(os.Stderr, "studyfs: "+serveCommand+" is started by studyfs mount only")
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if spec.Leash {
		go func() { // ends with the pipe: when the other process closes it or dies
			buf := make([]byte, 1)
			for {
				if _, err := in.Read(buf); err != nil {
					stop()
					return
				}
			}
		}()
	}
	log := newLogger(os.Stderr, spec.LogLevel, secretsOf(spec.Sources))
	m := &mountServer{spec: spec, log: log, started: time.Now(), stop: stop}
	ready, err := m.open(ctx)
	if err != nil {
		if spec.Log != "" { // else whoever waits says it where the log goes
			log.ErrorContext(ctx, "cannot mount", "why", err)
		}
		ready.Failure = asFailure(spec.Dir, err)
	}
	if err != nil || ctx.Err() != nil {
		m.close(ctx)
		json.NewEncoder(out).Encode(ready) //nolint:errcheck // whoever waited is gone
		return exitError
	}
	json.NewEncoder(out).Encode(ready) //nolint:errcheck // whoever waited is gone; the mount is wanted all the same
	out.Close()                        //nolint:errcheck // as above
	m.run(ctx)
	return exitOK
}

func asFailure(what string, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{What: what, Why: err.Error(), Code: exitError}
}

// mountServer is one mount and what it stands on.
type mountServer struct {
	spec    *mountSpec
	log     *slog.Logger
	started time.Time
	stop    func() // makes run return
	sources []*liveSource
	cache   *cache.Cache
	fs      atomic.Pointer[fs.FS]
	control *control
}

// liveSource is an open source.
type liveSource struct {
	spec    sourceSpec
	remote  *s3.Source
	store   *cache.Store
	trouble error    // the root could not be listed
	notices []string // for whoever mounts
}

// open does everything up to the point where the mount can be used. The sources are asked before anything is mounted,
// so that a wrong key leaves no mount behind.
func (m *mountServer) open(ctx context.Context) (readiness, error) {
	var r readiness
	m.cache = cache.New(cache.Options{MaxBytes: m.spec.CacheSize, Memory: m.spec.Memory, Now: time.Now, Log: m.log})
	var all sync.WaitGroup
	for _, spec := range m.spec.Sources {
		s := &liveSource{spec: spec}
		m.sources = append(m.sources, s)
		all.Go(func() { s.trouble = m.openSource(ctx, s) })
	}
	all.Wait()
	failed := 0
	for _, s := range m.sources {
		r.Notices = append(r.Notices, s.notices...)
		if s.trouble == nil {
			continue
		}
		failed++
		m.log.WarnContext(ctx, "source does not answer", "source", s.spec.id(), "why", s.trouble)
		if len(m.sources) > 1 {
			r.Notices = append(r.Notices, asFailure(s.spec.describe(), s.trouble).Error())
		}
	}
	if failed == len(m.sources) {
		return r, m.sources[0].trouble
	}
	r.Partial = failed > 0
	if err := m.mount(); err != nil {
		return r, err
	}
	var err error
	if m.control, err = listenControl(m); err != nil {
		return r, &failure{What: "control socket", Why: lastCause(err), Do: "choose another place with --state-dir", Code: exitCannotCreate}
	}
	return r, nil
}

func (m *mountServer) mount() error {
	var trees []fs.Tree
	for _, s := range m.sources {
		if s.store != nil {
			trees = append(trees, fs.Tree{Name: m.spec.folder(s.spec), Store: s.store})
		}
	}
	f, err := fs.New(fs.Options{
		Dir: m.spec.Dir, FsName: m.spec.fsName(), Trees: trees, AllowOther: m.spec.AllowOther,
		Passthrough: !m.spec.NoPassthrough, CacheDir: m.spec.CacheDir,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Log: m.log, Now: time.Now,
	})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := f.Mount(); err != nil {
		code := exitCannotCreate
		if errors.Is(err, fs.ErrUnavailable) {
			code = exitUnreachable
		}
		return &failure{What: m.spec.Dir, Why: lastCause(err), Do: "in a container: start it with --device /dev/fuse --cap-add SYS_ADMIN", Code: code}
	}
	m.fs.Store(f)
	return nil
}

// openSource opens a source and its cache and lists its root.
func (m *mountServer) openSource(ctx context.Context, s *liveSource) error {
	if err := m.connect(ctx, s); err != nil {
		if errors.Is(err, backends.ErrAuth) { // nothing signed was sent yet
			return noKeys(s.spec)
		}
		return explainSource(s.spec, err)
	}
	var err error
	s.store, err = m.cache.Open(ctx, s.remote, cache.SourceOptions{
		Dir: m.spec.places().cacheOf(s.spec.id()), TTL: ttlOf(s.spec.Kind), Timeout: 2 * m.spec.Timeouts.Retry,
		Changed: func(c backends.Change) {
			if f := m.fs.Load(); f != nil {
				f.Changed(m.spec.folder(s.spec), c)
			}
		},
	})
	if err != nil {
		return &failure{What: "cannot open the cache in " + m.spec.CacheDir, Why: err.Error(), Do: "choose another place with --cache-dir", Code: exitCannotCreate}
	}
	entries, err := s.store.List(ctx, "")
	if err != nil {
		return explainSource(s.spec, err)
	}
	if len(entries) == 0 {
		s.notices = append(s.notices, s.emptyNotice())
	}
	return s.confirm(ctx)
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
	if s.spec.Kind == kindEmpatica {
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

// connect opens the remote side. Where the region must be asked for and nobody answers, the one of the last mount
// serves, so that stored data can be read without a network.
func (m *mountServer) connect(ctx context.Context, s *liveSource) error {
	o, err := s3Options(s.spec, m.spec.Timeouts, m.log)
	if err != nil {
		return err
	}
	known := m.recall(s.spec)
	ask, cancel := ctx, context.CancelFunc(func() {})
	if known.Region != "" {
		ask, cancel = context.WithTimeout(ctx, regionPatience)
	}
	defer cancel()
	s.remote, err = s3.Open(ask, o)
	if err != nil && isUnreachable(err) && ctx.Err() == nil && known.Region != "" && o.Region == "" {
		o.Region = known.Region
		s.remote, err = s3.Open(ctx, o)
	}
	if err != nil {
		return err
	}
	m.remember(s.spec, s.remote.Region())
	return nil
}

// regionPatience bounds the search for the region where we know one to fall back to.
const regionPatience = 10 * time.Second

func s3Options(s sourceSpec, t timeouts, log *slog.Logger) (s3.Options, error) {
	o := s3.Options{
		Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, Endpoint: s.Endpoint, RequesterPays: s.RequesterPays,
		Timeouts: t.s3(), Log: log, Now: time.Now,
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
	case s.Profile != "":
		o.Credentials = s3.Profile(s.Profile)
	default:
		o.Credentials = s3.Default()
	}
	return o, nil
}

// run returns when the mount is gone: by umount, by a signal, or because its owner ended.
func (m *mountServer) run(ctx context.Context) {
	gone := make(chan struct{})
	go func() { // ends with the mount, which close takes away
		m.fs.Load().Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	m.close(ctx)
}

// close takes the mount away and saves what later mounts can use. It works after a failed open, too.
func (m *mountServer) close(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if f := m.fs.Load(); f != nil {
		if err := f.Unmount(); err != nil {
			m.log.WarnContext(ctx, "unmount", "err", err)
		}
	}
	for _, s := range m.sources {
		if s.store == nil {
			continue
		}
		if err := s.store.Close(); err != nil { //nolint:contextcheck // it takes none: it must save whatever was cancelled
			m.log.WarnContext(ctx, "saving the cache", "err", err)
		}
	}
	if m.spec.RemoveDir {
		if err := os.Remove(m.spec.Dir); err != nil {
			m.log.WarnContext(ctx, "removing the directory that was made for the mount", "err", err)
		}
	}
	if m.control != nil {
		m.control.close()
	}
}
