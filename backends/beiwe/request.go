package beiwe

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
)

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
		j.s.index.zstd, zstd = lacking, false
		j.s.mu.Unlock()
		resp, err = j.s.client.send(ctx, j.call(span, streams, zstd))
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // what counts was read
	return j.take(ctx, resp.Body, zstd, nil)
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
					j.suppressed = j.suppressed || !j.seen[name][rest]
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
