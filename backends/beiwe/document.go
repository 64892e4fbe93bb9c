package beiwe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // a name for a version, as for files
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"studyfs/backends"
)

// document is one file of .studyfs/STUDY: an answer of the server about the study as a whole.
type document struct {
	Size    int64
	Version string
	Mod     int64 // when this version was first seen, Unix seconds
	Missing bool  // the server has no such thing

	asked time.Time
}

func (d *document) entry(name string) backends.Entry {
	return backends.Entry{Name: name, Size: d.Size, Version: d.Version, ModTime: time.Unix(d.Mod, 0).UTC()}
}

// documents are the files of .studyfs/STUDY and where they come from.
func documents() map[string]call {
	return map[string]call{
		"settings.json":       {op: "read settings", path: routeSettings},
		"participants.csv":    {op: "read participants", path: routeTable, form: url.Values{"data_format": {"csv"}}},
		"interventions.json":  {op: "read interventions", path: routeIntervention},
		"survey_history.json": {op: "read survey history", path: routeHistory},
		"summary.csv":         {op: "read summary", path: routeSummary},
	}
}

// planDocument names the next document that must be read.
func (s *Source) planDocument(at place, name string, need backends.Need, have func(backends.Entry) bool) string {
	if at.missing {
		return ""
	}
	wanted := []string{at.rest}
	if at.rest == "" {
		if wanted = nil; need == backends.ToList {
			wanted = sortedKeys(documents())
		}
	}
	for _, file := range wanted {
		if _, known := documents()[file]; !known {
			continue
		}
		d := at.study.Docs[file]
		lost := need == backends.ToRead && d != nil && !d.Missing && !have(d.entry(name))
		if lost || s.stale(d) {
			return bundleDoc + "/" + at.study.ID + "/" + file
		}
	}
	return ""
}

// stale reports whether a document must be read (again).
func (s *Source) stale(d *document) bool {
	return d == nil || !s.away() && s.o.Now().Sub(d.asked) >= docTTL
}

func (s *Source) listDocuments(name string, at place) ([]backends.Entry, error) {
	var all []backends.Entry
	for file := range documents() {
		d := at.study.Docs[file]
		if d == nil {
			return nil, errNotYet
		}
		if !d.Missing {
			all = append(all, d.entry(backends.Join(name, file)))
		}
	}
	return sorted(all), nil
}

// fetchDocument reads one document ("STUDY/FILE").
func (s *Source) fetchDocument(ctx context.Context, name string, put backends.Put) error {
	id, file := cut(name)
	q, ok := documents()[file]
	if !ok {
		return errBundle
	}
	err := s.client.ofStudy(ctx, q, id, func(body io.Reader) error {
		if file == "summary.csv" {
			return s.putTable(ctx, body, id, file, put)
		}
		return s.putDocument(ctx, body, id, file, put)
	})
	if unknownRoute(err) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if st := s.index.Studies[id]; st != nil {
			st.Docs[file] = &document{Missing: true, asked: s.o.Now()}
		}
		return nil
	}
	if err != nil {
		return s.ofStudy(ctx, id, err)
	}
	return nil
}

// putDocument hands an answer on as it is, once it is whole and right.
func (s *Source) putDocument(ctx context.Context, body io.Reader, id, file string, put backends.Put) error {
	all, err := io.ReadAll(io.LimitReader(body, maxAnswer+1)) // the server sends some of these a character at a time
	switch {
	case err != nil:
		return err
	case len(all) > maxAnswer:
		return fmt.Errorf("%w: more than %d MiB", backends.ErrBadAnswer, maxAnswer>>20)
	case file != "participants.csv" && !json.Valid(all):
		return fmt.Errorf("%w: not JSON", backends.ErrBadAnswer)
	}
	return s.putBytes(ctx, bytes.NewReader(all), int64(len(all)), id, file, put)
}

func (s *Source) putBytes(ctx context.Context, body io.Reader, size int64, id, file string, put backends.Put) error {
	hash := sha1.New() //nolint:gosec // as above
	counted := &counter{r: io.TeeReader(body, hash)}
	return put(ctx, size, counted, func() (backends.Entry, error) {
		return s.sealDocument(id, file, counted.n, base64.StdEncoding.EncodeToString(hash.Sum(nil)))
	})
}

func (s *Source) sealDocument(id, file string, size int64, version string) (backends.Entry, error) {
	s.mu.Lock()
	st := s.index.Studies[id]
	if st == nil {
		s.mu.Unlock()
		return backends.Entry{}, backends.ErrNotExist
	}
	now := s.o.Now()
	dir := controlDir + "/" + st.Folder
	d := &document{Size: size, Version: version, Mod: now.Unix(), asked: now}
	before := st.Docs[file]
	c := backends.Change{Dir: dir, Names: []string{dir + "/" + file}}
	changed := before != nil && before.Version != version
	if before != nil && !changed {
		d.Mod = before.Mod
	} else if changed && !before.Missing {
		c.Gone = []backends.Entry{before.entry(dir + "/" + file)}
	}
	st.Docs[file] = d
	s.moved++
	tell := s.tell
	s.mu.Unlock()
	if changed {
		tell(c)
	}
	return d.entry(dir + "/" + file), nil
}

// putTable turns the summary's list of objects into CSV as it comes: a large study's is more than memory should hold.
func (s *Source) putTable(ctx context.Context, body io.Reader, id, file string, put backends.Put) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() { // ends with the pipe, whose reader is closed below
		defer close(done)
		w.CloseWithError(writeTable(w, body))
	}()
	err := s.putBytes(ctx, r, backends.SizeUnknown, id, file, put)
	r.CloseWithError(errors.New("not read to its end"))
	<-done
	return err
}

// writeTable writes a list of flat objects as CSV. The first one's keys, date and participant first, are the columns.
func writeTable(w io.Writer, body io.Reader) error {
	d := json.NewDecoder(body)
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return badAnswer(errors.Join(errors.New("not a list"), err))
	}
	buffered := bufio.NewWriter(w)
	out := csv.NewWriter(buffered)
	var columns []string
	for d.More() {
		var fields map[string]any
		if err := d.Decode(&fields); err != nil {
			return badAnswer(err)
		}
		if columns == nil {
			columns = tableColumns(fields)
			out.Write(columns) //nolint:errcheck // Error tells
		}
		line := make([]string, len(columns))
		for i, c := range columns {
			if v := fields[c]; v != nil {
				line[i] = fmt.Sprint(v)
			}
		}
		out.Write(line) //nolint:errcheck // Error tells
	}
	if _, err := d.Token(); err != nil {
		return badAnswer(err)
	}
	out.Flush()
	return errors.Join(out.Error(), buffered.Flush())
}

func tableColumns(fields map[string]any) []string {
	first := []string{"date", "participant_id"}
	columns := slices.Clone(first)
	for _, key := range sortedKeys(fields) {
		if !slices.Contains(first, key) {
			columns = append(columns, key)
		}
	}
	return columns
}

// readDocument reads a document once more, past the cache.
func (s *Source) readDocument(ctx context.Context, e backends.Entry) (*bytes.Reader, error) {
	s.mu.Lock()
	at := s.place(e.Name)
	s.mu.Unlock()
	if at.study == nil || at.rest == "" {
		return nil, fmt.Errorf("read: %w", backends.ErrNotExist)
	}
	return readVersion(e, func(put backends.Put) error { return s.fetchDocument(ctx, at.study.ID+"/"+at.rest, put) })
}
