package beiwe

import (
	"errors"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// The hidden folders at the root. They are answered but not listed: analysis scripts take every folder for a study or a participant.
const (
	controlDir = ".studyfs"
	byIDDir    = ".by-id"
	byDayDir   = ".by-day"
)

func cut(name string) (first, rest string) {
	first, rest, _ = strings.Cut(name, "/")
	return first, rest
}

// place is what a name means. Fields are set as far as the name reaches; missing says that it reaches nowhere.
type place struct {
	hidden  string // one of the hidden folders, or ""
	study   *study
	depth   int // how many parts the name has, the hidden folder not counted
	person  string
	p       *person // nil if nothing is known of the participant
	stream  string
	t       *stream // nil if nothing is known of the stream
	day     Day     // in .by-day
	rest    string  // below the stream, or below the day; a document's name in .studyfs
	missing bool
}

// place resolves a name. The caller holds mu.
func (s *Source) place(name string) place {
	var at place
	first, rest := cut(name)
	if first == controlDir || first == byIDDir || first == byDayDir {
		at.hidden, name = first, rest
	}
	if name == "" {
		return at
	}
	at.depth = strings.Count(name, "/") + 1
	folder, rest := cut(name)
	at.study = s.index.folderOf(folder)
	switch {
	case at.hidden == byIDDir:
		at.study, at.rest = s.index.Studies[folder], rest
		at.missing = at.study == nil || rest != ""
	case at.study == nil:
		at.missing = true
	case at.hidden == controlDir:
		at.rest, at.missing = rest, strings.Contains(rest, "/")
	default:
		s.placeInStudy(&at, rest)
	}
	return at
}

func (s *Source) placeInStudy(at *place, rest string) {
	if rest == "" {
		return
	}
	at.person, rest = cut(rest)
	at.p = at.study.People[at.person]
	at.missing = !validPerson(at.person) || at.p == nil && !at.study.roster[at.person]
	if rest == "" {
		return
	}
	at.stream, at.rest = cut(rest)
	if at.p != nil {
		at.t = at.p.Streams[at.stream]
	}
	known := at.t != nil || slices.Contains(Streams(), at.stream)
	at.missing = at.missing || !known || !s.wanted(at.stream)
	if at.hidden == byDayDir && at.rest != "" {
		s.placeInDay(at)
	}
}

func (s *Source) placeInDay(at *place) {
	text, rest := cut(at.rest)
	day, err := ParseDay(text)
	at.day, at.rest = day, rest
	at.missing = at.missing || err != nil || !s.shownDay(day)
}

// wanted reports whether a stream is one of those that are shown.
func (s *Source) wanted(stream string) bool {
	return len(s.o.Streams) == 0 || slices.Contains(s.o.Streams, stream)
}

func (s *Source) shownDay(d Day) bool { return s.o.Since <= d && d <= s.o.Until }

// shown returns the test whether a moment is within the days that are shown.
func (s *Source) shown(st *study) func(unix int64) bool {
	if s.o.Since == 0 && s.o.Until == 1<<30 {
		return func(int64) bool { return true }
	}
	return func(unix int64) bool { return s.shownDay(dayOf(unix, st.zone)) }
}

// entry is what the index knows of a name. The caller holds mu.
func (s *Source) entry(name string) (backends.Entry, bool) {
	dir := backends.Entry{Name: name, Dir: true}
	at := s.place(name)
	switch {
	case at.missing:
		return dir, false
	case at.hidden == byIDDir && at.study != nil:
		return link(name, "../"+at.study.Folder), true
	case at.rest == "":
		return dir, true
	case at.hidden == controlDir:
		d := at.study.Docs[at.rest]
		if d == nil || d.Missing {
			return dir, false
		}
		return d.entry(name), true
	case at.t == nil:
		return dir, false
	}
	f := at.t.Files[at.rest]
	switch {
	case f == nil:
		return dir, at.t.hasFolder(at.rest)
	case at.hidden == byDayDir:
		return link(name, dayTarget(at)), dayOf(f.At, at.study.zone) == at.day
	}
	return f.entry(name), s.shown(at.study)(f.At)
}

// hasFolder reports whether files lie below a path.
func (t *stream) hasFolder(rest string) bool {
	for path := range t.Files {
		if strings.HasPrefix(path, rest+"/") {
			return true
		}
	}
	return false
}

func link(name, target string) backends.Entry {
	return backends.Entry{Name: name, Link: target, Size: int64(len(target)), Version: target}
}

// dayTarget leads from .by-day/STUDY/PERSON/STREAM/DAY/FILE to STUDY/PERSON/STREAM/FILE.
func dayTarget(at place) string {
	up := strings.Repeat("../", 5+strings.Count(at.rest, "/"))
	return up + strings.Join([]string{at.study.Folder, at.person, at.stream, at.rest}, "/")
}

// children lists a directory from the index. The caller holds mu.
func (s *Source) children(name string) ([]backends.Entry, error) {
	at := s.place(name)
	switch {
	case at.missing:
		return nil, backends.ErrNotExist
	case at.study == nil:
		return s.listStudies(name, at)
	case at.hidden == controlDir:
		return s.listDocuments(name, at)
	case at.depth == 1:
		return s.listPeople(name, at)
	case at.depth == 2:
		return s.listStreams(name, at)
	case at.t == nil:
		return nil, nil // a stream of a participant without data: an empty folder
	}
	return s.listFiles(name, at)
}

// errNotYet says that a directory has not been complete yet.
var errNotYet = errors.New("not all of it has been fetched yet")

func (s *Source) listStudies(name string, at place) ([]backends.Entry, error) {
	if s.index.asked.IsZero() && len(s.index.Studies) == 0 {
		return nil, errNotYet
	}
	var all []backends.Entry
	for id, st := range s.index.Studies {
		if at.hidden == byIDDir {
			all = append(all, link(backends.Join(name, id), "../"+st.Folder))
			continue
		}
		all = append(all, backends.Entry{Name: backends.Join(name, st.Folder), Dir: true})
	}
	return sorted(all), nil
}

func sorted(all []backends.Entry) []backends.Entry {
	slices.SortFunc(all, func(a, b backends.Entry) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// listPeople shows the participants who have data: analysis scripts stumble over folders without.
func (s *Source) listPeople(name string, at place) ([]backends.Entry, error) {
	st := at.study
	if st.asked.IsZero() && st.unknown() {
		return nil, errNotYet
	}
	var all []backends.Entry
	for id, p := range st.People {
		if s.hasData(st, p) {
			all = append(all, backends.Entry{Name: backends.Join(name, id), Dir: true})
		}
	}
	if st.NoSummary {
		for id := range st.roster {
			if st.People[id] == nil || st.People[id].probed.IsZero() && !s.hasData(st, st.People[id]) {
				all = append(all, backends.Entry{Name: backends.Join(name, id), Dir: true}) // who has data is not known yet
			}
		}
	}
	return sorted(all), nil
}

func (s *Source) hasData(st *study, p *person) bool {
	shown := s.shown(st)
	for stream, t := range p.Streams {
		if s.wanted(stream) && t.hasData(shown, s.shownDay) {
			return true
		}
	}
	return false
}

func (s *Source) listStreams(name string, at place) ([]backends.Entry, error) {
	var all []backends.Entry
	if at.p == nil {
		return nil, nil
	}
	shown := s.shown(at.study)
	for stream, t := range at.p.Streams {
		if s.wanted(stream) && t.hasData(shown, s.shownDay) {
			all = append(all, backends.Entry{Name: backends.Join(name, stream), Dir: true})
		}
	}
	return sorted(all), nil
}

// listFiles lists a stream, a survey in it, or one day of it.
func (s *Source) listFiles(name string, at place) ([]backends.Entry, error) {
	shown := s.shown(at.study)
	if at.hidden == byDayDir {
		if at.depth == 3 {
			return s.listDays(name, at), nil
		}
		if c := at.t.Days[at.day]; c != nil && c.Bytes > 0 && !c.known() {
			return nil, errNotYet
		}
		shown = func(unix int64) bool { return dayOf(unix, at.study.zone) == at.day }
	} else if !at.t.Listed {
		return nil, errNotYet
	}
	prefix := at.rest
	if prefix != "" {
		prefix += "/"
	}
	var all []backends.Entry
	childrenOf(at.t.paths(shown), prefix, func(base string, dir bool) {
		child := backends.Join(name, base)
		switch {
		case dir:
			all = append(all, backends.Entry{Name: child, Dir: true})
		case at.hidden == byDayDir:
			one := at
			one.rest = prefix + base
			all = append(all, link(child, dayTarget(one)))
		default:
			all = append(all, at.t.Files[prefix+base].entry(child))
		}
	})
	return sorted(all), nil
}

// listDays shows the days of a stream that hold something.
func (s *Source) listDays(name string, at place) []backends.Entry {
	var all []backends.Entry
	for d, c := range at.t.Days {
		if (c.Bytes > 0 || c.Sum > 0) && s.shownDay(d) {
			all = append(all, backends.Entry{Name: backends.Join(name, d.String()), Dir: true})
		}
	}
	return sorted(all)
}

// Fresh tells how long what is said of dir may be believed: until the next refreshing, which tells of changes by itself, or until it would be
// asked for anew.
func (s *Source) Fresh(dir string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, at := s.o.Now(), s.place(dir)
	switch {
	case at.missing:
		return 0
	case s.away():
		return time.Second
	case at.study == nil:
		return s.index.asked.Add(studiesTTL).Sub(now)
	case at.hidden == controlDir:
		return docTTL / 10
	case at.t != nil && (unchunked(at.stream) || at.study.NoSummary):
		return time.Unix(max(at.t.Recent, at.t.Whole), 0).Add(recentTTL).Sub(now)
	}
	return at.study.asked.Add(s.o.Refresh).Sub(now)
}
