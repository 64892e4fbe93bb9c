package mem

import (
	"context"
	"fmt"

	"studyfs/backends"
)

var _ backends.Restorer = (*Source)(nil)

// SetTier moves an object into an archive or out of it. Its version stays.
func (s *Source) SetTier(key string, tier backends.Tier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		o.Tier = tier
		s.objects[key] = o
	}
}

// Restore begins the restore of an archived object, which only SetTier completes. Hooks see it as "restore".
func (s *Source) Restore(ctx context.Context, e backends.Entry, days int, tier string) (backends.Tier, error) {
	if err := s.request(ctx, Op{Name: "restore", Object: e.Name, N: int64(days)}); err != nil {
		return e.Tier, fmt.Errorf("restore %s: %w", e.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[e.Name]
	switch {
	case !ok:
		return e.Tier, fmt.Errorf("restore %s: %w", e.Name, backends.ErrNotExist)
	case o.Class == "DEEP_ARCHIVE" && tier == backends.RestoreExpedited:
		return e.Tier, fmt.Errorf("restore %s: %w", e.Name, backends.ErrTier)
	case o.Tier == backends.Archived:
		o.Tier = backends.Restoring
		s.objects[e.Name] = o
	}
	return o.Tier, nil
}
