package backends

import (
	"context"
	"errors"
)

// ErrTier says that an archive does not have the retrieval tier that was asked for, or has no room for it now.
var ErrTier = errors.New("this retrieval tier is not available")

// The retrieval tiers of [Restorer], slow and cheap first.
const (
	RestoreBulk      = "bulk"
	RestoreStandard  = "standard"
	RestoreExpedited = "expedited"
)

// Restorer is a Source that can be asked for copies of archived objects. It is safe for concurrent use. Nothing else a Source does asks for one:
// a restore costs money and hours.
type Restorer interface {
	// Restore asks for a copy of e that can be read for days days, in one of the tiers above, and returns what e is then: Restoring, if the
	// copy was asked for now or by somebody before, or Online if it lies there already; in that case it now stays for days days from today.
	// Where the service keeps restored objects for good, days is ignored. ErrTier: e cannot be had in that tier. An object that was never
	// archived is Online. Throttling is waited out as for a read; asking twice does no harm.
	Restore(ctx context.Context, e Entry, days int, tier string) (Tier, error)
}
