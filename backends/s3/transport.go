package s3

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

// transport bounds and counts what goes over the wire. S3 is exempt from the SDK's own read timeout, so a silent connection would
// hang a reader for ever.
type transport struct {
	base  http.RoundTripper
	t     Timeouts
	slots *semaphore.Weighted

	list, get, head, put, del, other, bytesIn, bytesOut atomic.Int64
}

// finishing bounds the wait for the answer to requests that make the service move bytes itself: completing an upload, copying.
const finishing = 5 * time.Minute

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

// client returns an HTTP client that follows no redirect: the body of an answer from another host is not the object.
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
	resp, err := t.base.RoundTrip(t.sending(r.WithContext(ctx), c))
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

// sending has the clock follow a request on its way out: every piece of its body is progress, and from its end on the answer is waited for.
func (t *transport) sending(r *http.Request, c *clock) *http.Request {
	wait := t.t.FirstByte
	if r.Method == http.MethodPost && r.URL.Query().Has("uploadId") || r.Header.Get("X-Amz-Copy-Source") != "" {
		wait = max(wait, finishing)
	}
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { c.wait(wait) },
	}))
	if r.Body != nil && r.Body != http.NoBody {
		m, _ := r.Context().Value(meterKey{}).(*meter)
		r.Body = &sentBody{ReadCloser: r.Body, t: t, clock: c, meter: m}
		r.GetBody = nil // a second reading would be counted twice; try sends again
	}
	return r
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

// sentBody counts a body as it goes out.
type sentBody struct {
	io.ReadCloser
	t     *transport
	clock *clock
	meter *meter
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.clock.wait(b.t.t.Progress)
	n, err := b.ReadCloser.Read(p)
	b.t.bytesOut.Add(int64(n))
	b.meter.add(int64(n))
	return n, err
}

// meter tells how much of one try's body has gone out. The nil meter tells nobody.
type meter struct {
	tell func(int64)

	mu   sync.Mutex // guards the fields below; a leaf
	n    int64
	over bool
}

type meterKey struct{}

// metered returns a context whose request is counted by a new meter.
func metered(ctx context.Context, tell func(int64)) (context.Context, *meter) {
	m := &meter{tell: tell}
	return context.WithValue(ctx, meterKey{}, m), m
}

func (m *meter) add(n int64) {
	if m == nil || n == 0 {
		return
	}
	m.mu.Lock()
	over := m.over
	if !over {
		m.n += n
	}
	m.mu.Unlock()
	if !over {
		m.tell(n)
	}
}

// end says how much of the body counts in the end: nothing after a failure.
func (m *meter) end(size int64) {
	m.mu.Lock()
	rest := size - m.n
	m.over = true
	m.mu.Unlock()
	if rest != 0 {
		m.tell(rest)
	}
}

func (t *transport) count(r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead:
		t.head.Add(1)
	case r.Method == http.MethodGet && q.Has("list-type"):
		t.list.Add(1)
	case r.Method == http.MethodGet && !q.Has("uploadId"):
		t.get.Add(1)
	case r.Method == http.MethodPut, r.Method == http.MethodPost:
		t.put.Add(1)
	case r.Method == http.MethodDelete:
		t.del.Add(1)
	default:
		t.other.Add(1)
	}
}

func (t *transport) counts() backends.Counts {
	return backends.Counts{
		List: t.list.Load(), Get: t.get.Load(), Head: t.head.Load(), Put: t.put.Load(), Delete: t.del.Load(), Other: t.other.Load(),
		BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
	}
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
