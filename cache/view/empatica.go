package view

import (
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// The folders of Empatica's view.
const (
	byParticipant      = "by-participant"
	byParticipantLocal = "by-participant-local"
)

// participantData is where the days of a site lie in an organisation: A/B/participant_data/DAY/PARTICIPANT-DEVICE/.
const participantData = "participant_data"

// empatica names what an organisation of Empatica's has by participant, see [Empatica].
type empatica struct {
	zone *time.Location // nil: there is no folder of local days
}

// Empatica shows an organisation by participant: what lies at A/B/participant_data/DAY/PARTICIPANT-DEVICE/REST, where A and B are the numbers of
// study and site, is shown as
//
//	by-participant/WHO/DAY/DEVICE/REST          every file once, in the day (UTC) that it lies in
//	by-participant-local/WHO/DAY/DEVICE/REST    if there is a zone: in the days of that zone
//
// WHO is PARTICIPANT at 1/1, which is all that most organisations have, and A-B-PARTICIPANT elsewhere: sites choose the names of their participants
// by themselves, and two people must not become one folder. A device has a folder since the files of two devices that somebody
// wears on one day have the same names.
//
// A raw file is in the local day in which it begins, by the time in its name. A file of a whole day (UTC), which all others are, is in each local day that it has
// a part of: in two, unless the zone is as UTC. Files whose names tell no time, or another day than the folder that they lie in, are only in by-participant.
func Empatica(s Store, zone *time.Location) *View { return &View{store: s, names: empatica{zone}} }

func (e empatica) folders() []string {
	if e.zone == nil {
		return []string{byParticipant}
	}
	return []string{byParticipant, byParticipantLocal}
}

// person is a participant of a site.
type person struct{ a, b, id string }

// folder is what a person's folder is called. No two have one name.
func (p person) folder() string {
	if _, sited := personAt(p.id); p.a == "1" && p.b == "1" && !sited {
		return p.id
	}
	return p.a + "-" + p.b + "-" + p.id
}

// personOf is the person whose folder is called so.
func personOf(folder string) (person, bool) {
	p, sited := personAt(folder)
	if !sited {
		p = person{"1", "1", folder}
	}
	return p, p.folder() == folder && p.id != ""
}

// personAt reads A-B-PARTICIPANT.
func personAt(text string) (person, bool) {
	a, rest, _ := strings.Cut(text, "-")
	b, id, _ := strings.Cut(rest, "-")
	return person{a, b, id}, number(a) && number(b) && id != ""
}

// data is where the days of a person's site lie.
func (p person) data() string { return p.a + "/" + p.b + "/" + participantData }

// wearing splits the folder PARTICIPANT-DEVICE. A participant's name may hold hyphens, a device's does not.
func wearing(folder string) (id, device string, ok bool) {
	i := strings.LastIndexByte(folder, '-')
	if i <= 0 || i == len(folder)-1 {
		return "", "", false
	}
	return folder[:i], folder[i+1:], true
}

// spot is what a name of the view says. Fields are set as far as the name reaches.
type spot struct {
	local  bool
	depth  int // how many parts the name has below the view's folder
	who    person
	day    string
	device string
	rest   string
}

// at takes a name of the view apart.
func (e empatica) at(name string) (spot, bool) {
	top, rest := cut(name)
	s := spot{local: top == byParticipantLocal}
	if ours := slices.Contains(e.folders(), top); !ours || rest == "" {
		return s, ours
	}
	s.depth = 1 + strings.Count(rest, "/")
	folder, rest := cut(rest)
	who, ok := personOf(folder)
	s.who = who
	s.day, rest = cut(rest)
	s.device, s.rest = cut(rest)
	return s, ok && (s.depth < 2 || isDay(s.day)) && !strings.Contains(s.device, "-")
}

// key is what the source calls it, if it lies in this day (UTC). The spot must reach to a device.
func (s spot) key(day string) string { return s.who.data() + "/" + s.below(day) }

// below is the part of key that is below the data of the site.
func (s spot) below(day string) string {
	below := day + "/" + s.who.id + "-" + s.device
	if s.rest != "" {
		below += "/" + s.rest
	}
	return below
}

func (e empatica) folder(name string) (string, bool) {
	s, ok := e.at(name)
	return s.key(s.day), ok && !s.local && s.depth >= 3
}

// shown are the names that what the source calls key may have.
func (e empatica) shown(key string) []string {
	parts := strings.SplitN(key, "/", 6)
	if len(parts) < 5 || !number(parts[0]) || !number(parts[1]) || parts[2] != participantData || !isDay(parts[3]) {
		return nil
	}
	id, device, ok := wearing(parts[4])
	if !ok {
		return nil
	}
	who := "/" + person{parts[0], parts[1], id}.folder() + "/"
	rest := strings.Join(append([]string{device}, parts[5:]...), "/")
	names := []string{byParticipant + who + parts[3] + "/" + rest}
	if e.zone == nil {
		return names
	}
	_, base := backends.Split(key)
	_, _, timed := when(base)
	for _, day := range e.localDays(parts[3]) {
		if len(parts) < 6 || !timed || e.belongs(base, parts[3], day) { // without a time it may be a directory
			names = append(names, byParticipantLocal+who+day+"/"+rest)
		}
	}
	return names
}

// belongs reports whether a file of a day (UTC) is shown in a local day.
func (e empatica) belongs(base, utc, local string) bool {
	start, whole, ok := when(base)
	if !ok || dayOf(start, time.UTC) != utc {
		return false
	}
	end := start
	if whole {
		end = start.Add(24*time.Hour - time.Second)
	}
	return dayOf(start, e.zone) <= local && local <= dayOf(end, e.zone)
}

// localDays are the days of the zone that a day (UTC) has a part of, in order.
func (e empatica) localDays(utc string) []string {
	start, err := time.Parse(time.DateOnly, utc)
	if err != nil {
		return nil
	}
	var days []string
	last := dayOf(start.Add(24*time.Hour-time.Second), e.zone)
	for day := dayOf(start, e.zone); day <= last; day = dayAfter(day, 1) {
		days = append(days, day)
	}
	return days
}

// utcDays are the days (UTC) whose folders may hold something of a day of the view, in order.
func (e empatica) utcDays(s spot) []string {
	if !s.local {
		return []string{s.day}
	}
	var days []string
	for _, n := range []int{-1, 0, 1} { // a zone is at most 14 hours away
		utc := dayAfter(s.day, n)
		for _, day := range e.localDays(utc) {
			if day == s.day {
				days = append(days, utc)
			}
		}
	}
	return days
}

// when tells from a file's name when it begins, and whether it is of that whole day (UTC): a raw file has the second of its start before its
// extension, the others have a date. What stands last counts, since a participant may be called anything.
func when(base string) (start time.Time, whole, ok bool) {
	stem, _, _ := strings.Cut(base[strings.LastIndexByte(base, '_')+1:], ".")
	if unix, ok := seconds(stem); ok && strings.Contains(base, "_") {
		return time.Unix(unix, 0), false, true
	}
	for rest := base; ; {
		i := strings.LastIndexByte(rest, '_')
		part, _, _ := strings.Cut(rest[i+1:], ".")
		if isDay(part) {
			start, err := time.Parse(time.DateOnly, part)
			return start, true, err == nil
		}
		if i < 0 {
			return time.Time{}, false, false
		}
		rest = rest[:i]
	}
}

// seconds reads a number of seconds since 1970 of this century's length.
func seconds(text string) (int64, bool) {
	if len(text) != 10 || !number(text) {
		return 0, false
	}
	var n int64
	for _, digit := range text {
		n = 10*n + int64(digit-'0')
	}
	return n, true
}

func dayOf(t time.Time, zone *time.Location) string { return t.In(zone).Format(time.DateOnly) }

// dayAfter is the day n days later.
func dayAfter(day string, n int) string {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return ""
	}
	return t.AddDate(0, 0, n).Format(time.DateOnly)
}

// isDay reports whether text is a day as all folders of days are called.
func isDay(text string) bool {
	_, err := time.Parse(time.DateOnly, text)
	return err == nil && len(text) == len(time.DateOnly)
}

func number(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
}

func cut(name string) (first, rest string) {
	first, rest, _ = strings.Cut(name, "/")
	return first, rest
}
