package stage

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The keys under which objects keep what no listing tells, as rclone has them.
const (
	metaTime = "mtime" // seconds since 1970, with as many decimals as there are
	metaMode = "mode"  // octal
	metaUID  = "uid"
	metaGID  = "gid"
)

// LinkSuffix ends the name of an object that stands for a symbolic link. Its body is where the link leads. It is rclone's convention.
const LinkSuffix = ".rclonelink"

// Meta returns what an object keeps of a. Extended attributes stay on this machine.
func Meta(a Attr) map[string]string {
	return map[string]string{
		metaTime: formatTime(a.ModTime),
		metaMode: fmt.Sprintf("%04o", a.Mode&modeBits),
		metaUID:  strconv.FormatUint(uint64(a.UID), 10),
		metaGID:  strconv.FormatUint(uint64(a.GID), 10),
	}
}

// modeBits are those of a mode that can be changed.
const modeBits = 0o7777

// AttrOf returns what an object's metadata say; what they do not, or not in a form that anybody writes, is as in otherwise.
func AttrOf(meta map[string]string, otherwise Attr) Attr {
	a := otherwise
	if t, ok := parseTime(meta[metaTime]); ok {
		a.ModTime = t
	}
	if mode, err := strconv.ParseUint(meta[metaMode], 8, 32); err == nil {
		a.Mode = uint32(mode) & modeBits // rclone's have the file's type above them
	}
	if id, err := strconv.ParseUint(meta[metaUID], 10, 32); err == nil {
		a.UID = uint32(id)
	}
	if id, err := strconv.ParseUint(meta[metaGID], 10, 32); err == nil {
		a.GID = uint32(id)
	}
	return a
}

func formatTime(t time.Time) string {
	sec, ns, sign := t.Unix(), int64(t.Nanosecond()), ""
	if sec < 0 {
		if sec, sign = -sec, "-"; ns > 0 {
			sec, ns = sec-1, 1e9-ns
		}
	}
	if ns == 0 {
		return sign + strconv.FormatInt(sec, 10)
	}
	return sign + strconv.FormatInt(sec, 10) + "." + strings.TrimRight(fmt.Sprintf("%09d", ns), "0")
}

// parseTime reads what formatTime writes. Digits beyond the ninth decimal are dropped.
func parseTime(s string) (time.Time, bool) {
	s, negative := strings.CutPrefix(s, "-")
	whole, frac, _ := strings.Cut(s, ".")
	frac = (frac + "000000000")[:9]
	sec, err := strconv.ParseUint(whole, 10, 40) // 35,000 years
	ns, fracErr := strconv.ParseUint(frac, 10, 32)
	if err != nil || fracErr != nil {
		return time.Time{}, false
	}
	if negative {
		return time.Unix(-int64(sec), -int64(ns)).UTC(), true
	}
	return time.Unix(int64(sec), int64(ns)).UTC(), true
}
