package beiwetest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// SurveyID is the survey of all sample data.
const SurveyID = "5f3a9c1e7b2d4c8f6a0e1b23"

// FillOptions say how much sample data there should be. The same options give the same bytes.
type FillOptions struct {
	Study        Study
	Participants int // 0 means 5
	Days         int // 0 means 14
	End          time.Time
	Streams      []string // nil means all
	Seed         uint64
}

// Fill makes a study with data of all streams, of the sizes that phones produce: accelerometer 1.3 MB an hour, other motion sensors
// a tenth of that, GPS some KB to some ten, events when there are any. Big contents are made when they are read and take no memory.
// It returns the participants' ids.
func Fill(s *Server, o FillOptions) []string {
	if o.Participants == 0 {
		o.Participants = 5
	}
	if o.Days == 0 {
		o.Days = 14
	}
	if o.Streams == nil {
		o.Streams = Streams()
	}
	s.AddStudy(o.Study)
	var ids []string
	last := o.End.UTC().Truncate(time.Hour)
	for p := range o.Participants {
		id := personID(o.Seed, p)
		ids = append(ids, id)
		s.AddParticipant(o.Study.ID, id, Participant{IOS: p%2 == 1})
		for h := range o.Days * 24 {
			at := last.Add(-time.Duration(o.Days*24-1-h) * time.Hour)
			for _, stream := range o.Streams {
				putHour(s, o, id, stream, at, h)
			}
		}
	}
	return ids
}

// personID is 8 characters of a to z and 1 to 9.
func personID(seed uint64, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz123456789"
	r := rand.New(rand.NewPCG(seed, uint64(n)+1)) //nolint:gosec // made-up names
	id := make([]byte, 8)
	for i := range id {
		id[i] = letters[r.IntN(len(letters))]
	}
	return string(id)
}

// putHour puts what one stream has for one hour, which is often nothing.
func putHour(s *Server, o FillOptions, id, stream string, at time.Time, h int) {
	r := hourRand(o.Seed, id, stream, at)
	var f File
	if uploadName(stream) != "" {
		f = uploadOf(stream, at, h, r)
	} else {
		f = hourOf(stream, at, h, r)
	}
	if f.Body != nil {
		s.Put(o.Study.ID, id, stream, f)
	}
}

// uploadOf is what a phone uploaded as it was in one hour: a survey every evening, a recording every few days.
func uploadOf(stream string, at time.Time, h int, r *rand.Rand) File {
	f := File{Time: at.Add(time.Duration(r.IntN(3600_000)) * time.Millisecond)}
	switch {
	case stream == "survey_answers" && at.Hour() == surveyHour:
		f.Survey, f.Body = SurveyID, answers(r)
	case stream == "audio_recordings" && h%72 == 15:
		f.Survey, f.Ext, f.Body = SurveyID, ".wav", noise{size: 60_000 + r.Int64N(60_000), seed: r.Uint64()}
	case stream == "ambient_audio" && h%96 == 40:
		f.Ext, f.Body = ".mp4", noise{size: 40_000 + r.Int64N(40_000), seed: r.Uint64()}
	}
	return f
}

// surveyHour is when the survey is answered (UTC).
const surveyHour = 20

// hourOf is an hourly file.
func hourOf(stream string, at time.Time, h int, r *rand.Rand) File {
	f := File{Time: at}
	n := rowsPerHour(stream, at.Hour() >= 12 && at.Hour() < 22, r)
	switch stream {
	case "survey_timings":
		f.Survey = SurveyID
		if n = 12; at.Hour() != surveyHour {
			n = 0
		}
	case "identifiers":
		if n = 1; h != 0 {
			n = 0
		}
	}
	if n > 0 {
		f.Body = rowsOf(stream, at, n, r.Uint64())
	}
	return f
}

// AddHour adds an hour of an hourly stream, or rewrites it with more rows, as a late upload does. count tells versions apart.
func AddHour(s *Server, study, participant, stream string, at time.Time, count int) {
	r := hourRand(uint64(count)+77, participant, stream, at)
	f := File{Time: at, Body: rowsOf(stream, at.UTC().Truncate(time.Hour), 40+10*count, r.Uint64())}
	if strings.HasPrefix(stream, "survey") {
		f.Survey = SurveyID
	}
	s.Put(study, participant, stream, f)
}

func hourRand(seed uint64, id, stream string, at time.Time) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, id, stream, at.Unix())          //nolint:errcheck // a hash takes everything
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // made-up data
}

// rowsPerHour is how much a stream has in an hour.
func rowsPerHour(stream string, awake bool, r *rand.Rand) int {
	often := func(percent, most int) int {
		if r.IntN(100) >= percent {
			return 0
		}
		return 1 + r.IntN(most)
	}
	switch stream {
	case "accelerometer":
		if awake {
			return 18_000
		}
		return 0
	case "gyro", "devicemotion", "magnetometer":
		if awake {
			return 1_200
		}
		return 0
	case "gps":
		return 45 + r.IntN(600)*r.IntN(2)
	case "bluetooth", "wifi":
		return 20 + r.IntN(20)
	case "calls":
		return often(8, 2)
	case "texts":
		return often(15, 4)
	case "app_log", "ios_log":
		return 10 + r.IntN(40)
	}
	return often(60, 12)
}

// layout is what the rows of a stream look like: the header's names behind timestamp and UTC time (constants/data_processing_constants.py), and a
// row's values as a pattern, in which "#" is a digit of chance and "@" a hexadecimal one. The width of a row is fixed, so that sizes are known without
// making the rows.
type layout struct{ names, pattern string }

func layouts() map[string]layout {
	return map[string]layout{
		"accelerometer": {"accuracy,x,y,z", "unknown,-0.######,0.######,9.######"},
		"gyro":          {"accuracy,x,y,z", "unknown,0.######,-0.######,0.######"},
		"magnetometer":  {"x,y,z", "-1#.####,2#.####,-3#.####"},
		"devicemotion": {
			"roll,pitch,yaw,rotation_rate_x,rotation_rate_y,rotation_rate_z,gravity_x,gravity_y,gravity_z,user_accel_x,user_accel_y,user_accel_z," +
				"magnetic_field_calibration_accuracy,magnetic_field_x,magnetic_field_y,magnetic_field_z",
			"0.####,0.####,-0.####,0.####,0.####,0.####,-0.####,0.####,-0.####,0.####,0.####,0.####,low,1#.##,-2#.##,3#.##",
		},
		"gps":          {"latitude,longitude,altitude,accuracy", "42.3######,-71.1######,1#.#,1#.#"},
		"power_state":  {"event", "Screen turned on#"},
		"proximity":    {"event", "NearUser#"},
		"reachability": {"event", "wifi#"},
		"app_log":      {"event", "studyfs sample event ######"},
		"ios_log":      {"launchId,memory,battery,event,msg,d1,d2,d3,d4", "@@@@@@@@,1####,0.##,wake,ok,,,,"},
		"bluetooth":    {"hashed MAC,RSSI", "@@@@@@@@@@@@@@@@,-7#"},
		"wifi":         {"hashed MAC,frequency,RSSI", "@@@@@@@@@@@@@@@@,24##,-6#"},
		"calls":        {"hashed phone number,call type,duration in seconds", "@@@@@@@@@@@@@@@@,Incoming Call,1##"},
		"texts":        {"hashed phone number,sent vs received,message length,time sent", "@@@@@@@@@@@@@@@@,received SMS,1#,17########000"},
		"identifiers": {
			"patient_id,MAC,phone_number,device_id,device_os,os_version,product,brand,hardware_id,manufacturer,model,beiwe_version",
			"sample,@@@@@@@@@@@@@@@@,@@@@@@@@@@@@@@@@,@@@@@@@@@@@@@@@@,Android,1#,sample,sample,sample,sample,sample,3.#.#",
		},
		"survey_timings": {
			"question id,survey id,question type,question text,question answer options,answer",
			"@@@@@@@@-@@@@,5f3a9c1e7b2d4c8f6a0e1b23,slider,How did you sleep?,min = 0; max = 10,#",
		},
	}
}

func layoutOf(stream string) layout {
	if l, ok := layouts()[stream]; ok {
		return l
	}
	return layout{"event", "#"}
}

// rows is an hour of a stream, made when it is read.
type rows struct {
	stream string
	start  time.Time
	n      int
	seed   uint64
}

func rowsOf(stream string, start time.Time, n int, seed uint64) rows {
	return rows{stream, start.UTC(), n, seed}
}

const stampForm = "2006-01-02T15:04:05.000"

func (c rows) header() string {
	return "timestamp,UTC time," + layoutOf(c.stream).names
}

// Size is header and rows, a newline between each two and none at the end.
func (c rows) Size() int64 {
	row := 1 + 13 + 1 + len(stampForm) + 1 + len(layoutOf(c.stream).pattern)
	return int64(len(c.header()) + c.n*row)
}

func (c rows) Open() io.Reader {
	return &rowReader{rows: c, pattern: layoutOf(c.stream).pattern, rand: rand.New(rand.NewPCG(c.seed, 1)), left: []byte(c.header())} //nolint:gosec // made-up data
}

type rowReader struct {
	rows
	pattern string
	rand    *rand.Rand
	next    int
	left    []byte
	buf     []byte
}

func (r *rowReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if r.next == r.n {
			return 0, io.EOF
		}
		r.buf = r.buf[:0]
		for len(r.buf) < 32<<10 && r.next < r.n {
			r.row()
		}
		r.left = r.buf
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// row makes one row by hand: formatting with fmt and time takes ten times as long, and a study has 15 million rows.
func (r *rowReader) row() {
	since := int64(time.Hour/time.Millisecond) / int64(r.n) * int64(r.next)
	r.next++
	r.buf = append(r.buf, '\n')
	r.buf = digits(r.buf, r.start.UnixMilli()+since, 13)
	r.buf = append(r.buf, ',')
	r.buf = r.start.AppendFormat(r.buf, "2006-01-02T15:")
	r.buf = append(digits(r.buf, since/60_000, 2), ':')
	r.buf = append(digits(r.buf, since/1000%60, 2), '.')
	r.buf = append(digits(r.buf, since%1000, 3), ',')
	bits, have := uint64(0), 0
	for _, c := range []byte(r.pattern) {
		if c != '#' && c != '@' {
			r.buf = append(r.buf, c)
			continue
		}
		if have == 0 {
			bits, have = r.rand.Uint64(), 16
		}
		digit := byte(bits & 15)
		bits, have = bits>>4, have-1
		if c == '#' {
			digit %= 10
		}
		r.buf = append(r.buf, "0123456789abcdef"[digit])
	}
}

// digits appends the last n digits of v.
func digits(b []byte, v int64, n int) []byte {
	for range n {
		b = append(b, '0')
	}
	for i := len(b) - 1; i >= len(b)-n; i-- {
		b[i] += byte(v % 10)
		v /= 10
	}
	return b
}

// answers is a survey's upload, which has no timestamp column.
func answers(r *rand.Rand) Content {
	text := []byte("question id,question type,question text,question answer options,answer")
	for q := range 6 {
		text = fmt.Appendf(text, "\n%08x-demo,slider,Question %d,min = 0; max = 10,%d", r.Uint32(), q+1, r.IntN(11))
	}
	return Bytes(text)
}

// noise is what a recording looks like to a program: bytes.
type noise struct {
	size int64
	seed uint64
}

func (n noise) Size() int64 { return n.size }

func (n noise) Open() io.Reader { return &noiseReader{noise: n} }

type noiseReader struct {
	noise
	at int64
}

// Read makes each byte of its place alone, so that the size of reads does not matter.
func (n *noiseReader) Read(p []byte) (int, error) {
	if n.at >= n.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), n.size-n.at)]
	for i := 0; i < len(p); {
		word := binary.LittleEndian.AppendUint64(nil, mix(n.seed+uint64(n.at/8)))
		k := copy(p[i:], word[n.at%8:])
		i, n.at = i+k, n.at+int64(k)
	}
	return len(p), nil
}

// mix is the finalizer of splitmix64: neighbours come out unlike.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Noise is a Content of any size that takes no memory.
func Noise(size int64, seed uint64) Content { return noise{size, seed} }
