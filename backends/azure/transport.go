package azure

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"studyfs/backends"
)

// errStalled is why a request was given up that made no progress.
var errStalled = errors.New("no bytes came within the time allowed")

// transport bounds and counts what goes over the wire: a silent connection must not hang a reader for ever.
type transport struct {
	base  http.RoundTripper
	t     Timeouts
	slots *semaphore.Weighted

	list, get, other, bytesIn atomic.Int64
}

func newTransport(o Options) *transport {
	base := o.Transport
	if base == nil {
		base = &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: o.Timeouts.Dial, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout: o.Timeouts.TLS,
			MaxIdleConnsPerHost: o.MaxInFlight,
			IdleConnTimeout:     60 * time.Second,
			DisableCompression:  true, // ranges are of the bytes as stored
		}
	}
	return &transport{base: base, t: o.Timeouts, slots: semaphore.NewWeighted(int64(o.MaxInFlight))}
}

// client returns an HTTP client that follows no redirect: the body of an answer from another host is not the blob.
func (t *transport) client() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip sends one request. Its slot is held until the body of the answer is closed.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.slots.Acquire(r.Context(), 1); err != nil {
		return nil, err
	}
	t.count(r)
	ctx, cancel := context.WithCancelCause(r.Context())
	stalled := func() { cancel(errStalled) }
	c := &clock{timer: time.AfterFunc(t.t.Dial+t.t.TLS+t.t.FirstByte, stalled)}
	w := &watchedBody{t: t, ctx: ctx, cancel: cancel}
	resp, err := t.base.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { c.wait(t.t.FirstByte) },
	})))
	c.stop()
	w.timer = time.AfterFunc(time.Hour, stalled)
	w.timer.Stop()
	if err != nil {
		defer w.release()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = errStalled
		}
		return nil, err
	}
	w.body = resp.Body
	resp.Body = w
	return resp, nil
}

// clock bounds the wait for the head of an answer.
type clock struct {
	mu    sync.Mutex // guards the fields below; a leaf
	timer *time.Timer
	over  bool
}

func (c *clock) wait(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.timer.Reset(d)
	}
}

func (c *clock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.timer.Stop()
}

func (t *transport) count(r *http.Request) {
	switch {
	case r.Method != http.MethodGet:
		t.other.Add(1)
	case r.URL.Query().Get("comp") == "list":
		t.list.Add(1)
	default:
		t.get.Add(1)
	}
}

func (t *transport) counts() backends.Counts {
	return backends.Counts{List: t.list.Load(), Get: t.get.Load(), Other: t.other.Load(), BytesIn: t.bytesIn.Load()}
}

// watchedBody ends a body that goes silent while somebody reads it. Between reads no clock runs: a slow reader is no fault of the network.
type watchedBody struct {
	t      *transport
	body   io.ReadCloser
	ctx    context.Context //nolint:containedctx // the request's own, which ends with this body
	cancel context.CancelCauseFunc
	timer  *time.Timer
	once   sync.Once
}

func (w *watchedBody) Read(p []byte) (int, error) {
	w.timer.Reset(w.t.t.Progress)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.t.bytesIn.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(context.Cause(w.ctx), errStalled) {
		err = errStalled
	}
	return n, err
}

func (w *watchedBody) Close() error {
	err := w.body.Close()
	w.release()
	return err
}

func (w *watchedBody) release() {
	w.once.Do(func() {
		w.timer.Stop()
		w.cancel(nil)
		w.t.slots.Release(1)
	})
}
