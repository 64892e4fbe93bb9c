package beiwe

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// window is one stretch of time of some streams of one participant: what one request (or a few, where it breaks off)
// brings. Its text is the name of a bundle.
type window struct {
	study, person string
	streams       []string // sorted
	span          stretch
	plain         bool // without a registry: everything is sent again, and what is not is gone
	ahead         bool // nobody waits for it
	whole         bool // the whole history, for streams that cannot be asked day by day
	probe         bool // only find out which streams there are
}

// The kinds of bundles, the first part of their names.
const (
	bundleStudies = "studies"
	bundleStudy   = "study"  // summary and settings
	bundlePeople  = "people" // the roster
	bundleDoc     = "doc"
	bundleWindow  = "window"
)

const noStreams = "-"

func (w window) String() string {
	var flags strings.Builder
	for _, f := range []struct {
		on   bool
		text string
	}{{w.plain, "p"}, {w.ahead, "a"}, {w.whole, "w"}, {w.probe, "s"}} {
		if f.on {
			flags.WriteString(f.text)
		}
	}
	streams := strings.Join(w.streams, ",")
	if streams == "" {
		streams = noStreams
	}
	return strings.Join([]string{
		bundleWindow, w.study, w.person, streams, strconv.FormatInt(w.span.from, 10), strconv.FormatInt(w.span.to, 10), "f" + flags.String(),
	}, "/")
}

var errBundle = errors.New("not a bundle of this source")

func parseWindow(name string) (w window, err error) {
	parts := strings.Split(name, "/")
	if len(parts) != 7 || parts[0] != bundleWindow {
		return w, errBundle
	}
	w.study, w.person = parts[1], parts[2]
	if parts[3] != noStreams {
		w.streams = strings.Split(parts[3], ",")
	}
	from, err1 := strconv.ParseInt(parts[4], 10, 64)
	to, err2 := strconv.ParseInt(parts[5], 10, 64)
	w.span = stretch{from, to}
	f := parts[6]
	w.plain, w.ahead = strings.Contains(f, "p"), strings.Contains(f, "a")
	w.whole, w.probe = strings.Contains(f, "w"), strings.Contains(f, "s")
	return w, errors.Join(err1, err2)
}

// The sizes of windows, in bytes as the server counts them: small where somebody waits, since the first file comes only when the server
// has sorted out all of them; larger ahead of need. A stream with less than smallStream missing goes along with others.
const (
	waitedWindow = 32 << 20
	aheadWindow  = 128 << 20
	smallStream  = 8 << 20
	largestDay   = 64 << 20
)

// need is one day that must be fetched.
type need struct {
	day   Day
	bytes int64
	plain bool
}

// missing are the days of a stream that must be fetched, newest first, within what is shown.
func (t *stream) missing(shown func(Day) bool) (days []need, bytes int64) {
	for d, c := range t.Days {
		if c.needed() && shown(d) {
			days = append(days, need{d, max(c.Bytes, c.Sum), c.Plain})
			bytes += c.Bytes
		}
	}
	slices.SortFunc(days, func(a, b need) int { return int(b.day - a.day) })
	return days, bytes
}

// run is a run of days to fetch with one request.
type run struct {
	from, to Day
	bytes    int64
	plain    bool
}

// newest is the first window to fetch of needs, which are newest first: from the newest day back, as long as it stays below limit, all days want
// the same kind of fetch, and no day in between is complete already (stops): servers before 2025-12 would send that one again.
func newest(needs []need, limit int64, stops func(Day) bool) (r run, rest []need) {
	r = run{from: needs[0].day, to: needs[0].day, bytes: needs[0].bytes, plain: needs[0].plain}
	for i, n := range needs[1:] {
		if n.plain != r.plain || r.bytes+n.bytes > limit || stopsBetween(n.day, r.from, stops) {
			return r, needs[i+1:]
		}
		r.from = n.day
		r.bytes += n.bytes
	}
	return r, nil
}

func stopsBetween(older, newer Day, stops func(Day) bool) bool {
	for d := older + 1; d < newer; d++ {
		if stops(d) {
			return true
		}
	}
	return false
}

// complete reports whether the day holds something and needs no fetch.
func (t *stream) complete(d Day) bool {
	c := t.Days[d]
	return c != nil && c.Bytes > 0 && !c.needed()
}

// joins picks the other streams that can be fetched together with a run of a small one: they need days in it, have nothing complete in it, and
// are small themselves.
func (p *person) joins(first string, r run, shown func(Day) bool) []string {
	streams := []string{first}
	total := r.bytes
	for _, name := range sortedKeys(p.Streams) {
		if name == first || heavy(name) || unchunked(name) || !shown(r.to) {
			continue
		}
		bytes, fits := p.Streams[name].within(r)
		if fits && bytes > 0 && bytes <= smallStream && total+bytes <= waitedWindow {
			streams = append(streams, name)
			total += bytes
		}
	}
	slices.Sort(streams)
	return streams
}

// within is what a stream needs of a run of days, and whether it needs no more than that: nothing complete lies in it, and no day
// wants another kind of fetch.
func (t *stream) within(r run) (bytes int64, fits bool) {
	for d, c := range t.Days {
		switch {
		case d < r.from || d > r.to:
		case c.needed() && c.Plain == r.plain:
			bytes += c.Bytes
		case c.needed() || c.Bytes > 0:
			return 0, false
		}
	}
	return bytes, true
}

// stretchOf is the time of a run of days. Where the zone is only a guess it takes in what other zones would call these days.
func (s *study) stretchOf(from, to Day) stretch {
	span := stretch{from.start(s.zone), to.end(s.zone)}
	if s.padded {
		const farthest = 14 * 3600
		span.from -= farthest
		span.to += farthest
	}
	return span
}
