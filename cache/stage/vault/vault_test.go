package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
)

// memDisk is a disk in memory that minds what was written since the last sync.
type memDisk struct {
	b     []byte
	sure  []byte
	since []change
	fail  func() error
}

type change struct {
	at   int64 // of a write; -1: a length
	data []byte
	size int64
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(d.b)) {
		return 0, io.EOF
	}
	n := copy(p, d.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *memDisk) WriteAt(p []byte, off int64) (int, error) {
	if d.fail != nil {
		if err := d.fail(); err != nil {
			d.do(change{at: off, data: bytes.Clone(p[:len(p)/2])})
			return len(p) / 2, err
		}
	}
	d.do(change{at: off, data: bytes.Clone(p)})
	return len(p), nil
}

func (d *memDisk) Truncate(size int64) error {
	d.do(change{at: -1, size: size})
	return nil
}

func (d *memDisk) do(c change) {
	d.since = append(d.since, c)
	d.b = c.apply(d.b, nil)
}

func (d *memDisk) sync() { d.sure, d.since = bytes.Clone(d.b), nil }

func (c change) apply(b []byte, sector func(int64) bool) []byte {
	end := c.size
	if c.at >= 0 {
		end = max(int64(len(b)), c.at+int64(len(c.data)))
	}
	if end <= int64(len(b)) {
		b = b[:end]
	} else {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	for i := range c.data {
		if at := c.at + int64(i); sector == nil || sector(at/512) {
			b[at] = c.data[i]
		}
	}
	return b
}

// crash leaves of what was written since the last sync whatever the dice say, sector by sector. Lengths keep their order, and what was written where a
// lost truncation had made room does not land on what was there: it had other blocks of the disk.
func (d *memDisk) crash(rng *rand.Rand) []byte {
	b := bytes.Clone(d.sure)
	kept, until := rng.IntN(len(d.since)+1), int64(math.MaxInt64)
	for i, c := range d.since {
		switch dice := rng.IntN(4); {
		case c.at < 0 && i < kept:
			b = c.apply(b, nil)
		case c.at < 0:
			until = min(until, c.size)
		case c.at >= min(until, int64(len(b))) || dice == 0:
		case dice == 1:
			b = c.apply(b, nil)
		default:
			odd := rng.Uint64()
			b = c.apply(b, func(s int64) bool { return odd>>(uint64(s)%64)&1 == 1 })
		}
	}
	return b
}

func keys(t testing.TB, first byte) *Keys {
	t.Helper()
	k, err := NewKeys(bytes.Repeat([]byte{first}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func all(t testing.TB, f *File) []byte {
	t.Helper()
	b := make([]byte, f.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func seal(t testing.TB, f *File, d *memDisk) (epoch uint64) {
	t.Helper()
	epoch, err := f.Seal(func(int64) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	d.sync()
	f.Sealed(true)
	return epoch
}

// step does one thing to a file and to what it is to hold.
func step(t testing.TB, rng *rand.Rand, f *File, want []byte, most int) []byte {
	t.Helper()
	off := rng.IntN(most)
	n := 1 + rng.IntN([]int{10, blockSize, 5 * blockSize, most / 2}[rng.IntN(4)])
	if rng.IntN(3) == 0 {
		off, n = off/blockSize*blockSize, (n+blockSize-1)/blockSize*blockSize
	}
	var err error
	switch rng.IntN(6) {
	case 0:
		err = f.Truncate(int64(off))
		want = change{at: -1, size: int64(off)}.apply(want, nil)
	case 1:
		err = f.Zero(int64(off), int64(n))
		if off < len(want) {
			clear(want[off:min(len(want), off+n)])
		}
	default:
		p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, n)
		_, err = f.WriteAt(p, int64(off))
		want = change{at: int64(off), data: p}.apply(want, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// An encrypted file is to a program what a clear one is.
func TestAFileHoldsWhatWasWritten(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		most := []int{3 * blockSize, 3 * groupSize}[seed%2]
		d := &memDisk{}
		f, err := keys(t, 1).Create(d, 7)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		epoch := uint64(0)
		for i := range 60 {
			want = step(t, rng, f, want, most)
			if got := all(t, f); !bytes.Equal(got, want) {
				t.Fatalf("seed %d, step %d: %d bytes, want %d", seed, i, len(got), len(want))
			}
			if SizeOf(int64(len(d.b))) != int64(len(want)) {
				t.Fatalf("seed %d, step %d: by its length it has %d bytes, not %d", seed, i, SizeOf(int64(len(d.b))), len(want))
			}
			clean := rng.IntN(4) == 0
			if clean {
				epoch = seal(t, f, d)
			}
			if rng.IntN(4) == 0 {
				if f, err = keys(t, 1).Open(d, 7, State{int64(len(d.b)), epoch, clean}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// A power cut while somebody wrote into a file that had been closed: every byte is one that was written there, and what nobody has touched since is as it
// was closed. Then it can be read, written and closed again.
func TestTornWritesTakeNothingThatWasSealed(t *testing.T) {
	seeds := uint64(50)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		most := []int{3 * blockSize, groupSize + 3*blockSize}[seed%2]
		d := &memDisk{}
		f, err := keys(t, 1).Create(d, 7)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		epoch := uint64(0)
		for range 4 {
			for range 3 {
				want = step(t, rng, f, want, most)
			}
			epoch = seal(t, f, d)
			versions := [][]byte{bytes.Clone(want)}
			for range 3 {
				want = step(t, rng, f, want, most)
				versions = append(versions, bytes.Clone(want))
			}
			d.b = d.crash(rng)
			d.sync()
			if f, err = keys(t, 1).Open(d, 7, State{Length: int64(len(d.b)), Sealed: epoch}); err != nil {
				t.Fatal(err)
			}
			want = all(t, f)
			if why := mixed(want, versions); why != "" {
				t.Fatalf("seed %d: %s", seed, why)
			}
			epoch = seal(t, f, d)
			if f, err = keys(t, 1).Open(d, 7, State{Length: int64(len(d.b)), Sealed: epoch, Clean: true}); err != nil {
				t.Fatal(err)
			}
			if got := all(t, f); !bytes.Equal(got, want) {
				t.Fatalf("seed %d: sealing after a crash has changed bytes", seed)
			}
		}
	}
}

// mixed minds bytes that were never there, and those that never changed but are gone.
func mixed(is []byte, versions [][]byte) string {
	for i, b := range is {
		same, known := true, b == 0
		for _, v := range versions {
			has := i < len(v)
			known = known || has && v[i] == b
			same = same && has && v[i] == versions[0][i]
		}
		if !known || same && b != versions[0][i] {
			var had []int
			for _, v := range versions {
				if had = append(had, -1); i < len(v) {
					had[len(had)-1] = int(v[i])
				}
			}
			return fmt.Sprintf("byte %d of %d is %d, and was, one after the other, %v", i, len(is), b, had)
		}
	}
	return ""
}

// While a seal is under way, a program goes on writing: what is being sealed is what is found after a crash, and what it writes after is there as well.
func TestWritesDuringASealWaitWhereTheyMust(t *testing.T) {
	d := &memDisk{}
	f, err := keys(t, 1).Create(d, 7)
	if err != nil {
		t.Fatal(err)
	}
	write := func(c byte) {
		if _, err := f.WriteAt([]byte{c}, 0); err != nil {
			t.Error(err)
		}
	}
	write('a')
	seal(t, f, d)
	write('b')
	if _, err := f.Seal(func(int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		write('c')
	}()
	if got := all(t, f); string(got) != "b" { // it cannot have come: both places are taken
		t.Errorf("%q", got)
	}
	d.sync()
	f.Sealed(true)
	<-done
	if got := all(t, f); string(got) != "c" {
		t.Errorf("%q", got)
	}
	d.b = bytes.Clone(d.sure)
	if f, err = keys(t, 1).Open(d, 7, State{Length: int64(len(d.b)), Sealed: 2, Clean: true}); err != nil {
		t.Fatal(err)
	}
	if got := all(t, f); string(got) != "b" {
		t.Errorf("what was sealed is %q after a crash", got)
	}
}

// A write that the disk breaks off leaves what was there, and does not keep the file from being sealed.
func TestAWriteThatFailsHalfWayLeavesTheFileReadable(t *testing.T) {
	d := &memDisk{}
	f, _ := keys(t, 1).Create(d, 7)
	f.WriteAt(bytes.Repeat([]byte{1}, 2*blockSize), 0)
	seal(t, f, d)
	d.fail = func() error { return errors.New("full") }
	if _, err := f.WriteAt(bytes.Repeat([]byte{2}, 3*blockSize), blockSize); err == nil {
		t.Fatal("no error")
	}
	d.fail = nil
	for range 2 {
		if got := all(t, f); !bytes.Equal(got, bytes.Repeat([]byte{1}, 2*blockSize)) {
			t.Errorf("%d bytes, other ones", len(got))
		}
		seal(t, f, d)
	}
}

// Nobody's file can be opened with another key, or be put in another one's place.
func TestAFileNeedsItsKeyAndItsNumber(t *testing.T) {
	d := &memDisk{}
	if _, err := keys(t, 1).Create(d, 7); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key    byte
		number uint64
		want   error
	}{{1, 7, nil}, {2, 7, ErrKey}, {1, 8, ErrKey}} {
		if _, err := keys(t, c.key).Open(d, c.number, State{Clean: true}); !errors.Is(err, c.want) {
			t.Errorf("key %d, number %d: %v", c.key, c.number, err)
		}
	}
	if _, err := keys(t, 1).Open(&memDisk{b: []byte("clear")}, 7, State{}); !errors.Is(err, ErrKey) {
		t.Errorf("a clear file: %v", err)
	}
	if _, err := NewKeys([]byte("short")); err == nil {
		t.Error("a short key is taken")
	}
}

// sealedFile is what lies on the disk of a file that was written, sealed, changed and sealed.
func sealedFile(t testing.TB) (raw, plain []byte, epoch uint64) {
	t.Helper()
	d := &memDisk{}
	f, err := keys(t, 1).Create(d, 7)
	if err != nil {
		t.Fatal(err)
	}
	plain = bytes.Repeat([]byte("All Bytes Are Right."), 2000)
	f.WriteAt(plain, 0)
	seal(t, f, d)
	f.WriteAt([]byte("now"), 5000)
	copy(plain[5000:], "now")
	epoch = seal(t, f, d)
	if bytes.Contains(d.b, []byte("Bytes")) {
		t.Fatal("it lies there in clear")
	}
	return d.b, plain, epoch
}

// Whatever becomes of the bytes on the disk: what is read is right, or an error. Two things show in what is sealed beside the file: that it is shorter, and that both
// places of a block are zeros.
func FuzzDamage(f *testing.F) {
	raw, plain, epoch := sealedFile(f)
	for _, at := range []uint32{0, 20, 40, 4096, 4105, 4120, 4140, 4200, 8200, 8256, uint32(slotAt(1, 1)), uint32(slotAt(1, 0)) + 9} {
		f.Add(at, byte(1), uint8(0), uint8(0))
		f.Add(at, byte(0x80), uint8(1), uint8(2))
	}
	f.Fuzz(func(t *testing.T, at uint32, flip byte, from, to uint8) {
		d := &memDisk{b: bytes.Clone(raw)}
		d.b[int(at)%len(d.b)] ^= flip
		if from != to { // one slot's bytes in another one's place
			a, b := slotAt(int64(from%64), int(from>>6&1)), slotAt(int64(to%64), int(to>>6&1))
			copy(d.b[b:b+slotSize], d.b[a:a+slotSize])
		}
		file, err := keys(t, 1).Open(d, 7, State{int64(len(d.b)), epoch, true})
		if err != nil {
			return
		}
		for off := 0; off < len(plain); off += blockSize {
			n := min(blockSize, len(plain)-off)
			got := make([]byte, n)
			if _, err := file.ReadAt(got, int64(off)); err != nil {
				continue
			}
			block := int64(off / blockSize)
			gone := allZero(d.b[slotAt(block, 0):slotAt(block, 0)+slotSize]) && allZero(d.b[slotAt(block, 1):slotAt(block, 1)+slotSize])
			older := block == 1 && allZero(d.b[slotAt(block, 1):slotAt(block, 1)+slotSize])
			if !bytes.Equal(got, plain[off:off+n]) && !gone && !older {
				t.Fatalf("block %d is wrong: flip %x at %d, %d over %d", block, flip, at, from, to)
			}
		}
	})
}

// Every single flipped bit of what counts is found.
func TestEveryFlippedBitIsAnError(t *testing.T) {
	raw, plain, epoch := sealedFile(t)
	rng := rand.New(rand.NewPCG(1, 1))
	times := 3000
	if testing.Short() {
		times = 100
	}
	for range times {
		block := int64(rng.IntN((len(plain) + blockSize - 1) / blockSize))
		which := 0
		if block == 1 {
			which = 1
		}
		d := &memDisk{b: bytes.Clone(raw)}
		at := slotAt(block, which) + int64(rng.IntN(slotSize))
		d.b[at] ^= 1 << rng.IntN(8)
		f, err := keys(t, 1).Open(d, 7, State{int64(len(d.b)), epoch, true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(make([]byte, 1), block*blockSize); !errors.Is(err, ErrDamaged) {
			t.Fatalf("block %d, a bit at %d of its slot: %v", block, at-slotAt(block, which), err)
		}
	}
}

// Programs that look for holes find those that were left.
func TestHolesAreFound(t *testing.T) {
	d := &memDisk{}
	f, _ := keys(t, 1).Create(d, 7)
	far := int64(5*groupSize + 3*blockSize)
	f.WriteAt([]byte("a"), blockSize)
	f.WriteAt([]byte("b"), far)
	f.Truncate(far + 3*blockSize)
	skip := func(at int64) int64 {
		for ; at < int64(len(d.b)); at += 64 {
			if !allZero(d.b[at : at+64]) {
				return at
			}
		}
		return -1
	}
	for _, c := range []struct {
		off  int64
		hole bool
		want int64
	}{
		{0, true, 0},
		{0, false, blockSize},
		{blockSize, true, 2 * blockSize},
		{2 * blockSize, false, far},
		{far + 1, false, far + 1},
		{far, true, far + blockSize},
		{far + blockSize, false, -1},
		{far + 3*blockSize, true, -1},
	} {
		if got, err := f.Next(c.off, c.hole, skip); got != c.want || err != nil {
			t.Errorf("from %d, hole %v: %d, want %d (%v)", c.off, c.hole, got, c.want, err)
		}
	}
}

// A program that opens an empty file with O_TRUNC moves its times: the disk has to hear of it.
func TestChangesOfNothingReachTheDisk(t *testing.T) {
	d := &memDisk{}
	f, _ := keys(t, 1).Create(d, 7)
	for name, change := range map[string]func() error{
		"truncate": func() error { return f.Truncate(0) },
		"zero":     func() error { return f.Zero(0, blockSize) },
	} {
		d.sync()
		if err := change(); err != nil || len(d.since) == 0 || f.Size() != 0 {
			t.Errorf("%s: %v, %d calls, %d bytes", name, err, len(d.since), f.Size())
		}
	}
}
