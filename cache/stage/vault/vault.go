// Package vault keeps a file that is being written encrypted on the local disk: blocks of 4 KiB, each AES-256-GCM under the file's own
// key, at places that can be computed, so that any part of it can be read and written.
//
// What was sealed survives torn writes: an encrypted block of which only half has reached the disk cannot be read, so a block that was
// sealed is never overwritten. Each block has two places. The first write after a seal goes to the one that does not hold what was
// sealed, and the newer one counts. This costs no sync, and no room but for blocks that are written again after a seal.
//
// The file on the disk is:
//
//	0      magic          16 bytes
//	16     identity       16 random bytes
//	32     file's key     wrapped by AES-256-GCM: nonce 12, key 32, tag 16; additional data: magic, identity, the caller's number
//	4096   groups         of 64 blocks: 64 slots, then the other 64 slots
//
// and a slot, 4,160 bytes, is:
//
//	0      epoch          little endian, one more than the number of seals before; 0: empty
//	8      check          CRC-32C of identity, number of the slot (twice that of the block, and one more for the second), epoch
//	12     zero           24 bytes
//	36     block          nonce 12, 4,096 bytes, tag 16; additional data as of the check
//
// Slots lie at multiples of 64 bytes, so that their first 36 bytes are never torn. A block of which no slot was written is a hole, and reads as
// zeros. The file's size follows from the length on the disk: whole groups, and as many bytes more as the last group holds.
//
// What this keeps out: reading without the key; and changed, exchanged or moved blocks, files and keys, all of which are errors. What it does not:
// somebody who can write to the disk may put an older copy of a block or a file back, make a block a hole by overwriting both of
// its slots with zeros, or cut the file off; whoever knows what was sealed sees the last two.
package vault

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

// The errors that callers may test for.
var (
	// ErrKey says that a header does not belong to the key and the number, or is none.
	ErrKey = errors.New("it was not encrypted with this key")
	// ErrDamaged says that bytes are not as they were written.
	ErrDamaged = errors.New("encrypted bytes are damaged on the local disk")
)

const (
	magic      = "studyfs vault 1\n"
	idSize     = 16
	keySize    = 32
	sealSize   = 12 + 16 // nonce and tag
	headerSize = len(magic) + idSize + keySize + sealSize
	groupsAt   = 4096

	blockSize = 4096
	headSize  = 36
	slotSize  = headSize + blockSize + sealSize
	perGroup  = 64
	groupSize = perGroup * blockSize    // plain
	groupRoom = 2 * perGroup * slotSize // on the disk
)

// Disk is what a File lies on. WriteAt may grow it; Truncate may grow or cut it, and leaves holes.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Keys opens the files of one key.
type Keys struct{ wrap cipher.AEAD }

// NewKeys derives what wraps the keys of files from a key of 32 bytes.
func NewKeys(key []byte) (*Keys, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("a key of %d bytes, not %d", len(key), keySize)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "studyfs stage: keys of files", keySize)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	wrap, err := aead(derived)
	return &Keys{wrap}, err
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// SizeOf is the size of a file of which so many bytes lie on the disk, holes included.
func SizeOf(length int64) int64 {
	if length <= groupsAt {
		return 0
	}
	groups, rest := (length-groupsAt)/groupRoom, (length-groupsAt)%groupRoom
	if rest == 0 {
		return groups * groupSize
	}
	return max(groups-1, 0)*groupSize + min(rest, groupSize)
}

// LengthOf is how long a file of some size is on the disk.
func LengthOf(size int64) int64 {
	if size == 0 {
		return groupsAt
	}
	return groupsAt + (size+groupSize-1)/groupSize*groupRoom + size%groupSize
}

// File is an open encrypted file. It is safe for concurrent use. Its Disk is the caller's, and stays so.
type File struct {
	disk Disk
	id   [idSize]byte
	aead cipher.AEAD

	changing sync.Mutex // one change at a time; taken before mu, and not let go of while it waits for a seal

	mu      sync.Mutex // guards what follows, and the bytes on the disk
	ended   *sync.Cond // a seal has
	size    int64
	sealed  uint64 // the epoch up to which all is sealed: what carries it is durable
	sealing uint64 // the epoch that is being sealed; 0: none
	epoch   uint64 // of what is written now
	clean   bool   // nothing that was written since it was sealed can be torn
	scratch [2 * slotSize]byte
	plain   [blockSize]byte
}

// Create makes an empty file. number is whatever tells the caller's files apart; it is not kept, but has to be given again.
func (k *Keys) Create(d Disk, number uint64) (*File, error) {
	f := newFile(d)
	f.clean, f.epoch = true, 1
	rand.Read(f.id[:]) // never fails
	key := make([]byte, keySize)
	rand.Read(key)
	var err error
	if f.aead, err = aead(key); err != nil {
		return nil, fmt.Errorf("encrypted file: %w", err)
	}
	head := append([]byte(magic), f.id[:]...)
	head = k.wrap.Seal(head, nil, key, binary.LittleEndian.AppendUint64(bytes.Clone(head), number))
	if _, err := d.WriteAt(head, 0); err != nil {
		return nil, fmt.Errorf("encrypted file: %w", err)
	}
	return f, nil
}

// State is what the caller knows of a file.
type State struct {
	Length int64  // on the disk
	Sealed uint64 // what the last Seal that ended well returned; 0: none
	Clean  bool   // nothing was written since that Seal, or since Create, or not by a process that may have been interrupted
}

// Open opens a file. ErrKey: it was made with another key or number, or is no such file.
func (k *Keys) Open(d Disk, number uint64, s State) (*File, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(io.NewSectionReader(d, 0, int64(headerSize)), head); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, ErrKey
	} else if err != nil {
		return nil, fmt.Errorf("encrypted file: %w", err)
	}
	named := head[:len(magic)+idSize]
	if string(head[:len(magic)]) != magic {
		return nil, ErrKey
	}
	key, err := k.wrap.Open(nil, nil, head[len(named):], binary.LittleEndian.AppendUint64(bytes.Clone(named), number))
	if err != nil {
		return nil, ErrKey
	}
	f := newFile(d)
	copy(f.id[:], named[len(magic):])
	f.size, f.sealed, f.epoch, f.clean = SizeOf(s.Length), s.Sealed, s.Sealed+1, s.Clean
	if f.aead, err = aead(key); err != nil {
		return nil, fmt.Errorf("encrypted file: %w", err)
	}
	return f, nil
}

func newFile(d Disk) *File {
	f := &File{disk: d}
	f.ended = sync.NewCond(&f.mu)
	return f
}

// Size is the file's size.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Seal begins to seal what is written by now. look is called while nobody writes; what it is given is the size. After it, the caller has to make the
// bytes on the disk durable, note the epoch durably, and call Sealed. One at a time. A write that would need a third place for a block waits
// until then.
func (f *File) Seal(look func(size int64) error) (epoch uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.clean {
		if err := f.repair(); err != nil {
			return 0, err
		}
	}
	if err := look(f.size); err != nil {
		return 0, err
	}
	f.sealing = f.epoch
	f.epoch++
	return f.sealing, nil
}

// Sealed ends what Seal began. durable: the bytes are; from now on they are not overwritten.
func (f *File) Sealed(durable bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if durable {
		f.sealed = f.sealing
	}
	f.sealing = 0
	f.ended.Broadcast()
}

// slotAt is where a slot of a block lies.
func slotAt(block int64, which int) int64 {
	return groupsAt + block/perGroup*groupRoom + int64(which)*perGroup*slotSize + block%perGroup*slotSize
}

// slots is what lies on the disk of one block.
type slots struct {
	raw   [2][]byte
	epoch [2]uint64 // 0: empty
	bad   bool      // one has a head that nobody wrote, or bytes without a head
}

// look reads the slots of a block. The caller holds mu; what is returned counts until the next call.
func (f *File) look(block int64) (s slots, err error) {
	for i := range s.raw {
		raw := f.scratch[i*slotSize : (i+1)*slotSize]
		n, err := f.disk.ReadAt(raw, slotAt(block, i))
		if err != nil && !errors.Is(err, io.EOF) {
			return s, fmt.Errorf("encrypted file: %w", err)
		}
		clear(raw[n:])
		s.raw[i] = raw
		head := raw[:headSize]
		switch e := binary.LittleEndian.Uint64(head); {
		case allZero(head):
			s.bad = s.bad || f.clean && !allZero(raw)
		case !bytes.Equal(head, f.head(block, i, e)):
			s.bad = true
		default:
			s.epoch[i] = e
		}
	}
	return s, nil
}

func (f *File) head(block int64, which int, epoch uint64) []byte {
	b := make([]byte, headSize)
	binary.LittleEndian.PutUint64(b, epoch)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(f.bound(block, which, epoch), crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// bound is what a block cannot be taken away from.
func (f *File) bound(block int64, which int, epoch uint64) []byte {
	b := append(make([]byte, 0, idSize+16), f.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(2*block)+uint64(which))
	return binary.LittleEndian.AppendUint64(b, epoch)
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// winner decrypts the newest of the slots that can be read into dst, blockSize bytes. What was not sealed may have been torn by a crash; what
// was, may not. Without any, it is a hole.
func (f *File) winner(block int64, s slots, dst []byte) error {
	if s.bad {
		return ErrDamaged
	}
	first := 0
	if s.epoch[1] > s.epoch[0] {
		first = 1
	}
	for _, i := range [...]int{first, 1 - first} {
		e := s.epoch[i]
		if e == 0 {
			continue
		}
		if _, err := f.aead.Open(dst[:0], nil, s.raw[i][headSize:], f.bound(block, i, e)); err == nil {
			return nil
		}
		if e <= f.sealed {
			return ErrDamaged
		}
	}
	clear(dst[:blockSize])
	return nil
}

// block reads one into dst.
func (f *File) block(n int64, dst []byte) error {
	s, err := f.look(n)
	if err == nil {
		err = f.winner(n, s, dst)
	}
	return err
}

// target is where a block is to be written: never over what is sealed, or just being. -1: nowhere until the seal has ended.
func (f *File) target(s slots) int {
	newest := func(upTo uint64) int {
		best := -1
		for i, e := range s.epoch {
			if e > 0 && e <= upTo && (best < 0 || e > s.epoch[best]) {
				best = i
			}
		}
		return best
	}
	kept := newest(f.sealed)
	if f.sealing > 0 {
		if other := newest(f.sealing); kept >= 0 && other != kept {
			return -1
		} else if kept < 0 {
			kept = other
		}
	}
	if kept >= 0 {
		return 1 - kept
	}
	return max(newest(^uint64(0)), 0)
}

// put writes a block. change is given what it holds, zeros where fresh, and makes of it what it is to hold. The caller holds mu.
func (f *File) put(n int64, fresh bool, change func(b []byte)) error {
	s, err := f.look(n)
	for ; err == nil && f.target(s) < 0; s, err = f.look(n) {
		f.ended.Wait()
	}
	if err != nil {
		return err
	}
	b := f.plain[:]
	if clear(b); !fresh {
		if err := f.winner(n, s, b); err != nil {
			return err
		}
	}
	change(b)
	epoch := max(f.epoch, s.epoch[0], s.epoch[1])
	i := f.target(s)
	raw := f.aead.Seal(append(s.raw[i][:0], f.head(n, i, epoch)...), nil, b, f.bound(n, i, epoch))
	if _, err := f.disk.WriteAt(raw, slotAt(n, i)); err != nil {
		f.clean = false
		return fmt.Errorf("encrypted file: %w", err)
	}
	return nil
}
