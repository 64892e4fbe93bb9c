package beiwe

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

// Options say which server, with whose keys, and how much of it.
type Options struct {
	URL       string // such as https://studies.beiwe.org; http only to this machine
	AccessKey backends.Secret
	SecretKey backends.Secret

	Streams      []string // only these; empty means all
	Since, Until Day      // only files of these days, in the study's time zone, both included; 0 means unbounded

	Refresh   time.Duration // how often changes are asked for; 0 means 8 minutes
	Timeouts  Timeouts
	Transport http.RoundTripper // nil means one of our own
	Log       *slog.Logger      // nil discards
	Now       func() time.Time
}

// Timeouts of the conversation with a server; 0 means the default.
type Timeouts struct {
	Dial      time.Duration // 10 s
	FirstByte time.Duration // 90 s: the load balancer in front gives up after 60 s of silence and says so
	Progress  time.Duration // 60 s without a byte end a request
	Retry     time.Duration // 60 s for one request with all its tries, where no data flows
}

const defaultRefresh = 8 * time.Minute

func (o *Options) setDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Timeouts.Dial, 10*time.Second)
	set(&o.Timeouts.FirstByte, 90*time.Second)
	set(&o.Timeouts.Progress, 60*time.Second)
	set(&o.Timeouts.Retry, 60*time.Second)
	set(&o.Refresh, defaultRefresh)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the one default; every other clock is this field
	}
	if o.Until == 0 {
		o.Until = 1 << 30
	}
}

// errAddress says that an address is not one of a Beiwe server.
var errAddress = errors.New("not the address of a Beiwe server")

func (o *Options) check() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "":
		return errAddress // not shown: what is wrong with it may be a password
	case u.Scheme == "http" && !backends.Loopback(u.Hostname()):
		return fmt.Errorf("%w: %s would send the keys over the network in clear: use https", errAddress, o.URL)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: %s is neither https nor http", errAddress, o.URL)
	case o.AccessKey.Empty() || o.SecretKey.Empty():
		return fmt.Errorf("%w: there are none", backends.ErrAuth)
	}
	o.URL = strings.TrimRight(o.URL, "/")
	return nil
}
