package cache

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMissingRuns(t *testing.T) {
	tests := []struct {
		name string
		s    span
		have []int64
		want []span
	}{
		{"all missing", span{0, 3}, nil, []span{{0, 3}}},
		{"nothing missing", span{0, 2}, []int64{0, 1}, nil},
		{"hole in the middle", span{0, 5}, []int64{2}, []span{{0, 2}, {3, 5}}},
		{"ends here", span{1, 4}, []int64{1, 3}, []span{{2, 3}}},
		{"empty", span{4, 4}, nil, nil},
		{"cut at the longest run", span{0, maxRun + 1}, nil, []span{{0, maxRun}, {maxRun, maxRun + 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := missingRuns(tt.s, func(b int64) bool { return slices.Contains(tt.have, b) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestMissingRunsCoverExactlyWhatIsMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 200).Draw(t, "n")
		have := map[int64]bool{}
		for _, b := range rapid.SliceOf(rapid.Int64Range(0, 200)).Draw(t, "have") {
			have[b] = true
		}
		seen := map[int64]int{}
		for _, r := range missingRuns(span{0, n}, func(b int64) bool { return have[b] }) {
			if r.empty() || r.to-r.from > maxRun {
				t.Fatalf("run %v", r)
			}
			for b := r.from; b < r.to; b++ {
				seen[b]++
			}
		}
		for b := range n {
			want := 1
			if have[b] {
				want = 0
			}
			if seen[b] != want {
				t.Fatalf("block %d fetched %d times, want %d", b, seen[b], want)
			}
		}
	})
}

func TestCovering(t *testing.T) {
	for _, tt := range []struct {
		off, n int64
		want   span
	}{
		{0, 1, span{0, 1}},
		{0, BlockSize, span{0, 1}},
		{0, BlockSize + 1, span{0, 2}},
		{BlockSize - 1, 2, span{0, 2}},
		{BlockSize, 1, span{1, 2}},
	} {
		if got := covering(tt.off, tt.n); got != tt.want {
			t.Errorf("covering(%d, %d) = %v, want %v", tt.off, tt.n, got, tt.want)
		}
	}
}

func TestBlockMapRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newBlockMap(objectID{1, 2}, rapid.Int64Range(0, 300*BlockSize).Draw(t, "size"))
		m.mark = fileMark{size: m.size, ctime: 42, ino: 7, boot: [16]byte{9}}
		for b := range int64(len(m.sums)) {
			if rapid.Bool().Draw(t, "valid") {
				m.valid.set(b)
				m.sums[b] = rapid.Uint32().Draw(t, "sum")
			}
		}
		raw := m.encode()
		got, ok := decodeBlockMap(raw, m.id)
		if !ok {
			t.Fatal("own map not understood")
		}
		if got.size != m.size || got.mark != m.mark || !slices.Equal(got.valid, m.valid) || !slices.Equal(got.sums, m.sums) {
			t.Fatalf("got %+v, want %+v", got, m)
		}
		if _, ok := decodeBlockMap(raw, objectID{3}); ok {
			t.Fatal("map of another object believed")
		}
		i := rapid.IntRange(0, len(raw)-1).Draw(t, "flip")
		raw[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, ok := decodeBlockMap(raw, m.id); ok {
			t.Fatalf("flipped byte %d believed", i)
		}
	})
}

func TestBlockSumTellsSwappedBlocks(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 100)
	a, b := objectID{1}, objectID{2}
	if blockSum(a, 0, data) == blockSum(a, 1, data) || blockSum(a, 0, data) == blockSum(b, 0, data) {
		t.Error("the same bytes elsewhere have the same checksum")
	}
}

func FuzzDecodeBlockMap(f *testing.F) {
	m := newBlockMap(objectID{1}, 5*BlockSize+3)
	m.valid.set(2)
	f.Add(m.encode())
	f.Add([]byte(mapMagic))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, ok := decodeBlockMap(raw, objectID{1})
		if ok && !bytes.Equal(m.encode(), raw) {
			t.Errorf("decoded to something else: %x", raw)
		}
	})
}
