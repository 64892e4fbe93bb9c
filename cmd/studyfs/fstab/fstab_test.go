package fstab

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func flags() []Flag {
	return []Flag{{"read-only", true}, {"no-exec", true}, {"allow-other", true}, {"write", true}, {"cache-size", false}, {"profile", false}, {"streams", false}}
}

// What stands in fstab reaches the program, and what is meant for others does not.
func TestParseMount(t *testing.T) {
	for line, want := range map[string]string{
		"s3://b/ /mnt/b -o rw":                                                       "s3://b/ /mnt/b",
		"reading /srv/reading -o ro,noauto,nofail":                                   "reading /srv/reading --read-only",
		"-o allow_other,profile=lab reading /srv/reading":                            "reading /srv/reading --allow-other --profile=lab",
		"reading /srv/r -v -n -o rw,_netdev,x-systemd.automount,x-gvfs-show,user=me": "reading /srv/r",
		"reading /srv/r -o noexec,nosuid,nodev,user=me,write -t studyfs":             "reading /srv/r --no-exec --write",
		`reading /srv/r -o cache-size=20GiB,streams="gps,calls",rw`:                  "reading /srv/r --cache-size=20GiB --streams=gps,calls",
		"reading /srv/r -ro cache_size=1GiB,ro":                                      "reading /srv/r --cache-size=1GiB --read-only",
		"reading /srv/r -s -o whatever,ro":                                           "reading /srv/r --read-only",
		"reading /srv/r -sf -N 12 -tfuse.studyfs":                                    "reading /srv/r fake",
		"none /srv/all -o rw":                                                        " /srv/all",
	} {
		m, err := ParseMount(strings.Split(line, " "), flags())
		got := strings.Join(append([]string{m.Source, m.Dir}, m.Args...), " ")
		if m.Fake {
			got += " fake"
		}
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

// A mistyped option of fstab is found when somebody mounts, not when somebody misses what it was for.
func TestParseMountRefuses(t *testing.T) {
	var unknown *UnknownError
	_, err := ParseMount([]string{"a", "/b", "-o", "rw,cache-sise=1G"}, flags())
	if !errors.As(err, &unknown) || unknown.Option != "cache-sise=1G" || !slices.Contains(unknown.Known, "cache-size") {
		t.Errorf("a mistyped option: %v", err)
	}
	for _, line := range []string{"", "a", "a /b /c", "a /b -o", "a /b -q", "a /b -o profile", "a /b --write"} {
		if m, err := ParseMount(strings.Fields(line), flags()); !errors.Is(err, ErrUsage) {
			t.Errorf("%q is read as %+v, %v", line, m, err)
		}
	}
}

func TestParseUmount(t *testing.T) {
	for line, want := range map[string]Umount{"/b": {"/b", false}, "/b -f": {"/b", true}, "-lv /b -t fuse.studyfs": {"/b", true}, "/b -n -N 1": {"/b", false}} {
		if got, err := ParseUmount(strings.Fields(line)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "/b /c", "/b -x", "-t"} {
		if got, err := ParseUmount(strings.Fields(line)); !errors.Is(err, ErrUsage) {
			t.Errorf("%q is read as %+v, %v", line, got, err)
		}
	}
}
