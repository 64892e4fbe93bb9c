package cache

// BlockSize is the unit of validity, checksum and fetch: 32 KiB. A read of 128 KiB at any offset then fetches 1.25 times its bytes; with
// blocks of 128 KiB it was 2 times.
const BlockSize = 32 << 10

// leastFetch is what a small random read fetches, the neighbours of its bytes on both sides: 128 KiB take hardly longer than a few bytes, and
// what was read once is often read on.
const leastFetch = 128 << 10

// maxRun bounds one request to a source. A stream of this length serves many blocks while it can still be spread
// over several connections: at 20 ms per request and 1 Gbit/s, 4 MiB take 34 ms.
const maxRun = 4 << 20 / BlockSize

// extentBlocks is the unit of eviction: 1 MiB. Punching a hole costs 0.4 ms whatever its size up to there.
const extentBlocks = 1 << 20 / BlockSize

// span is a run of blocks [from, to) of one object.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.from >= s.to }

// covering returns the blocks that hold the n bytes at off. n > 0.
func covering(off, n int64) span {
	return span{off / BlockSize, (off+n-1)/BlockSize + 1}
}

// around returns s with what else is fetched for a read at random that asks for n bytes.
func around(s span, n, size int64) span {
	const group = leastFetch / BlockSize
	if n > BlockSize {
		return s
	}
	return span{s.from - s.from%group, min((s.to+group-1)/group*group, blockCount(size))}
}

// blockCount returns how many blocks an object of size bytes has.
func blockCount(size int64) int64 { return (size + BlockSize - 1) / BlockSize }

// extentCount returns how many extents an object of size bytes has.
func extentCount(size int64) int64 { return (blockCount(size) + extentBlocks - 1) / extentBlocks }

// bytesOf returns the offset and the length of s in an object of size bytes.
func bytesOf(s span, size int64) (off, n int64) {
	off = s.from * BlockSize
	return off, min(s.to*BlockSize, size) - off
}

// missingRuns cuts s into the runs of blocks for which have is false, none longer than maxRun. The first run starts
// where s does or later; the runs are in order and disjoint.
func missingRuns(s span, have func(block int64) bool) []span {
	var runs []span
	for b := s.from; b < s.to; b++ {
		if have(b) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].to == b && b-runs[last].from < maxRun {
			runs[last].to++
			continue
		}
		runs = append(runs, span{b, b + 1})
	}
	return runs
}

// bitmap is a set of block numbers.
type bitmap []uint64

func newBitmap(n int64) bitmap { return make(bitmap, (n+63)/64) }

func (m bitmap) has(i int64) bool { return m[i/64]&(1<<(i%64)) != 0 }
func (m bitmap) set(i int64)      { m[i/64] |= 1 << (i % 64) }
func (m bitmap) clear(i int64)    { m[i/64] &^= 1 << (i % 64) }
