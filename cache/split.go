package cache

import (
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"studyfs/backends"
)

// splitter decides how a range of keys is listed by several requests at once: each of them asks for what comes after a key, and gets a page.
// The range is in segments, each with a key up to which it is known. While there are fewer requests under way than may be, the segment
// with most left is cut in two, at a point made up from the letters that keys have at each place. It is pure: no lock, clock or I/O.
//
// A cut costs a request at most: that its left part ends within a page. There are no more than splitsFree and one for each
// pagesPerSplit pages, and none before the range is known to be longer than pagesBefore pages.
type splitter struct {
	letters letters
	segs    []*segment // in key order; those that are known to their end are left out
	page    int        // keys that a full page has
	pages   int        // that brought anything
	splits  int
	flying  int    // requests under way
	beyond  int    // of those, how many began behind all keys seen
	guesses int    // of such, how many may still be sent before those under way are answered
	highest string // of all keys seen
	seen    int    // keys
}

const (
	pagesBefore   = 3  // pages in a row, before anything is cut
	splitsFree    = 20 // cuts that the least directory may cost
	pagesPerSplit = 6
	mostFlying    = 16 // requests at once: there are others who want to list
	mostBeyond    = 3  // guesses at a time about how far the keys go
	leastRest     = 2  // pages that a segment must have left to be worth a cut
)

// segment is the keys in (at, hi], of those in (lo, hi] that it was made for.
type segment struct {
	lo, at, hi string  // hi is top where nobody knows where the keys end
	seen       int     // keys in (lo, at]
	depth      int     // how many bytes the first and the last key of a page have in common
	rest       float64 // keys in (at, hi], guessed
	asked      bool    // a request is under way
	beyond     bool    // the request began behind all keys seen
	missed     bool    // nothing lay behind the point where it was cut last
}

// newSplitter lists what comes after the key after. pages is how many pages of the range came before. flat tells that keys have slashes.
func newSplitter(after string, pages int, flat bool) *splitter {
	return &splitter{letters: letters{flat: flat, cycled: maxPlaces}, pages: pages, segs: []*segment{{lo: after, at: after, hi: top}}, highest: after}
}

// note takes in keys that were seen before.
func (s *splitter) note(key string) {
	s.letters.note(key)
	s.highest = max(s.highest, key)
	s.seen++
}

// next returns the segment that the next request is for: one page of what comes after its at. nil: none, for now or for good.
func (s *splitter) next() *segment {
	if s.flying >= mostFlying {
		return nil
	}
	for _, g := range s.segs {
		if !g.asked {
			return s.ask(g)
		}
	}
	if s.pages < pagesBefore || s.splits >= splitsFree+s.pages/pagesPerSplit {
		return nil
	}
	if g := s.split(); g != nil {
		return s.ask(g)
	}
	return nil
}

func (s *splitter) ask(g *segment) *segment {
	g.asked = true
	s.flying++
	if g.beyond = g.at > s.highest; g.beyond {
		s.beyond++
	}
	return g
}

// split cuts the segment with most left, and returns the right part. nil: there is nothing worth it.
func (s *splitter) split() *segment {
	var best *segment
	where, point, all := 0, "", 0.0
	for _, g := range s.segs {
		all += g.rest
	}
	if s.beyond == 0 {
		s.guesses = mostBeyond
	}
	least := max(float64(leastRest*max(s.page, 1)), all/mostFlying)
	for i, g := range s.segs {
		if g.rest < least || best != nil && g.rest <= best.rest {
			continue
		}
		at := s.point(g)
		if at == "" || at > s.highest && s.guesses <= 0 {
			continue
		}
		best, where, point = g, i, at
	}
	if best == nil {
		return nil
	}
	right := &segment{lo: point, at: point, hi: best.hi, depth: best.depth, rest: best.rest / 2}
	best.hi, best.rest = point, best.rest/2
	if point > s.highest {
		s.guesses--
	}
	s.segs = slices.Insert(s.segs, where+1, right)
	s.splits++
	return right
}

// point is where to cut a segment: in the middle of what will be left when the page under way has come, by the letters that keys have. Where
// that was of no use before, the keys are of different lengths or crowd together: then at the next letter of one of the places of the last
// key, which finds out in a few steps at which of them keys go on.
func (s *splitter) point(g *segment) string {
	share := 0.0
	if g.asked {
		share = min(0.9, float64(s.page)/g.rest)
	}
	hi := g.hi
	if hi == top {
		hi = s.letters.end(g.at, g.depth)
	}
	if !g.missed && hi != "" {
		if m := s.letters.between(g.at, hi, share+(1-share)/2); m != "" {
			return m
		}
	}
	return s.letters.step(g.at, g.hi, g.depth)
}

// got takes in the page that was asked for after g.at, keys relative to the listed directory, and returns it without what lies in
// other segments.
func (s *splitter) got(g *segment, p backends.Page, key func(backends.Entry) string) backends.Page {
	s.flying--
	if g.asked = false; g.beyond {
		s.beyond--
	}
	s.page = max(s.page, len(p.Entries))
	if over := p.More && p.Last >= g.hi || !p.More; over && g.hi != top {
		n := len(p.Entries)
		for n > 0 && key(p.Entries[n-1]) > g.hi {
			n--
		}
		p.Entries, p.More, p.Last = p.Entries[:n], true, g.hi
	}
	s.learn(g, p.Entries, key)
	if !p.More || p.Last >= g.hi || p.Last <= g.at { // the last: no way forward
		if g.seen == 0 {
			s.missed(g)
		}
		s.segs = slices.DeleteFunc(s.segs, func(have *segment) bool { return have == g })
		return p
	}
	before := g.at
	g.at = p.Last
	s.guess(g, before, len(p.Entries))
	return p
}

// learn takes in what keys a page of g brought.
func (s *splitter) learn(g *segment, entries []backends.Entry, key func(backends.Entry) string) {
	n := len(entries)
	if n == 0 {
		return
	}
	s.pages++
	s.seen += n
	g.seen += n
	first, last := key(entries[0]), key(entries[n-1])
	if n > 1 {
		g.depth = common(first, last)
	}
	s.highest = max(s.highest, last)
	for _, e := range entries {
		s.letters.note(key(e))
	}
	s.letters.settle()
}

// missed says that there was nothing in a segment: what it was cut from ends somewhere before.
func (s *splitter) missed(empty *segment) {
	for _, g := range s.segs {
		if g.hi == empty.lo {
			g.missed = true
		}
	}
}

// guess reckons how many keys a segment has left, from the n that lay between the key before and at: keys may be closer there than they were.
func (s *splitter) guess(g *segment, before string, n int) {
	if g.hi == top {
		g.rest = float64(max(s.seen, 4*s.page)) // anything; most of all
		return
	}
	done, left := s.letters.widths(before, g.at, g.hi)
	switch {
	case left <= 0:
		g.rest = float64(s.page)
	case done <= left*1e-6:
		g.rest, g.missed = float64(max(s.seen, 4*s.page)), true
	default:
		g.rest = min(float64(n)*left/done, float64(8*s.seen)) // more would keep others from being cut
	}
}

func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// maxPlaces is how far into keys one looks. What differs only behind is not cut.
const maxPlaces = 256

// letters is which ones keys have at each place. Only ASCII counts: a point must be valid UTF-8.
type letters struct {
	flat   bool
	places [maxPlaces][2]uint64

	random [2]uint64 // what keys have that are made at random: to be expected at any place
	month  int       // the place of a month's first digit; 0: keys have no dates
	day    int       // of a day's
	cycled int       // from this place on all digits that there are have been seen
}

// settle makes up what is known of all places together.
func (l *letters) settle() {
	l.dates()
	l.randomness()
}

// only reports whether a place has nothing but some of set.
func (l *letters) only(place int, set string) bool {
	p := l.places[place]
	for _, c := range set {
		p[c>>6] &^= 1 << (c & 63)
	}
	return p == [2]uint64{} && l.places[place] != p
}

// dates finds 2026-11-21, 20261121 and the like.
func (l *letters) dates() {
	l.month, l.day, l.cycled = 0, 0, maxPlaces
	for i := range 64 {
		if !l.only(i, "12") || !l.only(i+1, "09") || !l.only(i+2, digits) || !l.only(i+3, digits) {
			continue
		}
		m := l.behind(i + 4)
		d := l.behind(m + 2)
		if !l.only(m, "01") || !l.only(m+1, digits) || !l.only(d, "0123") || !l.only(d+1, digits) {
			continue
		}
		l.month, l.day = m, d
		if bits.OnesCount64(l.places[d+1][0]) >= 3 { // the day in the middle was seen from its first hour to its last
			l.cycled = d + 2
		}
		return
	}
}

// behind is the first place from place on that is not one between the parts of a date.
func (l *letters) behind(place int) int {
	if l.only(place, "-_./") {
		place++
	}
	return place
}

// tens are the digits that can be at a place.
func (l *letters) tens(place int) string {
	switch {
	case l.month == 0 || place != l.month && place != l.day:
		return digits
	case place == l.month:
		return digits[:2]
	}
	return digits[:4]
}

// randomness looks whether there are places with digits and letters of all kinds.
func (l *letters) randomness() {
	var all [2]uint64
	n := 0
	for _, p := range l.places[:64] {
		tens, upper, lower := bits.OnesCount64(p[0]), bits.OnesCount64(p[1]&0x07ffffff), bits.OnesCount64(p[1]>>32)
		if tens >= 8 && max(upper, lower) >= 5 {
			all[0], all[1] = all[0]|p[0], all[1]|p[1]
			n++
		}
	}
	if n >= 3 {
		l.random = all
	}
}

func (l *letters) note(key string) {
	for i := 0; i < len(key) && i < maxPlaces && key[i] >= ' ' && key[i] < 0x7f && (key[i] != '/' || l.flat); i++ {
		l.places[i][key[i]>>6] |= 1 << (key[i] & 63)
	}
}

// classes are letters of which all can be expected where some are; of two or more of the last but one where the last are not enough.
const (
	digits = "0123456789"
	hexes  = "abcdef"
	small  = "abcdefghijklmnopqrstuvwxyz"
)

// at returns which letters can be expected at a place, in order.
func (l *letters) at(place int) string {
	if place >= maxPlaces {
		return ""
	}
	some := l.places[place]
	if some != [2]uint64{} {
		some[0], some[1] = some[0]|l.random[0], some[1]|l.random[1]
	}
	var have [128]bool
	for c := range have {
		have[c] = some[c>>6]&(1<<(c&63)) != 0
	}
	if place < l.cycled {
		widen(&have, l.tens(place), l.tens(place), 1)
	}
	widen(&have, small, hexes, 2)
	widen(&have, strings.ToUpper(small), strings.ToUpper(hexes), 2)
	var out []byte
	for c, ok := range have {
		if ok {
			out = append(out, byte(c)) //nolint:gosec // below 128
		}
	}
	return string(out)
}

// widen adds all of a class where some are there: of the lesser one, if all that are there are of it.
func widen(have *[128]bool, class, lesser string, least int) {
	n, within := 0, 0
	for _, c := range class {
		if have[c] {
			n++
			if strings.ContainsRune(lesser, c) {
				within++
			}
		}
	}
	if n < least {
		return
	}
	if n == within {
		class = lesser
	}
	for _, c := range class {
		have[c] = true
	}
}

// fraction is where a key lies among all keys with the same first bytes, from 0 to 1.
func (l *letters) fraction(key string, from int) float64 {
	sum, unit := 0.0, 1.0
	for i := from; i < len(key) && unit > 1e-15; i++ {
		all := l.at(i)
		if all == "" {
			break
		}
		unit /= float64(len(all))
		rank := 0
		for rank < len(all) && all[rank] < key[i] {
			rank++
		}
		sum += float64(rank) * unit
		if rank == len(all) || all[rank] != key[i] {
			break
		}
	}
	return min(sum, 1)
}

// widths returns how wide (before, at] and (at, hi] are, in the same unit.
func (l *letters) widths(before, at, hi string) (done, left float64) {
	from := common(before, hi)
	a := l.fraction(at, from)
	return a - l.fraction(before, from), l.fraction(hi, from) - a
}

// between returns a key in (lo, hi), at about the given share of the way; "" where there is none.
func (l *letters) between(lo, hi string, share float64) string {
	from := common(lo, hi)
	a, b := l.fraction(lo, from), l.fraction(hi, from)
	x, unit := a+(b-a)*share, 1.0
	out := []byte(lo[:from])
	for i := from; b > a && unit > (b-a)/16; i++ {
		all := l.at(i)
		if all == "" {
			break
		}
		unit /= float64(len(all))
		d := min(int(x/unit), len(all)-1)
		if all[d] == '/' {
			break // it would be a directory that may not exist
		}
		x -= float64(d) * unit
		out = append(out, all[d])
	}
	return inside(string(out), lo, hi)
}

// inside returns a point if it lies between two keys and is one that can be asked for.
func inside(point, lo, hi string) string {
	if point <= lo || point >= hi || !utf8.ValidString(point) {
		return ""
	}
	return point
}

// end returns a key behind all that have digits, or other letters that change, at the first place where at has them. Places behind depth
// change within a page: they say nothing of the whole.
func (l *letters) end(at string, depth int) string {
	for i := 0; i < len(at) && i <= depth; i++ {
		if all := l.at(i); len(all) > 1 && all[len(all)-1] > at[i] {
			return at[:i] + "\x7f"
		}
	}
	return ""
}

// step returns one of the keys that begin like at up to some place and have the next letter there, the middle one of those below hi. "" where
// there is none.
func (l *letters) step(at, hi string, depth int) string {
	var points []string
	for i := min(len(at)-1, depth); i >= 0; i-- {
		all := l.at(i)
		rest := strings.TrimLeftFunc(all, func(c rune) bool { return byte(c) <= at[i] }) //nolint:gosec // ASCII
		if rest == "" || rest[0] == '/' {
			continue
		}
		if p := inside(at[:i]+rest[:1], at, hi); p != "" {
			points = append(points, p)
		}
	}
	if len(points) == 0 {
		return ""
	}
	return points[len(points)/2]
}
