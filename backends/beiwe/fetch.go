package beiwe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe/zipstream"
)

// job is the fetch of one window: one request, or several where it is too much for one or the answer breaks off.
type job struct {
	s      *Source
	window window
	put    backends.Put
	began  time.Time

	// What follows is guarded by the Source's mu.
	said       map[string]map[Day]int64   // what the server said of the days covered, when the fetch began
	seen       map[string]map[string]bool // files that came, by stream and path
	unknown    map[string]bool            // streams that the server does not know
	suppressed bool                       // files that the index had were not asked for
	expect     int64
	bytes      int64
	changes    map[string][]string // names that differ now, by directory
	gone       []backends.Entry
}

// fetchWindow brings a window.
func (s *Source) fetchWindow(ctx context.Context, w window, put backends.Put) error {
	if w.ahead {
		if err := s.slots.ahead.Acquire(ctx, 1); err != nil {
			return err
		}
		defer s.slots.ahead.Release(1)
	}
	j := s.begin(w, put)
	defer s.end(j)
	if w.probe {
		return j.probe(ctx)
	}
	err := j.run(ctx)
	if err == nil {
		s.finish(j)
	}
	return err
}

// begin notes that a window is on its way, and what the server says of its days now: what is said later may be of later bytes.
func (s *Source) begin(w window, put backends.Put) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &job{
		s: s, window: w, put: put, began: s.o.Now(), said: map[string]map[Day]int64{}, seen: map[string]map[string]bool{},
		unknown: map[string]bool{}, changes: map[string][]string{},
	}
	s.flying[w.String()] = j
	st := s.index.Studies[w.study]
	for _, name := range w.streams {
		j.seen[name], j.said[name] = map[string]bool{}, map[Day]int64{}
		if st == nil || st.People[w.person] == nil || st.People[w.person].Streams[name] == nil {
			continue
		}
		t := st.People[w.person].Streams[name]
		if t.reader.ordered() && w.span.to-w.span.from > secondsPerDay+3600 {
			t.reader.fetched()
		}
		for d, c := range t.Days {
			if w.span.covers(d.stretch(st.zone)) {
				j.said[name][d] = c.Bytes
				j.expect += c.Bytes
			}
		}
	}
	return j
}

// end tells of what changed, whether or not all of it came.
func (s *Source) end(j *job) {
	s.mu.Lock()
	delete(s.flying, j.window.String())
	s.moved++
	tell := s.tell
	s.mu.Unlock()
	first := true
	for _, dir := range sortedKeys(j.changes) {
		c := backends.Change{Dir: dir, Names: j.changes[dir]}
		if first {
			c.Gone, first = j.gone, false
		}
		tell(c)
	}
}

// errTooMuch says that a request was too much for the server: nothing came within its time.
var errTooMuch = errors.New("nothing came within the time allowed")

// run requests the window, in halves where it is too much at once: newest first.
func (j *job) run(ctx context.Context) error {
	todo := j.pieces()
	for len(todo) > 0 {
		err := j.piece(ctx, todo[0], j.window.streams)
		halves, can := todo[0].halves()
		switch {
		case err == nil:
			todo = todo[1:]
		case errors.Is(err, errTooMuch) && can:
			todo = append(halves[:], todo[1:]...)
		default:
			return err
		}
	}
	return nil
}

// pieces cuts the history of a heavy stream whose size nobody knows into years.
func (j *job) pieces() []stretch {
	w := j.window
	if !w.whole || len(w.streams) != 1 || !heavy(w.streams[0]) || j.expect > 0 && j.expect <= aheadWindow {
		return []stretch{w.span}
	}
	const year = 365 * secondsPerDay
	var all []stretch
	for to := w.span.to; to >= w.span.from; to -= year {
		all = append(all, stretch{max(w.span.from, to-year+1), to})
	}
	return all
}

// piece brings one stretch of the window's streams. A try that broke off after some files goes on with what is missing.
func (j *job) piece(ctx context.Context, span stretch, streams []string) error {
	for n := 1; ; n++ {
		before := j.arrived()
		err := j.request(ctx, span, streams)
		j.s.client.note(err)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if again, err := j.judge(ctx, span, streams, err); !again {
			return err
		}
		came := j.arrived() > before
		switch {
		case came:
			n = 0
		case timedOut(err) || n >= 2 && errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("fetch: %w: %w", errTooMuch, err)
		case n >= tries:
			return fmt.Errorf("fetch: %w", err)
		}
		if err := j.s.client.pause(ctx, max(n, 1)); err != nil {
			return err
		}
	}
}

// judge reports whether trying again can help, and if not, what to say; of an answer that concerns only a part of what was asked, it
// sees to the rest.
func (j *job) judge(ctx context.Context, span stretch, streams []string, err error) (again bool, verdict error) {
	switch {
	case errors.Is(err, backends.ErrNotExist):
		return false, j.split(ctx, span, streams, err)
	case errors.Is(err, backends.ErrPermission):
		return false, j.forbidden(ctx, err)
	case !passing(err) && !errors.Is(err, zipstream.ErrChecksum):
		return false, fmt.Errorf("fetch: %w", err)
	}
	return true, nil
}

// forbidden finds out whether the keys are refused, or only here.
func (j *job) forbidden(ctx context.Context, err error) error {
	if _, keys := j.s.client.studies(ctx); errors.Is(keys, backends.ErrAuth) {
		return keys
	}
	return fmt.Errorf("fetch: %w", err)
}

// timedOut reports whether the server, or what stands before it, ran out of time.
func timedOut(err error) bool {
	var answer *answerError
	return errors.Is(err, errStalled) || errors.As(err, &answer) && answer.status == http.StatusGatewayTimeout
}

func (j *job) arrived() (n int) {
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	for _, files := range j.seen {
		n += len(files)
	}
	return n
}

// split finds out what a "not found" is about: one unknown stream makes it the answer for all, and an unknown participant too.
func (j *job) split(ctx context.Context, span stretch, streams []string, err error) error {
	if len(streams) > 1 {
		for _, one := range streams {
			if err := j.piece(ctx, span, []string{one}); err != nil {
				return err
			}
		}
		return nil
	}
	const everywhere = "gps"
	never := stretch{span.to, span.to - 1} // begins after its end: an empty zip
	if streams[0] != everywhere {
		if known := j.request(ctx, never, []string{everywhere}); known == nil {
			j.s.mu.Lock()
			j.unknown[streams[0]], j.s.without[streams[0]] = true, true
			j.s.mu.Unlock()
			return nil // the server does not know the stream: nobody has data of it
		}
	}
	return j.s.ofStudy(ctx, j.window.study, fmt.Errorf("fetch: %w", err))
}

// maxNothing bounds the memory of names that were looked for in vain.
const maxNothing = 10_000

// finish notes that a window is complete: what its days hold is known, and of a plain one what is gone.
func (s *Source) finish(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := j.window
	st := s.index.Studies[w.study]
	if st == nil {
		return
	}
	if w.span.from == w.span.to && j.bytes == 0 {
		if len(st.nothing) >= maxNothing {
			clear(st.nothing)
		}
		st.nothing[w.String()] = s.o.Now()
	}
	for _, name := range w.streams {
		t := st.person(w.person).stream(name)
		if w.plain && !j.unknown[name] {
			j.forget(st, t, name)
		}
		for d, bytes := range j.said[name] {
			c := t.cell(d)
			c.Got = bytes
			c.Plain = j.suppressed && c.Sum > c.Bytes && c.Bytes == bytes
		}
		j.stamp(t)
	}
}

// stamp notes when a stream without trustworthy days was fetched.
func (j *job) stamp(t *stream) {
	now, w := j.began.Unix(), j.window
	switch {
	case w.whole:
		t.Whole, t.Recent = now, now
	case w.span.from <= now-recentSpan && w.span.to >= min(now, j.s.shownSpanEnd(w.study)):
		t.Recent = now
	}
}

// shownSpanEnd is the last moment of a study that is shown. The caller holds mu.
func (s *Source) shownSpanEnd(study string) int64 { return s.shownSpan(s.index.Studies[study]).to }

// forget drops the files of a plain window that did not come again. The caller holds the Source's mu.
func (j *job) forget(st *study, t *stream, name string) {
	for rest, f := range t.Files {
		if !j.window.span.holds(f.At) || j.seen[name][rest] {
			continue
		}
		full := st.Folder + "/" + j.window.person + "/" + name + "/" + rest
		dir := path.Dir(full)
		j.gone = append(j.gone, f.entry(full))
		j.changes[dir] = append(j.changes[dir], full)
		t.remove(st.zone, rest)
		if len(t.Files) == 0 { // the folder goes with its last file
			parent := st.Folder + "/" + j.window.person
			j.changes[parent] = append(j.changes[parent], parent+"/"+name)
		}
	}
}
