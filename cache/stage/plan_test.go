package stage

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"studyfs/backends"
)

// What is sent, and what need not be.
func TestDecide(t *testing.T) {
	attr := Attr{Mode: 0o640, UID: 1, GID: 2, ModTime: time.Unix(1.7e9, 5)}
	other := attr
	other.ModTime = other.ModTime.Add(time.Second)
	local := attr
	local.XAttrs = map[string]string{"user.note": "x"}
	base := backends.Entry{Name: "f", Size: 7, Version: "1"}
	link := backends.Entry{Name: "f" + LinkSuffix, Size: 3, Version: "1"}
	dir := backends.Entry{Name: "f", Dir: true}
	was := func(sum uint64, a Attr) Remembered { return Remembered{CRC64NVME: sum, HasCRC: true, Attr: a} }
	for _, tt := range []struct {
		name string
		job  Job
		want action
	}{
		{"new", Job{Info: Info{Size: 7}}, actPut},
		{"new and empty", Job{}, actPut},
		{"other size", Job{Info: Info{Size: 8, Base: base}}, actPut},
		{"other bytes", Job{Info: Info{Size: 7, Base: base, Attr: attr}, CRC64NVME: 2, Was: was(1, attr), HasWas: true}, actPut},
		{"same size, stored by somebody else", Job{Info: Info{Size: 7, Base: base}}, actAsk},
		{"same size, checksum forgotten", Job{Info: Info{Size: 7, Base: base}, Was: Remembered{Attr: attr}, HasWas: true}, actAsk},
		{"size not known", Job{Info: Info{Size: 7, Base: backends.Entry{Name: "f", Size: backends.SizeUnknown, Version: "1"}}}, actPut},
		{"same bytes, other time", Job{Info: Info{Size: 7, Base: base, Attr: other}, CRC64NVME: 1, Was: was(1, attr), HasWas: true}, actTouch},
		{"all the same", Job{Info: Info{Size: 7, Base: base, Attr: attr}, CRC64NVME: 1, Was: was(1, attr), HasWas: true}, actSkip},
		{"all but extended attributes", Job{Info: Info{Size: 7, Base: base, Attr: local}, CRC64NVME: 1, Was: was(1, attr), HasWas: true}, actSkip},
		{"chmod of a stored file", Job{Touch: true, Info: Info{Size: 7, Base: base, Attr: attr}, Was: was(1, attr), HasWas: true}, actTouch},
		{"file in the place of a link", Job{Info: Info{Size: 3, Base: link}}, actPut},
		{"file in the place of a directory", Job{Info: Info{Base: dir}}, actPut},
		{"directory", Job{Info: Info{Kind: Dir}}, actMarker},
		{"directory that is there", Job{Info: Info{Kind: Dir, Base: dir}}, actSkip},
		{"link", Job{Info: Info{Kind: Link, Target: "abc"}}, actLink},
		{"link elsewhere", Job{Info: Info{Kind: Link, Target: "abc", Base: link}, Was: Remembered{Target: "abd"}, HasWas: true}, actLink},
		{"link as it was", Job{Info: Info{Kind: Link, Target: "abc", Base: link, Attr: attr}, Was: Remembered{Target: "abc", Attr: attr}, HasWas: true}, actSkip},
		{"link, other time", Job{Info: Info{Kind: Link, Target: "abc", Base: link, Attr: other}, Was: Remembered{Target: "abc", Attr: attr}, HasWas: true}, actTouch},
		{"link in the place of a file", Job{Info: Info{Kind: Link, Target: "abc", Base: base}}, actLink},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(&tt.job); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

func TestDecideKnowing(t *testing.T) {
	attr := Attr{Mode: 0o640, UID: 1, GID: 2, ModTime: time.Unix(1.7e9, 5)}
	base := backends.Entry{Name: "f", Size: 7, Version: "1"}
	j := &Job{Info: Info{Size: 7, Base: base, Attr: attr}, CRC64NVME: 9}
	newer := base
	newer.Version = "2"
	partly := maps.Clone(Meta(attr))
	delete(partly, "uid")
	for _, tt := range []struct {
		name string
		now  backends.Stored
		want action
	}{
		{"the same", backends.Stored{Entry: base, Meta: Meta(attr), CRC64NVME: 9, HasCRC: true}, actSkip},
		{"no metadata", backends.Stored{Entry: base, CRC64NVME: 9, HasCRC: true}, actTouch},
		{"a part of the metadata", backends.Stored{Entry: base, Meta: partly, CRC64NVME: 9, HasCRC: true}, actTouch},
		{"other bytes", backends.Stored{Entry: base, Meta: Meta(attr), CRC64NVME: 8, HasCRC: true}, actPut},
		{"no checksum", backends.Stored{Entry: base, Meta: Meta(attr)}, actPut},
		{"not everywhere where it is to lie", backends.Stored{Entry: base, Meta: Meta(attr), CRC64NVME: 9, HasCRC: true, Partial: true}, actPut},
		{"replaced meanwhile", backends.Stored{Entry: newer, Meta: Meta(attr), CRC64NVME: 9, HasCRC: true}, actPut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decideKnowing(j, tt.now); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}

// What an object must not take the place of: a file that has a link's name, and the other way round, lie beside it.
func TestReplaced(t *testing.T) {
	file := backends.Entry{Name: "f", Size: 7, Version: "1"}
	link := backends.Entry{Name: "f", Link: "abc", Size: 3, Version: "2"}
	if got := replaced(&Job{Info: Info{Name: "f", Kind: Link, Base: link}}); got != (backends.Entry{Name: "f.rclonelink", Size: 3, Version: "2"}) {
		t.Errorf("link: %+v", got)
	}
	if got := replaced(&Job{Info: Info{Name: "f", Kind: Link, Base: file}}); got != (backends.Entry{}) {
		t.Errorf("link in the place of a file: %+v", got)
	}
	if got := replaced(&Job{Info: Info{Name: "f", Base: link}}); got != (backends.Entry{}) {
		t.Errorf("file in the place of a link: %+v", got)
	}
	if got := replaced(&Job{Info: Info{Name: "f", Base: file}}); got != file {
		t.Errorf("file: %+v", got)
	}
}

// What rclone writes is read, and what is written is what rclone reads.
func TestMetaForms(t *testing.T) {
	if got := Meta(Attr{Mode: 0o104640, UID: 1000, GID: 100, ModTime: time.Unix(1700000000, 123456789)}); !maps.Equal(got, map[string]string{
		"mtime": "1700000000.123456789", "mode": "4640", "uid": "1000", "gid": "100",
	}) {
		t.Errorf("%v", got)
	}
	for s, want := range map[string]time.Time{
		"1700000000": time.Unix(1700000000, 0), "1700000000.5": time.Unix(1700000000, 5e8), "-1.5": time.Unix(-2, 5e8),
		"1700000000.1234567891": time.Unix(1700000000, 123456789), "0": time.Unix(0, 0),
	} {
		if got, ok := parseTime(s); !ok || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", ".", "x", "1.x", "--1", "1e9", "99999999999999999999", "+1", "1.-5"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
	kept := Attr{Mode: 0o600, UID: 7, GID: 8, ModTime: time.Unix(5, 0)}
	if got := AttrOf(map[string]string{"mode": "rw", "uid": "-1", "mtime": "soon"}, kept); !got.Equal(kept) {
		t.Errorf("%+v", got)
	}
	if got := AttrOf(map[string]string{"mode": "100644"}, kept); got.Mode != 0o644 || got.UID != 7 {
		t.Errorf("%+v", got)
	}
}

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Attr{
			Mode: rapid.Uint32Max(0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
			ModTime: time.Unix(rapid.Int64Range(-1e11, 1e11).Draw(t, "sec"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns")),
		}
		if got := AttrOf(Meta(a), Attr{}); !got.Equal(a) {
			t.Fatalf("%+v became %+v by %v", a, got, Meta(a))
		}
	})
}

func TestVerdicts(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("put: %w", err) }
	for _, tt := range []struct {
		err, local error
		tries      int
		want       ending
	}{
		{nil, nil, 0, endStored},
		{wrap(backends.ErrChanged), nil, 0, endConflict},
		{wrap(backends.ErrAuth), nil, 0, endPaused},
		{wrap(backends.ErrUnsafe), nil, 0, endPaused},
		{wrap(backends.ErrPermission), nil, 0, endFailed},
		{wrap(backends.ErrTooLarge), nil, 0, endFailed},
		{wrap(backends.ErrName), nil, 0, endFailed},
		{wrap(backends.ErrOccupied), nil, 0, endFailed},
		{wrap(backends.ErrBusy), nil, 99, endAgain},
		{wrap(backends.ErrUnreachable), nil, 99, endAgain},
		{wrap(backends.ErrBadAnswer), nil, 99, endAgain},
		{wrap(backends.ErrNotExist), nil, 99, endAgain}, // the bucket: it may come back
		{errors.New("anything"), nil, 99, endAgain},
		{wrap(backends.ErrPermission), backends.ErrPermission, 0, endAgain}, // of the local disk
		{wrap(backends.ErrPermission), backends.ErrPermission, localTries - 1, endFailed},
	} {
		v := verdictOf(&Job{}, tt.err, tt.local, tt.tries)
		if v.how != tt.want || v.how != endStored && v.why == "" {
			t.Errorf("%v, %v, %d: %+v", tt.err, tt.local, tt.tries, v)
		}
	}
	for err, want := range map[error]string{
		backends.ErrUnreachable: "nas: " + backends.ErrUnreachable.Error(),
		backends.ErrOccupied:    "nas: another file lies there",
	} {
		v := verdictOf(&Job{}, wrap(&backends.TargetError{Target: "nas", Err: err}), nil, 0)
		if !strings.HasPrefix(v.why, want) || v.down { // nothing else waits for that one
			t.Errorf("%v: %+v", err, v)
		}
	}
	if v := verdictOf(&Job{Touch: true}, wrap(backends.ErrChanged), nil, 0); v.how != endMoot {
		t.Errorf("%+v", v)
	}
}
