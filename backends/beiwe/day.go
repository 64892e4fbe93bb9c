package beiwe

import (
	"fmt"
	"time"
)

// Day is a calendar day without a zone, counted from 1970-01-01. Which hours it holds depends on the study's time zone.
type Day int32

const dateForm = "2006-01-02"

// ParseDay reads YYYY-MM-DD.
func ParseDay(text string) (Day, error) {
	t, err := time.Parse(dateForm, text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a date; write 2026-10-31", text)
	}
	return Day(t.Unix() / secondsPerDay), nil
}

const secondsPerDay = 24 * 60 * 60

// String returns YYYY-MM-DD.
func (d Day) String() string { return time.Unix(int64(d)*secondsPerDay, 0).UTC().Format(dateForm) }

// start is the first second of the day in zone. A day whose midnight a clock change skips begins where the clock goes on.
func (d Day) start(zone *time.Location) int64 {
	y, m, n := time.Unix(int64(d)*secondsPerDay, 0).UTC().Date()
	at := time.Date(y, m, n, 0, 0, 0, 0, zone).Unix()
	for dayOf(at, zone) < d { // the midnight that a clock change skips: clocks change by quarters of an hour at the least
		at += 15 * 60
	}
	return at
}

// end is the last second of the day in zone: days of 23, 25 and other hours exist.
func (d Day) end(zone *time.Location) int64 { return (d + 1).start(zone) - 1 }

// dayOf is the day of a moment in zone.
func dayOf(unix int64, zone *time.Location) Day {
	y, m, d := time.Unix(unix, 0).In(zone).Date()
	return Day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}

// stretch is a run of seconds, both ends included, as time_start and time_end of a request mean them.
type stretch struct{ from, to int64 }

// always covers every moment that a server can hold data of: it accepts device clocks from 2014-08-01 to 90 days ahead.
func always(now time.Time) stretch {
	return stretch{time.Date(2014, 8, 1, 0, 0, 0, 0, time.UTC).Unix() - secondsPerDay, now.Unix() + 91*secondsPerDay}
}

func (s stretch) holds(unix int64) bool     { return s.from <= unix && unix <= s.to }
func (s stretch) covers(other stretch) bool { return s.from <= other.from && other.to <= s.to }

func (s stretch) clip(other stretch) stretch {
	return stretch{max(s.from, other.from), min(s.to, other.to)}
}

// halves splits a stretch in two at a whole hour, the newer half first; false if it is not longer than an hour.
func (s stretch) halves() ([2]stretch, bool) {
	const hour = 3600
	middle := (s.from + (s.to-s.from)/2 + hour - 1) / hour * hour
	if s.to-s.from < hour || middle <= s.from || middle > s.to {
		return [2]stretch{}, false
	}
	return [2]stretch{{middle, s.to}, {s.from, middle - 1}}, true
}

func (d Day) stretch(zone *time.Location) stretch { return stretch{d.start(zone), d.end(zone)} }

// wire is the form of a moment that the server accepts; a "Z" at its end would be answered with HTTP 500.
func wire(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02T15:04:05") }
