package cache

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// home is the directory of one source's cache:
//
//	lock      held by the process that uses the directory
//	key       32 random bytes that turn names into file names, where everything is sealed only together with the Seal's key
//	listing   what was listed, clear or sealed (see codec)
//	sealed    what of the source is sealed, if anything, and a check of the key
//	blocks/   ab/abcdef….data and .map, one pair per object version
//
// No participant's name appears in a file name: names of cache files end up in backups, in locate's database, in bug reports.
type home struct {
	dir     string
	salt    []byte // what lies in the file key
	names   *keyed // makes file names of: salt itself, or a key made of it and of one that does not lie here
	lock    *os.File
	private bool // made for this process alone, removed at the end
}

const privateMark = ".private-"

// openHome locks dir, or where another process holds it a fresh directory beside it.
func openHome(dir string) (*home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	removeAbandoned(dir)
	lock, err := tryLock(dir)
	if err != nil {
		return nil, err
	}
	h := &home{dir: dir, lock: lock}
	if lock == nil {
		h.private = true
		if h.dir, err = os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+privateMark); err != nil {
			return nil, err
		}
		if h.lock, err = tryLock(h.dir); err != nil {
			return nil, err
		}
	}
	removeSpills(h.dir)
	if h.salt, err = readOrMakeKey(h.path("key")); err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.names = &keyed{key: h.salt}
	return h, nil
}

// tryLock returns nil without error where another process holds the lock.
func tryLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close() //nolint:errcheck // nothing was written
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil //nolint:nilnil // "held by another" is an answer, said in the comment above
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

// removeAbandoned removes the private directories of processes that were killed.
func removeAbandoned(dir string) {
	left, err := filepath.Glob(dir + privateMark + "*")
	if err != nil {
		return
	}
	for _, d := range left {
		if lock, err := tryLock(d); err == nil && lock != nil {
			os.RemoveAll(d) //nolint:errcheck // tried again next time
			lock.Close()    //nolint:errcheck // removed
		}
	}
}

// removeSpills removes what a process left that was killed between making a spill and taking its name away.
func removeSpills(dir string) {
	left, err := filepath.Glob(filepath.Join(dir, spillPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range left {
		os.Remove(path) //nolint:errcheck // tried again next time
	}
}

// readOrMakeKey returns the key, making one where there is none or a damaged one: then all cached names are misses.
func readOrMakeKey(path string) ([]byte, error) {
	if key, err := os.ReadFile(path); err == nil && len(key) == sha256.Size {
		return key, nil
	}
	key := make([]byte, sha256.Size)
	rand.Read(key)
	tmp := path + ".new"
	if err := os.WriteFile(tmp, key, 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(tmp, path)
}

// id names one version of one object, and tells whether its blocks are sealed. The lengths keep ("ab","c") apart from ("a","bc").
func (h *home) id(name, version string, sealed bool) objectID {
	id := h.names.sum(name, version)
	id[len(id)-1] &^= sealedBit
	if sealed {
		id[len(id)-1] |= sealedBit
	}
	return id
}

// keyed is a keyed hash, safe for concurrent use. It keeps those that have taken the key in, which is half the work: an id is made with
// each open.
type keyed struct {
	key  []byte
	macs sync.Pool
}

func (k *keyed) sum(name, version string) objectID {
	mac, ok := k.macs.Get().(hash.Hash)
	if !ok {
		mac = hmac.New(sha256.New, k.key)
	}
	defer k.macs.Put(mac)
	mac.Reset()
	var room [256]byte
	text := append(strconv.AppendInt(room[:0], int64(len(name)), 10), 0)
	mac.Write(append(append(text, name...), version...))
	return objectID(mac.Sum(room[:0])[:len(objectID{})])
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// block returns the path of an object's files without their suffix.
func (h *home) block(id objectID) string {
	name := hex.EncodeToString(id[:])
	return filepath.Join(h.dir, "blocks", name[:2], name)
}

// maps calls use for every block map that lies here.
func (h *home) maps(use func(id objectID, path string)) {
	for _, suffix := range []string{".map", ".data"} {
		found, err := filepath.Glob(h.path("blocks/??/*" + suffix))
		if err != nil {
			return
		}
		for _, path := range found {
			name := strings.TrimSuffix(filepath.Base(path), suffix)
			raw, err := hex.DecodeString(name)
			if err != nil || len(raw) != len(objectID{}) {
				continue
			}
			use(objectID(raw), path)
		}
	}
}

func (h *home) close() error {
	var err error
	if h.private {
		err = os.RemoveAll(h.dir)
	}
	return errors.Join(err, h.lock.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
