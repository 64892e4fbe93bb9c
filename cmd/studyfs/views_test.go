package main

import (
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/cache/view"
)

// A view is asked for by its name, of sources that can be shown so, and there is none unless somebody asks.
func TestViews(t *testing.T) {
	keys := writeFile(t, filepath.Join(t.TempDir(), "keys.csv"), testKeys, 0o600)
	for name, c := range map[string]struct {
		arg, wrong string
		flags      map[string]string
		want       viewSpec
		code       int
	}{
		"none":                {arg: "empatica:" + keys},
		"off":                 {arg: "hcp:", flags: map[string]string{"view": "off"}},
		"by participant":      {arg: "empatica:" + keys, flags: map[string]string{"view": "by-participant"}, want: viewSpec{Name: "by-participant"}},
		"in the study's time": {arg: "empatica:" + keys, flags: map[string]string{"view": "by-participant", "time-zone": "Europe/Berlin"}, want: viewSpec{Name: "by-participant", Zone: "Europe/Berlin"}},
		"pyAFQ":               {arg: "hcp:", flags: map[string]string{"view": "pyafq"}, want: viewSpec{Name: "pyafq"}},
		"of another kind":     {arg: "hcp:", flags: map[string]string{"view": "by-participant"}, wrong: "a source of kind hcp cannot be shown by-participant; only empatica can", code: exitUsage},
		"of a bucket":         {arg: "s3://bucket/", flags: map[string]string{"view": "pyafq"}, wrong: "only hcp can", code: exitUsage},
		"a zone for nothing":  {arg: "empatica:" + keys, flags: map[string]string{"time-zone": "Europe/Berlin"}, wrong: `it is for view = "by-participant" only`, code: exitUsage},
		"no such zone":        {arg: "empatica:" + keys, flags: map[string]string{"view": "by-participant", "time-zone": "Berlin"}, wrong: "write one such as Europe/Berlin", code: exitUsage},
		"the machine's zone":  {arg: "empatica:" + keys, flags: map[string]string{"view": "by-participant", "time-zone": "Local"}, wrong: "is not a time zone", code: exitUsage},
		"no such view":        {arg: "hcp:", flags: map[string]string{"view": "bids"}, wrong: "write by-participant, pyafq or off", code: exitUsage},
	} {
		l, err := load(testEnv(t), &given{flags: c.flags})
		var s sourceSpec
		if err == nil {
			s, _, err = l.parseSource(c.arg)
		}
		if c.wrong != "" {
			if err == nil || codeOf(err) != c.code || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v (exit %d); want %q, exit %d", name, err, codeOf(err), c.wrong, c.code)
			}
			continue
		}
		if err != nil || (s.View == nil) != (c.want == viewSpec{}) || s.View != nil && *s.View != c.want {
			t.Errorf("%s: %+v, %v", name, s.View, err)
		}
	}
	var c config
	if err := decode([]byte("[source.e]\nkind = \"empatica\"\nkeys = \"file:k.csv\"\nview = \"pyafq\"\n"), &c); err == nil || !strings.Contains(err.Error(), "[source.e]: view: a source of kind empatica") {
		t.Errorf("in the configuration: %v", err)
	}
}

// What lies in the bucket under a view's name is not lost without a word.
func TestNamesThatAViewHides(t *testing.T) {
	s := &liveSource{view: view.PyAFQ(nil, "x")}
	root := []backends.Entry{{Name: "100206", Dir: true}, {Name: "pyafq", Dir: true}}
	if got := s.hiddenByView(root); len(got) != 1 || !strings.Contains(got[0], "has a pyafq of its own") {
		t.Errorf("%q", got)
	}
	if got := (&liveSource{}).hiddenByView(root); got != nil {
		t.Errorf("%q", got)
	}
}
