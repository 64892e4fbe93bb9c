package beiwe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"studyfs/backends"
)

// client speaks HTTP with one server: keys in the body of a POST and nowhere else, no redirects, bounded silence.
type client struct {
	o    *Options
	keys atomic.Pointer[keyPair]
	http *http.Client

	list, get, other, retries, bytesIn, bytesOut atomic.Int64

	mu      sync.Mutex // guards trouble
	trouble error
}

// keyPair is what opens the server.
type keyPair struct{ access, secret backends.Secret }

// ErrRedirect says that the server leads elsewhere, where the keys must not follow.
var ErrRedirect = errors.New("the server redirects, which would send the keys elsewhere: give the address that it redirects to (https)")

// errStalled is why a request was given up.
var errStalled = errors.New("no bytes came within the time allowed")

func newClient(o *Options) *client {
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: o.Timeouts.Dial, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   o.Timeouts.Dial,
			MaxIdleConnsPerHost:   4,
			ResponseHeaderTimeout: o.Timeouts.FirstByte,
			IdleConnTimeout:       100 * time.Second, // the server's own limit is 120 s
			DisableCompression:    true,              // there is none to be had
		}
	}
	c := &client{o: o, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return ErrRedirect }, // a followed 307 posts the keys again, to whomever
	}}
	c.keys.Store(&keyPair{o.AccessKey, o.SecretKey})
	return c
}

// call is one request to make.
type call struct {
	op    string // for messages
	path  string
	query url.Values
	form  url.Values // without the keys
	data  bool       // it asks for participants' data
	get   bool       // a GET without keys
}

// answerError is an answer other than 200.
type answerError struct {
	status int
	text   string // the first line of a plain text
	html   bool   // a page: the route itself is unknown, or the server's own mistake
}

func (e *answerError) Error() string {
	if e.text != "" {
		return fmt.Sprintf("HTTP %d (%s)", e.status, e.text)
	}
	return fmt.Sprintf("HTTP %d", e.status)
}

// send makes one try. The body must be closed. Its reads fail with errStalled after a silence.
func (c *client) send(ctx context.Context, q call) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	body := &watched{client: c, ctx: ctx, cancel: cancel, patience: c.o.Timeouts.FirstByte}
	r, err := c.request(ctx, q)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	c.count(q)
	body.timer = time.AfterFunc(c.o.Timeouts.FirstByte+c.o.Timeouts.Dial, func() { cancel(errStalled) })
	resp, err := c.http.Do(r)
	body.timer.Stop()
	if err != nil {
		defer cancel(nil)
		return nil, c.transportError(ctx, err)
	}
	body.body, resp.Body = resp.Body, body
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close() //nolint:errcheck // an answer that is not used
		return nil, refused(resp)
	}
	return resp, nil
}

func (c *client) request(ctx context.Context, q call) (*http.Request, error) {
	address := c.o.URL + q.path
	if len(q.query) > 0 {
		address += "?" + q.query.Encode()
	}
	if q.get {
		return http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	}
	keys := c.keys.Load()
	form := url.Values{"access_key": {keys.access.Reveal()}, "secret_key": {keys.secret.Reveal()}}
	maps.Copy(form, q.form)
	text := form.Encode()
	c.bytesOut.Add(int64(len(text)))
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(text))
	if err != nil {
		return nil, errAddress
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("User-Agent", "studyfs")
	return r, nil
}

func (c *client) count(q call) {
	switch {
	case q.data:
		c.get.Add(1)
	case q.get:
		c.other.Add(1)
	default:
		c.list.Add(1)
	}
}

// transportError says what became of a request without an answer. The address in net/http's own text is left out: with it goes nothing secret
// today, but nobody keeps that so.
func (c *client) transportError(ctx context.Context, err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	switch {
	case errors.Is(err, ErrRedirect):
		return fmt.Errorf("%w: %w", backends.ErrBadAnswer, ErrRedirect)
	case errors.Is(context.Cause(ctx), errStalled), ctx.Err() == nil && timeout(err):
		return fmt.Errorf("%w: %w", backends.ErrUnreachable, errStalled)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", backends.ErrUnreachable, err)
}

// timeout reports whether a server that was reached gave no answer in time.
func timeout(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// refused reads why. Most errors of a Beiwe server have no text at all.
func refused(resp *http.Response) error {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	e := &answerError{status: resp.StatusCode}
	text := strings.TrimSpace(string(head))
	e.html = strings.HasPrefix(text, "<")
	if line, _, _ := strings.Cut(text, "\n"); !e.html && len(line) < 200 {
		e.text = line
	}
	kind := backends.ErrBadAnswer
	switch {
	case e.status == http.StatusForbidden, e.status == http.StatusUnauthorized:
		kind = backends.ErrPermission // which of the two it is, the source finds out
	case e.status == http.StatusNotFound:
		kind = backends.ErrNotExist
	case e.status == http.StatusTooManyRequests:
		kind = backends.ErrBusy
	case e.status >= http.StatusInternalServerError:
		kind = backends.ErrUnreachable
	}
	return fmt.Errorf("%w: %w", kind, e)
}

// tries is how often a request is made that fails for reasons of the moment.
const tries = 5

// do makes a request until it succeeds, use included, or fails for good. use reads the body; what it returns is an
// error of this try.
func (c *client) do(ctx context.Context, q call, use func(io.Reader) error) error {
	deadline := c.o.Now().Add(c.o.Timeouts.Retry)
	for n := 1; ; n++ {
		err := c.once(ctx, q, use)
		if err == nil || ctx.Err() != nil || !passing(err) || n == tries || n > 1 && c.o.Now().After(deadline) {
			c.note(err)
			return wrapped(q.op, err)
		}
		if err := c.pause(ctx, n); err != nil {
			return wrapped(q.op, err)
		}
	}
}

func wrapped(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}

func (c *client) once(ctx context.Context, q call, use func(io.Reader) error) error {
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // what counts was read
	return use(resp.Body)
}

// passing reports whether trying again can help: gateways that gave up, connections that broke.
func passing(err error) bool {
	if answer, ok := errors.AsType[*answerError](err); ok {
		return answer.status == http.StatusBadGateway || answer.status == http.StatusServiceUnavailable ||
			answer.status == http.StatusGatewayTimeout || answer.status == http.StatusTooManyRequests
	}
	return errors.Is(err, backends.ErrUnreachable) || errors.Is(err, io.ErrUnexpectedEOF)
}

const (
	firstPause = 250 * time.Millisecond
	longPause  = 8 * time.Second
)

// pause waits before the next try, longer each time, at a random moment so that clients that failed together do not
// come back together.
func (c *client) pause(ctx context.Context, n int) error {
	c.retries.Add(1)
	t := time.NewTimer(rand.N(min(firstPause<<min(n, 10), longPause))) //nolint:gosec // jitter, no secret
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// note keeps the standing trouble up to date and tells once when keys begin to be refused, and once when they are accepted again.
func (c *client) note(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	c.mu.Lock()
	was := errors.Is(c.trouble, backends.ErrAuth)
	switch {
	case err == nil:
		c.trouble = nil
	case errors.Is(err, backends.ErrAuth), errors.Is(err, backends.ErrUnreachable), errors.Is(err, backends.ErrBusy):
		c.trouble = err
	}
	now := errors.Is(c.trouble, backends.ErrAuth)
	c.mu.Unlock()
	switch {
	case now && !was:
		c.o.Log.Warn("the server refuses the keys: they were revoked or are mistyped", slog.String("server", c.o.URL))
	case was && !now:
		c.o.Log.Info("the server accepts the keys again", slog.String("server", c.o.URL))
	}
}

// watched is a body that ends after a silence while somebody reads it. Between reads no clock runs: a slow reader is no
// fault of the network.
type watched struct {
	client   *client
	body     io.ReadCloser
	ctx      context.Context //nolint:containedctx // the request's own, which ends with this body
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration // for the next byte
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.patience)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.client.bytesIn.Add(int64(n))
	if n > 0 {
		w.patience = w.client.o.Timeouts.Progress
	}
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	case errors.Is(context.Cause(w.ctx), errStalled):
		return n, fmt.Errorf("%w: %w", backends.ErrUnreachable, errStalled)
	case w.ctx.Err() != nil:
		return n, w.ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("%w: the answer breaks off: %w", backends.ErrUnreachable, err)
	}
	return n, fmt.Errorf("%w: %w", backends.ErrUnreachable, err)
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.body.Close()
}

func (c *client) counts() backends.Counts {
	return backends.Counts{
		List: c.list.Load(), Get: c.get.Load(), Other: c.other.Load(), Retries: c.retries.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
	}
}
