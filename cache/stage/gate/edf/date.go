package edf

import (
	"strconv"
	"strings"
	"time"
)

// day counts days, from 1970-01-01.
type day int

// The days that a two-digit year can tell: it stands for 1985 to 2084.
const noDay = day(-1 << 30) // no date could be read

func firstDay() day { return dayOf(1985, time.January, 1) }
func endDay() day   { return dayOf(2085, time.January, 1) }

const (
	secondsOfDay = 24 * 60 * 60
	startdate    = "Startdate"
	unknown      = "X"
)

func dayOf(year int, month time.Month, dayOfMonth int) day {
	return day(time.Date(year, month, dayOfMonth, 0, 0, 0, 0, time.UTC).Unix() / secondsOfDay)
}

// checked is dayOf, but noDay for the 31st of February.
func checked(year, month, dayOfMonth int) day {
	d := dayOf(year, time.Month(month), dayOfMonth)
	if t := d.time(); t.Year() != year || int(t.Month()) != month || t.Day() != dayOfMonth {
		return noDay
	}
	return d
}

func (d day) time() time.Time { return time.Unix(int64(d)*secondsOfDay, 0).UTC() }

// short writes the day as the startdate field has it.
func (d day) short() string { return d.time().Format("02.01.06") }

// long writes the day as the recording field has it.
func (d day) long() string { return strings.ToUpper(d.time().Format("02-Jan-2006")) }

// parseShortDate reads dd.mm.yy, whatever stands between the numbers. The year "yy", from 2085 on, is taken from the recording field.
func parseShortDate(b []byte, recording string) day {
	if parts := strings.Fields(recording); string(b[6:8]) == "yy" && len(parts) > 1 && parts[0] == startdate {
		d := parseLongDate(parts[1])
		if d != noDay && d.short()[:6] == string(b[:6]) {
			return d
		}
		return noDay
	}
	n := [3]int{}
	for i := range n {
		two := string(b[3*i : 3*i+2])
		if strings.Trim(two, "0123456789") != "" {
			return noDay
		}
		n[i], _ = strconv.Atoi(two)
	}
	year := 2000 + n[2]
	if n[2] >= 85 {
		year = 1900 + n[2]
	}
	return checked(year, n[1], n[0])
}

// parseLongDate reads dd-MMM-yyyy with an English month.
func parseLongDate(s string) day {
	t, err := time.Parse("02-Jan-2006", s)
	if err != nil {
		return noDay
	}
	return dayOf(t.Year(), t.Month(), t.Day())
}

// back shifts a day. What would fall below 1985 comes out below 2085, so that the two-digit year can tell it, and equal distances stay
// equal but for a recording that spans the first day that can be told.
func (d day) back(days int) day {
	span := endDay() - firstDay()
	return firstDay() + ((d-firstDay()-day(days))%span+span)%span
}
