package beiwe_test

import (
	"testing"
	"time"

	"studyfs/backends/beiwe/beiwetest"
)

// Whoever sets a server up is told how much there is, from what the server counts itself: not a file of it is fetched.
func TestSurveyFetchesNothing(t *testing.T) {
	end := time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC)
	s, _ := newSite(t, beiwetest.Options{V2: true}, beiwetest.FillOptions{Participants: 3, Days: 4, End: end, Streams: []string{"gps", "calls"}})
	s.srv.AddStudy(beiwetest.Study{ID: "6f3a9c1e7b2d4c8f6a0e1b41", Name: "Later"})
	s.open()
	got, studies, err := s.src.Survey(t.Context(), 1)
	if err != nil || studies != 2 || len(got) != 1 {
		t.Fatalf("%+v of %d, %v", got, studies, err)
	}
	one := got[0]
	if one.Folder != "Demo Study" || one.Participants != 3 || one.Newest.String() != "2026-10-31" || one.Bytes <= 0 || !one.Counted {
		t.Errorf("%+v", one)
	}
	if n := s.src.Counts(); n.Get != 0 || n.List+n.Other > 8 {
		t.Errorf("%+v", n)
	}
	if got, studies, err = s.src.Survey(t.Context(), 0); err != nil || len(got) != 0 || studies != 2 {
		t.Errorf("only the studies: %+v of %d, %v", got, studies, err)
	}
}
