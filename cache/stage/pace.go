package stage

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"studyfs/backends"
)

// pace says how many uploads may run at once: half as many after the target said that it is too much, one more after as many
// successes in a row as may run now. It is safe for concurrent use.
type pace struct {
	most int

	mu      sync.Mutex // guards the fields below; a leaf
	limit   int
	running int
	good    int    // successes since the limit last moved
	cuts    uint64 // times that it was cut
	alone   bool   // one is tried, to see whether the target takes anything
	changed chan struct{}
}

func newPace(most int) *pace {
	return &pace{most: most, limit: most, changed: make(chan struct{})}
}

// enter waits for a place, which is given back with leave.
func (p *pace) enter(ctx context.Context) (cuts uint64, err error) {
	for {
		p.mu.Lock()
		if most := p.now(); p.running < most {
			p.running++
			cuts = p.cuts
			p.mu.Unlock()
			return cuts, nil
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// now is how many may run. The caller holds mu.
func (p *pace) now() int {
	if p.alone {
		return 1
	}
	return p.limit
}

// leave gives a place back that was taken when the limit had been cut that many times. Uploads that ran beside each other are
// refused together: that counts once.
func (p *pace) leave(cuts uint64, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	switch {
	case v.busy && cuts == p.cuts:
		p.limit, p.good = max(1, p.limit/2), 0
		p.cuts++
	case v.how == endStored && cuts == p.cuts:
		if p.good++; p.good >= p.limit {
			p.limit, p.good = min(p.limit+1, p.most), 0
		}
	}
	switch {
	case v.how == endStored:
		p.alone = false
	case v.how == endPaused, v.down:
		p.alone = true
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pace) parallel() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now()
}

// tap lets bytes through at a rate, over all bodies together, none at a burst. It is safe for concurrent use.
type tap struct {
	rate atomic.Int64 // bytes a second; 0: no limit
	now  func() time.Time

	mu   sync.Mutex // guards free; a leaf
	free time.Time  // when the next byte may go
}

// sip is how much of a body goes through a tap at once: a body moves several times a second, even beside others, so that
// nobody takes it for stuck.
func (t *tap) sip() int { return int(min(64<<10, max(1<<10, t.rate.Load()/64))) }

// pass waits until n more bytes may go.
func (t *tap) pass(ctx context.Context, n int) error {
	t.mu.Lock()
	now := t.now()
	if t.free.Before(now) {
		t.free = now
	}
	d := t.free.Sub(now)
	if rate := t.rate.Load(); rate > 0 {
		t.free = t.free.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
	}
	t.mu.Unlock()
	return wait(ctx, d)
}

// wait waits for a time, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var _ backends.Metered = (*body)(nil)

// body is what is sent of a job: read through the tap, and it remembers whether reading it failed here.
type body struct {
	ctx context.Context //nolint:containedctx // of this one upload: ReadAt has none
	src io.ReaderAt
	tap *tap

	mu  sync.Mutex // guards err
	err error      // of the local disk
}

// ReadAt reads like src, slowly.
func (b *body) ReadAt(p []byte, off int64) (n int, err error) {
	for {
		end := len(p)
		if b.tap.rate.Load() > 0 {
			end = min(end, n+b.tap.sip())
			if err := b.tap.pass(b.ctx, end-n); err != nil {
				return n, err
			}
		}
		k, err := b.read(p[n:end], off+int64(n))
		n += k
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// read reads at once.
func (b *body) read(p []byte, off int64) (int, error) {
	n, err := b.src.ReadAt(p, off)
	if err != nil && err != io.EOF {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

// Unmetered returns the same bytes for checksums: they are not sent.
func (b *body) Unmetered() io.ReaderAt { return readerAt(b.read) }

type readerAt func(p []byte, off int64) (int, error)

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r(p, off) }

// failure is why the local disk did not give the body; nil where it did.
func (b *body) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
