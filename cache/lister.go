package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"studyfs/backends"
	"studyfs/cache/desktop"
)

const (
	defaultMaxEntries = 2_000_000
	staleLimit        = 24 * time.Hour  // how old an answer may be while the source cannot be reached
	retryAfter        = 5 * time.Second // how long a directory with stale knowledge is left alone after a failure
	saveEvery         = time.Minute
	revalidateAfter   = 100 * time.Millisecond // long enough for one page to serve a whole walk after a restart
)

// listerOptions say how listings are kept. All fields must be set but maxEntries.
type listerOptions struct {
	ttl        func(dir string, now time.Time) time.Duration
	now        func() time.Time
	log        *slog.Logger
	file       string // where listings outlive the process
	codec      codec
	changed    func(backends.Change)
	removed    func([]backends.Entry)
	timeout    time.Duration // of one request
	maxEntries int
	noAhead    bool // nothing is listed before it is asked for
}

// lister answers names and directories from the index, and asks the source for what is unknown or too old. It is safe for
// concurrent use.
type lister struct {
	src backends.Source
	o   listerOptions

	ctx    context.Context // of all requests; ends with close
	cancel context.CancelFunc
	work   sync.WaitGroup // requests and the background loop
	wake   chan struct{}  // something is to be revalidated

	strolls *strolls

	saving sync.Mutex // held for changing what lies on disk; taken before mu

	mu     sync.Mutex // guards all below; no I/O under it
	index  *index
	edits  edits
	calls  map[string]*call     // requests under way, by the directory that wants them
	big    map[string]bool      // directories whose first child alone fills a page: their children are listed with a delimiter
	edges  []stretch            // the last flat pages that were full, newest last
	failed map[string]time.Time // directories whose last request failed while stale knowledge served
	todo   map[string]bool      // directories to revalidate
	served time.Time            // age of the oldest listing served last
	dirty  bool
	onDisk bool // what lies on disk lacks no edit
}

func newLister(src backends.Source, o listerOptions) (*lister, error) {
	if o.maxEntries == 0 {
		o.maxEntries = defaultMaxEntries
	}
	if o.codec == nil || o.now == nil || o.ttl == nil || o.log == nil {
		return nil, errors.New("incomplete options")
	}
	l := &lister{
		src: src, o: o, wake: make(chan struct{}, 1), index: loadIndex(o.file, o.codec),
		calls: map[string]*call{}, big: map[string]bool{}, failed: map[string]time.Time{}, todo: map[string]bool{},
		edits: newEdits(), onDisk: true,
	}
	l.strolls = newStrolls(l, o.noAhead)
	l.ctx, l.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // ends with close; no caller's context lives as long
	l.work.Add(1)
	go l.background()
	return l, nil
}

// lookup returns the entry of name, or ErrNotExist if a listing proves that there is none.
func (l *lister) lookup(ctx context.Context, name string) (backends.Entry, error) {
	if name == "" {
		return backends.Entry{Dir: true}, nil
	}
	if !backends.ValidName(name) {
		return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
	}
	dir, base := backends.Split(name)
	for try := 0; try < 8; {
		k, v, from := l.ask(dir, base)
		switch {
		case v == present:
			return k.entry(dir), nil
		case v == absent || desktop.Asked(base): // where the listing does not show it already, that costs no request
			return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
		}
		alone, err := l.follow(ctx, dir)
		mine := false
		if alone {
			// A page full of keys that no file name can stand for may not reach the name: then its parent is listed.
			mine, err = l.share(ctx, dir, func(ctx context.Context) error {
				if try >= 3 {
					return l.listPage(ctx, dir, before(from))
				}
				return l.walkPage(ctx, dir, before(prefixOf(dir)+from))
			})
		}
		if err != nil {
			return l.stale(dir, base, err)
		}
		if mine {
			try++
		}
	}
	return backends.Entry{}, fmt.Errorf("lookup: %w: listing does not reach the name", backends.ErrBadAnswer)
}

// ask is index.find for listings that are still believed.
func (l *lister) ask(dir, base string) (kid, verdict, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.believed(dir) {
		return l.index.find(dir, base)
	}
	if _, complete, _ := l.index.children(dir); complete {
		return kid{}, unknown, "" // from the beginning: what was complete will most likely be again
	}
	return kid{}, unknown, base
}

// believed reports whether what is known of dir may be served, and sees to it that what comes from disk is looked at
// again. The caller holds mu.
func (l *lister) believed(dir string) bool {
	d, now := l.index.dirs[dir], l.o.now()
	if d == nil {
		return true // nothing known: the index says so
	}
	if d.disk && !d.busy && now.Sub(d.at) < staleLimit {
		l.todo[dir] = true
		select {
		case l.wake <- struct{}{}:
		default:
		}
		l.served = d.at
		return true
	}
	if !l.expired(dir, d) {
		l.served = d.at
		return true
	}
	if t, ok := l.failed[dir]; ok && now.Sub(t) < retryAfter && now.Sub(d.at) < staleLimit {
		l.served = d.at
		return true
	}
	return false
}

func (l *lister) expired(dir string, d *dirInfo) bool {
	now := l.o.now()
	return !d.busy && (d.disk || now.Sub(d.at) >= l.o.ttl(dir, now))
}

// stale answers a lookup that failed from what was known before, if the failure is one of the network.
func (l *lister) stale(dir, base string, err error) (backends.Entry, error) {
	if !outage(err) {
		return backends.Entry{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.index.dirs[dir]
	if d == nil || l.o.now().Sub(d.at) >= staleLimit {
		return backends.Entry{}, err
	}
	l.failed[dir] = l.o.now()
	switch k, v, _ := l.index.find(dir, base); v {
	case present:
		return k.entry(dir), nil
	case absent:
		return backends.Entry{}, fmt.Errorf("lookup: %w", backends.ErrNotExist)
	case unknown:
	}
	return backends.Entry{}, err
}

// outage reports whether err says that the source cannot be reached, as opposed to: refuses us.
func outage(err error) bool {
	return errors.Is(err, backends.ErrUnreachable) || errors.Is(err, backends.ErrBusy) ||
		errors.Is(err, context.DeadlineExceeded)
}

// list returns all children of dir, by name.
func (l *lister) list(ctx context.Context, dir string) ([]backends.Entry, error) {
	s, err := l.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.whole(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if all, whole, _ := l.index.children(dir); whole {
		return all.entries(), nil // with what was put meanwhile
	}
	return s.Listing.entries(), nil
}

// peek returns the children of dir, by name, if all are known, believed or not: it is for guesses.
func (l *lister) peek(dir string) []backends.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, _, _ := l.index.children(dir)
	return all.entries()
}

// expire says that dir is known to differ from its listing: the next call asks again.
func (l *lister) expire(dir string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.index.dirs[dir]; d != nil {
		d.at, d.disk = time.Time{}, false
	}
}

// fresh tells how long dir's listing will still be believed.
func (l *lister) fresh(dir string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, now := l.index.dirs[dir], l.o.now()
	switch {
	case d == nil:
		return 0
	case d.busy: // when all has come, it will be believed for some of its time at least
		return l.o.ttl(dir, now) / 2
	case d.disk: // being looked at again; while the source cannot be reached, for as long as it is not asked
		if _, ok := l.failed[dir]; ok {
			return time.Second
		}
		return 0
	}
	return d.at.Add(l.o.ttl(dir, now)).Sub(now)
}

func (l *lister) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.served.IsZero() {
		return 0
	}
	return l.o.now().Sub(l.served)
}

func (l *lister) entries() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.index.kids)
}

// close ends requests and background work, and saves.
func (l *lister) close(context.Context) error {
	l.cancel()
	l.work.Wait()
	return l.save()
}
