package cache

import (
	"context"
	"errors"
	"sync"
	"time"

	"studyfs/backends"
)

// probeEvery is how often a source that refuses our keys is asked whether it still does.
const probeEvery = 15 * time.Second

// guard keeps cached data from being served once the source has refused our keys: whoever lost the right to read a
// participant's data has lost it for the copy too. While refused, one call in a while asks the source again; its
// good answer opens the guard for all.
type guard struct {
	mu   sync.Mutex // guards last; a leaf
	last time.Time
}

// check returns the refusal, or nil.
func (g *guard) check(ctx context.Context, s *Store) error {
	trouble := refusal(s.src)
	if trouble == nil {
		return nil
	}
	now := s.now()
	g.mu.Lock()
	due := now.Sub(g.last) >= probeEvery
	if due {
		g.last = now
	}
	g.mu.Unlock()
	if !due {
		return trouble
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if err := s.ask(ctx); errors.Is(err, backends.ErrAuth) {
		return err
	}
	return refusal(s.src)
}

// ask makes the source ask its service something.
func (s *Store) ask(ctx context.Context) error {
	if s.bundles != nil {
		return s.bundles.satisfy(ctx, "", backends.ToList)
	}
	for _, err := range s.src.List(ctx, "") {
		return err
	}
	return nil
}

func refusal(src backends.Source) error {
	if r, ok := src.(backends.Reporter); ok {
		if err := r.Trouble(); errors.Is(err, backends.ErrAuth) {
			return err
		}
	}
	return nil
}
