// Package beiwe reads studies from a Beiwe server through its data-access API.
//
// The server has no files and lists none: it answers with a zip of all files of a stretch of time. So the [Source]
// keeps an index: which participant's day of which stream holds how many bytes (one cheap request tells, for a whole
// study), and which files have been seen in a zip. A directory is shown only when all of its days have come; nothing is
// ever shown that a zip has not confirmed. What is fetched is a window: some streams of one participant over some days.
//
// The layout is that of mano, the field's downloader: STUDY/PARTICIPANT/STREAM/[SURVEY/]2026-10-05 02_00_00+00_00.csv.
// Beside the studies lie hidden folders, answered but not listed: .studyfs/STUDY with the server's documents, .by-id with links from
// ids, .by-day/STUDY/PARTICIPANT/STREAM/DAY with links into the streams, for streams too large to list as a whole.
package beiwe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"studyfs/backends"
)

// Source is one server with one account's keys. It is safe for concurrent use.
type Source struct {
	o      Options
	client *client
	slots  struct{ all, ahead *semaphore.Weighted } // of requests for data

	hidden atomic.Int64 // members that no file name can stand for

	stop context.CancelFunc
	work sync.WaitGroup // the refreshing

	mu      sync.Mutex // guards all below; no I/O under it
	index   *index
	tell    func(backends.Change)
	moved   uint64          // the index's generation
	flying  map[string]*job // windows on their way, by the name of their bundle
	failed  time.Time       // when the server last failed to answer
	without map[string]bool // streams that the server does not know
}

// The interfaces that a Source offers.
var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Bundler  = (*Source)(nil)
	_ backends.Indexed  = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
)

// The server gets at most two requests for data at a time from one client, one of them ahead of need: each keeps a database query and
// five connections to its store busy.
const (
	dataRequests  = 2
	aheadRequests = 1
)

// How long answers are believed that nothing tells of changes of.
const (
	studiesTTL = 15 * time.Minute   // the list of studies, the roster
	recentSpan = 14 * secondsPerDay // seconds that are looked at anew so often
	recentTTL  = 15 * time.Minute   // the last two weeks of unchunked streams, whose byte counts lag behind
	wholeTTL   = 24 * time.Hour     // and their whole history
	missTTL    = 60 * time.Second   // that a name is missing
	docTTL     = 10 * time.Minute
	awayPause  = 10 * time.Second // how long a server that did not answer is left alone where the index has an answer
)

// Open checks o and returns a Source that has asked nothing yet. Close ends it.
func Open(ctx context.Context, o Options) (*Source, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("beiwe: %w", err)
	}
	s := &Source{
		o: o, index: newIndex(), tell: func(backends.Change) {}, moved: 1, flying: map[string]*job{}, without: map[string]bool{},
	}
	s.client = newClient(&s.o)
	s.slots.all, s.slots.ahead = semaphore.NewWeighted(dataRequests), semaphore.NewWeighted(aheadRequests)
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.work.Go(func() { s.refresh(ctx) })
	return s, nil
}

// Close ends the refreshing and returns when it has. Fetches are their callers' to end.
func (s *Source) Close() error {
	s.stop()
	s.work.Wait()
	return nil
}

// Rekey shows these keys from now on, in the place of those that Options named. They should be of the same account: what is known of the server is
// what the old ones have shown. It is safe for concurrent use.
func (s *Source) Rekey(access, secret backends.Secret) { s.client.keys.Store(&keyPair{access, secret}) }

// Watch makes tell the one that is told of changes.
func (s *Source) Watch(tell func(backends.Change)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell = tell
}

// Counts tells what has been asked so far: data as Get, lists and documents as List.
func (s *Source) Counts() backends.Counts {
	n := s.client.counts()
	n.HiddenKeys = s.hidden.Load()
	return n
}

// Trouble is the standing error that concerns the whole server, nil when the last answer was a good one.
func (s *Source) Trouble() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.client.trouble
}

// List yields what the index knows of the children of dir, in name order. It fails where the directory has never been
// complete.
func (s *Source) List(_ context.Context, dir string) iter.Seq2[backends.Entry, error] {
	return func(yield func(backends.Entry, error) bool) {
		s.mu.Lock()
		entries, err := s.children(dir)
		s.mu.Unlock()
		if err != nil {
			yield(backends.Entry{}, fmt.Errorf("list: %w", err))
			return
		}
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Stat returns what the index knows of name.
func (s *Source) Stat(_ context.Context, name string) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entry(name)
	if !ok {
		return backends.Entry{}, fmt.Errorf("stat: %w", backends.ErrNotExist)
	}
	return e, nil
}

// Fetch brings what Bundle named.
func (s *Source) Fetch(ctx context.Context, bundle string, put backends.Put) error {
	err := s.fetch(ctx, bundle, put)
	if errors.Is(err, backends.ErrUnreachable) || errors.Is(err, backends.ErrBusy) {
		s.mu.Lock()
		s.failed = s.o.Now()
		s.mu.Unlock()
	}
	return err
}

func (s *Source) fetch(ctx context.Context, bundle string, put backends.Put) error {
	kind, rest := cut(bundle)
	switch kind {
	case bundleStudies:
		return s.fetchStudies(ctx)
	case bundleStudy:
		return s.fetchStudy(ctx, rest)
	case bundlePeople:
		return s.fetchPeople(ctx, rest)
	case bundleDoc:
		return s.fetchDocument(ctx, rest, put)
	case bundleWindow:
		w, err := parseWindow(bundle)
		if err != nil {
			return err
		}
		return s.fetchWindow(ctx, w, put)
	}
	return errBundle
}

// fetchStudies reads the list of studies.
func (s *Source) fetchStudies(ctx context.Context) error {
	titles, err := s.client.studies(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	changed := s.index.takeStudies(titles)
	s.index.asked = s.o.Now()
	s.moved++
	tell := s.tell
	s.mu.Unlock()
	if changed {
		tell(backends.Change{All: true})
	}
	return nil
}

// fetchPeople reads a study's roster.
func (s *Source) fetchPeople(ctx context.Context, id string) error {
	ids, err := s.client.people(ctx, id)
	if err != nil {
		return s.ofStudy(ctx, id, err)
	}
	roster := map[string]bool{}
	for _, p := range ids {
		if validPerson(p) {
			roster[p] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.index.Studies[id]; st != nil {
		st.roster, st.listed = roster, s.o.Now()
	}
	return nil
}

// ofStudy looks at an error of a study's request: where the study is gone, the list of studies says so to everybody.
func (s *Source) ofStudy(ctx context.Context, id string, err error) error {
	if !errors.Is(err, backends.ErrNotExist) || unknownRoute(err) {
		return err
	}
	if listing := s.fetchStudies(ctx); listing != nil {
		return listing
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.index.Studies[id]; st != nil {
		return fmt.Errorf("%w: the study is listed, but not to be found", backends.ErrBadAnswer)
	}
	return err
}

// ReadRange fetches one file once more and returns a part of it: for when the local disk did not keep it.
func (s *Source) ReadRange(ctx context.Context, e backends.Entry, off, n int64) (io.ReadCloser, error) {
	body, err := s.readWhole(ctx, e)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(body, off, n)), nil
}

// ServerName tells what the server calls a file that the index holds, and the hash that it gave for its contents last, both as its registry has
// them. Either can be "": not told yet.
func (s *Source) ServerName(name string) (chunkPath, hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.place(name)
	f := s.fileAt(at)
	if f == nil {
		return "", ""
	}
	return f.chunkPath(at.study.ID, at.person, at.stream, at.rest), f.Hash
}

// away reports whether the server did not answer just now. The caller holds mu.
func (s *Source) away() bool { return !s.failed.IsZero() && s.o.Now().Sub(s.failed) < awayPause }

func (s *Source) logRefresh(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.o.Log.WarnContext(ctx, "cannot ask for changes", slog.String("server", s.o.URL), slog.Any("err", err))
	}
}
