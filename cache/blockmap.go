package cache

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// A block map says which blocks of an object's data file are whole, and what they must sum up to. It lies beside the
// data file and is only ever believed as far as it can be checked: a map that fails any test here is a miss.
//
//	offset  size  field (little endian)
//	0       8     magic "sfsmap1\n"
//	8       16    id of the object version: keyed hash of name and version
//	24      8     size of the object
//	32      4     block size
//	36      4     zero
//	40      40    mark of the data file when the map was written (see fileMark)
//	80      8·w   bitmap of valid blocks, w = ceil(blocks/64)
//	        4·v   CRC-32C of every valid block, in order, seeded with id and block number
//	        4     CRC-32C of all before
type blockMap struct {
	id    objectID
	size  int64
	mark  fileMark
	valid bitmap
	sums  []uint32 // one per block; meaningful where valid
}

type objectID [16]byte

// fileMark identifies the state of a data file: nobody can change its bytes through the file system without moving
// the ctime. boot is the kernel's boot id, since after a crash the inode can be newer than the bytes.
type fileMark struct {
	size  int64
	ctime int64 // nanoseconds
	ino   uint64
	boot  [16]byte
}

const (
	mapMagic  = "sfsmap1\n"
	mapHeader = 80
)

func newBlockMap(id objectID, size int64) *blockMap {
	n := blockCount(size)
	return &blockMap{id: id, size: size, valid: newBitmap(n), sums: make([]uint32, n)}
}

func (m *blockMap) count() (valid int64) {
	for _, w := range m.valid {
		valid += int64(bits.OnesCount64(w))
	}
	return valid
}

// bytesIn returns how many bytes the valid blocks of s hold.
func (m *blockMap) bytesIn(s span) (n int64) {
	for b := s.from; b < s.to; b++ {
		if m.valid.has(b) {
			_, k := bytesOf(span{b, b + 1}, m.size)
			n += k
		}
	}
	return n
}

func (m *blockMap) encode() []byte {
	b := make([]byte, 0, mapHeader+8*len(m.valid)+4*len(m.sums)+4)
	b = append(b, mapMagic...)
	b = append(b, m.id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.size))
	b = binary.LittleEndian.AppendUint32(b, BlockSize)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.mark.size))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.mark.ctime))
	b = binary.LittleEndian.AppendUint64(b, m.mark.ino)
	b = append(b, m.mark.boot[:]...)
	for _, w := range m.valid {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	for i, sum := range m.sums {
		if m.valid.has(int64(i)) {
			b = binary.LittleEndian.AppendUint32(b, sum)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

// decodeBlockMap returns the map of id that b holds, or false: damaged, of another object, of another format. It
// allocates no more than b's own length asks for.
func decodeBlockMap(b []byte, id objectID) (*blockMap, bool) {
	if len(b) < mapHeader+4 || string(b[:8]) != mapMagic || objectID(b[8:24]) != id {
		return nil, false
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli()) != sum || binary.LittleEndian.Uint32(b[32:]) != BlockSize {
		return nil, false
	}
	size := int64(binary.LittleEndian.Uint64(b[24:]))
	if size < 0 || (blockCount(size)+63)/64 > int64(len(body)-mapHeader)/8 {
		return nil, false
	}
	m := newBlockMap(id, size)
	m.mark = fileMark{
		size:  int64(binary.LittleEndian.Uint64(b[40:])),
		ctime: int64(binary.LittleEndian.Uint64(b[48:])),
		ino:   binary.LittleEndian.Uint64(b[56:]),
		boot:  [16]byte(b[64:80]),
	}
	rest := body[mapHeader:]
	for i := range m.valid {
		m.valid[i] = binary.LittleEndian.Uint64(rest[8*i:])
	}
	return m, m.readSums(rest[8*len(m.valid):])
}

func (m *blockMap) readSums(b []byte) bool {
	if tail := int64(len(m.sums)) % 64; tail != 0 && m.valid[len(m.valid)-1]>>tail != 0 {
		return false // bits beyond the last block
	}
	for i := range m.sums {
		if !m.valid.has(int64(i)) {
			continue
		}
		if len(b) < 4 {
			return false
		}
		m.sums[i] = binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	return len(b) == 0
}

// blockSum is the checksum of one block's bytes. It is seeded with the object and the block's number, so a block that
// was swapped with another one, of this file or of another, does not pass.
func blockSum(id objectID, block int64, data []byte) uint32 {
	var seed [24]byte
	copy(seed[:], id[:])
	binary.LittleEndian.PutUint64(seed[16:], uint64(block))
	t := castagnoli()
	return crc32.Update(crc32.Checksum(seed[:], t), t, data)
}

// castagnoli returns the standard library's own table; MakeTable hands out the one instance without computing.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
