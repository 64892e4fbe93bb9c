package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"studyfs/backends"
	"studyfs/backends/s3"
)

// mbFlags are those of the source flags that matter for making a bucket.
type mbFlags struct {
	EndpointURL string `toml:"endpoint-url" help:"address of an S3 service other than Amazon's"`
	Region      string `toml:"region" help:"where to make it, such as us-west-2 (default: that of the profile, or us-east-1)"`
	Profile     string `toml:"profile" help:"take the keys from this profile of the AWS configuration"`
}

func (a *app) mbCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "mb s3://BUCKET [STUDY]", Short: "make a bucket for a study",
		Long: "Makes a bucket, and prints what to put into the configuration so that the study has its own name there, STUDY or else\n" +
			"the bucket's.\n\n" +
			"Names of buckets are shared by all customers of Amazon in the world: 3 to 63 small letters, digits and hyphens, such as\n" +
			"smithlab-reading. A name like study is taken, by somebody else: put the name of the lab in front. That the bucket is\n" +
			"yours already is no error (exit code 0). That it is somebody else's is one (exit code 77): nothing must be uploaded\n" +
			"there.",
		Example: "  studyfs mb s3://smithlab-reading reading --profile lab --region us-west-2\n" +
			"  studyfs mb s3://smithlab-sleep >> ~/.config/studyfs/config.toml",
		ValidArgsFunction: completeNothing,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 {
				return nil
			}
			return exactly(1, "the address of a bucket, s3://BUCKET")(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			study := ""
			if len(args) > 1 {
				study = args[1]
			}
			return a.makeBucket(args[0], study)
		},
	}
	c.Flags().SortFlags = false
	a.given.register(c.Flags(), &mbFlags{})
	return c
}

func (a *app) makeBucket(address, study string) error {
	bucket, err := bucketToMake(address)
	if err != nil {
		return err
	}
	if study == "" {
		study = bucket
	}
	if !validFolder(study) {
		return usagef("mb: %q cannot be the name of a study: it becomes a folder", study)
	}
	l, err := a.load()
	if err != nil {
		return err
	}
	c, err := l.source("")
	if err != nil {
		return err
	}
	if err := checkEndpoint(c.EndpointURL); err != nil {
		return err
	}
	spec := sourceSpec{Name: study, Kind: kindS3, Bucket: bucket, Endpoint: c.EndpointURL, Region: c.Region, Profile: c.Profile}
	o, err := s3Options(spec, timeouts{}, newLogger(a.err, max(slog.Level(l.Log.Level), slog.LevelWarn), nil), func() {})
	if err != nil {
		return err
	}
	ctx, release := interruptible()
	defer release()
	err = s3.CreateBucket(ctx, o)
	switch {
	case err == nil:
		a.say("made the bucket " + bucket)
	case errors.Is(err, s3.ErrBucketYours):
		a.say("the bucket " + bucket + " is yours already: it can be used as it is")
	default:
		return explainBucket(spec, err)
	}
	a.say("put this into " + l.path + ", and mount it with: studyfs mount " + quote(study) + " DIR")
	_, err = fmt.Fprint(a.out, spec.snippet())
	return err
}

// bucketToMake reads s3://BUCKET; a name alone will do.
func bucketToMake(address string) (string, error) {
	rest, hasScheme := strings.CutPrefix(address, "s3://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	switch {
	case !hasScheme && strings.Contains(address, ":"):
		return "", usagef("mb: %q is not the address of a bucket, such as s3://smithlab-reading", address)
	case prefix != "":
		return "", usagef("mb: %q names a folder in a bucket: folders need not be made, copy files into them", address)
	}
	return bucket, nil
}

// explainBucket turns what went wrong into a message.
func explainBucket(spec sourceSpec, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	f := &failure{What: "s3://" + spec.Bucket, Code: exitCannotCreate}
	switch {
	case errors.Is(err, s3.ErrBucketName):
		f.Why, f.Code = strings.TrimPrefix(err.Error(), strconv.Quote(spec.Bucket)+" is "), exitUsage
	case errors.Is(err, s3.ErrBucketTaken):
		f.Why = "this bucket exists and is somebody else's, or these keys must not know of it: uploading there would hand out the study's data"
		f.Do, f.Code = "choose another name, with the name of the lab in front: studyfs mb s3://LAB-"+spec.Bucket+
			"\nif it is your lab's, ask whoever has made it for keys", exitPermission
	case errors.Is(err, backends.ErrPermission):
		f.Why, f.Do, f.Code = "the keys are good but may not make buckets", "ask the administrator of the account to make it, or for s3:CreateBucket", exitPermission
	case errors.Is(err, backends.ErrAuth) && strings.Contains(err.Error(), "no usable keys"):
		return noKeys(spec)
	default:
		return explainSource(spec, err)
	}
	return f
}

// snippet is the source as the configuration has it.
func (s sourceSpec) snippet() string {
	name := s.Name
	if strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		name = strconv.Quote(name)
	}
	var b strings.Builder
	b.WriteString("\n[source." + name + "]\nkind = \"s3\"\nurl = " + strconv.Quote(s.url()) + "\n")
	for _, row := range [][2]string{{"endpoint-url", s.Endpoint}, {"region", s.Region}, {"profile", s.Profile}} {
		if row[1] != "" {
			b.WriteString(row[0] + " = " + strconv.Quote(row[1]) + "\n")
		}
	}
	b.WriteString("write = true\n")
	return b.String()
}
