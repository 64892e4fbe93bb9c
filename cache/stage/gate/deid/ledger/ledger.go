// Package ledger keeps, encrypted, whose code is whose and what was renamed by it, and does the renaming: what is to be done is written down
// first, so that after a crash it goes on where it was, and can be undone later. Nothing is ever overwritten.
//
// No error of this package holds a name.
package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"studyfs/cache/stage/gate/deid"
	"studyfs/cache/stage/gate/deid/survey"
)

// Errors of Open.
var (
	ErrSecret = errors.New("it was made with another secret, or is damaged")
	ErrBusy   = errors.New("another process uses it")
)

// Person is a patient.
type Person struct {
	Name    string // of the first folder that was renamed
	Code    string // nobody else's
	Made    time.Time
	History deid.History
	Batches []*Batch // in the order in which they were begun
}

// Known reports whether a folder of this name was the patient's before; case does not matter.
func (p *Person) Known(folder string) bool {
	if strings.EqualFold(p.Name, folder) {
		return true
	}
	for _, b := range p.Batches {
		for _, f := range b.Folders {
			if strings.EqualFold(f, folder) {
				return true
			}
		}
	}
	return false
}

// State is how far a batch has come.
type State uint8

// The states.
const (
	Moving  State = iota // written down; some of it may be done
	Done                 // all of it is, and durable
	Undoing              // some of it may be undone
	Undone               // all files have their old names
)

// Batch is what was renamed at once.
type Batch struct {
	When    time.Time
	Parent  string   // the folder that all names are relative to
	Folders []string // those that were renamed
	Moves   []deid.Move
	Before  deid.History    // of the patient
	Dirs    []survey.Folder // as they were, the outer ones first
	State   State
}

// Options are what a ledger is given. The zero value works.
type Options struct {
	// Random makes the keys and nonces; nil stands for crypto/rand.
	Random io.Reader
	// Before is called before each change of the disk; an error ends what is done just there, as a crash would. For tests.
	Before func() error

	links bool // tests: as if the file system could not rename without replacing
}

// Ledger is an open ledger. It is for one goroutine, and locked against other processes until Close.
type Ledger struct {
	// People are whom it knows. Who changes them has them kept with Save.
	People []*Person

	dir  string
	key  []byte
	o    Options
	lock *os.File
}

const (
	fileName = "names.enc"
	lockName = "lock"
)

// Exists reports whether there is a ledger in a directory. One without its secret is of no use to anybody.
func Exists(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, fileName))
	return !errors.Is(err, fs.ErrNotExist)
}

// Open opens the ledger in a directory, which is made if it is missing. secret is kept as long as the ledger is open. Where there is
// none yet, none is made before the first Save. It returns [deid.ErrSecret], [ErrSecret], [ErrBusy], or what the disk said.
func Open(dir string, secret []byte, o Options) (*Ledger, error) {
	if len(secret) < deid.LeastSecret {
		return nil, deid.ErrSecret
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Before == nil {
		o.Before = func() error { return nil }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	l := &Ledger{dir: dir, key: keyOf(secret), o: o, lock: lock}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

func (l *Ledger) load() error {
	switch err := unix.Flock(int(l.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrBusy
	case err != nil:
		return fmt.Errorf("lock the ledger: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(l.dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	plain, err := unseal(l.key, text)
	if err != nil {
		return ErrSecret
	}
	if err := gob.NewDecoder(bytes.NewReader(plain)).Decode(&l.People); err != nil { // JSON would change names that are not UTF-8
		return fmt.Errorf("read the ledger: %w", err)
	}
	return nil
}

// Close lets go of the ledger. What was changed since the last Save is lost.
func (l *Ledger) Close() error { return l.lock.Close() }

// Save keeps what the ledger holds: when it returns nil, it is durable; else what was saved before is still there, or this.
func (l *Ledger) Save() error {
	var plain bytes.Buffer
	if err := gob.NewEncoder(&plain).Encode(l.People); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	text, err := seal(l.key, plain.Bytes(), l.o.Random)
	if err != nil {
		return fmt.Errorf("encrypt the ledger: %w", err)
	}
	if err := l.o.Before(); err != nil {
		return err
	}
	if err := l.replaceFile(filepath.Join(l.dir, fileName), text); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	return nil
}

// replaceFile writes a file that only its owner can read, whole or not at all, and durably.
func (l *Ledger) replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone, if all went well
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := l.o.Before(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Owner returns whose a code is; nil if nobody's.
func (l *Ledger) Owner(code string) *Person {
	for _, p := range l.People {
		if p.Code == code {
			return p
		}
	}
	return nil
}

// Unfinished returns what was interrupted in a folder and whose it is; nil if nothing was.
func (l *Ledger) Unfinished(parent string) (*Person, *Batch) {
	for _, p := range l.People {
		for _, b := range p.Batches {
			if b.Parent == parent && (b.State == Moving || b.State == Undoing) {
				return p, b
			}
		}
	}
	return nil, nil
}

// Begin writes down what is to be renamed. p is added to the people if it is new. The history of p then counts all of it as given.
func (l *Ledger) Begin(p *Person, b Batch, after deid.History) (*Batch, error) {
	if owner := l.Owner(p.Code); owner != nil && owner != p {
		return nil, errors.New("the code is another patient's")
	}
	b.State, b.Before = Moving, p.History
	known := l.Owner(p.Code) == p
	p.Batches, p.History = append(p.Batches, &b), after
	if !known {
		l.People = append(l.People, p)
	}
	return &b, l.Save()
}
