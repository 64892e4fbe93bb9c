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
	f := File{Time: at}
	awake := at.Hour() >= 12 && at.Hour() < 22
	switch stream {
	case "survey_answers":
		if at.Hour() != 20 {
			return
		}
		f.Time, f.Survey, f.Body = at.Add(time.Duration(r.IntN(3600_000))*time.Millisecond), SurveyID, answers(r)
	case "survey_timings":
		if at.Hour() != 20 {
			return
		}
		f.Survey, f.Body = SurveyID, rowsOf(stream, at, 12, r.Uint64())
	case "audio_recordings":
		if h%72 != 15 {
			return
		}
		f.Time, f.Survey, f.Ext = at.Add(time.Duration(r.IntN(3600_000))*time.Millisecond), SurveyID, ".wav"
		f.Body = noise{size: 60_000 + r.Int64N(60_000), seed: r.Uint64()}
	case "ambient_audio":
		if h%96 != 40 {
			return
		}
		f.Time, f.Ext = at.Add(time.Duration(r.IntN(3600_000))*time.Millisecond), ".mp4"
		f.Body = noise{size: 40_000 + r.Int64N(40_000), seed: r.Uint64()}
	case "identifiers":
		if h != 0 {
			return
		}
		f.Body = rowsOf(stream, at, 1, r.Uint64())
	default:
		n := rowsPerHour(stream, awake, r)
		if n == 0 {
			return
		}
		f.Body = rowsOf(stream, at, n, r.Uint64())
	}
	s.Put(o.Study.ID, id, stream, f)
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

// columns are the header's names behind timestamp and UTC time (constants/data_processing_constants.py), and a row's values as a pattern: "#" is
// a digit of chance, "@" a hexadecimal one. The width of a row is fixed, so that sizes are known without making the rows.
func columns(stream string) (names, pattern string) {
	switch stream {
	case "accelerometer":
		return "accuracy,x,y,z", "unknown,-0.######,0.######,9.######"
	case "gyro":
		return "accuracy,x,y,z", "unknown,0.######,-0.######,0.######"
	case "magnetometer":
		return "x,y,z", "-1#.####,2#.####,-3#.####"
	case "devicemotion":
		return "roll,pitch,yaw,rotation_rate_x,rotation_rate_y,rotation_rate_z,gravity_x,gravity_y,gravity_z,user_accel_x,user_accel_y,user_accel_z," +
				"magnetic_field_calibration_accuracy,magnetic_field_x,magnetic_field_y,magnetic_field_z",
			"0.####,0.####,-0.####,0.####,0.####,0.####,-0.####,0.####,-0.####,0.####,0.####,0.####,low,1#.##,-2#.##,3#.##"
	case "gps":
		return "latitude,longitude,altitude,accuracy", "42.3######,-71.1######,1#.#,1#.#"
	case "power_state":
		return "event", "Screen turned on#"
	case "proximity":
		return "event", "NearUser#"
	case "reachability":
		return "event", "wifi#"
	case "app_log":
		return "event", "studyfs sample event ######"
	case "ios_log":
		return "launchId,memory,battery,event,msg,d1,d2,d3,d4", "@@@@@@@@,1####,0.##,wake,ok,,,,"
	case "bluetooth":
		return "hashed MAC,RSSI", "@@@@@@@@@@@@@@@@,-7#"
	case "wifi":
		return "hashed MAC,frequency,RSSI", "@@@@@@@@@@@@@@@@,24##,-6#"
	case "calls":
		return "hashed phone number,call type,duration in seconds", "@@@@@@@@@@@@@@@@,Incoming Call,1##"
	case "texts":
		return "hashed phone number,sent vs received,message length,time sent", "@@@@@@@@@@@@@@@@,received SMS,1#,17########000"
	case "identifiers":
		return "patient_id,MAC,phone_number,device_id,device_os,os_version,product,brand,hardware_id,manufacturer,model,beiwe_version",
			"sample,@@@@@@@@@@@@@@@@,@@@@@@@@@@@@@@@@,@@@@@@@@@@@@@@@@,Android,1#,sample,sample,sample,sample,sample,3.#.#"
	case "survey_timings":
		return "question id,survey id,question type,question text,question answer options,answer",
			"@@@@@@@@-@@@@,5f3a9c1e7b2d4c8f6a0e1b23,slider,How did you sleep?,min = 0; max = 10,#"
	}
	return "event", "#"
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
	names, _ := columns(c.stream)
	return "timestamp,UTC time," + names
}

// Size is header and rows, a newline between each two and none at the end.
func (c rows) Size() int64 {
	_, pattern := columns(c.stream)
	row := 1 + 13 + 1 + len(stampForm) + 1 + len(pattern)
	return int64(len(c.header()) + c.n*row)
}

func (c rows) Open() io.Reader {
	return &rowReader{rows: c, rand: rand.New(rand.NewPCG(c.seed, 1)), left: []byte(c.header())} //nolint:gosec // made-up data
}

type rowReader struct {
	rows
	rand *rand.Rand
	next int
	left []byte
	buf  []byte
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

func (r *rowReader) row() {
	at := r.start.Add(time.Duration(int64(time.Hour) / int64(r.n) * int64(r.next)))
	r.next++
	r.buf = fmt.Appendf(r.buf, "\n%013d,", at.UnixMilli())
	r.buf = at.AppendFormat(r.buf, stampForm)
	r.buf = append(r.buf, ',')
	_, pattern := columns(r.stream)
	bits, have := uint64(0), 0
	for _, c := range []byte(pattern) {
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

// answers is a survey's upload, which has no timestamp column.
func answers(r *rand.Rand) Content {
	text := "question id,question type,question text,question answer options,answer"
	for q := range 6 {
		text += fmt.Sprintf("\n%08x-demo,slider,Question %d,min = 0; max = 10,%d", r.Uint32(), q+1, r.IntN(11))
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
