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

// stored is the index as it outlives the process. Files and days are what costs: a year of a hundred participants is a million files.
type stored struct {
	Format  int
	Server  string
	Shown   string // what was shown of it: what is complete depends on that
	Studies map[string]*study
	Without []string
	Zstd    capability
	Tried   time.Time
}

const indexFormat = 1

// Snapshot returns the index; see [backends.Indexed].
func (s *Source) Snapshot(since uint64) ([]byte, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moved == since {
		return nil, since
	}
	var out bytes.Buffer
	err := gob.NewEncoder(&out).Encode(stored{
		Format: indexFormat, Server: s.o.URL, Shown: s.shownText(), Studies: s.index.Studies, Without: slices.Sorted(maps.Keys(s.without)),
		Zstd: s.index.zstd, Tried: s.index.tried,
	})
	if err != nil {
		s.o.Log.Error("cannot store what is known of the server", "err", err)
		return nil, since
	}
	return out.Bytes(), s.moved
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
	for id, st := range in.Studies {
		if err := st.check(id); err != nil {
			return fmt.Errorf("stored index: %w", err)
		}
		x.Studies[id] = st
		if in.Shown != s.shownText() {
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
		p.probed = time.Time{}
		for _, t := range p.Streams {
			t.Listed, t.Whole, t.Recent = false, 0, 0
		}
	}
}

// check makes what was read fit for use, or says why it cannot be.
func (s *study) check(id string) error {
	if s == nil || s.ID != id || !validStudy(id) || s.Folder == "" || !backends.ValidName(s.Folder) {
		return errors.New("a study that cannot be one")
	}
	s.ready()
	if s.People == nil {
		s.People = map[string]*person{}
	}
	if s.Docs == nil {
		s.Docs = map[string]*document{}
	}
	for name, p := range s.People {
		if p == nil || !validPerson(name) {
			return errors.New("a participant that cannot be one")
		}
		if err := p.check(s); err != nil {
			return err
		}
	}
	return nil
}

func (p *person) check(s *study) error {
	if p.Streams == nil {
		p.Streams = map[string]*stream{}
	}
	for name, t := range p.Streams {
		if t == nil || !validStream(name) {
			return errors.New("a stream that cannot be one")
		}
		if err := t.check(s); err != nil {
			return err
		}
	}
	return nil
}

// check recounts what the days hold: the sums decide what is fetched.
func (t *stream) check(st *study) error {
	if t.Days == nil {
		t.Days = map[Day]*cell{}
	}
	if t.Files == nil {
		t.Files = map[string]*file{}
	}
	for _, c := range t.Days {
		if c == nil {
			return errors.New("a day that cannot be one")
		}
		c.Sum = 0
	}
	for rest, f := range t.Files {
		if f == nil || f.Size < 0 || rest == "" || !backends.ValidName(rest) {
			return errors.New("a file that cannot be one")
		}
		t.cell(dayOf(f.At, st.zone)).Sum += f.Size
	}
	return nil
}
