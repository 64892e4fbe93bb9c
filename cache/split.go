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
// A cut costs a request at most: that its left part ends within a page. They cost no more than splitsFree requests and one for each
// pagesPerSplit pages, and there is none before the range is known to be longer than pagesBefore pages.
type splitter struct {
	letters letters
	segs    []*segment // in key order; those that are known to their end are left out
	page    int        // keys that a full page has
	pages   int        // that brought anything
	lost    int        // keys that the last pages of segments would have had room for
	flying  int        // requests under way
	beyond  int        // of those, how many began behind all keys seen
	guesses int        // of such, how many may still be sent before those under way are answered
	highest string     // of all keys seen
	seen    int        // keys
}

const (
	pagesBefore   = 3  // pages in a row, before anything is cut
	splitsFree    = 20 // requests that cuts may cost the least directory
	pagesPerSplit = 6
	mostFlying    = 16 // requests at once: there are others who want to list
	mostBeyond    = 3  // guesses at a time about how far the keys go
	leastRest     = 2  // pages that a segment must have left to be worth a cut
)

// segment is the keys in (at, hi].
type segment struct {
	at, hi string  // hi is top where nobody knows where the keys end
	cut    bool    // at is where a segment was cut, and no key
	last   stretch // the page that is nearest before at
	rest   float64 // keys in (at, hi], guessed
	open   bool    // nobody knows how far the keys go: rest is how far the next guess goes
	asked  bool    // a request is under way
	beyond bool    // the request began behind all keys seen
}

// stretch is the keys in (after, to].
type stretch struct {
	after, to string
	keys      int
}

// newSplitter lists what comes after the key after. pages is how many pages of the range came before. flat tells that keys have slashes.
func newSplitter(after string, pages int, flat bool) *splitter {
	return &splitter{letters: letters{flat: flat, cycled: maxPlaces}, pages: pages, segs: []*segment{{at: after, hi: top}}, highest: after}
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
	if s.pages < pagesBefore || s.lost/max(s.page, 1)+len(s.segs) > splitsFree+s.pages/pagesPerSplit {
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
	least := max(all/mostFlying, float64(leastRest*max(s.page, 1)))
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
	right := &segment{at: point, cut: true, hi: best.hi, last: best.last}
	best.hi = point
	s.guess(best)
	s.guess(right)
	if point > s.highest {
		s.guesses--
	}
	s.segs = slices.Insert(s.segs, where+1, right)
	return right
}

// point is where to cut a segment: in the middle of what will be left when the page under way has come, by the letters that keys have, or where
// nobody knows how far the keys go, behind as many as are known of already, if they go on as on the last page.
func (s *splitter) point(g *segment) string {
	if g.open {
		if p := s.letters.ahead(g.last, g.at, g.hi, g.rest); p != "" || g.hi == top {
			return p
		}
	}
	share := 0.0
	if g.asked {
		share = min(0.9, float64(s.page)/g.rest)
	}
	return s.letters.between(g.at, g.hi, share+(1-share)/2)
}

// got takes in the page that was asked for after g.at, keys relative to the listed directory, and returns it without what lies in
// other segments.
func (s *splitter) got(g *segment, p backends.Page, key func(backends.Entry) string) backends.Page {
	s.flying--
	if g.asked = false; g.beyond {
		s.beyond--
	}
	s.page = max(s.page, len(p.Entries))
	p = g.own(p, key)
	s.learn(p.Entries, key)
	if !p.More || p.Last >= g.hi || p.Last <= g.at { // the last: no way forward
		s.lost += s.page - len(p.Entries)
		s.segs = slices.DeleteFunc(s.segs, func(have *segment) bool { return have == g })
		return p
	}
	if !g.cut { // else the page began somewhere between two keys
		g.last = stretch{g.at, p.Last, len(p.Entries)}
	}
	g.at, g.cut = p.Last, false
	s.guess(g)
	return p
}

// own returns of a page what lies in the segment.
func (g *segment) own(p backends.Page, key func(backends.Entry) string) backends.Page {
	if g.hi == top || p.More && p.Last < g.hi {
		return p
	}
	n := len(p.Entries)
	for n > 0 && key(p.Entries[n-1]) > g.hi {
		n--
	}
	return backends.Page{Entries: p.Entries[:n], More: true, Last: g.hi}
}

// learn takes in what keys a page brought.
func (s *splitter) learn(entries []backends.Entry, key func(backends.Entry) string) {
	n := len(entries)
	if n == 0 {
		return
	}
	s.pages++
	s.seen += n
	s.highest = max(s.highest, key(entries[n-1]))
	for _, e := range entries {
		s.letters.note(key(e))
	}
	s.letters.settle()
}

// guess reckons how many keys a segment has left, if they go on as on its last page.
func (s *splitter) guess(g *segment) {
	known, seen := float64(s.seen), float64(s.seen)
	for _, other := range s.segs {
		if other != g {
			known += other.rest
		}
	}
	done, left := s.letters.widths(g.last, g.at, g.hi)
	g.rest = max(0, float64(g.last.keys)*left/done)
	if g.open = g.hi == top || done <= 0 || g.rest > 8*seen; g.open { // of so many, most are elsewhere
		g.rest = min(max(known, 4*float64(s.page)), 16*seen)
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
	for i := 0; i < len(key) && i < maxPlaces && (key[i] != '/' || l.flat); i++ {
		if key[i] >= ' ' && key[i] < 0x7f {
			l.places[i][key[i]>>6] |= 1 << (key[i] & 63)
		}
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

// widths returns how wide a stretch and (at, hi] are, in the same unit.
func (l *letters) widths(s stretch, at, hi string) (done, left float64) {
	from := min(common(s.after, hi), common(at, hi))
	return l.fraction(s.to, from) - l.fraction(s.after, from), l.fraction(hi, from) - l.fraction(at, from)
}

// between returns a key in (lo, hi), at about the given share of the way; "" where there is none.
func (l *letters) between(lo, hi string, share float64) string {
	from := common(lo, hi)
	a, b := l.fraction(lo, from), l.fraction(hi, from)
	if b <= a {
		return ""
	}
	return inside(l.spell(lo, from, a+(b-a)*share, (b-a)/16), lo, hi)
}

// ahead returns a key in (at, hi), behind as many keys as given if they go on after at as they do in a stretch, but no further than half the
// way to where letters end; "" where there is none.
func (l *letters) ahead(s stretch, at, hi string, keys float64) string {
	place, x, way := -1, 0.0, 0.0
	for from := min(common(s.after, s.to), common(s.to, at)); from >= 0; from-- {
		if len(l.at(from)) < 2 { // no more room than behind it
			continue
		}
		place = from
		way = keys / float64(max(s.keys, 1)) * (l.fraction(s.to, from) - l.fraction(s.after, from))
		if x = l.fraction(at, from); x+way < 1 {
			break
		}
	}
	way = min(way, (1-x)/2)
	if way <= 0 {
		return ""
	}
	return inside(l.spell(at, place, x+way, way/16), at, hi)
}

// spell returns the key at x, from 0 to 1, of all that begin with the first bytes of a known key, to within precision.
func (l *letters) spell(known string, from int, x, precision float64) string {
	out, unit := []byte(known[:from]), 1.0
	for i := from; unit > max(precision, 1e-15); i++ {
		all := l.at(i)
		if all == "" {
			break
		}
		unit /= float64(len(all))
		d := min(int(x/unit), len(all)-1)
		if all[d] == '/' && !strings.HasPrefix(known, string(out)+"/") {
			break // it would be a directory that may not exist
		}
		x -= float64(d) * unit
		out = append(out, all[d])
	}
	return string(out)
}

// inside returns a point if it lies between two keys and is one that can be asked for.
func inside(point, lo, hi string) string {
	if point <= lo || point >= hi || !utf8.ValidString(point) {
		return ""
	}
	return point
}
