package main

import (
	"strings"
	"testing"
	"time"

	"studyfs/cmd/studyfs/warm"
)

func TestSinceOfWarm(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"": {}, "7d": now.AddDate(0, 0, -7), "2w": now.AddDate(0, 0, -14), "12h": now.Add(-12 * time.Hour),
		"2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.Local),
	} {
		if got, err := sinceWhen(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"7", "d", "-7d", "0d", "-1h", "yesterday", "2026-13-01"} {
		if _, err := sinceWhen(text, now); err == nil {
			t.Errorf("%q is understood", text)
		}
	}
}

// The line on a terminal says how far it is, how fast, and how long it will take.
func TestLineOfWarm(t *testing.T) {
	now := time.Now()
	r := warmReport{Report: warm.Report{Found: warm.Tally{Files: 10, Bytes: 100 << 20}, Missing: warm.Tally{Files: 8, Bytes: 80 << 20}}}
	if text := warmLine(r, now); !strings.Contains(text, "looking") {
		t.Error(text)
	}
	r.Listed, r.Began, r.Fetched = true, now.Add(-10*time.Second), warm.Tally{Files: 2, Bytes: 20 << 20}
	if text := warmLine(r, now); !strings.Contains(text, "[######..................] 2 of 8 files") || !strings.HasSuffix(text, "30s left") {
		t.Error(text)
	}
}
