package beiwe

import (
	"context"
)

// Survey is what a server says of one study, without any of its data having been fetched.
type Survey struct {
	Folder       string // the study's folder
	Participants int    // who have data
	Newest       Day    // the last day with data, in the study's time zone; 0 where there is none
	Bytes        int64  // as the server counts them
	Counted      bool   // it counts: a server before 2024-06 does not, then the three above are 0
}

// Survey asks for the studies and, of the first most of them in the order of their folders, for what they hold: one request for the studies
// and up to four small ones for each. There may be more studies than surveys.
func (s *Source) Survey(ctx context.Context, most int) (surveys []Survey, studies int, err error) {
	if err := s.fetchStudies(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	byFolder := map[string]string{}
	for id, st := range s.index.Studies {
		byFolder[st.Folder] = id
	}
	s.mu.Unlock()
	for _, folder := range sortedKeys(byFolder) {
		if len(surveys) == most {
			break
		}
		id := byFolder[folder]
		if err := s.fetchStudy(ctx, id); err != nil {
			return surveys, len(byFolder), err
		}
		s.mu.Lock()
		surveys = append(surveys, s.index.Studies[id].survey())
		s.mu.Unlock()
	}
	return surveys, len(byFolder), nil
}

// survey adds up what is known of a study; nil for one that has just been taken away.
func (s *study) survey() Survey {
	if s == nil {
		return Survey{}
	}
	sum := Survey{Folder: s.Folder, Counted: !s.NoSummary}
	for _, p := range s.People {
		has := false
		for _, t := range p.Streams {
			for day, c := range t.Days {
				if c.Bytes <= 0 {
					continue
				}
				has = true
				sum.Bytes += c.Bytes
				sum.Newest = max(sum.Newest, day)
			}
		}
		if has {
			sum.Participants++
		}
	}
	return sum
}
