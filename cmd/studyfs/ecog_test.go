package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"studyfs/backends"
)

const ecogConfig = `
[source.ecog]
kind = "ecog"
write = true
region = "us-west-2"
profile = "lab"
[source.ecog.video]
target = "s3://lab-video/ecog/"
encrypt-to = ["age1c562v08q5ywhklfxftxc0amfakrayvjnzy54jalwn3uc8pehv39qhw3gkp"]
endings = ["avi", "*.MP4"]
[source.ecog.edf]
target = "s3://lab-edf/"
profile = "edf"
[source.ecog.archive]
target = "s3://lab-archive/"
storage-class = "DEEP_ARCHIVE"
[source.ecog.nas]
target = "dir:/mnt/nas/ecog"
`

// ecogOf loads a configuration and makes its source "ecog".
func ecogOf(t *testing.T, text string) (sourceSpec, error) {
	t.Helper()
	path := writeFile(t, filepath.Join(t.TempDir(), "config.toml"), text, 0o600)
	l, err := load(testEnv(t, "STUDYFS_CONFIG", path), &given{})
	if err != nil {
		return sourceSpec{}, err
	}
	s, _, err := l.parseSource("ecog")
	return s, err
}

// Each target is what its table says, and else what the source says.
func TestEcogTargets(t *testing.T) {
	s, err := ecogOf(t, ecogConfig)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Targets) != 4 || s.Write == nil || s.Write.BIDS != "off" || s.Gate == nil || s.Gate.Policy != "refuse" || s.Gate.Encrypts || s.AtRest == nil || s.url() != "s3://lab-video/ecog/ + s3://lab-edf/" {
		t.Fatalf("%+v", s)
	}
	video, edf, archive, nas := s.Targets[0], s.Targets[1], s.Targets[2], s.Targets[3]
	if strings.Join(video.Endings, " ") != ".avi .mp4" || video.Source.Crypt == nil || video.Source.Profile != "lab" || video.Source.Prefix != "ecog/" || video.Copy {
		t.Errorf("%+v", video)
	}
	if edf.Source.Profile != "edf" || edf.Source.Region != "us-west-2" || edf.Source.Crypt != nil || edf.Copy {
		t.Errorf("%+v", edf)
	}
	if !archive.Copy || archive.Source.Write.Class != "DEEP_ARCHIVE" || edf.Source.Write.Class != "" {
		t.Errorf("%+v", archive)
	}
	if !nas.Copy || nas.Source.Dir == nil || nas.Source.Dir.Path != "/mnt/nas/ecog" || nas.Source.Write == nil {
		t.Errorf("%+v", nas)
	}
	back, ok := parseTarget(s.target())
	back.AtRest = s.AtRest // that is of this machine
	if !ok || back.id() != s.id() || back.key() != s.key() {
		t.Errorf("of the stage's header: %s; want %s", back.key(), s.key())
	}
}

// A lab buys a NAS: what waits for its upload and what is cached stays what it is.
func TestEcogKeepsItsPlaces(t *testing.T) {
	before, err := ecogOf(t, ecogConfig[:strings.Index(ecogConfig, "[source.ecog.nas]")])
	if err != nil {
		t.Fatal(err)
	}
	after, err := ecogOf(t, ecogConfig)
	if err != nil || before.id() != after.id() {
		t.Errorf("%s became %s, %v", before.id(), after.id(), err)
	}
	other, err := ecogOf(t, strings.Replace(ecogConfig, "lab-edf", "lab-edf2", 1))
	if err != nil || other.id() == after.id() {
		t.Errorf("another bucket has the same places, %v", err)
	}
}

func TestEcogMistakes(t *testing.T) {
	for what, c := range map[string]struct{ from, to, want string }{
		"no edf":          {"[source.ecog.edf]\ntarget = \"s3://lab-edf/\"\nprofile = \"edf\"\n", "", "the table edf is missing"},
		"no target":       {"target = \"s3://lab-edf/\"", "", "edf: target is missing"},
		"another scheme":  {"s3://lab-edf/", "azure://a/b/", "is neither s3://bucket/prefix/ nor dir:PATH"},
		"a url":           {"write = true", "url = \"s3://lab/\"", "a target in each of its tables"},
		"the same twice":  {"s3://lab-archive/", "s3://lab-edf/", "the same place as edf"},
		"a misspelt key":  {"storage-class", "storage-classes", "archive.storage-class"},
		"endings of edf":  {"profile = \"edf\"", "endings = [\".edf\"]", "endings are for video"},
		"another kind":    {"kind = \"ecog\"", "kind = \"s3\"\nurl = \"s3://lab/\"", "tables of sources of kind ecog"},
		"a private key":   {"encrypt-to =", "identity = \"AGE-SECRET-KEY-1\"\nencrypt-to =", "does not say where it is"},
		"not a directory": {"dir:/mnt/nas/ecog", "dir:", "names no directory"},
	} {
		if !strings.Contains(ecogConfig, c.from) {
			t.Fatalf("%s: the sample has no %q", what, c.from)
		}
		_, err := ecogOf(t, strings.Replace(ecogConfig, c.from, c.to, 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: the key is shown: %v", what, err)
		}
	}
}

// A message names the target that is meant, and what to do there.
func TestMessagesNameTheTarget(t *testing.T) {
	s, err := ecogOf(t, ecogConfig)
	if err != nil {
		t.Fatal(err)
	}
	f := explainSource(s, errors.Join(errors.New("x"), &backends.TargetError{Target: "nas", Err: backends.ErrUnreachable}))
	if f.What != "dir:/mnt/nas/ecog" || !strings.Contains(f.Do, "mkdir /mnt/nas/ecog/.studyfs") || f.Code != exitUnreachable {
		t.Errorf("%v", f)
	}
	f = explainSource(s, &backends.TargetError{Target: "edf", Err: backends.ErrAuth})
	if f.What != "s3://lab-edf/" || !strings.Contains(f.Do, "profile edf") {
		t.Errorf("%v", f)
	}
}
