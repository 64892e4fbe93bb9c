package beiwe

import (
	"context"
	"errors"
	"strings"
	"time"

	"studyfs/backends"
)

// smallSummary is how large a study's whole summary may be to be read at every refreshing. Late uploads reach back weeks, so the whole is what
// one wants; 100 participants' year is 25 MB, though, and then only the newest days are read each time.
const smallSummary = 1 << 20

const (
	zstdTTL    = 24 * time.Hour // how long it is believed that a server has version 2, or not
	recentDays = 8              // what a partial refreshing looks back
	wholeEvery = 12 * time.Hour
)

// fetchStudy reads what a study's folders stand on: its time zone, and the summary from the beginning.
func (s *Source) fetchStudy(ctx context.Context, id string) error {
	if err := s.askZstd(ctx); err != nil {
		return err
	}
	if err := s.askZone(ctx, id); err != nil {
		return s.ofStudy(ctx, id, err)
	}
	return s.readSummary(ctx, id, 0)
}

// askZstd finds out, once a day, which version of the data route there is.
func (s *Source) askZstd(ctx context.Context) error {
	s.mu.Lock()
	known := s.index.zstd != notAsked && s.o.Now().Sub(s.index.tried) < zstdTTL
	s.mu.Unlock()
	if known {
		return nil
	}
	yes, err := s.client.hasZstd(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.zstd, s.index.tried = lacking, s.o.Now()
	if yes {
		s.index.zstd = there
	}
	return nil
}

// askZone reads the study's time zone, once.
func (s *Source) askZone(ctx context.Context, id string) error {
	s.mu.Lock()
	st := s.index.Studies[id]
	known := st == nil || st.Zone != ""
	s.mu.Unlock()
	if known {
		return nil
	}
	zone, err := s.client.zone(ctx, id)
	if err != nil && !unknownRoute(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.index.Studies[id]; st != nil {
		st.Zone = zone
		st.ready()
	}
	return nil
}

// readSummary takes in the bytes per day from a day on, 0 for all, and tells of what changed.
func (s *Source) readSummary(ctx context.Context, id string, from Day) error {
	said := summary{}
	size, err := s.client.summary(ctx, id, from, said.add)
	none := unknownRoute(err)
	switch {
	case none: // a server before 2024-06
		if err := s.fetchPeople(ctx, id); err != nil {
			return err
		}
	case err != nil:
		return s.ofStudy(ctx, id, err)
	}
	s.mu.Lock()
	st := s.index.Studies[id]
	if st == nil {
		s.mu.Unlock()
		return backends.ErrNotExist
	}
	now := s.o.Now()
	st.NoSummary, st.asked = none, now
	if from == 0 {
		st.whole, st.small = now, size <= smallSummary
	}
	changes := st.takeSummary(said, from)
	if len(changes) > 0 {
		s.moved++
	}
	tell := s.tell
	s.mu.Unlock()
	for _, c := range changes {
		tell(c)
	}
	return nil
}

// summary is what a server says of a study: bytes by participant, stream and day.
type summary map[string]map[string]map[Day]int64

func (m summary) add(r row) error {
	if m[r.person] == nil {
		m[r.person] = map[string]map[Day]int64{}
	}
	for stream, n := range r.bytes {
		if m[r.person][stream] == nil {
			m[r.person][stream] = map[Day]int64{}
		}
		m[r.person][stream][r.day] += n
	}
	return nil
}

// takeSummary notes the bytes of all days from a day on: those that it does not name hold nothing (any more).
func (s *study) takeSummary(said summary, from Day) (changes []backends.Change) {
	if s.NoSummary {
		return nil
	}
	moved := map[string]bool{} // directories below which something differs
	for id, streams := range said {
		for stream, days := range streams {
			before := len(s.person(id).Streams)
			t := s.person(id).stream(stream)
			if t.takeDays(days, from) {
				t.markFolders(moved, s.Folder+"/"+id+"/"+stream)
			}
			if len(s.person(id).Streams) != before {
				moved[s.Folder], moved[s.Folder+"/"+id] = true, true
			}
		}
	}
	for id, p := range s.People {
		for stream, t := range p.Streams {
			if said[id][stream] == nil && t.takeDays(nil, from) {
				t.markFolders(moved, s.Folder+"/"+id+"/"+stream)
			}
		}
	}
	for _, dir := range sortedKeys(moved) {
		changes = append(changes, backends.Change{Dir: dir, All: true})
	}
	return changes
}

// markFolders marks a stream's folder and the surveys' in it: to the kernel, what is said of a folder says nothing of those below.
func (t *stream) markFolders(marked map[string]bool, dir string) {
	marked[dir] = true
	for rest := range t.Files {
		if i := strings.LastIndexByte(rest, '/'); i >= 0 {
			marked[dir+"/"+rest[:i]] = true
		}
	}
}

// takeDays notes one stream's days from a day on.
func (t *stream) takeDays(said map[Day]int64, from Day) (news bool) {
	for d, n := range said {
		news = t.takeDay(d, n) || news
	}
	for d := range t.Days {
		if _, ok := said[d]; !ok && d >= from {
			news = t.takeDay(d, 0) || news
		}
	}
	return news
}

// refresh asks for changes every now and then, of the studies that somebody has looked at, until ctx ends.
func (s *Source) refresh(ctx context.Context) {
	ticker := time.NewTicker(s.o.Refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for id, from := range s.due() {
			if err := s.readSummary(ctx, id, from); err != nil {
				s.logRefresh(ctx, err)
				if errors.Is(err, backends.ErrAuth) {
					break
				}
			}
		}
	}
}

// due are the studies to ask for, and from which day on.
func (s *Source) due() map[string]Day {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, due := s.o.Now(), map[string]Day{}
	for id, st := range s.index.Studies {
		if st.asked.IsZero() || st.NoSummary {
			continue
		}
		from := dayOf(now.Unix(), st.zone) - recentDays
		if st.small || now.Sub(st.whole) >= wholeEvery {
			from = 0
		}
		due[id] = from
	}
	return due
}
