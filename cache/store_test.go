package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"studyfs/backends"
)

func TestSmallFileIsOneRequestAndPinned(t *testing.T) {
	src := newFake()
	e := src.put("day.csv", 1, 90_000)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, ok := r.Pin()
	if !ok {
		t.Fatal("a small file is not complete after open")
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil || !bytes.Equal(got, content(1, 0, e.Size)) {
		t.Fatalf("pinned file differs: %d bytes, %v", len(got), err)
	}
	readAndCompare(t, r, 1, 1000, 5000)
	if n := src.count(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	if st := s.State(e); st != Cached {
		t.Errorf("state %v", st)
	}
}

func TestEmptyObjectCostsNoRequest(t *testing.T) {
	src := newFake()
	e := src.put("empty", 1, 0)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := r.ReadAt(t.Context(), make([]byte, 10), 0); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d, %v", n, err)
	}
	if src.count() != 0 {
		t.Error("asked for an empty object")
	}
}

func TestRandomReadsCostOneBlockEach(t *testing.T) {
	src := newFake()
	e := src.put("image.nii", 1, 256<<20)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		readAndCompare(t, r, 1, rnd.Int64N(e.Size/4096)*4096, 4096)
	}
	r.Close()
	if n, b := src.count(), src.bytes(); n > 100 || b > 13<<20 {
		t.Errorf("%d requests, %d bytes; budget 100 and 13 MiB", n, b)
	}
}

func TestSequentialReadFetchesEveryByteOnce(t *testing.T) {
	src := newFake()
	e := src.put("big", 1, 40<<20+777)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < e.Size; off += 128 << 10 {
		readAndCompare(t, r, 1, off, min(128<<10, e.Size-off))
	}
	r.Close()
	if b := src.bytes(); b != e.Size {
		t.Errorf("fetched %d bytes of %d", b, e.Size)
	}
	if in, _ := s.cache.Memory(); in != 0 {
		t.Errorf("%d bytes of buffers in use when idle", in)
	}
}

func TestRestartKeepsTheBytes(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	small, big := src.put("small", 1, 100_000), src.put("big", 1, 10<<20)
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{})
	mustRead(t, s, small, 1, 0, small.Size)
	mustRead(t, s, big, 1, 5<<20, 300_000)
	stop()
	before := src.count()
	s, _ = openStore(t, src, dir, Options{}, SourceOptions{})
	if st := s.State(big); st != Partial {
		t.Errorf("state %v", st)
	}
	mustRead(t, s, small, 1, 0, small.Size)
	mustRead(t, s, big, 1, 5<<20, 300_000)
	if n := src.count() - before; n != 0 {
		t.Errorf("%d requests after a restart", n)
	}
}

// A reader that is killed must not fail those who wait for the same block (a naive single flight failed 100 of 100).
func TestManyReadersOneRequestLeaderLeaves(t *testing.T) {
	src := newFake()
	e := src.put("big", 1, 8<<20)
	gate := make(chan struct{})
	src.onGet = func(string, int64) error { <-gate; return nil }
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	open := func() *Reader {
		r, err := s.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	leader := open()
	ctx, kill := context.WithCancel(t.Context())
	led := make(chan error, 1)
	go func() {
		_, err := leader.ReadAt(ctx, make([]byte, 4096), 4<<20)
		led <- err
	}()
	for src.count() == 0 {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	for range 100 {
		r := open()
		wg.Go(func() {
			defer r.Close()
			p := make([]byte, 4096)
			if _, err := r.ReadAt(t.Context(), p, 4<<20); err != nil || !bytes.Equal(p, content(1, 4<<20, 4096)) {
				t.Errorf("waiter: %v", err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	kill()
	if err := <-led; !errors.Is(err, context.Canceled) {
		t.Errorf("killed leader: %v", err)
	}
	leader.Close()
	close(gate)
	wg.Wait()
	if n := src.count(); n != 1 {
		t.Errorf("%d requests for one block, want 1", n)
	}
}

func TestLastReaderLeavingCancelsTheFetch(t *testing.T) {
	src := newFake()
	e := src.put("big", 1, 8<<20)
	ended := make(chan struct{})
	s, _ := openStore(t, stalling{src, ended}, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.ReadAt(ctx, make([]byte, 10), 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	r.Close()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the fetch goes on though nobody waits")
	}
}

type stalling struct {
	*fakeSource
	ended chan struct{}
}

func (s stalling) ReadRange(ctx context.Context, _ backends.Entry, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	close(s.ended)
	return nil, ctx.Err()
}

func TestReplacedWhileOpenIsNeverAMix(t *testing.T) {
	src := newFake()
	e := src.put("day.csv", 1, 6<<20)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readAndCompare(t, r, 1, 5<<20, 1000)
	e2 := src.put("day.csv", 2, 6<<20)
	readAndCompare(t, r, 1, 5<<20, 1000) // its own version, from the cache
	if _, err := r.ReadAt(t.Context(), make([]byte, 1000), 3<<20); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("missing block of a replaced object: %v", err)
	}
	if _, err := s.Open(t.Context(), src.put("small", 2, 10)); err != nil {
		t.Error(err)
	}
	mustRead(t, s, e2, 2, 3<<20, 3<<20)
	readAndCompare(t, r, 1, 5<<20, 1000)
}

func TestOpenOfReplacedSmallObjectSaysChanged(t *testing.T) {
	src := newFake()
	e := src.put("day.csv", 1, 1000)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	src.put("day.csv", 2, 1000)
	if _, err := s.Open(t.Context(), e); !errors.Is(err, backends.ErrChanged) {
		t.Errorf("got %v, want ErrChanged", err)
	}
}

// A block flipped, truncated or swapped on disk while nobody has the file open must be noticed and fetched again.
func TestDamageOnDiskIsFoundAndHealed(t *testing.T) {
	damage := map[string]func(t *testing.T, a, b string, rnd *rand.Rand){
		"flip":         func(t *testing.T, a, _ string, rnd *rand.Rand) { flip(t, a, rnd) },
		"truncate":     func(t *testing.T, a, _ string, rnd *rand.Rand) { check(t, os.Truncate(a, rnd.Int64N(1<<20))) },
		"swap files":   func(t *testing.T, a, b string, _ *rand.Rand) { swap(t, a, b) },
		"swap blocks":  swapBlocks,
		"flip map":     func(t *testing.T, a, _ string, rnd *rand.Rand) { flip(t, mapOf(a), rnd) },
		"cut map":      func(t *testing.T, a, _ string, _ *rand.Rand) { check(t, os.Truncate(mapOf(a), 50)) },
		"other's map":  func(t *testing.T, a, b string, _ *rand.Rand) { swap(t, mapOf(a), mapOf(b)) },
		"other's pair": func(t *testing.T, a, b string, _ *rand.Rand) { swap(t, a, b); swap(t, mapOf(a), mapOf(b)) },
		"remove data":  func(t *testing.T, a, _ string, _ *rand.Rand) { check(t, os.Remove(a)) },
		"zeroed": func(t *testing.T, a, _ string, _ *rand.Rand) {
			check(t, os.Truncate(a, 0))
			check(t, os.Truncate(a, 1<<20))
		},
	}
	tries := 10
	if os.Getenv("STUDYFS_FULL") != "" {
		tries = 1000
	}
	for name, do := range damage {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(len(name))))
			src, dir := newFake(), t.TempDir()
			a, b := src.put("a", 1, 1<<20), src.put("b", 2, 1<<20)
			s, _ := openStore(t, src, dir, Options{}, SourceOptions{SmallFile: rnd.Int64N(2) << 21})
			for range tries {
				mustRead(t, s, a, 1, 0, a.Size)
				mustRead(t, s, b, 2, 0, b.Size)
				do(t, s.dataPath(s.idOf(a)), s.dataPath(s.idOf(b)), rnd)
				before := src.count()
				r, err := s.Open(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				if f, ok := r.Pin(); ok {
					got := make([]byte, a.Size)
					if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, content(1, 0, a.Size)) {
						t.Fatal("damaged bytes handed to the kernel")
					}
				}
				readAndCompare(t, r, 1, 0, a.Size)
				r.Close()
				if src.count() == before {
					t.Fatal("nothing was fetched again")
				}
				mustRead(t, s, b, 2, 0, b.Size)
			}
		})
	}
}

func mapOf(data string) string { return strings.TrimSuffix(data, ".data") + ".map" }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, rnd *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	info, err := f.Stat()
	check(t, err)
	b, at := make([]byte, 1), rnd.Int64N(info.Size())
	_, err = f.ReadAt(b, at)
	check(t, err)
	b[0] ^= 1 << rnd.IntN(8)
	_, err = f.WriteAt(b, at)
	check(t, err)
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	check(t, os.Rename(a, a+".tmp"))
	check(t, os.Rename(b, a))
	check(t, os.Rename(a+".tmp", b))
}

func swapBlocks(t *testing.T, a, _ string, _ *rand.Rand) {
	t.Helper()
	f, err := os.OpenFile(a, os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	x, y := make([]byte, BlockSize), make([]byte, BlockSize)
	_, err = f.ReadAt(x, 0)
	check(t, err)
	_, err = f.ReadAt(y, 3*BlockSize)
	check(t, err)
	_, err = f.WriteAt(y, 0)
	check(t, err)
	_, err = f.WriteAt(x, 3*BlockSize)
	check(t, err)
}

func TestEvictionKeepsTheLimitAndPinnedFiles(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	s, _ := openStore(t, src, dir, Options{MaxBytes: 8 << 20}, SourceOptions{})
	pinned := src.put("pinned", 1, 2<<20)
	r, err := s.Open(t.Context(), pinned)
	check(t, err)
	defer r.Close()
	f, ok := r.Pin()
	if !ok {
		t.Fatal("not pinned")
	}
	for i := range 20 {
		name := string(rune('a' + i))
		e := src.put(name, i, 2<<20)
		mustRead(t, s, e, i, 0, e.Size)
		if b := s.Stats().Bytes; b > 8<<20 {
			t.Fatalf("%d bytes cached, limit %d", b, 8<<20)
		}
	}
	got := make([]byte, pinned.Size)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, content(1, 0, pinned.Size)) {
		t.Error("a pinned file lost bytes to eviction")
	}
	if s.Stats().Evicted == 0 {
		t.Error("nothing was evicted")
	}
	if used := diskUse(t, dir); used > 9<<20 {
		t.Errorf("%d bytes on disk", used)
	}
}

func TestEvictionGoesOnAfterARestart(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	s, stop := openStore(t, src, dir, Options{MaxBytes: 64 << 20}, SourceOptions{})
	for i := range 10 {
		e := src.put(string(rune('a'+i)), i, 2<<20)
		mustRead(t, s, e, i, 0, e.Size)
	}
	stop()
	s, _ = openStore(t, src, dir, Options{MaxBytes: 6 << 20}, SourceOptions{})
	for deadline := time.Now().Add(time.Minute); diskUse(t, dir) > 7<<20; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes on disk, limit 6 MiB; the store says %d", diskUse(t, dir), s.Stats().Bytes)
		}
	}
}

func diskUse(t *testing.T, dir string) (n int64) {
	t.Helper()
	check(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err == nil && strings.HasSuffix(path, ".data") {
			var b int64
			b, err = allocated(path)
			n += b
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // evicted while we look
		}
		return err
	}))
	return n
}

func TestNamesDoNotReachTheDisk(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	s, stop := openStore(t, src, dir, Options{}, SourceOptions{})
	e := src.put("sub-SURNAME/day.csv", 1, 1000)
	mustRead(t, s, e, 1, 0, 1000)
	stop()
	check(t, filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if strings.Contains(path, "SURNAME") || strings.Contains(path, "day.csv") {
			t.Errorf("name in %s", path)
		}
		return err
	}))
}

func TestUnusableCacheDirectoryStillReads(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	small, big := src.put("small", 1, 1000), src.put("big", 1, 8<<20)
	s, _ := openStore(t, src, dir, Options{}, SourceOptions{})
	check(t, os.WriteFile(filepath.Join(dir, "blocks"), nil, 0o600)) // no directory can be made there
	mustRead(t, s, small, 1, 0, 1000)
	mustRead(t, s, big, 1, 5<<20, 200_000)
	mustRead(t, s, big, 1, 0, 200_000)
}

func TestSecondProcessGetsAPrivateCache(t *testing.T) {
	src, dir := newFake(), filepath.Join(t.TempDir(), "id")
	e := src.put("a", 1, 1000)
	one, _ := openStore(t, src, dir, Options{}, SourceOptions{})
	two, stop := openStore(t, src, dir, Options{}, SourceOptions{})
	mustRead(t, one, e, 1, 0, 1000)
	mustRead(t, two, e, 1, 0, 1000)
	private := two.home.dir
	if private == one.home.dir {
		t.Fatal("two stores share a directory")
	}
	stop()
	if _, err := os.Stat(private); !os.IsNotExist(err) {
		t.Errorf("private directory is left: %v", err)
	}
}

func TestRefusedKeysCloseTheCacheToo(t *testing.T) {
	src := newFake()
	e := src.put("a", 1, 1000)
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	mustRead(t, s, e, 1, 0, 1000)
	src.mu.Lock()
	src.trouble = backends.ErrAuth
	src.mu.Unlock()
	if _, err := s.Open(t.Context(), e); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.Lookup(t.Context(), "a"); !errors.Is(err, backends.ErrAuth) {
		t.Errorf("lookup: %v", err)
	}
	src.mu.Lock()
	src.trouble = nil
	src.mu.Unlock()
	mustRead(t, s, e, 1, 0, 1000)
}

func TestDroppedObjectLeavesTheDisk(t *testing.T) {
	src, dir := newFake(), t.TempDir()
	e := src.put("a", 1, 1<<20)
	s, _ := openStore(t, src, dir, Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	check(t, err)
	s.dropAll([]backends.Entry{e})
	if used := diskUse(t, dir); used != 0 {
		t.Errorf("%d bytes of a deleted object on disk", used)
	}
	readAndCompare(t, r, 1, 0, 1<<20)
	r.Close()
	if used, b := diskUse(t, dir), s.Stats().Bytes; used != 0 || b != 0 {
		t.Errorf("after close: %d bytes on disk, %d in the books", used, b)
	}
}

func TestBrokenStreamIsAnErrorNotShortBytes(t *testing.T) {
	src := newFake()
	e := src.put("big", 1, 8<<20)
	src.onBody = func(r io.Reader) io.Reader { return io.LimitReader(r, 20_000) }
	s, _ := openStore(t, src, t.TempDir(), Options{}, SourceOptions{})
	r, err := s.Open(t.Context(), e)
	check(t, err)
	defer r.Close()
	if n, err := r.ReadAt(t.Context(), make([]byte, 100_000), 1<<20); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

func allocated(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return blocksOf(f)
}
