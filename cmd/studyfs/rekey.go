package main

import (
	"context"
	"errors"

	"studyfs/backends"
	"studyfs/backends/azure"
	"studyfs/backends/beiwe"
	"studyfs/backends/s3"
	"studyfs/cmd/studyfs/audit"
)

// rekeyer gives an open source other keys: those that the spec, which is the same source's, holds. After an error nothing has changed.
type rekeyer func(ctx context.Context, fresh sourceSpec) error

// errOtherPlace says that a spec is of something else than what is open.
var errOtherPlace = errors.New("these keys are for another place")

func (m *mountServer) rekeyS3(bucket *s3.Source, s *liveSource) rekeyer {
	return func(ctx context.Context, fresh sourceSpec) error {
		if fresh.Bucket != s.spec.Bucket || fresh.Prefix != s.spec.Prefix || fresh.Endpoint != s.spec.Endpoint {
			return errOtherPlace
		}
		o, err := s3Options(fresh, m.spec.Timeouts, m.log, func() { s.audit.did(s.spec, audit.Event{Op: audit.OpKeys}) })
		if err != nil {
			return err
		}
		return bucket.Rekey(ctx, o.Credentials)
	}
}

func (m *mountServer) rekeyAzure(container *azure.Source) rekeyer {
	return func(_ context.Context, fresh sourceSpec) error {
		if fresh.Azure == nil {
			return errOtherPlace
		}
		o, err := azureOptions(fresh, m.spec.Timeouts, m.log) //nolint:contextcheck // keys may be read again long after this call
		if err != nil {
			return err
		}
		return container.Rekey(o.Credentials)
	}
}

func rekeyBeiwe(server *beiwe.Source) rekeyer {
	return func(_ context.Context, fresh sourceSpec) error {
		if fresh.Beiwe == nil {
			return errOtherPlace
		}
		server.Rekey(backends.NewSecret(fresh.Beiwe.AccessKey), backends.NewSecret(fresh.Beiwe.SecretKey))
		return nil
	}
}

func rekeyTargets(byRole map[string]rekeyer) rekeyer {
	return func(ctx context.Context, fresh sourceSpec) error {
		for _, t := range fresh.Targets {
			if rekey := byRole[t.Role]; rekey != nil {
				if err := rekey(ctx, t.Source); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// takeKeys gives a source the keys of fresh, lets uploads that waited for them go on, and asks the service once, so that whoever is kept out
// since the old ones were refused gets in. It returns the service's word on the new keys.
func (m *mountServer) takeKeys(ctx context.Context, s *liveSource, fresh sourceSpec) error {
	if s.rekey == nil {
		return nil
	}
	m.live.keep(secretsOf([]sourceSpec{fresh}))
	if err := s.rekey(ctx, fresh); err != nil {
		return err
	}
	s.audit.did(s.spec, audit.Event{Op: audit.OpKeys})
	err := s.greet(ctx)
	if err == nil && s.writing != nil && s.writing.uploader != nil {
		s.writing.uploader.KeysChanged()
	}
	return err
}

// takeBack gives a source the keys back that it had.
func (m *mountServer) takeBack(ctx context.Context, s *liveSource, before sourceSpec) error {
	if err := s.rekey(ctx, before); err != nil {
		return err
	}
	s.greet(ctx) //nolint:errcheck // whether these are good is seen with the next request
	return nil
}

// greet asks the service something small.
func (s *liveSource) greet(ctx context.Context) error {
	_, err := rootEntries(ctx, s.remote)
	return err
}
