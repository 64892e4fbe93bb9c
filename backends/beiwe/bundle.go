package beiwe

import (
	"path"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// Bundle names what must be fetched next for name; see [backends.Bundler].
func (s *Source) Bundle(name string, need backends.Need, have func(backends.Entry) bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.ground(name, need); b != "" {
		return b
	}
	at := s.place(name)
	switch {
	case need == backends.Ahead:
		return s.planAhead(at, have)
	case at.study == nil:
		return ""
	case at.hidden == controlDir:
		return s.planDocument(at, name, need, have)
	case at.missing:
		return s.planMissing(at)
	case need == backends.ToRead:
		return s.planRead(at)
	}
	return s.planNames(at, need)
}

// planNames names what a listing or an entry below a study needs.
func (s *Source) planNames(at place, need backends.Need) string {
	switch {
	case at.depth < 2:
		return ""
	case at.depth == 2:
		return s.planPerson(at, need)
	case need == backends.ToList:
		return s.planList(at)
	case at.rest != "" && at.hidden == "":
		return s.planStat(at)
	case at.rest != "":
		return s.planDay(at)
	}
	return ""
}

// ground names what everything else stands on: the list of studies, and a study's summary.
func (s *Source) ground(name string, need backends.Need) string {
	x := s.index
	switch {
	case x.asked.IsZero() && (len(x.Studies) == 0 || !s.away()):
		return bundleStudies // also to find out, once a run, whether the keys still open it
	case need == backends.Ahead:
		return ""
	case name == "":
		return s.groundRoot(need)
	}
	st := x.folderOf(studyFolder(name))
	if st != nil && st.asked.IsZero() && (st.unknown() || !s.away()) {
		return bundleStudy + "/" + st.ID
	}
	return ""
}

// groundRoot asks for the list of studies anew where it is old, or where the keys were refused: somebody may have given us others.
func (s *Source) groundRoot(need backends.Need) string {
	stale := s.Trouble() != nil || s.o.Now().Sub(s.index.asked) >= studiesTTL
	if need == backends.ToList && stale && !s.away() {
		return bundleStudies
	}
	return ""
}

// studyFolder is the first part of a name that is no hidden folder.
func studyFolder(name string) string {
	first, rest := cut(name)
	if first == controlDir || first == byIDDir || first == byDayDir {
		first, _ = cut(rest)
	}
	return first
}

// planMissing asks for the roster where somebody looks for a participant without data.
func (s *Source) planMissing(at place) string {
	st := at.study
	if !validPerson(at.person) || at.p != nil || st.roster[at.person] {
		return ""
	}
	if now := s.o.Now(); st.listed.IsZero() || now.Sub(st.listed) >= studiesTTL {
		if !st.listed.IsZero() && s.away() {
			return ""
		}
		return bundlePeople + "/" + st.ID
	}
	return ""
}

// planPerson finds out which streams a participant has, where no summary tells.
func (s *Source) planPerson(at place, need backends.Need) string {
	if need != backends.ToList || !at.study.NoSummary {
		return ""
	}
	if at.p != nil && s.o.Now().Sub(at.p.probed) < wholeTTL {
		return ""
	}
	return window{study: at.study.ID, person: at.person, span: always(s.o.Now()), probe: true}.String()
}

// planList names the next window that a stream's folder needs, or says that it is complete.
func (s *Source) planList(at place) string {
	if at.hidden == byDayDir {
		if at.depth < 4 {
			return ""
		}
		return s.planDay(at)
	}
	if unchunked(at.stream) || at.study.NoSummary {
		return s.planWhole(at)
	}
	if at.t == nil {
		return ""
	}
	needs, bytes := at.t.missing(s.shownDay)
	if len(needs) == 0 || at.t.Listed && s.away() {
		at.t.Listed = true
		return ""
	}
	r, _ := newest(needs, waitedWindow, at.t.complete)
	w := at.window(at.study.stretchOf(r.from, r.to), r.plain)
	if !heavy(at.stream) && bytes <= smallStream {
		w.streams = slices.DeleteFunc(at.p.joins(at.stream, r, s.shownDay), func(t string) bool { return !s.wanted(t) })
	}
	return w.String()
}

// planWhole is planList for streams whose days tell nothing: unchunked ones, whose byte counts lag, and all of a server
// without summary.
func (s *Source) planWhole(at place) string {
	now := s.o.Now()
	w := at.window(always(now), false)
	t := at.t
	switch {
	case t == nil || t.Whole == 0 || now.Sub(time.Unix(t.Whole, 0)) >= wholeTTL:
		w.whole, w.plain = true, t != nil && t.Whole != 0 && t.bytes() <= smallStream
	case now.Sub(time.Unix(max(t.Recent, t.Whole), 0)) >= recentTTL:
		w.span.from = now.Unix() - recentSpan
	default:
		t.Listed = true
		return ""
	}
	if t != nil && t.Listed && s.away() {
		return ""
	}
	w.span = w.span.clip(s.shownSpan(at.study))
	w.streams = s.together(at, w)
	return w.String()
}

// shownSpan is the time that is shown.
func (s *Source) shownSpan(st *study) stretch {
	span := always(s.o.Now())
	if s.o.Since > 0 {
		span.from = s.o.Since.start(st.zone)
	}
	if s.o.Until < 1<<30 {
		span.to = s.o.Until.end(st.zone)
	}
	return span
}

// bytes is how much of a stream is known.
func (t *stream) bytes() (bytes int64) {
	for _, f := range t.Files {
		bytes += f.Size
	}
	return bytes
}

// together adds the other light streams that want the same window: without a summary they are many, and small.
func (s *Source) together(at place, w window) []string {
	if !at.study.NoSummary || heavy(at.stream) || !w.whole || w.plain {
		return w.streams
	}
	all := []string{at.stream}
	for _, name := range Streams() {
		if name != at.stream && !heavy(name) && s.wanted(name) && !s.without[name] && !at.p.fetchedWhole(name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// fetchedWhole reports whether the whole history of a stream has been fetched before.
func (p *person) fetchedWhole(stream string) bool {
	return p != nil && p.Streams[stream] != nil && p.Streams[stream].Whole != 0
}

// planStat names the smallest window that shows whether a file is there.
func (s *Source) planStat(at place) string {
	unix, _, ok := parseTime(path.Base(at.rest))
	switch {
	case !ok && mayBeSurvey(at):
		return s.planList(at)
	case !ok || !s.shown(at.study)(unix):
		return ""
	case unchunked(at.stream) || at.study.NoSummary:
		return s.planStatWhole(at, unix)
	case at.t == nil || unix%3600 != 0:
		return ""
	}
	return s.planStatHour(at, unix)
}

// mayBeSurvey reports whether a name that is no file's could be a survey's folder that has not been seen yet.
func mayBeSurvey(at place) bool {
	surveys := strings.HasPrefix(at.stream, "survey_") || at.stream == "audio_recordings" || at.stream == "image_survey"
	return surveys && at.rest[0] != '.' && (at.t == nil || !at.t.hasFolder(at.rest))
}

// planStatHour is planStat for an hour: its day, where that is known and has changed, else the hour alone; or the days ahead, for somebody who
// asks for hour after hour.
func (s *Source) planStatHour(at place, unix int64) string {
	day := dayOf(unix, at.study.zone)
	c, known := at.t.Days[day], at.t.Files[at.rest] != nil
	switch {
	case c == nil || !c.needed() || known && s.away():
		return ""
	case c.known() || c.Plain:
		return at.days(day, day, c.Plain)
	case known:
		return "" // seen by itself, its day not yet
	}
	if b := s.onItsWay(at, unix, false); b != "" {
		return b
	}
	at.t.reader.open(unix, func() bool { return false })
	if at.t.reader.ordered() {
		return at.days(day, s.bounded(at, day, day+Day(at.t.reader.days()-1), waitedWindow), false)
	}
	return s.moment(at, unix)
}

// planStatWhole is planStat where days tell nothing.
func (s *Source) planStatWhole(at place, unix int64) string {
	if t := at.t; t != nil && (t.Files[at.rest] != nil || s.o.Now().Sub(time.Unix(max(t.Recent, t.Whole), 0)) < recentTTL) {
		return ""
	}
	return s.moment(at, unix)
}

// moment is the window of one second, unless it was empty just now.
func (s *Source) moment(at place, unix int64) string {
	w := at.window(stretch{unix, unix}, false)
	if t, ok := at.study.nothing[w.String()]; ok && s.o.Now().Sub(t) < missTTL {
		return ""
	}
	return w.String()
}

// window is the one of a stream alone over a stretch of time.
func (at place) window(span stretch, plain bool) window {
	return window{study: at.study.ID, person: at.person, streams: []string{at.stream}, span: span, plain: plain}
}

// days is the bundle of a run of days.
func (at place) days(from, to Day, plain bool) string {
	return at.window(at.study.stretchOf(from, to), plain).String()
}

// planDay names the window of a day that is looked at in .by-day.
func (s *Source) planDay(at place) string {
	if at.t == nil || unchunked(at.stream) || at.study.NoSummary {
		return s.planWhole(at)
	}
	c := at.t.Days[at.day]
	if c == nil || !c.needed() || c.known() && s.away() {
		return ""
	}
	return at.days(at.day, at.day, c.Plain)
}

// planRead names the window that brings the bytes of a file that the index knows: the day it belongs to, or more where files
// are read in order.
func (s *Source) planRead(at place) string {
	f := s.fileAt(at)
	if f == nil {
		return ""
	}
	if b := s.onItsWay(at, f.At, true); b != "" {
		return b
	}
	from := dayOf(f.At, at.study.zone)
	c := at.t.Days[from]
	if unchunked(at.stream) || at.study.NoSummary || c != nil && c.Sum > largestDay {
		return at.window(stretch{f.At, f.At}, true).String()
	}
	to := from
	if s.follow(at, f); at.t.reader.ordered() {
		to = s.bounded(at, from, from+Day(at.t.reader.days()-1), waitedWindow)
	}
	return at.days(from, to, true)
}

func (s *Source) fileAt(at place) *file {
	if at.t == nil || at.hidden != "" {
		return nil
	}
	return at.t.Files[at.rest]
}

// onItsWay names a window under way that will bring a file, whoever asked for it. Only a plain one brings the bytes of files that the index has.
func (s *Source) onItsWay(at place, unix int64, plain bool) string {
	for name, j := range s.flying {
		w := j.window
		if (w.plain || !plain) && w.study == at.study.ID && w.person == at.person && slices.Contains(w.streams, at.stream) && w.span.holds(unix) {
			return name
		}
	}
	return ""
}

// follow notes that a file is opened.
func (s *Source) follow(at place, f *file) {
	r := &at.t.reader
	r.open(f.At, func() bool { return !at.t.between(r.last, f.At) })
}

// between reports whether a file lies between two moments.
func (t *stream) between(after, before int64) bool {
	for _, f := range t.Files {
		if after < f.At && f.At < before {
			return true
		}
	}
	return false
}

// bounded shortens a run of days so that it does not bring more than limit, by what is known of them.
func (s *Source) bounded(at place, from, to Day, limit int64) Day {
	var bytes int64
	for d := from; d <= to; d++ {
		if c := at.t.Days[d]; c != nil {
			bytes += max(c.Bytes, c.Sum)
		}
		if bytes > limit && d > from {
			return d - 1
		}
	}
	return to
}

// planAhead names the next window for somebody who reads a stream in order, once that reader comes near the end of what is here.
func (s *Source) planAhead(at place, have func(backends.Entry) bool) string {
	f := s.fileAt(at)
	if f == nil || at.missing || unchunked(at.stream) || at.study.NoSummary {
		return ""
	}
	r := &at.t.reader
	if s.follow(at, f); !r.ordered() || s.fetchingAhead() {
		return ""
	}
	today := dayOf(f.At, at.study.zone)
	if !r.look(today) {
		return ""
	}
	missing, ok := s.firstMissing(at, today, today+mostDays, have)
	if !ok || !r.near(today, missing) || s.onItsWay(at, missing.start(at.study.zone), false) != "" {
		return ""
	}
	w := at.window(at.study.stretchOf(missing, s.bounded(at, missing, missing+Day(r.days()-1), aheadWindow)), true)
	w.ahead = true
	return w.String()
}

// fetchingAhead reports whether a window ahead is on its way already.
func (s *Source) fetchingAhead() bool {
	for _, j := range s.flying {
		if j.window.ahead {
			return true
		}
	}
	return false
}

// firstMissing is the first day after today that holds files whose bytes are not here, or that was never fetched.
func (s *Source) firstMissing(at place, today, last Day, have func(backends.Entry) bool) (Day, bool) {
	lost := map[Day]bool{}
	dir := strings.Join([]string{at.study.Folder, at.person, at.stream}, "/")
	for rest, f := range at.t.Files {
		d := dayOf(f.At, at.study.zone)
		if d > today && d <= last && !lost[d] && !have(f.entry(dir+"/"+rest)) {
			lost[d] = true
		}
	}
	for d := today + 1; d <= last && s.shownDay(d); d++ {
		c := at.t.Days[d]
		if lost[d] || c != nil && c.needed() {
			return d, true
		}
	}
	return 0, false
}
