package main

import (
	"testing"
	"time"
)

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{
		"0": 0, "512": 512, "512B": 512, "1K": 1 << 10, "1KiB": 1 << 10, "1kB": 1000, "256MiB": 256 << 20,
		"10G": 10 << 30, "10 GiB": 10 << 30, "1.5GiB": 3 << 29, "2TB": 2e12,
	} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("size %q = %d, %v; want %d", text, got, err, want)
		}
		var again byteSize
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("size %q is shown as %q, which is read as %d, %v", text, got.String(), again, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1X", "1KiBs", "K", "1e30", "99999999TiB", "NaN", "1..2"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q was read as %d; want an error", text, got)
		}
	}
}

func TestDuration(t *testing.T) {
	var got duration
	if err := got.UnmarshalText([]byte("1m30s")); err != nil || got != duration(90*time.Second) {
		t.Errorf("got %v, %v; want 1m30s", got, err)
	}
	for _, text := range []string{"", "5", "-5s", "soon"} {
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("time %q was accepted", text)
		}
	}
}

func TestNearest(t *testing.T) {
	candidates := []string{"cache-size", "cache-dir", "memory", "profile"}
	for word, want := range map[string]string{"cache-sise": "cache-size", "memroy": "memory", "Profile": "profile", "zzzzzz": "", "": ""} {
		if got := nearest(word, candidates); got != want {
			t.Errorf("nearest(%q) = %q; want %q", word, got, want)
		}
	}
}

// A setting without help, or two with one name, would only be seen by a user.
func TestSettingsTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range append(settingsOf(newConfig()), settingsOf(&sourceConfig{})...) {
		if s.help == "" {
			t.Errorf("setting %s has no help", s.path)
		}
		if seen[s.flag()] {
			t.Errorf("flag --%s exists twice", s.flag())
		}
		seen[s.flag()] = true
	}
	for _, promised := range []string{
		"endpoint-url", "region", "profile", "anonymous", "requester-pays", "cache-dir", "cache-size", "memory", "state-dir",
		"log-level", "read-only", "allow-other",
	} {
		if !seen[promised] {
			t.Errorf("flag --%s is promised and missing", promised)
		}
	}
}
