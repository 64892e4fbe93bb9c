package beiwe

import (
	"context"
	"crypto/sha1" //nolint:gosec // the server's own choice: its registry names contents by it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
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
	said    map[string]map[Day]int64   // what the server said of the days covered, when the fetch began
	seen    map[string]map[string]bool // files that came, by stream and path
	unknown map[string]bool            // streams that the server does not know
	expect  int64
	bytes   int64
	changes map[string][]string // names that differ now, by directory
	gone    []backends.Entry
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
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, backends.ErrNotExist):
			return j.split(ctx, span, streams, err)
		case errors.Is(err, backends.ErrPermission):
			return j.s.client.ofStudy(ctx, call{op: "ask again", path: routePeople}, j.window.study, discard)
		case !passing(err):
			return fmt.Errorf("fetch: %w", err)
		}
		came := j.arrived() > before
		if came {
			n = 0
		}
		if !came && (timedOut(err) || n >= 2 && errors.Is(err, io.ErrUnexpectedEOF)) {
			return fmt.Errorf("fetch: %w: %w", errTooMuch, err)
		}
		if n >= tries {
			return fmt.Errorf("fetch: %w", err)
		}
		if err := j.s.client.pause(ctx, max(n, 1)); err != nil {
			return err
		}
	}
}

func discard(r io.Reader) error {
	_, err := io.Copy(io.Discard, io.LimitReader(r, maxAnswer))
	return err
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

// request makes one request for data and takes in what comes.
func (j *job) request(ctx context.Context, span stretch, streams []string) error {
	if err := j.s.slots.all.Acquire(ctx, 1); err != nil {
		return err
	}
	defer j.s.slots.all.Release(1)
	zstd := j.s.zstd()
	resp, err := j.s.client.send(ctx, j.call(span, streams, zstd))
	if zstd && unknownRoute(err) { // the server was set back to an older one
		j.s.mu.Lock()
		j.s.index.zstd = lacking
		j.s.mu.Unlock()
		return j.request2(ctx, span, streams)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // what counts was read
	return j.take(ctx, resp.Body, zstd, nil)
}

// request2 is request for version 1; the slot is held already.
func (j *job) request2(ctx context.Context, span stretch, streams []string) error {
	resp, err := j.s.client.send(ctx, j.call(span, streams, false))
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // what counts was read
	return j.take(ctx, resp.Body, false, nil)
}

func (s *Source) zstd() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.zstd == there
}

// call is the request. Ids and streams go as JSON lists always: a lone id of digits only would be read as a number and refused.
func (j *job) call(span stretch, streams []string, zstd bool) call {
	q := call{op: "fetch", path: routeData, data: true, form: url.Values{"study_id": {j.window.study}}}
	if zstd {
		q.path = routeDataZstd
	}
	list := func(key string, values ...string) {
		text, _ := json.Marshal(values) //nolint:errchkjson // strings
		q.form.Set(key, string(text))
	}
	list("user_ids", j.window.person) // the name that every server knows
	list("data_streams", streams...)
	q.form.Set("time_start", wire(span.from))
	q.form.Set("time_end", wire(span.to))
	if registry := j.registry(span, streams); len(registry) > 0 {
		text, _ := json.Marshal(registry) //nolint:errchkjson // strings
		q.form.Set("registry", string(text))
	}
	return q
}

// registry tells the server what need not be sent: files that came before this try broke off, and unless all is to be sent again, those that the
// index has. Keys without "CHUNKED_DATA/" and values never empty: see shortPath; a null would break the answer off.
func (j *job) registry(span stretch, streams []string) map[string]string {
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	registry := map[string]string{}
	st := j.s.index.Studies[j.window.study]
	if st == nil || st.People[j.window.person] == nil {
		return registry
	}
	for _, name := range streams {
		t := st.People[j.window.person].Streams[name]
		if t == nil {
			continue
		}
		for rest, f := range t.Files {
			if span.holds(f.At) && (!j.window.plain || j.seen[name][rest]) {
				if chunk := f.chunkPath(st.ID, j.window.person, name, rest); chunk != "" {
					registry[shortPath(chunk)] = base64.StdEncoding.EncodeToString(f.SHA[:])
				}
			}
		}
	}
	return registry
}

// chunkPath is the server's name of a file, "" if it is not known.
func (f *file) chunkPath(study, person, stream, rest string) string {
	if f.Chunk != "" || unchunked(stream) {
		return f.Chunk
	}
	return member{person: person, stream: stream, rest: rest, at: f.At}.chunkPath(study)
}

// arrival is one member of a zip, in the order in which they came: the registry at its end names them in the same order.
type arrival struct {
	member
	file   *file
	listed bool // it is in the index already; else it waits for its name
}

// errEnough ends a probe.
var errEnough = errors.New("enough")

// take reads a zip as it comes. only, where given, decides on each member whether to take it, for probes and single files.
func (j *job) take(ctx context.Context, body io.Reader, zstd bool, only func(member) error) error {
	z := zipstream.NewReader(body, zipstream.Options{Zstd: zstd})
	defer z.Close() //nolint:errcheck // a decoder's memory
	var came []arrival
	for {
		m, err := z.Next()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: a zip without registry", backends.ErrBadAnswer)
		case errors.Is(err, zipstream.ErrName):
			j.s.hidden.Add(1)
			came = append(came, arrival{listed: true})
			continue
		case err != nil:
			return zipError(err)
		case m.Name == "registry":
			return j.close(z, came)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		one, err := j.takeMember(ctx, z, m, only)
		if err != nil {
			return zipError(err)
		}
		came = append(came, one)
	}
}

// zipError tells a broken connection, which is worth another try, from a broken zip.
func zipError(err error) error {
	if errors.Is(err, backends.ErrUnreachable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, errEnough) || errors.Is(err, backends.ErrBadAnswer) {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the answer breaks off: %w", backends.ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", backends.ErrBadAnswer, err)
}

// takeMember hands one member on. One that does not belong to what was asked for is passed over: a stream that the server's list has
// gained since is not, if all streams are wanted.
func (j *job) takeMember(ctx context.Context, z *zipstream.Reader, m zipstream.Member, only func(member) error) (arrival, error) {
	what, ok := parseMember(m.Name)
	if !ok || what.person != j.window.person || !j.s.wanted(what.stream) {
		j.s.hidden.Add(1)
		return arrival{listed: true}, nil
	}
	if only != nil {
		if err := only(what); err != nil {
			return arrival{}, err
		}
	}
	one := arrival{member: what}
	hash := sha1.New() //nolint:gosec // as above
	counted := &counter{r: io.TeeReader(z, hash)}
	err := j.put(ctx, m.Size, counted, func() (backends.Entry, error) {
		f := &file{At: what.at, Size: counted.n, SHA: [sha1.Size]byte(hash.Sum(nil))}
		one.file = f
		return j.s.arrive(j, &one)
	})
	return one, err
}

// direct reports whether a member may be listed under its name as soon as it has come: hourly files of streams without surveys, of which there
// is exactly one per hour. The others may share a second, and which of them the server numbers is chance.
func (m member) direct() bool {
	return !unchunked(m.stream) && m.again == 1 && path.Dir(m.rest) == "."
}

// arrive takes a file into the index, or finds the name that it has there already.
func (s *Source) arrive(j *job, one *arrival) (backends.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.index.Studies[j.window.study]
	if st == nil {
		return backends.Entry{}, backends.ErrNotExist
	}
	t := st.person(j.window.person).stream(one.stream)
	j.bytes += one.file.Size
	if j.seen[one.stream] == nil {
		j.seen[one.stream] = map[string]bool{}
	}
	dir := st.Folder + "/" + j.window.person + "/" + one.stream + "/"
	if !one.direct() {
		group := t.sameSecond(firstName(one.rest, one.again))
		for _, rest := range sortedKeys(group) {
			if f := group[rest]; f.SHA == one.file.SHA && !j.seen[one.stream][rest] {
				one.rest, one.listed = rest, true
				j.seen[one.stream][rest] = true
				return f.entry(dir + rest), nil
			}
		}
		return one.file.entry(dir + one.rest), nil
	}
	one.listed = true
	s.add(j, st, t, one)
	return t.Files[one.rest].entry(dir + one.rest), nil
}

// add puts a file into the index under its name. The caller holds mu.
func (s *Source) add(j *job, st *study, t *stream, one *arrival) {
	f, before := one.file, t.Files[one.rest]
	j.seen[one.stream][one.rest] = true
	f.Mod = f.At
	if !unchunked(one.stream) {
		f.Mod = max(f.At, min(f.At+3600, s.o.Now().Unix())) // the end of its hour, which may not be over yet
	}
	if before != nil {
		f.Mod, f.Hash, f.Chunk = before.Mod, before.Hash, before.Chunk
		if before.SHA != f.SHA {
			f.Mod = s.o.Now().Unix() // when the change was seen: the server tells no times
		}
	}
	old := t.put(st.zone, one.rest, f)
	dir, base := path.Split(st.Folder + "/" + j.window.person + "/" + one.stream + "/" + one.rest)
	dir = dir[:len(dir)-1]
	if old != nil {
		j.gone = append(j.gone, old.entry(dir+"/"+base))
	}
	if old != nil || before == nil && t.Listed {
		j.changes[dir] = append(j.changes[dir], dir+"/"+base)
	}
}

// close reads the registry, which tells the server's own names of what came, and gives those files their names that wait for it.
func (j *job) close(z *zipstream.Reader, came []arrival) error {
	i := 0
	for pair, err := range zipstream.Registry(z) {
		if err != nil {
			return zipError(err)
		}
		if i < len(came) && came[i].file != nil {
			came[i].file.Chunk, came[i].file.Hash = pair.ChunkPath, pair.Hash
		}
		i++
	}
	if i != len(came) {
		return fmt.Errorf("%w: the registry names %d files of %d", backends.ErrBadAnswer, i, len(came))
	}
	if _, err := z.Next(); !errors.Is(err, io.EOF) {
		return zipError(errors.Join(errors.New("the registry is not the last member"), err))
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	if st := j.s.index.Studies[j.window.study]; st != nil {
		j.nameRest(st, came)
	}
	return nil
}

// nameRest puts those files into the index that waited. The caller holds the Source's mu.
func (j *job) nameRest(st *study, came []arrival) {
	groups := map[string][]*arrival{}
	for i := range came {
		one := &came[i]
		if one.file == nil {
			continue
		}
		if t := st.person(j.window.person).stream(one.stream); one.listed {
			j.keepNames(t, one)
			continue
		}
		key := one.stream + "/" + firstName(one.rest, one.again)
		groups[key] = append(groups[key], one)
	}
	for _, key := range sortedKeys(groups) {
		stream, first := cut(key)
		t := st.person(j.window.person).stream(stream)
		var chunks []string
		for _, one := range groups[key] {
			chunks = append(chunks, one.file.Chunk)
		}
		names := t.nameNew(first, slices.Clone(chunks))
		for _, one := range groups[key] {
			one.rest = names[one.file.Chunk]
			chunk, hash := one.file.Chunk, one.file.Hash
			j.s.add(j, st, t, one)
			one.file.Chunk, one.file.Hash = chunk, hash
		}
	}
}

// keepNames notes the registry's words on a file that is in the index. Chunk paths that follow from the name are not kept.
func (j *job) keepNames(t *stream, one *arrival) {
	f := t.Files[one.rest]
	if f == nil || f.SHA != one.file.SHA {
		return
	}
	f.Hash = one.file.Hash
	f.Chunk = one.file.Chunk
	if one.direct() {
		f.Chunk = ""
	}
}

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
		st.nothing[w.String()] = s.o.Now()
	}
	for _, name := range w.streams {
		t := st.person(w.person).stream(name)
		if w.plain {
			j.forget(st, t, name)
		}
		for d, bytes := range j.said[name] {
			c := t.cell(d)
			c.Got = bytes
			c.Plain = !w.plain && c.Sum > c.Bytes && c.Bytes == bytes
		}
		if now := j.began.Unix(); w.whole {
			t.Whole, t.Recent = now, now
		} else if w.span.to >= now && w.span.from <= now-14*secondsPerDay {
			t.Recent = now
		}
	}
}

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
