package s3

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"studyfs/backends"
)

const (
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

// try runs one request until it succeeds, fails for good, or the time for trying again is over. The SDK's own retrier stays out of it: 3
// attempts and a token bucket turn a storm at the service into refusals of our own.
func (s *Source) try(ctx context.Context, op, name string, request func(context.Context) error) error {
	deadline := s.o.Now().Add(s.o.Timeouts.Retry)
	pause := firstPause
	for first := true; ; first = false {
		if !first {
			s.retries.Add(1)
		}
		region := s.Region()
		err := request(ctx)
		if err == nil {
			s.note(nil)
			return nil
		}
		f := understand(ctx, err)
		if f == nil {
			return fmt.Errorf("%s %s: %w", op, name, ctx.Err())
		}
		if f.region != "" && s.move(region, f.region) {
			continue
		}
		failed := fmt.Errorf("%s %s: %w: %s", op, name, f.kind, f.detail)
		wait := rand.N(pause) //nolint:gosec // jitter, no secret
		if !f.again || s.o.Now().Add(wait).After(deadline) {
			s.note(fmt.Errorf("%w: %s", f.kind, f.detail)) // without the name: it is shown to whoever asks for the state
			return failed
		}
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("%s %s: %w", op, name, err)
		}
		pause = min(2*pause, longPause)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isAuth(err error) bool { return errors.Is(err, backends.ErrAuth) }

// standing reports whether err concerns the whole source rather than one object.
func standing(err error) bool {
	return isAuth(err) || errors.Is(err, backends.ErrUnreachable) || errors.Is(err, backends.ErrBusy)
}

// note keeps the standing trouble up to date, and tells once when keys begin to be refused and once when they are accepted again.
func (s *Source) note(err error) {
	s.mu.Lock()
	was := isAuth(s.trouble)
	switch {
	case standing(err):
		s.trouble = err
	case !errors.Is(err, backends.ErrBadAnswer): // a login page in between tells nothing of the service
		s.trouble = nil
	}
	now := isAuth(s.trouble)
	s.mu.Unlock()
	switch {
	case now && !was:
		s.o.Log.Warn("the service refuses the keys: they were revoked, have expired or are mistyped", "bucket", s.o.Bucket)
	case was && !now:
		s.o.Log.Info("the service accepts the keys again", "bucket", s.o.Bucket)
	}
}

// Trouble returns the error that stands between us and the whole source, nil when the last answer was a good one. It wraps ErrAuth,
// ErrUnreachable or ErrBusy.
func (s *Source) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

var _ backends.Reporter = (*Source)(nil)
