package stage

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"studyfs/backends"
)

// ID is the number of one staged thing. It is never given twice in a stage; 0 is none.
type ID uint64

// Kind says what a staged thing is.
type Kind uint8

// The kinds.
const (
	Regular Kind = iota
	Dir
	Link
)

// State says how far a staged thing has come.
type State uint8

// The states. Writing: open, or changed since it was last sealed. Staged: safe, and waits. Stored is what a thing is called
// that is no longer staged. Conflict, Parked and Failed wait for people; Failed is tried again now and then. Orphan: never
// closed when the process ended. Quarantined: the local disk failed it. LocalOnly: it is junk of desktops, which is never stored.
const (
	Writing State = iota
	Staged
	Uploading
	Stored
	Conflict
	Parked
	Failed
	Orphan
	Quarantined
	LocalOnly
)

var stateNames = [...]string{"writing", "staged", "uploading", "stored", "conflict", "parked", "failed", "orphan", "quarantined", "local"} //nolint:gochecknoglobals // a table

// String returns the name that users see.
func (s State) String() string { return stateNames[s] }

// Attr is what is kept of a file, directory or link beside its bytes. It is a value; XAttrs is never changed in place.
type Attr struct {
	Mode     uint32 // permissions, setuid, setgid and sticky: 07777
	UID, GID uint32
	ModTime  time.Time
	ATime    time.Time // as a program has set it, kept on this machine; zero: nobody has
	XAttrs   map[string]string
}

// Equal reports whether two Attr are the same in all that is kept with an object at the target: extended attributes stay here.
func (a Attr) Equal(b Attr) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.ModTime.Equal(b.ModTime)
}

func (a Attr) same(b Attr) bool { return a.Equal(b) && maps.Equal(a.XAttrs, b.XAttrs) }

// Info is a snapshot of one staged thing.
type Info struct {
	ID       ID
	Name     string // relative to the source's root; "" of an orphan whose name was lost
	Kind     Kind
	Attr     Attr
	Changed  time.Time // last change of bytes or attributes
	Size     int64     // of a file, now; of a link, the length of Target
	Target   string    // where a Link leads
	State    State
	Base     backends.Entry // what lies at the target under this name; the zero Entry: nothing
	Sent     int64          // bytes of the body that have gone out
	Err      string         // why it does not go on, in words
	Warnings []string       // what the gate says of it
	Open     int            // handles open for writing
}

// item is one staged thing. The Stage's mu guards all fields but id, kind and sealing.
type item struct {
	id      ID
	kind    Kind
	touch   bool       // only metadata of base are to change
	undo    bool       // what may lie at the target under name with this size and sum is ours, and unwanted
	sealing sync.Mutex // one seal at a time; taken before mu
	notches int64      // marks that were made; guarded by sealing

	name     string
	attr     Attr
	changed  time.Time
	target   string
	base     backends.Entry
	locked   bool   // its file is encrypted
	epoch    uint64 // of an encrypted file: up to where it is sealed
	state    State
	why      string
	warnings []string

	size      int64 // as last seen
	blocks    int64 // bytes that it takes on the disk, as last seen
	counted   int64 // as which it is in the Stage's used
	wrote     int64 // the file's own modification time when attr.ModTime was right: if it has another, that is what counts
	sealed    *mark // what was sealed; nil: never
	copied    *mark // the copy of base as it was made; while the file is still that, nothing is to be stored
	sum       *uint64
	summed    mark // what sum is of
	resume    []byte
	maybe     bool   // a try to store it has ended without an answer
	tried     []sent // what may lie at the target since, newest last
	leaving   bool   // base is being removed from here: if the target has nothing any more, that was us
	populated bool   // of a directory: the target has something below it
	stale     bool   // label or sidecar has another name or other attributes
	sidecar   bool   // it has a sidecar and no label, or an outdated one; guarded by sealing
	gated     bool   // it came in under rules, and goes out only after it was judged
	ruled     ruled  // why the rules hold it back; "" where they do not
	rulings   []*ruling
	scrub     *scrubbed // what goes out in place of the file; nil: the file itself
	gone      bool      // given up or stored: nothing of it is in the stage any more
	junk      bool      // by its name; set when it gets that
	real      bool      // it is no junk whatever it is called

	writers, readers int
	wanted           int       // callers that wait for its job to end
	touched          time.Time // the last close, rename or change: being quiet counts from here
	notBefore        time.Time // after a failure
	express          bool      // somebody waits for it to be stored: quiet or not
	opened           bool      // somebody has had it open since it was made
	kept             bool      // a directory that is not new
	job              *Job
	sent             int64
}

func fileName(id ID) string    { return fmt.Sprintf("%s/%016x", filesDir, uint64(id)) }
func sidecarName(id ID) string { return fileName(id) + sidecarExt }

// sent is the content of one try to store something.
type sent struct {
	Size int64  `json:"size"`
	Sum  uint64 `json:"sum"`
}

const maxTried = 8 // of one item that are remembered

// try notes what is about to be sent. The caller holds mu.
func (it *item) try(s sent) {
	it.maybe = true
	it.tried = append(slices.DeleteFunc(slices.Clone(it.tried), func(t sent) bool { return t == s }), s)
	it.tried = it.tried[max(0, len(it.tried)-maxTried):]
}

// answered: it is known what lies at the target. The caller holds mu.
func (it *item) answered() { it.maybe, it.tried = false, nil }

// hasFile reports whether there are bytes of it on the local disk.
func (it *item) hasFile() bool { return it.kind == Regular && !it.touch && !it.undo }

// named reports whether it stands in the tree of names.
func (it *item) named() bool {
	return !it.touch && !it.undo && !it.gone && it.state != Orphan && it.state != Quarantined
}

// saw notes what a look at the file has told. The caller holds mu.
func (it *item) saw(l looked) {
	it.size, it.blocks = l.Size, l.blocks
	if d := it.wrote - l.MTime; d >= 0 && d <= notches { // it is the same, or has been notched
		return
	}
	if it.wrote != 0 || l.Size > 0 { // not only made
		it.attr.Mode = Unprivileged(it.attr.Mode)
	}
	it.wrote = l.MTime
	it.attr.ModTime = fromNanos(l.MTime)
	if it.changed.Before(it.attr.ModTime) {
		it.changed = it.attr.ModTime
	}
}

// Unprivileged is a mode without what writing to a file takes away from it: setuid, and setgid where that is no mandatory lock.
func Unprivileged(mode uint32) uint32 {
	const setuid, setgid, groupExec = 0o4000, 0o2000, 0o010
	if mode&groupExec != 0 {
		mode &^= setgid
	}
	return mode &^ setuid
}

// sawAgain is saw after a restart: times alone are not synced, so that a crash may have left an older one.
func (it *item) sawAgain(l looked) {
	if it.sealed != nil && l.MTime < it.wrote {
		it.wrote = l.MTime
	}
	it.saw(l)
}

// info is a snapshot. The caller holds mu.
func (it *item) info() Info {
	return Info{
		ID: it.id, Name: it.name, Kind: it.kind, Attr: it.attr, Changed: it.changed, Size: it.length(), Target: it.target, State: it.shown(),
		Base: it.base, Sent: it.sent, Err: it.why, Warnings: it.warnings, Open: it.writers,
	}
}

// length is the size that stat shows. The caller holds mu.
func (it *item) length() int64 {
	if it.kind == Link {
		return int64(len(it.target))
	}
	return it.size
}

// shown is the state that people are told. The caller holds mu.
func (it *item) shown() State {
	switch {
	case it.gone:
		return Stored
	case it.job != nil:
		return Uploading
	case it.stays():
		return LocalOnly
	case it.state == Staged && it.writers > 0:
		return Writing
	}
	return it.state
}

// record is what must outlive the process. The caller holds mu.
func (it *item) record() *itemRecord {
	r := &itemRecord{
		ID: it.id, Name: it.name, What: it.kind, Touch: it.touch, Undo: it.undo, Attr: attrToRecord(it.attr), Changed: nanos(it.changed), Target: it.target,
		Wrote: it.wrote, Base: entryToRecord(it.base), Sealed: it.sealed, Copied: it.copied, Why: it.why, Maybe: it.maybe, Tried: it.tried, Sum: it.sum, Resume: it.resume,
	}
	r.Locked, r.Epoch = it.locked, it.epoch
	r.Gated, r.Ruled, r.Scrub, r.Leaving, r.Real = it.gated, it.ruled, it.scrub, it.leaving, it.real
	switch it.state {
	case Conflict, Parked, Failed, Orphan, Quarantined:
		r.State = it.state.String()
		r.Warnings = it.warnings
	case Writing, Staged, Uploading, Stored, LocalOnly: // follow from the rest
	}
	return r
}

// restored is the item that a record tells of.
func (r *itemRecord) restored() *item {
	it := &item{
		id: r.ID, kind: r.What, touch: r.Touch, undo: r.Undo, name: r.Name, attr: r.Attr.attr(), changed: fromNanos(r.Changed), target: r.Target,
		wrote: r.Wrote, base: r.Base.entry(), sealed: r.Sealed, copied: r.Copied, why: r.Why, maybe: r.Maybe, tried: r.Tried, resume: r.Resume, state: Staged,
	}
	it.locked, it.epoch = r.Locked, r.Epoch
	it.gated, it.ruled, it.scrub, it.warnings, it.leaving = r.Gated, r.Ruled, r.Scrub, r.Warnings, r.Leaving
	it.real = r.Real || it.known()
	switch {
	case r.Undo && r.Sealed != nil:
		it.sum, it.size = r.Sum, r.Sealed.Size
	case r.Touch:
		it.size = it.base.Size
	}
	for s, name := range stateNames {
		if r.State == name {
			it.state = State(s)
		}
	}
	return it
}
