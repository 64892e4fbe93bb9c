package crypt

import (
	"context"
	"fmt"

	"studyfs/backends"
)

var _ backends.Restorer = (*Source)(nil)

// Restore asks the source below for the stored object. Where that one restores nothing, ErrPermission.
func (s *Source) Restore(ctx context.Context, e backends.Entry, days int, tier string) (backends.Tier, error) {
	below, ok := s.src.(backends.Restorer)
	if !ok {
		return e.Tier, fmt.Errorf("restore %s: %w: the source below restores nothing", e.Name, backends.ErrPermission)
	}
	_, in := stored(e)
	return below.Restore(ctx, in, days, tier)
}
