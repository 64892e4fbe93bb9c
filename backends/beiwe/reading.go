package beiwe

// reading follows who opens the files of a stream in order, and says how far ahead to fetch: 3, 6, 12 … days, as long as the order is kept.
// There are no ranges here: this is what read-ahead means where the unit is a window of days. It is pure: no clock, no lock.
type reading struct {
	last   int64 // the second of the file opened last
	run    int   // how many were opened in order
	window int   // days that the next fetch should bring
	looked Day   // for a reader in this day it was looked last what is missing ahead
}

const (
	inOrder   = 2  // so many opens in order start it: the second could still be chance, but costs one window
	firstDays = 3  // with what came before it, 1 + 3 + 6 + 12 + 24 days: five requests bring a month, wherever in a day it begins
	mostDays  = 48 // and beyond that the byte limits of windows rule
	nearHours = 6  // a gap in the data of up to this long is still "the next file"
)

// open notes that the file of a moment was opened. follows tells whether it is the next in the folder after the last one; it is asked only
// where the time between them does not tell.
func (r *reading) open(at int64, follows func() bool) {
	switch {
	case at == r.last:
		return // the same again, or another file of the hour
	case r.last != 0 && at > r.last && (at-r.last <= nearHours*3600 || follows()):
		r.run++
	default:
		r.run, r.window, r.looked = 1, 0, 0
	}
	r.last = at
}

// look reports whether it is time to look what is missing ahead of a day: once per day, since looking costs a look at every file.
func (r *reading) look(today Day) bool {
	if r.looked == today {
		return false
	}
	r.looked = today
	return true
}

// ordered reports whether files are being opened in order.
func (r *reading) ordered() bool { return r.run >= inOrder }

// days is how many days the next fetch should bring.
func (r *reading) days() int { return max(r.window, firstDays) }

// fetched notes that such a fetch has begun: the next one brings twice as much.
func (r *reading) fetched() { r.window = min(2*r.days(), mostDays) }

// near reports whether it is time for the next window: the first day that is not here lies less than half of it away.
func (r *reading) near(today, missing Day) bool { return int(missing-today) <= max(1, r.days()/2) }
