package survey

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/edf/edftest"
)

// seattle is eight hours behind Greenwich.
func seattle() *time.Location { return time.FixedZone("PST", -8*60*60) }

func filetime(t time.Time) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(t.Unix()*1e7+116444736000000000))
}

// snc and vtc make Natus files of made-up patients.
func snc(t time.Time) []byte {
	b := make([]byte, natusHead)
	b[schemaAt], b[baseAt] = 1, 1
	copy(b[32:], "Quillfeather")
	return slices.Concat(b, make([]byte, sncStamp), filetime(t))
}

func vtc(clips ...Clip) []byte {
	b := make([]byte, vtcHead)
	for _, c := range clips {
		name := make([]byte, vtcName+16)
		copy(name, c.Name)
		b = slices.Concat(b, name, filetime(c.Start), filetime(c.Start.Add(time.Minute)))
	}
	return b
}

func riff(id string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(id), uint32(len(body)))
	return append(append(b, body...), make([]byte, len(body)%2)...)
}

func avi(chunk, date string) []byte {
	list := append([]byte("hdrl"), append(riff("avih", make([]byte, 56)), riff(chunk, []byte(date+"\n\x00"))...)...)
	return riff("RIFF", append([]byte("AVI "), append(riff("LIST", list), riff("LIST", []byte("movi"))...)...))
}

func utf16(s string) []byte { return []byte(strings.Join(strings.Split(s, ""), "\x00") + "\x00") }

// Each kind of file tells when it begins in its own way; where it does not, the file must not be given a number as if it did.
func TestStart(t *testing.T) {
	want := time.Date(2019, 3, 4, 20, 15, 30, 0, time.UTC)
	there := time.Date(2019, 3, 4, 20, 15, 30, 0, seattle())
	modified := there.Add(time.Hour)
	for name, c := range map[string]struct {
		body   []byte
		origin Origin
		none   bool
	}{
		"a.edf":                            {edftest.File{Date: "04.03.19", Time: "20.15.30"}.Bytes(), Header, false},
		"A.BDF":                            {edftest.File{BDF: true, Date: "04.03.19", Time: "20.15.30"}.Bytes(), Header, false},
		"anonymised.edf":                   {edftest.File{Date: "01.01.85", Time: "20.15.30"}.Bytes(), 0, true},
		"no date 20190304_201530.edf":      {edftest.File{Date: "99.99.99"}.Bytes(), 0, true},
		"short.edf":                        {[]byte("0       "), 0, true},
		"idit.avi":                         {avi("IDIT", "MON MAR 04 20:15:30 2019"), Contents, false},
		"idit2.avi":                        {avi("IDIT", "Mon Mar  4 20:15:30 2019"), Contents, false},
		"icrd.avi":                         {avi("ICRD", "2019-03-04 20:15:30"), Contents, false},
		"x.snc":                            {snc(there), Contents, false},
		"x.VTC":                            {vtc(Clip{`C:\q\a.avi`, there}), Contents, false},
		"q_2019-03-04_20.15.30.snc":        {[]byte("a text"), InName, false},
		"q 20190304T201530 b.txt":          {nil, InName, false},
		"text.snc":                         {[]byte("Recorded: 3/4/2019 8:15:30 PM\r\n3/5/2019 8:15:30 PM"), Contents, false},
		"utf16.vtc":                        {utf16("Start\t2019-03-04 20:15:30\r\n"), Contents, false},
		"either March or April.txt":        {[]byte("3/4/2019 20:15:30"), 0, true},
		"no time.txt":                      {[]byte("2019-03-04"), 0, true},
		"2019-02-31 20.15.30.txt":          {nil, 0, true},
		"201903042015300.csv":              {nil, 0, true},
		"letter.doc":                       {[]byte("2019-03-04 20:15:30"), 0, true},
		"empty.snc":                        {nil, 0, true},
		"garbage.snc":                      {bytes.Repeat([]byte{0xff}, 1000), 0, true},
		"2019-03-04 20-15-30.mp4":          {[]byte("not one"), InName, false},
		"clock never set.avi":              {avi("IDIT", "Tue Jan 01 00:00:00 1980"), Modified, false},
		"2019_03_04-20_15_30_quill.mpg":    {nil, InName, false},
		"a camera's\xe4 20190304 2015.wmv": {nil, Modified, false},
	} {
		if strings.HasSuffix(name, "2015.wmv") {
			modified, c.origin = there.Add(-30*time.Second), InName
		}
		got, origin, ok := Start(name, bytes.NewReader(c.body), int64(len(c.body)), modified, seattle())
		expect := want
		switch {
		case c.none:
			expect, origin = time.Time{}, 0
		case c.origin == Modified:
			expect = want.Add(time.Hour)
		case strings.HasSuffix(name, "2015.wmv"):
			expect = want.Add(-30 * time.Second)
		}
		if ok == c.none || !got.Equal(expect) || origin != c.origin {
			t.Errorf("%q: %v by %v, %v", name, got, origin, ok)
		}
		modified = there.Add(time.Hour)
	}
}

// What real programs write.
func TestStartOfRealVideos(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg")
	}
	dir := t.TempDir()
	want := time.Date(2019, 3, 4, 20, 15, 30, 0, time.UTC)
	for _, ext := range []string{"mp4", "mov", "mkv"} {
		file := filepath.Join(dir, "v."+ext)
		cmd := exec.CommandContext(t.Context(), ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-c:v", "mpeg4",
			"-metadata", "creation_time=2019-03-05T04:15:30Z", file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(err, string(out))
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, origin, ok := Start("v."+ext, bytes.NewReader(b), int64(len(b)), time.Now(), seattle())
		if !got.Equal(want) || !ok || origin != Contents {
			t.Errorf("%s: %v by %v, %v", ext, got, origin, ok)
		}
	}
}

// Matroska's date is an element of 8 bytes within Info.
func TestMatroska(t *testing.T) {
	info := binary.BigEndian.AppendUint64([]byte{0x2A, 0xD7, 0xB1, 0x83, 0x0F, 0x42, 0x40, 0x44, 0x61, 0x88}, uint64(time.Date(2019, 3, 5, 4, 15, 30, 0, time.UTC).Sub(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))))
	b := append([]byte{0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x15, 0x49, 0xA9, 0x66, 0x80 | byte(len(info))}, info...)
	got, origin, ok := Start("v.mkv", bytes.NewReader(b), int64(len(b)), time.Time{}, seattle())
	if !ok || origin != Contents || !got.Equal(time.Date(2019, 3, 4, 20, 15, 30, 0, time.UTC)) {
		t.Error(got, origin, ok)
	}
}

// Files come from strangers: whatever is in them, they must not stop the survey or make it read for ever.
func FuzzStart(f *testing.F) {
	now := time.Date(2019, 3, 4, 20, 15, 30, 0, time.UTC)
	for _, b := range [][]byte{avi("IDIT", "x"), snc(now), vtc(Clip{"a", now}), {0, 0, 0, 1, 'm', 'o', 'o', 'v', 0, 0, 0, 0, 0, 0, 0, 0}, {0x1A, 0x45, 0xDF, 0xA3, 0x80}} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, ext := range []string{"edf", "avi", "mp4", "mkv", "snc", "vtc", "txt"} {
			if at, _, ok := Start("x."+ext, bytes.NewReader(b), int64(len(b)), now, seattle()); ok == at.IsZero() {
				t.Errorf("%s: %v, %v", ext, at, ok)
			}
		}
	})
}

func TestLook(t *testing.T) {
	dir := t.TempDir()
	there := time.Date(2019, 3, 4, 20, 15, 30, 0, seattle())
	for name, body := range map[string][]byte{
		"Quillfeather/a.edf": edftest.File{}.Bytes(), "Quillfeather/d/Quill~ Ada_1.avi": nil, "Quillfeather/d/x.vtc": vtc(Clip{"QUILL~ Ada_1.AVI", there}),
		"Quillfeather/letter.doc": nil, "Quillfeather/d/x.erd": nil, "Quillfeather/.DS_Store": nil, "Quillfeather/no.edf": nil, "Other/b.edf": edftest.File{}.Bytes(),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../Other/b.edf", filepath.Join(dir, "Quillfeather", "link.edf")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := Look(root, []string{"Quillfeather"}, seattle())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Name)
		if f.Kind == deid.Video && (f.Origin != Contents || !f.Start.Equal(time.Date(2019, 3, 4, 20, 15, 30, 0, time.UTC))) {
			t.Errorf("the VTC file beside it is not used: %+v", f)
		}
	}
	slices.Sort(names)
	if want := []string{"Quillfeather/a.edf", "Quillfeather/d/Quill~ Ada_1.avi", "Quillfeather/d/x.vtc"}; !slices.Equal(names, want) {
		t.Error(names)
	}
	left := map[string]Reason{}
	for _, l := range s.Left {
		left[filepath.Base(l.Name)] = l.Reason
	}
	if len(left) != 5 || left["letter.doc"] != OtherKind || left["x.erd"] != Recorder || left["link.edf"] != NotAFile || left["no.edf"] != NoStart || left[".DS_Store"] != OtherKind {
		t.Error(left)
	}
	if len(s.Folders) != 2 || s.Folders[0].Name != "Quillfeather" {
		t.Error(s.Folders)
	}
	s.Without(deid.History{First: time.Date(2019, 3, 5, 0, 0, 0, 0, time.UTC)})
	if len(s.Files) != 2 || len(s.Left) != 6 {
		t.Error(s.Files, s.Left)
	}
}
