// Package crypt is a source over a source: objects that lie there encrypted are shown as what they hold, and what is written is
// encrypted before it is sent.
//
//	NAME.age   age v1 (age-encryption.org): read by ranges, and written
//	NAME.enc   "openssl enc -des": read by ranges, if a password is given
//	NAME.lock  cryptease, as mano and Lochness lock streams: the same
//	else       shown as it is
//
// Each is shown as NAME. Where several objects stand for one name, a directory wins, then .age, then the plain object, then .enc,
// then .lock: the rest is counted among the hidden keys.
//
// Only age is authenticated: what was altered or cut is backends.ErrBadAnswer and never a wrong byte. Of the two others, an altered
// object gives other bytes and no error; a wrong password is noticed for most .enc objects, and for no .lock.
//
// A version is that of the stored object with "+", its kind and its size behind, so that an entry alone tells what to read: nothing
// has to be asked again after a restart. An object that is shown as it is keeps its version.
package crypt

import (
	"errors"
	"fmt"
	"sync"

	"filippo.io/age"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"studyfs/backends"
)

// Options say what opens the objects, and for whom new ones are made. Slices are not changed afterwards.
type Options struct {
	Identities []Identity  // open .age objects; none: they are listed, but cannot be read
	Recipients []Recipient // can open what is written; none: nothing can be written
	// Password opens .enc and .lock objects. Empty: such names are shown as they are.
	Password backends.Secret
	// NoLook keeps List from asking for sizes that only an object's contents tell; they are backends.SizeUnknown then.
	NoLook bool
	// Spill keeps ciphertexts while they are sent. It is needed where Recipients are given.
	Spill Spill
}

// Bounds of what is remembered of objects.
const (
	maxHeads = 4096    // opened objects: keys and sizes
	maxSizes = 1 << 16 // sizes that the listing does not tell
	maxNoted = 1 << 20 // hidden and lost objects that are counted once
)

// Source shows another source in clear. It is safe for concurrent use. It is a Writer, an Examiner and a Prober as far as the source
// below is; where that one is none, writing fails with backends.ErrReadOnly, and looking with backends.ErrPermission.
type Source struct {
	src  backends.Source
	o    Options
	keys keyring
	own  int64 // how long what Recipients add before the ciphertext is; 0 without

	mu     sync.Mutex // guards what follows; no I/O under it
	heads  *simplelru.LRU[string, opened]
	sizes  *simplelru.LRU[string, int64]
	calls  map[string]*call
	usual  int64           // length of the age headers of others, as the last one told; 0: none seen
	mixed  bool            // they differ: no size can be guessed
	hidden map[string]bool // stored names that other objects stand before
	lost   map[string]bool // .enc objects of which only the salt was ever stored
	digest int             // of the last .enc object that left no doubt: an index into what desKeys returns
}

var (
	_ backends.Source   = (*Source)(nil)
	_ backends.Reporter = (*Source)(nil)
	_ backends.Writer   = (*Source)(nil)
	_ backends.Examiner = (*Source)(nil)
	_ backends.Prober   = (*Source)(nil)
)

// New shows src in clear. It sends nothing.
func New(src backends.Source, o Options) (*Source, error) {
	s := &Source{
		src: src, o: o, keys: keyring{identities: o.Identities, password: o.Password},
		calls: map[string]*call{}, hidden: map[string]bool{}, lost: map[string]bool{},
	}
	if len(o.Recipients) > 0 {
		if o.Spill == nil {
			return nil, errors.New("crypt: no place for ciphertexts")
		}
		var err error
		if s.own, err = headerSize(o.Recipients); err != nil {
			return nil, fmt.Errorf("crypt: recipients: %w", err)
		}
	}
	s.heads, _ = simplelru.NewLRU[string, opened](maxHeads, nil) // only a size below 1 is an error
	s.sizes, _ = simplelru.NewLRU[string, int64](maxSizes, nil)
	return s, nil
}

// Counts are those of the source below; the hidden keys include the objects that others of the same name stand before.
func (s *Source) Counts() backends.Counts {
	var c backends.Counts
	if r, ok := s.src.(backends.Reporter); ok {
		c = r.Counts()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.HiddenKeys += int64(len(s.hidden))
	return c
}

// Trouble is that of the source below.
func (s *Source) Trouble() error {
	if r, ok := s.src.(backends.Reporter); ok {
		return r.Trouble()
	}
	return nil
}

// Lost tells how many objects seen so far hold nothing but the salt that "openssl enc" writes first: it failed, the stub was
// uploaded, and the file is lost.
func (s *Source) Lost() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.lost))
}

// note adds a name to a bounded set.
func (s *Source) note(set map[string]bool, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(set) < maxNoted {
		set[name] = true
	}
}

type (
	// Identity opens age files.
	Identity = age.Identity
	// Recipient is whom an age file is made for.
	Recipient = age.Recipient
)
