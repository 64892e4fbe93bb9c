package beiwe

import (
	"path"
	"strconv"
	"strings"
	"time"

	"studyfs/backends"
)

// Streams returns the streams of the servers' own list (constants/data_stream_constants.py), in the order of their names. A zip may hold
// others: they pass through.
func Streams() []string {
	return []string{
		"accelerometer", "ambient_audio", "app_log", "audio_recordings", "bluetooth", "calls", "devicemotion", "gps", "gyro", "identifiers",
		"ios_log", "magnetometer", "power_state", "proximity", "reachability", "survey_answers", "survey_timings", "texts", "wifi",
	}
}

// unchunked reports whether a stream's files are stored as the phone uploaded them, each with its own second. All others come in hours,
// which the server rewrites whenever more rows of the hour arrive.
func unchunked(stream string) bool {
	return stream == "survey_answers" || stream == "audio_recordings" || stream == "ambient_audio" || stream == "image_survey"
}

// heavy reports whether a stream can hold so much that its whole history must not be asked for at once.
func heavy(stream string) bool {
	switch stream {
	case "accelerometer", "gyro", "devicemotion", "magnetometer", "gps", "audio_recordings", "ambient_audio", "image_survey":
		return true
	}
	return false
}

// member is what the path of a zip's member, or of a file in the mount, tells.
type member struct {
	person, stream string
	rest           string // the path below the stream's folder
	at             int64  // the second that its name tells
	again          int    // 2 for "…_2.csv": another file of the same second; 1 for the first
}

// parseMember reads "PID/STREAM/[SURVEY/]2026-10-05 02_00_00+00_00.csv". Servers before about 2021 leave "+00_00" out.
func parseMember(name string) (member, bool) {
	parts := strings.SplitN(name, "/", 3)
	if len(parts) < 3 || !backends.ValidName(name) {
		return member{}, false
	}
	m := member{person: parts[0], stream: parts[1], rest: parts[2]}
	var ok bool
	m.at, m.again, ok = parseTime(path.Base(m.rest))
	return m, ok && validPerson(m.person) && validStream(m.stream)
}

const (
	nameTime = "2006-01-02 15_04_05"
	nameZone = "+00_00"
)

// parseTime reads the moment out of a file's name, and which of several files of that second it is.
func parseTime(base string) (unix int64, again int, ok bool) {
	if len(base) < len(nameTime) {
		return 0, 0, false
	}
	t, err := time.Parse(nameTime, base[:len(nameTime)])
	if err != nil {
		return 0, 0, false
	}
	rest := strings.TrimPrefix(base[len(nameTime):], nameZone)
	again = 1
	if number, ok := strings.CutPrefix(rest, "_"); ok {
		digits := number[:len(number)-len(strings.TrimLeft(number, "0123456789"))]
		if n, err := strconv.Atoi(digits); err == nil && n >= 2 {
			again, rest = n, number[len(digits):]
		}
	}
	return t.Unix(), again, strings.HasPrefix(rest, ".") && len(rest) > 1
}

// firstName is the name of a file without the number that tells files of one second apart; numbered is the other way.
func firstName(rest string, again int) string {
	if again < 2 {
		return rest
	}
	mark := "_" + strconv.Itoa(again)
	dot := strings.LastIndex(rest, mark+".")
	return rest[:dot] + rest[dot+len(mark):]
}

func numbered(first string, again int) string {
	if again < 2 {
		return first
	}
	at := len(first) - len(path.Base(first)) + len(nameTime)
	if strings.HasPrefix(first[at:], nameZone) {
		at += len(nameZone)
	}
	return first[:at] + "_" + strconv.Itoa(again) + first[at:]
}

// chunkPath is the server's name of an hourly file, which is a function of what the mount's name tells.
func (m member) chunkPath(study string) string {
	dir, base := path.Split(m.rest)
	return "CHUNKED_DATA/" + study + "/" + m.person + "/" + m.stream + "/" + dir + wire(m.at) + path.Ext(base)
}

// shortPath is the one form of a chunk path that is safe in a registry of ours: with "CHUNKED_DATA/" in front, servers since January 2026
// take any entry for "you have it", changed or not.
func shortPath(chunk string) string { return strings.TrimPrefix(chunk, "CHUNKED_DATA/") }

// validPerson reports whether text is a participant's id: 8 characters, no zero; others are let through if they can be a folder, since no
// harm comes of them.
func validPerson(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

func validStream(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// folderNames gives every study its folder: its name with "/" replaced, and where two are alike a part of the id behind it.
func folderNames(titles map[string]string) map[string]string {
	byName := map[string][]string{}
	for id, title := range titles {
		name := folderName(title)
		byName[name] = append(byName[name], id)
	}
	folders := map[string]string{}
	for name, ids := range byName {
		for _, id := range ids {
			folders[id] = name
			if name == "" || len(ids) > 1 {
				folders[id] = strings.TrimSpace(name + " (" + id[:min(6, len(id))] + ")")
			}
		}
	}
	taken := map[string]string{}
	for id, folder := range folders { // a title can look like the name that another study was given
		if other, ok := taken[folder]; ok {
			folders[id], folders[other] = folder+" ("+id+")", folder+" ("+other+")"
		}
		taken[folder] = id
	}
	return folders
}

// maxTitle leaves room for an id behind a name.
const maxTitle = 200

func folderName(title string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(title, "_"))
	for len(name) > maxTitle {
		cut := maxTitle
		for cut > 0 && name[cut]&0xc0 == 0x80 {
			cut--
		}
		name = name[:cut]
	}
	if strings.Trim(name, ".") == "" || name[0] == '.' { // hidden folders at the root are ours
		name = "_" + name
	}
	return strings.TrimSpace(name)
}
