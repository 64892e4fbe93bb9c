package beiwetest

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// clock is odd, so that a zip shows whose time it tells.
var clock = time.Date(2031, 7, 9, 11, 13, 14, 0, time.FixedZone("elsewhere", 3600))

// Each byte around a file is as the server's generator writes it: clients read zips front to back by them.
func TestHeaderBytes(t *testing.T) {
	c := start(t, Options{Now: func() time.Time { return clock }})
	c.put("gps", hour, "text")
	_, body, err := c.post("/get-data/v1")
	if err != nil {
		t.Fatal(err)
	}
	const name, text = pid + "/gps/2026-03-08 02_00_00+00_00.csv", "text"
	registry := `{"CHUNKED_DATA/` + sid + "/" + pid + `/gps/2026-03-08T02:00:00.csv": "HLJR7A1WjeapKbUgxK7Y0Q=="}`
	const day, second = (2031-1980)<<9 | 7<<5 | 9, 10<<11 | 13<<5 | 7 // UTC
	le := binary.LittleEndian
	common := func(b []byte, name, text string, sum uint32) []byte {
		b = append(b, 20, 0, 0, 0, 0, 0)
		b = le.AppendUint16(le.AppendUint16(b, second), day)
		b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, sum), uint32(len(text))), uint32(len(text)))
		return append(le.AppendUint16(b, uint16(len(name))), 0, 0)
	}
	var want, table []byte
	for _, f := range []struct {
		name, text string
		sum        uint32
	}{{name, text, 0x3b8ba7c7}, {"registry", registry, crcOf(registry)}} {
		at := uint32(len(want))
		want = append(append(common(append(want, "PK\x03\x04"...), f.name, f.text, f.sum), f.name...), f.text...)
		table = common(append(table, 'P', 'K', 1, 2, 20, 3), f.name, f.text, f.sum)
		table = append(table, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x01)
		table = append(le.AppendUint32(table, at), f.name...)
	}
	at := len(want)
	want = append(append(want, table...), 'P', 'K', 5, 6, 0, 0, 0, 0, 2, 0, 2, 0)
	want = append(le.AppendUint32(le.AppendUint32(want, uint32(len(table))), uint32(at)), 0, 0)
	if !bytes.Equal(body, want) {
		t.Errorf("%q\nwant %q", body, want)
	}
}

func crcOf(text string) uint32 { return plain("", []byte(text)).sum }

// Nothing matched: an empty zip with an empty registry, or without one for a browser. Neither tells its length beforehand.
func TestEmptyZips(t *testing.T) {
	c := start(t, Options{V2: true})
	for _, path := range []string{"/get-data/v1", "/get-data/v2"} {
		r, body, err := c.post(path)
		if err != nil || len(body) != 116 || unzip(t, body)["registry"] != "{}" || r.ContentLength != -1 || r.Header.Get("Content-Disposition") != `inline; filename="data.zip"` {
			t.Errorf("%s: %v %q, %v", path, r, body, err)
		}
		r, body, err = c.post(path, "web_form", "")
		if err != nil || len(body) != 22 || len(unzip(t, body)) != 0 || r.ContentLength != -1 || r.Header.Get("Content-Disposition") != `attachment; filename="data.zip"` {
			t.Errorf("%s, for a browser: %v %q, %v", path, r, body, err)
		}
	}
	c.put("gps", hour, "text")
	if files := c.zip("/get-data/v1", "web_form", "x"); len(files) != 1 {
		t.Errorf("for a browser: %v", files)
	}
}

// The server sends each file in one go, as a chunk of its own: a reader of chunks sees whole files.
func TestOneChunkPerMember(t *testing.T) {
	c := start(t, Options{})
	for h, size := range []int{0, 1, 100, 5000, 200_000, 1_300_000} {
		c.put("gps", hour.Add(time.Duration(h)*time.Hour), strings.Repeat("x", size))
	}
	host := strings.TrimPrefix(c.url, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	form := url.Values{"access_key": {access}, "secret_key": {secret}, "study_id": {sid}}.Encode()
	fmt.Fprintf(conn, "POST /get-data/v1/ HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", formType, len(form), form)
	r := bufio.NewReader(conn)
	head := ""
	for !strings.HasSuffix(head, "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head += line
	}
	if !strings.Contains(head, "Transfer-Encoding: chunked\r\n") || strings.Contains(head, "Content-Length") {
		t.Errorf("%s", head)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
	if err != nil || len(unzip(t, body)) != 7 {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	var starts []string
	for len(raw) > 0 {
		var n int
		fmt.Sscanf(string(raw[:min(20, len(raw))]), "%x\r\n", &n)
		raw = raw[bytes.IndexByte(raw, '\n')+1:]
		starts = append(starts, string(raw[:min(4, n)]))
		raw = raw[n+2:]
	}
	want := slices.Repeat([]string{"PK\x03\x04"}, 7)
	if want = append(want, "PK\x01\x02", ""); !slices.Equal(starts, want) {
		t.Errorf("chunks begin with %q", starts)
	}
}

// Names tell what the server keeps where; the i-th entry of the registry is of the i-th file, in whatever order they come.
func TestNamesAndRegistry(t *testing.T) {
	c := start(t, Options{V2: true, Seed: 3})
	want := map[string]string{}
	for name, x := range map[string]struct {
		stream, chunk string
		f             File
	}{
		pid + "/gps/2026-03-08 02_00_00+00_00.csv":                             {"gps", "CHUNKED_DATA/" + sid + "/" + pid + "/gps/2026-03-08T02:00:00.csv", File{}},
		pid + "/survey_timings/" + SurveyID + "/2026-03-08 02_00_00+00_00.csv": {"survey_timings", "CHUNKED_DATA/" + sid + "/" + pid + "/survey_timings/" + SurveyID + "/2026-03-08T02:00:00.csv", File{Survey: SurveyID}},
		pid + "/survey_answers/" + SurveyID + "/2026-03-08 02_34_56+00_00.csv": {"survey_answers", sid + "/" + pid + "/surveyAnswers/" + SurveyID + "/1772937296789.csv", File{Survey: SurveyID}},
		pid + "/audio_recordings/unknown_survey_id/2026-03-08 02_34_56+00_00.wav": {
			"audio_recordings", sid + "/" + pid + "/voiceRecording/unknown_survey_id/1772937296789.wav", File{Survey: "unknown_survey_id", Ext: ".wav"},
		},
		pid + "/ambient_audio/2026-03-08 02_34_56+00_00.mp4": {"ambient_audio", sid + "/" + pid + "/ambientAudio/1772937296789.mp4", File{Ext: ".mp4"}},
	} {
		x.f.Time, x.f.Body = hour.Add(34*time.Minute+56*time.Second+789*time.Millisecond), Bytes("of "+name)
		c.s.Put(sid, pid, x.stream, x.f)
		want[name] = x.chunk
	}
	orders := map[string]bool{}
	for i := range 20 {
		end := []string{"", ".zst"}[i%2]
		_, body, _ := c.post([]string{"/get-data/v1", "/get-data/v2"}[i%2])
		files, names := unzip(t, body), members(body)
		d := json.NewDecoder(strings.NewReader(files["registry"]))
		d.Token()
		for k, name := range names[:len(names)-1] {
			chunk, _ := d.Token()
			d.Token()
			if name, ok := strings.CutSuffix(name, end); !ok || want[name] != chunk {
				t.Errorf("member %d, %q: entry %q; want %q", k, name, chunk, want[name])
			}
			text := files[name]
			if end != "" {
				z, _ := zstd.NewReader(nil)
				plain, err := z.DecodeAll([]byte(text), nil)
				if z.Close(); err != nil {
					t.Error(err)
				}
				text = string(plain)
			}
			if text != "of "+strings.TrimSuffix(name, end) {
				t.Errorf("%q holds %q", name, text)
			}
		}
		if len(names) != len(want)+1 || names[len(names)-1] != "registry" {
			t.Errorf("members %q", names)
		}
		orders[strings.Join(names, " ")] = true
	}
	if len(orders) < 10 {
		t.Errorf("%d orders of 20", len(orders))
	}
}

// Files of one second are told apart by numbers that change from answer to answer: the registry's entry is the one thing that lasts.
func TestNumberedNames(t *testing.T) {
	c := start(t, Options{})
	for ms := range 3 {
		c.put("survey_answers", hour.Add(time.Duration(ms)*time.Millisecond), fmt.Sprint("upload ", ms))
	}
	base := pid + "/survey_answers/" + SurveyID + "/2026-03-08 02_00_00+00_00"
	seen := map[string]bool{}
	for range 20 {
		_, body, _ := c.post("/get-data/v1")
		files := unzip(t, body)
		if names := members(body); !slices.Equal(names, []string{base + ".csv", base + "_2.csv", base + "_3.csv", "registry"}) {
			t.Fatalf("%q", names)
		}
		seen[files[base+".csv"]] = true
	}
	if len(seen) != 3 {
		t.Errorf("the first is always one of %v", seen)
	}
}

// Registries are written as Python's json does.
func TestQuote(t *testing.T) {
	for text, want := range map[string]string{"a/b+c=": `"a/b+c="`, "<&>": `"<&>"`, "é": `"\u00e9"`, "😀": `"\ud83d\ude00"`, "\n\"\\\x01": `"\n\"\\\u0001"`, "": `""`, "\x7f": `"\u007f"`} {
		if got := quote(text); got != want {
			t.Errorf("%q: %s; want %s", text, got, want)
		}
	}
}

// A long history has more files than a zip could once count.
func TestManyFiles(t *testing.T) {
	const n = 66_000
	var files []*record
	for h := range n {
		r := record{Listed: Listed{Path: strconv.Itoa(h), ChunkPath: strconv.Itoa(h), Stream: "gps", Body: Bytes("x")}, md5: "known", crc: crcOf("x")}
		files = append(files, &r)
	}
	w := httptest.NewRecorder() // without a network, which takes its time
	one := &zipWriter{w: &answer{ResponseWriter: w}, s: New(Options{}), names: map[string]int{}, now: clock}
	one.send(files, query{})
	all := w.Body.Bytes()
	z, err := zip.NewReader(bytes.NewReader(all), int64(len(all)))
	if err != nil || len(z.File) != n+1 || z.File[n].Name != "registry" {
		t.Fatalf("%v", err)
	}
	if tail := all[len(all)-98:]; !bytes.HasPrefix(tail, []byte("PK\x06\x06")) || !bytes.HasPrefix(tail[56:], []byte("PK\x06\x07")) || !bytes.HasPrefix(tail[76:], []byte("PK\x05\x06")) ||
		binary.LittleEndian.Uint64(tail[32:]) != n+1 || binary.LittleEndian.Uint16(tail[86:]) != 0xffff {
		t.Errorf("%q", tail)
	}
	if n := strings.Count(string(all[bytes.LastIndex(all, []byte("registry{")):]), `": "`); n != 66_000 {
		t.Errorf("%d entries", n)
	}
}

// Sizes of 64 bits stand in a field of their own, in front of the bytes.
func TestWideSizes(t *testing.T) {
	c := start(t, Options{V2: true})
	c.s.Put(sid, pid, "gps", File{Time: hour, Body: Bytes("text"), Zip64: true})
	for _, path := range []string{"/get-data/v1", "/get-data/v2"} {
		_, body, err := c.post(path)
		if err != nil || binary.LittleEndian.Uint32(body[18:]) != 0xffffffff || binary.LittleEndian.Uint32(body[22:]) != 0xffffffff || body[4] != 45 {
			t.Errorf("%s: %q, %v", path, body[:30], err)
		}
		if files := unzip(t, body); len(files) != 2 || path == "/get-data/v1" && files[pid+"/gps/2026-03-08 02_00_00+00_00.csv"] != "text" {
			t.Errorf("%s: %q", path, files)
		}
	}
	local, central := piece{name: "a", size: 5 << 30}.headers(clock, 6<<30) // beyond what 32 bits count, both
	if len(local) != 30+1+20 || len(central) != 46+1+28 || binary.LittleEndian.Uint64(central[46+1+4+16:]) != 6<<30 {
		t.Errorf("%q %q", local, central)
	}
}

// A server hands out a recording of any size without holding it.
func TestLargeMember(t *testing.T) {
	c := start(t, Options{})
	c.s.Put(sid, pid, "audio_recordings", File{Time: hour, Survey: SurveyID, Ext: ".wav", Body: Noise(maxPiece+1000, 1)})
	_, body, err := c.post("/get-data/v1")
	files := unzip(t, body)
	want, _ := io.ReadAll(Noise(maxPiece+1000, 1).Open())
	if got := files[pid+"/audio_recordings/"+SurveyID+"/2026-03-08 02_00_00+00_00.wav"]; err != nil || got != string(want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
