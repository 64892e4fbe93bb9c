package beiwe

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"studyfs/backends"
)

// The index as it outlives the process: lists, in any order. gob reads those no further than its input goes, but makes maps as large as a
// damaged length says.
type (
	stored struct {
		Format  int
		Server  string
		Shown   string // what was shown of it: what is complete depends on that
		Studies []storedStudy
		Without []string
		Zstd    capability
		Tried   time.Time
	}
	storedStudy struct {
		ID, Title, Folder, Zone string
		NoSummary               bool
		People                  []storedPerson
		Docs                    []storedDocument
	}
	storedPerson struct {
		ID      string
		Streams []storedStream
		Probed  time.Time
	}
	storedStream struct {
		Name          string
		Days          []storedDay
		Files         []storedFile
		Listed        bool
		Exists        bool // a probe found data
		Whole, Recent int64
	}
	storedDay struct {
		Day        Day
		Bytes, Got int64
		Plain      bool
	}
	storedFile struct {
		Rest string
		File file
	}
	storedDocument struct {
		Name     string
		Document document
	}
)

const indexFormat = 2

// lastDay is in the year 2243: no phone's clock that a server accepts is beyond it.
const lastDay = 100_000

// Snapshot returns the index; see [backends.Indexed].
func (s *Source) Snapshot(since uint64) ([]byte, uint64) {
	s.mu.Lock()
	if s.moved == since {
		s.mu.Unlock()
		return nil, since
	}
	generation := s.moved
	out := stored{
		Format: indexFormat, Server: s.o.URL, Shown: s.shownText(), Without: slices.Sorted(maps.Keys(s.without)), Zstd: s.index.zstd, Tried: s.index.tried,
	}
	for _, st := range s.index.Studies {
		out.Studies = append(out.Studies, st.store())
	}
	s.mu.Unlock()
	var raw bytes.Buffer
	if err := gob.NewEncoder(&raw).Encode(out); err != nil { // a million files take seconds: not under the lock
		s.o.Log.Error("cannot store what is known of the server", "err", err)
		return nil, since
	}
	return raw.Bytes(), generation
}

func (s *study) store() storedStudy {
	out := storedStudy{ID: s.ID, Title: s.Title, Folder: s.Folder, Zone: s.Zone, NoSummary: s.NoSummary}
	for id, p := range s.People {
		one := storedPerson{ID: id, Probed: p.probed}
		for name, t := range p.Streams {
			one.Streams = append(one.Streams, t.store(name))
		}
		out.People = append(out.People, one)
	}
	for name, d := range s.Docs {
		out.Docs = append(out.Docs, storedDocument{name, *d})
	}
	return out
}

func (t *stream) store(name string) storedStream {
	out := storedStream{Name: name, Listed: t.Listed, Exists: t.exists, Whole: t.Whole, Recent: t.Recent}
	for d, c := range t.Days {
		out.Days = append(out.Days, storedDay{d, c.Bytes, c.Got, c.Plain})
	}
	for rest, f := range t.Files {
		out.Files = append(out.Files, storedFile{rest, *f})
	}
	return out
}

// Restore takes an index; see [backends.Indexed].
func (s *Source) Restore(raw []byte) error {
	var in stored
	if err := gob.NewDecoder(bytes.NewReader(raw)).Decode(&in); err != nil {
		return fmt.Errorf("stored index: %w", err)
	}
	if in.Format != indexFormat || in.Server != s.o.URL {
		return errors.New("stored index: of another format or server")
	}
	x := newIndex()
	x.zstd, x.tried = min(in.Zstd, there), in.Tried
	for _, one := range in.Studies {
		st, err := one.restore()
		if err != nil {
			return fmt.Errorf("stored index: %w", err)
		}
		if x.Studies[st.ID] = st; in.Shown != s.shownText() {
			st.incomplete()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = x
	for _, name := range in.Without {
		s.without[name] = true
	}
	return nil
}

// shownText tells apart what is shown by different options.
func (s *Source) shownText() string { return fmt.Sprint(s.o.Since, s.o.Until, s.o.Streams) }

// incomplete forgets that directories were complete.
func (s *study) incomplete() {
	for _, p := range s.People {
		for _, t := range p.Streams {
			t.Listed, t.Whole, t.Recent = false, 0, 0
		}
	}
}

// restore makes a study of what was read, or says why it cannot be one.
func (in *storedStudy) restore() (*study, error) {
	if !validStudy(in.ID) || in.Folder == "" || !backends.ValidName(in.Folder) {
		return nil, errors.New("a study that cannot be one")
	}
	st := newStudy(in.ID)
	st.Title, st.Folder, st.Zone, st.NoSummary = in.Title, in.Folder, in.Zone, in.NoSummary
	st.ready()
	for _, p := range in.People {
		if !validPerson(p.ID) {
			return nil, errors.New("a participant that cannot be one")
		}
		st.person(p.ID).probed = p.Probed
		for _, one := range p.Streams {
			if !validStream(one.Name) {
				return nil, errors.New("a stream that cannot be one")
			}
			if err := one.restore(st.person(p.ID).stream(one.Name), st.zone); err != nil {
				return nil, err
			}
		}
	}
	for _, d := range in.Docs {
		if d.Document.Size < 0 {
			return nil, errors.New("a document that cannot be one")
		}
		st.Docs[d.Name] = &d.Document
	}
	return st, nil
}

// restore fills a stream. What its days hold is counted anew, since that decides what is fetched.
func (in *storedStream) restore(t *stream, zone *time.Location) error {
	t.Listed, t.exists, t.Whole, t.Recent = in.Listed, in.Exists, in.Whole, in.Recent
	for _, d := range in.Days {
		if d.Day < 0 || d.Day > lastDay || d.Bytes < 0 {
			return errors.New("a day that cannot be one")
		}
		t.Days[d.Day] = &cell{Bytes: d.Bytes, Got: d.Got, Plain: d.Plain}
	}
	for _, f := range in.Files {
		one := f.File
		if one.Size < 0 || one.At < 0 || one.At > lastDay*secondsPerDay || f.Rest == "" || !backends.ValidName(f.Rest) {
			return errors.New("a file that cannot be one")
		}
		t.put(zone, f.Rest, &one)
	}
	return nil
}
