package backends

import (
	"context"
	"errors"
	"io"
)

// ErrUnsafe says that a service takes writes but ignores their conditions, so that two writers could overwrite each other
// unseen. Nothing is stored through it unless the user has agreed to that.
var ErrUnsafe = errors.New("service ignores the conditions of writes")

// ErrTooLarge says that a service cannot hold an object of that size, or not with so much metadata.
var ErrTooLarge = errors.New("object is too large for the service")

// ErrOccupied says that a place which is to get a copy of an object holds something that nobody may replace unasked.
var ErrOccupied = errors.New("another file lies in the place of a copy")

// Upload is one whole object on its way to a source: it appears all at once or not at all, and only in the place of what
// the caller knows to be there.
type Upload struct {
	Name string // as [ValidName] has it
	// Dir asks for what stands for an empty directory (S3: an empty object "name/"). Size is then 0.
	Dir  bool
	Size int64
	// Old is what lies at Name now and is to be replaced; the zero Entry says that nothing may lie there.
	Old Entry
	// Meta is kept with the object: lower-case ASCII keys, printable ASCII values, together at most 2,048 bytes.
	Meta  map[string]string
	Class string // storage class, "" for the target's default
	// CRC64NVME is the checksum of exactly the Size bytes (polynomial 0x9a6c9329ac4bc9b5, reflected, as S3 has it).
	CRC64NVME uint64
	// Resume is what Checkpoint was last given in an earlier try of this same upload, nil in the first.
	Resume []byte
	// Checkpoint, where not nil, is given what a later try needs in order to send nothing twice. It may be called from
	// several goroutines, but never two at once. An error from it ends the upload: what cannot be resumed must not begin.
	Checkpoint func(state []byte) error
	// Sent, where not nil, is told how many more bytes of the body have gone out; negative when they have to be sent again.
	Sent func(n int64)
}

// Writer is a source that takes whole objects. Its methods are safe for concurrent use. They try again by themselves
// only for as long as a read would; patience beyond that is the caller's.
type Writer interface {
	// Put stores the Size bytes of r. It returns when the service has confirmed size and checksum (or the best that it
	// can do instead), with the entry that a listing will show. ErrChanged: something else than Old lies there, and was
	// not touched. Where an answer was lost and the service then finds the condition broken, Put looks whether its own
	// bytes are what lies there, and succeeds if so. r is read from several goroutines, parts of it more than once.
	Put(ctx context.Context, u Upload, r io.ReaderAt) (Entry, error)
	// Copy stores the bytes of from under u.Name with u's metadata, without sending them; u.Size and u.CRC64NVME are
	// ignored. from.Name may equal u.Name, where only the metadata are to change. ErrChanged: from is not that version
	// any more, or something else than u.Old lies at u.Name.
	Copy(ctx context.Context, from Entry, u Upload) (Entry, error)
	// Remove deletes exactly this version of e; for a directory, what stands for the empty one. ErrChanged: another
	// version lies there. What is gone already is a success.
	Remove(ctx context.Context, e Entry) error
}

// Metered is a body that is read no faster than it may be sent. A Writer that reads it for anything else, a checksum, reads
// what Unmetered returns.
type Metered interface {
	io.ReaderAt
	Unmetered() io.ReaderAt
}

// Stored is what a service knows of one object without its bytes being read.
type Stored struct {
	Entry     Entry
	Meta      map[string]string // as Upload.Meta
	CRC64NVME uint64
	HasCRC    bool // CRC64NVME is known
	// Partial tells that not every place which is to have these bytes has them: a Put of the same bytes completes it.
	Partial bool
}

// Examiner is a Writer that can look at a stored object.
type Examiner interface {
	// Examine costs one request. ErrNotExist where there is nothing.
	Examine(ctx context.Context, name string) (Stored, error)
}

// Ability is whether a service can do something.
type Ability uint8

// What may be known of an ability.
const (
	Untried Ability = iota
	Able
	Unable
)

// Abilities are what a service has shown to be able to do.
type Abilities struct {
	Conditions Ability // refuses a write whose condition does not hold
	Checksums  Ability // checks CRC64NVME sums of whole objects and tells them
}

// Prober is a Writer that knows its service's Abilities.
type Prober interface {
	Abilities() Abilities
}
