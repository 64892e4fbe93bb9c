package azure

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

// try runs one request until it succeeds, fails for good, or the time for trying again is over. The SDK's own retrier stays out of it: it
// knows nothing of answers that are refused here, and gives up after 3 times.
func (s *Source) try(ctx context.Context, op, name string, request func(context.Context) error) error {
	deadline := s.o.Now().Add(s.o.Timeouts.Retry)
	pause := firstPause
	for first := true; ; first = false {
		if !first {
			s.retries.Add(1)
		}
		err := request(ctx)
		if err == nil {
			s.note(nil)
			return nil
		}
		f := understand(ctx, err)
		if f == nil {
			return fmt.Errorf("%s %s: %w", op, name, ctx.Err())
		}
		wait := rand.N(pause) //nolint:gosec // jitter, no secret
		if !f.again || s.o.Now().Add(wait).After(deadline) {
			s.note(fmt.Errorf("%w: %s", f.kind, f.detail)) // without the name: it is shown to whoever asks for the state
			return fmt.Errorf("%s %s: %w: %s", op, name, f.kind, f.detail)
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

// standing reports whether err concerns the whole source rather than one blob.
func standing(err error) bool {
	return isAuth(err) || errors.Is(err, backends.ErrUnreachable) || errors.Is(err, backends.ErrBusy)
}

// note keeps the standing trouble up to date, and tells once when a key begins to be refused and once when it is accepted again.
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
		s.o.Log.Warn("the service refuses the key: it was revoked, has expired or is mistyped", "account", s.o.Account, "container", s.o.Container)
	case was && !now:
		s.o.Log.Info("the service accepts the key again", "account", s.o.Account, "container", s.o.Container)
	}
}

// Trouble returns the error that stands between us and the whole source, nil when the last answer was a good one. It wraps ErrAuth,
// ErrUnreachable or ErrBusy.
func (s *Source) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}
