// Package azure reads containers of Azure Blob Storage over azblob: a study's copies there, with the account's key, a shared
// access signature, or none for what is public. It only reads.
//
// The SDK signs, marshals and parses. What it leaves open is done here as in package s3: redirects are refused, every wait is
// bounded, requests are tried again with full jitter, ranged answers are checked, broken streams go on where they broke, and listings
// that are not Azure's are recognised.
//
// Azure's listings go on by opaque markers, not after a key. How a page after any key is found is told at [Source.WalkPage].
package azure

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"studyfs/backends"
)

// Options name a container and how to reach it.
type Options struct {
	Account     string
	Container   string
	Prefix      string // "" or ending in "/"; nothing above it is asked for
	Endpoint    string // of the account's blob service; "" means https://ACCOUNT.blob.core.windows.net; http only to this machine
	Credentials Credentials
	Timeouts    Timeouts
	MaxInFlight int // requests at once, bodies being read included; 0 means 64
	PageSize    int // names per listing page; 0 means 5,000, the service's most
	Log         *slog.Logger
	Now         func() time.Time
	Transport   http.RoundTripper // nil means our own
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
	defaultMaxInFlight = 64
	mostPerPage        = 5000
)

func (o *Options) check() error {
	o.Timeouts.setDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default
	}
	if o.MaxInFlight == 0 {
		o.MaxInFlight = defaultMaxInFlight
	}
	if o.PageSize <= 0 || o.PageSize > mostPerPage {
		o.PageSize = mostPerPage
	}
	switch {
	case !ValidAccount(o.Account):
		return fmt.Errorf("%q cannot be a storage account's name", o.Account)
	case !ValidContainer(o.Container):
		return fmt.Errorf("%q cannot be a container's name", o.Container)
	case o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/"):
		return fmt.Errorf("prefix %q does not end in a slash", o.Prefix)
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://" + o.Account + ".blob.core.windows.net"
	}
	return checkEndpoint(o.Endpoint)
}

// ValidAccount reports whether name can be a storage account's: 3 to 24 lower-case letters and digits.
func ValidAccount(name string) bool {
	return len(name) >= 3 && len(name) <= 24 && !strings.ContainsFunc(name, notIn("abcdefghijklmnopqrstuvwxyz0123456789"))
}

// ValidContainer reports whether name can be a container's: 3 to 63 lower-case letters, digits and single hyphens between them, or one
// of the containers that the service keeps for itself, such as $root.
func ValidContainer(name string) bool {
	if plain, own := strings.CutPrefix(name, "$"); own {
		return plain == "root" || plain == "web" || plain == "logs"
	}
	return len(name) >= 3 && len(name) <= 63 && !strings.ContainsFunc(name, notIn("abcdefghijklmnopqrstuvwxyz0123456789-")) &&
		name[0] != '-' && name[len(name)-1] != '-' && !strings.Contains(name, "--")
}

func notIn(set string) func(rune) bool {
	return func(r rune) bool { return !strings.ContainsRune(set, r) }
}

// ErrPlainHTTP says that an endpoint would carry health data unencrypted over a network.
var ErrPlainHTTP = errors.New("plain http is only allowed to this machine")

func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("endpoint is not a URL such as https://account.blob.core.windows.net")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("endpoint begins with %q; only https:// is possible", u.Scheme)
	case backends.Loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("endpoint %s: %w", u.Hostname(), ErrPlainHTTP)
}
