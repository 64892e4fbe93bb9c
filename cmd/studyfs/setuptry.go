package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"studyfs/backends"
	"studyfs/backends/beiwe"
	"studyfs/cmd/studyfs/survey"
)

const (
	tryPatience    = 30 * time.Second // for everything that is asked of a source
	surveyPatience = 12 * time.Second // of these, for finding out how much there is
	surveyRequests = 100
	surveyStudies  = 10
)

// try asks the source as a mount would, and says what it found.
func (s *setup) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	p, err := findPlaces(s.env, s.l.Cache.Dir, s.l.State.Dir)
	if err != nil {
		return err
	}
	c := &checkup{app: s.app, l: s.l, places: p, now: time.Now}
	if len(s.spec.Targets) == 0 {
		words, err := c.survey(ctx, s.spec)
		if err != nil {
			return err
		}
		s.say(s.spec.describe() + ": " + words)
		return s.rightRegion(ctx, c)
	}
	for _, t := range s.spec.Targets {
		words, err := c.survey(ctx, t.Source)
		if err != nil {
			return err
		}
		s.say(t.Role + ", " + t.Source.describe() + ": " + words)
	}
	return nil
}

// survey opens a source as doctor does and tells in words what it holds.
func (c *checkup) survey(ctx context.Context, spec sourceSpec) (string, error) {
	remote, end, err := c.open(ctx, spec)
	if errors.Is(err, backends.ErrAuth) {
		return "", noKeys(spec)
	}
	if err != nil {
		return "", explainSource(spec, err)
	}
	defer end()
	if b, is := remote.(*beiwe.Source); is {
		surveys, studies, err := b.Survey(ctx, surveyStudies)
		if err != nil && len(surveys) == 0 {
			return "", explainSource(spec, err)
		}
		return studyWords(surveys, studies), nil
	}
	short, cancel := context.WithTimeout(ctx, surveyPatience)
	defer cancel()
	found, err := survey.Run(short, remote, survey.Options{Layout: layoutOf(spec.Kind), Requests: surveyRequests})
	if err != nil {
		return "", explainSource(spec, err)
	}
	return foundWords(found), nil
}

func layoutOf(kind string) survey.Layout {
	switch kind {
	case kindEmpatica:
		return survey.Empatica
	case kindHCP:
		return survey.FolderEach
	}
	return survey.Any
}

// foundWords is what people want to know: "12 participants, newest day 2026-11-19, 43.0 GiB".
func foundWords(r survey.Result) string {
	if r.Files.N == 0 && r.Folders.N == 0 {
		return "it can be listed, and is empty"
	}
	var words []string
	if r.Participants.N > 0 {
		words = append(words, atLeast(r.Participants)+count(int(r.Participants.N), "participant", "participants"))
	} else {
		words = append(words, atLeast(r.Folders)+count(int(r.Folders.N), "folder", "folders"), atLeast(r.Files)+countFiles(int(r.Files.N)))
	}
	if r.Newest != "" {
		words = append(words, "newest day "+r.Newest)
	}
	return strings.Join(append(words, atLeast(r.Bytes)+humanBytes(r.Bytes.N)), ", ")
}

func atLeast(c survey.Count) string {
	if c.AtLeast {
		return "at least "
	}
	return ""
}

// studyWords tells the same of a Beiwe server.
func studyWords(surveys []beiwe.Survey, studies int) string {
	if studies == 0 {
		return "the keys are good, and show no study: ask an administrator to add you to one"
	}
	people, bytes, counted := 0, int64(0), true
	var newest beiwe.Day
	for _, one := range surveys {
		people, bytes, newest = people+one.Participants, bytes+one.Bytes, max(newest, one.Newest)
		counted = counted && one.Counted
	}
	words := []string{count(studies, "study", "studies")}
	if !counted && people == 0 {
		return words[0] + " (the server does not tell how much is in them)"
	}
	least := atLeast(survey.Count{AtLeast: len(surveys) < studies || !counted})
	words = append(words, least+count(people, "participant", "participants"))
	if newest > 0 {
		words = append(words, fmt.Sprintf("newest day %s", newest))
	}
	return strings.Join(append(words, least+humanBytes(bytes)), ", ")
}

// rightRegion corrects a region that was given wrong: the service has told.
func (s *setup) rightRegion(ctx context.Context, c *checkup) error {
	if s.c.Region == "" || s.spec.Bucket == "" {
		return nil
	}
	remote, end, err := c.open(ctx, s.spec)
	if err != nil {
		return explainSource(s.spec, err)
	}
	defer end()
	for _, err := range remote.List(ctx, "") {
		if err != nil {
			return explainSource(s.spec, err)
		}
		break
	}
	if r, is := remote.(interface{ Region() string }); is && r.Region() != s.c.Region {
		s.say("the bucket is in " + r.Region() + ", not in " + s.c.Region + ": that is what the configuration will say")
		s.c.Region, s.spec.Region = r.Region(), r.Region()
	}
	return nil
}
