package fs

import (
	"context"
	"sync"

	"studyfs/cache"
)

// late is a Reader that is opened when somebody wants to read: a program that opens a file which the kernel has in its pages needs none.
type late struct {
	mu      sync.Mutex // guards what follows; nothing is opened under it
	r       *cache.Reader
	opening chan struct{} // somebody opens it; closed when that has ended, well or not. nil: nobody does
}

// get returns the Reader, opening it once for all who ask at the same time. Who waited for somebody that failed tries himself: the other may only
// have left.
func (l *late) get(ctx context.Context, open func(context.Context) (*cache.Reader, error)) (*cache.Reader, error) {
	for {
		l.mu.Lock()
		r, other := l.r, l.opening
		if r == nil && other == nil {
			l.opening = make(chan struct{})
		}
		l.mu.Unlock()
		switch {
		case r != nil:
			return r, nil
		case other == nil:
			return l.open(ctx, open)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *late) open(ctx context.Context, open func(context.Context) (*cache.Reader, error)) (r *cache.Reader, err error) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.opening)
		l.r, l.opening = r, nil
	}()
	return open(ctx)
}

// close lets go of the Reader, if there is one. Nobody may be reading.
func (l *late) close() error {
	l.mu.Lock()
	r := l.r
	l.r = nil
	l.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.Close()
}
