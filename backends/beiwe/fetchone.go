package beiwe

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the server's own choice: its registry names contents by it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"studyfs/backends"
)

// maxDirect bounds a file that is read past the cache: it is held in memory until its hash has been compared.
const maxDirect = 256 << 20

// readWhole fetches one file that the index knows and checks that it is the version that e names.
func (s *Source) readWhole(ctx context.Context, e backends.Entry) (*bytes.Reader, error) {
	if e.Size > maxDirect {
		return nil, fmt.Errorf("read past the cache: %w: the file is larger than %d MiB", backends.ErrBusy, maxDirect>>20)
	}
	s.mu.Lock()
	at := s.place(e.Name)
	f := s.fileAt(at)
	if f == nil {
		doc := at.hidden == controlDir
		s.mu.Unlock()
		if doc {
			return s.readDocument(ctx, e)
		}
		return nil, fmt.Errorf("read: %w", backends.ErrNotExist)
	}
	w := at.window(stretch{f.At, f.At}, true)
	s.mu.Unlock()
	return readVersion(e, func(put backends.Put) error { return s.fetchWindow(ctx, w, put) })
}

// readVersion fetches into memory and picks the object whose contents are the version that e names.
func readVersion(e backends.Entry, fetch func(put backends.Put) error) (*bytes.Reader, error) {
	var found []byte
	err := fetch(func(_ context.Context, _ int64, body io.Reader, seal func() (backends.Entry, error)) error {
		all, err := io.ReadAll(io.LimitReader(body, maxDirect+1))
		if err != nil {
			return err
		}
		if sum := sha1.Sum(all); base64.StdEncoding.EncodeToString(sum[:]) == e.Version { //nolint:gosec // as above
			found = all
		}
		_, err = seal()
		return err
	})
	if err != nil {
		return nil, err
	}
	if int64(len(found)) != e.Size {
		return nil, fmt.Errorf("read: %w", backends.ErrChanged)
	}
	return bytes.NewReader(found), nil
}

// probe finds out which streams a participant has on a server without summary: it asks for the whole history of each heavy stream and leaves at
// the first file.
func (j *job) probe(ctx context.Context) error {
	exists := map[string]bool{}
	for _, name := range Streams() {
		if !j.s.wanted(name) || j.s.lacks(name) {
			continue
		}
		err := j.probeStream(ctx, name)
		if errors.Is(err, errEnough) {
			exists[name], err = true, nil
		}
		if err != nil {
			return err
		}
	}
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	st := j.s.index.Studies[j.window.study]
	if st == nil {
		return nil
	}
	p := st.person(j.window.person)
	p.probed = j.s.o.Now()
	for name := range exists {
		p.stream(name).exists = true
	}
	return nil
}

func (s *Source) lacks(stream string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.without[stream]
}

// probeStream returns errEnough if the stream holds a file, nil if it does not.
func (j *job) probeStream(ctx context.Context, name string) error {
	for n := 1; ; n++ {
		err := j.firstOf(ctx, name)
		switch {
		case errors.Is(err, backends.ErrNotExist):
			return j.split(ctx, j.window.span, []string{name}, err)
		case err == nil, errors.Is(err, errEnough), ctx.Err() != nil, !passing(err), n == tries:
			return err
		}
		if err := j.s.client.pause(ctx, n); err != nil {
			return err
		}
	}
}

// firstOf asks for a stream's whole history and returns errEnough with its first file.
func (j *job) firstOf(ctx context.Context, name string) error {
	if err := j.s.slots.all.Acquire(ctx, 1); err != nil {
		return err
	}
	defer j.s.slots.all.Release(1)
	resp, err := j.s.client.send(ctx, j.call(j.window.span, []string{name}, false))
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // left on purpose
	return j.take(ctx, resp.Body, false, func(m member) error {
		if m.stream == name {
			return errEnough
		}
		return nil
	})
}

// Progress is one fetch under way.
type Progress struct {
	Streams  []string `json:"streams"`
	From     string   `json:"from"` // the first day
	To       string   `json:"to"`
	Objects  int      `json:"objects"`
	Bytes    int64    `json:"bytes"`
	Expected int64    `json:"expected"` // 0 if nobody knows
	Seconds  float64  `json:"seconds"`
	Ahead    bool     `json:"ahead"` // nobody waits for it
}

// Progress tells what is being fetched; it names no participant.
func (s *Source) Progress() []Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Progress
	for _, j := range s.flying {
		p := Progress{
			Streams: slices.Clone(j.window.streams), Bytes: j.bytes, Expected: j.expect, Seconds: s.o.Now().Sub(j.began).Seconds(), Ahead: j.window.ahead,
			From: dayOf(j.window.span.from, time.UTC).String(), To: dayOf(j.window.span.to, time.UTC).String(),
		}
		for _, files := range j.seen {
			p.Objects += len(files)
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Progress) int { return int(b.Seconds*1000) - int(a.Seconds*1000) })
	return all
}
