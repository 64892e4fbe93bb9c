package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
	"studyfs/cache"
	"studyfs/cmd/studyfs/warm"
)

// What a mount can be asked to do ahead.
const (
	warmScan  = "scan"  // reckon what is missing
	warmFetch = "fetch" // and get it
	warmPin   = "pin"   // keep what is there and what comes
	warmUnpin = "unpin" // let it go
	warmPins  = "pins"  // tell what is kept
)

// warmRequest is the part of a request that is about what is fetched ahead.
type warmRequest struct {
	Do    string    `json:"do"`
	Paths []string  `json:"paths"` // relative to the mount
	Since time.Time `json:"since"` // zero: however old
}

// warmReport is what is known so far. It is sent now and then, and at the end.
type warmReport struct {
	warm.Report
	Limit   int64     `json:"limit"` // of the cache
	Pins    []pinned  `json:"pins,omitempty"`
	Done    bool      `json:"done"`
	Failure *failure  `json:"failure,omitempty"` // why it ended early
	Began   time.Time `json:"began"`             // of fetching
}

// pinned is a path that stays in the cache.
type pinned struct {
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// warm does a job for a client and tells it how it gets on, a line each time. It ends with the job, the mount or the client.
func (c *control) warm(conn *net.UnixConn, q warmRequest) {
	c.working.RLock()
	defer c.working.RUnlock()
	ctx, cancel := context.WithCancel(c.jobs) // ended already: nothing is touched any more
	defer cancel()
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // cannot fail on an open socket
	go func() {                       // ends with the connection, which the caller closes
		conn.Read(make([]byte, 1)) //nolint:errcheck // its end is the news
		cancel()
	}()
	answers := json.NewEncoder(conn)
	tell := func(r warmReport) error {
		conn.SetWriteDeadline(time.Now().Add(farewell)) //nolint:errcheck // cannot fail on an open socket
		return answers.Encode(response{Warm: &r})
	}
	w := &warming{m: c.m, q: q}
	last := w.run(ctx, cancel, tell)
	tell(last) //nolint:errcheck // the client may be gone
}

// warming is one such job.
type warming struct {
	m    *mountServer
	q    warmRequest
	job  *warm.Job
	last sourceSpec // that was worked on

	mu    sync.Mutex // guards began
	began time.Time
}

// run does what was asked for, telling of it now and then, and returns the last word.
func (w *warming) run(ctx context.Context, cancel func(), tell func(warmReport) error) warmReport {
	places, err := w.places(ctx)
	w.job = warm.New(places, w.q.Since)
	if err == nil {
		var telling sync.WaitGroup
		ended := make(chan struct{})
		telling.Go(func() {
			tick := time.NewTicker(tellEvery)
			defer tick.Stop()
			for {
				select {
				case <-ended:
					return
				case <-tick.C:
					if tell(w.report()) != nil {
						cancel() // nobody listens
					}
				}
			}
		})
		err = w.do(ctx, places)
		close(ended)
		telling.Wait()
	}
	r := w.report()
	r.Done = true
	if w.q.Do == warmPins || w.q.Do == warmPin || w.q.Do == warmUnpin {
		r.Pins = w.m.pins()
	}
	if err != nil {
		r.Failure = w.explain(err)
	}
	return r
}

func (w *warming) report() warmReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	return warmReport{Report: w.job.Report(), Limit: w.m.spec.CacheSize, Began: w.began}
}

// do does the job itself.
func (w *warming) do(ctx context.Context, places []warm.Place) error {
	known := map[string][]backends.Entry{}
	var each func(warm.Place, backends.Entry)
	switch w.q.Do {
	case warmPins:
		return nil
	case warmUnpin:
		return unpin(places)
	case warmPin:
		each = func(p warm.Place, e backends.Entry) { known[p.Shown+p.Name] = append(known[p.Shown+p.Name], e) }
	}
	if err := w.job.Scan(ctx, each); err != nil {
		return err
	}
	switch w.q.Do {
	case warmPin:
		for _, p := range places {
			if err := p.Store.(*cache.Store).Pin(p.Name, known[p.Shown+p.Name]); err != nil { //nolint:forcetypeassert // made in places
				return err
			}
		}
	case warmFetch:
		if r := w.job.Report(); r.Missing.Bytes > w.m.spec.CacheSize {
			return &failure{
				What: "warm", Why: humanBytes(r.Missing.Bytes) + " are missing, and the cache holds " + humanBytes(w.m.spec.CacheSize),
				Do: "warm less of it, or mount with a larger --cache-size; nothing was fetched", Code: exitError,
			}
		}
		w.mu.Lock()
		w.began = time.Now()
		w.mu.Unlock()
		return w.job.Fetch(ctx)
	}
	return nil
}

func unpin(places []warm.Place) error {
	var last error
	done := false
	for _, p := range places {
		if err := p.Store.(*cache.Store).Unpin(p.Name); err != nil { //nolint:forcetypeassert // made in places
			last = err
			continue
		}
		done = true
	}
	if done || last == nil {
		return nil
	}
	if errors.Is(last, cache.ErrNotPinned) {
		return &failure{What: "unpin", Why: "it " + cache.ErrNotPinned.Error(), Do: "studyfs pin lists what is; give one of these paths", Code: exitError}
	}
	return last
}

// places finds what is meant in the sources of the mount.
func (w *warming) places(ctx context.Context) (all []warm.Place, err error) {
	for _, p := range withoutNested(w.q.Paths) {
		for _, s := range w.m.sources {
			name, in := w.m.nameIn(s, p)
			switch {
			case !in:
				continue
			case s.store == nil:
				return nil, s.trouble
			}
			shown := ""
			if folder := w.m.spec.folder(s.spec); folder != "" {
				shown = folder + "/"
			}
			w.last = s.spec
			names, err := s.plain(ctx, name)
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				all = append(all, warm.Place{Store: s.store, Name: name, Shown: shown})
			}
		}
	}
	if len(all) == 0 && w.q.Do != warmPins {
		return nil, &failure{What: strings.Join(w.q.Paths, ", "), Why: "no such file or folder in this mount", Do: "studyfs status lists the mounts", Code: exitError}
	}
	return all, nil
}

// pins lists what stays in the cache of all sources.
func (m *mountServer) pins() []pinned {
	all := []pinned{}
	for _, s := range m.sources {
		if s.store == nil {
			continue
		}
		for _, p := range s.store.Pins() {
			all = append(all, pinned{path.Join(m.spec.Dir, m.spec.folder(s.spec), p.Path), p.Bytes})
		}
	}
	return all
}

// explain says why a job ended early, and that it can be taken up again.
func (w *warming) explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return &failure{What: w.q.Do, Why: "the mount was taken away meanwhile", Do: "mount again and run the same: what has come is not fetched again", Code: exitTryAgain}
	}
	f := explainSource(w.last, err)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		f.Why, f.Do, f.Code = "there is no such file or folder", "studyfs status lists the mounts", exitError
	case errors.Is(err, backends.ErrBusy), isUnreachable(err):
		f.Do, f.Code = "run the same again later: what has come is not fetched again", exitTryAgain
	}
	return f
}
