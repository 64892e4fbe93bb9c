package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"studyfs/backends"
	"studyfs/backends/s3"
)

func TestBucketMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"mb":                          "needs the address",
		"mb s3://Study_A":             "capital letters",
		"mb s3://ab":                  "fewer than 3",
		"mb s3://my_study":            "hyphens",
		"mb s3://lab-study/folder/":   "folders need not be made",
		"mb https://s3.amazonaws.com": "not the address of a bucket",
		"mb s3://lab-study .x":        "cannot be the name of a study",
	} {
		var out, errs bytes.Buffer
		a := &app{env: testEnv(t), out: &out, err: &errs}
		if got := a.run(strings.Fields(args)); got != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("studyfs %s: exit %d\n%s; want %d and %q", args, got, errs.String(), exitUsage, want)
		}
	}
}

// Whether a bucket is one's own or somebody else's decides whether data may go there.
func TestBucketAnswers(t *testing.T) {
	spec := sourceSpec{Kind: kindS3, Bucket: "study", Name: "study"}
	for _, c := range []struct {
		err  error
		want string
		code int
	}{
		{s3.ErrBucketTaken, "would hand out the study's data", exitPermission},
		{backends.ErrPermission, "may not make buckets", exitPermission},
		{backends.ErrAuth, "refused the keys", exitPermission},
		{backends.ErrUnreachable, "cannot be reached", exitUnreachable},
	} {
		err := explainBucket(spec, fmt.Errorf("make bucket study: %w", c.err))
		if codeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v (exit %d); want %q, exit %d", c.err, err, codeOf(err), c.want, c.code)
		}
	}
}

// What mb prints must be a configuration that can be used.
func TestSnippet(t *testing.T) {
	for _, s := range []sourceSpec{
		{Name: "reading", Bucket: "smithlab-reading", Region: "us-west-2", Profile: "lab"},
		{Name: "a.b ä", Bucket: "a.b", Endpoint: "https://s3.example.org"},
	} {
		var c config
		if err := decode([]byte(s.snippet()), &c); err != nil {
			t.Errorf("%s\n%v", s.snippet(), err)
			continue
		}
		got := c.Source[s.Name]
		if !got.Write || got.URL != s.url() || got.Region != s.Region || got.Profile != s.Profile || got.EndpointURL != s.Endpoint {
			t.Errorf("%s\nwas read as %+v", s.snippet(), got)
		}
	}
}
