package livepage

import (
	"context"
	"time"
)

// Mount is what the page shows and acts on. Its methods are called by several goroutines at once.
type Mount interface {
	// View tells how the mount is. It asks nobody, and is called every few seconds.
	View() View
	// Items lists what is staged, in an order that stays from call to call; its caller does not change it.
	Items() []Item
	// Act does what somebody asked for with a click; nil: it is done. It ends early with ctx.
	Act(ctx context.Context, a Action) *Problem
}

// View is a mount at one moment. Sizes are bytes; counts are since the mount.
type View struct {
	Dir           string    `json:"dir"`
	ID            string    `json:"-"` // names the mount in metrics: it tells no path
	Started       time.Time `json:"started"`
	Passthrough   bool      `json:"passthrough"`
	PassthroughIs string    `json:"passthrough_is,omitempty"` // why it is so, in words
	Memory        int64     `json:"memory"`
	MemoryLimit   int64     `json:"memory_limit"`
	CacheLimit    int64     `json:"cache_limit"` // of all sources together
	Sources       []Source  `json:"sources"`
}

// Source is one source of a mount.
type Source struct {
	ID       string    `json:"id"` // a hash: it tells nothing
	Name     string    `json:"name"`
	Kind     string    `json:"kind"`
	URL      string    `json:"url"`
	Dir      string    `json:"dir"`
	Cache    Cache     `json:"cache"`
	Requests Requests  `json:"requests"`
	In       int64     `json:"in"` // bytes received
	Out      int64     `json:"out"`
	Hidden   int64     `json:"hidden"`  // keys that cannot be file names
	ListedS  float64   `json:"-"`       // age of the root's listing, seconds
	Uploads  *Uploads  `json:"uploads"` // nil: nothing is written to it
	Fetching []string  `json:"fetching,omitempty"`
	Problems []Problem `json:"problems"`
}

// Cache is what is kept of a source on the local disk.
type Cache struct {
	Bytes   int64 `json:"bytes"`
	Hits    int64 `json:"hits"`
	Misses  int64 `json:"misses"`
	Evicted int64 `json:"-"`
	Corrupt int64 `json:"corrupt"`
}

// Requests are those that a service was sent.
type Requests struct {
	List    int64 `json:"list"`
	Get     int64 `json:"get"`
	Head    int64 `json:"head"`
	Put     int64 `json:"put"`
	Delete  int64 `json:"delete"`
	Other   int64 `json:"other"`
	Retries int64 `json:"retries"`
}

// Uploads counts what is staged, by state.
type Uploads struct {
	Writing     int    `json:"writing"`
	Staged      int    `json:"staged"`
	Uploading   int    `json:"uploading"`
	Stored      int    `json:"stored"`
	Conflict    int    `json:"conflict"`
	Parked      int    `json:"parked"`
	Failed      int    `json:"failed"`
	Orphan      int    `json:"orphan"`
	Quarantined int    `json:"quarantined"`
	BytesLeft   int64  `json:"bytes_left"`
	Paused      string `json:"paused,omitempty"` // why nothing is sent now
}

// Item is one staged file, link or directory.
type Item struct {
	Source   string    `json:"source"`    // the Source's ID
	ID       uint64    `json:"id,string"` // within its source; a script could not hold all of a number
	Name     string    `json:"name"`      // fit to be shown, relative to the source
	Kind     string    `json:"kind"`      // file, link, directory
	State    string    `json:"state"`     // as "studyfs uploads --help" has them
	Size     int64     `json:"size"`
	Sent     int64     `json:"sent"`
	Changed  time.Time `json:"changed"`
	Why      string    `json:"why,omitempty"` // it does not go on, in words
	Warnings []string  `json:"warnings,omitempty"`
}

// Problem is what went wrong as people are told it.
type Problem struct {
	What string `json:"what"`
	Why  string `json:"why"`
	Do   string `json:"do,omitempty"`
}

// What can be asked for.
const (
	Pause   = "pause" // of a source
	Resume  = "resume"
	Retry   = "retry"   // of one item: failed, or an orphan
	Resolve = "resolve" // of one item in conflict: How is mine, theirs or both
)

// Action is what somebody asks for.
type Action struct {
	Do     string `json:"do"`
	Source string `json:"source"`
	Item   uint64 `json:"item,omitempty,string"`
	How    string `json:"how,omitempty"`
}

// known tells whether an action is one of those above, with all that it needs.
func (a Action) known() bool {
	switch a.Do {
	case Pause, Resume:
		return a.Source != "" && a.Item == 0 && a.How == ""
	case Retry:
		return a.Source != "" && a.Item != 0 && a.How == ""
	case Resolve:
		return a.Source != "" && a.Item != 0 && (a.How == "mine" || a.How == "theirs" || a.How == "both")
	}
	return false
}
