package cache

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// faucet lets bytes in at a rate, over all fetches of one source. Those that somebody waits for go first: of what is ahead of need, nothing more is
// taken until they have had theirs. It is safe for concurrent use.
type faucet struct {
	rate atomic.Int64 // bytes a second; 0: no limit
	now  func() time.Time

	mu   sync.Mutex // guards free; a leaf
	free time.Time  // when the next byte may come
}

// pass waits until n more bytes may come. They are ahead of need until wanted is closed.
func (f *faucet) pass(ctx context.Context, n int, wanted <-chan struct{}) error {
	for {
		urgent := closed(wanted)
		d, ok := f.take(n, urgent)
		if ok && d <= 0 {
			return ctx.Err()
		}
		hurry := wanted
		if urgent {
			hurry = nil
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-hurry:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
		if ok {
			return nil
		}
	}
}

// take has n bytes counted, and tells how long to wait for them; not ok: nothing was counted, and after d it is time to ask again.
func (f *faucet) take(n int, urgent bool) (d time.Duration, ok bool) {
	rate := f.rate.Load()
	if rate <= 0 {
		return 0, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if f.free.Before(now) {
		f.free = now
	}
	if d = f.free.Sub(now); d > 0 && !urgent {
		return d, false
	}
	f.free = f.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	return d, true
}

// through is a body whose bytes pass a faucet, for somebody who waits.
type through struct {
	ctx context.Context //nolint:containedctx // of the request that the body belongs to
	f   *faucet
	r   io.Reader
}

func (t through) Read(p []byte) (int, error) {
	n, err := t.r.Read(p[:min(len(p), BlockSize)])
	if n > 0 {
		if late := t.f.pass(t.ctx, n, hurried()); late != nil {
			return n, late
		}
	}
	return n, err
}

// hurried is the wanted of what somebody waits for from the beginning.
func hurried() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
