package main

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setting is one row of the table from which flags, STUDYFS_* variables, configuration keys and help come, so that
// they cannot drift apart. The table itself is the struct fields with a toml tag in config.go.
type setting struct {
	path   string // in the configuration: "cache.size"
	help   string
	noFlag bool     // only in the configuration
	hidden bool     // not in the help
	values []string // the words that it may be; nil: anything of its kind
	place  bool     // it names a directory
	value  reflect.Value
}

// flag is the name on the command line.
func (s setting) flag() string { return strings.ReplaceAll(s.path, ".", "-") }

// variable is the name in the environment.
func (s setting) variable() string {
	return "STUDYFS_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.path))
}

// settingsOf lists the settings of a struct, which it points to so that setting them changes the struct.
func settingsOf(pointer any) []setting {
	return collect("", reflect.ValueOf(pointer).Elem())
}

func collect(prefix string, v reflect.Value) []setting {
	var all []setting
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		name := field.Tag.Get("toml")
		if name == "" || value.Kind() == reflect.Map {
			continue
		}
		if value.Kind() == reflect.Pointer && value.Type().Elem().Kind() == reflect.Struct { // a table that is there or not; it has no flags
			if !value.IsNil() {
				for _, s := range collect(prefix+name+".", value.Elem()) {
					s.noFlag = true
					all = append(all, s)
				}
			}
			continue
		}
		if value.Kind() == reflect.Struct {
			all = append(all, collect(prefix+name+".", value)...)
			continue
		}
		all = append(all, setting{
			path: prefix + name, help: field.Tag.Get("help"), value: value,
			noFlag: field.Tag.Get("flag") == "no", hidden: field.Tag.Get("flag") == "hidden",
			values: tagWords(field.Tag.Get("values")), place: field.Tag.Get("values") == "DIR",
		})
	}
	return all
}

// tagWords reads the words of a tag.
func tagWords(tag string) []string {
	if tag == "" || tag == "DIR" {
		return nil
	}
	return strings.Split(tag, ",")
}

// set changes the setting to what text says.
func (s setting) set(text string) error { return setValue(s.value, text) }

func setValue(v reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of 0 or more", text)
		}
		v.SetInt(int64(n))
	case reflect.Pointer: // what has a default that depends on the rest
		to := reflect.New(v.Type().Elem())
		if err := setValue(to.Elem(), text); err != nil {
			return err
		}
		v.Set(to)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("a setting of kind %s cannot be given as text", v.Kind())
	}
	return nil
}

func (s setting) String() string {
	if t, ok := reflect.TypeAssert[fmt.Stringer](s.value); ok {
		return t.String()
	}
	if s.value.Kind() == reflect.Pointer && !s.value.IsNil() {
		return fmt.Sprint(s.value.Elem().Interface())
	}
	return fmt.Sprint(s.value.Interface())
}

// kind is the word that the help shows after the flag.
func (s setting) kind() string {
	switch s.value.Interface().(type) {
	case bool, *bool:
		return "bool"
	case int:
		return "number"
	case byteSize:
		return "size"
	case duration:
		return "time"
	case nameList:
		return "names"
	case pageAddress:
		return "address"
	}
	return "string"
}

// byteSize is a number of bytes, written "512MiB", "10G" (powers of 1024) or "10GB" (powers of 1000).
type byteSize int64

func (b byteSize) String() string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		size := byteSize(1) << (10 * (4 - i))
		if b >= size && b%size == 0 {
			return strconv.FormatInt(int64(b/size), 10) + unit
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// UnmarshalText reads a size.
func (b *byteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	cut := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	number, unit := s, ""
	if cut >= 0 {
		number, unit = s[:cut], strings.ToUpper(strings.TrimSpace(s[cut:]))
	}
	n, err := strconv.ParseFloat(number, 64)
	factor, ok := unitFactor(unit)
	if err != nil || !ok || n*factor >= 1<<62 {
		return fmt.Errorf("%q is not a size; write 512MiB or 10GiB", s)
	}
	*b = byteSize(n * factor)
	return nil
}

func unitFactor(unit string) (float64, bool) {
	if unit == "" || unit == "B" {
		return 1, true
	}
	power := strings.IndexByte("KMGT", unit[0]) + 1
	if power == 0 {
		return 0, false
	}
	base := 1024.0
	switch unit[1:] {
	case "", "IB":
	case "B":
		base = 1000
	default:
		return 0, false
	}
	factor := 1.0
	for range power {
		factor *= base
	}
	return factor, true
}

// duration is a time.Duration that TOML and the environment can hold.
type duration time.Duration

func (d duration) String() string { return time.Duration(d).String() }

// UnmarshalText reads a time such as "20s".
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a time; write 20s or 5m", text)
	}
	*d = duration(parsed)
	return nil
}

// nameList is several names: a list in the configuration, separated by commas elsewhere.
type nameList []string

func (n nameList) String() string { return strings.Join(n, ",") }

// UnmarshalText reads names separated by commas.
func (n *nameList) UnmarshalText(text []byte) error {
	*n = nil
	for name := range strings.SplitSeq(string(text), ",") {
		if name = strings.TrimSpace(name); name == "" {
			return fmt.Errorf("%q has an empty name; write gps,calls", text)
		}
		*n = append(*n, name)
	}
	return nil
}

// nearest returns the candidate that s was most likely meant to be, "" if none is near.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", max(2, len(s)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(s), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
