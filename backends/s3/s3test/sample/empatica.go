package sample

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"studyfs/backends/s3/s3test"
)

// EmpaticaPrefix is the prefix of the organisation, as an S3 access URL names it.
const EmpaticaPrefix = "v2/4711/"

// signal is one biomarker file of a day: its name and its columns of values.
type signal struct{ name, columns string }

func signals() []signal {
	return []signal{
		{"accelerometers-std", "accelerometers_std_g"},
		{"acticounts", "acticounts_x_axis,acticounts_y_axis,acticounts_z_axis"},
		{"actigraphy-counts", "counts_x_axis,counts_y_axis,counts_z_axis,vector_magnitude"},
		{"activity-classification", "activity_class"},
		{"activity-counts", "activity_counts"},
		{"activity-intensity", "activity_intensity"},
		{"body-position", "body_position_left,body_position_right"},
		{"eda", "eda_scl_usiemens"},
		{"met", "met"},
		{"prv", "prv_rmssd_ms"},
		{"pulse-rate", "pulse_rate_bpm"},
		{"respiratory-rate", "respiratory_rate_brpm"},
		{"sleep-detection", "sleep_detection_stage"},
		{"step-counts", "step_counts"},
		{"temperature", "temperature_celsius"},
		{"wearing-detection", "wearing_detection_percentage"},
	}
}

const minutesPerDay = 1440

// Empatica yields an organisation below EmpaticaPrefix: per participant and day the 16 biomarker files of 1,440 rows and four raw files.
// The last raw file of a day runs past midnight and lies in the day of its start, as real ones do.
func Empatica(o Options) iter.Seq2[string, s3test.Object] {
	o.setDefaults()
	return func(yield func(string, s3test.Object) bool) {
		for p := range o.Participants {
			for d := range o.Days {
				day := o.LastDay.AddDate(0, 0, d-o.Days+1)
				if !empaticaDay(o, p, day, yield) {
					return
				}
			}
		}
	}
}

func empaticaDay(o Options, p int, day time.Time, yield func(string, s3test.Object) bool) bool {
	participant := fmt.Sprintf("P%03d", p+1)
	serial := fmt.Sprintf("3YK%07X", 0x1A0B000+p)
	date := day.Format(time.DateOnly)
	base := fmt.Sprintf("%s1/1/participant_data/%s/%s-%s/", EmpaticaPrefix, date, participant, serial)
	for _, s := range signals() {
		key := fmt.Sprintf("%sdigital_biomarkers/aggregated_per_minute/1-1-%s_%s_%s.csv", base, participant, date, s.name)
		body := biomarkers(random(o.Seed, key), s, "4711-1-1-"+participant, day)
		if !yield(key, object(body, day.Add(25*time.Hour))) {
			return false
		}
	}
	for _, at := range []time.Duration{13 * time.Minute, 8 * time.Hour, 16 * time.Hour, 23*time.Hour + 51*time.Minute} {
		start := day.Add(at)
		key := fmt.Sprintf("%sraw_data/v6/1-1-%s_%d.avro", base, participant, start.Unix())
		if !yield(key, object(rawData(random(o.Seed, key), participant, serial, start), start.Add(35*time.Minute))) {
			return false
		}
	}
	return true
}

// biomarkers returns one day file: every minute has a row from the first upload on, unfilled ones give a reason.
func biomarkers(rnd *rand.Rand, s signal, id string, day time.Time) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "timestamp_unix,timestamp_iso,participant_full_id,%s,missing_value_reason\n", s.columns)
	columns := strings.Count(s.columns, ",") + 1
	value := 10 * rnd.Float64()
	for m := range minutesPerDay {
		at := day.Add(time.Duration(m) * time.Minute)
		fmt.Fprintf(&b, "%d,%s,%s,", at.UnixMilli(), at.Format("2006-01-02T15:04:05Z"), id)
		if m < 60 || m >= 1400 {
			b.WriteString(strings.Repeat(",", columns) + "device_not_recording\n")
			continue
		}
		for range columns {
			value = math.Abs(value + rnd.NormFloat64()/10)
			fmt.Fprintf(&b, "%.6f,", value)
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// schema is the part of empatica.format.avro.Session that the files here have.
const schema = `{"type":"record","name":"Session","namespace":"empatica.format.avro","fields":[
{"name":"schemaVersion","type":{"type":"record","name":"Version","fields":[{"name":"major","type":"int"},{"name":"minor","type":"int"},{"name":"patch","type":"int"}]}},
{"name":"timezone","type":"int"},
{"name":"enrollment","type":{"type":"record","name":"Enrollment","fields":[{"name":"participantID","type":"string"},{"name":"siteID","type":"string"},{"name":"studyID","type":"string"},{"name":"organizationID","type":"string"}]}},
{"name":"deviceSn","type":"string"},
{"name":"rawData","type":{"type":"record","name":"RawData","fields":[
{"name":"accelerometer","type":{"type":"record","name":"Axes","fields":[{"name":"timestampStart","type":"long"},{"name":"samplingFrequency","type":"float"},{"name":"x","type":{"type":"array","items":"int"}},{"name":"y","type":{"type":"array","items":"int"}},{"name":"z","type":{"type":"array","items":"int"}}]}},
{"name":"eda","type":{"type":"record","name":"Series","fields":[{"name":"timestampStart","type":"long"},{"name":"samplingFrequency","type":"float"},{"name":"values","type":{"type":"array","items":"float"}}]}},
{"name":"temperature","type":"Series"},
{"name":"bvp","type":"Series"}]}}]}`

// rawData returns an Avro object container (Avro 1.11 specification, "Object Container Files") with one block of one record, which is how
// the real files are: nothing of them can be read before all of it is there. It covers ten minutes.
func rawData(rnd *rand.Rand, participant, serial string, start time.Time) []byte {
	const seconds = 600
	var w avro
	w.long(6)
	w.long(5)
	w.long(0)
	w.long(0)
	for _, s := range []string{participant, "1", "1", "4711", serial} {
		w.str(s)
	}
	w.long(start.UnixMicro())
	w.float(64)
	for range 3 {
		w.ints(rnd, seconds*64)
	}
	for _, hertz := range []int{4, 1, 64} {
		w.long(start.UnixMicro())
		w.float(float32(hertz))
		w.floats(rnd, seconds*hertz)
	}
	var block bytes.Buffer
	z, _ := flate.NewWriter(&block, flate.BestSpeed) // fails on unknown levels only
	z.Write(w.b)                                     //nolint:errcheck // a buffer takes everything
	z.Close()                                        //nolint:errcheck // a buffer takes everything
	return container(rnd, block.Bytes())
}

func container(rnd *rand.Rand, block []byte) []byte {
	var f avro
	f.b = append(f.b, "Obj\x01"...)
	f.long(2)
	f.str("avro.schema")
	f.str(schema)
	f.str("avro.codec")
	f.str("deflate")
	f.long(0)
	sync := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rnd.Uint64()), rnd.Uint64())
	f.b = append(f.b, sync...)
	f.long(1)
	f.long(int64(len(block)))
	f.b = append(f.b, block...)
	return append(f.b, sync...)
}

// avro appends values in Avro's binary encoding.
type avro struct{ b []byte }

func (w *avro) long(v int64) { w.b = binary.AppendVarint(w.b, v) }

func (w *avro) str(s string) {
	w.long(int64(len(s)))
	w.b = append(w.b, s...)
}

func (w *avro) float(v float32) { w.b = binary.LittleEndian.AppendUint32(w.b, math.Float32bits(v)) }

func (w *avro) ints(rnd *rand.Rand, n int) {
	w.long(int64(n))
	v := 0.0
	for range n {
		v = 0.9*v + 40*rnd.NormFloat64()
		w.long(int64(v))
	}
	w.long(0)
}

func (w *avro) floats(rnd *rand.Rand, n int) {
	w.long(int64(n))
	v := 1.0
	for range n {
		v = math.Abs(v + rnd.NormFloat64()/100)
		w.float(float32(v))
	}
	w.long(0)
}
