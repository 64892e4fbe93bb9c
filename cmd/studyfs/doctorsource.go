package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"studyfs/backends"
	"studyfs/backends/azure"
	"studyfs/backends/beiwe"
	"studyfs/backends/local"
	"studyfs/backends/s3"
)

const (
	dialPatience   = 4 * time.Second // for a connection
	rightsPatience = 6 * time.Second // for a listing with all retries

	someSkew = time.Minute      // worth a word
	muchSkew = 10 * time.Minute // S3 and Azure refuse what is signed 15 minutes off

	certificateSoon = 14 * 24 * time.Hour
)

// checkSource asks a source as a mount would, and its server without keys, to tell which of them stands in the way.
func (c *checkup) checkSource(ctx context.Context, s checkedSource) []finding {
	if s.trouble != nil {
		f := failed(s.trouble)
		return []finding{f.of("settings", s.name)}
	}
	if len(s.spec.Targets) > 0 {
		var all []finding
		for _, t := range s.spec.Targets {
			all = append(all, c.checkSource(ctx, checkedSource{name: s.name + "." + t.Role, spec: t.Source})...)
		}
		return all
	}
	var server, rights []finding
	var both sync.WaitGroup
	both.Go(func() { server = c.checkServer(ctx, s.spec) })
	both.Go(func() { rights = c.checkRights(ctx, s.spec) })
	both.Wait()
	all := append(server, rights...)
	for i := range all {
		all[i].Subject = s.name
	}
	return all
}

// address is where a source's server answers.
func (s sourceSpec) address() string {
	switch {
	case s.Beiwe != nil:
		return s.Beiwe.Server
	case s.Endpoint != "":
		return s.Endpoint
	case s.Azure != nil:
		return "https://" + s.Azure.Account + ".blob.core.windows.net"
	case s.Region != "":
		return "https://s3." + s.Region + ".amazonaws.com"
	}
	return "https://s3.us-east-1.amazonaws.com"
}

// checkServer looks the server up and sends it one request without keys.
func (c *checkup) checkServer(ctx context.Context, s sourceSpec) []finding {
	if s.Dir != nil {
		return nil
	}
	u, err := url.Parse(s.address())
	if err != nil || u.Host == "" {
		return []finding{fail("%s is not an address", s.address()).do("correct the address in the configuration").of("address", "")}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, u.Scheme+"://"+u.Host+"/", http.NoBody)
	if err != nil {
		return []finding{fail("%s is not an address", u.Host).do("correct the address in the configuration").of("address", "")}
	}
	var all []finding
	proxy, err := http.ProxyFromEnvironment(request)
	switch {
	case err != nil:
		return []finding{fail("the proxy of HTTPS_PROXY is not an address").do("correct HTTPS_PROXY, such as http://proxy.example.org:3128").of("proxy", "")}
	case proxy != nil:
		all = append(all, fine("requests to %s go through the proxy %s", u.Hostname(), proxy.Redacted()).of("proxy", ""))
	default:
		all = append(all, fine("none for %s", u.Hostname()).of("proxy", ""))
		name := checkName(ctx, u.Hostname())
		all = append(all, name)
		if name.State == stateFail {
			return all
		}
	}
	return append(all, c.checkAnswer(request, proxy)...)
}

// checkName looks the server's name up.
func checkName(ctx context.Context, host string) finding {
	if net.ParseIP(host) != nil {
		return skip("%s is an address already", host).of("dns", "")
	}
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail("there is no server named %s", host).do("check the address for a typing error, and /etc/resolv.conf: getent hosts "+quote(host)).of("dns", "")
	case err != nil:
		return fail("the name %s cannot be looked up: no name server answers", host).do("check the network: getent hosts "+quote(host)).of("dns", "")
	}
	return fine("%s has %d addresses", host, len(addresses)).of("dns", "")
}

// checkAnswer sends the request and looks at the encryption and the clock of who answers.
func (c *checkup) checkAnswer(request *http.Request, proxy *url.URL) []finding {
	limits := c.timeouts()
	t := &http.Transport{
		Proxy: http.ProxyURL(proxy), DialContext: (&net.Dialer{Timeout: limits.Dial}).DialContext, TLSHandshakeTimeout: limits.Answer,
		ResponseHeaderTimeout: limits.Answer, DisableKeepAlives: true,
	}
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	sent := c.now()
	answer, err := client.Do(request)
	if err != nil {
		return []finding{unanswered(request.URL, err)}
	}
	defer answer.Body.Close()                              //nolint:errcheck // nothing of it matters
	io.Copy(io.Discard, io.LimitReader(answer.Body, 4096)) //nolint:errcheck // as above
	return []finding{c.encrypted(request.URL, answer.TLS), c.clock(request.URL.Hostname(), answer.Header.Get("Date"), sent)}
}

// unanswered tells why there is no answer.
func unanswered(u *url.URL, err error) finding {
	host := u.Hostname()
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return fail("%s has a certificate of an authority that this machine does not know", host).
			do("where a network opens encrypted connections, install its certificate: SSL_CERT_FILE=FILE\nelse: apt install ca-certificates").of("tls", "")
	case errors.As(err, &name):
		return fail("who answers for %s has the certificate of somebody else", host).do("check the address, and that no login page of a network stands between").of("tls", "")
	case errors.As(err, &invalid):
		return fail("the certificate of %s is not valid: %w", host, err).do("check the date of this machine: date").of("tls", "")
	case errors.As(err, &record):
		return fail("%s does not speak TLS", u.Host).do("check the address: another port, or http:// for a server on this machine").of("tls", "")
	}
	return fail("%s does not answer: %w", u.Host, err).do("check the network and the firewall: curl -I "+u.Scheme+"://"+u.Host).of("connection", "")
}

func (c *checkup) encrypted(u *url.URL, state *tls.ConnectionState) finding {
	if state == nil || len(state.PeerCertificates) == 0 {
		return skip("%s is on this machine: nothing is encrypted", u.Host).of("tls", "")
	}
	until := state.PeerCertificates[0].NotAfter
	if until.Sub(c.now()) < certificateSoon {
		return warn("the certificate of %s ends on %s", u.Host, public(until.Format(time.DateOnly))).do("tell whoever runs the server").of("tls", "")
	}
	return fine("%s, %s", u.Host, public(tls.VersionName(state.Version))).of("tls", "")
}

// clock holds this machine's clock against the server's: keys are refused when they differ.
func (c *checkup) clock(host, date string, sent time.Time) finding {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return skip("%s does not tell the time", host).of("clock", "")
	}
	ahead := sent.Sub(theirs).Round(time.Second)
	off, side := ahead.Abs(), public("ahead")
	if ahead < 0 {
		side = "behind"
	}
	const set = "sudo timedatectl set-ntp true"
	switch {
	case off > muchSkew:
		return fail("this machine's clock is %s %s: services refuse what it signs", public(humanAge(off.Seconds())), side).do(set).of("clock", "")
	case off > someSkew:
		return warn("this machine's clock is %s %s", public(humanAge(off.Seconds())), side).do(set).of("clock", "")
	}
	return fine("right to %s", public(max(off, time.Second).String())).of("clock", "")
}

// checkRights lists the source's root as a mount does. Nothing is written: what can be told of writing is what earlier uploads have shown.
func (c *checkup) checkRights(ctx context.Context, s sourceSpec) []finding {
	ctx, cancel := context.WithTimeout(ctx, rightsPatience)
	defer cancel()
	remote, end, err := c.open(ctx, s)
	if errors.Is(err, backends.ErrAuth) {
		f := failed(noKeys(s))
		f.bare = noKeys(s.anonymized()).Why
		return []finding{f.of("keys", "")}
	}
	if err == nil {
		defer end()
		var entries int
		if entries, err = rootEntries(ctx, remote); err == nil {
			return c.allowed(s, remote, entries)
		}
	}
	f := failed(explainSource(s, err))
	f.bare = explainSource(s.anonymized(), sentinelOf(err)).Why
	return []finding{f.of("rights", "")}
}

// rootEntries counts the entries of a root, up to 1,000.
func rootEntries(ctx context.Context, remote backends.Source) (entries int, err error) {
	if b, is := remote.(*beiwe.Source); is { // it lists what it has been told; this asks
		_, entries, err = b.Survey(ctx, 0)
		return entries, err
	}
	for _, err := range remote.List(ctx, "") {
		if err != nil {
			return entries, err
		}
		if entries++; entries == 1000 {
			break
		}
	}
	return entries, nil
}

// allowed tells of a source that answers.
func (c *checkup) allowed(s sourceSpec, remote backends.Source, entries int) []finding {
	all := []finding{fine("%s can be listed: %s", s.describe(), public(count(entries, "entry", "entries")+" at its root")).of("rights", "")}
	if entries == 0 {
		all[0] = warn("%s is empty", s.describe()).do("check the folder in its address, if there should be something").of("rights", "")
	}
	if r, is := remote.(interface{ Region() string }); is {
		f := fine("%s", public(r.Region())).of("region", "")
		if s.Region != "" && s.Region != r.Region() {
			f = warn("the bucket is in %s, not in %s as the settings say", public(r.Region()), public(s.Region)).do("region = \""+r.Region()+"\" saves a request for each start").of("region", "")
		}
		all = append(all, f)
	}
	return append(all, c.writeRights(s, remote))
}

func (c *checkup) writeRights(s sourceSpec, remote backends.Source) finding {
	p, is := remote.(backends.Prober)
	if s.Write == nil || !is {
		return skip("it is read only; whether writing is allowed was not tried").of("writing", "")
	}
	switch can := p.Abilities(); can.Conditions {
	case backends.Able:
		return fine("files were stored from here, and the service keeps two writers from overwriting each other").of("writing", "")
	case backends.Unable:
		return warn("files were stored from here, but the service cannot keep two writers from overwriting each other").do("let one machine only write there").of("writing", "")
	case backends.Untried:
	}
	return skip("nothing was stored from here yet: the first upload tells").of("writing", "")
}

// open connects to a source without a trace on this disk, and without its encryption: that needs nobody.
func (c *checkup) open(ctx context.Context, s sourceSpec) (remote backends.Source, end func(), err error) {
	log := slog.New(slog.DiscardHandler)
	t := c.timeouts()
	switch {
	case s.Beiwe != nil:
		o, err := s.beiweOptions(t, log)
		if err != nil {
			return nil, nil, err
		}
		b, err := beiwe.Open(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		return b, func() { b.Close() }, nil //nolint:errcheck // nothing was fetched
	case s.Dir != nil:
		dir, err := local.New(local.Options{Dir: s.Dir.Path, Now: c.now})
		if err == nil && s.Write != nil {
			err = dir.Ready(ctx)
		}
		return dir, func() {}, err
	case s.Azure != nil:
		o, err := azureOptions(s, t, log) //nolint:contextcheck // keys may be read again long after this call
		if err != nil {
			return nil, nil, err
		}
		remote, err := azure.Open(o)
		return remote, func() {}, err
	}
	o, err := s3Options(s, t, log, func() {})
	if err != nil {
		return nil, nil, err
	}
	o.Write.Abilities = c.places.recall(s.id()).abilities()
	bucket, err := s3.Open(ctx, o)
	return bucket, func() {}, err
}

// timeouts are those of the settings, but none longer than a check.
func (c *checkup) timeouts() timeouts {
	most := func(d duration) time.Duration {
		if d > 0 && time.Duration(d) < dialPatience {
			return time.Duration(d)
		}
		return dialPatience
	}
	t := c.l.Timeout
	return timeouts{Dial: most(t.Dial), Answer: most(t.Answer), Progress: most(t.Progress), Retry: most(t.Retry)}
}

// anonymized is a source of the same kind that tells nothing of this one, to make a message that can be shown to anybody.
func (s sourceSpec) anonymized() sourceSpec {
	a := sourceSpec{Kind: s.Kind, Bucket: hidden, Prefix: hidden, KeysFrom: hidden, Anonymous: s.Anonymous}
	if s.Beiwe != nil {
		a.Beiwe = &beiweSpec{Server: hidden}
	}
	if s.Dir != nil {
		a.Dir = &dirSpec{Path: hidden}
	}
	if s.Azure != nil {
		a.Azure = &azureSpec{Account: hidden, Container: hidden}
	}
	return a
}

// sentinelOf is the kind of err alone.
func sentinelOf(err error) error {
	for _, kind := range []error{
		backends.ErrAuth, backends.ErrPermission, backends.ErrNotExist, backends.ErrBusy, backends.ErrUnreachable, backends.ErrBadAnswer,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	return errors.New(harmlessCause(lastCause(err)))
}

// harmlessCause is the end of a chain of errors where that is known to hold no name, else hidden.
func harmlessCause(cause string) string {
	for _, known := range []string{
		"connection refused", "connection reset by peer", "i/o timeout", "no such host", "no route to host", "network is unreachable", "EOF",
		"permission denied", "no such file or directory", "no space left on device", "read-only file system", "file exists", "not a directory",
		"disk quota exceeded", "input/output error", "transport endpoint is not connected", "context deadline exceeded", "operation not permitted",
		"operation not supported", "device or resource busy", "stale file handle", "is a directory", "too many open files", "bad file descriptor",
	} {
		if strings.HasSuffix(cause, known) {
			return known
		}
	}
	for _, kind := range []error{
		backends.ErrAuth, backends.ErrReadOnly, backends.ErrArchived, backends.ErrChanged, backends.ErrBusy, backends.ErrUnreachable, backends.ErrBadAnswer,
	} {
		if strings.Contains(cause, kind.Error()) {
			return kind.Error()
		}
	}
	return hidden
}
