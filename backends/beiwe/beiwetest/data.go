package beiwetest

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // what the server keeps
	"crypto/sha1" //nolint:gosec // what the server keeps
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Study is one study of a server. TimeZone is an IANA name; "" means America/New_York, the server's own default.
type Study struct{ ID, Name, TimeZone string }

// Participant says what is special about one.
type Participant struct {
	IOS     bool
	Deleted bool // in get-users, not in the participant table
}

// Content is the bytes of a file. Both methods may be called often and at the same time; Open yields Size bytes, the same each time.
type Content interface {
	Size() int64
	Open() io.Reader
}

// Bytes is a Content held in memory.
type Bytes []byte

// Size is the length.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Open reads it.
func (b Bytes) Open() io.Reader { return bytes.NewReader(b) }

// File is one file of a stream: an hour of a chunked one, or an upload of an unchunked one.
type File struct {
	Survey string // the survey's id, for survey_timings, survey_answers and audio_recordings
	Time   time.Time
	Body   Content
	Ext    string // ".csv" if empty
	Zip64  bool   // write its sizes in 64 bits
}

// Listed is what the server holds, for comparison.
type Listed struct {
	Participant, Stream string
	Path                string // in a zip, without the number that tells files of one second apart
	ChunkPath           string
	Time                time.Time
	Body                Content
}

// record is a stored file.
type record struct {
	Listed
	zip64 bool

	md5, sha1 string // base64, made when first asked for
	crc       uint32
}

// digest computes the hashes by one pass over the content.
func (r *record) digest() {
	if r.md5 != "" {
		return
	}
	m, s, c := md5.New(), sha1.New(), crc32.NewIEEE() //nolint:gosec // as above
	io.Copy(io.MultiWriter(m, s, c), r.Body.Open())   //nolint:errcheck // memory
	text := func(h hash.Hash) string { return base64.StdEncoding.EncodeToString(h.Sum(nil)) }
	r.md5, r.sha1, r.crc = text(m), text(s), c.Sum32()
}

type study struct {
	Study
	pk      int // of its row in the server's database
	zone    *time.Location
	deleted bool
	people  map[string]*person
	created time.Time
}

type person struct {
	Participant
	id      string
	files   map[string]*record // by chunk path
	uploads []upload
}

type upload struct {
	size int64
	at   time.Time
	name string
}

// Streams are the names of the server's own list.
func Streams() []string {
	return []string{
		"accelerometer", "ambient_audio", "app_log", "audio_recordings", "bluetooth", "calls", "devicemotion", "gps", "gyro", "identifiers",
		"ios_log", "magnetometer", "power_state", "proximity", "reachability", "survey_answers", "survey_timings", "texts", "wifi",
	}
}

func uploadName(stream string) string {
	switch stream {
	case "survey_answers":
		return "surveyAnswers"
	case "audio_recordings":
		return "voiceRecording"
	case "ambient_audio":
		return "ambientAudio"
	}
	return ""
}

// phoneName is what phones call a stream in the path of an upload.
func phoneName(stream string) string {
	names := map[string]string{
		"accelerometer": "accel", "app_log": "logFile", "bluetooth": "bluetoothLog", "calls": "callLog", "ios_log": "ios/log",
		"power_state": "powerState", "survey_timings": "surveyTimings", "texts": "textsLog", "wifi": "wifiLog",
	}
	if name := uploadName(stream); name != "" {
		return name
	}
	if name, ok := names[stream]; ok {
		return name
	}
	return stream
}

// AddStudy adds a study, or renames it.
func (s *Server) AddStudy(one Study) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.TimeZone == "" {
		one.TimeZone = "America/New_York"
	}
	zone, err := time.LoadLocation(one.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	if old := s.studies[one.ID]; old != nil {
		old.Name, old.TimeZone, old.zone = one.Name, one.TimeZone, zone // its id is read without a lock
		return
	}
	s.studies[one.ID] = &study{Study: one, pk: len(s.studies) + 1, zone: zone, people: map[string]*person{}, created: s.o.Now()}
}

// DeleteStudy makes a study one that is not found.
func (s *Server) DeleteStudy(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.studies[id]; st != nil {
		st.deleted = true
	}
}

// AddParticipant adds a participant, or changes one.
func (s *Server) AddParticipant(study, id string, o Participant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.person(study, id).Participant = o
}

// person finds or makes one. The caller holds mu.
func (s *Server) person(study, id string) *person {
	st := s.studies[study]
	p := st.people[id]
	if p == nil {
		p = &person{id: id, files: map[string]*record{}}
		st.people[id] = p
	}
	return p
}

// Put stores a file; the same hour, or the same upload, again replaces it. The study must exist.
func (s *Server) Put(study, participant, stream string, f File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.person(study, participant)
	if f.Ext == "" {
		f.Ext = ".csv"
	}
	survey := ""
	if f.Survey != "" {
		survey = f.Survey + "/"
	}
	r := &record{zip64: f.Zip64, Listed: Listed{Participant: participant, Stream: stream, Body: f.Body}}
	if raw := uploadName(stream); raw != "" {
		ms := f.Time.UnixMilli()
		r.ChunkPath = fmt.Sprintf("%s/%s/%s/%s%d%s", study, participant, raw, survey, ms, f.Ext)
		r.Time = f.Time.UTC().Truncate(time.Second)
	} else {
		r.Time = f.Time.UTC().Truncate(time.Hour)
		r.ChunkPath = fmt.Sprintf("CHUNKED_DATA/%s/%s/%s/%s%s%s", study, participant, stream, survey, r.Time.Format("2006-01-02T15:04:05"), f.Ext)
	}
	if stream != "identifiers" { // which the history does not tell of
		p.uploads = append(p.uploads, upload{f.Body.Size(), f.Time.UTC(), fmt.Sprintf("%s/%s%d%s", phoneName(stream), survey, f.Time.UnixMilli(), f.Ext)})
	}
	base := r.Time.Format("2006-01-02 15_04_05") + "+00_00"
	if s.o.NaiveNames {
		base = strings.TrimSuffix(base, "+00_00")
	}
	r.Path = participant + "/" + stream + "/" + survey + base + f.Ext
	p.files[r.ChunkPath] = r
}

// Remove deletes a file.
func (s *Server) Remove(study, participant, chunkPath string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.person(study, participant).files, chunkPath)
}

// Files lists what a study holds, by participant and path.
func (s *Server) Files(study string) []Listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Listed
	for _, id := range slices.Sorted(maps.Keys(s.studies[study].people)) {
		p := s.studies[study].people[id]
		for _, chunk := range slices.Sorted(maps.Keys(p.files)) {
			all = append(all, p.files[chunk].Listed)
		}
	}
	return all
}
