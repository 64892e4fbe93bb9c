package crypt

import "math"

// The payload of an age file: chunks, each with a tag behind.
const (
	chunkSize  = 64 << 10
	tagSize    = 16
	sealedSize = chunkSize + tagSize
	nonceSize  = 16 // in front of the payload
)

// chunks is how many a plaintext has. An empty one has one, too.
func chunks(plain int64) int64 { return max(1, plain/chunkSize+min(1, plain%chunkSize)) }

// sealed is the length of the payload of a plaintext.
func sealed(plain int64) int64 { return plain + tagSize*chunks(plain) }

// unsealed is the length of the plaintext in a payload of n bytes, false if no payload can be that long.
func unsealed(n int64) (int64, bool) {
	if n < tagSize || n > math.MaxInt64-sealedSize {
		return 0, false
	}
	full, rest := n/sealedSize, n%sealedSize
	switch {
	case rest == 0:
		return full * chunkSize, true
	case rest < tagSize, rest == tagSize && full > 0: // only an empty plaintext has an empty chunk
		return 0, false
	}
	return full*chunkSize + rest - tagSize, true
}

// layout is where things lie in an age object.
type layout struct {
	payload int64 // offset of the first chunk
	size    int64 // of the plaintext
}

// layoutOf is that of an object of size bytes whose first chunk lies at payload.
func layoutOf(size, payload int64) (layout, bool) {
	n, ok := unsealed(size - payload)
	return layout{payload, n}, ok && payload >= minAge-tagSize
}

// last is the number of the last chunk.
func (l layout) last() int64 { return chunks(l.size) - 1 }

// span is where the chunks from first to last lie.
func (l layout) span(first, last int64) (off, n int64) {
	off = first * sealedSize
	end := min((last+1)*sealedSize, sealed(l.size))
	return l.payload + off, end - off
}

// sent is how much plaintext has gone out with the first n bytes of the object.
func (l layout) sent(n int64) int64 {
	n -= l.payload
	if n <= 0 {
		return 0
	}
	return min(n/sealedSize*chunkSize+min(n%sealedSize, chunkSize), l.size)
}
