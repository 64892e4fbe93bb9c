package main

import (
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"studyfs/backends"
	"studyfs/cache/stage"
)

func TestWriteSettings(t *testing.T) {
	flags := map[string]string{
		"write": "true", "delete": "true", "durability": "remote", "storage-class": "STANDARD_IA", "bids": "strict", "junk": "upload", "owner": "1234-5678-9012",
		"unsafe-overwrite": "true", "upload-parallel": "3", "upload-bandwidth": "5MB", "stage-size": "1GiB", "quiet": "50ms",
	}
	l, err := load(testEnv(t), &given{flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := l.parseSource("s3://study/x/")
	if err != nil {
		t.Fatal(err)
	}
	want := writeSpec{
		Delete: true, Durability: "remote", Class: "STANDARD_IA", BIDS: "strict", Junk: "upload", Owner: "123456789012", Unsafe: true,
		Parallel: 3, Bandwidth: 5e6, Quota: 1 << 30, Quiet: 50 * time.Millisecond,
	}
	if s.Write == nil || *s.Write != want {
		t.Errorf("got %+v; want %+v", s.Write, want)
	}
}

// A mount that was meant to be read-only must be that, whatever the configuration says.
func TestReadOnlyWinsOverWrite(t *testing.T) {
	for _, flags := range []map[string]string{{}, {"read-only": "true", "write": "true"}, {"read-only": "true", "delete": "true"}} {
		l, err := load(testEnv(t), &given{flags: flags})
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := l.parseSource("s3://study/x/")
		if err != nil || s.Write != nil {
			t.Errorf("%v: %+v, %v; want nothing written", flags, s.Write, err)
		}
	}
}

func TestWriteMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		arg, want string
		flags     map[string]string
		code      int
	}{
		"hcp":                  {"hcp:", "only s3, dir and ecog take files", map[string]string{"write": "true"}, exitUsage},
		"anonymous":            {"s3://study/", "without keys", map[string]string{"write": "true", "anonymous": "true"}, exitUsage},
		"delete without write": {"s3://study/", "add --write", map[string]string{"delete": "true"}, exitUsage},
		"owner":                {"s3://study/", "12 digits", map[string]string{"write": "true", "owner": "me"}, exitUsage},
		"durability":           {"s3://study/", "local, remote or relaxed", map[string]string{"durability": "sure"}, exitUsage},
		"junk":                 {"s3://study/", "keep-local or upload", map[string]string{"junk": "no"}, exitUsage},
		"bids":                 {"s3://study/", "off, bidsish or strict", map[string]string{"bids": "on"}, exitUsage},
	} {
		l, err := load(testEnv(t), &given{flags: c.flags})
		if err == nil {
			_, _, err = l.parseSource(c.arg)
		}
		if err == nil || codeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (exit %d); want %q, exit %d", name, err, codeOf(err), c.want, c.code)
		}
	}
	var c config
	err := decode([]byte("[source.h]\nkind = \"hcp\"\nwrite = true\n"), &c)
	if err == nil || !strings.Contains(err.Error(), "only s3, dir and ecog take files") {
		t.Errorf("write = true below a source of kind hcp: %v", err)
	}
}

// The header of a stage must be enough to upload it when the configuration is gone, and must never hold keys.
func TestTargetOfAStage(t *testing.T) {
	s := sourceSpec{Name: "lab", Kind: kindS3, Bucket: "study", Endpoint: "https://s3.example.org", KeysCSV: []byte(testKeys), KeysRef: "file:/keys.csv", Write: &writeSpec{Class: "GLACIER"}}
	text := s.target()
	if strings.Contains(text, "wJalrXUtnFEMI") || strings.Contains(text, "keys_csv") {
		t.Errorf("keys in %s", text)
	}
	got, ok := parseTarget(text)
	if s.KeysCSV = nil; !ok || got.key() != s.key() {
		t.Errorf("got %s; want %s", got.key(), s.key())
	}
	p := places{state: t.TempDir()}
	l, err := load(testEnv(t), &given{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := openWriting(t.Context(), p, s, slog.New(slog.DiscardHandler), stage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openWriting(t.Context(), p, s, slog.New(slog.DiscardHandler), stage.Options{}); codeOf(err) != exitTryAgain || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second writer: %v; want the first one's number", err)
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	if got := l.specOfStage(p, s.id()); got.key() != s.key() {
		t.Errorf("got %s; want %s", got.key(), s.key())
	}
}

// What a service cannot do must not be forgotten by a mount that did not try it.
func TestAbilitiesAreRemembered(t *testing.T) {
	p := places{state: t.TempDir()}
	s := sourceSpec{Kind: kindS3, Bucket: "study"}
	for _, a := range []backends.Abilities{{Conditions: backends.Unable}, {Checksums: backends.Able}, {}} {
		if err := p.remember(s, func(k *known) { k.learn(a) }); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.recall(s.id()).abilities(); got.Conditions != backends.Unable || got.Checksums != backends.Able {
		t.Errorf("remembered %+v", got)
	}
}

// What a lab allows studyfs of a line or a service that others use as well is kept to, for every kind of source.
func TestSourceLimits(t *testing.T) {
	load := func(requests string) (sourceSpec, error) {
		l, err := load(testEnv(t), &given{flags: map[string]string{"max-requests": requests, "bandwidth": "5MB"}})
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := l.parseSource("s3://study/x/")
		return s, err
	}
	s, err := load("4")
	if err != nil || s.MaxRequests != 4 || s.Bandwidth != 5e6 {
		t.Errorf("%d requests, %d bytes a second, %v", s.MaxRequests, s.Bandwidth, err)
	}
	if o, err := s3Options(s, timeouts{}, slog.New(slog.DiscardHandler), nil); err != nil || o.MaxInFlight != 4 {
		t.Errorf("%d requests of the S3 client, %v", o.MaxInFlight, err)
	}
	if _, err := load("-1"); err == nil || !strings.Contains(err.Error(), "max-requests") {
		t.Errorf("a negative number: %v", err)
	}
}
