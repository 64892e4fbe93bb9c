package beiwe

import (
	"crypto/sha1" //nolint:gosec // the server's own choice: its registry names contents by it
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"

	"studyfs/backends"
)

// index is all that is known of a server: which days hold how much, and which files have been seen. It is plain data without lock, clock or I/O;
// Source guards it.
type index struct {
	Studies map[string]*study // by id
	asked   time.Time         // when the list of studies was last read in this run
	zstd    capability
	tried   time.Time // when that was found out
}

// capability is what is known of a thing that servers may lack.
type capability uint8

const (
	notAsked capability = iota
	lacking
	there
)

type study struct {
	ID, Title, Folder string
	Zone              string // as the server names it; "" where only guessed
	NoSummary         bool   // the server is older than summary statistics
	People            map[string]*person
	Docs              map[string]*document // by file name below .studyfs/<study>

	zone    *time.Location
	padded  bool                 // the zone is a guess: days are asked for with their neighbours
	asked   time.Time            // when the summary was last read in this run
	whole   time.Time            // when it was last read from the beginning
	small   bool                 // that was little: it can be every time
	roster  map[string]bool      // all participants, also those without data
	listed  time.Time            // when the roster was read
	nothing map[string]time.Time // names that a request has shown to be missing
}

type person struct {
	Streams map[string]*stream
	probed  time.Time // without a summary: when it was last found out which streams there are
}

type stream struct {
	Days   map[Day]*cell
	Files  map[string]*file // by the path below the stream's folder
	Listed bool             // the directory was complete once: it may be shown while the server is away
	Whole  int64            // unchunked, or no summary: when the whole history was last fetched, in Unix seconds
	Recent int64            // and when its last two weeks were
	exists bool             // without a summary: a probe found data

	reader reading // who reads it in order
}

// cell is one day of a stream.
type cell struct {
	Bytes int64 // what the server says it holds
	Got   int64 // what the server said when the day was last fetched as a whole; never: -1
	Sum   int64 // what the files seen of it hold
	Plain bool  // more was seen than the server says: only a fetch without a registry can tell what is gone
}

// file is one file seen in a zip.
type file struct {
	Chunk string // the server's name of it; "" for what follows from the path
	At    int64  // Unix second that its name tells
	Size  int64
	SHA   [sha1.Size]byte
	Hash  string // what the registry said last, verbatim
	Mod   int64  // the time to show, Unix seconds
}

func (f *file) version() string { return base64.StdEncoding.EncodeToString(f.SHA[:]) }

func (f *file) entry(name string) backends.Entry {
	return backends.Entry{Name: name, Size: f.Size, ModTime: time.Unix(f.Mod, 0).UTC(), Version: f.version()}
}

func newIndex() *index { return &index{Studies: map[string]*study{}} }

func newStudy(id string) *study {
	s := &study{ID: id, People: map[string]*person{}, Docs: map[string]*document{}}
	s.ready()
	return s
}

// ready makes what is not stored.
func (s *study) ready() {
	s.nothing, s.zone, s.padded = map[string]time.Time{}, time.UTC, true
	if s.Zone != "" {
		if zone, err := time.LoadLocation(s.Zone); err == nil {
			s.zone, s.padded = zone, false
		}
	}
}

// unknown reports whether nothing was ever heard of the study but its name.
func (s *study) unknown() bool { return s.whole.IsZero() && len(s.People) == 0 }

func (s *study) person(id string) *person {
	p := s.People[id]
	if p == nil {
		p = &person{Streams: map[string]*stream{}}
		s.People[id] = p
	}
	return p
}

func (p *person) stream(name string) *stream {
	t := p.Streams[name]
	if t == nil {
		t = &stream{Days: map[Day]*cell{}, Files: map[string]*file{}}
		p.Streams[name] = t
	}
	return t
}

func (t *stream) cell(d Day) *cell {
	c := t.Days[d]
	if c == nil {
		c = &cell{Got: -1}
		t.Days[d] = c
	}
	return c
}

// needed reports whether the day must be fetched: it holds bytes, or held some, and what has been seen of it is not what the server says.
// Where the two never agree (rows of very old servers) a day counts as fetched until the server's figure moves.
func (c *cell) needed() bool {
	if c.Plain {
		return true
	}
	said := c.Bytes > 0 || c.Got >= 0 // else the day is only known from a file: of a stream that the server's figures leave out
	return said && c.Bytes != c.Got && c.Bytes != c.Sum
}

// known reports whether the day was ever complete.
func (c *cell) known() bool { return c.Got >= 0 || c.Bytes > 0 && c.Bytes == c.Sum }

// takeDay notes what the server says of one day, and reports whether that is news.
func (t *stream) takeDay(d Day, bytes int64) bool {
	if bytes == 0 && t.Days[d] == nil {
		return false
	}
	c := t.cell(d)
	if c.Bytes == bytes {
		return false
	}
	c.Bytes = bytes
	c.Plain = c.Sum > bytes
	return c.needed()
}

// put adds or replaces a file and keeps the day's sum. It returns the version that was there before, if another.
func (t *stream) put(zone *time.Location, rest string, f *file) (old *file) {
	before := t.Files[rest]
	t.Files[rest] = f
	c := t.cell(dayOf(f.At, zone))
	if before != nil {
		c.Sum -= before.Size
	}
	c.Sum += f.Size
	if before != nil && before.SHA != f.SHA {
		return before
	}
	return nil
}

func (t *stream) remove(zone *time.Location, rest string) {
	if f := t.Files[rest]; f != nil {
		t.cell(dayOf(f.At, zone)).Sum -= f.Size
		delete(t.Files, rest)
	}
}

// hasData reports whether the stream is worth a folder: a file was seen, or the server says that there is one.
func (t *stream) hasData(in func(unix int64) bool, day func(Day) bool) bool {
	for _, f := range t.Files {
		if in(f.At) {
			return true
		}
	}
	for d, c := range t.Days {
		if c.Bytes > 0 && c.needed() && day(d) {
			return true
		}
	}
	return t.exists && t.Whole == 0
}

// paths are the files' paths in name order, of those that in holds.
func (t *stream) paths(in func(unix int64) bool) []string {
	var all []string
	for rest, f := range t.Files {
		if in(f.At) {
			all = append(all, rest)
		}
	}
	slices.Sort(all)
	return all
}

// sameSecond are the paths of all files that share the first's name but for the number behind it.
func (t *stream) sameSecond(first string) map[string]*file {
	group := map[string]*file{}
	for n := 1; ; n++ {
		rest := numbered(first, n)
		f := t.Files[rest]
		if f == nil && n > 1 {
			return group
		}
		if f != nil {
			group[rest] = f
		}
	}
}

// nameNew gives files of one second their names: those that have one keep it, whatever order they arrive in; new ones
// take the next free number in the order of their chunk paths. The server's own numbers differ from request to request.
func (t *stream) nameNew(first string, chunks []string) map[string]string {
	names, taken := map[string]string{}, t.sameSecond(first)
	for rest, f := range taken {
		if slices.Contains(chunks, f.Chunk) {
			names[f.Chunk] = rest
		}
	}
	slices.Sort(chunks)
	n := 1
	for _, chunk := range slices.Compact(chunks) {
		if names[chunk] != "" {
			continue
		}
		for taken[numbered(first, n)] != nil {
			n++
		}
		names[chunk] = numbered(first, n)
		n++
	}
	return names
}

// folderOf finds a study by its folder.
func (x *index) folderOf(folder string) *study {
	for _, s := range x.Studies {
		if s.Folder == folder {
			return s
		}
	}
	return nil
}

// takeStudies notes what the server lists, and reports whether that is news. A study that it no longer shows is gone,
// with all that was known of it.
func (x *index) takeStudies(titles map[string]string) (changed bool) {
	folders := folderNames(titles)
	for id, title := range titles {
		s := x.Studies[id]
		if s == nil {
			s = newStudy(id)
			x.Studies[id] = s
		}
		changed = changed || s.Folder != folders[id]
		s.Title, s.Folder = title, folders[id]
	}
	for id := range x.Studies {
		if _, ok := titles[id]; !ok {
			delete(x.Studies, id)
			changed = true
		}
	}
	return changed
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// childrenOf are the next parts below prefix ("" or "a/") of sorted paths, each once, and whether it is a folder.
func childrenOf(paths []string, prefix string, each func(base string, dir bool)) {
	last := ""
	for _, p := range paths {
		rest, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		base, _, dir := strings.Cut(rest, "/")
		if dir && base == last {
			continue
		}
		if last = ""; dir {
			last = base
		}
		each(base, dir)
	}
}
