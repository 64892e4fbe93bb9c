// Package s3 reads buckets over aws-sdk-go-v2: Empatica's, open data such as HCP, a lab's own.
//
// Keys limited to a prefix are the rule, not the exception. So nothing is asked above the given prefix, existence is
// never tested with HEAD (which answers 403 for what is merely absent), and neither ListBuckets nor GetBucketLocation is
// called. The region comes from an unsigned HeadBucket, whose answer names it whatever the caller may do.
//
// The SDK signs, marshals and parses. What it leaves open is done here: redirects are refused, every wait is bounded, ranged
// answers are checked, broken streams go on where they broke, and listings that are not S3's are recognised.
package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"studyfs/backends"
)

// Options name a bucket and how to reach it.
type Options struct {
	Bucket        string
	Prefix        string // "" or ending in "/"; nothing above it is asked for
	Region        string // "" asks the service
	Endpoint      string // "" means AWS; http only to this machine
	Credentials   Credentials
	RequesterPays bool
	Timeouts      Timeouts
	MaxInFlight   int // requests at once, bodies being read included; 0 means 64
	PageSize      int // keys per listing page; 0 means 1,000
	Write         WriteOptions
	Log           *slog.Logger
	Now           func() time.Time
	Transport     http.RoundTripper // nil means our own
}

// WriteOptions concern Put, Copy and Remove. Zero fields take the defaults named.
type WriteOptions struct {
	// Owner is the account that the bucket must belong to: a write into a bucket of that name that somebody else has made
	// meanwhile is refused by the service. "" does not ask for that.
	Owner string
	// Abilities is what was found out about the service in an earlier run.
	Abilities backends.Abilities
	// UnsafeOverwrite writes to services that ignore conditions too. What lies there is then looked at shortly before.
	UnsafeOverwrite bool
	Parts           int   // of one object at once; 4
	Threshold       int64 // larger objects go in parts; 16 MiB
	PartSize        int64 // least size of a part; 8 MiB
	CopyLimit       int64 // larger objects are copied in parts of that size; 5 GiB, the most that a service copies at once
}

func (w *WriteOptions) setDefaults() {
	if w.Parts <= 0 {
		w.Parts = 4
	}
	for _, size := range []struct {
		field *int64
		value int64
	}{
		{&w.Threshold, 16 << 20},
		{&w.PartSize, 8 << 20},
		{&w.CopyLimit, 5 << 30},
	} {
		if *size.field <= 0 {
			*size.field = size.value
		}
	}
}

// Timeouts bound every wait. Zero fields take the defaults named.
type Timeouts struct {
	Dial      time.Duration // 5 s
	TLS       time.Duration // 10 s
	FirstByte time.Duration // 20 s, from the request to the head of its answer
	Progress  time.Duration // 20 s without a byte of a body
	Retry     time.Duration // 30 s of trying again before a call fails
}

func (t *Timeouts) setDefaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Dial, 5 * time.Second},
		{&t.TLS, 10 * time.Second},
		{&t.FirstByte, 20 * time.Second},
		{&t.Progress, 20 * time.Second},
		{&t.Retry, 30 * time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

const (
	defaultRegion      = "us-east-1"
	defaultMaxInFlight = 64
	pageSize           = 1000
)

func (o *Options) check() error {
	o.Timeouts.setDefaults()
	o.Write.setDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	if o.PageSize == 0 {
		o.PageSize = pageSize
	}
	if o.Bucket == "" {
		return errors.New("no bucket is named")
	}
	if o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/") {
		return fmt.Errorf("prefix %q does not end in a slash", o.Prefix)
	}
	if o.Endpoint == "" {
		return nil
	}
	return checkEndpoint(o.Endpoint)
}

// ErrPlainHTTP says that an endpoint would carry health data unencrypted over a network.
var ErrPlainHTTP = errors.New("plain http is only allowed to this machine")

func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "":
		return errors.New("endpoint is not a URL such as https://s3.example.org")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("endpoint begins with %q; only https:// is possible", u.Scheme)
	}
	host := u.Hostname()
	if backends.Loopback(host) {
		return nil
	}
	return fmt.Errorf("endpoint %s: %w", host, ErrPlainHTTP)
}

// Credentials are a way to come by keys. The zero value is Default.
type Credentials struct {
	anonymous bool
	profile   string
	keys      *Keys
	path      string               // of the file that keys are from; "" for none
	read      func() (Keys, error) // reads it again
}

// Keys are what signs requests.
type Keys struct {
	AccessKey string
	SecretKey backends.Secret
	Token     backends.Secret // of temporary keys
	URL       string          // where they are good for, as the file that held them says; "" if it does not
}

// Static uses the given keys.
func Static(k Keys) Credentials { return Credentials{keys: &k} }

// Profile uses a profile of the shared AWS config and credentials files.
func Profile(name string) Credentials { return Credentials{profile: name} }

// Anonymous signs nothing.
func Anonymous() Credentials { return Credentials{anonymous: true} }

// Default takes keys from where AWS's own tools do: the environment, the default profile. Instance metadata is not asked:
// off AWS that is a wait for a network that is not there.
func Default() Credentials { return Credentials{} }

// resolve returns the provider, and the region that the profile or the environment names.
func (c Credentials) resolve(ctx context.Context, now func() time.Time) (aws.CredentialsProvider, string, error) {
	switch {
	case c.anonymous:
		return aws.AnonymousCredentials{}, "", nil
	case c.keys != nil && c.path == "":
		return c.keys.provider(), "", nil
	case c.keys != nil:
		again := func(context.Context) (aws.CredentialsProvider, error) {
			k, err := c.read()
			return k.provider(), err
		}
		return newRekeying(c.keys.provider(), now, again, c.path), "", nil
	}
	found, region, err := c.load(ctx)
	if err != nil {
		return nil, "", err
	}
	again := func(ctx context.Context) (aws.CredentialsProvider, error) {
		p, _, err := c.load(ctx)
		return p, err
	}
	return newRekeying(found, now, again, awsFiles()...), region, nil
}

// load finds keys as AWS's own tools do.
func (c Credentials) load(ctx context.Context) (aws.CredentialsProvider, string, error) {
	load := []func(*config.LoadOptions) error{config.WithEC2IMDSClientEnableState(imds.ClientDisabled)}
	if c.profile != "" {
		load = append(load, config.WithSharedConfigProfile(c.profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err == nil {
		_, err = cfg.Credentials.Retrieve(ctx)
	}
	if err != nil {
		return nil, "", fmt.Errorf("keys: %w: no usable keys%s in ~/.aws or the environment", backends.ErrAuth, c.where())
	}
	return cfg.Credentials, cfg.Region, nil
}

func (c Credentials) where() string {
	if c.profile == "" {
		return ""
	}
	return fmt.Sprintf(" for the profile %q", c.profile)
}
