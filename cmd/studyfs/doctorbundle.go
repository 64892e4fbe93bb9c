package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cmd/studyfs/host"
)

// What a bundle takes of the logs: the last lines of the newest ones.
const (
	bundleLogs  = 5
	bundleLines = 400
	bundleTail  = 256 << 10
)

// labels give things that must not be named a word for the length of a bundle: the same thing has the same one.
type labels map[string]string

func (l labels) of(kind, name string) string {
	if name == "" {
		return ""
	}
	key := kind + "\x00" + name
	if l[key] == "" {
		n := 1
		for other := range l {
			if strings.HasPrefix(other, kind+"\x00") {
				n++
			}
		}
		l[key] = fmt.Sprintf("%s-%d", kind, n)
	}
	return l[key]
}

// bundleFile is one file of a bundle.
type bundleFile struct {
	name string
	text []byte
}

// writeBundle writes what somebody elsewhere needs to understand the trouble. Each part is made of what is known to be harmless, rather than
// cleared of what is known not to be.
func (c *checkup) writeBundle(path string, report doctorReport) (string, error) {
	if path == "" || path == "-" {
		path = "studyfs-doctor-" + c.now().Format("20060102-150405") + ".tar.gz"
	}
	known := labels{}
	files := []bundleFile{
		{"version.txt", []byte(machine())},
		{"doctor.json", encoded(report.bare(known))},
		{"config.txt", c.bareConfig(known)},
		{"status.json", encoded(bareStatus(allMounts(c.places), known))},
		{"mounts.txt", c.bareMounts(known)},
	}
	files = append(files, c.bareLogs()...)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", &failure{What: path, Why: lastCause(err), Do: "choose another name: --bundle=FILE", Code: exitCannotCreate}
	}
	if err := errors.Join(packBundle(f, files, c.now()), f.Close()); err != nil {
		os.Remove(path) //nolint:errcheck // half of it is of no use
		return "", &failure{What: path, Why: lastCause(err), Do: "choose another place: --bundle=FILE", Code: exitIO}
	}
	return path, nil
}

func packBundle(w io.Writer, files []bundleFile, now time.Time) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, f := range files {
		h := &tar.Header{Name: "studyfs-doctor/" + f.name, Mode: 0o600, Size: int64(len(f.text)), ModTime: now.Truncate(time.Second)}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
		if _, err := t.Write(f.text); err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func encoded(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return []byte("{}")
	}
	return append(text, '\n')
}

// machine tells what runs here.
func machine() string {
	text := "studyfs " + version() + "\n" + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		text += "kernel " + unix.ByteSliceToString(u.Release[:]) + "\n"
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return text
	}
	for line := range strings.Lines(string(release)) {
		if strings.HasPrefix(line, "ID=") || strings.HasPrefix(line, "VERSION_ID=") {
			text += line
		}
	}
	return text
}

// bare is the report without what is private.
func (r doctorReport) bare(known labels) doctorReport {
	checks := make([]finding, 0, len(r.Checks))
	for _, f := range r.Checks {
		checks = append(checks, finding{Check: f.Check, Subject: known.of("source", f.Subject), State: f.State, Found: f.bare})
	}
	r.Checks = checks
	return r
}

// bareConfig shows numbers, switches and words of which there are few; of all else only that it is set, and where.
func (c *checkup) bareConfig(known labels) []byte {
	var b bytes.Buffer
	row := func(prefix, name string, s setting) {
		from := c.l.origins[prefix+s.path]
		if line, is := strings.CutPrefix(from, c.l.path); is {
			from = "file" + line
		} else if from == "" {
			from = "default"
		}
		fmt.Fprintf(&b, "%s%s = %s # %s\n", name, s.path, s.bare(), from)
	}
	for _, s := range settingsOf(&c.l.config) {
		row("", "", s)
	}
	for _, name := range c.l.sourceNames() {
		source, err := c.l.source(name)
		if err != nil {
			continue
		}
		for _, s := range settingsOf(&source) {
			if !s.value.IsZero() {
				row("source."+name+".", known.of("source", name)+".", s)
			}
		}
	}
	return b.Bytes()
}

// bare is the value of a setting that cannot be private.
func (s setting) bare() string {
	if slices.Contains([]string{"kind", "region", "durability", "storage-class", "bids", "junk", "gate"}, s.path) && plainWord(s.String()) {
		return s.String()
	}
	if _, is := reflect.TypeAssert[logLevel](s.value); is || s.value.Kind() != reflect.String && s.value.Kind() != reflect.Slice {
		return s.String()
	}
	if s.value.IsZero() {
		return "unset"
	}
	if scheme, _, has := strings.Cut(s.String(), ":"); has && slices.Contains([]string{"file", "cmd", refKeyring, "aws-profile", "s3", "azure", "https", "http"}, scheme) {
		return scheme + ":" + hidden
	}
	return hidden
}

// plainWord tells that s looks like one of the words of such settings.
func plainWord(s string) bool {
	return regexp.MustCompile(`^[A-Za-z_]+(-[a-z]+-[0-9])?$`).MatchString(s)
}

// bareStatus is what status --json prints, without names and places.
func bareStatus(mounts []mountStatus, known labels) statusReport {
	for i := range mounts {
		m := &mounts[i]
		m.Dir, m.Log, m.Page = known.of("mount", m.Dir), "", ""
		for j := range m.Sources {
			s := &m.Sources[j]
			s.ID, s.Name, s.URL, s.Dir, s.Fetching = "", known.of("source", s.Name), hidden, m.Dir, nil
			s.AtRest.Key, s.Uploads.Paused = "", bareWord(s.Uploads.Paused)
			for k := range s.Errors {
				s.Errors[k] = failure{What: hidden, Why: harmlessCause(s.Errors[k].Why), Code: s.Errors[k].Code}
			}
		}
	}
	return statusReport{Schema: statusSchema, Mounts: mounts}
}

func bareWord(text string) string {
	if text == "" {
		return ""
	}
	return hidden
}

// bareMounts lists studyfs's mounts as the kernel knows them.
func (c *checkup) bareMounts(known labels) []byte {
	f, err := host.MountTable()
	if err != nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // only read
	var b bytes.Buffer
	for _, dir := range ourMounts(f, c.l.env.uid) {
		fmt.Fprintf(&b, "%s %s\n", known.of("mount", dir), fuseType)
	}
	return b.Bytes()
}

// bareLogs takes the ends of the newest logs.
func (c *checkup) bareLogs() []bundleFile {
	logs, err := filepath.Glob(c.places.log("*"))
	if err != nil || c.places.state == "" {
		return nil
	}
	changed := func(path string) time.Time {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	slices.SortFunc(logs, func(a, b string) int { return changed(b).Compare(changed(a)) })
	var files []bundleFile
	for i, path := range logs[:min(len(logs), bundleLogs)] {
		files = append(files, bundleFile{fmt.Sprintf("log-%d.txt", i+1), bareLog(tailOf(path))})
	}
	return files
}

// tailOf is the end of a file, from the beginning of a line.
func tailOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	off := max(0, info.Size()-bundleTail)
	text, err := io.ReadAll(io.NewSectionReader(f, off, bundleTail))
	if err != nil {
		return ""
	}
	if off > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return string(text)
}

// bareLog keeps of each record its time, level, message and numbers, and of errors their known ends; of a crash where it was. Our messages
// are constants, what they are about are attributes.
func bareLog(text string) []byte {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	lines = lines[max(0, len(lines)-bundleLines):]
	var b bytes.Buffer
	for _, line := range lines {
		b.WriteString(bareLine(line))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func bareLine(line string) string {
	if !strings.HasPrefix(line, "time=") {
		if crash := regexp.MustCompile(`^(goroutine \d+|panic: runtime error: [a-z ]+|fatal error: [a-z ]+|studyfs/[\w/.()*]+|main\.[\w.()*]+|\s+\S*/[\w.-]+\.go:\d+)`).FindString(line); crash != "" {
			return crash[strings.LastIndexByte(crash, '/')+1:]
		}
		return hidden
	}
	var parts []string
	for _, field := range logFields(line) {
		key, value, _ := strings.Cut(field, "=")
		parts = append(parts, key+"="+bareValue(key, value))
	}
	return strings.Join(parts, " ")
}

// logFields takes a line of slog's text handler apart.
func logFields(line string) []string {
	return regexp.MustCompile(`[\w.-]+=("(\\.|[^"\\])*"|\S*)`).FindAllString(line, -1)
}

func bareValue(key, value string) string {
	switch {
	case key == "time" || key == "level":
		return value
	case key == "msg" && regexp.MustCompile(`^"?[a-z][a-z ,;:'-]*"?$`).MatchString(value):
		return value
	case regexp.MustCompile(`^-?\d+(\.\d+)?(ns|µs|ms|s|m|h)?$`).MatchString(value), value == "true", value == "false":
		return value
	case key == "err" || key == "why":
		return harmlessCause(strings.Trim(value, `"`))
	}
	return hidden
}
